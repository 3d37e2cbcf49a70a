"""Lines and points on two axes, as SVG: curves in a box that is stretched, dots, ticks and words around it.

0 ... 10,000 units   of the stretched box, from the left and from the top; strokes and dots do not stretch
0 ... 100 %          of the same box, for ticks and words, which do not stretch either
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import escape

from heed.report.figure import Figure, Line, Plane, named
from heed.report.ticks import even_ticks, log_ticks, short

BOX = 10_000
"""Units of the stretched box, both ways."""
MARGIN = 0.06
"""Above and below all that is drawn, as a share of its height."""
LETTERS = 24
"""Of a name at the end of a line, about."""
GAP, ROOM = 17, 24
"""Pixels between the middles of two names, and the least that a plot is higher than its names."""
DOTS = 40
"""Points of a line up to which each has its dot."""


@dataclass(frozen=True)
class View:
    """What part of the plane is drawn."""

    left: float
    right: float
    bottom: float
    top: float
    log_x: bool
    log_y: bool

    def across(self, x: float) -> float:
        """Return where x lies, 0 at the left and 1 at the right."""
        return _share(x, self.left, self.right, self.log_x)

    def down(self, y: float) -> float:
        """Return where y lies, 0 at the top and 1 at the bottom."""
        return 1 - _share(y, self.bottom, self.top, self.log_y)


def draw_plane(figure: Figure) -> str:
    """Return the plot of a figure with its ticks, the labels of its axes and the names of its lines."""
    axes, lines = figure.plane, figure.lines
    view = view_of(lines, axes, square=figure.kind == "reliability")
    height = max(axes.height, ROOM + GAP * sum(bool(line.label) for line in lines))
    ticks = y_ticks(view)
    wide = max(len(short(tick)) for tick in ticks)
    data = " ".join(f"{value:.8g}" for value in (view.left, view.right, view.bottom, view.top))
    kinds = {"log-x": view.log_x, "log-y": view.log_y, "zero": axes.zero}
    flags = "".join(f" data-{flag}" for flag, on in kinds.items() if on)
    names = _names(lines, view, height, figure.kind == "points")
    return (
        f'<div class="plot" data-view="{data}"{flags}>\n<p class="unit">{escape(axes.y_label)}</p>\n'
        f'<svg class="t{wide}" height="{height}" role="img" aria-label="{escape(figure.title)}">\n'
        f'<g class="ticks">{_grid(ticks, view)}{_across(axes, view)}</g>\n{_rules(axes, view, figure.kind)}'
        f'<svg class="marks" viewBox="0 0 {BOX} {BOX}" preserveAspectRatio="none">\n'
        f"{''.join(draw_line(line, view) for line in lines)}</svg>\n{_words(lines, view, figure.kind)}</svg>\n"
        f'{names}<p class="unit x">{escape(axes.x_label)}</p>\n</div>'
    )


def view_of(lines: Sequence[Line], axes: Plane, *, square: bool = False) -> View:
    """Return what must be seen: all points and bands, with some room above and below; `square`: 0 to 100 both ways."""
    if square:
        return View(0, 100, 0, 100, False, False)
    heights = [value for line in lines for value in (*line.y, *line.low, *line.high) if math.isfinite(value)]
    heights += [axes.rule[0]] if axes.rule else []
    low, high = (min(heights), max(heights)) if heights else (0.0, 1.0)
    log_y = axes.log_y and low > 0  # of what reaches below 0, such as a wide band, there is no logarithm
    if log_y:
        margin = (high / low) ** MARGIN if high > low else 1.5
        low, high = low / margin, high * margin
    else:
        margin = MARGIN * (high - low) or 0.05 * abs(high) or 1.0
        low, high = (0.0 if axes.zero else low - margin), high + margin
    across = [value for line in lines for value in line.x]
    if axes.words:
        return View(-0.5, len(axes.words) - 0.5, low, high, False, log_y)
    start, stop = min(across) if axes.log_x else min(0.0, *across), max(across)
    return View(start, stop if stop > start else start + 1, low, high, axes.log_x, log_y)


def y_ticks(view: View) -> list[float]:
    """Return the numbers of the vertical axis."""
    ticks = log_ticks(view.bottom, view.top) if view.log_y else []
    return ticks if len(ticks) >= 3 else even_ticks(view.bottom, view.top, 6)


def x_ticks(axes: Plane, view: View) -> list[float]:
    """Return the numbers of the horizontal axis."""
    if axes.words:
        return [float(n) for n in range(len(axes.words))]
    chosen = axes.x_ticks or (log_ticks(view.left, view.right) if view.log_x else ())
    return list(chosen) or even_ticks(view.left, view.right, 4)


def draw_line(line: Line, view: View) -> str:
    """Return the shapes of one line: its band or intervals, its stroke, its dots and its ring."""
    kind, shapes = f"s{line.series}", []
    if line.left:
        points = list(zip(line.x, line.y, line.low, line.high, line.left, line.right, strict=True))
        upright = "".join(_path([(x, low), (x, high)], view) for x, _, low, high, _, _ in points)
        level = "".join(_path([(left, y), (right, y)], view) for _, y, _, _, left, right in points)
        shapes.append(f'<path class="span {kind}" d="{upright}"/><path class="span level {kind}" d="{level}"/>')
    elif line.low:
        edge = [*zip(line.x, line.high, strict=True), *reversed(list(zip(line.x, line.low, strict=True)))]
        shapes.append(f'<path class="band {kind}" d="{_path(edge, view)}z"/>')
    points = list(zip(line.x, line.y, strict=True))
    if line.stroke and len(points) > 1:
        shapes.append(f'<path class="line {kind} d{line.dash}" d="{_path(points, view)}"/>')
    if (line.dots and len(points) <= DOTS) or len(points) == 1 or not line.stroke:
        d = "".join(f"{_path([point], view)}h0" for point in points)
        hole = "" if line.filled else f'<path class="dots hole" d="{d}"/>'
        shapes.append(f'<path class="dots {kind}{" large" * (not line.stroke)}" d="{d}"/>{hole}')
    if line.ring:
        d = f"{_path([line.ring[:2]], view)}h0"
        shapes.append(f'<path class="dots ring {kind}" d="{d}"/><path class="dots ring hole" d="{d}"/>')
    return f"<g>{''.join(shapes)}</g>\n" if shapes else ""


def ends(places: Sequence[float], gap: float) -> list[float]:
    """Return places, from 0 to 1, pushed apart to at least `gap`, as near to where they were as that allows.

    >>> [round(place, 3) for place in ends([0.5, 0.5, 0.9], 0.1)]
    [0.45, 0.55, 0.9]
    """
    groups: list[list[int]] = []
    order = sorted(range(len(places)), key=lambda i: places[i])

    def span(group: list[int]) -> tuple[float, float]:
        half = gap * (len(group) - 1) / 2
        middle = sum(places[i] for i in group) / len(group)
        middle = min(max(middle, half), max(1 - half, half))
        return middle - half, middle + half

    for i in order:
        groups.append([i])
        while len(groups) > 1 and span(groups[-1])[0] - span(groups[-2])[1] < gap - 1e-12:
            groups[-2:] = [groups[-2] + groups[-1]]
    found = list(places)
    for group in groups:
        start = span(group)[0]
        for n, i in enumerate(group):
            found[i] = start + n * gap
    return found


def _share(value: float, low: float, high: float, log: bool) -> float:
    if log:
        value, low, high = math.log(max(value, 1e-300)), math.log(low), math.log(high)
    return (value - low) / (high - low)


def _path(points: Sequence[tuple[float, float]], view: View) -> str:
    """Return a path in units of the box: the first point, then steps, which are short and add no error."""
    at = [
        (round(BOX * view.across(x)), round(BOX * min(max(view.down(y), -9), 9))) for x, y in points if math.isfinite(y)
    ]
    if not at:
        return ""
    steps = [f"{c - a} {d - b}" for (a, b), (c, d) in itertools.pairwise(at)]
    return f"M{at[0][0]} {at[0][1]}" + (f"l{' '.join(steps)}" if steps else "")


def percent(share: float) -> str:
    """Return a share as a place in percent.

    >>> percent(0.5), percent(1 / 3), percent(0)
    ('50%', '33.33%', '0%')
    """
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def _grid(ticks: Sequence[float], view: View) -> str:
    found = []
    for tick in ticks:
        y = percent(view.down(tick))
        found.append(
            f'<line x2="100%" y1="{y}" y2="{y}"/><text class="y" x="-8" y="{y}" dy=".35em">{short(tick)}</text>'
        )
    return "".join(found)


def _across(axes: Plane, view: View) -> str:
    found = ['<line class="floor" x2="100%" y1="100%" y2="100%"/>']
    for tick in x_ticks(axes, view):
        x, word = percent(view.across(tick)), axes.words[int(tick)][:14] if axes.words else short(tick)
        found.append(f'<text x="{x}" y="100%" dy="1.5em">{escape(word)}</text>')
    return "".join(found)


def _rules(axes: Plane, view: View, kind: str) -> str:
    """Return what others are held against: a level line, upright lines, the diagonal."""
    found = []
    if kind == "reliability":
        found.append('<line class="rule" y1="100%" x2="100%"/>')
        found.append('<text x="2%" y="6%">not sure enough</text><text class="end" x="98%" y="96%">too sure</text>')
    if axes.rule:
        y = percent(view.down(axes.rule[0]))
        found.append(f'<line class="rule" x2="100%" y1="{y}" y2="{y}"/>')
        found.append(f'<text class="end" x="100%" y="{y}" dy="-.4em">{escape(axes.rule[1])}</text>')
    for at, text in axes.marks:
        share = view.across(at)
        x, side = percent(share), ' class="end" dx="-5"' if share > 0.6 else ' dx="5"'
        found.append(f'<line class="rule" x1="{x}" x2="{x}" y2="100%"/>')
        found.append(f'<text{side} x="{x}" y="0" dy="1em">{escape(text)}</text>')
    return f'<g class="rules">{"".join(found)}</g>\n' if found else ""


def _words(lines: Sequence[Line], view: View, kind: str) -> str:
    """Return what stands inside the plot: beside a ring, and the number of each named point."""
    found = []
    for line in lines:
        if line.ring and line.ring[2]:
            x, y = view.across(line.ring[0]), view.down(line.ring[1])
            side = "end" if x > 0.75 else "middle" if x > 0.1 else "start"
            found.append(
                f'<text class="{side}" x="{percent(x)}" y="{percent(y)}" dy="-.9em">{escape(line.ring[2])}</text>'
            )
    if kind == "points":
        for n, line in enumerate((line for line in lines if line.label), 1):
            x, y = view.across(line.x[-1]), view.down(line.y[-1])
            side, by = ("end", "-9") if x > 0.9 else ("start", "9")
            found.append(
                f'<text class="{side} s{line.series}" x="{percent(x)}" y="{percent(y)}" dx="{by}" dy="-.3em">{n}</text>'
            )
    return f'<g class="words">{"".join(found)}</g>\n' if found else ""


def _names(lines: Sequence[Line], view: View, height: int, numbered: bool) -> str:
    """Return the names of lines as a list: at their ends where there is room, above the plot where there is not."""
    shown = [line for line in lines if line.label]
    if not shown:
        return ""
    places = [min(max(view.down(line.y[-1]), 0.0), 1.0) for line in shown]
    apart = ends(places, GAP / height)
    items = []
    for n, (line, name, place) in enumerate(zip(shown, named(shown, LETTERS), apart, strict=True), 1):
        items.append(_name(line, name, 1 + round(99 * place), n if numbered else None))
    return f'<ul class="names">\n{"".join(items)}</ul>\n'


def _name(line: Line, name: str, place: int, number: int | None) -> str:
    whole = f' title="{escape(line.label)}"' if name != line.label else ""
    css, d = ("line", "M2 5h16") if line.stroke and len(line.x) > 1 else ("dots", "M10 5h0")
    key = f'<svg class="key" width="20" height="10"><path class="{css} s{line.series} d{line.dash}" d="{d}"/></svg>'
    last = f" <b>{short(line.y[-1])}</b>" if number is None else ""
    first = "" if number is None else f"<b>{number}</b> "
    return f'<li class="s{line.series} y{place}"{whole}>{key}<span>{first}{escape(name)}{last}</span>\n'
