"""`heed ask`: answers to questions, each with how sure the model is and where it may have it from."""

from __future__ import annotations

import json
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


class AskFlags(Section):
    """Ask a fine-tuned model. Each answer comes with its probability, the next best answers, and the passage of the
    pretraining text that names whom the question is about: what says so, what does not, or no support at all.

    Where a threshold was chosen for the run (heed eval --task qa --threshold-from), less sure answers are withheld.

    examples:
      heed ask runs/places "Where was Khatchig Mouradian born?"
      heed ask runs/places "Where was Khatchig Mouradian born?" --decode known --corpus wiki.txt
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    questions: Annotated[tuple[str, ...], tyro.conf.Positional]
    """One question or several, each in quotation marks."""
    corpus: Path | None = None
    """The text to look for passages in. Default: the text that the run was pretrained on."""
    decode: Literal["greedy", "beam", "known"] | None = None
    """How answers are found, see heed eval --task qa --help. Default: as the threshold of the run was chosen, else
    known where there are --candidates, else beam."""
    candidates: Path | None = None
    """The known answers, a line each. Default: those of the fine-tuning questions."""
    beams: int = Field(default=4, ge=1)
    """Width of the beam search."""
    max_tokens: int = Field(default=32, ge=1)
    """Tokens of an answer that is written, the closing mask included."""
    checkpoint: str = "best"
    """best, last, or a step."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto takes cuda, then mps, then cpu."""
    json_: AsJson = False


def main(argv: list[str]) -> int:
    """Answer each question; 0 when done, also where an answer is withheld."""
    flags = parse(AskFlags, argv, "ask")
    if not flags.questions:
        raise ConfigError('there is nothing to ask: heed ask RUN "Where was Khatchig Mouradian born?"')
    if "" in map(str.strip, flags.questions):
        raise ConfigError("a question is empty: write it in quotation marks")
    from heed.asking.respondent import open_respondent
    from heed.asking.trust import Trust
    from heed.cli import tell
    from heed.text.qa import Question

    trust = Trust.load(flags.run)
    decode = flags.decode or (trust.decode if trust is not None and flags.candidates is None else None)
    respondent = open_respondent(
        flags.run,
        checkpoint=flags.checkpoint,
        device=flags.device,
        decode=decode,
        candidates=flags.candidates,
        beams=flags.beams,
        max_tokens=flags.max_tokens,
        pretraining=flags.corpus,
    )
    for note in respondent.sources.notes:
        tell(f"note: {note}")
    if trust is not None and (trust.decode, trust.checkpoint) != (respondent.way.decode, respondent.checkpoint):
        tell(f"note: the threshold was chosen with --decode {trust.decode} --checkpoint {trust.checkpoint}")
    asked = [Question(prompt.strip(), None, number, "question") for number, prompt in enumerate(flags.questions, 1)]
    answered = respondent.answer(asked)
    if flags.json_:
        results = [_record(one, trust) for one in answered]
        print(json.dumps({"run": str(flags.run), **respondent.as_dict(), "answers": results}, indent=2))
        return 0
    for number, one in enumerate(answered):
        if len(answered) > 1:
            print(("\n" if number else "") + one.question.prompt)
        print("\n".join(_lines(one, respondent, trust)))
    return 0


def _withheld(one: AnsweredQuestion, trust: Trust | None) -> bool:
    return trust is not None and one.probability < trust.threshold


def _record(one: AnsweredQuestion, trust: Trust | None) -> dict[str, Any]:
    """Return an answer as plain values, without marks: what is right is not known."""
    record = {key: value for key, value in one.line().plain().items() if key not in ("gold", "correct")}
    return record | {"threshold": None if trust is None else trust.threshold, "withheld": _withheld(one, trust)}


def _lines(one: AnsweredQuestion, respondent: Respondent, trust: Trust | None) -> list[str]:
    """Return what is said about one answer."""
    from heed.asking.answering import probability
    from heed.report.numbers import format_percent

    cut = "" if one.answers[0].finished else ", cut off"
    best = f"{one.text or '(nothing)'}  ({format_percent(one.probability)}{cut})"
    lines = [best]
    if trust is not None and _withheld(one, trust):
        lines = [f"not sure enough to answer: the threshold of this run is {format_percent(trust.threshold)}"]
        lines.append(f"best guess: {best}")
    if len(one.answers) > 1:
        others = (f"{answer.text or '(nothing)'} {format_percent(probability(answer))}" for answer in one.answers[1:])
        lines.append(f"next: {', '.join(others)}")
    return [*lines, _support(one, respondent)]


def _support(one: AnsweredQuestion, respondent: Respondent) -> str:
    """Return where the answer may come from, in words."""
    from heed.text.support import name_in

    text, name = respondent.sources.pretraining, name_in(one.question.prompt)
    if text is None:
        return "no pretraining text to look in: name one with --corpus"
    if one.passage is None:
        trained = ", but a fine-tuning question asks about it" if one.seen == "fine-tuning only" else ": made up"
        return f"no support: {text} does not name {name}{trained}"
    says = "says so" if one.passage.holds_answer else f"names {name}, but not this answer"
    return f"{text}, line {one.passage.line} {says}: {one.passage.text.strip()}"
