"""An arm of a tune, as tune.json has it, and what pages ask of it; its runs with what they said of each example."""

from __future__ import annotations

import math
from statistics import fmean

from pydantic import Field, PrivateAttr

from heed.records.scores import AnyScores
from heed.records.tune import SeedRun, TunedArm, TuneFile
from heed.report.gradings import RunAnswers
from heed.report.tuning_predictions import Split


class TunedSeed(SeedRun):
    """One training with one seed."""

    _answers: dict[Split, RunAnswers] = PrivateAttr(default_factory=dict)
    _last_rate: float | None = PrivateAttr(None)

    @property
    def answers(self) -> dict[Split, RunAnswers]:
        """Of those splits whose predictions could be read."""
        return self._answers

    @property
    def last_rate(self) -> float | None:
        """The learning rate of its last update; None where it is not known."""
        return self._last_rate

    def scores(self, split: Split) -> AnyScores | None:
        """Return the figures of a split."""
        return self.validation if split == "validation" else self.test


class Arm(TunedArm):
    """An encoder with a method, and its runs by seed."""

    runs: list[TunedSeed] = Field(default_factory=list)  # pyright: ignore[reportIncompatibleVariableOverride]

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
    def best_run(self) -> TunedSeed:
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


class ReadTune(TuneFile):
    """tune.json, its arms as pages want them."""

    arms: list[Arm]  # pyright: ignore[reportIncompatibleVariableOverride]
