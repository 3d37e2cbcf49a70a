"""What measured times and memories say: how they grow with T, whether that is as declared, and who overtakes softmax.

    log y = c + p log T            fitted by least squares over the upper half of the lengths: y grows as T^p
    p +- t(n-2, 0.975) s / sqrt(sum (log T - mean)^2)

The upper half, because at short lengths fixed costs (starting kernels, allocating) hide how a mechanism grows.
Who is faster is said only where the interval of the ratio of two medians leaves out 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heed.report.numbers import said_ratio

SLACK = 0.25
"""How far above its declared power a measured one may lie before it is called faster growth: caches and blocks that
stop fitting bend a line of this few points by about so much."""


@dataclass(frozen=True)
class Measurement:
    """One measurement."""

    length: int
    """Tokens T."""
    seconds: float
    """Median time of one pass."""
    memory_bytes: int
    """The most memory that was held at once, beside the inputs and parameters."""
    repeats: int
    """How many passes were timed."""
    interval: tuple[float, float] | None = None
    """Of the median time, at a level at which the ratio of two medians has 95 %; None after too few passes."""


@dataclass(frozen=True)
class CostCurve:
    """A mechanism over lengths, at one width."""

    mechanism: str
    width: int
    """Model width D."""
    growth: tuple[int, int]
    """Declared powers of T in time and memory."""
    cells: tuple[Measurement, ...]
    options: dict[str, Any] = field(default_factory=dict)
    """The mechanism's options, defaults included."""
    stopped: str = ""
    """Why it was not measured further."""

    def values(self, what: str) -> list[float]:
        """Return the `seconds` or `memory_bytes` of every cell."""
        return [float(getattr(cell, what)) for cell in self.cells]

    @property
    def lengths(self) -> list[int]:
        """The lengths that were measured."""
        return [cell.length for cell in self.cells]


@dataclass(frozen=True)
class Fit:
    """A fitted power of T."""

    exponent: float
    half_width: float
    """Half the 95 % interval; infinite with two points, which a line always meets."""
    points: int


def fit_exponent(lengths: Sequence[float], values: Sequence[float]) -> Fit | None:
    """Return the power p of T with which values grow over the upper half of the lengths; None for one length.

    >>> fit_exponent([100, 200, 400, 800], [1.0, 2.0, 8.0, 32.0]).exponent  # the upper half: 200, 400, 800
    2.0
    """
    from scipy import stats

    count = min(len(lengths), max(3, math.ceil(len(lengths) / 2)))
    if count < 2 or min(values) <= 0:
        return None
    x, y = np.log(np.asarray(lengths[-count:], float)), np.log(np.asarray(values[-count:], float))
    apart = x - x.mean()
    exponent = float(apart @ y / (apart @ apart))
    if count == 2:
        return Fit(exponent, math.inf, 2)
    residual = y - y.mean() - exponent * apart
    error = math.sqrt(float(residual @ residual) / (count - 2) / float(apart @ apart))
    return Fit(round(exponent, 10), float(stats.t.ppf(0.975, count - 2)) * error, count)


def judge(fit: Fit | None, declared: int) -> str:
    """Say how a fitted power compares with the declared one, which is a bound from above for long sequences.

    >>> judge(Fit(1.1, 0.1, 4), 1), judge(Fit(1.6, 0.1, 4), 2), judge(Fit(1.8, 0.1, 4), 1), judge(Fit(1.5, 0.6, 4), 1)
    ('as declared', 'below', 'ABOVE', 'unclear')
    """
    if fit is None or fit.points < 3:
        return "too few lengths"
    if fit.exponent > declared + SLACK:
        # an interval that reaches down to the declared power leaves the question open
        return "ABOVE" if fit.exponent - fit.half_width > declared else "unclear"
    return "as declared" if fit.exponent >= declared - SLACK else "below"


def crossover(
    lengths: Sequence[int], ours: Sequence[float], their_lengths: Sequence[int], theirs: Sequence[float]
) -> float | None:
    """Return the length from which on `ours` stays below `theirs`, interpolated on logarithms; None: not so far.

    Only lengths that both have count; the first of them means that it is below at every one.

    >>> crossover([100, 400], [2.0, 2.0], [100, 400], [1.0, 4.0])
    200.0
    """
    other = dict(zip(their_lengths, theirs, strict=True))
    points = [(T, math.log(y / other[T])) for T, y in zip(lengths, ours, strict=True) if T in other]
    if not points or points[-1][1] >= 0:
        return None
    for (low, above), (high, below) in zip(points[-2::-1], points[:0:-1], strict=True):
        if above >= 0:
            share = above / (above - below)
            return round(low * (high / low) ** share, 6)
    return float(points[0][0])


