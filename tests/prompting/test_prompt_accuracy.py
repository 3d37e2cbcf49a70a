"""What so many items can tell, held against a simulation."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from heed.prompting.accuracy import told_from


def found(items: int, p: float, q: float, draws: int = 4000) -> float:
    """Return how often McNemar's exact test tells two models that err independently of each other."""
    random = np.random.default_rng(1)
    one, other = random.random((draws, items)) < p, random.random((draws, items)) < q
    gained, lost = (other & ~one).sum(axis=1), (one & ~other).sum(axis=1)
    tables = Counter(zip(gained.tolist(), lost.tolist(), strict=True))
    return sum(n for (a, b), n in tables.items() if a + b and binomtest(a, a + b).pvalue < 0.05) / draws


@pytest.mark.parametrize(("items", "p"), [(30, 25 / 30), (40, 0.9)])
def test_the_edges_are_where_the_test_finds_four_in_five(items, p):
    below, above = told_from(items, p)
    assert below is not None
    assert found(items, p, below) == pytest.approx(0.8, abs=0.03)
    if above is None:
        assert found(items, p, 1.0) < 0.8
    else:
        assert found(items, p, above) == pytest.approx(0.8, abs=0.03)


def test_more_items_tell_more():
    edges = [told_from(n, 0.8) for n in (50, 200, 800)]
    assert edges[0][0] < edges[1][0] < edges[2][0] < 0.8 < edges[2][1] < edges[1][1]
    assert told_from(1, 0.5) == (None, None)
    assert told_from(5, 1.0) == (None, None)
