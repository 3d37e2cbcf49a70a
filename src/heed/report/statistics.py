"""Does it matter? Paired differences over seeds, their intervals, and what the design could not have seen.

Two variants are run with the same seeds: the same order of the data and, where shapes allow, the same first weights.
What both have in common falls out of the difference d_i = b_i - a_i of seed i, and with n seeds

    t interval           mean(d) +- t(n-1, 0.975) s / sqrt(n)                 Student 1908
    bootstrap interval   2.5 % and 97.5 % of the means of n draws from d      Efron 1979
    sign test            how often a fair coin falls as one-sided as d does   Arbuthnot 1710
    Holm                 p-values of m variants, kept honest together         Holm 1979
    detectable           the true difference that this t test finds 4 times in 5 (power 0.8), at the level that Holm's
                         procedure ended at: 0.05 / (m - what was found). A smaller one is found less often, three
                         quarters of it about 60 times in 100 and half of it 36 times (3 seeds): it is no bound

The bootstrap of few seeds is too narrow (three draws of three values leave out much); the sentence goes by the t
interval, and the bootstrap stands beside it as a witness against outliers. A variant whose figures are equal to the
last digit with every seed is the same: it has no p-value and does not count among the m of Holm's correction.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist, fmean

import numpy as np

from heed.errors import ConfigError
from heed.report.numbers import LEVEL, MISSING, said_difference, said_effect, said_half, said_p

POWER = 0.8
RATIO = 0.975
"""The level of the interval of each of two medians, so that their ratio has 95 % (Bonferroni)."""
RESAMPLES = 10_000
ALL_RESAMPLES = 50_000
"""Up to so many resamples every one is taken, and none is drawn at random: n^n for n <= 6 seeds."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """Variant b against variant a, paired over seeds: what b - a is, and how sure."""

    a: str
    b: str
    differences: tuple[float, ...]
    """b - a, one for each seed."""
    mean: float
    t_interval: Interval | None
    """None with fewer than two seeds, and where all differences are equal: neither says anything about noise."""
    bootstrap_interval: Interval | None
    p_t: float | None
    """Two-sided p-value of the paired t test, of the sign test where all differences are equal; None where they are 0,
    and with fewer than two seeds."""
    p_sign: float | None
    """Two-sided p-value of the sign test; ties are left out."""
    detectable: float | None
    """The smallest true difference that is found 4 times in 5, by the spread of these seeds; `correct` makes it that
    among all. None where there is no interval."""
    level: float = LEVEL
    """1 - the p-value that is asked of it: `correct` makes it stricter among several."""
    p_holm: float | None = None
    """`p_t` after Holm's correction over the variants that were compared; None before it."""
    higher_is_better: bool = False
    """Whether more is better, as of an accuracy; of losses, perplexities and bits, less is."""

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.differences)

    @property
    def same(self) -> bool:
        """Whether both have the same figures, to the last digit."""
        return not any(self.differences)

    @property
    def verdict(self) -> str:
        """What b is: "the same", "worse", "better" or "no difference found", after the correction."""
        if self.same:
            return "the same"
        return self.direction if self._p is not None and self._p < 1 - LEVEL else "no difference found"

    @property
    def found(self) -> bool:
        """Whether a difference was found, after the correction."""
        return self.verdict in ("worse", "better")

    @property
    def direction(self) -> str:
        """worse, better or "neither worse nor better": what the sign of the mean says, whatever the noise."""
        if self.mean == 0:
            return "neither worse nor better"
        return "better" if (self.mean > 0) == self.higher_is_better else "worse"

    @property
    def only_uncorrected(self) -> bool:
        """Whether the difference would count if it were the only one, and does not among all that were compared."""
        return self.p_t is not None and self.p_t < 1 - LEVEL and self.verdict == "no difference found"

    def sentence(self, unit: str = "nats") -> str:
        """Say in a sentence what was found."""
        seeds = "one seed" if self.n == 1 else f"{self.n} seeds"
        if self.same:
            return f"{self.b} is the same as {self.a}: equal figures to the last digit, {seeds}"
        amount = f"{said_difference(self.mean, None)} {unit}"
        if self.n == 1:
            return f"{self.b} came out {self.direction} than {self.a}: {amount}, one seed, which says nothing of noise"
        how = f"{self.b} is {self.verdict} than {self.a}"
        if not self.found:
            how = f"no difference found between {self.b} and {self.a}"
        p = MISSING if self._p is None else said_p(self._p)
        if self.t_interval is None:
            return (
                f"{how}: {amount} with each of {seeds}; without a spread a t test says nothing, and the sign test "
                f"p = {p}" + self._correction()
            )
        mean, between = said_difference(self.mean, self.t_interval).split(" ", 1)
        said = f"{how}: {mean} {unit} (95 % interval {between[1:-1]}), {seeds}, p = {p}"
        if self.found or self.detectable is None:
            return said
        return f"{said}; {said_effect(self.detectable, unit)}" + self._correction()

    @property
    def _p(self) -> float | None:
        """The p-value that decides."""
        return self.p_t if self.p_holm is None else self.p_holm

    def _correction(self) -> str:
        """Say that the correction decided, where it did."""
        if not self.only_uncorrected:
            return ""
        return f" (alone it would count, p = {said_p(self.p_t or 0.0)}; among all that were compared it does not)"


