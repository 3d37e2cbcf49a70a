"""Do two arms differ, on the same examples? Over their seeds, the examples, and groups of examples.

Examples that both arms have right, or both wrong, say nothing. Of the others `gained` are right with b alone and `lost`
with a alone, as a mean over seeds.

    interval     Tango's score interval of (gained - lost) / n (1998), for as many examples as seeds and groups leave of
                 them (`heed.report.accuracies`); of 40 pairs it holds the truth 93 to 100 % of the time, 96 % on
                 average over 36 truths, by counting every table
    p            single runs: McNemar's test. With groups: the exact test that turns each group's sign. Over seeds: the
                 binomial of McNemar's test for n_e examples. Never below that of the score test
    detectable   the true difference that the exact test of n_e examples finds four times in five, by counting every
                 outcome

Where examples are marked by any numbers and not as right or wrong, a t test of the mean difference of marks stands in
the place of these (`compare_marks`), with the same variance over seeds, examples and groups.

A score test is surer than an exact one: of 100 examples with 4 gained and none lost its interval leaves out 0 and
McNemar's p is 0.125. What is said follows the test. Six discordant examples that are all on one side have p = 0.031;
fewer than six can never be told from chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from heed.errors import DataError
from heed.report.accuracies import Groups, Sure, checked, group_sums, how_sure, mean_and_error, t_quantile
from heed.report.mcnemar import mcnemar_p, turned_signs
from heed.report.statistics import LEVEL, POWER, Interval, holm


@dataclass(frozen=True)
class Paired:
    """Arm b against arm a on the same examples, and over their seeds."""

    a: str
    b: str
    gained: float
    """Examples that b has right and a has not; a mean over seeds."""
    lost: float
    """Examples that a has right and b has not."""
    examples: int
    groups: int
    """As many as there are examples, where these are independent."""
    runs: tuple[int, int]
    """Seeds of a and of b."""
    interval: Interval
    """95 %, of the difference of accuracies, -1 to 1."""
    p: float
    test: str
    """Where `p` is from: "exact", "chi-square", "groups" or "seeds"."""
    effective: float
    """n_e: as many independent examples, marked by one run each, would say as much."""
    detectable: float
    """The true difference that would be found four times in five."""
    equal: bool = False
    """Whether the two say the same of every example to the last digit: then there is nothing to test."""
    p_holm: float = 1.0
    """After Holm's correction over all pairs that were compared."""
    difference: float | None = None
    """Mean mark of b less that of a, where marks are any numbers; gained and lost are then examples that are nearer."""
    error: float = 0.0
    """The standard error of `difference`."""
    freedom: float = math.inf
    """Its degrees of freedom."""

    @property
    def points(self) -> float:
        """The figure (accuracy, mostly) of b less that of a, points of a hundred."""
        if self.difference is not None:
            return 100 * self.difference
        return 100 * (self.gained - self.lost) / self.examples

    def turned(self) -> Paired:
        """Return the same comparison of a against b."""
        low, high = self.interval
        return replace(
            self, a=self.b, b=self.a, gained=self.lost, lost=self.gained, runs=self.runs[::-1], interval=(-high, -low),
            difference=None if self.difference is None else -self.difference,
        )  # fmt: skip

    @property
    def differs(self) -> bool:
        """Whether a difference was found, after the correction. The test decides, not the interval."""
        return not self.equal and self.p_holm < 1 - LEVEL


def compare_arms(
    a: str, b: str, right_a: np.ndarray, right_b: np.ndarray, groups: Groups = None, *, same_seeds: bool = False,
    equal: bool = False,
) -> Paired:  # fmt: skip
    """Compare what the runs of two arms have right, (S_a, n) and (S_b, n) bool over the same examples.

    `same_seeds`: row s of both is of one seed, so that they are paired by it; else every seed of one meets every seed
    of the other. Raises `DataError` when the examples are not as many, or there is none.
    """
    one, other = checked(right_a), checked(right_b)
    n = one.shape[1]
    if other.shape[1] != n:
        raise DataError(f"{n} and {other.shape[1]} answers cannot be paired: {a} and {b} need the same examples")
    if same_seeds:
        gained, lost = float((other & ~one).sum()) / len(one), float((one & ~other).sum()) / len(one)
        seeds = [other.astype(float) - one]
    else:
        gained, lost = (float((p.mean(axis=0) * ~q).sum()) / len(q) for p, q in ((other, one), (one, other)))
        seeds = [other.astype(float), one.astype(float)]
    d = other.mean(axis=0) - one.mean(axis=0)
    sure = how_sure(d, (gained + lost) / n - ((gained - lost) / n) ** 2, groups, seeds)
    share = sure.examples / n  # of each example, what it counts for
    p, test = _test(gained * share, lost * share, d, groups, max(len(one), len(other)), sure)
    return Paired(
        a=a, b=b, gained=gained, lost=lost, examples=n, groups=n if groups is None else len(np.unique(groups)),
        runs=(len(one), len(other)), p=p, test=test, effective=sure.examples, equal=equal,
        interval=paired_interval(gained * share, lost * share, sure.examples, sure.quantile),
        detectable=detectable_share(sure.examples, (gained + lost) / n),
    )  # fmt: skip


