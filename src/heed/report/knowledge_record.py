"""What several models answered to the same questions: the runs below a folder that were asked, in one plain object.

    FOLDER/
      .../<run>/answers.jsonl           one line a question: prompt, gold, answer, probability, correct, seen, passage
      .../<run>/evaluation-qa.json      how it was asked, and what always saying the commonest answer would get
      .../<run>/trust.json              a threshold that was chosen on other questions, where there is one
      .../<run>/config.yaml             a run folder like any other; runs that were not asked are stages before

Every figure of the page is counted from answers.jsonl. Where evaluation-qa.json says something else, or a line cannot
be used, `notes` says so. Runs that answered other questions than most are kept out of the comparison, and named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError

from heed import seals
from heed.errors import CheckpointError, HeedError
from heed.records.answers import ANSWERS, SUMMARY, TRUST, AnswerLine, AnswersSummary, TrustFile
from heed.records.kept import DamagedError, read_record
from heed.report.calibration import Calibration, RiskCoverage, calibration, risk_coverage
from heed.report.record import RunRecord, gather, number

SEEN = ("pretraining", "fine-tuning only", "never")
"""Where the name in a question stands: the three words of answers.jsonl, in the order of the page."""
DEPTH = 3
"""Folders below the one that is named in which runs are looked for."""


@dataclass(frozen=True)
class AskedRun:
    """One run that was asked."""

    name: str
    """Its folder, relative to the folder of the page."""
    answers: tuple[AnswerLine, ...]
    summary: AnswersSummary
    """Empty when there is none."""
    run: RunRecord | None
    """The run folder; None where only answers are there."""
    trust: Mapping[str, Any] = field(default_factory=dict)
    """The threshold below which the run abstains, and what it was chosen by; empty when there is none."""
    before: RunRecord | None = None
    """The run whose weights it began with, where that lies below the same folder."""
    notes: tuple[str, ...] = ()

    @property
    def right(self) -> int:
        """Answers that are right."""
        return sum(one.correct for one in self.answers)

    @property
    def total(self) -> int:
        """Questions."""
        return len(self.answers)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.total

    @cached_property
    def sure(self) -> tuple[list[float], list[bool]]:
        """Probabilities and marks of those answers that have a probability."""
        known = [(one.probability, one.correct) for one in self.answers if one.probability is not None]
        return [min(1.0, p) for p, _ in known], [correct for _, correct in known]

    @cached_property
    def calibration(self) -> Calibration | None:
        """How far the probabilities can be trusted; None where there are none."""
        return calibration(*self.sure) if self.sure[0] else None

    @cached_property
    def risk(self) -> RiskCoverage | None:
        """Risk at every coverage; None where there are no probabilities."""
        return risk_coverage(*self.sure) if self.sure[0] else None

    @property
    def baseline(self) -> tuple[str, int] | None:
        """The commonest answer and how often it is right."""
        found = self.summary.baseline or {}
        right = number(found.get("correct"))
        return None if right is None else (str(found.get("answer", "")), int(right))

    @property
    def variant(self) -> str:
        """The attention of the model, as the catalogue names it."""
        if self.run is None:
            return self.name
        mechanism = self.run.setting("model.attention.mechanism") or "softmax"
        score = self.run.setting("model.attention.score")
        return f"{mechanism}, {score} score" if score not in (None, "scaled-dot") else str(mechanism)

    @property
    def pretraining(self) -> str:
        """What it learnt before the questions, or beside them: none, or the text and how it was shown."""
        if self.run is None:
            return "not known"
        if self.before is not None:
            return describe_text(self.before)
        if self.run.setting("model.start_from"):
            return f"of {PurePath(str(self.run.setting('model.start_from'))).name}"
        if self.run.setting("data.objective") in (None, "answers"):
            return "none"
        return describe_text(self.run) + (", questions mixed in" if self.run.setting("data.questions") else "")

    @property
    def seed(self) -> int | None:
        """The seed of the run."""
        seed = number(self.run.setting("run.seed")) if self.run is not None else None
        return None if seed is None else int(seed)


@dataclass(frozen=True)
class KnowledgeRecord:
    """Every run below a folder that was asked, best first, and the runs before them."""

    folder: Path
    asked: tuple[AskedRun, ...]
    """Those that answered the same questions; a page compares them."""
    apart: tuple[AskedRun, ...] = ()
    """Those that answered other questions: no figure of theirs may stand beside the others'."""
    stages: tuple[RunRecord, ...] = ()
    """Runs that were not asked: as a rule the pretraining."""
    notes: tuple[str, ...] = field(default=())

    @property
    def best(self) -> AskedRun:
        """The run with the most right answers, the first of equal ones."""
        return self.asked[0]

    @cached_property
    def groups(self) -> dict[tuple[str, str], list[AskedRun]]:
        """Runs by (variant, pretraining), best group first: those of one group differ by their seed, or by a detail."""
        found: dict[tuple[str, str], list[AskedRun]] = {}
        for one in self.asked:
            found.setdefault((one.variant, one.pretraining), []).append(one)
        return found


def holds_runs(folder: str | Path) -> bool:
    """Say whether a folder is no run itself and holds runs, or answers of some."""
    root = Path(folder)
    marks = ("config.yaml", "metrics.jsonl")
    return not any((root / name).is_file() for name in marks) and any(_find(root, name) for name in (ANSWERS, *marks))


