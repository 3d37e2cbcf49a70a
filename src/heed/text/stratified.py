"""An order of labelled texts such that any beginning of it holds each class in its share.

    rows   -> units    rows that must share a split: equal texts, and on request equal groups
    units  -> strata   by the classes that they hold
    strata -> order    a unit stands where the middle of its rows does within its stratum, between 0 and 1

With units of one row a beginning of n rows holds of each class its share of n as Webster's (Sainte-Laguë's) rule
rounds it. Splits are cut from one such order, so a smaller training split is a part of a larger one. Within a stratum
the draw of a text decides (`sources.draw`): where a row stands in a file does not matter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from heed.text.sources import draw

FEWEST_UNITS = 10
"""Units that hold the same classes and are fewer go with the class that most of their rows have: the middle of so small
a stratum would never be held out."""


@dataclass(frozen=True)
class Unit:
    """Rows that share a split, in an order that does not depend on that of the file."""

    rows: tuple[int, ...]
    value: float
    """Its draw."""


def stratified(keys: Sequence[str], labels: Sequence[str], groups: Sequence[str] | None = None) -> list[Unit]:
    """Return all rows as units in stratified order. `keys` are the texts: rows of equal key or group share a unit.

    >>> [unit.rows for unit in stratified(["a", "b", "a"], ["x", "x", "x"])] in ([(0, 2), (1,)], [(1,), (0, 2)])
    True
    """
    units = _units(keys, labels, groups)
    classes = [tuple(sorted({labels[row] for row in unit.rows})) for unit in units]
    common = Counter(classes)
    strata: dict[tuple[str, ...], list[Unit]] = defaultdict(list)
    for unit, held in zip(units, classes, strict=True):
        strata[held if common[held] >= FEWEST_UNITS else (_commonest(unit, labels),)].append(unit)
    places: list[tuple[float, float, int, Unit]] = []
    for stratum in strata.values():
        size, before = sum(len(unit.rows) for unit in stratum), 0
        for unit in sorted(stratum, key=lambda unit: unit.value):
            places.append(((before + len(unit.rows) / 2) / size, unit.value, len(places), unit))
            before += len(unit.rows)
    return [unit for *_, unit in sorted(places, key=lambda place: place[:3])]


def beginning(units: Sequence[Unit], wanted: int) -> tuple[list[Unit], list[Unit]]:
    """Return the first units that together have as nearly `wanted` rows as can be, at least one; and the others."""
    taken: list[Unit] = []
    left: list[Unit] = []
    rows = 0
    for unit in units:
        if abs(rows + len(unit.rows) - wanted) < abs(rows - wanted):
            taken.append(unit)
            rows += len(unit.rows)
        else:
            left.append(unit)
    if not taken and left:
        taken.append(left.pop(min(range(len(left)), key=lambda place: len(left[place].rows))))
    return taken, left


def _units(keys: Sequence[str], labels: Sequence[str], groups: Sequence[str] | None) -> list[Unit]:
    """Join the rows of equal key or group; groups that share a text are one."""
    names = keys if groups is None else _joined(keys, groups)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        rows[name].append(row)
    # equal texts may have different labels
    return [
        Unit(tuple(sorted(some, key=lambda row: (draw(keys[row]), keys[row], labels[row]))), draw(name))
        for name, some in rows.items()
    ]


def _joined(keys: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Return the group of each row, that of the first name for groups that share a text."""
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    first: dict[str, str] = {}
    for key, group in zip(keys, groups, strict=True):
        low, high = sorted((root(first.setdefault(key, group)), root(group)))
        parent[high] = low
    return [root(group) for group in groups]


def _commonest(unit: Unit, labels: Sequence[str]) -> str:
    counts = Counter(labels[row] for row in unit.rows)
    return min(counts, key=lambda label: (-counts[label], label))
