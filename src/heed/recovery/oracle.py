"""What a method asks an API, and what it is told: the only thing that the methods know of a server.

    BiasQuestion ──> Ask (a server, or a simulation of one) ──> BiasReply

The prompt is the same in all questions, so it is no part of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BiasQuestion:
    """Which token comes next, with a bias on the logits of some."""

    bias: tuple[tuple[int, float], ...] = ()
    """(token id, what is added to its logit), in the order of ids."""
    greedy: bool = False
    """Whether the likeliest token is wanted (temperature 0), or one drawn at temperature 1."""
    again: int = 0
    """Not asked of the API: a question that differs in this alone is asked anew, where its reply would be known."""


@dataclass(frozen=True)
class BiasReply:
    """The token that an API took, and what it showed of the probabilities."""

    token: int
    """-1 where the API does not tell."""
    logprob: float | None = None
    """Of that token, where the API tells it."""
    top: tuple[tuple[int, float], ...] = ()
    """(token id, log-probability) of the likeliest tokens."""

    @property
    def shown(self) -> dict[int, float]:
        """Log-probabilities by token: the likeliest ones, and the one that was taken."""
        own = {} if self.logprob is None or self.token < 0 else {self.token: self.logprob}
        return own | dict(self.top)


Ask = Callable[[Sequence[BiasQuestion]], list[BiasReply]]
"""Gives the replies to questions, in their order; several may be on their way at once."""


@dataclass(frozen=True)
class ApiLimits:
    """What an API allows."""

    vocabulary: int
    """Tokens that there are."""
    top: int
    """Likeliest tokens that it shows at most (k)."""
    bias: float = 100.0
    """Largest bias, either way."""
    biased: int = 1024
    """Tokens that may be biased in one call."""


def biased(tokens: Sequence[int], bias: float, *, greedy: bool = False) -> BiasQuestion:
    """Return the question with the same bias on some tokens.

    >>> biased([7, 3], 40.0)
    BiasQuestion(bias=((3, 40.0), (7, 40.0)), greedy=False, again=0)
    """
    return BiasQuestion(tuple((token, bias) for token in sorted(tokens)), greedy)
