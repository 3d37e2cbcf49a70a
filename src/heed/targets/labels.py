"""Several labels a text, or none: whatever of a set of labels holds, each by itself.

a|b, " b | a ", ["a", "b"]  -> {a, b}      in a table, or as a JSON list in a table or a line of JSON
[]                          -> {}          a text without a label; an empty cell is an error
["a|b"]                     -> {"a|b"}     a name that holds the separator

Each label has a probability of its own, and is said where that is at least `THRESHOLD`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from heed.errors import DataError, did_you_mean
from heed.targets.classes import FEWEST_PER_CLASS, MANY, SHOWN, by_number, label_name, short, spellings
from heed.targets.target import Label, Target, did_not_learn

SEPARATOR = "|"
THRESHOLD = 0.5
"""Probability from which a label is said."""


@dataclass(frozen=True)
class LabelsTarget(Target):
    """Any of several labels, with a probability each."""

    kind = "labels"
    problem = "multi_label_classification"
    output = "label"
    noun = "set of labels"
    share = "of each label its share (a text counts for its rarest one)"
    numpy_code = f"""chances = 1 / (1 + np.exp(-logits))
print([{{name: p for name, p in zip(labels.values(), row) if p >= {THRESHOLD}}} for row in chances.tolist()])"""
    torch_code = f"""chances = logits.sigmoid()
