"""Classes: each text is of one. How a label in a table becomes a name, and the names of a split the classes of a model.

3, 3.0, true, " good "    ->  "3", "3.0", "true", "good"
classes                       the labels of the training texts: numbers by size, then words
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from heed.errors import DataError, did_you_mean
from heed.targets.target import Label, Target, did_not_learn

MANY = 20
"""Classes beyond which labels may be something else: texts, if there are too few of each, or measured numbers."""
FEWEST_PER_CLASS = 2
"""Texts of a class on average, below which so many labels are taken for something else."""
SHOWN = 6
"""Classes that have a column each; of more, the smallest and the largest are shown."""


@dataclass(frozen=True)
class ClassTarget(Target):
    """One class out of several, with a probability each."""

    kind = "classes"
    problem = None
    output = "class"
    noun = "label"
    share = "of each class its share"
    weighable = True
    numpy_code = """chances = np.exp(logits - logits.max(axis=1, keepdims=True))
chances /= chances.sum(axis=1, keepdims=True)
print([dict(zip(labels.values(), row)) for row in chances.tolist()])"""
    torch_code = """chances = logits.softmax(dim=-1)
print([dict(zip(labels.values(), row)) for row in chances.tolist()])"""

    @staticmethod
    def read(value: object, column: str, place: str, setting: str) -> Label:
        """Return a label as a name."""
        return label_name(value, column, place, setting)

    @classmethod
    def learned(cls, labels: Sequence[Label], column: str) -> Self:
        """Return the labels as classes."""
        return cls(class_names(Counter(labels), column))

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return the classes of `facts`."""
        return cls(tuple(str(name) for name in facts["classes"]))

    def facts(self) -> dict[str, Any]:
        """Return the names."""
        return {"classes": list(self.names)}

    def numbers(self, labels: Sequence[Label], places: Sequence[str], split: str) -> np.ndarray:
        """Return the places (n,) int64 of labels among the classes."""
        numbers = {name: number for number, name in enumerate(self.names)}
        for name, place in zip(labels, places, strict=True):
            if name not in numbers:
                raise did_not_learn(place, split, repr(name), "class", did_you_mean(name, self.names))
        return np.array([numbers[name] for name in labels], dtype=np.int64)

    @staticmethod
    def strata(labels: Any) -> list[str]:
        """Return the classes."""
        return [str(label) for label in (labels.tolist() if isinstance(labels, np.ndarray) else labels)]

    def unseen(self, label: Label) -> list[str]:
        """Return the class where it is none of the model's."""
        return [] if label in self.names else [label]

    def missing(self, labels: np.ndarray) -> list[str]:
        """Return the classes that no text is of."""
        present = set(labels.tolist())
        return [name for number, name in enumerate(self.names) if number not in present]

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """Return the probability of each class."""
        shifted = logits - logits.max(axis=1, keepdims=True)
        return np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)

    def written(self, label: Any) -> Any:
        """Return the name of a class."""
        return self.names[int(label)]

    def line(self, answer: np.ndarray) -> dict[str, Any]:
        """Return the likeliest class, the first of equal ones, and every probability."""
        best = int(answer.argmax())
        return {
            "predicted": self.names[best],
            "probability": float(answer[best]),
            "probabilities": [float(chance) for chance in answer],
        }

    def shown(self, line: Mapping[str, Any]) -> str:
        """Return the class and how sure it is."""
        return f"{line['predicted']}  {line['probability']:.3f}"

    @property
    def said(self) -> str:
        """How many classes there are."""
        return f"{len(self.names)} classes"

    def counts(self, labels: np.ndarray) -> dict[str, Any]:
        """Return the texts of each class."""
        return {"classes": np.bincount(labels, minlength=len(self.names)).tolist()}

    def columns(self, splits: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
        """Return a column for each class, of many the smallest and the largest; and the share of the commonest."""
        counts: list[list[int]] = [figures["classes"] for figures in splits.values()]
        if len(self.names) > SHOWN:
            heads = ["smallest", "largest"]
            shown = [[min(some), max(some)] for some in counts]
        else:
            heads, shown = [short(name) for name in self.names], counts
        found = [(head, [f"{some[place]:,}" for some in shown]) for place, head in enumerate(heads)]
        return [*found, ("majority", [f"{100 * max(some) / sum(some):.1f} %" for some in counts])]

    @property
    def fingerprint(self) -> str:
        """The names, which is what it was before there were other kinds."""
        return repr(self.names)

    def notes(self) -> list[str]:
        """Return which names may be one class."""
        return spellings(self.names)


def short(name: str) -> str:
    """Return a name as the head of a column."""
    return name if len(name) <= 16 else name[:13] + "..."


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
    names = tuple(sorted(counts, key=by_number))
    if len(names) == 1:
        raise DataError(f"all training texts have the label {names[0]!r} (data.label {column}): two classes are needed")
    if len(names) > MANY and _are_measured(names):
        raise DataError(
            f"data.label {column!r} holds {len(names):,} numbers from {names[0]} to {names[-1]}, which look like "
            "scores, not classes: round them to a few whole numbers, or name another column"
        )
    if len(names) > MANY and counts.total() < FEWEST_PER_CLASS * len(names):
        numbers = [name for name in names if by_number(name)[0] == 0]
        odd = next((name for name in names if by_number(name)[0]), "")
        more = f" Or as scores (heed tune --task regression) they would do but for {odd!r}"
        raise DataError(
            f"data.label {column!r} holds {len(names):,} labels in {counts.total():,} texts: is it another column?"
            f"{more if odd and len(numbers) > len(names) / 2 else ''}"
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


def by_number(name: str) -> tuple[int, float, str]:
    """Return what sorts numbers by size and before words: 2 before 10."""
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    return (1, 0.0, name) if math.isnan(number) else (0, number, name)  # "nan" is a word, and has no place