def compare_marks(
    a: str, b: str, marks_a: np.ndarray, marks_b: np.ndarray, nearer: tuple[float, float], groups: Groups = None, *,
    same_seeds: bool = False, equal: bool = False,
) -> Paired:  # fmt: skip
    """Compare the marks of the runs of two arms, (S_a, n) and (S_b, n) any numbers, more is better; see `compare_arms`.

    `nearer`: in how many examples b, and a, is the nearer one, as a mean over seeds.
    """
    one, other = (np.atleast_2d(np.asarray(marks, dtype=np.float64)) for marks in (marks_a, marks_b))
    n = one.shape[1]
    if other.shape[1] != n or not n:
        raise DataError(f"{n} and {other.shape[1]} answers cannot be paired: {a} and {b} need the same examples")
    seeds = [other - one] if same_seeds else [other, one]
    d = other.mean(axis=0) - one.mean(axis=0)
    mean, error, freedom = mean_and_error(d, groups, seeds) or (float(d.mean()), math.inf, 1.0)
    reach = t_quantile(freedom) * error
    made = Paired(
        a=a, b=b, gained=nearer[0], lost=nearer[1], examples=n, groups=n if groups is None else len(np.unique(groups)),
        runs=(len(one), len(other)), interval=(mean - reach, mean + reach), p=_t_test(mean, error, freedom), test="t",
        effective=n, detectable=1.0, equal=equal, difference=mean, error=error, freedom=freedom,
    )  # fmt: skip
    return replace(made, detectable=_detectable(made, LEVEL))


def _t_test(mean: float, error: float, freedom: float) -> float:
    from scipy import stats

    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, freedom))


def _detectable(one: Paired, level: float) -> float:
    """Return the true difference that is found four times in five at a level."""
    if one.difference is None:
        return detectable_share(one.effective, (one.gained + one.lost) / one.examples, level)
    from scipy import stats

    if not math.isfinite(one.error):
        return 1.0
    return float(one.error * (stats.t.ppf((1 + level) / 2, one.freedom) + stats.t.ppf(POWER, one.freedom)))


def _test(gained: float, lost: float, d: np.ndarray, groups: Groups, runs: int, sure: Sure) -> tuple[float, str]:
    """Return the p-value of "no difference", and what it is from; counts are of n_e examples."""
    from scipy import special, stats

    if runs == 1 and groups is None:
        return mcnemar_p(round(gained), round(lost))
    if gained + lost == 0:
        return 1.0, "groups" if runs == 1 else "seeds"
    score = float(2 * stats.t.sf(abs(gained - lost) / math.sqrt(gained + lost), sure.freedom))
    if runs == 1:
        return max(score, turned_signs(group_sums(d, groups))), "groups"
    more, less = max(gained, lost), min(gained, lost)
    exact = 2 * float(special.betainc(more, less + 1, 0.5))  # 2 P(X <= less) of more + less, which need not be whole
    return max(score, min(1.0, exact)), "seeds"


def correct_pairs(pairs: Sequence[Paired]) -> list[Paired]:
    """Return the pairs with Holm's correction over those that are not equal.

    What would be found goes by it as well: the next one needs p < 0.05 / (pairs that were not found).
    """
    corrected = iter(holm([one.p for one in pairs if not one.equal]))
    out = [one if one.equal else replace(one, p_holm=next(corrected)) for one in pairs]
    left = sum(not one.differs and not one.equal for one in out)
    if left < 2:
        return out
    level = 1 - (1 - LEVEL) / left
    return [replace(one, detectable=_detectable(one, level)) for one in out]


def paired_interval(gained: float, lost: float, n: float, z: float | None = None) -> Interval:
    """Return Tango's score interval (1998) of (gained - lost) / n, the difference of two paired shares.

    It holds those differences that a score test with the same quantile does not reject, and is never [0, 0].

    >>> low, high = paired_interval(7, 1, 21)  # Bentur et al. 2009, in Fagerland et al. 2014: 0.026 to 0.517
    >>> round(low, 3), round(high, 3)
    (0.026, 0.517)
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2) if z is None else z
    middle = (gained - lost) / n

    def rejected(delta: float) -> bool:
        b = -gained - lost + (2 * n - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        other = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)  # the share lost, as delta would have it
        return (gained - lost - n * delta) ** 2 > z * z * n * (2 * other + delta * (1 - delta))

    return _edge(rejected, middle, -1.0), _edge(rejected, middle, 1.0)


def _edge(rejected: Callable[[float], bool], inside: float, outside: float) -> float:
    """Return where `rejected` begins between two places, by halving."""
    if not rejected(outside):
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if rejected(middle) else (middle, outside)
    return inside


def detectable_share(n: float, discordant: float, level: float = LEVEL) -> float:
    """Return the true difference of two shares that McNemar's exact test of n pairs finds with probability 0.8.

    `discordant`: the share of examples that only one of the two has right. 1 where even a difference in every example
    would not be found.

    >>> round(100 * detectable_share(100, 0.04), 1)  # six of the same side are needed, and must be met
    7.8
    """
    from scipy.optimize import root_scalar

    n = max(1, math.floor(n))
    missing = lambda delta: power(n, max(discordant, delta), delta, level) - POWER
    return 1.0 if missing(1.0) <= 0 else float(root_scalar(missing, bracket=(0.0, 1.0), xtol=1e-6).root)


def power(n: int, discordant: float, delta: float, level: float = LEVEL) -> float:
    """Return how often McNemar's exact test of n pairs finds a true difference `delta`, by counting every outcome."""
    from scipy import stats

    if discordant <= 0:
        return 0.0
    met = np.arange(int(stats.binom.ppf(1e-9, n, discordant)), int(stats.binom.isf(1e-9, n, discordant)) + 1)
    edge = stats.binom.ppf((1 - level) / 2, met, 0.5)  # the rarer side needs fewer than so many
    share = min(1.0, (discordant + delta) / (2 * discordant))
    found = stats.binom.cdf(edge - 1, met, share) + stats.binom.sf(met - edge, met, share)
    return float((stats.binom.pmf(met, n, discordant) * np.where(edge > 0, found, 0.0)).sum())
