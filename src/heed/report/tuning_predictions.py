"""What the runs of a tune said of each example: the prediction files of all runs, lined up example by example.

Every run answers the same examples in the same order. They are read once, from the first run that has them; a run whose
file is missing, broken or about other examples has no answers, and `notes` says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from heed import seals
from heed.report.gradings import Grading, RunAnswers

Split = Literal["validation", "test"]


@dataclass(frozen=True)
class SplitExamples:
    """The examples of a split, in its order."""

    places: tuple[str, ...]
    """Such as "test.tsv, line 9"."""
    texts: tuple[str, ...]
    pairs: tuple[str | None, ...]
    labels: np.ndarray
    """(n,) or (n, outputs), as `Target.numbers` gives them."""
    groups: np.ndarray | None = None
    """(n,) int64, the same for examples of one group; None where each is its own."""


class PredictionReader:
    """Reads the prediction files of a tune; `examples` and `notes` fill as it reads."""

    def __init__(self, root: Path, grading: Grading) -> None:
        self.root, self.grading = root, grading
        self.examples: dict[Split, SplitExamples] = {}
        self.notes: list[str] = []
        self.names_groups = False
        """Whether a prediction says which group its example is of."""

    def read(self, run: str, split: Split, scores: Any) -> RunAnswers | None:
        """Return the answers of a run on a split, or note why there are none; `scores` is what tune.json says."""
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
        found, said = line_up([row for row in rows if row is not None], self.grading)
        self.names_groups |= any(row is not None and row["group"] is not None for row in rows)
        first = self.examples.setdefault(split, found)
        if first.places != found.places or not np.array_equal(first.labels, found.labels):
            return self._without(f"{name} is about other examples than the first run")
        answers = replace(said, groups=first.groups)
        if scores is not None and (unlike := self.grading.contradiction(answers, scores)) is not None:
            self.notes.append(f"{name} {unlike}.")
        return answers

    def _without(self, reason: str) -> None:
        self.notes.append(f"{reason}: this run is in no comparison of examples.")

    def _row(self, line: str) -> Mapping[str, Any] | None:
        """Return one line with what it says as numbers; None when it is no prediction."""
        try:
            return as_numbers(json.loads(line), self.grading)
        except (ValueError, TypeError, KeyError):
            return None


def as_numbers(row: Mapping[str, Any], grading: Grading) -> Mapping[str, Any] | None:
    """Return a prediction with label, what is predicted and probabilities as numbers; None when it is none.

    Raises `KeyError`, `TypeError` and `ValueError` where a part is missing or strange.
    """
    found = grading.read(row)
    known = {"place": row["place"], "text": row["text"], "pair": row.get("pair"), "group": row.get("group")}
    if found is None:
        return None
    label, predicted, probabilities = found
    return {**known, "label": label, "predicted": predicted, "probabilities": probabilities}


def line_up(rows: Sequence[Mapping[str, Any]], grading: Grading) -> tuple[SplitExamples, RunAnswers]:
    """Return the examples and answers of at least one row of `as_numbers`."""
    labels, predicted, said = (np.array([row[key] for row in rows]) for key in ("label", "predicted", "probabilities"))
    places, texts = (tuple(str(row[key]) for row in rows) for key in ("place", "text"))
    pairs = tuple(None if row["pair"] is None else str(row["pair"]) for row in rows)
    groups = _numbers([row["group"] for row in rows])
    examples = SplitExamples(places, texts, pairs, labels, groups)
    return examples, grading.mark(labels, predicted, said, groups)


def _numbers(groups: Sequence[Any]) -> np.ndarray | None:
    """Return the number of each example's group; None where none is named, or no two examples share one.

    >>> _numbers(["b", "a", "b"]), _numbers(["a", "b"]), _numbers([None, "a"])
    (array([1, 0, 1]), None, None)
    """
    if None in groups or len(set(groups)) == len(groups):
        return None
    return np.unique([str(group) for group in groups], return_inverse=True)[1]
