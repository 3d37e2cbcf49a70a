"""Paired statistics against scipy, against numbers on paper, and against worlds whose truth is known."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from heed.errors import ConfigError
from heed.report import statistics
from heed.report.statistics import (
    bootstrap_interval,
    compare_pairs,
    correct,
    detectable,
    deviation_range,
    holm,
    power,
    resampled_interval,
    sign_test,
    t_interval,
    t_test,
    wilson,
)


def test_examples():
    assert doctest.testmod(statistics).failed == 0


def figures(seed, n, difference=0.0, noise=0.01):
    """Two variants with common noise between seeds (0.1) and their own (`noise`): by seed."""
    random = np.random.default_rng(seed)
    a = {i: 3.0 + random.normal(0, 0.1) for i in range(n)}
    return a, {i: a[i] + difference + random.normal(0, noise) for i in range(n)}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=2, max_size=9))
def test_t_test_and_interval_equal_scipy(values):
    if np.ptp(values) == 0:
        assert t_test(values) == sign_test(values)
        return
    theirs = stats.ttest_1samp(values, 0.0)
    assert t_test(values) == pytest.approx(theirs.pvalue, rel=1e-9)
    assert t_interval(values) == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-9)
    assert sign_test(values) == pytest.approx(
        stats.binomtest(sum(v > 0 for v in values), max(1, sum(v != 0 for v in values))).pvalue if any(values) else 1.0
    )


def test_two_variants_that_are_the_same_rarely_differ_and_a_planted_difference_is_found():
    same = [compare_pairs("a", "b", *figures(seed, 5)) for seed in range(400)]
    misses = sum(not d.t_interval[0] <= 0 <= d.t_interval[1] for d in same)
    assert 8 <= misses <= 34  # 5 % of 400 is 20, binomial sd 4.4: three of them
    # the design says what it finds 4 times in 5; planted at exactly that size, it does: 320 of 400, sd 8
    size = detectable(0.01, 5)
    found = sum(compare_pairs("a", "b", *figures(seed, 5, size)).p_t < 0.05 for seed in range(400))
    assert 296 <= found <= 344


def test_pairing_takes_out_what_seeds_have_in_common():
    a, b = figures(1, 5, difference=0.03)
    paired = compare_pairs("a", "b", a, b)
    assert paired.p_t < 0.05
    assert stats.ttest_ind(list(b.values()), list(a.values())).pvalue > 0.3  # unpaired: lost in the noise of seeds


def test_bootstrap_counts_every_resample_of_few_seeds():
    # the 27 means of three draws from 0, 1, 2: the lowest and highest have 1/27 > 2.5 % each
    assert bootstrap_interval([0.0, 1.0, 2.0]) == (pytest.approx(0.0, abs=0.3), pytest.approx(2.0, abs=0.3))
    wide = np.random.default_rng(1).normal(size=40)
    low, high = bootstrap_interval(wide)
    assert (low, high) == pytest.approx(t_interval(wide), abs=0.06)  # they agree where there are many
    assert bootstrap_interval(wide) == (low, high)  # the same answer twice


def test_holm_keeps_the_order_and_is_never_smaller():
    p = [0.5, 0.001, 0.02, 0.02]
    adjusted = holm(p)
    assert adjusted == pytest.approx([0.5, 0.004, 0.06, 0.06])
    assert all(after >= before for before, after in zip(p, adjusted, strict=True))
    assert holm([]) == []


def test_correction_turns_a_lucky_find_into_none():
    pairs = [compare_pairs("a", f"b{i}", *figures(i, 4)) for i in range(20)]
    pairs.append(compare_pairs("a", "real", *figures(99, 4, difference=0.2)))
    corrected = correct(pairs)
    assert [d.b for d in corrected if d.verdict != "no difference found"] == ["real"]
    assert any(d.p_t < 0.05 for d in pairs[:20])  # without the correction there would have been another


def test_power_of_many_seeds_follows_the_normal_formula():
    # (1.960 + 0.842) sd / sqrt(n) for large n
    assert detectable(2.0, 400) == pytest.approx(2.8016 * 2.0 / 20, rel=0.01)
    assert detectable(0.0, 5) == 0.0


def test_sentences():
    a, b = {1: 2.0, 2: 2.1, 3: 1.9}, {1: 2.031, 2: 2.130, 3: 1.932}
    worse = compare_pairs("pre-norm", "post-norm", a, b)
    assert worse.sentence() == (
        "post-norm is worse than pre-norm: +0.0310 nats (95 % interval +0.0285 to +0.0335), 3 seeds, p = 0.00035"
    )
    better = compare_pairs("post-norm", "pre-norm", b, a).sentence()
    assert better.startswith("pre-norm is better than post-norm: -0.0310 nats (95 % interval -0.0335 to -0.0285)")
    none = compare_pairs("x", "y", {1: 1.0, 2: 2.0}, {1: 1.1, 2: 1.9}).sentence()
    assert none == (
        "no difference found between y and x: 0 nats (95 % interval -1.3 to +1.3), 2 seeds, p = 1; an effect of 1.6 "
        "nats would have been found four times in five"
    )
    same = compare_pairs("x", "y", {1: 1.0, 2: 2.0}, {1: 1.0, 2: 2.0}).sentence()
    assert same == "y is the same as x: equal figures to the last digit, 2 seeds"
    alone = compare_pairs("x", "y", {1: 1.0}, {1: 1.25}).sentence()
    assert alone == "y came out worse than x: +0.250 nats, one seed, which says nothing of noise"


def test_counted_figures_that_differ_alike_with_every_seed_are_no_proof():
    # 101 of 500 against 100, and 93 against 92: with noise alone, two seeds agree like this often
    found = compare_pairs("a", "b", {1: 20.0, 2: 18.4}, {1: 20.2, 2: 18.6}, higher_is_better=True)
    assert (found.p_t, found.verdict) == (0.5, "no difference found")
    assert found.t_interval is None  # of no width, it would seem to leave out 0
    assert found.sentence("percentage points") == (
        "no difference found between b and a: +0.200 percentage points with each of 2 seeds; without a spread a t test "
        "says nothing, and the sign test p = 0.5"
    )
    six = compare_pairs("a", "b", dict.fromkeys(range(6), 1.0), dict.fromkeys(range(6), 1.5))
    assert six.verdict == "worse"
    assert six.sentence().startswith("b is worse than a: +0.500 nats with each of 6 seeds")


def test_a_variant_that_is_bit_equal_is_the_same_and_counts_in_no_correction():
    a = {1: 2.0, 2: 2.1, 3: 1.9}
    other = compare_pairs("a", "b", a, {1: 2.031, 2: 2.130, 3: 1.932})
    noise = compare_pairs("a", "n", a, {1: 2.01, 2: 2.09, 3: 1.9})
    same = compare_pairs("a", "s", a, dict(a))
    assert (same.verdict, same.p_t, same.p_sign, same.t_interval, same.detectable) == ("the same", *[None] * 4)
    alone = correct([other, noise])
    among = correct([other, same, noise, same])
    assert [d.p_holm for d in among] == [alone[0].p_holm, None, alone[1].p_holm, None]
    assert among[2].detectable == alone[1].detectable
    assert alone[0].p_holm == pytest.approx(2 * stats.ttest_1samp(other.differences, 0).pvalue)


def test_the_power_of_smaller_effects_is_told_by_no_bound():
    for n, quarters, half in ((3, 0.605, 0.356), (5, 0.569, 0.304), (10, 0.559, 0.291)):
        size = detectable(0.7, n)
        assert power(size, 0.7, n) == pytest.approx(0.8, abs=1e-6)
        for share, expected in ((0.75, quarters), (0.5, half)):
            assert power(share * size, 0.7, n) == pytest.approx(expected, abs=5e-4)
    # drawn: 40,000 studies of three seeds, a true effect of half of what is found four times in five
    random = np.random.default_rng(0)
    d = random.normal(0.5 * detectable(1.0, 3), 1.0, (40_000, 3))
    found = stats.ttest_1samp(d, 0.0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.356, abs=0.01)


def test_the_spread_of_few_seeds_is_known_roughly():
    assert deviation_range(3) == pytest.approx((0.5207, 6.285), abs=1e-3)
    random = np.random.default_rng(0)
    drawn = random.normal(0.0, 1.0, (20_000, 3)).std(axis=1, ddof=1)
    low, high = deviation_range(3)
    assert ((low * drawn <= 1) & (high * drawn >= 1)).mean() == pytest.approx(0.95, abs=0.005)


def test_what_could_have_been_seen_goes_by_the_correction():
    pairs = [compare_pairs("a", f"b{k}", {1: 1.0, 2: 1.0, 3: 1.0}, {1: 0.9, 2: 1.0, 3: 1.1}) for k in range(10)]
    alone, among = pairs[0].detectable, correct(pairs)[0].detectable
    # at 0.05 / 10 two degrees of freedom need |t| > 14.1, not 4.3; the power of both by E[Phi(delta - t sqrt(V / 2))]
    middle = np.sqrt(stats.chi2.ppf((np.arange(20_000) + 0.5) / 20_000, 2) / 2)
    for size, level in ((alone, 0.05), (among, 0.005)):
        power = stats.norm.cdf(size / 0.1 * 3**0.5 - stats.t.ppf(1 - level / 2, 2) * middle).mean()
        assert power == pytest.approx(0.8, abs=1e-3)
    assert correct(pairs[:1])[0].detectable == alone


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ConfigError, match="no seed in common"):
        compare_pairs("a", "b", {1: 1.0}, {2: 1.0})
    with pytest.raises(ConfigError, match="not finite"):
        compare_pairs("a", "b", {1: 1.0}, {1: math.nan})


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (818, 872), (25, 30)])
def test_wilson_equals_scipy(right, n):
    theirs = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_of_an_accuracy_more_is_better():
    a, b = {1: 0.80, 2: 0.81, 3: 0.82}, {1: 0.85, 2: 0.861, 3: 0.869}
    assert compare_pairs("a", "b", a, b, higher_is_better=True).verdict == "better"
    assert compare_pairs("a", "b", a, b).verdict == "worse"
    assert (
        "b came out better than a: +0.050 nats"
        in compare_pairs("a", "b", {1: 0.80}, {1: 0.85}, higher_is_better=True).sentence()
    )
    same = compare_pairs("a", "b", {1: 0.8}, {1: 0.8}).sentence()
    assert same == "b is the same as a: equal figures to the last digit, one seed"


def test_any_statistic_has_a_bootstrap_interval():
    x = np.random.default_rng(3).exponential(1.0, 80)
    y = 2 * x
    theirs = stats.bootstrap((x,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0))
    low, high = resampled_interval(lambda v: v.mean(axis=1), x)
    # 10,000 resamples: a quantile near the end is off by about 0.7 % of the width of the interval
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)
    # columns are drawn together, and the pivotal interval is the other one mirrored in the statistic
    assert resampled_interval(lambda a, b: (b / a).mean(axis=1), x, y) == (2.0, 2.0)
    centre = float(x.mean())
    pivotal = resampled_interval(lambda v: v.mean(axis=1), x, pivotal=True)
    assert pivotal == pytest.approx((2 * centre - high, 2 * centre - low))


def test_what_two_seeds_see_among_thousands_of_variants_is_right_and_silent():
    # T = (Z + delta) / |N|: far out, P(T > c) = P(|N| < delta / c), and |N| is below 1.2816 in 80 of 100
    level = 1 - 0.05 / 5_000
    critical = stats.t.ppf((1 + level) / 2, 1)
    assert detectable(1.0, 2, level=level) * math.sqrt(2) == pytest.approx(1.2816 * critical, rel=1e-4)
