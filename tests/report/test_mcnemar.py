"""McNemar's test: figures of a textbook by hand, the binomial below 25 pairs, Holm's correction over all pairs."""

import doctest

import numpy as np
import pytest
from scipy import stats

from heed.errors import DataError
from heed.report import mcnemar as module
from heed.report.mcnemar import EXACT_BELOW, chi_square, mcnemar, pairwise
from heed.report.statistics import holm


def outcomes(both, gained, lost, neither):
    """What a and b have right, with so many examples of each kind."""
    a = [True] * both + [False] * gained + [True] * lost + [False] * neither
    b = [True] * both + [True] * gained + [False] * lost + [False] * neither
    return np.array(a), np.array(b)


def test_examples():
    assert doctest.testmod(module).failed == 0


def test_a_textbook_table():
    # 121 against 59 discordant pairs (the example of Agresti's and Wikipedia's articles): 21.35 without, 20.67 with
    # the continuity correction
    found = mcnemar("a", "b", *outcomes(101, 121, 59, 33))
    assert (found.gained, found.lost, found.both, found.neither) == (121, 59, 101, 33)
    assert not found.exact
    assert found.p == pytest.approx(stats.chi2.sf((121 - 59 - 1) ** 2 / 180, 1), rel=1e-12)
    assert found.points == pytest.approx(100 * 62 / 314)


@pytest.mark.parametrize(("gained", "lost"), [(0, 5), (1, 5), (7, 7), (12, 12), (3, 21)])
def test_few_pairs_are_counted_exactly(gained, lost):
    found = mcnemar("a", "b", *outcomes(10, gained, lost, 4))
    assert found.exact
    assert found.p == pytest.approx(stats.binomtest(gained, gained + lost).pvalue)


def test_the_change_of_the_test_is_at_25_pairs():
    below, at = (mcnemar("a", "b", *outcomes(0, n - 6, 6, 0)) for n in (EXACT_BELOW - 1, EXACT_BELOW))
    assert (below.exact, at.exact) == (True, False)
    # where they meet the two differ by little: (19 - 6 - 1)^2 / 25 = 5.76
    assert at.p == pytest.approx(0.0164, abs=1e-4)
    assert stats.binomtest(6, 25).pvalue == pytest.approx(at.p, abs=0.003)


def test_equal_classifiers_do_not_differ():
    assert mcnemar("a", "b", *outcomes(5, 0, 0, 5)).p == 1.0
    assert chi_square(20, 20) == 1.0  # the correction never makes a difference of no difference
    assert chi_square(20, 21) == 1.0


def test_every_pair_is_corrected_together():
    a, b = outcomes(10, 12, 2, 6)
    found = pairwise({"a": a, "b": b, "c": ~a})
    assert [(one.a, one.b) for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [one.p_holm for one in found] == holm([one.p for one in found])
    assert found[0].differs == (found[0].p_holm < 0.05)
    assert pairwise({"a": a}) == []


def test_what_cannot_be_paired_is_one_line():
    for a, b in ((np.ones(3, bool), np.ones(4, bool)), (np.ones(0, bool), np.ones(0, bool))):
        with pytest.raises(DataError, match="need the same examples"):
            mcnemar("a", "b", a, b)
