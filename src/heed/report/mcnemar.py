"""Do two classifiers differ, on the same examples? The test of McNemar 1947, over every pair.

Examples that both have right, or both wrong, say nothing. Of the others, the discordant pairs, let `gained` be right
with b alone and `lost` be right with a alone. If a and b were equally good each would be as likely:

    fewer than 25 discordant pairs   exact: 2 P(X <= the smaller), X binomial with n pairs and 1/2
    else                             chi-square, 1 degree of freedom, (|gained - lost| - 1)^2 / (gained + lost)
                                     (the continuity correction of Edwards 1948)

p-values of all pairs are corrected together (Holm 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from heed.errors import DataError
from heed.report.statistics import LEVEL, holm, sign_test

EXACT_BELOW = 25
"""Discordant pairs below which the binomial is summed: chi-square is rough there."""


@dataclass(frozen=True)
class McNemar:
    """Classifier b against classifier a on the same examples."""

    a: str
    b: str
    gained: int
    """Right with b, wrong with a."""
    lost: int
    """Right with a, wrong with b."""
    both: int
    """Right with both."""
    examples: int
    p: float
    exact: bool
    """Whether p comes from the binomial; else from chi-square."""
    p_holm: float = 1.0
    """After Holm's correction over all pairs that were compared."""

    @property
    def points(self) -> float:
        """Accuracy of b less that of a, points of a hundred."""
        return 100 * (self.gained - self.lost) / self.examples

    @property
    def differs(self) -> bool:
        """Whether a difference was found, after the correction."""
        return self.p_holm < 1 - LEVEL

    @property
    def neither(self) -> int:
        """Wrong with both."""
        return self.examples - self.both - self.gained - self.lost


def mcnemar(a: str, b: str, right_a: np.ndarray, right_b: np.ndarray) -> McNemar:
    """Compare two classifiers by what each has right, (n,) bool in the same order.

    Raises `DataError` when the examples are not as many, or there is none.

    >>> one = mcnemar("a", "b", np.array([1, 1, 0, 0, 0, 0], bool), np.array([1, 0, 1, 1, 1, 0], bool))
    >>> one.gained, one.lost, one.p  # 2 (1 + 4) / 2^4
    (3, 1, 0.625)
    """
    one, other = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    if one.ndim != 1 or one.shape != other.shape or not len(one):
        raise DataError(f"{one.size} and {other.size} answers cannot be paired: {a} and {b} need the same examples")
    gained, lost = int((other & ~one).sum()), int((one & ~other).sum())
    exact = gained + lost < EXACT_BELOW
    p = sign_test(other.astype(float) - one) if exact else chi_square(gained, lost)
    return McNemar(a, b, gained, lost, int((one & other).sum()), len(one), p, exact)


def chi_square(gained: int, lost: int) -> float:
    """Return the p-value of McNemar's chi-square with its continuity correction.

    >>> round(chi_square(121, 59), 6)  # (62 - 1)^2 / 180 = 20.67
    5e-06
    """
    statistic = max(0, abs(gained - lost) - 1) ** 2 / (gained + lost)
    return math.erfc(math.sqrt(statistic / 2))  # the upper tail of chi-square with 1 degree of freedom


def pairwise(right: Mapping[str, np.ndarray]) -> list[McNemar]:
    """Return every pair of classifiers, in the order given, with Holm's correction over all of them.

    `right` says what each classifier has right, (n,) bool over the same examples.
    """
    found = [mcnemar(a, b, right[a], right[b]) for a, b in combinations(right, 2)]
    corrected = holm([one.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]
