"""Top-p sampling on an API that does not offer it: the nucleus is read, and the draw is made here.

    ids ──> nucleus of what comes next (read once for each text) ──> one of its tokens, by a seed ──> ids + token

The nucleus is the smallest set of likeliest tokens that have `top_p` together (Holtzman et al. 2020), at temperature 1:
for another one the probabilities of all tokens would be needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from heed.errors import ApiError
from heed.recovery.methods import Remembered
from heed.recovery.nucleus import read_nucleus
from heed.recovery.oracle import ApiLimits, Ask
from heed.recovery.probe import ApiTraits, elsewhere, probe
from heed.recovery.resolution import resolution_of


@dataclass(frozen=True)
class TokenNucleus:
    """The likeliest tokens, the first one first."""

    tokens: tuple[int, ...]
    p: np.ndarray
    """Their probabilities in the whole distribution."""
    error: float
    """How far their logarithms may be off, in nats."""

    def draw(self, random: np.random.Generator) -> tuple[int, float]:
        """Return (token, its log-probability in the whole distribution)."""
        below = np.cumsum(self.p)
        at = int(np.searchsorted(below, random.random() * below[-1], side="right"))
        at = min(at, len(self.tokens) - 1)
        return self.tokens[at], float(np.log(self.p[at]))


@dataclass(frozen=True)
class DrawnText:
    """What was written after a prompt."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    reason: str
    """length, or end: an end-of-text token, which is not among the ids."""


class NucleusSampler:
    """Writes with an API. `ask_about` gives what asks about a prompt."""

    def __init__(self, ask_about: Callable[[tuple[int, ...]], Ask], limits: ApiLimits, top_p: float) -> None:
        self._ask_about, self._limits, self.top_p = ask_about, limits, top_p
        self._traits: ApiTraits | None = None
        self._known: dict[tuple[int, ...], TokenNucleus] = {}
        self.calls = 0
        """Questions that were asked."""

    def nucleus(self, ids: tuple[int, ...]) -> TokenNucleus:
        """Return the nucleus of what comes after some ids.

        Raises `ApiError` where the API shows no probabilities, or allows too few bans to reach `top_p`.
        """
        if ids not in self._known:
            self._known[ids] = self._read(ids)
        return self._known[ids]

    def write(
        self,
        ids: tuple[int, ...],
        most: int,
        seed: list[int],
        end: int | None = None,
        stop: Callable[[list[int]], bool] = lambda new: False,
    ) -> DrawnText:
        """Return at most so many tokens after some ids, fewer where `stop` says so; a seed gives the same ones."""
        random = np.random.default_rng(seed)
        new: list[int] = []
        logprobs: list[float] = []
        while len(new) < most and not stop(new):
            token, logprob = self.nucleus((*ids, *new)).draw(random)
            if token == end:
                return DrawnText(tuple(new), tuple(logprobs), "end")
            new.append(token)
            logprobs.append(logprob)
        return DrawnText(tuple(new), tuple(logprobs), "length")

    def _read(self, ids: tuple[int, ...]) -> TokenNucleus:
        ask = Remembered(self._ask_about(ids))
        if self._traits is None:
            self._traits = probe(ask, self._limits)
            traits = self._traits
        else:
            traits = elsewhere(ask, self._traits)
        readings = read_nucleus(ask, traits, self.top_p)
        if (finer := resolution_of(ask.values())) != traits.resolution:
            readings = read_nucleus(ask, replace(traits, resolution=finer), self.top_p)
        self.calls += len(ask.replies)
        tokens, values, errors = readings.arrays()
        order = np.lexsort((tokens, -values))
        p = np.exp(values[order])
        enough = int(np.searchsorted(np.cumsum(p), self.top_p)) + 1
        if enough > len(p):
            raise ApiError(
                f"{len(p)} tokens have {p.sum():.3f} of the probability here, and no more can be read: a top-p of "
                f"{self.top_p:g} cannot be drawn from; take a smaller one"
            )
        kept = order[:enough]
        return TokenNucleus(tuple(tokens[kept].tolist()), p[:enough], float(errors[kept].max()))
