"""Reads figures back: what a drawn line shows, in the units of its axes, from the SVG alone."""

import math
import re
from dataclasses import dataclass

X_TICK = re.compile(
    r'<use [^>]* x="([\d.]+)" y="[\d.]+"[^>]*/>\s*</g>\s*</g>\s*<g>\s*'
    r"<text [^>]*text-anchor: middle[^>]*>([^<]*)</text>"
)
Y_TICK = re.compile(
    r'<path d="M [\d.]+ ([\d.]+)\nL [\d.]+ \1\n"[^>]*var\(--grid\)[^>]*/>\s*</g>\s*<g>\s*'
    r"<text[^>]*text-anchor: end[^>]*>([^<]*)</text>"
)
LINE = re.compile(r'<path d="([^"]*)" style="fill: none; stroke: var\(--(series-\d)\); stroke-width: 2(?:;[^"]*)?"')
LABEL = re.compile(r"<text[^>]*text-anchor: middle[^>]*>([^<]*[a-z][^<]*)</text>")
WRITTEN = re.compile(r"<text[^>]*>([^<]*)</text>")


@dataclass(frozen=True)
class Drawn:
    """A figure as a reader sees it."""

    x_label: str
    written: tuple[str, ...]
    """All words and numbers of the figure."""
    lines: dict[str, list[tuple[float, float]]]
    """Colour -> points in the units of the axes; of two lines of one colour, the first."""


def read_svg(svg: str, log_x: bool = False) -> Drawn:
    """Return what an SVG shows. A vertical axis is read as logarithmic where its ticks say so."""
    across = _axis([(float(at), _number(text)) for at, text in X_TICK.findall(svg)], log_x)
    ticks = [(float(at), _number(text)) for at, text in Y_TICK.findall(svg)]
    up = _axis(ticks, "(log)" in svg)
    lines: dict[str, list[tuple[float, float]]] = {}
    for path, colour in LINE.findall(svg):
        numbers = [float(one) for one in re.findall(r"-?[\d.]+", path)]
        points = [(across(x), up(y)) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
        lines.setdefault(colour, points)
    labels = LABEL.findall(svg)
    return Drawn(labels[0] if labels else "", tuple(WRITTEN.findall(svg)), lines)


def _number(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-"))


def _axis(ticks, log):
    """Return the function from pixels to values that goes through the outermost ticks."""
    (a, low), (b, high) = ticks[0], ticks[-1]
    if log:
        low, high = math.log(low), math.log(high)
    straight = lambda at: low + (at - a) * (high - low) / (b - a)
    return (lambda at: math.exp(straight(at))) if log else straight
