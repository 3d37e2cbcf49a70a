"""Regression: each text has a number, such as a score, a grade or how alike two texts are.

3, "3.5", " -1e-3 "     -> 3.0, 3.5, -0.001
"1,5", "n/a", NaN, true -> an error that names the row

A model learns (y - mean) / deviation of the training texts, so that scores of any size take the same learning rates,
and says its numbers in the units of the labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from heed.errors import DataError
from heed.targets.classes import FEWEST_PER_CLASS, MANY
from heed.targets.target import Label, Target

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
LARGEST = 1e30
"""The largest score, and one over the smallest; float32 goes to 3e38."""
LEAST_SPREAD = 1e-5
"""The deviation of scores as a share of their mean, at least: float32 tells apart what differs by 1e-7 of its size."""
STRATA = 10
"""Parts of equal size, by their scores, that a splitter keeps in their share."""


@dataclass(frozen=True)
class ScoreTarget(Target):
    """A number for each text; `names` is that of its column."""

    center: float = 0.0
    """The mean of the scores of the training texts."""
    scale: float = 1.0
    """Their standard deviation."""

    kind = "regression"
    problem = "regression"
    output = noun = "score"
    share = "of each tenth of the scores its share"
    numpy_code = """print(logits[:, 0].tolist())"""
    torch_code = """print(logits[:, 0].tolist())"""

    @staticmethod
    def read(value: object, column: str, place: str, setting: str) -> Label:
        """Return a number that is finite."""
        number = as_number(value)
        if number is not None:
            return number
        text = value.strip() if isinstance(value, str) else value
        what = "no score" if text is None or text == "" else f"the score {value!r}"
        hint = "fill it in or leave the row out" if text is None or text == "" else "a score is a number, such as 3.5"
        if isinstance(text, str) and as_number(text.replace(",", ".")) is not None:
            hint = f"write {text.replace(',', '.')}"
        raise DataError(f"{place} has {what} in {column!r}: {hint} ({setting})")

    @classmethod
    def claims(cls, cells: Sequence[object]) -> str | None:
        """Return why some cells are scores: numbers, more or finer than classes can be."""
        numbers = _numbers(cells)
        if numbers is None or len(set(numbers)) <= MANY:
            return None
        many = len(numbers) < FEWEST_PER_CLASS * len(set(numbers))
        fine = not all(number.is_integer() for number in numbers)
        return f"{len(set(numbers)):,} different numbers" if many or fine else None

    @classmethod
    def hint(cls, cells: Sequence[object]) -> str | None:
        """Return what to say of numbers that are taken for classes."""
        numbers = _numbers(cells)
        if numbers is None or len(set(numbers)) < 3:
            return None
        return f"the labels are numbers and taken for {len(set(numbers))} classes: as scores with --task regression"

    @classmethod
    def learned(cls, labels: Sequence[Label], column: str) -> Self:
        """Return the scores of a column, as they are."""
        return cls((column,))

    def fitted(self, labels: np.ndarray) -> Self:
        """Return the same with mean and deviation of the training texts."""
        if np.ptp(labels / 2) == 0:  # halved, so that it is a number
            raise DataError(
                f"all training texts have the score {labels[0]:.7g} (data.label {self.names[0]}): there is nothing to "
                "learn"
            )
        hint = f"the scores in {self.names[0]!r}, which are learned in float32"
        largest = float(np.abs(labels).max())
        if largest > LARGEST or largest < 1 / LARGEST:
            raise DataError(f"{hint}, are too large or too small (up to {largest:.3g}): give them in another unit")
        center, scale = float(np.mean(labels)), float(np.std(labels))
        if scale < LEAST_SPREAD * abs(center):
            raise DataError(
                f"{hint}, lie too close together ({center:.7g} ± {scale:.2g}): subtract what they have in common"
            )
        return replace(self, center=center, scale=scale)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return the scores of `facts`."""
        own = facts["target"]
        return cls(tuple(map(str, own["names"])), float(own["center"]), float(own["scale"]))

    def facts(self) -> dict[str, Any]:
        """Return the column, and mean and deviation in training."""
        return {"target": {"kind": self.kind, "names": list(self.names), "center": self.center, "scale": self.scale}}

    def numbers(self, labels: Sequence[Label], places: Sequence[str], split: str) -> np.ndarray:
        """Return the scores (n,) float64."""
        return np.array(labels, dtype=np.float64)

    @staticmethod
    def strata(labels: Any) -> list[str]:
        """Return which tenth of the scores each is in; equal ones are in the same."""
        values = np.asarray(labels, dtype=np.float64)
        below = np.searchsorted(np.sort(values), values, side="left")
        return [str(part) for part in (below * STRATA // max(1, len(values))).tolist()]

    def unmeasurable(self, labels: np.ndarray) -> str | None:
        """Return why nothing can be told on labels that do not vary."""
        return f"the same score, {labels[0]:.7g}" if np.ptp(labels) == 0 else None

    @property
    def units(self) -> tuple[float, float]:
        """Mean and deviation of the training scores."""
        return self.center, self.scale

    def answers(self, logits: np.ndarray) -> np.ndarray:
        """Return the scores, which are what a model gives."""
        return logits

    def written(self, label: Any) -> Any:
        """Return a score."""
        return float(label)

    def line(self, answer: np.ndarray) -> dict[str, Any]:
        """Return the score with the digits that tell one float32 from another."""
        return {"predicted": float(f"{float(answer[0]):.9g}")}

    def shown(self, line: Mapping[str, Any]) -> str:
        """Return the score with four digits."""
        return f"{line['predicted']:.4g}"

    def cell(self, predicted: Any) -> str:
        """Return a score."""
        return f"{predicted:.7g}"

    @property
    def chances(self) -> tuple[str, ...]:
        """No score has a probability."""
        return ()

    @property
    def said(self) -> str:
        """What the scores in training are about."""
        return f"scores, {self.center:.4g} ± {self.scale:.3g} in training"

    def counts(self, labels: np.ndarray) -> dict[str, Any]:
        """Return mean, deviation and range."""
        found = {"mean": labels.mean(), "deviation": labels.std(), "lowest": labels.min(), "highest": labels.max()}
        return {"scores": {name: float(value) + 0.0 for name, value in found.items()}}

    def columns(self, splits: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
        """Return mean, deviation and range."""
        names = ("mean", "deviation", "lowest", "highest")
        return [(name, [f"{one['scores'][name]:.4g}" for one in splits.values()]) for name in names]


def as_number(value: object) -> float | None:
    """Return a finite number, None for what is none.

    >>> as_number(" -1.5e1 "), as_number("1,5"), as_number("nan"), as_number(True), as_number(2)
    (-15.0, None, None, None, 2.0)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not NUMBER.fullmatch(value.strip()):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _numbers(cells: Sequence[object]) -> list[float] | None:
    """Return some cells as numbers; None where one is none, or there is none."""
    found = [number for cell in cells if (number := as_number(cell)) is not None]
    return found if found and len(found) == len(cells) else None
