"""Figures with one row a variant: differences with their intervals (a forest plot), and bars of memory and speed.

The names stand left of the plot and the numbers right of it; where that leaves too little plot, on a phone or between
long names, both stand above the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heed.report.svg import short
from heed.report.svg_labels import shorten, text_width
from heed.report.svg_sheet import COLOURS, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 1040, 352
HALF = 500
"""Widths in CSS pixels: of a figure that has the page to itself, on a phone, and of one that shares the page."""
LONGEST = 34
"""Letters of a name that are shown at most beside a plot."""
PLOT = 0.4
"""The share of the width that the plot has at least; with less, the words stand above the rows."""


@dataclass(frozen=True)
class Row:
    """One variant."""

    label: str
    text: str
    """The numbers in words, or why there are none."""
    series: int = 0
    value: float | None = None
    interval: tuple[float, float] | None = None
    dots: tuple[float, ...] = ()
    """One for each seed."""
    zone: float | None = None
    """Half of the shaded zone around zero: true differences in it would be missed too often."""
    filled: bool = True
    """Whether the mark is filled: a difference was found."""
    parts: tuple[tuple[float, int], ...] = ()
    """(amount, series) of what a bar is stacked of; empty: it has the colour of its row."""


@dataclass(frozen=True)
class Scale:
    """The axis that all rows share."""

    label: str
    bars: bool = False
    """Whether rows are bars from 0, or marks around a zero line."""
    sides: tuple[str, str] = ("", "")
    """What it means to be left and right of zero."""
    rule: float | None = None
    """A stroke at this value in every row of bars: what all are held against."""
    key: tuple[tuple[str, int], ...] = ()
    """(name, series) of the parts of bars, written above the plot."""


def draw_rows(name: str, rows: Sequence[Row], scale: Scale, label: str, width: int) -> str:
    """Return an `<svg>` element `width` CSS pixels wide; `name` makes ids unique, `label` is read out."""
    left = 14 + max(text_width(shorten(row.label, LONGEST)) for row in rows)
    # a row without a mark writes its words into the plot
    right = 16 + max((text_width(row.text) for row in rows if row.value is not None), default=0)
    stacked = width <= NARROW or width - left - right < PLOT * width
    if stacked:
        left = right = 10.0
    pitch = (46 if stacked else 34) if not scale.bars else (40 if stacked else 26)
    said = _wrapped(scale.label, 2 * min((width + left - right) / 2, (width - left + right) / 2))
    top, bottom = (28 if any(scale.sides) or scale.key else 6), 42 + 14 * said.count("\n")
    height = top + pitch * len(rows) + bottom

    def paint(figure: Figure) -> None:
        plot = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
        axes = figure.add_axes(plot)
        _frame(axes, rows, replace(scale, label=said))
        for place, row in enumerate(rows):
            y, middle = len(rows) - 1 - place, height - top - pitch * (place + 0.5)
            _mark(axes, row, y - (0.22 if stacked else 0), scale, 10 / pitch)
            (_words_above if stacked else _words_beside)(figure, axes, row, middle)
        if any(scale.sides):
            _sides(axes, scale.sides)
        _key(figure, scale.key, left, height - 12)

    return sheet(name, (width, height), label, paint)


def _frame(axes: Axes, rows: Sequence[Row], scale: Scale) -> None:
    """Set limits, ticks and grid."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    values = [0.0, *([] if scale.rule is None else [scale.rule])]
    for row in rows:
        if row.value is not None:
            values += [row.value, *(row.interval or ()), *row.dots]
            # a zone wider than everything else may run out of the plot
            values += [] if row.zone is None or scale.bars else [min(row.zone, 1.5 * max(map(abs, values)))]
    low, high = min(values), max(values)
    if not scale.bars:
        low = min(low, -max((value for value in values), default=0) * 0.35)
        high = max(high, -low * 0.35)
    margin = 0.05 * (high - low) or 1.0
    axes.set_xlim(0 if scale.bars else low - margin, high + margin)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.yaxis.set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: ("+" if value > 0 and not scale.bars else "") + short(value))
    )
    axes.grid(axis="x", color=COLOURS["grid"], linewidth=1)
    axes.set_axisbelow(True)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(COLOURS["muted"])
    axes.tick_params(axis="x", length=4, pad=4, color=COLOURS["muted"], labelcolor=COLOURS["muted"], labelsize=11)
    axes.set_xlabel(scale.label, color=COLOURS["muted"], labelpad=5, fontsize=11)
    if not scale.bars:
        axes.axvline(0, color=COLOURS["muted"], linewidth=1.5)


