"""How sure is a figure that is no mean of its examples, as a correlation is: the bootstrap of seeds and of examples.

    weights (B, n)    how often each of n examples is drawn in each of B resamples; groups are drawn whole
    interval          2.5 % and 97.5 % of the figure's means over drawn seeds                    Efron 1979
    Fisher's z        atanh(r) +- 1.96 / sqrt(n - 3), of one run of independent examples         Fisher 1915
                      for ranks with 1 + r^2 / 2 in the place of 1                               Bonett and Wright 2000

A percentile interval of few groups or seeds is too narrow (`heed.report.accuracies` has counts): what decides whether
two arms differ is a t test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist

import numpy as np

from heed.report.accuracies import Groups
from heed.report.statistics import LEVEL, Interval

RESAMPLES = 2000
AT_ONCE = 2_000_000
"""Weights that are held at a time."""
Figure = Callable[[np.ndarray], np.ndarray]
"""Weights (B, n) -> the figure of each resample (B,); NaN where it has none."""


def bootstrap(figures: Sequence[Figure], n: int, groups: Groups = None) -> Interval | None:
    """Return the 95 % percentile interval of the mean of a figure over runs, one function for each run.

    None where it has no value in most resamples. The draws are the same for equal arguments.

    >>> x = np.arange(50.0)
    >>> low, high = bootstrap([lambda w: (w * x).sum(axis=1) / w.sum(axis=1)], 50)  # 24.5 +- 1.96 * 14.4 / sqrt(50)
    >>> (20 < low < 21, 28 < high < 29)
    (True, True)
    """
    random = np.random.default_rng(n)
    found = np.concatenate([np.stack([of(weights) for of in figures]) for weights in _weights(n, groups, random)], 1)
    drawn = random.multinomial(len(figures), [1 / len(figures)] * len(figures), size=found.shape[1]).T
    means = (found * drawn).sum(axis=0) / len(figures)
    known = means[np.isfinite(means)]
    if len(known) < RESAMPLES / 2:
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _weights(n: int, groups: Groups, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the weights (B, n) of all resamples, some at a time."""
    place = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    G = int(place.max()) + 1
    left, size = RESAMPLES, max(1, AT_ONCE // n)
    while left > 0:
        rows = min(left, size)
        yield random.multinomial(G, np.full(G, 1 / G), size=rows)[:, place].astype(np.float64)
        left -= rows


def pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return Pearson's correlation of x and y under each row of weights (B, n), all 1 where none are given: (B,).

    x and y are (n,) or (B, n). NaN where one of them does not vary.
    """
    w = np.ones((1, x.shape[-1])) if weights is None else weights
    total = w.sum(axis=1)
    mean = lambda values: (w * values).sum(axis=1) / total
    a, b = (values - mean(values)[:, None] for values in (x, y))
    varies = [mean(one * one) > 1e-24 * (1 + mean(values) ** 2) for one, values in ((a, x), (b, y))]
    with np.errstate(invalid="ignore", divide="ignore"):
        r = mean(a * b) / np.sqrt(mean(a * a) * mean(b * b))
    return np.where(varies[0] & varies[1], np.clip(r, -1, 1), np.nan)


def spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return Spearman's correlation of x and y (n,), that of their ranks, equal ones at their mean: (B,)."""
    w = np.ones((1, len(x))) if weights is None else weights
    return pearson(_ranks(x, w), _ranks(y, w), w)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean rank (B, n) of each value, where each counts as often as its weight says."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)
    return (counts.cumsum(axis=1) - counts / 2)[:, place]


def fisher(r: float, n: int, *, ranks: bool = False) -> Interval | None:
    """Return the 95 % interval of a correlation of n independent pairs; None of fewer than four, or where r is NaN.

    >>> low, high = fisher(0.5, 28)
    >>> round(low, 3), round(high, 3)
    (0.156, 0.736)
    """
    if n < 4 or math.isnan(r):
        return None
    if abs(r) >= 1:
        return r, r
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt((1 + (r * r / 2 if ranks else 0)) / (n - 3))
    return math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)
