"""Lines and points on axes, as SVG that a page can hold.

Lines carry their name at their end, and points wherever there is room: neither needs a legend.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from heed.report.svg_labels import Box, beside, shorten_all, text_width
from heed.report.svg_sheet import COLOURS, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
"""Line styles, for when there are more lines than colours."""
EARLY = 0.25
"""A line ends early when it ends this share of the plot before the last one."""


@dataclass(frozen=True)
class Line:
    """A line, with a name at its end."""

    label: str
    """Written at the end; may be empty where the figure has one line and its title names it."""
    x: Sequence[float]
    y: Sequence[float]
    series: int
    """0 to 6: the colour; the same thing has the same colour in every figure."""
    low: Sequence[float] = ()
    """Lower edge of a band around the line; empty: no band."""
    high: Sequence[float] = ()
    """Upper edge of the band."""
    dots: bool = False
    """Whether each point is marked: for lines with few points."""
    ring: tuple[float, float, str] | None = None
    """A point to single out, and what to write beside it."""
    dash: int = 0
    """0 to 3: solid, or one of the dashed styles."""
    size: float = 4.0
    """Of the marks, pixels."""


@dataclass(frozen=True)
class Axes2D:
    """What the two axes are."""

    x_label: str
    y_label: str
    log_y: bool = False
    """Whether ratios matter on the vertical axis."""
    zero: bool = False
    """Whether the vertical axis must begin at 0: for amounts."""
    rule: tuple[float, str] | None = None
    """A horizontal line at this height, and its name."""
    log_x: bool = False
    """Whether ratios matter on the horizontal axis, which then begins at the first point."""
    x_ticks: tuple[float, ...] = ()
    """Where the horizontal axis has its numbers; empty: chosen."""
    marks: tuple[tuple[float, str], ...] = ()
    """Vertical lines, and their names."""
    scattered: bool = False
    """Whether the lines with a name are points, whose names stand wherever there is room."""


def draw(name: str, lines: Sequence[Line], axes: Axes2D, size: tuple[int, int], label: str, values: bool = True) -> str:
    """Return an `<svg>` element of `size` (width, height) CSS pixels.

    `name` makes the ids unique in a page, `label` is read out instead of the figure. With `values`, the name at the
    end of a line is followed by its last value; leave it out where space is short.
    """
    width, height = size

    def paint(figure: Figure) -> None:
        names = [f"{line.label} {short(line.y[-1])}" if values and line.label else line.label for line in lines]
        right = 14 + max(map(text_width, [*names, axes.rule[1] if axes.rule else ""]))
        canvas = figure.add_axes((0, 0, 1, 1))
        _frame(canvas, axes, lines)
        left, top, bottom = _tick_width(canvas), 30, 44
        canvas.set_position(
            (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
        )
        # The unit stands above the axis, where it can be read without turning the head.
        _write(canvas, axes.y_label, (0, 1), (-left, 14), xycoords="axes fraction")
        for line in lines:
            _plot(canvas, line)
        if axes.scattered:
            _name_points(canvas, lines)
        else:
            _name_ends(canvas, lines, names)

    return sheet(name, size, label, paint)


def named(lines: Sequence[Line], letters: int) -> list[Line]:
    """Return lines with names of about so many letters at most, all different."""
    names = shorten_all([line.label for line in lines], letters)
    return [replace(line, label=name) for line, name in zip(lines, names, strict=True)]


def short(value: float) -> str:
    """Return an axis number: no exponent between 0.0001 and a million, thousands apart.

    >>> short(1000), short(0.5), short(1.5234), short(0.00025), short(2.5e6), short(0)
    ('1,000', '0.5', '1.523', '0.00025', '2.5e6', '0')
    """
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    decimals = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1-2-5 ticks between two positive numbers, or only powers of ten when those would be many.

    >>> log_ticks(3, 120)
    [5.0, 10.0, 20.0, 50.0, 100.0]
    >>> log_ticks(3, 30_000)
    [10.0, 100.0, 1000.0, 10000.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
    return [tick for tick in ticks if low <= tick <= high]


def _frame(canvas: Axes, axes: Axes2D, lines: Sequence[Line]) -> None:
    """Set limits, ticks, grid and labels; only the bottom spine stays."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    heights = [value for line in lines for value in (*line.y, *line.low, *line.high)]
    heights += [axes.rule[0]] if axes.rule else []
    low, high = min(heights), max(heights)
    if axes.log_y:
        margin = (high / low) ** 0.06 if high > low else 1.5
        low, high = low / margin, high * margin
        canvas.set_yscale("log")
    else:
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        low, high = (0.0 if axes.zero else low - margin), high + margin
    canvas.set_ylim(low, high)
    across = [value for line in lines for value in line.x]
    start, stop = min(across) if axes.log_x else min(0.0, *across), max(across)
    if axes.log_x:
        canvas.set_xscale("log")
    canvas.set_xlim(start, stop if stop > start else start + 1)

    ticks = log_ticks(low, high) if axes.log_y else []
    canvas.yaxis.set_major_locator(
        FixedLocator(ticks) if len(ticks) >= 3 else MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])
    )
    canvas.yaxis.set_minor_locator(NullLocator())
    canvas.xaxis.set_minor_locator(NullLocator())
    canvas.xaxis.set_major_locator(
        FixedLocator(axes.x_ticks) if axes.x_ticks else MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10])
    )
    for axis in (canvas.xaxis, canvas.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    canvas.grid(axis="y", color=COLOURS["grid"], linewidth=1)
    canvas.set_axisbelow(True)
    for side in ("left", "right", "top"):
        canvas.spines[side].set_visible(False)
    canvas.spines["bottom"].set_color(COLOURS["muted"])
    canvas.tick_params(axis="y", length=0, pad=6, labelcolor=COLOURS["muted"], labelsize=11)
    canvas.tick_params(axis="x", length=4, pad=4, color=COLOURS["muted"], labelcolor=COLOURS["muted"], labelsize=11)
    canvas.set_xlabel(axes.x_label, color=COLOURS["muted"], labelpad=5, fontsize=11)
    if axes.rule:
        canvas.axhline(axes.rule[0], color=COLOURS["muted"], linewidth=1, dashes=(4, 3))
        place = (1, axes.rule[0])
        _write(canvas, axes.rule[1], place, (9, 0), xycoords=("axes fraction", "data"), va="center")
    for at, text in axes.marks:
        canvas.axvline(at, color=COLOURS["muted"], linewidth=1, dashes=(4, 3), zorder=0.9)
        _write(canvas, text, (at, 1), (5, -2), xycoords=("data", "axes fraction"), va="top")


def _tick_width(canvas: Axes) -> float:
    """Return the room that the numbers of the vertical axis need, in pixels."""
    low, high = canvas.get_ylim()
    longest = max((len(short(tick)) for tick in canvas.get_yticks() if low <= tick <= high), default=0)
    return max(46.0, 10 + 7 * longest)  # a digit of DejaVu Sans at 11 px is 7 px wide


def _write(canvas: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], **how: Any) -> None:
    """Write small muted text, `offset` pixels from a place."""
    canvas.annotate(
        text, place, offset, textcoords="offset points", annotation_clip=False,
        color=COLOURS["muted"], fontsize=11, **how,
    )  # fmt: skip


