"""Figures with one row a name: differences with their intervals (a forest plot), and bars.

Names stand left of the plot and numbers right of it; where that leaves too little plot, both stand above each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import escape

from heed.report.drawing_plane import percent
from heed.report.figure import Figure, Row, Scale
from heed.report.ticks import even_ticks, short, shorten, shorten_all

LONGEST, NOTE = 28, 44
"""Letters of a name that are shown at most, and of the words of a row without a mark."""
WORDY = 62
"""Letters of the longest name and the longest numbers together, from which both stand above the rows."""
TALL = 40
"""The same, from which a telephone has no room for both in one line."""


@dataclass(frozen=True)
class Span:
    """What part of the axis is drawn."""

    low: float
    high: float

    def at(self, value: float) -> str:
        """Return where a value lies, in percent from the left."""
        return percent((value - self.low) / (self.high - self.low))

    def wide(self, amount: float) -> str:
        """Return how wide an amount is, in percent."""
        return percent(amount / (self.high - self.low))


def draw_rows(figure: Figure) -> str:
    """Return the rows of a figure: names, plot and numbers, and the axis under them."""
    rows, scale, bars = figure.rows, figure.scale, figure.kind == "bars"
    span = span_of(rows, scale, bars)
    shown = shorten_all([row.label for row in rows], LONGEST)
    names = [
        f'<li class="{_ink(row)}"{_whole(row.label, name)}><span>{escape(name)}</span>'
        for row, name in zip(rows, shown, strict=True)
    ]
    texts = [f"<li><span>{escape(row.text) if row.value is not None else ''}</span>" for row in rows]
    letters = max(map(len, shown)) + max((len(row.text) for row in rows if row.value is not None), default=0)
    marks = "".join(_mark(row, (n + 0.5) / len(rows), span, scale, bars) for n, row in enumerate(rows))
    return (
        f'{_key(scale)}{_sides(scale)}<div class="rows{" wordy" * (letters > WORDY)}{" tall" * (letters > TALL)}">\n'
        f'<ul class="labels">\n{"".join(names)}</ul>\n'
        f'<svg role="img" aria-label="{escape(figure.title)}">\n'
        f'<g class="ticks">{_axis(span, bars)}</g>\n<g class="marks">{marks}</g></svg>\n'
        f'<ul class="texts">\n{"".join(texts)}</ul>\n</div>\n<p class="unit x">{escape(scale.label)}</p>'
    )


def span_of(rows: Sequence[Row], scale: Scale, bars: bool) -> Span:
    """Return the part of the axis that holds every row and zero, with some room; bars above 0 alone begin there."""
    values = [0.0, *([] if scale.rule is None else [scale.rule])]
    for row in rows:
        if row.value is not None:
            values += [row.value, *(row.interval or ()), *row.dots]
            # a zone wider than everything else may run out of the plot
            values += [] if row.zone is None or bars else [min(row.zone, 1.5 * max(map(abs, values)))]
    low, high = min(values), max(values)
    if not bars:
        low = min(low, -high * 0.35)
        high = max(high, -low * 0.35)
    margin = 0.05 * (high - low) or 1.0
    return Span(0.0 if bars and low == 0 else low - margin, high + margin)


def _mark(row: Row, middle: float, span: Span, scale: Scale, bars: bool) -> str:
    """Return one row: a bar, or the zone, the interval, the seeds and the mean; words where it has no value."""
    y = percent(middle)
    if row.value is None:
        return f'<text x="4" y="{y}" dy=".35em">{escape(shorten(row.text, NOTE))}</text>'
    if bars:
        return _bar(row, y, span, scale)
    kind, found = f"s{row.series}", []
    if row.zone:
        low, high = max(-row.zone, span.low), min(row.zone, span.high)  # beyond the plot it would hide the names
        found.append(f'<rect class="zone" x="{span.at(low)}" y="{y}" width="{span.wide(high - low)}" height="18"/>')
    found.append(f'<rect class="zero" x="{span.at(0)}" y="{y}" width="1.5" height="18"/>')
    if row.interval:
        found.append(_interval(row.interval, kind, y, span))
    found += [f'<rect class="seed {kind}" x="{span.at(dot)}" y="{y}" width="1.5" height="10"/>' for dot in row.dots]
    found.append(f'<circle class="{kind}{"" if row.filled else " open"}" cx="{span.at(row.value)}" cy="{y}" r="5"/>')
    return f"<g>{''.join(found)}</g>\n"


def _bar(row: Row, y: str, span: Span, scale: Scale) -> str:
    found, start = [], 0.0
    for amount, series in row.parts or ((row.value or 0.0, row.series),):
        found.append(
            f'<rect class="bar s{series}" x="{span.at(min(start, start + amount))}" y="{y}" '
            f'width="{span.wide(abs(amount))}" height="12"/>'
        )
        start += amount
    if row.interval:
        found.append(_interval(row.interval, "s0", y, span))
    if scale.rule is not None:
        found.append(f'<rect class="stroke" x="{span.at(scale.rule)}" y="{y}" width="2" height="20"/>')
    return f"<g>{''.join(found)}</g>\n"


def _interval(interval: tuple[float, float], kind: str, y: str, span: Span) -> str:
    low, high = map(span.at, interval)
    return f'<line class="interval {kind}" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>'


def _axis(span: Span, bars: bool) -> str:
    found = []
    for tick in even_ticks(span.low, span.high, 4):
        x, sign = span.at(tick), "+" if tick > 0 and not bars else ""
        css = ' class="zero"' if tick == 0 and span.low < 0 else ""
        found.append(f'<line{css} x1="{x}" x2="{x}" y2="100%"/>')
        found.append(f'<text x="{x}" y="100%" dy="1.5em">{sign}{short(tick)}</text>')
    return "".join(found) + '<line class="floor" x2="100%" y1="100%" y2="100%"/>'


def _sides(scale: Scale) -> str:
    """Return what left and right of zero mean, above the plot."""
    return f'<p class="unit">{escape(" · ".join(scale.sides))}</p>\n' if any(scale.sides) else ""


def _key(scale: Scale) -> str:
    if not scale.key:
        return ""
    box = '<svg class="key" width="12" height="10"><rect class="bar s{}" width="10" height="10"/></svg>'
    items = [f"<li>{box.format(series)}<span>{escape(name)}</span>" for name, series in scale.key]
    return f'<ul class="names key">\n{"".join(items)}</ul>\n'


def _ink(row: Row) -> str:
    return f"s{row.series}" if row.value is not None else "muted"


def _whole(name: str, shown: str) -> str:
    return f' title="{escape(name)}"' if name != shown else ""
