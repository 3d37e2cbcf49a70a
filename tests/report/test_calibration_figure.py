"""Reliability and risk-coverage figures: well-formed, in the colours of the page, with titles that are true."""

import doctest
import re

import pytest

from heed.report import calibration_figure
from heed.report.calibration import calibration, reliability, risk_coverage
from heed.report.calibration_figure import reliability_figure, risk_figure
from heed.report.drawing import draw

P = [i / 100 for i in range(100)]
RIGHT = [i % 10 < i // 20 for i in range(100)]  # 20 to 0 % right where 90 % is said


def test_examples():
    assert doctest.testmod(calibration_figure).failed == 0


@pytest.fixture(scope="module")
def figures():
    found = calibration(P, RIGHT)
    curves = {"a": risk_coverage(P, RIGHT), "a<b> & c, which is a long name": risk_coverage(P[::-1], RIGHT)}
    paint = {"a": (1, 0), "a<b> & c, which is a long name": (2, 1)}
    return [reliability_figure("one", "a", reliability(P, RIGHT), found), risk_figure("two", curves, paint, "a")]


def test_bins_are_drawn_where_they_are(figures):
    bins, html = reliability(P, RIGHT), draw(figures[0])
    dots = re.search(r'class="dots s1" d="([^"]*)"', html)[1]
    points = [(int(x) / 100, 100 - int(y) / 100) for x, y in re.findall(r"M(\d+) (\d+)h0", dots)]
    assert points == [
        (pytest.approx(100 * b.probability, abs=0.01), pytest.approx(100 * b.accuracy, abs=0.01)) for b in bins
    ]
    upright = re.search(r'class="span s1" d="([^"]*)"', html)[1]
    highs = [(int(low), int(low) + int(up)) for low, up in re.findall(r"M\d+ (\d+)l0 (-?\d+)", upright)]
    assert [(100 - a / 100, 100 - b / 100) for a, b in highs] == [
        tuple(pytest.approx(100 * edge, abs=0.02) for edge in b.interval) for b in bins
    ]
    head, (group,) = figures[0].values()
    assert head[2:] == ("from", "to", "bin from", "bin to")
    assert len(group.rows) == len(bins)


def test_names_are_escaped(figures):
    assert "a<b>" not in draw(figures[1])


def test_titles_say_what_is_seen(figures):
    assert figures[0].title == "a is too sure: it says 50 % on average, 20 % are right"
    # the surest twenty say 80 to 99 and have those right whose last digit is below 4
    assert figures[1].title == "Of the surest fifth of its answers a has 40.0 % right, of all 20.0 %"
    assert "100 answers in 5 bins of equal mass" in figures[0].caption
    calibrated = calibration([0.5] * 20, [True, False] * 10)
    figure = reliability_figure("x", "b", reliability([0.5] * 20, [True, False] * 10), calibrated)
    assert figure.title == "b: no miscalibration found; it says 50 % on average, 50 % are right"
    assert "20 answers in 1 bin of equal mass." in figure.caption


def test_equal_data_give_equal_bytes(figures):
    again = reliability_figure("one", "a", reliability(P, RIGHT), calibration(P, RIGHT))
    assert again == figures[0]
