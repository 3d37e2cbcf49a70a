"""The figures of one split of a tune, a class for each kind of target."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from heed.records.kept import Finite, Kept, Unknown, Whole


class Scores(Kept):
    """The figures of one split: see `heed.report.classification`."""

    examples: Whole
    correct: Whole
    accuracy: float
    accuracy_interval: Annotated[list[float], Field(min_length=2, max_length=2)]
    majority: float
    """Share of the commonest class."""
    loss: Unknown = math.nan
    """Nats an example."""
    refined_loss: float | None = None
    f1: float
    """Macro F1."""
    f1_positive: float | None = None
    """F1 of the second of two classes."""
    mcc: float
    calibration_error: float
    bins: Whole = Field(default=10, alias="calibration_bins")
    """Of equal mass, that the calibration error is taken over."""
    confusion: list[list[Whole]]


class NumberScores(Kept):
    """The figures of one split of scores: see `heed.report.gradings.regression`."""

    examples: Whole
    r2: Finite
    r2_interval: list[float] | None = None
    mse: float
    mse_interval: list[float] | None = None
    rmse: float
    mae: float
    pearson: Finite = None
    pearson_interval: list[float] | None = None
    spearman: Finite = None
    spearman_interval: list[float] | None = None
    loss: Unknown = math.nan
    """Mean squared error / variance of the training scores."""
    baseline: float = 0.0
    """R² of always saying the mean of the training scores."""
    mean_mse: float
    """Mean squared error of that."""


class LabelScores(Kept):
    """The figures of one split of sets of labels: see `heed.report.gradings.labels`."""

    examples: Whole
    micro_f1: float
    micro_f1_interval: list[float] | None = None
    macro_f1: float
    macro_f1_interval: list[float] | None = None
    exact_match: float
    exact_match_interval: list[float] | None = None
    correct: Whole
    """Texts all of whose labels are right."""
    loss: Unknown = math.nan
    """Nats a label."""
    baseline: float
    """The highest micro F1 of always saying the same labels."""
    threshold: float
    """Probability from which a label is said."""
    each: list[dict[str, Any]]
    """Of each label: texts, precision, recall, f1."""


def _kind_of_scores(value: Any) -> str:
    """Return the tag of the figures of a split: each kind of target has one that no other has."""
    has = (lambda name: name in value) if isinstance(value, dict) else lambda name: hasattr(value, name)
    return next((tag for tag, name in _TELLING.items() if has(name)), _CLASSES)


_CLASSES = "scores:classes"
_TELLING: dict[str, str] = {"scores:regression": "r2", "scores:labels": "micro_f1"}
"""A figure that no other kind of target has, by tag."""
AnyScores = Annotated[
    Annotated[Scores, Tag(_CLASSES)]
    | Annotated[NumberScores, Tag("scores:regression")]
    | Annotated[LabelScores, Tag("scores:labels")],
    Discriminator(_kind_of_scores),
]
"""The figures of one split, of any kind of target."""
