"""`heed eval --task qa`: how many questions a model answers, how sure it is, and where the answers come from."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import Field

from heed.cli.settings import AsJson, parse
from heed.config import Section
from heed.errors import ConfigError

if TYPE_CHECKING:
    from heed.asking.answering import AnsweredQuestion
    from heed.asking.respondent import Respondent
    from heed.asking.trust import Trust
    from heed.text.qa import Question

ACCURACY = 0.8
"""Right answers of those given beyond a threshold, where nothing else is asked for."""


class AnswerFlags(Section):
    """Ask a model the questions of a file, and mark its answers: right ones, calibration, and by what it has read.

    A line each: question, tab, answer (.tsv), or JSON objects with "question" and "answer" (.jsonl). Where the answers
    are missing, as in a hidden test set, --predictions writes what the model says. The run folder gets answers.jsonl
    and evaluation-qa.json, which `heed report` reads.

    A person is seen in pretraining where the name stands in a line of the pretraining text. The text and the questions
    that the run has learned from are those that its config.yaml names.

    examples:
      heed eval runs/places --task qa --questions dev.tsv
      heed eval runs/places --task qa --questions dev.tsv --decode known
      heed eval runs/places --task qa --questions dev.tsv --threshold-from held-out.tsv --accuracy 0.9
      heed eval runs/places --task qa --questions test.tsv --predictions test.txt
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    task: Literal["qa"] = "qa"
    """Questions and answers; without it, heed eval measures the loss of a text."""
    questions: Path | None = None
    """The questions, .tsv or .jsonl."""
    decode: Literal["greedy", "beam", "known"] | None = None
    """greedy: the likeliest token each time. beam: the likeliest answer of a search. known: the likeliest one of known
    answers, each scored exactly. Default: beam, and known where there are --candidates."""
    candidates: Path | None = None
    """The known answers, a line each. Default: those of the fine-tuning questions."""
    beams: int = Field(default=4, ge=1)
    """Width of the beam search."""
    max_tokens: int = Field(default=32, ge=1)
    """Tokens of an answer that is written, the closing mask included."""
    pretraining: Path | None = None
    """The text that is searched for names and passages. Default: the text that the run was pretrained on."""
    finetuning: Path | None = None
    """The questions that the run was fine-tuned on. Default: as its config.yaml says."""
    predictions: Path | None = None
    """Write the answers to this file, a line each."""
    out: Path | None = None
    """Folder for answers.jsonl and evaluation-qa.json. Default: the run folder."""
    threshold_from: Path | None = None
    """Held-out questions with answers, by which to choose the probability from which on answers are given: it is kept
    in the run folder (trust.json) for heed ask. Questions that are evaluated or were trained on are left out."""
    accuracy: float | None = Field(default=None, gt=0, le=1)
    """With --threshold-from: the share of the given answers that is to be right. Default: 0.8."""
    checkpoint: str = "best"
    """best, last, or a step."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes cuda, then mps, then cpu."""
    json_: AsJson = False


OPTIONS = (
    "--questions", "--decode", "--candidates", "--pretraining", "--finetuning", "--predictions", "--threshold-from",
)  # fmt: skip
"""Options that show that questions are meant."""


def main(argv: list[str]) -> int:
    """Ask, mark, write and print; 0 when done."""
    flags = parse(AnswerFlags, argv, "eval")
    questions, marked = _questions(flags)
    from heed.text.qa import read_questions

    held_out = None if flags.threshold_from is None else read_questions(flags.threshold_from)
    from heed.asking.marking import ANSWERS, mark, write_marks, write_predictions
    from heed.asking.respondent import open_respondent
    from heed.cli import tell

    respondent = open_respondent(
        flags.run,
        checkpoint=flags.checkpoint,
        device=flags.device,
        decode=flags.decode,
        candidates=flags.candidates,
        beams=flags.beams,
        max_tokens=flags.max_tokens,
        pretraining=flags.pretraining,
        finetuning=flags.finetuning,
    )
    known = _warn(respondent, questions, marked, flags)
    trust = None if held_out is None else _choose(respondent, questions, held_out, flags)
    tell(f"asking {len(questions):,} questions: {respondent.way.sentence()}")
    begin = time.perf_counter()
    answered = respondent.answer(questions)
    seconds = time.perf_counter() - begin
    if flags.predictions is not None:
        write_predictions(flags.predictions, answered)
        tell(f"predictions: {flags.predictions}")
    summary: dict[str, Any] = {"run": str(flags.run), "questions": str(flags.questions), **respondent.as_dict()}
    summary |= {"seconds": round(seconds, 3), "threshold": None} | known
    lines = []
    if marked:
        marks = mark(answered)
        summary |= marks.as_dict()
        lines = marks.lines()
    if held_out is not None:
        said, summary["threshold"] = _keep(trust, answered if marked else [], flags)
        lines += said
    if marked:
        folder = flags.out or flags.run
        write_marks(folder, answered, summary)
        tell(f"answers: {folder / ANSWERS}")
    if flags.json_:
        print(json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False))
    elif lines:
        print("\n".join(lines))
    return 0


