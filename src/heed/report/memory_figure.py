"""The figure of a training step's memory: one bar a batch size and context, cut into what holds it.

Each part is named once, above the bars.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heed.report.numbers import human_bytes
from heed.report.sheet import INK, MUTED, bare, sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {"weights": "#0072b2", "gradients": "#56b4e9", "optimizer": "#cc79a7", "activations": "#e69f00"}
"""Part -> its colour, in the order of the bar."""
WIDTH = 900
"""CSS pixels."""


def memory_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say what takes most of the largest step.

    >>> row = {"weights": 1, "gradients": 1, "optimizer": 2, "activations": 12, "total": 16, "problem": ""}
    >>> memory_sentence([{**row, "batch_size": 8, "context": 128}])
    'At batch size 8 and context 128, activations take 75 % of 16 B'
    """
    known = [row for row in rows if not row["problem"]]
    if not known:
        return "No step fits into memory"
    last = max(known, key=lambda row: row["total"])
    part = max(PARTS, key=lambda name: last[name])
    share = last[part] / last["total"]
    return (
        f"At batch size {last['batch_size']} and context {last['context']:,}, {part} take {100 * share:.0f} % of "
        f"{human_bytes(last['total'])}"
    )


def draw_memory(rows: Sequence[Mapping[str, Any]], caption: str, form: str = "svg") -> bytes:
    """Return the figure as "svg" or "png"; a row has `batch_size`, `context`, the four parts in bytes and `problem`."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

    height = 150 + 28 * len(rows)

    def paint(figure: Figure) -> None:
        figure.text(18 / WIDTH, 1 - 28 / height, memory_sentence(rows), fontsize=15, color=INK, va="center")
        figure.text(18 / WIDTH, 16 / height, caption, fontsize=9.5, color=MUTED, va="center")
        axes = figure.add_axes((150 / WIDTH, 62 / height, (WIDTH - 250) / WIDTH, (height - 140) / height))
        for place, (name, colour) in enumerate(PARTS.items()):
            x, y = (150 + 130 * place) / WIDTH, 1 - 60 / height
            figure.text(x, y, "■", color=colour, va="center", fontsize=13)
            figure.text(x + 16 / WIDTH, y, name, color=INK, va="center")
        for place, row in enumerate(rows):
            left = 0
            for name, colour in PARTS.items():
                axes.barh(place, row[name], left=left, height=0.68, color=colour, linewidth=0)
                left += row[name]
            words = row["problem"] or human_bytes(row["total"])
            axes.annotate(words, (left, place), (6, 0), textcoords="offset points", va="center", annotation_clip=False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        most = max(1, *(row["total"] for row in rows))
        unit = 1024 ** int(math.log(most, 1024))
        axes.set_xlim(0, most)
        labels = [f"{row['batch_size']} × {row['context']:,}" for row in rows]
        axes.set_yticks(range(len(rows)), labels)
        ticks = MaxNLocator(nbins=5, steps=[1, 2, 4, 5, 8, 10]).tick_values(0, most / unit)
        axes.xaxis.set_major_locator(FixedLocator([tick * unit for tick in ticks if tick * unit <= most]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human_bytes(value) if value else "0"))
        bare(axes, "x")
        figure.text(18 / WIDTH, 1 - 60 / height, "batch × context", color=MUTED, va="center")

    return sheet((WIDTH, height), form, paint, "memory")
