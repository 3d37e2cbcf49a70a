"""How sure is an accuracy, and the difference of two on the same examples: over seeds, examples and their groups.

S runs of an arm mark n examples as right or not, r_si in {0, 1}, with the mean p. Examples that share a passage, an
author or a document are one of G groups; without such, each is its own. Other seeds and other examples would have come
to another mean, with the variance

    V = V_e + max(0, V_s - V_r)
    V_e = G / (G-1) sum_g (sum over i in g of (r_i - p))^2 / n^2                     groups; r_i: the mean over seeds
    V_s = sum_s (r_s - p)^2 / (S-1) / S                                              seeds;  r_s: the mean over examples
    V_r = G / (G-1) sum_sg (sum over i in g of (r_si - r_i - r_s + p))^2 / n^2 / (S-1) / S         both: it is in both

which is what resampling seeds, then groups, measures, without its noise. The examples then say as much as

    n_e = p (1 - p) / V                        independent ones with one run would, at most n (Korn and Graubard 1998)

and a score interval is taken for n_e of them, with the t quantile of V's degrees of freedom (Satterthwaite 1946):
Wilson's (1927) for an accuracy, Tango's (1998) for a paired difference. With one run of examples without groups nothing
is estimated: n_e is n, and both are what they are in their papers. How often they hold the truth was counted, beside
the percentile bootstrap of seeds and groups (`tests/report/test_accuracies.py`, 800 draws each): 3 seeds that differ a
lot 93 % (the bootstrap 87 %), 6 groups of ten 94 % (87 %), 3 seeds with 99 % right of 100 96 % (70 %).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from heed.errors import DataError
from heed.report.statistics import LEVEL, Interval, wilson

Groups = np.ndarray | None
"""(n,) the number of each example's group; None: each example is its own."""


@dataclass(frozen=True)
class Sure:
    """How much a mean over seeds and examples says."""

    examples: float
    """n_e: as many independent examples, marked by one run, would say as much."""
    quantile: float
    """Of t, or of the normal distribution where no variance is estimated."""
    freedom: float
    """Degrees of freedom of t; infinite for the normal distribution."""


def accuracy_interval(right: np.ndarray, groups: Groups = None) -> Interval:
    """Return the 95 % interval of an accuracy from what each run has right, (S, n) bool.

    >>> passages = np.repeat(np.arange(6), 10)  # six passages with 1, 10, 0, 7, 0 and 10 of ten right
    >>> right = np.concatenate([np.arange(10) < k for k in (1, 10, 0, 7, 0, 10)])
    >>> low, high = accuracy_interval(right[None], passages)
    >>> round(low, 2), round(high, 2)
    (0.13, 0.84)
    """
    r = checked(right)
    p = float(r.mean())
    sure = how_sure(r.mean(axis=0), p * (1 - p), groups, [r.astype(float)])
    return wilson(p * sure.examples, sure.examples, quantile=sure.quantile)


def counted_interval(correct: Sequence[int], examples: int) -> Interval:
    """Return the interval of an accuracy where only the counts of each run are known, and not which examples.

    The runs' spread then counts beside that of the examples, although a part of it is the examples' own.
    """
    p = sum(correct) / len(correct) / examples
    spread = float(np.var(np.array(correct) / examples, ddof=1)) / len(correct) if len(correct) > 1 else 0.0
    if not spread:
        return wilson(p * examples, examples)
    own = p * (1 - p) / examples
    freedom = (own + spread) ** 2 / (spread**2 / (len(correct) - 1))
    n = p * (1 - p) / (own + spread)
    return wilson(p * n, n, quantile=t_quantile(freedom))


def how_sure(means: np.ndarray, spread: float, groups: Groups, seeds: Sequence[np.ndarray]) -> Sure:
    """Return n_e and the quantile; see the head of this file.

    `means`: (n,) of each example, over seeds; `spread`: the variance of one of n_e independent examples; `seeds`: rows
    (S, n) of each part of the mean that varies with its own seeds; with one row it does not.
    """
    n, rows = len(means), [one for one in seeds if len(one) > 1]
    if groups is None and not rows:
        return Sure(n, NormalDist().inv_cdf((1 + LEVEL) / 2), math.inf)
    sums = group_sums(means - means.mean(), groups)
    G = len(sums)
    as_groups = Sure(G, t_quantile(max(1, G - 1)), max(1, G - 1))  # as if each group were one example
    if spread <= 0 or G < 2:
        return as_groups
    whole, freedom = variance(sums, n, groups, rows)
    if whole <= 0:
        return as_groups
    return Sure(min(n, spread / whole), t_quantile(freedom), freedom)


def variance(sums: np.ndarray, n: int, groups: Groups, rows: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return V, the variance of a mean over seeds and n examples, and its degrees of freedom (the head of this file).

    `sums` (G,): over the groups, of each example's distance from the mean; `rows`: parts with more than one seed.
    """
    G = len(sums)
    scale = G / (G - 1) / n**2
    whole = float((sums**2).sum()) * scale
    uncertain = whole**2 / (G - 1)
    for one in rows:
        S = len(one)
        of_seeds = one.mean(axis=1) - one.mean()
        rest = one - one.mean(axis=0) - of_seeds[:, None]
        both = sum(float((group_sums(row, groups) ** 2).sum()) for row in rest) * scale
        more = max(0.0, float((of_seeds**2).sum()) - both) / (S - 1) / S
        whole, uncertain = whole + more, uncertain + more**2 / (S - 1)
    return whole, whole**2 / uncertain if uncertain > 0 else G - 1.0


def mean_and_error(means: np.ndarray, groups: Groups, seeds: Sequence[np.ndarray]) -> tuple[float, float, float] | None:
    """Return the mean of any numbers, its standard error and degrees of freedom; None of one group alone.

    `means` (n,) and `seeds` are those of `how_sure`.
    """
    mean = float(means.mean())
    sums = group_sums(means - mean, groups)
    if len(sums) < 2:
        return None
    whole, freedom = variance(sums, len(means), groups, [one for one in seeds if len(one) > 1])
    return mean, math.sqrt(whole), freedom


def marks_interval(marks: np.ndarray, groups: Groups = None) -> Interval | None:
    """Return the 95 % t interval of the mean of marks (S, n) that are any numbers; None of one group alone.

    >>> low, high = marks_interval(np.array([[1.0, 2.0, 3.0, 6.0]]))  # 3 +- 3.182 * 2.160 / 2
    >>> round(low, 2), round(high, 2)
    (-0.44, 6.44)
    """
    rows = np.atleast_2d(np.asarray(marks, dtype=np.float64))
    found = mean_and_error(rows.mean(axis=0), groups, [rows])
    if found is None:
        return None
    mean, error, freedom = found
    reach = t_quantile(freedom) * error
    return mean - reach, mean + reach


def group_sums(values: np.ndarray, groups: Groups) -> np.ndarray:
    """Return the sums (G,) of values (n,) over groups."""
    if groups is None:
        return values
    _, place = np.unique(groups, return_inverse=True)
    return np.bincount(place, weights=values)


def t_quantile(freedom: float) -> float:
    """Return the quantile of t that a 95 % interval goes by."""
    from scipy import stats

    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))


def checked(right: np.ndarray) -> np.ndarray:
    """Return rows (S, n) bool. Raises `DataError` where there is none."""
    rows = np.atleast_2d(np.asarray(right, dtype=bool))
    if rows.ndim != 2 or not rows.size:
        raise DataError("there is no example to measure: give at least one")
    return rows
