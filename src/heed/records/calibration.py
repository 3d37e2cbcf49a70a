"""The temperature that makes the probabilities of a tuned run as sure as they should be: calibration.json."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from heed.records.kept import Kept, Whole

CALIBRATION = "calibration.json"


class CalibratedFigures(Kept):
    """How sure the run is on a split, at one temperature."""

    loss: float
    """Nats an example."""
    error: float
    """Expected calibration error of the probability of the predicted class."""
    interval: list[float]
    """95 %, of `error`."""
    chance_most: float
    """What a model that is calibrated perfectly would exceed once in twenty, with so few answers."""
    confidence: float
    """Mean probability of the predicted class."""


class CalibratedSplit(Kept):
    """A split before and after; accuracy is the same."""

    examples: Whole
    accuracy: float
    before: CalibratedFigures
    after: CalibratedFigures


NEEDED = 3.84
"""The 95 % quantile of chi-square with one degree of freedom: 2 n (loss - lowest loss) from which T is not 1."""


class CalibrationFile(Kept):
    """calibration.json."""

    format: int = 1
    temperature: Annotated[float, Field(gt=1e-4, lt=1e4)]
    weights: str
    """SHA-256 of the weights that it was chosen for."""
    validation: CalibratedSplit
    """The split that chose the temperature."""
    test: CalibratedSplit | None = None
    """None: the run was not tested."""

    @property
    def needed(self) -> bool:
        """Whether validation shows that the probabilities were too sure or not sure enough (likelihood ratio test)."""
        split = self.validation
        return 2 * split.examples * (split.before.loss - split.after.loss) >= NEEDED
