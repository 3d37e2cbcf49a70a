"""What is predicted from a text: how a label is read and written, and what a model's outputs mean.

    a cell of a table ──read──> label ──numbers──> what a model learns ──(logits)──answers──> what is said of a text

Each kind is a file here, with its line in `TARGETS`; what is measured and how pages say it is the file of the same name
in `heed.report.gradings`, and its loss a line of `heed.tuning.model.LOSSES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from heed.errors import DataError

Label = Any
"""A label as it was read: the name of a class, a number, or the names of a set."""


@dataclass(frozen=True)
class Target(ABC):
    """What a model predicts from a text, once the training texts are known."""

    names: tuple[str, ...]
    """Of the outputs, one for each number that a model gives."""

    kind: ClassVar[str]
    """As `data.task` and the record of a tune say it."""
    problem: ClassVar[str | None]
    """What transformers calls it (`problem_type`); None: it goes by the number of labels."""
    output: ClassVar[str]
    """What each of `names` is."""
    noun: ClassVar[str]
    """What a text has one of."""
    share: ClassVar[str]
    """How splits are held out, for people."""
    weighable: ClassVar[bool] = False
    """Whether classes can be weighted, and targets smoothed."""
    numpy_code: ClassVar[str]
    """Lines of Python that print the answers of `logits` (B, outputs) of numpy, with `labels` by place."""
    torch_code: ClassVar[str]
    """The same of torch."""

    @staticmethod
    @abstractmethod
    def read(value: object, column: str, place: str, setting: str) -> Label:
        """Return the label in a cell; raise `DataError` where there is none. `setting` is what chose the column."""

    @classmethod
    def claims(cls, cells: Sequence[object]) -> str | None:
        """Return why the cells of a column, those that hold something, are of this kind; None: they may not be.

        What may be classes is claimed by no other kind.
        """
        return None

    @classmethod
    def hint(cls, cells: Sequence[object]) -> str | None:
        """Return what to say where such cells are taken for classes, and this kind may be meant."""
        return None

    @classmethod
    @abstractmethod
    def learned(cls, labels: Sequence[Label], column: str) -> Self:
        """Return the target that the labels of all texts to train on make. Raises `DataError` when they make none."""

    def fitted(self, labels: np.ndarray) -> Self:
        """Return the same with what is measured of the texts that are trained on. Raises `DataError`."""
        return self

    def unmeasurable(self, labels: np.ndarray) -> str | None:
        """Return what all texts of a split have, where that leaves nothing to be measured on it."""
        return None

    @classmethod
    @abstractmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return the target that `facts` was written of."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return what has to be known of it to read a run again, as plain values."""

    @abstractmethod
    def numbers(self, labels: Sequence[Label], places: Sequence[str], split: str) -> np.ndarray:
        """Return labels as a model learns them, (n,) or (n, outputs). Raises `DataError` at one that it cannot say."""

    @staticmethod
    @abstractmethod
    def strata(labels: Any) -> list[str]:
        """Return what a splitter keeps in its share, of labels as they were read or as numbers."""

    def unseen(self, label: Label) -> list[str]:
        """Return the names in a label, as `read` gives it, that the model has no output for."""
        return []

    def missing(self, labels: np.ndarray) -> list[str]:
        """Return the names of outputs that no text of (n, ...) has."""
        return []

    @abstractmethod
    def answers(self, logits: np.ndarray) -> np.ndarray:
        """Return what is said of each text, (n, outputs) float64, from the outputs of a model."""

    @abstractmethod
    def written(self, label: Any) -> Any:
        """Return a row of `numbers` as a plain value."""

    @abstractmethod
    def line(self, answer: np.ndarray) -> dict[str, Any]:
        """Return a row of `answers` as plain values, that which is said of the text as `predicted`."""

    @abstractmethod
    def shown(self, line: Mapping[str, Any]) -> str:
        """Return what `line` says, for a terminal."""

    def cell(self, predicted: Any) -> str:
        """Return what is said of a text as a cell of a table."""
        return str(predicted)

    @property
    def chances(self) -> tuple[str, ...]:
        """The names that have a probability each."""
        return self.names

    @property
    def units(self) -> tuple[float, float]:
        """What is added to the outputs of a model, and what they are multiplied by before."""
        return 0.0, 1.0

    @property
    @abstractmethod
    def said(self) -> str:
        """What it is, for people, as "2 classes"."""

    @abstractmethod
    def counts(self, labels: np.ndarray) -> dict[str, Any]:
        """Return what is to be known of the labels of a split, as plain values."""

    @abstractmethod
    def columns(self, splits: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
        """Return the columns that tell people of `counts`: a head, and a cell for each split."""

    @property
    def fingerprint(self) -> str:
        """What tells it apart from others."""
        return repr((self.kind, self.names))

    def notes(self) -> list[str]:
        """Return what else people must know of it."""
        return []


def did_not_learn(place: str, split: str, what: str, noun: str, hint: str) -> DataError:
    """Return the error about a label that is none of those that are learned."""
    owner = f"no {noun} of the model" if split == "train" else f"no {noun} of the training texts"
    return DataError(f"{place} ({split}) has the label {what}, {owner}: {hint}")
