"""The numbers on an axis and shortened names."""

import doctest
import itertools

import pytest

from heed.report import drawing, drawing_plane, figure, ticks
from heed.report.ticks import even_ticks, plain, shorten_all


def test_examples():
    for module in (drawing, drawing_plane, figure, ticks):
        assert doctest.testmod(module).failed == 0


def test_names_that_differ_in_their_middle_stay_different():
    names = ["lstm, adamw, 4 layers, dropout 0.2", "lstm, adamw, 2 layers, dropout 0.2", "gpt"]
    short = shorten_all(names, 14)
    assert len(set(short)) == 3
    assert max(map(len, short)) < 20
    assert shorten_all(["", "", "short"], 14) == ["", "", "short"]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (2.41, 9.7), (-0.031, 0.012), (0, 1e9), (-5, 5), (1e-6, 3e-6)])
def test_ticks_are_even_inside_and_neither_few_nor_many(low, high):
    for most in (4, 6):
        found = even_ticks(low, high, most)
        steps = [b - a for a, b in itertools.pairwise(found)]
        assert 2 <= len(found) <= most + 1
        assert steps == [pytest.approx(steps[0], rel=1e-6)] * len(steps)
        assert low - 1e-9 * (high - low) <= found[0]
        assert found[-1] <= high + 1e-9 * (high - low)
        assert float(f"{steps[0]:.2g}") == pytest.approx(steps[0])


def test_a_value_keeps_its_first_six_digits():
    for value in (2.123456789, 1234567.8, 0.000123456789, -3.0):
        assert float(plain(value)) == pytest.approx(value, rel=5e-6)