def compare_pairs(
    a: str, b: str, figures_a: Mapping[int, float], figures_b: Mapping[int, float], *, higher_is_better: bool = False
) -> Difference:
    """Return the paired difference b - a of two variants, from their figures by seed.

    Seeds that only one of them has are left out. Raises `ConfigError` when none is left, or a figure is not finite.

    >>> compare_pairs("pre", "post", {1: 2.0, 2: 3.0}, {1: 2.5, 2: 3.5}).mean
    0.5
    """
    seeds = sorted(figures_a.keys() & figures_b.keys())
    if not seeds:
        raise ConfigError(f"{a} and {b} have no seed in common: run both with the same seeds")
    d = np.array([figures_b[seed] - figures_a[seed] for seed in seeds], dtype=np.float64)
    if not np.isfinite(d).all():
        raise ConfigError(f"a figure of {a} or {b} is not finite: leave out the variant that broke down")
    one = Difference(
        a, b, tuple(d.tolist()), float(d.mean()), None, None, None, None, None, higher_is_better=higher_is_better
    )  # fmt: skip
    if one.n < 2 or one.same:
        return one
    one = replace(one, p_t=t_test(d), p_sign=sign_test(d))
    if no_spread(d):
        return one
    size = detectable(float(d.std(ddof=1)), len(d))
    return replace(one, t_interval=t_interval(d), bootstrap_interval=bootstrap_interval(d), detectable=size)


def t_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Return the t interval of the mean of at least two values.

    >>> low, high = t_interval([1.0, 2.0, 3.0])  # 2 +- 4.303 * 1 / sqrt(3)
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    x = np.asarray(values, dtype=np.float64)
    half = _critical(len(x), LEVEL) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return float(x.mean()) - half, float(x.mean()) + half


def t_test(differences: Sequence[float] | np.ndarray) -> float:
    """Return the two-sided p-value of "the mean difference is 0"; without a spread that of the sign test.

    Figures that are counted, such as 101 and 100 of 500 right, differ by the same amount with two or three seeds
    easily, and a t test would be sure of it (p = 0).
    """
    from scipy import stats

    x = np.asarray(differences, dtype=np.float64)
    if no_spread(x):
        return sign_test(x)
    error = float(x.std(ddof=1)) / math.sqrt(len(x))
    return float(2 * stats.t.sf(abs(float(x.mean())) / error, len(x) - 1))


