"""The records of a tune: tune.json, and what came of each training (runs/<name>/result.json)."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from heed.records.kept import Finite, Kept, Unknown, Whole
from heed.records.scores import AnyScores

TUNE, RESULT = "tune.json", "result.json"


class CurvePoint(Kept):
    """What was measured at one moment of training."""

    epoch: Unknown = math.nan
    """NaN: before anything was logged."""
    train_loss: Finite = None
    """Mean of the steps' losses since the point before, while it learned."""
    validation_loss: Finite = None
    validation_accuracy: Finite = None
    train_measured_loss: Finite = None
    """Of a fixed part of the training texts, in the same way and at the same moment as validation."""
    train_accuracy: Finite = None
    """Of the same part."""
    validation_figure: Finite = None
    """What stands in the place of an accuracy where texts have no classes: see `heed.report.gradings`."""
    train_figure: Finite = None

    def figure(self, split: Literal["train", "validation"]) -> float | None:
        """Return the accuracy on a split, or what stands in its place."""
        accuracy = getattr(self, f"{split}_accuracy")
        return getattr(self, f"{split}_figure") if accuracy is None else accuracy


class RateTrial(Kept):
    """One learning rate of a search."""

    learning_rate: float
    epochs: Whole | None = None
    steps: Whole = 0
    seconds: float = 0.0
    accuracy: Finite = None
    """On the validation split; None: it broke down."""
    loss: Finite = None
    refined_loss: Finite = None
    figure: Finite = None
    """What stands in the place of `accuracy` where texts have no classes."""
    chosen: bool = False

    @property
    def value(self) -> float | None:
        """The accuracy, or what stands in its place; None: it broke down."""
        return self.figure if self.accuracy is None else self.accuracy

    @property
    def criterion(self) -> float | None:
        """What the search goes by, lower is better; None: it broke down."""
        return self.loss if self.refined_loss is None else self.refined_loss


class StepBytes(Kept):
    """Bytes of one training step, at the moment when it holds the most."""

    weights: Whole = 0
    gradients: Whole = 0
    """Those that exist at that moment."""
    optimizer: Whole = 0
    activations: Whole = 0
    """What else a step holds at that moment."""
    all_gradients: Whole | None = None
    """One for each parameter that learns; None: an older heed took all of them off the peak (see `subtracted`)."""
    forward_peak: Whole | None = None
    """Of the forward pass alone, weights and optimizer state not counted."""
    backward_peak: Whole | None = None
    """Of the backward pass alone, beyond all that is held when it begins."""
    batch_size: Whole | None = None
    tokens: Whole | None = None
    """Tokens of a row."""

    @property
    def subtracted(self) -> bool:
        """Whether activations are the peak less all gradients, which need not be there at that moment."""
        return self.all_gradients is None

    @property
    def peak(self) -> int:
        """The four parts together, or what was measured at most where that is more."""
        parts = self.weights + self.gradients + self.optimizer + self.activations
        return max(parts, self.forward_peak or 0, self.backward_peak or 0)


class RunResult(Kept):
    """What came of one training; of a soup its figures alone."""

    folder: str = ""
    """Relative to the folder of the tune."""
    best_epoch: float | None = None
    test: AnyScores | None = None
    seconds: float = 0.0
    examples_per_second: float | None = None
    reason: str = ""
    """Why it ended."""
    curve: list[CurvePoint] = Field(default_factory=list)
    validation: AnyScores | None = None
    train: AnyScores | None = None
    """Of a fixed part of the training texts, by the weights that were kept."""


class _Seeded(Kept):
    seed: int


class SeedRun(RunResult, _Seeded):
    """One training with one seed."""

    validation: AnyScores  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]


class KeptResult(Kept):
    """result.json."""

    key: str
    """What the result depends on, as a hash."""
    result: RunResult


class TunedArm(Kept):
    """An encoder with a method, its search and its runs by seed."""

    name: str
    encoder: str
    method: str
    optimizer: str = ""
    """Empty where an earlier heed did not say it of each arm."""
    batch_size: Whole | None = None
    stem: str = ""
    """How the names of its runs' folders begin."""
    status: str
    """running, done, "does not fit" or failed."""
    reason: str | None = None
    search: list[RateTrial] = Field(default_factory=list)
    runs: list[SeedRun] = Field(default_factory=list)
    trained_parameters: Whole | None = None
    pooling: str = ""
    formula: str = ""
    """How `trained_parameters` is counted."""
    options: dict[str, Any] = Field(default_factory=dict)
    memory: StepBytes | None = None
    learning_rate: float | None = None
    epochs: Whole | None = None
    steps: Whole | None = None
    """Updates of a run; None where it is not known."""
    soup: list[int] = Field(default_factory=list)
    """The seeds whose weights were averaged into its only run, where it is a soup."""


class SizePoint(Kept):
    """A run on part of the training examples."""

    arm: str
    examples: Whole
    seed: int
    validation: AnyScores
    test: AnyScores | None = None


class TunedTexts(Kept):
    """The labelled texts of a tune: see `heed.text.splits_report.describe`."""

    name: str
    classes: list[Any]
    """Their names; none of what is no class."""
    target: dict[str, Any] | None = None
    """What is learned, where it is no class: see `heed.targets`."""
    splits: dict[str, Any] = Field(default_factory=dict)
    leakage: list[Any] = Field(default_factory=list)
    notes: list[Any] = Field(default_factory=list)
    fingerprint: str | None = None
    cut: dict[str, Any] = Field(default_factory=dict)


class TuneFile(Kept):
    """tune.json."""

    format: int
    command: list[Any] = Field(default_factory=list)
    machine: dict[str, Any] = Field(default_factory=dict)
    data: TunedTexts
    encoders: dict[str, dict[str, Any]]
    seeds: list[int]
    epochs: Any = None
    """A number, or the list of those that are searched."""
    batch_size: Any = None
    steps: Whole | None = None
    search: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    """Those that all arms share; empty in the file of an early heed."""
    arms: list[TunedArm]
    sizes: list[SizePoint] = Field(default_factory=list)
    largest_batches: dict[str, int] = Field(default_factory=dict)