def read_knowledge(folder: str | Path) -> KnowledgeRecord:
    """Read the runs below a folder. Raises `CheckpointError` when none of them holds an answer that can be used."""
    root = Path(folder).resolve()
    notes: list[str] = []
    runs: dict[Path, RunRecord] = {}
    for path in sorted({file.parent for name in ("config.yaml", "metrics.jsonl") for file in _find(root, name)}):
        try:
            runs[path] = gather(path)
        except HeedError as error:
            notes.append(f"{path.relative_to(root)} was left out: {error}.")
    asked: list[AskedRun] = []
    for file in _find(root, ANSWERS):
        one = read_answers(file.parent, root, runs.get(file.parent))
        notes += one.notes
        if one.answers:
            asked.append(replace(one, before=_before(one.run, runs)))
    if not asked:
        raise CheckpointError(
            f"{folder} holds no answers ({ANSWERS} in the folders of its runs): "
            "heed eval RUN --task qa --questions FILE writes them"
        )
    questions = Counter(_questions(one) for one in asked)
    # the questions that most runs were asked; among equal counts the larger set
    common = max(questions, key=lambda asked_for: (questions[asked_for], len(asked_for)))
    compared = sorted((one for one in asked if _questions(one) == common), key=lambda one: (-one.right, one.name))
    return KnowledgeRecord(
        folder=root,
        asked=tuple(compared),
        apart=tuple(one for one in asked if _questions(one) != common),
        stages=tuple(run for path, run in runs.items() if not (path / ANSWERS).is_file()),
        notes=tuple(notes),
    )


def read_answers(folder: Path, root: Path, run: RunRecord | None = None) -> AskedRun:
    """Read answers.jsonl and evaluation-qa.json of one folder; what cannot be used is noted."""
    name = str(folder.relative_to(root)) if folder != root else folder.name
    notes: list[str] = []
    answers: list[AnswerLine] = []
    for index, line in enumerate(seals.read_bytes(folder / ANSWERS).decode("utf-8", "replace").splitlines(), 1):
        if line.strip():
            found = _answer(line)
            answers += [] if found is None else [found]
            notes += [f"Line {index} of {name}/{ANSWERS} is no answer and was left out."] if found is None else []
    if len(notes) > 3:
        notes = [*notes[:3], f"{len(notes) - 3} more lines of {name}/{ANSWERS} were left out."]
    try:
        summary = read_record(AnswersSummary, folder / SUMMARY)
    except (OSError, ValueError, DamagedError):
        notes.append(f"{name}/{SUMMARY} is missing or broken: how it was asked and the commonest answer are not known.")
        summary = AnswersSummary()
    counted = (sum(one.correct for one in answers), len(answers))
    said = tuple(
        there if known is None else known
        for known, there in zip((summary.correct, summary.total), counted, strict=True)
    )
    if said != counted:
        notes.append(
            f"{name}: {SUMMARY} says {said[0]} of {said[1]} and {ANSWERS} holds {counted[0]} of {counted[1]} right; "
            "the page goes by the answers."
        )
    trust = _trust(folder) if summary.threshold is None else summary.threshold
    return AskedRun(name, tuple(answers), summary, run, trust, notes=tuple(notes))


def describe_text(run: RunRecord) -> str:
    """Say what text a run learnt and how it was shown, such as "wiki.txt, single-span, half plain".

    >>> config = {"data": {"source": "data/wiki.txt", "objective": "spans", "plain_share": 0.5}}
    >>> describe_text(RunRecord("a", config))
    'wiki.txt, spans, 50 % plain'
    """
    parts = [PurePath(str(run.setting("data.source") or run.name)).name]
    if run.setting("data.objective"):
        parts.append(str(run.setting("data.objective")))
    plain = number(run.setting("data.plain_share"))
    return ", ".join([*parts, *([f"{100 * plain:.0f} % plain"] if plain else [])])


def _find(root: Path, name: str) -> list[Path]:
    """Return the files of a name at most `DEPTH` folders down, in order."""
    return sorted(file for depth in range(DEPTH + 1) for file in root.glob("*/" * depth + name) if file.is_file())


def _trust(folder: Path) -> Mapping[str, Any]:
    """Return the threshold that is kept beside a run; empty where there is none that can be read."""
    try:
        return read_record(TrustFile, folder / TRUST).plain()
    except (OSError, ValueError, DamagedError):
        return {}


def _questions(one: AskedRun) -> frozenset[tuple[str, str | None]]:
    return frozenset((answered.prompt, answered.gold) for answered in one.answers)


def _before(run: RunRecord | None, runs: Mapping[Path, RunRecord]) -> RunRecord | None:
    """Return the run that another began with: by its path, else by its name where only one has it."""
    start = run.setting("model.start_from") if run is not None else None
    if not start:
        return None
    if (there := runs.get(Path(str(start)).resolve())) is not None:
        return there
    named = [found for path, found in runs.items() if path.name == PurePath(str(start)).name and found is not run]
    return named[0] if len(named) == 1 else None


def _answer(line: str) -> AnswerLine | None:
    """Return the answer of one line, or None when it is none."""
    try:
        found = AnswerLine.model_validate_json(line)
    except ValidationError:
        return None
    return None if found.gold is None else found
