"""McNemar's test: figures of a textbook by hand, the binomial below 25 pairs, and groups with every choice of signs."""

import doctest
import itertools

import numpy as np
import pytest
from scipy import stats

from heed.report import mcnemar as module
from heed.report.mcnemar import EXACT_BELOW, chi_square, mcnemar_p, turned_signs


def test_examples():
    assert doctest.testmod(module).failed == 0


def test_a_textbook_table():
    # 121 against 59 discordant pairs (the example of Agresti's and Wikipedia's articles): 21.35 without, 20.67 with
    # the continuity correction
    p, test = mcnemar_p(121, 59)
    assert test == "chi-square"
    assert p == pytest.approx(stats.chi2.sf((121 - 59 - 1) ** 2 / 180, 1), rel=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(0, 5), (1, 5), (7, 7), (12, 12), (3, 21), (6, 0), (4, 0)])
def test_few_pairs_are_counted_exactly(gained, lost):
    p, test = mcnemar_p(gained, lost)
    assert test == "exact"
    assert p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


def test_the_change_of_the_test_is_at_25_pairs():
    below, at = (mcnemar_p(n - 6, 6) for n in (EXACT_BELOW - 1, EXACT_BELOW))
    assert (below[1], at[1]) == ("exact", "chi-square")
    # where they meet the two differ by little: (19 - 6 - 1)^2 / 25 = 5.76
    assert at[0] == pytest.approx(0.0164, abs=1e-4)
    assert stats.binomtest(6, 25).pvalue == pytest.approx(at[0], abs=0.003)


def test_equal_classifiers_do_not_differ():
    assert mcnemar_p(0, 0)[0] == 1.0
    assert chi_square(20, 20) == 1.0  # the correction never makes a difference of no difference
    assert chi_square(20, 21) == 1.0


@pytest.mark.parametrize("seed", range(6))
def test_signs_are_turned_in_every_way(seed):
    sums = np.random.default_rng(seed).integers(-9, 10, 8)
    every = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=8)]
    assert turned_signs(sums) == pytest.approx(np.mean(np.array(every) >= abs(sums.sum())))


@pytest.mark.parametrize(("gained", "lost"), [(6, 0), (4, 0), (12, 3), (300, 260)])
def test_groups_of_one_are_mcnemars_exact_test(gained, lost):
    sums = np.repeat([1, -1, 0], [gained, lost, 50])
    assert turned_signs(sums) == pytest.approx(stats.binomtest(gained, gained + lost).pvalue, rel=1e-9)