def _mark(axes: Axes, row: Row, y: float, scale: Scale, height: float) -> None:
    """Draw one row: a bar, or the zone, the interval, the seeds and the mean."""
    if row.value is None:
        return
    colour = COLOURS[f"series-{row.series}"]
    if scale.bars:
        start = 0.0
        for amount, series in row.parts or ((row.value, row.series),):
            axes.barh(y, amount, left=start, height=1.2 * height, color=COLOURS[f"series-{series}"], linewidth=0)
            start += amount
        if row.interval:
            axes.plot(row.interval, (y, y), color=COLOURS["ink"], linewidth=2, solid_capstyle="butt", zorder=3)
        if scale.rule is not None:
            axes.vlines(scale.rule, y - height, y + height, color=COLOURS["muted"], linewidth=2, zorder=2.5)
        return
    if row.zone:
        axes.barh(y, 2 * row.zone, left=-row.zone, height=1.7 * height, color=COLOURS["grid"], linewidth=0, zorder=1.5)
        axes.vlines(0, y - 0.9 * height, y + 0.9 * height, color=COLOURS["muted"], linewidth=1.5, zorder=1.6)
    if row.interval:
        axes.plot(row.interval, (y, y), color=colour, linewidth=2.5, solid_capstyle="butt", zorder=3)
    axes.plot(row.dots, [y] * len(row.dots), linestyle="", marker="|", markersize=9, color=colour, zorder=3)
    axes.plot(
        [row.value], [y], linestyle="", marker="o", markersize=9, markeredgewidth=2, markeredgecolor=colour, zorder=4,
        markerfacecolor=colour if row.filled else COLOURS["surface"],
    )  # fmt: skip


def _words_beside(figure: Figure, axes: Axes, row: Row, y: float) -> None:
    """Write the name and the numbers of a row, whose middle is `y` pixels above the bottom, beside the plot."""
    box = axes.get_position()
    width, height = figure.get_size_inches() * 72
    colour = COLOURS[f"name-{row.series}"] if row.value is not None else COLOURS["muted"]
    name = shorten(row.label, LONGEST)
    figure.text(box.x0 - 12 / width, y / height, name, color=colour, va="center", ha="right")
    if row.value is not None:
        figure.text(box.x1 + 12 / width, y / height, row.text, color=COLOURS["ink"], va="center")
    else:
        said = _fitted(row.text, (box.x1 - box.x0) * width - 8, 12)
        figure.text(box.x0 + 4 / width, y / height, said, color=COLOURS["muted"], va="center")


def _words_above(figure: Figure, axes: Axes, row: Row, y: float) -> None:
    """Write the name and the numbers of a row, whose middle is `y` pixels above the bottom, above its mark.

    The numbers are written whole where that leaves the name half of the width.
    """
    box = axes.get_position()
    width, height = figure.get_size_inches() * 72
    colour = COLOURS[f"name-{row.series}"] if row.value is not None else COLOURS["muted"]
    room = (box.x1 - box.x0) * width - 12
    name = _fitted(row.label, max(room - text_width(row.text, 10.5), room / 2), 11)
    said = _fitted(row.text, room - text_width(name, 11), 10.5)
    # the line at zero would run through the words, and read as a minus
    behind = {"facecolor": COLOURS["surface"], "edgecolor": "none", "pad": 1.0}
    common = {"y": (y + 12) / height, "va": "center", "bbox": behind}
    figure.text(x=box.x0, s=name, color=colour, fontsize=11, **common)
    figure.text(x=box.x1, s=said, color=COLOURS["muted"], fontsize=10.5, ha="right", **common)


def _fitted(text: str, room: float, size: float) -> str:
    """Return text shortened to so many pixels."""
    letters = len(text)
    while letters > 3 and text_width(shorten(text, letters), size) > room:
        letters -= 1
    return shorten(text, letters)


def _wrapped(text: str, room: float) -> str:
    """Return the label of an axis in lines of at most so many pixels, as far as its words allow.

    >>> _wrapped("difference to pre-norm (nats)", 120)
    'difference to\\npre-norm (nats)'
    """
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", 11) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def _sides(axes: Axes, sides: tuple[str, str]) -> None:
    """Write what left and right of zero mean, above the plot; left out where a side has no room."""
    low, high = axes.get_xlim()
    pixels = axes.bbox.width / (high - low)
    for text, offset, place, room in ((sides[0], -8, "right", -low), (sides[1], 8, "left", high)):
        if room * pixels > text_width(text, 11) + 8:
            axes.annotate(
                text, (0, 1), (offset, 10), xycoords=("data", "axes fraction"), textcoords="offset points", ha=place,
                color=COLOURS["muted"], fontsize=11, annotation_clip=False,
            )  # fmt: skip


def _key(figure: Figure, key: Sequence[tuple[str, int]], left: float, y: float) -> None:
    """Write what the parts of bars are, from `left` on, `y` pixels above the bottom."""
    from matplotlib.patches import Rectangle

    width, height = figure.get_size_inches() * 72
    for name, series in key:
        box = Rectangle(
            (left / width, (y - 5) / height), 10 / width, 10 / height, transform=figure.transFigure,
            facecolor=COLOURS[f"series-{series}"], linewidth=0,
        )  # fmt: skip
        figure.add_artist(box)
        figure.text((left + 14) / width, y / height, name, color=COLOURS["muted"], va="center", fontsize=10.5)
        left += 24 + text_width(name, 10.5)