def _plot(canvas: Axes, line: Line) -> None:
    """Draw one line with its band, dots and ring."""
    colour = COLOURS[f"series-{line.series}"]
    if line.low:
        canvas.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
    dots = line.dots and len(line.x) <= 40
    canvas.plot(
        line.x, line.y, color=colour, linewidth=2, linestyle=DASHES[line.dash], solid_capstyle="round", clip_on=False,
        marker="o" if dots or len(line.x) == 1 else "", markersize=line.size,
    )  # fmt: skip
    if line.ring:
        x, y, text = line.ring
        canvas.plot(
            [x], [y], linestyle="", color=colour, marker="o", markersize=9, markeredgewidth=2, clip_on=False,
            markerfacecolor=COLOURS["surface"], markeredgecolor=colour,
        )  # fmt: skip
        beyond = x > 0.75 * canvas.get_xlim()[1]
        canvas.annotate(
            text, (x, y), (0, 12), textcoords="offset points", ha="right" if beyond else "center",
            color=COLOURS["ink"], fontsize=11,
        )  # fmt: skip


def _name_points(canvas: Axes, lines: Sequence[Line]) -> None:
    """Write the names of points where they cover neither each other nor a point; one that is far off has a stroke."""
    named = [line for line in lines if line.label]
    points = [_pixels(canvas, line.x[-1], line.y[-1]) for line in named]
    strokes: list[Box] = []
    for line in lines:  # the strokes of a front are steps: each is its own box
        corners = [_pixels(canvas, x, y) for x, y in zip(line.x, line.y, strict=True)]
        for (a, b), (c, d) in itertools.pairwise(corners):
            strokes.append((min(a, c) - 1, min(b, d) - 1, max(a, c) + 1, max(b, d) + 1))
    plot = canvas.bbox
    area = (plot.x0 + 2, plot.y0 + 2, canvas.figure.bbox.width - 2, plot.y1 + 8)
    places = beside(points, [text_width(line.label) for line in named], strokes, area)
    for line, (left, middle, near) in zip(named, places, strict=True):
        leader = None if near else {"arrowstyle": "-", "color": COLOURS["muted"], "linewidth": 0.8, "shrinkB": 5}
        canvas.annotate(
            line.label, (line.x[-1], line.y[-1]), (left, middle), textcoords="figure pixels", va="center", fontsize=12,
            color=COLOURS[f"name-{line.series}"], annotation_clip=False, arrowprops=leader,
        )  # fmt: skip


