"""A restricted API over known logits, in numpy: what it shows, rounds, refuses and hides is set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from heed.errors import ApiError
from heed.recovery.oracle import ApiLimits, BiasQuestion, BiasReply


@dataclass
class SimulatedApi:
    """Answers as an API does that has these logits (V,) and computes in `dtype`."""

    logits: np.ndarray
    top: int = 2
    mode: str = "biased"
    """biased, raw or nothing: which probabilities are shown."""
    dtype: type = np.float64
    """What it computes in."""
    printed: type | None = None
    """What it prints in."""
    step: float = 0.0
    """What printed values are rounded to."""
    fixed: frozenset[int] = frozenset()
    """Tokens that a bias does not move."""
    limit: float = 100.0
    biased: int = 1024
    seed: int = 0
    later: np.ndarray | None = None
    """Logits from call `changes_at` on."""
    changes_at: int = 10**9
    calls: int = 0
    asked: list[BiasQuestion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    @property
    def limits(self) -> ApiLimits:
        return ApiLimits(len(self.logits), self.top, self.limit, self.biased)

    @property
    def log_p(self) -> np.ndarray:
        return log_softmax(self.logits.astype(np.float64))

    def __call__(self, questions: Sequence[BiasQuestion]) -> list[BiasReply]:
        return [self.answer(question) for question in questions]

    def answer(self, question: BiasQuestion) -> BiasReply:
        self.calls += 1
        self.asked.append(question)
        assert len(question.bias) <= self.biased, "the API refuses: too many biased tokens"
        assert all(abs(bias) <= self.limit for _, bias in question.bias), "the API refuses: the bias is too large"
        logits = (self.logits if self.later is None or self.calls < self.changes_at else self.later).astype(self.dtype)
        moved = logits.copy()
        for token, bias in question.bias:
            if token not in self.fixed:
                moved[token] = self.dtype(moved[token] + self.dtype(bias))
        after = log_softmax(moved)
        if question.greedy:
            token = int(after.argmax())
        else:
            below = np.cumsum(np.exp(after.astype(np.float64)))
            token = int(np.searchsorted(below, self.random.random() * below[-1], side="right"))
        if self.mode == "nothing":
            return BiasReply(token)
        reported = after if self.mode == "biased" else log_softmax(logits)
        enough = np.flatnonzero(reported >= np.partition(reported, -self.top)[-self.top])
        likeliest = enough[np.argsort(-reported[enough], kind="stable")][: self.top]
        return BiasReply(token, self.show(reported[token]), tuple((int(v), self.show(reported[v])) for v in likeliest))

    def show(self, value: np.floating) -> float:
        if self.step:
            return float(np.round(float(value) / self.step) * self.step)
        return float(value if self.printed is None else self.printed(value))


@dataclass
class FailingApi:
    """An API that fails in one call of ten."""

    api: SimulatedApi
    failures: int = 0

    def __call__(self, questions: Sequence[BiasQuestion]) -> list[BiasReply]:
        replies = []
        for question in questions:
            if self.api.random.random() < 0.1:
                self.failures += 1
                raise ApiError("the server failed")
            replies.append(self.api.answer(question))
        return replies


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum(dtype=logits.dtype), dtype=logits.dtype)


def some_logits(vocabulary: int, seed: int = 0, spread: float = 3.0) -> np.ndarray:
    """Return logits (V,) as a model of language has them: a few likely tokens, a long tail."""
    random = np.random.default_rng(seed)
    return (spread * random.normal(size=vocabulary) - 2.0).astype(np.float32)
