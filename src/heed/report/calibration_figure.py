"""Two figures of trust: does 70 % mean 70 % (reliability), and how wrong are the surest answers (risk and coverage)?

A reliability figure has a point for each bin, at its mean probability and its share of right answers; below the
diagonal the model is too sure. Upright lines are Wilson's intervals, level ones reach from the lowest to the highest
probability of the bin. A risk-coverage figure has a line for each run; the dashed one is the oracle, surest of exactly
those answers that are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from heed.report.calibration import Bin, Calibration, RiskCoverage
from heed.report.figures import Figure
from heed.report.numbers import format_accuracy, format_percent
from heed.report.study_rows import HALF
from heed.report.svg import DASHES, Axes2D, Line, draw, named, short
from heed.report.svg_sheet import COLOURS, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WIDE, NARROW = (HALF, 340), (352, 300)
CURVE_WIDE, CURVE_NARROW = (1040, 380), (352, 320)
POINTS = 200
"""Points of a risk-coverage line that are drawn."""


def reliability_figure(
    name: str, run: str, bins: Sequence[Bin], found: Calibration, paint: tuple[int, int] = (1, 0)
) -> Figure:
    """Return the reliability figure of one run; `name` makes ids unique, `paint` is its colour and dash."""
    title = reliability_sentence(run, bins, found)
    count = sum(one.count for one in bins)
    caption = (
        f"{count:,} answers in {len(bins)} bin{'s' if len(bins) != 1 else ''} of equal mass. Upright lines: 95 % "
        "interval of the share right; level lines: from the lowest to the highest probability of the bin. Calibration "
        f"error {found.error:.3f} ({found.interval[0]:.3f} to {found.interval[1]:.3f}); a model that is calibrated "
        f"perfectly would show {found.chance:.3f} with so few answers."
    )
    wide, narrow = (draw_reliability(f"{name}-{i}", bins, paint, title, size) for i, size in enumerate((WIDE, NARROW)))
    return Figure(name, title, caption, wide, narrow)


def reliability_sentence(run: str, bins: Sequence[Bin], found: Calibration) -> str:
    """Say how what the model says stands to what is right."""
    count = sum(one.count for one in bins)
    said = sum(one.count * one.probability for one in bins) / count
    right = sum(one.count * one.accuracy for one in bins) / count
    amounts = f"it says {format_percent(said)} on average, {format_percent(right)} are right"
    if found.verdict == "no miscalibration found":
        return f"{run}: no miscalibration found; {amounts}"
    return f"{run} is {found.verdict}: {amounts}"


def risk_figure(
    name: str, curves: Mapping[str, RiskCoverage], paint: Mapping[str, tuple[int, int]], best: str
) -> Figure:
    """Return the risk-coverage figure of several runs, with the oracle of `best`."""
    lines = []
    for run, curve in curves.items():
        x, y = _thin(curve.coverage, curve.risk)
        lines.append(Line(run, [100 * one for one in x], [100 * one for one in y], paint[run][0], dash=paint[run][1]))
    x, y = _thin(curves[best].coverage, curves[best].oracle)
    # the oracle ends where its run ends: its name would stand on top of the other
    lines.append(Line("", [100 * one for one in x], [100 * one for one in y], 0, dash=2))
    title = risk_sentence(best, curves[best])
    caption = (
        "Of the answers given, surest first, the share that is wrong. A line that does not rise has probabilities that "
        f"say nothing. Dotted: the oracle for {best}, surest of exactly the answers that are right. The left end rests "
        "on few answers."
    )
    axes = Axes2D("coverage: share of the questions that are answered (%)", "risk: share of those that is wrong (%)")
    height = 120 + 18 * len(lines)
    wide = draw(f"{name}-wide", named(lines, 26), axes, (CURVE_WIDE[0], max(CURVE_WIDE[1], height)), title, values=True)
    narrow = draw(
        f"{name}-narrow", named(lines, 16), Axes2D("coverage (%)", "risk: share wrong (%)"),
        (CURVE_NARROW[0], max(CURVE_NARROW[1], height)), title, values=False,
    )  # fmt: skip
    return Figure(name, title, caption, wide, narrow)


def risk_sentence(run: str, curve: RiskCoverage) -> str:
    """Say what leaving out unsure answers is good for.

    >>> risk_sentence("a", RiskCoverage((0.2, 0.4, 0.6, 0.8, 1), (0, 0, 0.3, 0.5, 0.6), (), 0, (0, 0), 0))
    'Of the surest fifth of its answers a has 100.0 % right, of all 40.0 %'
    """
    fifth = max(0, round(len(curve.risk) / 5) - 1)
    return (
        f"Of the surest fifth of its answers {run} has {format_accuracy(1 - curve.risk[fifth])} right, "
        f"of all {format_accuracy(1 - curve.risk[-1])}"
    )


def draw_reliability(name: str, bins: Sequence[Bin], paint: tuple[int, int], label: str, size: tuple[int, int]) -> str:
    """Return an `<svg>` element of `size` (width, height) CSS pixels; `label` is read out."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    width, height = size
    colour = COLOURS[f"series-{paint[0]}"]

    def plot(canvas: Canvas) -> None:
        axes = canvas.add_axes((44 / width, 46 / height, (width - 60) / width, (height - 80) / height))
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator([0, 20, 40, 60, 80, 100]))
            axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axes.grid(axis="y", color=COLOURS["grid"], linewidth=1)
        axes.set_axisbelow(True)
        axes.plot([0, 100], [0, 100], color=COLOURS["muted"], linewidth=1, dashes=(4, 3))
        for one in bins:
            x, y = 100 * one.probability, 100 * one.accuracy
            low, high = (100 * edge for edge in one.interval)
            axes.plot([x, x], [low, high], color=colour, linewidth=1.5, solid_capstyle="butt")
            axes.plot([100 * one.low, 100 * one.high], [y, y], color=colour, linewidth=1.5, alpha=0.45)
        axes.plot(
            [100 * one.probability for one in bins], [100 * one.accuracy for one in bins], color=colour, linewidth=2,
            linestyle=DASHES[paint[1]], marker="o", markersize=6, clip_on=False, zorder=4,
        )  # fmt: skip
        for text, place, side in (("not sure enough", (3, 94), "left"), ("too sure", (98, 4), "right")):
            axes.text(*place, text, color=COLOURS["muted"], ha=side, fontsize=11)
        for side in ("left", "right", "top"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(COLOURS["muted"])
        axes.tick_params(axis="y", length=0, labelcolor=COLOURS["muted"])
        axes.tick_params(axis="x", color=COLOURS["muted"], labelcolor=COLOURS["muted"])
        axes.set_xlabel("probability that the model gives (%)", color=COLOURS["muted"])
        axes.annotate(
            "share right (%)", (0, 1), (-38, 14), xycoords="axes fraction", textcoords="offset points",
            color=COLOURS["muted"],
        )  # fmt: skip

    return sheet(name, size, label, plot, font=11)


def _thin(x: Sequence[float], y: Sequence[float], most: int = POINTS) -> tuple[list[float], list[float]]:
    """Return at most `most` points of a line, the first and the last among them."""
    if len(x) <= most:
        return list(x), list(y)
    kept = [round(i * (len(x) - 1) / (most - 1)) for i in range(most)]
    return [x[i] for i in kept], [y[i] for i in kept]