def cost_rows(curves: Sequence[CostCurve], baseline: str = "softmax") -> list[dict[str, Any]]:
    """Return one row a curve: its figures at the longest length, its fits, and where it overtakes the baseline."""
    rows = []
    for curve in curves:
        against = next((c for c in curves if (c.mechanism, c.width) == (baseline, curve.width)), None)
        row: dict[str, Any] = {
            "mechanism": curve.mechanism, "width": curve.width, "options": curve.options, "stopped": curve.stopped,
            "lengths": curve.lengths, "seconds": curve.values("seconds"), "memory_bytes": curve.values("memory_bytes"),
            "repeats": [cell.repeats for cell in curve.cells],
            "seconds_interval": [cell.interval for cell in curve.cells],
        }  # fmt: skip
        for what, name, declared in (("seconds", "time", curve.growth[0]), ("memory_bytes", "memory", curve.growth[1])):
            fit = fit_exponent(curve.lengths, curve.values(what)) if curve.cells else None
            row[name] = {
                "exponent": fit and fit.exponent,
                "half_width": fit.half_width if fit and math.isfinite(fit.half_width) else None,
                "points": fit.points if fit else 0,
                "declared": declared,
                "verdict": judge(fit, declared),
            }
            row[name]["below_softmax_from"] = None
            if against is not None and against is not curve:
                ours, theirs = (values_below(one, what, end) for one, end in ((curve, 1), (against, 0)))
                row[name]["below_softmax_from"] = crossover(curve.lengths, ours, against.lengths, theirs)
        rows.append(row)
    return rows


def values_below(curve: CostCurve, what: str, end: int) -> list[float]:
    """Return what is held against another curve: memory, which is exact, and of times an end of their intervals.

    Without an interval nothing is shown: the end is infinite, or as good as 0.
    """
    if what != "seconds":
        return curve.values(what)
    nothing = (1e-9, 1e9)
    return [(nothing if cell.interval is None else cell.interval)[end] for cell in curve.cells]


def said_crossing(row: dict[str, Any], which: str, baseline: str = "softmax") -> str:
    """Say from which length on a row's memory is below the baseline's, or its time is shown to be."""
    if row["mechanism"] == baseline:
        return "–"
    crossing = row[which]["below_softmax_from"]
    if crossing is None:
        return f"not up to T = {max(row['lengths'], default=0):,}"
    return (
        f"at every T, from {row['lengths'][0]:,}"
        if crossing <= row["lengths"][0]
        else f"from T = {rounded(crossing):,}"
    )


def rounded(length: float) -> int:
    """Return an interpolated length with the two digits that it is good for.

    >>> rounded(1237.0), rounded(88.4)
    (1200, 88)
    """
    return int(float(f"{length:.1e}"))


def cost_sentence(curves: Sequence[CostCurve], baseline: str = "softmax") -> str:
    """Say in a sentence who is faster than the baseline and from where on: the title of the figure."""
    rows = [row for row in cost_rows(curves, baseline) if row["lengths"]]
    others = [row for row in rows if row["mechanism"] != baseline]
    if len(others) == len(rows) or not others:
        fits = [(row["mechanism"], row["time"]["exponent"]) for row in rows if row["time"]["exponent"] is not None]
        return "Time grows as " + ", ".join(f"T^{power:.1f} in {name}" for name, power in fits)
    longest = max(max(row["lengths"]) for row in rows)
    standard = next(row for row in rows if row["mechanism"] == baseline)
    faster = sorted((row for row in others if _crossing(row) is not None), key=lambda row: _crossing(row) or 0)
    if not faster or standard["lengths"][-1] != longest:
        return f"Nothing measured here was shown to be faster than {baseline} up to T = {standard['lengths'][-1]:,}"
    best = min(
        (row for row in faster if row["lengths"][-1] == longest), key=lambda row: row["seconds"][-1], default=None
    )
    if best is None:
        return f"{len(faster)} of {len(others)} are faster than {baseline}, as far as they were measured"
    share = best["seconds"][-1] / standard["seconds"][-1]
    (low, high), (least, most) = (row["seconds_interval"][-1] for row in (best, standard))
    ratio = said_ratio(share, (low / most, high / least))
    begin = f"At T = {longest:,} {best['mechanism']} takes {ratio} of the time of {baseline}"
    if len(others) == 1:
        return f"{begin}; it is faster {said_crossing(best, 'time')}"
    when = said_crossing(faster[0], "time")
    return f"{begin}; {len(faster)} of {len(others)} are faster, {faster[0]['mechanism']} {when}"


def _crossing(row: dict[str, Any]) -> float | None:
    return row["time"]["below_softmax_from"]
