"""Paired differences: published intervals, coverage by enumeration, tests beside intervals, power by counting."""

import doctest
import itertools

import numpy as np
import pytest
from scipy import stats

from heed.errors import DataError
from heed.report import paired as module
from heed.report.paired import compare_arms, correct_pairs, detectable_share, paired_interval, power
from heed.report.statistics import holm


def outcomes(both, gained, lost, neither):
    """What a and b have right, with so many examples of each kind, (1, n) each."""
    a = [True] * both + [False] * gained + [True] * lost + [False] * neither
    b = [True] * both + [True] * gained + [False] * lost + [False] * neither
    return np.array([a]), np.array([b])


def test_examples():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("gained", "lost", "n", "low", "high"),
    [
        (7, 1, 21, 0.0260, 0.5173),  # Bentur et al. 2009, in Fagerland, Lydersen and Laake 2014
        (16, 6, 161, 0.0054, 0.1240),  # Cavo et al. 2012, there too
    ],
)
def test_published_intervals(gained, lost, n, low, high):
    assert paired_interval(gained, lost, n) == pytest.approx((low, high), abs=1e-3)
    assert paired_interval(lost, gained, n) == pytest.approx((-high, -low), abs=1e-3)


def test_no_discordant_example_is_not_sure():
    low, high = paired_interval(0, 0, 100)
    assert (low, high) == pytest.approx((-3.8415 / 103.8415, 3.8415 / 103.8415), abs=1e-4)
    one_sided = paired_interval(0, 0, 100, 1.6449)[1]
    assert one_sided == pytest.approx(3 / 100, abs=0.005)


def test_four_against_none():
    """A bootstrap is sure of 1 to 8 points; McNemar's p is 0.125, and what is said follows it."""
    found = compare_arms("a", "b", *outcomes(80, 4, 0, 16))
    assert found.p == 0.125
    (found,) = correct_pairs([found])
    assert not found.differs
    assert found.interval[0] < 0.0025
    assert found.interval[1] > 0.095


def test_six_of_one_side_are_told_and_five_are_not():
    six, five = (correct_pairs([compare_arms("a", "b", *outcomes(80, k, 0, 20 - k))])[0] for k in (6, 5))
    assert (six.p, six.differs) == (0.03125, True)
    assert (five.p, five.differs) == (0.0625, False)


def test_a_quantile_is_inverted_by_its_score_test():
    """Each end of the interval is a difference that the score statistic, as in Tango's paper, just rejects."""
    for gained, lost, n in ((9, 2, 60), (30, 18, 400), (3, 0, 50)):
        for end in paired_interval(gained, lost, n):
            other = np.roots([2 * n, -gained - lost + (2 * n - gained + lost) * end, -lost * end * (1 - end)]).max()
            z = (gained - lost - n * end) / np.sqrt(n * (2 * other + end * (1 - end)))
            assert abs(z) == pytest.approx(1.959964, abs=1e-4)


@pytest.mark.slow
def test_coverage_by_enumeration():
    """Every table of 40 pairs, weighed by its probability, over a grid of truths."""
    n = 40
    intervals = {(b, c): paired_interval(b, c, n) for b in range(n + 1) for c in range(n + 1 - b)}
    covered = []
    for gains, losses in itertools.product((0.0, 0.025, 0.05, 0.1, 0.2, 0.3), repeat=2):
        truth, share = gains - losses, 0.0
        for (b, c), (low, high) in intervals.items():
            if low - 1e-9 <= truth <= high + 1e-9:
                share += stats.multinomial.pmf([b, c, n - b - c], n, [gains, losses, 1 - gains - losses])
        covered.append(share)
    print(f"coverage {min(covered):.3f} to {max(covered):.3f}, mean {np.mean(covered):.3f}")
    assert min(covered) > 0.92
    assert 0.945 < np.mean(covered) < 0.985


