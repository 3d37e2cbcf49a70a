"""Which classes are taken for which: shaded counts, or of many classes the commonest confusions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heed.report.figure import Columns, Figure, HeatRow
from heed.report.numbers import format_count, format_percent
from heed.report.tabular import TextTable, words_table

MOST_CLASSES = 8
"""Classes up to which a confusion matrix is shown whole; of more, the commonest confusions."""
CONFUSIONS = 8
"""Confusions that are listed of many classes."""


def confusion_figure(name: str, who: str, names: Sequence[str], matrix: np.ndarray, of: str = "") -> Figure:
    """Return the counts (C, C) by label (rows) and by what it was taken for; `of` says whose answers these are."""
    rows = tuple(
        HeatRow(label, tuple(map(int, counts)), place)
        for place, (label, counts) in enumerate(zip(names, matrix.tolist(), strict=True))
    )
    pairs = _mistakes(matrix)
    title = f"{who} makes no mistake"
    if pairs:
        count, label, said, _ = pairs[0]
        title = f"{who}: most often takes {names[label]} for {names[said]}, {format_count(count)} times"
    caption = f"Rows: the label. Columns: what it was taken for. Darker: a larger share of the class. {of}".rstrip()
    return Figure(name, title, caption, "heat", rows, Columns("label", tuple(names)))


def commonest_confusions(names: Sequence[str], matrix: np.ndarray) -> TextTable | None:
    """Return the commonest confusions; None where there is none."""
    rows = [
        (names[label], names[said], format_count(count), format_percent(share))
        for count, label, said, share in _mistakes(matrix)[:CONFUSIONS]
    ]
    return words_table(("label", "taken for", "times", "of the class"), rows, 2) if rows else None


def _mistakes(matrix: np.ndarray) -> list[tuple[int, int, int, float]]:
    """Return (times, class, what it was taken for, share of the class), the commonest first."""
    found = []
    for place, counts in enumerate(matrix.tolist()):
        total = sum(counts) or 1
        found += [(int(n), place, k, n / total) for k, n in enumerate(counts) if n and k != place]
    return sorted(found, key=lambda pair: (-pair[0], pair[1], pair[2]))
