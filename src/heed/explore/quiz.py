"""Concept questions: a file of them, a round in which wrong answers come again, and what it came to.

    questions:
      - id: naive-mask                   unique in the file
        topic: attention
        text: What is asked?
        options:                         one or several are right; each has its reason
          - {text: ..., right: true, reason: ...}
          - {text: ..., reason: ...}
        command: heed audit runs/mine    what shows it
        card: masking                    what shows it on the page of `heed explore`
      - id: entropy
        topic: attention
        text: How many nats?
        answer: 1.386                    a number instead of options
        tolerance: 0.01
        reason: ...

`questions.yaml` beside this file holds heed's own; `--questions` takes one of yours in the same form.
"""

from __future__ import annotations

import math
import random
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from heed.config import Section, read_yaml
from heed.errors import ConfigError, did_you_mean
from heed.explore.card_names import check_card

OWN = Path(__file__).with_name("questions.yaml")
LETTERS = "abcdefghijkl"
LATER = 3
"""How many other questions come before one that was answered wrongly, if there are as many."""


class QuizOption(Section):
    """Something that may be chosen."""

    text: str
    right: bool = False
    reason: str
    """Why it is right or wrong."""


class QuizQuestion(Section):
    """A question with options, or with a number for an answer."""

    id: str
    topic: str
    text: str
    options: tuple[QuizOption, ...] = ()
    answer: float | None = None
    tolerance: float = 0.0
    """How far a number may be off."""
    unit: str = ""
    reason: str = ""
    """Of a number: how it comes about."""
    command: str = ""
    """A command of heed that shows it."""
    card: str = ""
    """What shows it on the page of `heed explore`: `masking`, or a link to a state of a card, `scaling?width=4`."""
    function: str = ""
    """A function of heed that computes it, by its full name."""

    @model_validator(mode="after")
    def _whole(self) -> QuizQuestion:
        if not (self.id.strip() and self.topic.strip() and self.text.strip()):
            raise ValueError("id, topic and text must hold something")
        if bool(self.options) == (self.answer is not None):
            raise ValueError("give options, or answer for a number, and not both")
        if self.options and not 2 <= len(self.options) <= len(LETTERS):
            raise ValueError(f"give 2 to {len(LETTERS)} options")
        if self.options and not any(option.right for option in self.options):
            raise ValueError("none of the options is right: write right: true under one")
        if len({option.text for option in self.options}) < len(self.options):
            raise ValueError("two options are the same")
        if self.answer is not None and not (math.isfinite(self.answer) and self.reason and self.tolerance >= 0):
            raise ValueError("a number needs a finite answer, a reason and a tolerance of at least 0")
        if self.card:
            try:
                check_card(self.card)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self

    @property
    def commands(self) -> list[str]:
        """The commands that show it: first the card."""
        card = (
            f'heed explore --open --card "{self.card}"'
            if "?" in self.card
            else f"heed explore --open --card {self.card}"
        )
        return [*([card] if self.card else []), *([self.command] if self.command else [])]

    @property
    def several(self) -> bool:
        """Whether more than one option is right."""
        return sum(option.right for option in self.options) > 1


@dataclass(frozen=True)
class QuizMark:
    """What an answer was worth."""

    id: str
    given: str
    right: bool
    again: bool
    """Whether the question had been answered wrongly before."""
    lines: tuple[str, ...]
    """What to say: the right answer and the reasons."""


