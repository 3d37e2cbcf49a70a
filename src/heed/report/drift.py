"""How new texts differ from the test split of a run: in the figure, in labels and answers, in how sure the run is.

    difference    d = n - t, of two independent samples; its interval out of the interval (l, u) of each:
                  d - sqrt((n - l_n)^2 + (u_t - t)^2)  to  d + sqrt((u_n - n)^2 + (t - l_t)^2)
                  (Zou and Donner 2008); with Wilson's of two accuracies it is method 10 of Newcombe 1998 for
                  independent proportions
    shift         a distance of labels (`Grading.distance`), which is above 0 for any two samples of the same texts:
                  `chance` is its mean over random exchanges of texts between both, p the share of exchanges that come
                  to as much (a permutation test that counts the samples themselves: (1 + more) / (1 + draws))

What this can tell: that figures, labels or answers are others than on the test split. What it cannot: why; whether
texts changed whose labels and answers are distributed as before; and, of a difference that is not found, that there is
none. Texts of one group count together, and are exchanged together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from heed.report.accuracies import Groups, marks_interval
from heed.report.gradings import Grading, RunAnswers
from heed.report.statistics import LEVEL, POWER, Interval

DRAWS, FEWER, MANY = 1000, 200, 100_000
"""Random exchanges of the texts of two samples; those of more than so many texts."""


@dataclass(frozen=True)
class MeanChange:
    """A mean of new texts, and of those of the test split."""

    new: float
    test: float
    interval: Interval | None
    """95 %, of `difference`; None where one of both is of one group alone."""

    @property
    def difference(self) -> float:
        """The new one less that of the test split."""
        return self.new - self.test

    @property
    def found(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def detectable(self) -> float | None:
        """About the true difference that would be found four times in five: (z_0.975 + z_0.8) standard errors."""
        if self.interval is None:
            return None
        z, power = NormalDist().inv_cdf((1 + LEVEL) / 2), NormalDist().inv_cdf(POWER)
        return (self.interval[1] - self.interval[0]) / 2 * (z + power) / z


@dataclass(frozen=True)
class Shift:
    """How far the labels, or the answers, of two samples lie apart."""

    distance: float
    chance: float
    """What samples of the same texts would come to on average."""
    p: float
    """How often they would come to as much."""

    @property
    def found(self) -> bool:
        """Whether that is once in twenty or less."""
        return self.p <= 1 - LEVEL


@dataclass(frozen=True)
class Drift:
    """New texts against the test split."""

    figure: MeanChange
    labels: Shift
    answers: Shift
    """Of what the run says."""
    confidence: MeanChange | None
    """Of the mean probability of what is said; None where there is none."""


def drift_of(grading: Grading, new: RunAnswers, test: RunAnswers) -> Drift:
    """Return how new texts differ from those of the test split."""
    sure = [grading.confidence(one) for one in (new, test)]
    return Drift(
        figure=change(new.marks, test.marks, new, test, grading.interval),
        labels=shift(new.labels, test.labels, grading.distance, new.groups, test.groups),
        answers=shift(new.predicted, test.predicted, grading.distance, new.groups, test.groups),
        confidence=None if sure[0] is None or sure[1] is None else change(sure[0], sure[1], new, test, marks_interval),
    )


def change(
    new: np.ndarray, test: np.ndarray, of_new: RunAnswers, of_test: RunAnswers, interval: Callable[..., Interval | None]
) -> MeanChange:
    """Return the change of the mean of values (n,) to those of the test split (m,)."""
    n, t = float(new.mean()), float(test.mean())
    return MeanChange(n, t, apart(n, interval(new[None], of_new.groups), t, interval(test[None], of_test.groups)))


def apart(a: float, of_a: Interval | None, b: float, of_b: Interval | None) -> Interval | None:
    """Return the 95 % interval of a - b out of those of a and b, which are independent; None where one has none.

    >>> from heed.report.statistics import wilson
    >>> low, high = apart(56 / 70, wilson(56, 70), 48 / 80, wilson(48, 80))  # Newcombe 1998, table II, (a), method 10
    >>> round(low, 4), round(high, 4)
    (0.0524, 0.3339)
    """
    if of_a is None or of_b is None:
        return None
    down = math.hypot(a - of_a[0], of_b[1] - b)
    up = math.hypot(of_a[1] - a, b - of_b[0])
    return a - b - down, a - b + up


def shift(
    new: np.ndarray,
    test: np.ndarray,
    distance: Callable[[np.ndarray, np.ndarray], float],
    of_new: Groups = None,
    of_test: Groups = None,
) -> Shift:
    """Return how far labels (n, ...) lie from those of the test split (m, ...); `of_new`, `of_test` are the groups."""
    found, both = distance(new, test), np.concatenate([new, test])
    first, second = (
        np.arange(len(one)) if groups is None else np.unique(groups, return_inverse=True)[1]
        for one, groups in ((new, of_new), (test, of_test))
    )
    count = int(first.max()) + 1
    group = np.concatenate([first, second + count])
    random, drawn = np.random.default_rng(0), np.empty(DRAWS if len(both) <= MANY else FEWER)
    for draw in range(len(drawn)):
        taken = np.zeros(group.max() + 1, dtype=bool)
        taken[random.permutation(len(taken))[:count]] = True
        is_new = taken[group]
        drawn[draw] = distance(both[is_new], both[~is_new])
    as_much = int((drawn >= found - 1e-12).sum())
    return Shift(found, float(drawn.mean()), (1 + as_much) / (1 + len(drawn)))
