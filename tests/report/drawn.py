"""Reads figures back: what a drawn line shows, in the units of its axes, from the SVG; and what its table says."""

import itertools
import math
import re
from dataclasses import dataclass
from html import unescape

from heed.report.drawing import draw

BOX = 10_000
X_TICK = re.compile(r'<text x="([\d.]+)%" y="100%" dy="1.5em">([^<]*)</text>')
Y_TICK = re.compile(r'<text class="y" x="-8" y="([\d.]+)%" dy=".35em">([^<]*)</text>')
LINE = re.compile(r'<path class="line s(\d) d(\d)" d="([^"]*)"/>')
DOTS = re.compile(r'<path class="dots s(\d)[^"]*" d="([^"]*)"/>')


@dataclass(frozen=True)
class Drawn:
    """A figure as a reader sees it."""

    x_label: str
    written: str
    """All words and numbers of the figure, without its table."""
    lines: dict[str, list[tuple[float, float]]]
    """Colour -> points in the units of the axes; of two lines of one colour, the first."""
    dots: dict[str, list[tuple[float, float]]]
    values: dict[str, list[list[float]]]
    """Name of a line (or of a row) -> the numbers of its table under the drawing."""


def read_figure(figure) -> Drawn:
    """Return what the drawing of a figure shows. An axis is read as logarithmic where its label says so."""
    html = draw(figure)
    picture, table = html.split('<details class="values">')
    labels = re.findall(r'<p class="unit[^"]*">([^<]*)</p>', picture)
    across = _axis([(float(at) / 100, _number(text)) for at, text in X_TICK.findall(picture)], "log" in labels[-1])
    up = _axis([(float(at) / 100, _number(text)) for at, text in Y_TICK.findall(picture)], figure.axes.log_y)
    lines, dots = {}, {}
    marks = re.search(r'<svg class="marks".*?</svg>', picture, re.DOTALL)[0]
    for series, _, path in LINE.findall(marks):
        lines.setdefault(f"series-{series}", [(across(x), up(y)) for x, y in places(path)])
    for series, path in DOTS.findall(marks):
        points = [place for part in re.findall(r"M[^M]*", path) for place in places(part.removesuffix("h0"))]
        dots.setdefault(f"series-{series}", [(across(x), up(y)) for x, y in points])
    words = unescape(" ".join(re.findall(r">([^<]+)<", picture)))
    return Drawn(unescape(labels[-1]), words, lines, dots, tabled(table))


def places(path):
    """The points of a path, as shares of width and height: the first one, then steps from one to the next."""
    numbers = [int(each) for each in re.findall(r"-?\d+", path)]
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    return [
        (x / BOX, y / BOX) for x, y in itertools.accumulate(pairs, lambda at, step: (at[0] + step[0], at[1] + step[1]))
    ]


def tabled(html):
    """The numbers of a table of values by the name of their group, or of their row."""
    found = {}
    for body in html.split("<tbody")[1:]:
        name = ""
        for row in body.split("<tr>")[1:]:
            head = re.match(r"<th scope=row(group)?[^>]*>([^<]*)", row)
            if head:
                name = unescape(head[2]).strip()
            cells = [float(cell) for cell in re.findall(r"<td>([^<\n]+)", row)]
            if cells:
                found.setdefault(name, []).append(cells)
    return found


def _number(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


def _axis(ticks, log):
    """Return the function from a share to a value that goes through the outermost ticks."""
    (a, low), (b, high) = ticks[0], ticks[-1]
    if log:
        low, high = math.log(low), math.log(high)
    straight = lambda at: low + (at - a) * (high - low) / (b - a)
    return (lambda at: math.exp(straight(at))) if log else straight
