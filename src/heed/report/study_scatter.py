"""The figure of a search: a parameter across, what each trial came to upwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heed.report.record import number
from heed.report.svg import log_ticks, short
from heed.report.svg_sheet import COLOURS, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """One trial."""

    value: Any
    figure: float
    finished: bool
    best: bool


def draw_scatter(name: str, points: Sequence[Point], labels: tuple[str, str], title: str, size: tuple[int, int]) -> str:
    """Return an `<svg>` element of the trials; values over a factor of 30 and more stand on a log axis.

    A parameter that is no number has its values side by side, by name.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    width, height = size
    numbers = [number(point.value) for point in points]
    plain = [value for value in numbers if value is not None]
    words = sorted({str(point.value) for point in points}) if len(plain) < len(points) else []
    across = [float(words.index(str(point.value))) for point in points] if words else plain

    def paint(figure: Figure) -> None:
        axes = figure.add_axes((54 / width, 46 / height, (width - 74) / width, (height - 76) / height))
        if words:
            axes.set_xlim(-0.5, len(words) - 0.5)
            axes.xaxis.set_major_locator(FixedLocator(list(range(len(words)))))
            axes.xaxis.set_major_formatter(
                FuncFormatter(lambda x, _: words[min(max(round(x), 0), len(words) - 1)][:14])
            )
        else:
            if min(across) > 0 and max(across) / min(across) >= 30:
                axes.set_xscale("log")
                axes.xaxis.set_major_locator(FixedLocator(log_ticks(min(across), max(across))))
                axes.xaxis.set_minor_locator(NullLocator())
            else:
                axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(y)))
        for point, x in zip(points, across, strict=True):
            axes.plot(
                [x], [point.figure], linestyle="", marker="o", markersize=7, markeredgecolor=COLOURS["series-1"],
                markerfacecolor=COLOURS["series-1" if point.finished else "surface"], clip_on=False,
            )  # fmt: skip
            if point.best:
                axes.plot(
                    [x], [point.figure], linestyle="", marker="o", markersize=15, markeredgewidth=2, clip_on=False,
                    markerfacecolor="none", markeredgecolor=COLOURS["series-2"],
                )  # fmt: skip
        axes.grid(axis="y", color=COLOURS["grid"], linewidth=1)
        axes.set_axisbelow(True)
        for side in ("left", "right", "top"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(COLOURS["muted"])
        axes.tick_params(axis="y", length=0, labelcolor=COLOURS["muted"])
        axes.tick_params(axis="x", color=COLOURS["muted"], labelcolor=COLOURS["muted"])
        axes.set_xlabel(labels[0], color=COLOURS["muted"])
        axes.annotate(
            labels[1], (0, 1), (-46, 14), xycoords="axes fraction", textcoords="offset points", color=COLOURS["muted"]
        )

    return sheet(name, size, title, paint, font=11)
