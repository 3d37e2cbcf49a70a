"""Two figures of trust: does 70 % mean 70 % (reliability), and how wrong are the surest answers (risk and coverage)?

A reliability figure has a point for each bin, at its mean probability and its share of right answers; below the
diagonal the model is too sure. Upright lines are Wilson's intervals, level ones reach from the lowest to the highest
probability of the bin. A risk-coverage figure has a line for each run; the dashed one is the oracle, surest of exactly
those answers that are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heed.report.calibration import Bin, Calibration, RiskCoverage
from heed.report.figure import Figure, Line, Plane, thinned
from heed.report.numbers import format_accuracy, format_percent

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
    x, y, left, right = (
        [100 * getattr(one, key) for one in bins] for key in ("probability", "accuracy", "low", "high")
    )
    low, high = ([100 * one.interval[side] for one in bins] for side in (0, 1))
    line = Line("", x, y, paint[0], low, high, dots=True, dash=paint[1], left=left, right=right)
    axes = Plane("probability that the model gives (%)", "share right (%)", x_ticks=tuple(range(0, 101, 20)))
    return Figure(name, title, caption, "reliability", (line,), axes)


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
    lines = [_percents(run, curve.coverage, curve.risk, paint[run]) for run, curve in curves.items()]
    # the oracle ends where its run ends: its name would stand on top of the other
    lines.append(_percents("", curves[best].coverage, curves[best].oracle, (0, 2)))
    title = risk_sentence(best, curves[best])
    caption = (
        "Of the answers given, surest first, the share that is wrong. A line that does not rise has probabilities that "
        f"say nothing. Dotted: the oracle for {best}, surest of exactly the answers that are right. The left end rests "
        "on few answers."
    )
    axes = Plane("coverage: share of the questions that are answered (%)", "risk: share of those that is wrong (%)")
    return Figure(name, title, caption, "lines", tuple(lines), axes)


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


def _percents(label: str, x: Sequence[float], y: Sequence[float], paint: tuple[int, int]) -> Line:
    """Return a line of shares, in percent, of at most `POINTS` points."""
    across, up = ([100 * share for share in shares] for shares in (x, y))
    return thinned(Line(label, across, up, paint[0], dash=paint[1]), POINTS)
