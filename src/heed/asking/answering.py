"""Questions that a model is asked, and what is known of each answer: is it right, how sure, and where may it come from?

An answer is right where it is the expected one, letter by letter, spaces around it aside. Its probability is that of
the whole answer (see `generation/answers.py`), its origin what the corpora say (see `text/support.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from heed.errors import ConfigError, DataError
from heed.generation.answers import Answer, beam_answers, greedy_answers, score_answers
from heed.models.base import LanguageModel
from heed.records.answers import AnswerLine, KeptPassage
from heed.text.qa import Question, answer_ids, normalise, question_ids, read_questions
from heed.text.support import Corpora, Passage, Seen
from heed.text.tokenizers import Tokenizer

Decode = Literal["greedy", "beam", "known"]
KEPT = 5
"""Known answers that are kept of each question: the likeliest and the next ones."""


@dataclass(frozen=True)
class Manner:
    """How answers are found: token by token, by a beam, or as the likeliest of known ones."""

    decode: Decode = "beam"
    beams: int = 4
    max_tokens: int = 32
    """Of an answer that is written; a known one is never cut."""
    known: tuple[str, ...] = ()
    """What decode known chooses among."""

    def __post_init__(self) -> None:
        if self.decode == "known" and not self.known:
            raise ConfigError("decode known chooses among known answers, and there are none: give candidates")

    def sentence(self) -> str:
        """Return how answers are found, in words.

        >>> Way().sentence(), Way("known", known=("Rome", "Oslo")).sentence()
        ('beam search of width 4', 'the likeliest of 2 known answers')
        """
        if self.decode == "known":
            return f"the likeliest of {len(self.known):,} known answers"
        return f"beam search of width {self.beams}" if self.decode == "beam" else "the likeliest token each time"

    def ask(self, model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[str]) -> list[list[Answer]]:
        """Return the answers to each question, the likeliest first. Raises what `generation/answers.py` raises."""
        if self.decode == "greedy":
            return [[one] for one in greedy_answers(model, tokenizer, prompts, max_tokens=self.max_tokens)]
        if self.decode == "beam":
            return beam_answers(model, tokenizer, prompts, beams=self.beams, max_tokens=self.max_tokens)
        scores = score_answers(model, tokenizer, prompts, self.known)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :KEPT]
        return [
            [Answer(self.known[i], float(row[i]), True) for i in order]
            for row, order in zip(scores, best.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class AnsweredQuestion:
    """One question, the model's answers, the likeliest first, and what the corpora say."""

    question: Question
    answers: tuple[Answer, ...]
    seen: Seen | None = None
    """None where no corpus was searched."""
    passage: Passage | None = None

    @property
    def text(self) -> str:
        """The likeliest answer."""
        return self.answers[0].text

    @property
    def probability(self) -> float:
        """Of the whole likeliest answer."""
        return probability(self.answers[0])

    @property
    def correct(self) -> bool:
        """Whether the likeliest answer is the expected one, which has to be known."""
        return self.question.answer is not None and normalise(self.text) == normalise(self.question.answer)

    def line(self) -> AnswerLine:
        """Return what is kept of it."""
        return AnswerLine(
            prompt=self.question.prompt,
            gold=self.question.answer,
            answer=self.text,
            probability=self.probability,
            finished=self.answers[0].finished,
            correct=self.correct,
            seen=self.seen,
            passage=None if self.passage is None else KeptPassage(**vars(self.passage)),
            runners_up=[(answer.text, probability(answer)) for answer in self.answers[1:]],
        )


def answer_questions(
    model: LanguageModel,
    tokenizer: Tokenizer,
    questions: Sequence[Question],
    way: Manner,
    corpora: Corpora | None = None,
) -> list[AnsweredQuestion]:
    """Ask every question and look each up in the corpora.

    Raises `DataError` with file and line for a question that the tokenizer cannot read, one that names a known answer
    which it cannot write, and what `Way.ask` raises.
    """
    for known in way.known:
        try:
            answer_ids(tokenizer, known)
        except DataError as error:
            raise DataError(f"the known answer {known!r}: {error}") from None
    for question in questions:
        try:
            question_ids(tokenizer, question.prompt)
        except DataError as error:
            raise DataError(f"{question.place}: {error}") from None
    asked = way.ask(model, tokenizer, [question.prompt for question in questions])
    found = []
    for question, answers in zip(questions, asked, strict=True):
        seen = passage = None
        if corpora is not None:
            seen, passage = corpora.seen(question.prompt), corpora.support(question.prompt, answers[0].text)
        found.append(AnsweredQuestion(question, tuple(answers), seen, passage))
    return found


def probability(answer: Answer) -> float:
    """Return the probability of an answer; float32 adds up to a little more than 1, which is none."""
    return min(1.0, math.exp(answer.logprob))


def known_answers(path: Path, encoding: str = "utf-8") -> tuple[str, ...]:
    """Return the distinct answers of a file of questions, in order. Raises what `read_questions` raises."""
    questions = read_questions(path, encoding=encoding)
    return tuple(sorted({normalise(one.answer) for one in questions if one.answer is not None}))


def read_candidates(path: Path) -> tuple[str, ...]:
    """Return the candidates of a text file, a line each, without repetitions.

    Raises `DataError` when the file cannot be read or is empty, and with the number of an empty line.
    """
    try:
        lines = path.read_text(encoding="utf-8").removeprefix("\ufeff").rstrip().split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 at byte {error.start}: convert it") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise DataError(f"{path}, line {number} is empty: write one candidate in each line")
        if "\t" in line:
            raise DataError(f"{path}, line {number} holds a tab: write one candidate in each line, without a question")
    return tuple(dict.fromkeys(map(normalise, lines)))
