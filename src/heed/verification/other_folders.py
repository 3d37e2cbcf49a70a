"""Folders of many runs, and what was asked of others: hashes, and what can be counted again from their own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from heed.explore.exploration_folder import read_exploration
from heed.prompting.record import PROMPT, read_prompt
from heed.records.exploration import EXPLORATION
from heed.records.folder import is_run
from heed.records.hidden_size import HIDDEN_SIZE, HiddenSizeFile
from heed.records.kept import read_record
from heed.records.recovery import RECOVERY
from heed.records.run import EVALUATION, EvaluationFile
from heed.records.study import STUDY, StudyFile
from heed.records.tune import RESULT, TUNE, KeptResult
from heed.report.recovery_record import read_recovery
from heed.report.tuning_record import read_tuning
from heed.verification.checks import VerifiedFolder
from heed.verification.hashes import check_checkpoints, check_hashes
from heed.verification.runs import trying

KINDS = {
    TUNE: "tune", STUDY: "study", PROMPT: "prompt", RECOVERY: "recovery", HIDDEN_SIZE: "hidden size",
    EXPLORATION: "exploration",
}  # fmt: skip
"""What a folder is, by its record."""
ELSEWHERE = {
    "tune": "its runs were not trained again: heed verify {0}/runs/NAME does that for one",
    "study": "its runs were not trained again: heed verify {0}/runs/VARIANT/seed-N does that for one",
    "prompt": "the model was not asked again: what it answered then is its word alone",
    "recovery": "the API was not asked again: what it answered then is its word alone",
    "hidden size": "the API was not asked again: what it answered then is its word alone",
    "exploration": "the model was not looked into again: give heed explore the command of the page",
}
"""What is not tried, and what to do about it."""


def kind_of(folder: Path) -> str | None:
    """Return what a folder is that is no run; None: nothing that heed knows."""
    return next((kind for name, kind in KINDS.items() if (folder / name).is_file()), None)


def verify_collection(folder: Path, kind: str) -> VerifiedFolder:
    """Verify a folder whose figures are made of other records."""
    found = VerifiedFolder(str(folder), kind)
    check_hashes(found, folder, needed=tuple(name for name, one in KINDS.items() if one == kind))
    check_checkpoints(found, folder)
    with trying(found, "record"):
        CHECKS[kind](found, folder)
    found.note("anew", "not checked", ELSEWHERE[kind].format(folder))
    return found


def _tune(found: VerifiedFolder, folder: Path) -> None:
    """Hold tune.json against each run's result, and against the predictions of each run."""
    record = read_tuning(folder)
    runs = [run for arm in record.arms for run in arm.runs if not arm.soup]
    kept, said = {}, {}
    for run in runs:
        result = folder / run.folder / RESULT
        if result.is_file():
            own = read_record(KeptResult, result).result
            kept[run.folder] = _scores(own)
            said[run.folder] = _scores(run)
    found.compare("figures of the runs", kept, said)
    odd = [note for note in record.notes if " says " in note or "damaged" in note or "missing" in note]
    if odd:
        found.note("predictions", "differs", "; ".join(odd))
    else:
        counted = sum(len(run.answers) for arm in record.arms for run in arm.runs)
        found.note("predictions", "same", f"{counted:,} files, marked again, give the figures of {TUNE}")


def _scores(result: Any) -> dict[str, Any]:
    return {name: one.plain() for name in ("validation", "test") if (one := getattr(result, name)) is not None}


def _study(found: VerifiedFolder, folder: Path) -> None:
    """Hold study.json against the final figures of each run."""
    kept, said = {}, {}
    for cell in read_record(StudyFile, folder / STUDY).cells:
        place = folder / cell.folder
        if cell.folder and cell.state in ("finished", "leaks") and is_run(place):
            name = f"{cell.variant}/{cell.seed}"
            own = read_record(EvaluationFile, place / EVALUATION)
            kept[name] = {split: figures.plain() for split, figures in own.splits.items()}
            said[name] = {split: figures.plain() for split, figures in cell.figures.items()}
    found.compare("figures of the runs", kept, said)


def _prompt(found: VerifiedFolder, folder: Path) -> None:
    """Count the right answers of each round again."""
    record = read_prompt(folder)
    if not record.done:
        found.note("rounds", "not checked", "it was not asked to the end")
        return
    lines = [[row["right"] for row in rows] for rows in _rounds(record)]
    counted = {str(n): sum(map(bool, right)) if None not in right else None for n, right in enumerate(lines)}
    found.compare("rounds", {str(n): one.correct for n, one in enumerate(record.file.rounds)}, counted)


def _rounds(record: Any) -> list[Any]:
    each = len(record.rows) // record.rounds
    return [record.rows[first : first + each] for first in range(0, len(record.rows), each)]


def _recovery(found: VerifiedFolder, folder: Path) -> None:
    """Count the tokens that were seen again."""
    file, tokens = read_recovery(folder)
    found.compare("tokens", {"seen": file.seen}, {"seen": len(tokens.order)})


def _hidden_size(found: VerifiedFolder, folder: Path) -> None:
    """Read the record: what it was made of is not kept."""
    read_record(HiddenSizeFile, folder / HIDDEN_SIZE)
    found.note("record", "same", f"{HIDDEN_SIZE} is whole")


def _exploration(found: VerifiedFolder, folder: Path) -> None:
    """Read the record and its arrays."""
    arrays = read_exploration(folder).arrays
    found.note("record", "same", f"{EXPLORATION} is whole, with {len(arrays):,} arrays")


CHECKS: dict[str, Callable[[VerifiedFolder, Path], None]] = {
    "tune": _tune, "study": _study, "prompt": _prompt, "recovery": _recovery, "hidden size": _hidden_size,
    "exploration": _exploration,
}  # fmt: skip
"""What is counted again of each kind."""