@dataclass
class QuizRound:
    """Questions in a random order; one that is answered wrongly comes again after `LATER` others, until it is right."""

    questions: Sequence[QuizQuestion]
    seed: int = 0
    marks: list[QuizMark] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        self._waiting = deque(self._draw.sample(list(self.questions), len(self.questions)))
        self._orders = {q.id: self._draw.sample(q.options, len(q.options)) for q in self.questions}
        self._missed: set[str] = set()

    @property
    def question(self) -> QuizQuestion | None:
        """The question that is asked now; None at the end."""
        return self._waiting[0] if self._waiting else None

    def comes_again(self) -> bool:
        """Whether the question that is asked now was answered wrongly before."""
        return bool(self._waiting) and self._waiting[0].id in self._missed

    def options(self) -> list[QuizOption]:
        """Return the options of the present question in the order of this round."""
        return list(self._orders[self._waiting[0].id]) if self._waiting else []

    def answer(self, given: str) -> QuizMark:
        """Mark an answer: letters of options, or a number. Raises `ConfigError` for one that is neither."""
        question = self.question
        if question is None:
            raise ConfigError("all questions are answered")
        right, lines = self._marked(question, given.strip())
        mark = QuizMark(question.id, given.strip(), right, question.id in self._missed, tuple(lines))
        self.marks.append(mark)
        self._waiting.popleft()
        if not right:
            self._missed.add(question.id)
            self._waiting.insert(min(LATER, len(self._waiting)), question)
        return mark

    def _marked(self, question: QuizQuestion, given: str) -> tuple[bool, list[str]]:
        if question.answer is not None:
            value = number_in(given)
            right = abs(value - question.answer) <= question.tolerance + 1e-12 * abs(question.answer)
            unit = f" {question.unit}" if question.unit else ""
            shown = f"{question.answer:,.0f}" if question.answer.is_integer() else f"{question.answer:g}"
            return right, [f"It is {shown}{unit}. {question.reason}"]
        options = self.options()
        chosen = letters_in(given, len(options))
        wanted = {LETTERS[i] for i, option in enumerate(options) if option.right}
        # the reasons of what is right, of what was chosen, and of nothing else: the rest may be asked again
        told = [
            f"{LETTERS[i]} is {'right' if option.right else 'wrong'}: {option.reason}"
            for i, option in enumerate(options)
            if option.right or LETTERS[i] in chosen
        ]
        return chosen == wanted, told

    def outcome(self) -> dict[str, Any]:
        """Return what the round came to, as plain values."""
        first = {mark.id: mark.right for mark in self.marks if not mark.again}
        topics: dict[str, dict[str, int]] = {}
        for question in self.questions:
            counts = topics.setdefault(question.topic, {"questions": 0, "right_at_first": 0})
            counts["questions"] += 1
            counts["right_at_first"] += first.get(question.id, False)
        return {
            "questions": len(self.questions),
            "answered": len(first),
            "right_at_first": sum(first.values()),
            "right_in_the_end": len({mark.id for mark in self.marks if mark.right}),
            "wrong_at_first": [name for name, right in first.items() if not right],
            "topics": topics,
            "answers": [{"id": m.id, "given": m.given, "right": m.right, "again": m.again} for m in self.marks],
        }


def letters_in(given: str, count: int) -> set[str]:
    """Return the letters of an answer such as `a`, `a c` or `A,C`. Raises `ConfigError` for anything else.

    >>> sorted(letters_in("C, a", 4))
    ['a', 'c']
    """
    letters = re.sub(r"[\s,;]+", "", given.lower())
    known = LETTERS[:count]
    if not letters or any(letter not in known for letter in letters):
        raise ConfigError(f"answer with letters from a to {known[-1]}, as in {known[0]} or {known[0]},{known[1]}")
    return set(letters)


def number_in(given: str) -> float:
    """Return the number of an answer: 0.17, 1,000, 2e-3 or 25 %. Raises `ConfigError` for anything else.

    >>> number_in("2,362,368"), number_in("25 %")
    (2362368.0, 25.0)
    """
    plain = given.replace("−", "-").replace("%", "").replace("_", "").replace(" ", "")
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", plain):
        plain = plain.replace(",", "")
    try:
        value = float(plain)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError("answer with a number, as in 0.17 or 2,362,368")
    return value


def read_quiz(path: Path = OWN) -> list[QuizQuestion]:
    """Return the questions of a file. Raises `ConfigError` that names the question and what is wrong with it."""
    content = read_yaml(path)
    listed = content.get("questions")
    if set(content) != {"questions"} or not isinstance(listed, list) or not listed:
        raise ConfigError(f"{path}: must hold `questions:` and below it a list of them")
    questions = []
    for place, entry in enumerate(listed, 1):
        name = entry.get("id", "") if isinstance(entry, dict) else ""
        where = f"{path}: question {place}" + (f" ({str(name)[:40]})" if name else "")
        try:
            questions.append(QuizQuestion.model_validate(entry))
        except ValidationError as error:
            raise ConfigError(f"{where}: {_first(error)}") from None
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise ConfigError(f"{path}: two questions have the id {question.id!r}")
        seen.add(question.id)
    return questions


def _first(error: ValidationError) -> str:
    """Return the first thing that is wrong, in one line."""
    item = error.errors()[0]
    where = ".".join(str(key + 1) if isinstance(key, int) else key for key in item["loc"])
    said = item["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def pick(
    questions: Sequence[QuizQuestion], topic: str | None = None, count: int | None = None, seed: int = 0
) -> list[QuizQuestion]:
    """Return the questions of a topic, or so many of them at random. Raises `ConfigError` for an unknown topic."""
    topics = {question.topic for question in questions}
    if topic is not None and topic not in topics:
        raise ConfigError(f"unknown topic {topic[:60]!r}, {did_you_mean(topic[:60], topics)}")
    if count is not None and count < 1:
        raise ConfigError(f"--count {count}: at least one question must be asked")
    chosen = [question for question in questions if topic in (None, question.topic)]
    if count is None or count >= len(chosen):
        return chosen
    return random.Random(f"count/{seed}").sample(chosen, count)
