"""The figure of costs: time and peak memory over T, on logarithms, where a power of T is a straight line.

Softmax, which the others are held against, is black. Each line is named where it ends, with its fitted power of T.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heed.report.cost import CostCurve, cost_sentence, fit_exponent
from heed.report.sheet import INK, MUTED, bare, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
NAMES = ("#00588a", "#a84a00", "#00694d", "#9c4677", "#8a5f00", "#1c6f9f")
"""The words at the end of a line: its colour, as dark as letters on white must be (WCAG 2 AA: 4.5)."""
DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)))
"""The second and third round of the colours."""
SIZE = (1080, 500)
"""CSS pixels."""
PANELS = {
    "seconds": ("time of one pass", ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))),
    "memory_bytes": ("peak memory beside inputs", ((2.0**10, "KiB"), (2.0**20, "MiB"), (2.0**30, "GiB"))),
}
"""What is drawn -> what it is called, and its units from small to large."""


def draw_costs(curves: Sequence[CostCurve], caption: str, form: str = "svg", baseline: str = "softmax") -> bytes:
    """Return the figure of curves of one width as "svg" or "png"; `caption` says how they were measured."""
    drawn = [curve for curve in curves if curve.cells]
    width, height = SIZE

    def paint(figure: Figure) -> None:
        title = cost_sentence(drawn, baseline)
        figure.text(18 / width, 1 - 30 / height, title, fontsize=16 if len(title) < 90 else 13, color=INK, va="center")
        figure.text(18 / width, 18 / height, caption, fontsize=10, color=MUTED, va="center")
        names = 9 + 6.6 * max(len(_name(curve, "seconds")) for curve in drawn)
        panel = (width - 2 * (62 + names)) / 2
        for index, what in enumerate(PANELS):
            left = 62 + index * (panel + names + 62)
            box = (left / width, 86 / height, panel / width, (height - 176) / height)
            _panel(figure.add_axes(box), drawn, what, baseline)

    return sheet(SIZE, form, paint, "cost")


def _panel(axes: Axes, curves: Sequence[CostCurve], what: str, baseline: str) -> None:
    """Draw one quantity of every curve over T."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    label, units = PANELS[what]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    lengths = sorted({T for curve in curves for T in curve.lengths})
    others = [curve for curve in curves if curve.mechanism != baseline]
    ends: list[tuple[float, CostCurve, str]] = []
    for curve in sorted(curves, key=lambda c: c.mechanism == baseline):
        index = others.index(curve) if curve in others else -1
        colour = INK if index < 0 else COLOURS[index % len(COLOURS)]
        axes.plot(
            curve.lengths, curve.values(what), color=colour, linewidth=2.6 if index < 0 else 2, marker="o",
            markersize=4, clip_on=False,
            linestyle="solid" if index < 0 else DASHES[index // len(COLOURS) % len(DASHES)],
        )  # fmt: skip
        ends.append((curve.values(what)[-1], curve, INK if index < 0 else NAMES[index % len(NAMES)]))
    low, high = axes.get_ylim()
    axes.xaxis.set_major_locator(FixedLocator(lengths if len(lengths) <= 8 else lengths[::2]))
    axes.yaxis.set_major_locator(FixedLocator(_ticks(low, high, units)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda T, _: f"{round(T):,}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _in_unit(value, units)))
    bare(axes, "y")
    axes.tick_params(axis="y", labelcolor=MUTED)
    axes.set_xlabel("T (tokens)", color=MUTED)
    axes.set_xlim(lengths[0], max(lengths[-1], lengths[0] + 1))
    axes.annotate(
        label, (0, 1), (-44, 18), xycoords="axes fraction", textcoords="offset points", color=INK, fontsize=12
    )
    _name_ends(axes, ends, what)


def _name(curve: CostCurve, what: str) -> str:
    """Return what stands at the end of a line: its name and its fitted power of T."""
    fit = fit_exponent(curve.lengths, curve.values(what))
    return curve.mechanism if fit is None else f"{curve.mechanism}  T^{fit.exponent:.2f}"


def _name_ends(axes: Axes, ends: Sequence[tuple[float, CostCurve, str]], what: str) -> None:
    """Write names right of the panel at the heights of their ends, pushed apart, each with a thin line to its end."""
    gap = 15.0  # pixels between the middles of two names
    bottom, top = (float(axes.transAxes.transform((0, y))[1]) for y in (0, 1))
    ordered = sorted(ends, key=lambda end: end[0])
    wanted = [float(axes.transData.transform((1, value))[1]) for value, _, _ in ordered]
    up, down = list(wanted), list(wanted)
    for i, j in itertools.pairwise(range(len(wanted))):
        up[j] = max(up[j], up[i] + gap)
        down[-1 - j] = min(down[-1 - j], down[-1 - i] - gap)
    # the mean of both keeps the gaps, and a crowd in the middle of its ends
    places = [(above + below) / 2 for above, below in zip(up, down, strict=True)]
    shift = max(0.0, places[-1] - top)
    places = [place - shift for place in places]
    for (value, curve, colour), place in zip(ordered, places, strict=True):
        height = (place - bottom) / (top - bottom)
        axes.annotate(
            "", (curve.lengths[-1], value), (1.03, height), xycoords="data", textcoords="axes fraction",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3},
            annotation_clip=False,
        )  # fmt: skip
        axes.text(1.035, height, _name(curve, what), transform=axes.transAxes, color=colour, va="center", fontsize=11)


def _ticks(low: float, high: float, units: Sequence[tuple[float, str]]) -> list[float]:
    """Return round values of every unit between two limits: 1, 10 and 100 of each, and 1000 where the next is 1024."""
    steps = [factor * 10**power for factor, _ in units for power in range(3)]
    steps += [units[-1][0] * 10**power for power in range(3, 6)]
    inside = [step for step in steps if low <= step <= high]
    if len(inside) >= 3:
        return inside
    finer = [digit * step for step in steps for digit in (1, 2, 5)]
    return [step for step in finer if low <= step <= high]


def _in_unit(value: float, units: Sequence[tuple[float, str]]) -> str:
    """Return a tick with the unit that makes it at least 1.

    >>> _in_unit(0.02, ((1e-3, "ms"), (1.0, "s"))), _in_unit(2.0**21, ((2.0**20, "MiB"),))
    ('20 ms', '2 MiB')
    """
    factor, unit = next((pair for pair in reversed(units) if value >= pair[0] * (1 - 1e-9)), units[0])
    amount = value / factor
    digits = max(0, -math.floor(math.log10(amount)))
    return f"{amount:,.{digits}f} {unit}"
