"""Labels as classes: how a label in a table becomes a name, and the names of a split the classes of a model.

3, 3.0, true, " good "    ->  "3", "3.0", "true", "good"
classes                       the labels of the training texts: numbers by size, then words
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from heed.errors import DataError

MANY = 20
"""Classes beyond which labels may be something else: texts, if there are too few of each, or measured numbers."""
FEWEST_PER_CLASS = 2
"""Texts of a class on average, below which so many labels are taken for something else."""


def label_name(value: object, column: str, place: str, setting: str = "--data.label") -> str:
    """Return a label as a name; raise `DataError` where there is none. `setting` is what chose the column.

    >>> label_name(True, "label", "line 1"), label_name(3, "label", "line 1")
    ('true', '3')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float) and value == value and (name := str(value).strip()):
        return name
    what = "no label" if value is None or value == "" else f"the label {value!r}"
    raise DataError(f"{place} has {what} in {column!r}: a label is a word, a number or true / false ({setting})")


def class_names(counts: Counter[str], column: str) -> tuple[str, ...]:
    """Return the labels of the training texts as classes, in order: numbers by size, then words.

    Raises `DataError` when there is one only, or so many that the column is hardly one of labels.

    >>> class_names(Counter(["10", "no", "2"]), "label")
    ('2', '10', 'no')
    """
    names = tuple(sorted(counts, key=_by_number))
    if len(names) == 1:
        raise DataError(f"all training texts have the label {names[0]!r} (data.label {column}): two classes are needed")
    if len(names) > MANY and _are_measured(names):
        raise DataError(
            f"data.label {column!r} holds {len(names):,} numbers from {names[0]} to {names[-1]}, which look like "
            "scores, not classes: round them to a few whole numbers, or name another column"
        )
    if len(names) > MANY and counts.total() < FEWEST_PER_CLASS * len(names):
        raise DataError(
            f"data.label {column!r} holds {len(names):,} labels in {counts.total():,} texts: is it another column?"
        )
    return names


def spellings(classes: Sequence[str]) -> list[str]:
    """Return a note of each set of labels that may be one class in several spellings: equal numbers, or equal words but
    for capitals and white space.

    >>> spellings(["0", "1", "1.0", "Pos", "pos"])[0].split(":")[0]
    "the labels '1', '1.0' are classes of their own"
    """
    alike: dict[str | float, list[str]] = defaultdict(list)
    for name in classes:
        try:
            alike[float(name)].append(name)
        except ValueError:
            alike[" ".join(name.casefold().split())].append(name)
    return [
        f"the labels {', '.join(map(repr, some))} are classes of their own: spell them alike if they are one"
        for some in alike.values()
        if len(some) > 1
    ]


def _are_measured(names: Sequence[str]) -> bool:
    """Whether all labels are numbers and some are not whole."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return False
    return not all(number.is_integer() for number in numbers)


def _by_number(name: str) -> tuple[int, float, str]:
    """Return what sorts numbers by size and before words: 2 before 10."""
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    return (1, 0.0, name) if math.isnan(number) else (0, number, name)  # "nan" is a word, and has no place
