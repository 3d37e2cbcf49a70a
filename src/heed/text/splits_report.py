"""What is to be known of labelled texts before anything learns from them: classes, lengths, duplicates, leakage.

A text of validation or test that also stands in training is remembered, not understood. Such texts, and those with two
labels, are found without regard to capitals and white space; duplicates within a split are equal in every character.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from heed.text.classes import spellings
from heed.text.splits import SplitRows, Splits

PLACES = 5
"""Examples that are named of each kind of leakage."""
SHOWN_CLASSES = 6
"""Classes that have a column each; of more, the smallest and the largest are shown."""
Pair = tuple[str, str | None]


def describe(splits: Splits) -> dict[str, Any]:
    """Return as plain values: examples of each class, duplicates, lengths in characters, leakage, notes, fingerprint.

    `leakage` lists the pairs of splits that share texts; it is empty where no two do.
    """
    alike = {split: [_alike(one) for one in _pairs(rows)] for split, rows in splits.rows.items()}
    leakage = [
        {"of": of, "in": within, "examples": len(places), "places": places[:PLACES]}
        for of, within in (("validation", "train"), ("test", "train"), ("validation", "test"))
        if of in alike and within in alike and (places := _shared(splits.rows[of], alike[of], alike[within]))
    ]
    return {
        "name": splits.name,
        "classes": list(splits.classes),
        "splits": {split: _figures(rows, len(splits.classes)) for split, rows in splits.rows.items()},
        "leakage": leakage,
        "notes": splits.notes + _conflicts(splits, alike) + spellings(splits.classes),
        "fingerprint": splits.fingerprint,
    }


def describe_lines(data: Mapping[str, Any]) -> list[str]:
    """Return what `describe` has found as aligned lines for a terminal."""
    classes: list[str] = data["classes"]
    many = len(classes) > SHOWN_CLASSES
    heads = ["", "texts", *(["smallest", "largest"] if many else [_cut(name) for name in classes])]
    table = [[*heads, "majority", "duplicates", "characters: median", "95 %", "longest"]]
    for split, figures in data["splits"].items():
        counts: list[int] = figures["classes"]
        lengths = figures["characters"]
        shown = [min(counts), max(counts)] if many else counts
        numbers = [f"{n:,}" for n in (figures["examples"], *shown)]
        share = f"{100 * max(counts) / figures['examples']:.1f} %"
        rest = [figures["duplicates"], lengths["median"], lengths["p95"], lengths["longest"]]
        table.append([split, *numbers, share, *(f"{n:,}" for n in rest)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [f"{data['name']}: {len(classes)} classes"]
    for row in table:
        first, *others = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first, *(cell.rstrip().rjust(len(cell)) for cell in others)]))
    for leak in data["leakage"]:
        verb = "text also stands" if leak["examples"] == 1 else "texts also stand"
        lines.append(f"{leak['examples']:,} {leak['of']} {verb} in {leak['in']}: {_list(leak)}")
    if not data["leakage"] and len(data["splits"]) > 1:
        lines.append("no text stands in two splits")
    return lines + list(data["notes"])


def _list(leak: Mapping[str, Any]) -> str:
    return "; ".join(leak["places"]) + ("; ..." if leak["examples"] > len(leak["places"]) else "")


def _cut(name: str) -> str:
    return name if len(name) <= 16 else name[:13] + "..."


def _pairs(rows: SplitRows) -> Iterator[Pair]:
    return zip(rows.texts, rows.pairs or [None] * len(rows), strict=True)


def _alike(pair: Pair) -> Pair:
    """Return a text and its pair without capitals, and with one space for any white space.

    >>> _alike(("What \\tis  NEW ", None))
    ('what is new', None)
    """
    text, other = (part and " ".join(part.lower().split()) for part in pair)
    return text or "", other


def _shared(rows: SplitRows, alike: list[Pair], others: list[Pair]) -> list[str]:
    """Return where the texts stand that are also among `others`."""
    known = set(others)
    return [place for place, one in zip(rows.places, alike, strict=True) if one in known]


def _figures(rows: SplitRows, classes: int) -> dict[str, Any]:
    """Return the figures of a split; a percentile of the lengths is a length that a text has."""
    lengths = np.array([len(text) + len(pair or "") for text, pair in _pairs(rows)])
    median, p95, longest = np.percentile(lengths, [50, 95, 100], method="inverted_cdf").tolist()
    return {
        "examples": len(rows),
        "classes": np.bincount(rows.labels, minlength=classes).tolist(),
        "duplicates": len(rows) - len(set(_pairs(rows))),
        "characters": {"median": median, "p95": p95, "longest": longest},
    }


def _conflicts(splits: Splits, alike: Mapping[str, list[Pair]]) -> list[str]:
    """Return a note where a text has two labels, in one split or in two."""
    labels: dict[Pair, set[int]] = defaultdict(set)
    places: dict[Pair, list[str]] = defaultdict(list)
    for split, rows in splits.rows.items():
        for one, label, place in zip(alike[split], rows.labels.tolist(), rows.places, strict=True):
            labels[one].add(label)
            places[one].append(place)
    torn = [one for one, some in labels.items() if len(some) > 1]
    if not torn:
        return []
    example = " and ".join(places[torn[0]][:3])
    what = "1 text has" if len(torn) == 1 else f"{len(torn):,} texts have"
    return [f"{what} more than one label, so nothing can be right about all of them: {example}"]
