"""How well a model answers the questions of a split: every question once, in order, with its passport.

accuracy    questions whose answer is written exactly as it should be / questions, with Wilson's interval at 95 %
loss        nats of the right answers, the mask that closes each included / questions
token loss  the same nats / tokens of these answers
majority    the share that always saying the commonest answer would get

What the model writes is the likeliest token after the likeliest token. `heed eval --task qa` says more of each answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from heed.report.numbers import format_accuracy, format_loss, said_shares
from heed.report.passport import Passport
from heed.report.statistics import wilson
from heed.text.qa import answer_ids, commonest_answer, normalise, question_windows
from heed.text.question_corpus import QuestionTokens
from heed.text.tokenizer import Tokenizer
from heed.training.evaluate import Total, passport_of_split, window_losses

Write = Callable[[Sequence[str], int], Sequence[str]]
"""From questions and the most tokens of an answer to what the model answers."""


@dataclass(frozen=True)
class Answering:
    """The figures of one evaluation of questions."""

    loss: float
    """Nats per answer; it does not depend on how many tokens that takes."""
    token_loss: float
    """Nats per token of the answers, as the loss of training on answers is."""
    correct: int
    """Answers that are exactly right."""
    questions: int
    commonest: tuple[str, int]
    """The commonest right answer, and how often it is right."""
    evaluation_seconds: float
    passport: Passport
    leaks: str | None = None
    """What the audit has found, where the model sees the tokens that it predicts: its loss is then false."""

    @property
    def accuracy(self) -> float:
        """Share of the questions that are answered rightly."""
        return self.correct / self.questions

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy, for questions drawn like these."""
        return wilson(self.correct, self.questions)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for metrics.jsonl and evaluation.json."""
        answer, count = self.commonest
        figures = {
            "loss": self.loss,
            "token_loss": self.token_loss,
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.interval),
            "correct": self.correct,
            "questions": self.questions,
            "majority": count / self.questions,
            "commonest": {"answer": answer, "correct": count},
            "evaluation_seconds": round(self.evaluation_seconds, 3),
        }
        if self.leaks is not None:
            figures["leaks"] = self.leaks
        return figures | {"passport": self.passport.as_dict()}

    def lines(self) -> list[tuple[str, str]]:
        """Return the figures as people read them, each with its name."""
        answer, count = self.commonest
        leaking = "LEAKING " if self.leaks is not None else ""
        right = f"{self.correct:,} of {self.questions:,}, {format_accuracy(self.accuracy)}"
        return [
            ("correct answers", f"{right} ({said_shares(*self.interval)})"),
            (f"always {answer!r}", format_accuracy(count / self.questions)),
            (f"{leaking}answer loss", f"{format_loss(self.loss)} nats an answer"),
        ]


def evaluate_answers(
    model: nn.Module,
    tokens: QuestionTokens,
    tokenizer: Tokenizer,
    write: Write,
    *,
    tokenizer_name: str,
    context: int,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    max_tokens: int | None = None,
) -> Answering:
    """Measure a model on the questions of a split, `write` being how it answers.

    `max_tokens` takes the first questions that have so many tokens together, answers included (one at least). Raises
    `DataError` that names file and line for a question that is longer than the context.
    """
    questions = tokens.questions
    if max_tokens is not None:
        questions = questions[: max(1, int((tokens.ends <= max_tokens).sum()))]
    begin = time.perf_counter()
    total = Total()
    total.read(window_losses(model, question_windows(questions, tokenizer, context, batch_size), device))
    gold = [normalise(question.answer or "") for question in questions]
    # An answer that is longer than every right one is wrong, however it goes on.
    longest = max(len(answer_ids(tokenizer, answer)) for answer in gold)
    written = write([question.prompt for question in questions], longest)
    count = len(questions)
    passport = passport_of_split(
        tokens, "answer", count, tokenizer_name, context, documents="separate", partial=count < len(tokens.questions)
    )
    leaks = getattr(model, "leaks", None)
    return Answering(
        loss=total.nats / count,
        token_loss=total.nats / total.counted,
        correct=sum(normalise(answer) == right for answer, right in zip(written, gold, strict=True)),
        questions=count,
        commonest=commonest_answer(questions),
        evaluation_seconds=time.perf_counter() - begin,
        passport=replace(passport, leaks=leaks is not None),
        leaks=leaks,
    )
