"""The records of questions that a run was asked: answers.jsonl, evaluation-qa.json and trust.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from heed.records.kept import Kept, Ordered, PlainObject, Whole, finite_or_none

ANSWERS, SUMMARY, TRUST = "answers.jsonl", "evaluation-qa.json", "trust.json"


class KeptPassage(Kept):
    """The nearest passage of the corpus."""

    text: str
    line: Whole | None = None
    """Line of the corpus, from 1."""
    holds_answer: bool = False
    """Whether the words of the answer stand in it."""


def _with_text(found: Any) -> Any:
    return None if isinstance(found, dict) and not found.get("text") else found


class AnswerLine(Kept):
    """A line of answers.jsonl: one question and what the model said."""

    prompt: str
    gold: str | None
    answer: str
    probability: Annotated[Annotated[float, Field(ge=0, le=1 + 1e-6)] | None, BeforeValidator(finite_or_none)] = None
    """Of the whole answer, which float32 may sum to a little more than 1; None where the model gave none."""
    finished: bool | None = None
    correct: bool
    seen: str | None = None
    """Where the name in the question stands; None where it was not looked for."""
    passage: Annotated[KeptPassage | None, BeforeValidator(_with_text)] = None
    """None: there is no support."""
    runners_up: list[Annotated[tuple[str, float], Field(strict=False)]] = Field(default_factory=list)
    """(answer, probability) of the next best ones."""

    @property
    def holds_answer(self) -> bool:
        """Whether a passage was found that says so."""
        return self.passage is not None and self.passage.holds_answer


class TrustFile(Kept):
    """trust.json: a threshold and what it was chosen by."""

    threshold: Annotated[float, Field(ge=0, le=1)]
    """Probability of a whole answer."""
    accuracy: float
    """The share of right answers that was asked for."""
    answered: int
    right: int
    total: int
    """Of `total` held-out questions `answered` reach the threshold, and `right` of these are right."""
    questions: str
    """The file of those questions."""
    decode: Literal["greedy", "beam", "known"]
    checkpoint: str


class AnswersSummary(Ordered):
    """evaluation-qa.json: how the questions were asked, and what came of it."""

    questions: Any = None
    """Their file."""
    decode: Any = None
    threshold: PlainObject = None
    """As trust.json, where one was chosen at the same time."""
    correct: Any = None
    total: Any = None
    baseline: PlainObject = None
    """The commonest answer, and how often it is right."""
