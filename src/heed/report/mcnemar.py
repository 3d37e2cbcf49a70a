"""Do two classifiers differ, on the same examples? The test of McNemar 1947, and what takes its place with groups.

Examples that both have right, or both wrong, say nothing. Of the others, the discordant pairs, let `gained` be right
with b alone and `lost` be right with a alone. If a and b were equally good each would be as likely:

    fewer than 25 discordant pairs   exact: 2 P(X <= the smaller), X binomial with n pairs and 1/2
    else                             chi-square, 1 degree of freedom, (|gained - lost| - 1)^2 / (gained + lost)
                                     (the continuity correction of Edwards 1948)
    groups of examples               exact: the groups' differences with every choice of their signs
"""

from __future__ import annotations

import math

import numpy as np

from heed.report.statistics import sign_test

EXACT_BELOW = 25
"""Discordant pairs below which the binomial is summed: chi-square is rough there."""


def mcnemar_p(gained: int, lost: int) -> tuple[float, str]:
    """Return the p-value of two classifiers being equally good, and what it is from: "exact" or "chi-square".

    >>> mcnemar_p(3, 1), mcnemar_p(6, 0)[0], mcnemar_p(4, 0)[0]  # 2 (1 + 4) / 2^4, 2 / 2^6, 2 / 2^4
    ((0.625, 'exact'), 0.03125, 0.125)
    """
    if gained + lost < EXACT_BELOW:
        return sign_test([1.0] * gained + [-1.0] * lost), "exact"
    return chi_square(gained, lost), "chi-square"


def chi_square(gained: int, lost: int) -> float:
    """Return the p-value of McNemar's chi-square with its continuity correction.

    >>> round(chi_square(121, 59), 6)  # (62 - 1)^2 / 180 = 20.67
    5e-06
    """
    statistic = max(0, abs(gained - lost) - 1) ** 2 / (gained + lost)
    return math.erfc(math.sqrt(statistic / 2))  # the upper tail of chi-square with 1 degree of freedom


def turned_signs(sums: np.ndarray) -> float:
    """Return the share of all ways to turn the signs of whole numbers (G,) whose sum is as far from 0 as theirs.

    The exact test that two arms do equally well in groups of examples: in each, either could have been the better one.
    With one discordant example a group it is McNemar's exact test.

    >>> turned_signs(np.array([1, 1, 1, 1, 1, 1])), turned_signs(np.array([4, 0])), turned_signs(np.array([3, 1, -1]))
    (0.03125, 1.0, 0.75)
    """
    steps = np.abs(sums[sums != 0]).astype(int)
    reach = int(steps.sum())
    chance = np.zeros(2 * reach + 1)
    chance[reach] = 1.0
    for step in steps.tolist():  # the distribution of the sum, one group after the other
        moved = np.zeros_like(chance)
        moved[step:] += 0.5 * chance[: len(chance) - step]
        moved[: len(chance) - step] += 0.5 * chance[step:]
        chance = moved
    far = abs(int(sums.sum()))
    return min(1.0, float(chance[np.abs(np.arange(-reach, reach + 1)) >= far].sum()))
