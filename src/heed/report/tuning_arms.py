"""An arm of a tune as plain values: an encoder with a method, its search, its memory, its runs and their figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from heed.report.tuning_predictions import Answers, Split


@dataclass(frozen=True)
class Scores:
    """The figures of one split: see `heed.report.classification`."""

    examples: int
    correct: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    majority: float
    """Share of the commonest class."""
    loss: float
    """Nats an example."""
    f1: float
    """Macro F1."""
    f1_positive: float | None
    """F1 of the second of two classes."""
    mcc: float
    calibration_error: float
    bins: int
    """Of equal mass, that the calibration error is taken over."""
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class CurvePoint:
    """What was measured at one moment of training."""

    epoch: float
    train_loss: float | None
    """Mean of the steps' losses since the point before, while it learned."""
    validation_loss: float | None
    validation_accuracy: float | None
    train_measured_loss: float | None = None
    """Of a fixed part of the training texts, in the same way and at the same moment as validation."""
    train_accuracy: float | None = None
    """Of the same part."""


@dataclass(frozen=True)
class Trial:
    """One learning rate of the search."""

    learning_rate: float
    steps: int
    accuracy: float | None
    """On the validation split; None: it broke down."""
    loss: float | None
    seconds: float
    chosen: bool


@dataclass(frozen=True)
class Memory:
    """Bytes of one training step, at the moment when it holds the most."""

    weights: int
    gradients: int
    """Those that exist at that moment."""
    optimizer: int
    activations: int
    """What else a step holds at that moment."""
    forward_peak: int | None
    """Of the forward pass alone, weights and optimizer state not counted."""
    backward_peak: int | None
    """Of the backward pass alone, beyond all that is held when it begins."""
    batch_size: int | None
    tokens: int | None
    """Tokens of a row."""
    all_gradients: int | None = None
    """One for each parameter that learns; None: an older heed took all of them off the peak (see `subtracted`)."""

    @property
    def subtracted(self) -> bool:
        """Whether activations are the peak less all gradients, which need not be there at that moment."""
        return self.all_gradients is None

    @property
    def peak(self) -> int:
        """The four parts together, or what was measured at most where that is more."""
        parts = self.weights + self.gradients + self.optimizer + self.activations
        return max(parts, self.forward_peak or 0, self.backward_peak or 0)


@dataclass(frozen=True)
class Run:
    """One training with one seed."""

    seed: int
    folder: str
    """Relative to the folder of the tune."""
    best_epoch: float | None
    seconds: float
    examples_per_second: float | None
    reason: str
    """Why it ended."""
    curve: tuple[CurvePoint, ...]
    validation: Scores
    test: Scores | None
    answers: Mapping[Split, Answers]
    """Of those splits whose predictions could be read."""
    train: Scores | None = None
    """Of a fixed part of the training texts, by the weights that were kept."""
    last_rate: float | None = None
    """The learning rate of its last update; None where it is not known."""

    def scores(self, split: Split) -> Scores | None:
        """Return the figures of a split."""
        return self.validation if split == "validation" else self.test


@dataclass(frozen=True)
class Arm:
    """An encoder with a method, and its runs by seed."""

    name: str
    encoder: str
    method: str
    options: Mapping[str, Any]
    pooling: str
    status: str
    """running, done, "does not fit" or failed."""
    reason: str | None
    trained_parameters: int | None
    formula: str
    """How `trained_parameters` is counted."""
    learning_rate: float | None
    search: tuple[Trial, ...]
    memory: Memory | None
    runs: tuple[Run, ...]
    soup: tuple[int, ...] = ()
    """The seeds whose weights were averaged into its only run, where it is a soup."""
    steps: int | None = None
    """Updates of a run; None where it is not known."""
    optimizer: str = ""
    """Empty where tune.json does not say it of each arm."""
    batch_size: int | None = None
    epochs: float | None = None
    """Passes over the training texts; None where they are not known."""

    @property
    def is_soup(self) -> bool:
        """Whether it is the mean of another arm's seeds, and never trained itself."""
        return self.method.endswith(" soup")

    @property
    def failed(self) -> bool:
        """Whether it failed or did not fit, before its first run or after it."""
        return self.status not in ("running", "done")

    @property
    def broken(self) -> bool:
        """Whether it failed and has no run: then it counts as 0, marked."""
        return self.failed and not self.runs

    @property
    def answered(self) -> frozenset[Split]:
        """The splits that every run has predictions of."""
        return frozenset.intersection(*(frozenset(run.answers) for run in self.runs)) if self.runs else frozenset()

    @property
    def best_run(self) -> Run:
        """The run with the lowest validation loss, the first of equal ones. Only of an arm that has runs."""
        return min(self.runs, key=lambda run: math.inf if math.isnan(run.validation.loss) else run.validation.loss)

    @property
    def edge(self) -> str | None:
        """Which end of the rates that were tried was chosen, "highest" or "lowest": beyond it may lie a better one."""
        rates = sorted({trial.learning_rate for trial in self.search})
        chosen = [trial.learning_rate for trial in self.search if trial.chosen]
        if len(rates) < 2 or not chosen or chosen[0] not in (rates[0], rates[-1]):
            return None
        return "highest" if chosen[0] == rates[-1] else "lowest"

    @property
    def seconds(self) -> float | None:
        """Mean training time of a run; None without runs."""
        return fmean(run.seconds for run in self.runs) if self.runs else None

    def mean(self, figure: str, split: Split) -> float | None:
        """Return the mean over seeds of a figure of `Scores`; None where no run has it."""
        found = [scores for run in self.runs if (scores := run.scores(split)) is not None]
        known = [value for scores in found if (value := getattr(scores, figure)) is not None]
        return fmean(known) if known else None