def _questions(flags: AnswerFlags) -> tuple[list[Question], bool]:
    """Return what is to be asked, and whether it holds the right answers."""
    if flags.questions is None:
        raise ConfigError("there is nothing to ask: give --questions FILE (question, tab, answer in each line)")
    if flags.accuracy is not None and flags.threshold_from is None:
        raise ConfigError("--accuracy is what a threshold is chosen for: give --threshold-from FILE")
    from heed.text.qa import read_questions

    questions = read_questions(flags.questions, answers=False)
    if any(one.answer is not None for one in questions):
        return read_questions(flags.questions), True  # where one has an answer, all have
    if flags.predictions is None or flags.out is not None:
        raise ConfigError(
            f"{flags.questions} holds no answers, so there is nothing to mark: give --predictions FILE only (no --out)"
        )
    return questions, False


def _warn(respondent: Respondent, questions: list[Question], marked: bool, flags: AnswerFlags) -> dict[str, Any]:
    """Say what makes the figures better or worse than they are, and return it; nothing of questions without answers."""
    from heed.cli import tell
    from heed.text.qa import normalise, repetitions

    assert flags.questions is not None
    for note in (*respondent.sources.notes, *repetitions(questions)):
        tell(f"note: {note}")
    if not marked:
        return {}
    trained, chosen_by = respondent.trained_on(questions), respondent.chosen_by(flags.questions)
    if trained:
        tell(
            f"note: {trained:,} of {len(questions):,} questions stand in {respondent.sources.finetuning}, which "
            "the run learned from: of new ones it may know less"
        )
    if chosen_by:
        tell("note: the checkpoint was chosen by these questions (data.validation), so the figures flatter it")
    out_of_reach = None
    if respondent.way.known:
        out_of_reach = sum(normalise(one.answer or "") not in respondent.way.known for one in questions)
    if out_of_reach:
        tell(
            f"note: {out_of_reach:,} of {len(questions):,} right answers are not among the known ones, so none of "
            "these is given: add --candidates that hold them, or --decode beam"
        )
    return {"out_of_reach": out_of_reach, "trained_on": trained, "chosen_by": chosen_by}


def _choose(
    respondent: Respondent, questions: list[Question], held_out: list[Question], flags: AnswerFlags
) -> Trust | None:
    """Return the probability from which on answers are given; None where no answers are right often enough."""
    from heed.asking.trust import choose_trust
    from heed.cli import tell

    tell(f"choosing a threshold on {flags.threshold_from}")
    evaluated = {one.prompt for one in questions}
    trust, left_out = choose_trust(respondent, held_out, evaluated, accuracy=flags.accuracy or ACCURACY)
    if left_out:
        tell(f"note: {left_out:,} of {len(held_out):,} left out: evaluated here, or trained on")
    return trust


def _keep(
    trust: Trust | None, marked: list[AnsweredQuestion], flags: AnswerFlags
) -> tuple[list[str], dict[str, Any] | None]:
    """Keep a threshold for `heed ask`; return what is said of it, and what is printed as JSON."""
    from heed.asking.marking import share_of
    from heed.asking.trust import Trust
    from heed.report.calibration import beyond
    from heed.report.numbers import format_percent

    if trust is None:
        wanted = format_percent(flags.accuracy or ACCURACY)
        said = [f"threshold: none: not even the surest held-out answers are {wanted} right; try a lower --accuracy"]
        if (before := Trust.load(flags.run)) is not None:
            said.append(f"heed ask keeps the one from before, {format_percent(before.threshold)}")
        return said, None
    trust.save(flags.run)
    said, shown = [trust.sentence()], trust.plain()
    if marked:
        here = beyond(trust.threshold, [one.probability for one in marked], [one.correct for one in marked])
        shown |= {"given_here": here.answered, "right_here": here.right}
        said.append(
            f"beyond the threshold: {share_of(here.answered, here.total)} answered, "
            f"{share_of(here.right, here.answered)} of them right"
        )
    return said, shown
