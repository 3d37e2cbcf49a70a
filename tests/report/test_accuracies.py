"""How sure an accuracy is: Wilson where nothing is estimated, groups and seeds by another route, coverage counted."""

import doctest
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from heed.errors import DataError
from heed.report import accuracies as module
from heed.report.accuracies import accuracy_interval, counted_interval, how_sure
from heed.report.statistics import wilson

PASSAGES = (1, 10, 0, 7, 0, 10)
"""Right answers of ten about each of six passages."""


def passages():
    right = np.concatenate([np.arange(10) < k for k in PASSAGES])
    return right[None], np.repeat(np.arange(6), 10)


def test_examples():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(("right", "n"), [(0, 40), (1, 40), (25, 30), (40, 40), (163, 200)])
def test_one_run_without_groups_is_wilsons(right, n):
    low, high = accuracy_interval((np.arange(n) < right)[None])
    known = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((known.low, known.high), abs=1e-12)


def test_questions_about_six_passages():
    """60 questions, 46.7 % right: resampling passages gives 13 to 83 %, taking questions as independent 35 to 59 %."""
    low, high = accuracy_interval(*passages())
    every = [sum(PASSAGES[i] for i in draw) / 60 for draw in itertools.product(range(6), repeat=6)]
    resampled = np.quantile(every, [0.025, 0.975])
    assert tuple(resampled) == pytest.approx((0.133, 0.833), abs=0.001)
    assert (low, high) == pytest.approx(tuple(resampled), abs=0.01)
    assert accuracy_interval(passages()[0]) == pytest.approx((0.346, 0.591), abs=0.001)


def test_groups_of_any_size_by_a_plain_loop():
    random = np.random.default_rng(3)
    groups = random.permutation(np.repeat(np.arange(17), random.integers(1, 12, 17)))
    right = random.random(len(groups)) < 0.3 + 0.5 * (groups % 3 == 0)
    n, p = len(groups), right.mean()
    squares = 0.0
    for group in set(groups.tolist()):
        squares += sum(float(right[i]) - p for i in range(n) if groups[i] == group) ** 2
    variance = 17 / 16 * squares / n**2
    t = stats.t.ppf(0.975, 16)
    left = p * (1 - p) / variance
    centre = (p + t * t / (2 * left)) / (1 + t * t / left)
    low, high = accuracy_interval(right[None], groups)
    assert (low + high) / 2 == pytest.approx(centre)
    assert (low, high) == pytest.approx(wilson(p * left, left, quantile=t))


def test_the_variance_is_that_of_resampling_seeds_then_examples():
    """With many seeds and examples the two agree; with few resampling counts the noise of both three times."""
    random = np.random.default_rng(4)
    chance = 0.7 + 0.15 * random.standard_normal((12, 1)) + 0.2 * random.standard_normal(400)
    right = random.random((12, 400)) < chance.clip(0, 1)
    means = []
    for _ in range(4000):
        seeds, examples = random.integers(0, 12, 12), random.integers(0, 400, 400)
        means.append(right[np.ix_(seeds, examples)].mean())
    p = right.mean()
    sure = how_sure(right.mean(axis=0), p * (1 - p), None, [right.astype(float)])
    assert math.sqrt(p * (1 - p) / sure.examples) == pytest.approx(np.std(means), rel=0.08)


def test_seeds_that_agree_add_nothing_and_seeds_that_differ_do():
    one = np.arange(500) < 450
    assert accuracy_interval(np.stack([one, one, one])) == pytest.approx(accuracy_interval(one[None]), abs=2e-4)
    other = np.stack([np.arange(500) < k for k in (450, 350, 400)])
    low, high = accuracy_interval(other)
    assert low < 0.68
    assert high > 0.88  # three seeds: t with about two degrees of freedom
    assert low > 0.0


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(10), 10)])
@pytest.mark.parametrize("right", [np.ones((3, 100), bool), np.zeros((1, 100), bool)])
def test_all_right_is_not_sure(right, groups):
    low, high = accuracy_interval(right, groups)
    bound = high if not right.any() else 1 - low
    expected = 100 if groups is None else 10
    assert bound > 3 / expected * 0.9
    assert high - low < 1


def test_counts_alone():
    known = stats.binomtest(81, 100).proportion_ci(method="wilson")
    assert counted_interval([81], 100) == pytest.approx((known.low, known.high))
    assert counted_interval([81, 81], 100) == pytest.approx((known.low, known.high))
    low, high = counted_interval([75, 81, 87], 100)
    assert high - low > 1.3 * (known.high - known.low)
    # 81.33 of 100 is not rounded to 81
    assert counted_interval([81, 81, 82], 100)[0] > known.low


def test_nothing_to_measure_is_one_line():
    with pytest.raises(DataError, match="no example"):
        accuracy_interval(np.zeros((1, 0), bool))


def drawn(random, seeds, groups, size, easy, of_seed, of_group=0.0, both=0.3):
    """Return what some runs have right (S, n), where seeds, groups and examples differ, and the true accuracy."""
    n = groups * size
    p = easy + random.normal(0, 1, n) + np.repeat(random.normal(0, of_group, groups), size) if of_group else None
    p = easy + random.normal(0, 1, n) if p is None else p
    right = p + random.normal(0, of_seed, (seeds, 1)) + random.normal(0, both, (seeds, n)) + random.normal(0, 1, n) > 0
    return right, stats.norm.cdf(easy / math.sqrt(2 + of_seed**2 + of_group**2 + both**2))


def resampled(random, right, groups):
    """Return the percentile interval of seeds drawn anew, and groups within them."""
    sums = np.stack([np.bincount(groups, weights=row) for row in right])
    sizes = np.bincount(groups)
    G, S = len(sizes), len(right)
    seeds, drawn_groups = random.integers(0, S, (600, S)), random.multinomial(G, [1 / G] * G, size=600)
    means = np.einsum("bg,bg->b", drawn_groups, sums[seeds].mean(axis=1)) / (drawn_groups @ sizes)
    return np.quantile(means, [0.025, 0.975])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "groups", "size", "easy", "of_seed", "of_group", "least"),
    [
        (1, 200, 1, 1.3, 0.0, 0.0, 0.93),
        (3, 300, 1, 1.3, 0.02, 0.0, 0.93),
        (3, 300, 1, 1.3, 0.3, 0.0, 0.91),
        (2, 300, 1, 1.3, 0.1, 0.0, 0.91),
        (3, 100, 1, 3.5, 0.05, 0.0, 0.95),
        (1, 6, 10, 0.0, 0.0, 1.5, 0.93),
        (3, 20, 10, 0.5, 0.1, 1.0, 0.93),
    ],
)
def test_an_interval_holds_the_truth_as_often_as_it_says(seeds, groups, size, easy, of_seed, of_group, least):
    """The bootstrap of seeds, then groups, is counted beside it: never more often right where there are few of them."""
    random, times = np.random.default_rng(5), 800
    own = boot = 0
    numbers = np.repeat(np.arange(groups), size)
    for _ in range(times):
        right, truth = drawn(random, seeds, groups, size, easy, of_seed, of_group)
        low, high = accuracy_interval(right, numbers if size > 1 else None)
        own += low <= truth <= high
        low, high = resampled(random, right, numbers)
        boot += low <= truth <= high
    print(f"{seeds} seeds, {groups} groups of {size}: {own / times:.3f}, bootstrap {boot / times:.3f}")
    assert own / times >= least
    assert own >= boot - 0.02 * times
