"""What the runs of a tune said of each example: the prediction files of all runs, lined up example by example.

Every run answers the same examples in the same order. They are read once, from the first run that has them; a run whose
file is missing, broken or about other examples has no answers, and `notes` says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from heed import seals

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class SplitExamples:
    """The examples of a split, in its order."""

    places: tuple[str, ...]
    """Such as "test.tsv, line 9"."""
    texts: tuple[str, ...]
    pairs: tuple[str | None, ...]
    labels: np.ndarray
    """(n,) int64, places among the classes."""
    groups: np.ndarray | None = None
    """(n,) int64, the same for examples of one group; None where each is its own."""


@dataclass(frozen=True)
class RunAnswers:
    """What one run says of the examples of a split, in the order of `SplitExamples`."""

    predicted: np.ndarray
    """(n,) int64."""
    probabilities: np.ndarray
    """(n, C) float64."""
    right: np.ndarray
    """(n,) bool."""
    groups: np.ndarray | None = None
    """Those of `SplitExamples`."""

    @cached_property
    def sure(self) -> np.ndarray:
        """Probabilities of the predicted classes, (n,), at most 1 (float32 sums to a little more)."""
        return np.minimum(1.0, self.probabilities[np.arange(len(self.predicted)), self.predicted])


class PredictionReader:
    """Reads the prediction files of a tune; `examples` and `notes` fill as it reads."""

    def __init__(self, root: Path, classes: tuple[str, ...]) -> None:
        self.root = root
        self.classes = classes
        self.examples: dict[Split, SplitExamples] = {}
        self.notes: list[str] = []
        self.names_groups = False
        """Whether a prediction says which group its example is of."""

    def read(self, run: str, split: Split, correct: int) -> RunAnswers | None:
        """Return the answers of a run on a split, or note why there are none. `correct`: what tune.json counts."""
        name = f"{run}/predictions-{split}.jsonl"
        try:
            lines = seals.read_text(self.root / name).splitlines()
            rows = [self._row(line) for line in lines if line.strip()]
        except FileNotFoundError:
            return self._without(f"{name} is missing")
        except (OSError, UnicodeDecodeError):
            return self._without(f"{name} cannot be read")
        if None in rows or not rows:
            which = f"line {rows.index(None) + 1} is no prediction" if rows else "it is empty"
            return self._without(f"{name} is damaged ({which})")
        whole = [row for row in rows if row is not None]
        labels = np.array([row["label"] for row in whole], dtype=np.int64)
        places, texts = (tuple(str(row[key]) for row in whole) for key in ("place", "text"))
        pairs = tuple(None if row["pair"] is None else str(row["pair"]) for row in whole)
        groups = _numbers([row["group"] for row in whole])
        self.names_groups |= any(row["group"] is not None for row in whole)
        first = self.examples.setdefault(split, SplitExamples(places, texts, pairs, labels, groups))
        if first.places != places or not np.array_equal(first.labels, labels):
            return self._without(f"{name} is about other examples than the first run")
        predicted = np.array([row["predicted"] for row in whole], dtype=np.int64)
        right = predicted == labels
        if right.sum() != correct:
            self.notes.append(f"{name} has {right.sum():,} right, tune.json says {correct:,}.")
        return RunAnswers(predicted, np.array([row["probabilities"] for row in whole]), right, first.groups)

    def _without(self, reason: str) -> None:
        self.notes.append(f"{reason}: this run is in no comparison of examples.")

    def _row(self, line: str) -> Mapping[str, Any] | None:
        """Return one line with its classes as places; None when it is no prediction."""
        try:
            row = json.loads(line)
            p = np.array(row["probabilities"], dtype=np.float64)
            label, predicted = (self.classes.index(str(row[key])) for key in ("label", "predicted"))
            known = {"place": row["place"], "text": row["text"], "pair": row.get("pair"), "group": row.get("group")}
        except (ValueError, TypeError, KeyError):
            return None
        if p.shape != (len(self.classes),) or not np.isfinite(p).all() or p.min() < 0 or p.max() > 1 + 1e-6:
            return None
        return {**known, "label": label, "predicted": predicted, "probabilities": p}


def _numbers(groups: Sequence[Any]) -> np.ndarray | None:
    """Return the number of each example's group; None where none is named, or no two examples share one.

    >>> _numbers(["b", "a", "b"]), _numbers(["a", "b"]), _numbers([None, "a"])
    (array([1, 0, 1]), None, None)
    """
    if None in groups or len(set(groups)) == len(groups):
        return None
    return np.unique([str(group) for group in groups], return_inverse=True)[1]
