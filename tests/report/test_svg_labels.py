"""The names in a figure: as wide as they are drawn, different where they differ, and none over another."""

import doctest
import itertools
import random
import re

import pytest

from heed.report import svg_labels
from heed.report.svg import Axes2D, Line, draw
from heed.report.svg_labels import HALF_HEIGHT, MARK, beside, shorten_all, text_width

AREA = (40.0, 40.0, 498.0, 300.0)


def box(place, width):
    return place.left, place.middle - HALF_HEIGHT, place.left + width, place.middle + HALF_HEIGHT


def meet(a, b):
    return min(a[2], b[2]) - max(a[0], b[0]) > 1e-9 and min(a[3], b[3]) - max(a[1], b[1]) > 1e-9


def test_examples():
    assert doctest.testmod(svg_labels).failed == 0


@pytest.mark.parametrize("text", ["lstm-1-momentum", "WWWMMM", "illicit, 0.2", "Größe"])
def test_the_width_is_that_of_matplotlibs_own_layout(text):
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=12)
    drawn = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
    assert text_width(text) == pytest.approx(drawn, rel=0.02)  # which kerns, and leaves out the edge of the last letter


def test_letters_that_the_font_lacks_are_as_wide_as_high():
    assert text_width("模型", 12) == 24


def test_names_that_differ_in_their_middle_stay_different():
    names = ["lstm, adamw, 4 layers, dropout 0.2", "lstm, adamw, 2 layers, dropout 0.2", "gpt"]
    short = shorten_all(names, 14)
    assert len(set(short)) == 3
    assert max(map(len, short)) < 20
    assert shorten_all(["", "", "short"], 14) == ["", "", "short"]


@pytest.mark.parametrize("seed", range(5))
def test_no_name_covers_another_or_a_point(seed):
    at = random.Random(seed)
    points = [(at.uniform(300, 306), at.uniform(180, 186)) for _ in range(8)] + [(490.0, 290.0), (41.0, 60.0)]
    widths = [at.uniform(20, 100) for _ in points]
    boxes = [box(place, width) for place, width in zip(beside(points, widths, [], AREA), widths, strict=True)]
    marks = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in points]
    assert not [pair for pair in itertools.combinations(boxes, 2) if meet(*pair)]
    assert not [one for one in boxes for mark in marks if meet(one, mark)]
    assert all(AREA[0] <= a and AREA[1] <= b and c <= AREA[2] and d <= AREA[3] for a, b, c, d in boxes)


def test_a_lone_name_stands_right_of_its_point_and_above_a_stroke_that_goes_on():
    (free,) = beside([(100, 100)], [30], [], AREA)
    assert free == (110, 100, True)
    (lifted,) = beside([(100, 100)], [30], [(100, 99, 300, 101)], AREA)
    assert lifted.middle - HALF_HEIGHT > 101
    assert lifted.near


def test_points_at_nearly_one_place_have_names_apart_in_the_figure():
    lines = [Line("", [0.1, 4.88, 4.88, 5, 5], [81.5, 81.5, 89.2, 89.2, 89.3], 0, dash=1)]
    lines += [Line(name, [x], [y], 1, size=8) for name, x, y in (("full", 4.88, 89.2), ("mean-full", 5.0, 89.3))]
    svg = draw("front", lines, Axes2D("minutes", "accuracy", scattered=True), (500, 330), "title", values=False)
    words = re.findall(r'x="([\d.]+)" y="([\d.]+)"[^>]*>((?:mean-)?full)<', svg)
    dots = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)" style="fill: var\(--series-1\)', svg)
    assert len(words) == len(dots) == 2
    # a text stands on its base line, with 9 pixels above it at this size
    boxes = [(float(x), float(y) - 9, float(x) + text_width(text), float(y)) for x, y, text in words]
    assert not meet(*boxes)
    assert not [
        one for one in boxes for x, y in dots if meet(one, (float(x) - 4, float(y) - 4, float(x) + 4, float(y) + 4))
    ]