@pytest.mark.parametrize("seed", range(40))
def test_the_test_never_finds_what_the_interval_leaves_open(seed):
    random = np.random.default_rng(seed)
    n, runs, size = int(random.integers(5, 200)), int(random.integers(1, 4)), int(random.integers(1, 6))
    easy = random.normal(0.5, 1, n)
    a = easy + random.normal(0, 1, (runs, n)) > 0
    b = easy + random.normal(random.choice([0.2, 1.0, 2.5]), 1, (runs, n)) > 0
    found = compare_arms("a", "b", a, b, np.arange(n) // size if size > 1 else None, same_seeds=True)
    low, high = found.interval
    if found.p < 0.05:
        assert low > 0 or high < 0
    assert low <= found.points / 100 <= high
    turned = compare_arms("b", "a", b, a, np.arange(n) // size if size > 1 else None, same_seeds=True)
    assert turned.interval == pytest.approx((-high, -low), abs=1e-9)
    assert turned.p == pytest.approx(found.p)
    assert found.turned().interval == (-high, -low)


def test_groups_count_once():
    """Ten examples of one author that b has right and a has not are one observation."""
    a, b = outcomes(60, 10, 0, 0)
    alone = compare_arms("a", "b", a, b)
    grouped = compare_arms("a", "b", a, b, np.array([*range(60), *[60] * 10]))
    assert alone.p < 0.01
    assert grouped.p == 1.0
    assert grouped.interval[0] < 0
    assert grouped.groups == 61


def test_runs_that_say_the_same_are_one():
    a, b = outcomes(80, 4, 0, 16)
    three = compare_arms("a", "b", np.repeat(a, 3, axis=0), np.repeat(b, 3, axis=0), same_seeds=True)
    assert three.p >= 0.125
    assert three.test == "seeds"
    assert (three.gained, three.lost) == (4, 0)
    assert three.interval == pytest.approx(compare_arms("a", "b", a, b).interval, abs=2e-3)


def test_seeds_that_are_not_shared_meet_each_other():
    random = np.random.default_rng(1)
    a, b = random.random((3, 50)) < 0.6, random.random((2, 50)) < 0.8
    found = compare_arms("a", "b", a, b)
    gained = sum(int((y & ~x).sum()) for x in a for y in b) / 6
    lost = sum(int((x & ~y).sum()) for x in a for y in b) / 6
    assert (found.gained, found.lost) == pytest.approx((gained, lost))
    assert found.points == pytest.approx(100 * (b.mean() - a.mean()))


def test_every_pair_is_corrected_together_and_equals_are_left_out():
    a, b = outcomes(10, 12, 2, 6)
    pairs = [compare_arms("a", "b", a, b), compare_arms("a", "c", a, ~a), compare_arms("a", "d", a, a, equal=True)]
    found = correct_pairs(pairs)
    assert [one.p_holm for one in found[:2]] == holm([one.p for one in pairs[:2]])
    assert not found[2].differs
    assert correct_pairs([]) == []


def test_the_power_is_counted():
    """Against draws, and against every outcome of few pairs."""
    random = np.random.default_rng(2)
    n, discordant, delta = 60, 0.25, 0.15
    kinds = random.choice(3, (20000, n), p=[(discordant + delta) / 2, (discordant - delta) / 2, 1 - discordant])
    gained, lost = (kinds == 0).sum(axis=1), (kinds == 1).sum(axis=1)
    p = {(g, k): stats.binomtest(g, g + k).pvalue if g + k else 1.0 for g, k in set(zip(gained, lost, strict=True))}
    found = np.mean([p[pair] < 0.05 for pair in zip(gained, lost, strict=True)])
    assert power(n, discordant, delta) == pytest.approx(found, abs=0.01)
    assert power(n, discordant, detectable_share(n, discordant)) == pytest.approx(0.8, abs=1e-3)


def test_fewer_than_six_examples_tell_nothing():
    assert detectable_share(5, 0.0) == 1.0
    assert detectable_share(6, 0.0) < 1.0


def test_what_cannot_be_paired_is_one_line():
    with pytest.raises(DataError, match="need the same examples"):
        compare_arms("a", "b", np.ones((1, 3), bool), np.ones((1, 4), bool))
    with pytest.raises(DataError, match="no example"):
        compare_arms("a", "b", np.ones((1, 0), bool), np.ones((1, 0), bool))