def no_spread(differences: Sequence[float] | np.ndarray) -> bool:
    """Whether all differences are the same but for rounding.

    >>> no_spread([20.2 - 20.0, 18.6 - 18.4]), no_spread([0.2, 0.3])
    (True, False)
    """
    x = np.asarray(differences, dtype=np.float64)
    return float(np.ptp(x)) <= 1e-9 * float(np.abs(x).max())


def said_mean(values: Sequence[float]) -> str:
    """Return the mean over seeds with half of its t interval, rounded as that allows; of one seed the figure alone.

    >>> said_mean([1.0, 2.0, 3.0]), said_mean([1.5])
    ('2.0 ± 2.5', '1.500')
    """
    if len(values) < 2:
        return said_half(values[0], None)
    low, high = t_interval(values)
    return said_half(fmean(values), (high - low) / 2)


def bootstrap_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Return the percentile bootstrap interval of the mean; for up to 6 values every resample is counted."""
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n**n <= ALL_RESAMPLES:
        index = np.array(list(itertools.product(range(n), repeat=n)))
    else:
        index = np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
    low, high = np.quantile(x[index].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def pieces(draws: int, n: int) -> list[int]:
    """Cut many draws of n numbers into pieces that need no more than some 16 MB each."""
    rows = max(1, min(draws, 2_000_000 // n))
    return [rows] * (draws // rows) + ([draws % rows] if draws % rows else [])


def resampled_interval(
    statistic: Callable[..., np.ndarray],
    *columns: np.ndarray,
    pivotal: bool = False,
) -> Interval:
    """Return the bootstrap interval of any statistic of n rows, given as columns (n,) that are drawn together.

    `statistic` takes columns (resamples, n) and returns the statistic of each resample.

    The percentile interval, or with `pivotal` the one mirrored in the statistic, 2 t - (high, low): for statistics that
    noise pushes to one side, because a resample is pushed once more and by about as much (Davison and Hinkley 1997).
    A resample keeps the order of the rows, so that columns that were sorted need no sorting again. With 10,000 of them
    an end of the interval moves by less than 0.7 % of its width, below the two digits of it that are shown.

    >>> low, high = resampled_interval(lambda x: x.max(axis=1), np.arange(5.0))
    >>> low, high
    (2.0, 4.0)
    """
    random, n = np.random.default_rng(0), len(columns[0])
    drawn = []
    for rows in pieces(RESAMPLES, n):
        index = np.sort(random.integers(0, n, (rows, n)), axis=1)
        drawn.append(statistic(*(column[index] for column in columns)))
    low, high = np.quantile(np.concatenate(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if pivotal:
        centre = float(statistic(*(column[None] for column in columns))[0])
        return 2 * centre - float(high), 2 * centre - float(low)
    return float(low), float(high)


def sign_test(differences: Sequence[float] | np.ndarray) -> float:
    """Return the two-sided p-value of the sign test: 2 P(heads <= the rarer sign) for a fair coin, at most 1.

    >>> sign_test([1.0, 2.0, 0.5, 0.0]), sign_test([1.0, -1.0])
    (0.25, 1.0)
    """
    x = np.asarray(differences, dtype=np.float64)
    positive, negative = int((x > 0).sum()), int((x < 0).sum())
    n = positive + negative
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(min(positive, negative) + 1)) / 2**n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given: the k-th smallest of m times m - k + 1, never falling.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def correct(differences: Sequence[Difference]) -> list[Difference]:
    """Return the differences with Holm's correction over those of them that have a p-value: the same has none.

    What could have been seen goes by the correction as well: among m variants of which r were found, the next one needs
    p < 0.05 / (m - r), so that its difference must be larger than a single one would have to be.
    """
    known = [place for place, difference in enumerate(differences) if difference.p_t is not None]
    adjusted = holm([p for difference in differences if (p := difference.p_t) is not None])
    out = list(differences)
    left = max(1, sum(p >= 1 - LEVEL for p in adjusted))
    for place, p in zip(known, adjusted, strict=True):
        d, seen, level = out[place].differences, out[place].detectable, 1 - (1 - LEVEL) / left
        if seen is not None:
            seen = detectable(float(np.std(d, ddof=1)), len(d), level=level)
        out[place] = replace(out[place], p_holm=p, detectable=seen, level=level)
    return out


def detectable(deviation: float, n: int, level: float = LEVEL) -> float:
    """Return the true mean difference that a paired t test of n values finds with probability `POWER`.

    `deviation` is the standard deviation of the differences. The power of the t test at a true difference delta comes
    from the noncentral t distribution with noncentrality sqrt(n) delta / deviation.

    >>> round(detectable(1.0, 10), 2)  # tables of the paired t test give 0.996
    1.0
    """
    return _noncentrality(n, level) * deviation / math.sqrt(n) if deviation else 0.0


@cache
def _noncentrality(n: int, level: float) -> float:
    """Return the noncentrality at which a t test of n values has the power `POWER`: some ms, once for all variants."""
    from scipy import optimize, stats

    critical = _critical(n, level)

    def missing(noncentrality: float) -> float:
        # the tail beyond -critical is left out: at a power of 0.8 it is below 1e-4
        return float(stats.nct.sf(critical, n - 1, noncentrality)) - POWER

    with warnings.catch_warnings():  # with two values and a thousand variants it says so, and is right to 7 digits
        warnings.filterwarnings("ignore", "Error in function cdf", RuntimeWarning)
        return float(optimize.root_scalar(missing, bracket=(0.0, 2 * critical + 2)).root)


@cache
def _critical(n: int, level: float) -> float:
    """Return what |t| of n values must exceed at this level."""
    from scipy import stats

    return float(stats.t.ppf((1 + level) / 2, n - 1))


def power(effect: float, deviation: float, n: int, level: float = LEVEL) -> float:
    """Return how often a paired t test of n values finds a true mean difference `effect` > 0, with the right sign.

    >>> size = detectable(1.0, 3)
    >>> [round(power(share * size, 1.0, 3), 2) for share in (1, 0.75, 0.5)]
    [0.8, 0.6, 0.36]
    """
    from scipy import stats

    return float(stats.nct.sf(_critical(n, level), n - 1, math.sqrt(n) * effect / deviation))


def deviation_range(n: int) -> Interval:
    """Return by what the standard deviation of n normal values is to be multiplied for the ends of its interval.

    (n - 1) s^2 / sigma^2 is chi-square with n - 1 degrees of freedom.

    >>> low, high = deviation_range(3)
    >>> round(low, 2), round(high, 2)
    (0.52, 6.28)
    """
    from scipy import stats

    low, high = (math.sqrt((n - 1) / float(stats.chi2.ppf(tail, n - 1))) for tail in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
    return low, high


def median_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Return the interval of the median from the order of the values alone; None where there are too few for one.

    The k-th smallest and the k-th largest hold the median unless fewer than k of n fall on one side of it, each with
    probability 1/2 (Thompson 1936).

    >>> median_interval([5.0, 1.0, 2.0, 4.0, 3.0, 6.0]), median_interval([1.0, 2.0, 3.0])
    ((1.0, 6.0), None)
    """
    n, ordered = len(values), sorted(values)
    beyond = [sum(math.comb(n, i) for i in range(k)) / 2**n for k in range(1, n // 2 + 1)]
    k = sum(2 * tail <= 1 - level for tail in beyond)
    return (ordered[k - 1], ordered[n - k]) if k else None


def wilson(right: float, n: float, quantile: float | None = None) -> Interval:
    """Return Wilson's interval of a share of `right` in n. Wilson 1927; it never leaves 0..1.

    Neither need be whole: a mean over seeds is right, and n may be what groups leave of some examples. `quantile`: that
    of another distribution than the normal one.

    >>> low, high = wilson(25, 30)
    >>> round(low, 2), round(high, 2)
    (0.66, 0.93)
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2) if quantile is None else quantile
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # at the edges the formula is 0 and 1 but for float64
    return 0.0 if right == 0 else middle - half, 1.0 if right == n else middle + half
