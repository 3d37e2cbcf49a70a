"""The figure of a study over contexts: each variant at the lengths that it is read with, on a log axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from heed.report.figure import Figure, Line, Plane, lines_figure
from heed.report.study_lengths import ended_at, length_title, length_values, measured_at, trained_on
from heed.report.study_record import StudyRecord

CLOSEST = 0.12
"""Numbers on the axis stand at least this share of it apart."""


def lengths_figure(record: StudyRecord, paint: Mapping[str, tuple[int, int]]) -> Figure | None:
    """Return the figure of the study over contexts; `paint` has (series, dash) of each variant."""
    known = {name: at for name in record.variants if (at := measured_at(record, name))}
    if not known or len(record.lengths) < 2:
        return None
    lines = [_line(record, name, at, paint[name]) for name, at in known.items()]
    contexts = {context for name in known if (context := trained_on(record, name))}
    figure = record.figure.replace("_", " ") + {"accuracy": " (%)", "loss": " (nats)"}.get(record.figure, "")
    axes = Plane(
        "context (tokens, log)",
        f"validation {figure}",
        log_x=True,
        x_ticks=ticks(record.lengths),
        marks=tuple((float(n), f"trained on {n:,}") for n in contexts) if len(contexts) == 1 else (),
    )
    caption = "Mean over seeds; band: lowest to highest seed." if any(line.low for line in lines) else "One seed."
    caption += " The whole validation split in windows that do not overlap: the first token of each has no context."
    return lines_figure("lengths", length_title(record), caption, lines, axes)


def ticks(lengths: Sequence[int]) -> tuple[float, ...]:
    """Return those of the ascending lengths whose numbers have room on a log axis, the longest first of all.

    >>> ticks([50, 100, 110, 200, 400])
    (50.0, 110.0, 200.0, 400.0)
    """
    least = CLOSEST * math.log(lengths[-1] / lengths[0])
    kept: list[float] = []
    for length in reversed(lengths):
        if not kept or math.log(kept[-1] / length) >= least:
            kept.append(float(length))
    return tuple(reversed(kept))


def _line(record: StudyRecord, name: str, at: list[int], paint: tuple[int, int]) -> Line:
    """Return the line of a variant; one that ends before the longest length says so."""
    values = [list(length_values(record, name, length).values()) for length in at]
    several = any(len(each) > 1 for each in values)
    low, high = ([f(each) for each in values] if several else () for f in (min, max))
    label = f"{name} (ends)" if ended_at(record, name) else name
    return Line(label, at, [fmean(each) for each in values], paint[0], low, high, dots=True, dash=paint[1])