print([{{name: p for name, p in zip(labels.values(), row) if p >= {THRESHOLD}}} for row in chances.tolist()])"""

    @staticmethod
    def read(value: object, column: str, place: str, setting: str) -> Label:
        """Return the labels of a cell, each once, in order."""
        if value is None or (isinstance(value, str) and not value.strip()):
            raise DataError(f"{place} has no label in {column!r}: write [] where a text has none ({setting})")
        parts = labels_in(value)
        if parts is None:
            raise DataError(f"{place} has {value!r} in {column!r}: labels are written a|b, or as a list ({setting})")
        if any(part is None or (isinstance(part, str) and not part.strip()) for part in parts):
            raise DataError(f"{place} has an empty label in {column!r}, {value!r}: leave it out ({setting})")
        return tuple(sorted({label_name(part, column, place, setting) for part in parts}, key=by_number))

    @classmethod
    def claims(cls, cells: Sequence[object]) -> str | None:
        """Return why some cells are sets: they are lists, or a part of one between separators is in another one."""
        lists = [isinstance(cell, list | tuple) or _json_list(cell) is not None for cell in cells]
        if cells and (all(lists) or any(isinstance(cell, list | tuple) for cell in cells)):
            return "lists"
        sets = {cell.strip(): labels_in(cell) or [] for cell in cells if isinstance(cell, str)}
        counts = Counter(name for parts in sets.values() for name in {str(part).strip() for part in parts})
        for cell, parts in sets.items():
            for name in parts if len(parts) > 1 else ():
                if counts[str(name).strip()] > 1:
                    return f"{str(name).strip()!r} stands in {cell!r} and in others"
        return None

    @classmethod
    def hint(cls, cells: Sequence[object]) -> str | None:
        """Return what to say of separators that are taken for parts of names."""
        joined = next((cell for cell in cells if isinstance(cell, str) and SEPARATOR in cell), None)
        return None if joined is None else f"{joined!r} is taken for one class: as several labels with --task labels"

    @classmethod
    def learned(cls, labels: Sequence[Label], column: str) -> Self:
        """Return the labels of the training texts, numbers by size, then words."""
        counts = Counter(name for some in labels for name in some)
        if not counts:
            raise DataError(f"no training text has a label (data.label {column}): is it another column?")
        if len(counts) > MANY and counts.total() < FEWEST_PER_CLASS * len(counts):
            raise DataError(
                f"data.label {column!r} holds {len(counts):,} labels in {len(labels):,} texts, most of them once: "
                "is it another column?"
            )
        return cls(tuple(sorted(counts, key=by_number)))

    def fitted(self, labels: np.ndarray) -> Self:
        """Return the same. Raises `DataError` where all texts have the same labels."""
        if (labels == labels[0]).all():
            raise DataError(
                f"all training texts have the labels {self.cell(self.written(labels[0]))}: there is nothing to learn"
            )
        return self

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return the labels of `facts`."""
        return cls(tuple(map(str, facts["target"]["names"])))

    def facts(self) -> dict[str, Any]:
        """Return the names, and from where a label is said."""
        return {"target": {"kind": self.kind, "names": list(self.names), "threshold": THRESHOLD}}

    def numbers(self, labels: Sequence[Label], places: Sequence[str], split: str) -> np.ndarray:
        """Return which labels hold, (n, outputs) bool."""
        numbers = {name: number for number, name in enumerate(self.names)}
        found = np.zeros((len(labels), len(self.names)), dtype=bool)
        for row, (some, place) in enumerate(zip(labels, places, strict=True)):
            for name in some:
                if name not in numbers:
                    raise did_not_learn(place, split, repr(name), "label", did_you_mean(name, self.names))
                found[row, numbers[name]] = True
        return found

    @staticmethod
    def strata(labels: Any) -> list[str]:
        """Return the rarest label of each set; of equally rare ones the first."""
        sets = [np.flatnonzero(row).tolist() for row in labels] if isinstance(labels, np.ndarray) else labels
        counts = Counter(name for some in sets for name in some)
        return [str(min(some, key=lambda name: (counts[name], str(name)))) if some else "" for some in sets]

    def unseen(self, label: Label) -> list[str]:
        """Return the labels of a set that are none of the model's."""
        return [name for name in label if name not in self.names]

    def missing(self, labels: np.ndarray) -> list[str]:
        """Return the labels that no text has."""
        return [name for name, there in zip(self.names, np.any(labels, axis=0).tolist(), strict=True) if not there]

    def unmeasurable(self, labels: np.ndarray) -> str | None:
        """Return that no text has a label."""
        return None if labels.any() else "no label"

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """Return the probability of each label."""
        from scipy.special import expit

        return expit(logits)

    def written(self, label: Any) -> Any:
        """Return the names of a set."""
        return [name for name, holds in zip(self.names, list(label), strict=True) if holds]

    def line(self, answer: np.ndarray) -> dict[str, Any]:
        """Return the labels that are likely enough, and every probability."""
        return {
            "predicted": self.written([chance >= THRESHOLD for chance in answer.tolist()]),
            "probabilities": [float(chance) for chance in answer],
        }

    def shown(self, line: Mapping[str, Any]) -> str:
        """Return the labels and how sure each is."""
        return ", ".join(f"{name} {line['probabilities'][name]:.3f}" for name in line["predicted"]) or "[]"

    def cell(self, predicted: Any) -> str:
        """Return a set as `read` takes it.

        >>> LabelsTarget(()).cell(["a", "b"]), LabelsTarget(()).cell(["a|b"]), LabelsTarget(()).cell([])
        ('a|b', '["a|b"]', '[]')
        """
        if predicted and not any(SEPARATOR in name or name.startswith("[") for name in predicted):
            return SEPARATOR.join(predicted)
        return json.dumps(list(predicted), ensure_ascii=False)

    @property
    def said(self) -> str:
        """How many labels there are."""
        return f"{len(self.names)} labels, any of them a text"

    def counts(self, labels: np.ndarray) -> dict[str, Any]:
        """Return the texts of each label, those without one, and how many a text has."""
        return {
            "labels": labels.sum(axis=0).tolist(),
            "without": int((~labels.any(axis=1)).sum()),
            "labels_per_text": float(labels.sum(axis=1).mean()),
        }

    def columns(self, splits: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
        """Return a column for each label, of many the smallest and the largest; those without, and how many a text."""
        counts: list[list[int]] = [figures["labels"] for figures in splits.values()]
        heads, shown = [short(name) for name in self.names], counts
        if len(self.names) > SHOWN:
            heads, shown = ["smallest", "largest"], [[min(some), max(some)] for some in counts]
        found = [(head, [f"{some[place]:,}" for some in shown]) for place, head in enumerate(heads)]
        without = [f"{figures['without']:,}" for figures in splits.values()]
        each = [f"{figures['labels_per_text']:.2f}" for figures in splits.values()]
        return [*found, ("without", without), ("labels a text", each)]

    def notes(self) -> list[str]:
        """Return which names may be one label."""
        return spellings(self.names)


def labels_in(value: object) -> list[Any] | None:
    """Return the labels that a cell holds, as they stand; None for what is no set.

    >>> labels_in("a| b"), labels_in('["a|b"]'), labels_in([1, 2]), labels_in({})
    (['a', ' b'], ['a|b'], [1, 2], None)
    """
    if isinstance(value, list | tuple):
        return list(value)
    listed = _json_list(value)
    if listed is not None:
        return listed
    if isinstance(value, str):
        return value.split(SEPARATOR)
    return [value] if isinstance(value, int | float) else None


def _json_list(value: object) -> list[Any] | None:
    """Return the list that a text writes in JSON; None where it writes none."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None
