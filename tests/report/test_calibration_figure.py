"""Reliability and risk-coverage figures: well-formed, in the colours of the page, with titles that are true."""

import doctest
import re
import xml.etree.ElementTree as ET

import pytest

from heed.report import calibration_figure
from heed.report.calibration import calibration, reliability, risk_coverage
from heed.report.calibration_figure import reliability_figure, risk_figure
from heed.report.svg_sheet import COLOURS

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


def test_figures_are_svg_of_the_page(figures):
    for figure in figures:
        for image in (figure.wide, figure.narrow):
            ET.fromstring(image.replace("xlink:href", "href"))
            assert set(re.findall(r"var\(--([\w-]+)\)", image)) <= set(COLOURS)
            assert not re.search(r"#[0-9a-f]{6}\b", image)
    assert "a<b>" not in figures[1].wide


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
