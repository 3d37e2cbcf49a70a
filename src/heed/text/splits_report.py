"""What is to be known of labelled texts before anything learns from them: classes, lengths, duplicates, leakage.

A text of validation or test that also stands in training is remembered, not understood. Such texts, and those with two
labels, are found without regard to capitals and white space; duplicates within a split are equal in every character.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from heed.targets import Target, target_of
from heed.text.splits import SplitRows, Splits

PLACES = 5
"""Examples that are named of each kind of leakage."""
Pair = tuple[str, str | None]


def describe(splits: Splits) -> dict[str, Any]:
    """Return as plain values: what labels there are, duplicates, lengths in characters, leakage, notes, fingerprint.

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
        "classes": [],
        **splits.target.facts(),
        "splits": {split: _figures(rows, splits.target) for split, rows in splits.rows.items()},
        "leakage": leakage,
        "notes": splits.notes + _conflicts(splits, alike) + splits.target.notes(),
        "fingerprint": splits.fingerprint,
    }


def describe_lines(data: Mapping[str, Any]) -> list[str]:
    """Return what `describe` has found as aligned lines for a terminal."""
    target, splits = target_of(data), data["splits"]
    columns = target.columns(splits)
    table = [["", "texts", *(head for head, _ in columns), "duplicates", "characters: median", "95 %", "longest"]]
    for place, (split, figures) in enumerate(splits.items()):
        lengths = figures["characters"]
        rest = [figures["duplicates"], lengths["median"], lengths["p95"], lengths["longest"]]
        own = [cells[place] for _, cells in columns]
        table.append([split, f"{figures['examples']:,}", *own, *(f"{n:,}" for n in rest)])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [f"{data['name']}: {target.said}"]
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


def _figures(rows: SplitRows, target: Target) -> dict[str, Any]:
    """Return the figures of a split; a percentile of the lengths is a length that a text has."""
    lengths = np.array([len(text) + len(pair or "") for text, pair in _pairs(rows)])
    median, p95, longest = np.percentile(lengths, [50, 95, 100], method="inverted_cdf").tolist()
    return {
        "examples": len(rows),
        **target.counts(rows.labels),
        "duplicates": len(rows) - len(set(_pairs(rows))),
        "characters": {"median": median, "p95": p95, "longest": longest},
    }


def _conflicts(splits: Splits, alike: Mapping[str, list[Pair]]) -> list[str]:
    """Return a note where a text has two labels, in one split or in two."""
    labels: dict[Pair, set[Any]] = defaultdict(set)
    places: dict[Pair, list[str]] = defaultdict(list)
    for split, rows in splits.rows.items():
        plain = rows.labels.tolist()
        for one, label, place in zip(alike[split], plain, rows.places, strict=True):
            labels[one].add(tuple(label) if isinstance(label, list) else label)
            places[one].append(place)
    torn = [one for one, some in labels.items() if len(some) > 1]
    if not torn:
        return []
    example = " and ".join(places[torn[0]][:3])
    what = "1 text has" if len(torn) == 1 else f"{len(torn):,} texts have"
    return [f"{what} more than one {splits.target.noun}, so nothing can be right about all of them: {example}"]