def _pixels(canvas: Axes, x: float, y: float) -> tuple[float, float]:
    """Return where a point of the plot lies in the figure, from its lower left corner."""
    across, up = canvas.transData.transform((x, y))
    return float(across), float(up)


def _name_ends(canvas: Axes, lines: Sequence[Line], names: Sequence[str]) -> None:
    """Write each name right of its last point; the names of lines that end early stand in boxes, over the others."""
    places = [_pixels(canvas, line.x[-1], line.y[-1])[0] for line in lines]
    early = [max(places) - place > EARLY * canvas.bbox.width for place in places]
    behind = {"facecolor": COLOURS["surface"], "edgecolor": "none", "pad": 1.5, "alpha": 0.8}
    for which, box in ((False, None), (True, behind)):
        group = [index for index, is_early in enumerate(early) if is_early == which and names[index]]
        _name_group(canvas, [lines[i] for i in group], [names[i] for i in group], box)


def _name_group(canvas: Axes, lines: Sequence[Line], names: Sequence[str], box: dict[str, Any] | None) -> None:
    """Write the names of lines, pushed apart where ends are close."""
    if not lines:
        return
    gap = 15.0  # pixels between the middles of two names at 12 px
    ends = [_pixels(canvas, line.x[-1], line.y[-1])[1] for line in lines]
    order = sorted(range(len(lines)), key=lambda index: ends[index])
    places = list(ends)
    for below, above in itertools.pairwise(order):
        places[above] = max(places[above], places[below] + gap)
    shift = sum(ends[i] - places[i] for i in order) / max(1, len(order))  # keep the group in the middle of its ends
    # a crowd whose ends lie low is lifted, so that no name lies below the axis
    shift = max(shift, float(canvas.transAxes.transform((0, 0))[1]) + 4 - min(places))
    for index, line in enumerate(lines):
        canvas.annotate(
            names[index], (line.x[-1], line.y[-1]), (9, places[index] + shift - ends[index]),
            textcoords="offset points", va="center", color=COLOURS[f"name-{line.series}"], fontsize=12,
            annotation_clip=False, bbox=box,
        )  # fmt: skip
