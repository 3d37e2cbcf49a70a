"""Log-probabilities as far as they were read, each with its error bar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Readings:
    """What was read of some tokens: token id -> (log-probability, how far it may be off), in nats."""

    values: dict[int, tuple[float, float]] = field(default_factory=dict)
    relative: bool = False
    """Whether the values are known up to a common shift only: no probability was ever shown."""

    def put(self, token: int, value: float, error: float) -> None:
        """Add what was read of a token."""
        self.values[token] = (float(value), float(error))

    def missing(self, tokens: Iterable[int]) -> list[int]:
        """Return those of some tokens that were not read."""
        return [token for token in tokens if token not in self.values]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (ids (n,) int64, values (n,), errors (n,)), in the order of ids."""
        ids = np.array(sorted(self.values), dtype=np.int64)
        pairs = np.array([self.values[token] for token in ids.tolist()], dtype=np.float64).reshape(-1, 2)
        return ids, pairs[:, 0], pairs[:, 1]


@dataclass(frozen=True)
class Distribution:
    """The log-probabilities of a vocabulary; what was never seen is NaN, its error infinite."""

    method: str
    log_p: np.ndarray
    """(V,) float64, nats."""
    error: np.ndarray
    """(V,) float64: the exact value is at most so far away."""
    calls: int = 0
    """Questions that were asked for it."""
    notes: tuple[str, ...] = ()
    """What a reader must know."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """Figures of the method: the residual of a fit, the dimension."""

    @property
    def seen(self) -> np.ndarray:
        """(V,) bool: which tokens have a value."""
        return np.isfinite(self.log_p)

    @property
    def seen_mass(self) -> tuple[float, float]:
        """What the seen tokens have together, and how far that may be off."""
        p = np.exp(self.log_p[self.seen])
        with np.errstate(over="ignore"):
            return float(p.sum()), float((p * np.expm1(self.error[self.seen])).sum())

    @property
    def unseen_mass(self) -> float:
        """What is left for the tokens that were never seen; exactly 0 where there are none."""
        return 0.0 if self.seen.all() else max(0.0, 1.0 - self.seen_mass[0])


def distribution_of(method: str, readings: Readings, vocabulary: int) -> Distribution:
    """Return the distribution that some readings make; relative ones are made to add up to 1.

    A token that no bias made the likeliest may still be as likely as the likeliest, where it cannot be biased: error
    bars of relative readings hold that too.
    """
    log_p, error = np.full(vocabulary, np.nan), np.full(vocabulary, np.inf)
    ids, values, errors = readings.arrays()
    log_p[ids], error[ids] = values, errors
    if readings.relative and ids.size:
        top = values.max()
        total = np.exp(values - top).sum()
        off = (np.exp(values - top) * np.expm1(errors)).sum() / total + (vocabulary - ids.size) / total
        log_p -= top + np.log(total)
        error += np.log1p(off)
    return Distribution(method, log_p, error)
