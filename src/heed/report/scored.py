"""A finished run on a new labelled file: its figures, how they stand to its test split, and what is left out.

    rows of predictions ──line_up──> examples, answers ──Marked.of──> figures, by the code of the test split

`lines` is for the terminal, `as_dict` for JSON, `heed.report.scored_page` for a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heed.report.calibration import Calibration, calibration
from heed.report.drift import Drift, MeanChange, Shift
from heed.report.gradings import Grading, RunAnswers
from heed.report.measured import Figures
from heed.report.numbers import format_accuracy, said_difference, said_effect, said_p, said_shares
from heed.report.statistics import Interval
from heed.report.tuning_predictions import SplitExamples


@dataclass(frozen=True)
class Marked:
    """Texts with labels, what a run says of them, and the figures."""

    examples: SplitExamples
    answers: RunAnswers
    figures: Figures

    @classmethod
    def of(cls, grading: Grading, examples: SplitExamples, answers: RunAnswers) -> Marked:
        """Return the figures of texts; where these are in groups, with an interval of the first figure alone."""
        found = grading.measured(answers.labels, answers.probabilities)
        if answers.groups is not None:
            interval = grading.interval(answers.marks[None], answers.groups)
            intervals = {} if interval is None else {grading.figure: interval}
            found = Figures(found.values, found.kinds, intervals, headline=found.headline, chosen_by=found.chosen_by)
        return cls(examples, answers, found)

    @property
    def groups(self) -> int:
        """How many groups the texts are in; as many as there are texts where each is its own."""
        groups = self.answers.groups
        return len(self.answers.labels) if groups is None else len(np.unique(groups))


@dataclass(frozen=True)
class Abstaining:
    """What is left of classes where an answer has to be sure enough."""

    thresholds: Mapping[str, float]
    answered: int
    right: int
    total: int
    interval: Interval | None
    """95 %, of the accuracy of what is answered."""


@dataclass(frozen=True)
class ScoredFile:
    """All that is told of a run on a new file."""

    run: str
    file: str
    sha256: str
    """Of the file."""
    column: str
    """Of the labels."""
    grading: Grading
    new: Marked
    test: Marked | None
    """The run's own test split; None where it has none."""
    drift: Drift | None
    rows: int
    """In the file, those that are left out too."""
    left_out: Sequence[str] = ()
    """Why each other row is in no figure."""
    unseen: Mapping[str, int] = field(default_factory=dict)
    """Labels that the run has never seen, and how many of the rows left out have each."""
    max_length: int = 0
    temperature: float | None = None
    chosen_on: int = 0
    """Validation texts that chose the temperature."""
    abstaining: Abstaining | None = None

    @property
    def passport(self) -> str:
        """What the figures were measured on, and how."""
        count = self.new.groups
        groups = f", in {count:,} groups" if self.new.answers.groups is not None else ""
        calibrated = "as the model gives them"
        if self.temperature is not None:
            T, n = self.temperature, self.chosen_on
            calibrated = f"calibrated at temperature {T:.4g}, chosen on {n:,} validation texts"
        return (
            f"Measured on {len(self.new.answers.labels):,} of the {self.rows:,} rows of {self.file} "
            f"(SHA-256 {self.sha256[:12]}){groups}, labels in {self.column!r}, by {self.run}, which reads "
            f"{self.max_length:,} tokens of a text; probabilities {calibrated}."
        )

    @property
    def calibration(self) -> Calibration | None:
        """Whether 70 % means 70 %, of classes."""
        answers = self.new.answers
        return calibration(answers.sure, answers.right) if self.grading.target.kind == "classes" else None

    @property
    def counted_wrong(self) -> float | None:
        """The accuracy if rows with a label that the run has never seen counted as wrong, as they would be in use."""
        values = self.new.figures.values
        if not self.unseen or self.grading.figure != "accuracy":
            return None
        return values["correct"] / (values["examples"] + sum(self.unseen.values()))

    def verdict(self) -> str:
        """Say in a sentence how the file stands to the test split."""
        called, here = self.grading.called, said_of(self.new.figures, self.grading)
        if self.test is None or self.drift is None:
            return f"{called[0].upper()}{called[1:]} {here}; the run has no test split to hold it against."
        change = self.drift.figure
        there = said_of(self.test.figures, self.grading)
        how = "not told apart from"
        if change.found:
            how = "above" if change.difference > 0 else "below"
        return f"{called[0].upper()}{called[1:]} {here}, {how} the {there} of the run's own test split."

    def lines(self) -> list[str]:
        """Return what the terminal shows."""
        own = dict(self.test.figures.lines()) if self.test is not None else {}
        found = [self.passport, ""]
        width = max(len(name) for name, _ in self.new.figures.lines())
        for name, said in self.new.figures.lines():
            found.append(f"{name:<{width}}  {said}" + (f"; test split {own[name]}" if name in own else ""))
        if (sure := self.calibration) is not None:
            found.append(f"calibration error {sure.error:.3f} (noise alone {sure.chance:.3f}): {sure.verdict}")
        found += [f"  {line}" if line.startswith(" ") else line for line in self.more()]
        return [*found, "", *self.drift_lines(), self.verdict()]

    def more(self) -> list[str]:
        """Return what thresholds leave, and what new labels make of the figures."""
        found = []
        if (some := self.abstaining) is not None:
            asked = ", ".join(f"{name} {least:g}" for name, least in some.thresholds.items())
            share = "" if not some.answered else f", {format_accuracy(some.right / some.answered)}"
            interval = "" if some.interval is None else f" ({said_shares(*some.interval)})"
            found.append(
                f"with thresholds ({asked}): {some.answered:,} of {some.total:,} answered, {some.right:,} right"
                f"{share}{interval}; the figures above are without"
            )
        if self.unseen:
            names = ", ".join(f"{name!r} {count:,}" for name, count in self.unseen.items())
            wrong = self.counted_wrong
            counted = "" if wrong is None else f"; counted as wrong, accuracy is {format_accuracy(wrong)}"
            found.append(f"labels that the run has never seen, left out: {names}{counted}")
        return found

    def drift_lines(self) -> list[str]:
        """Return a line for each way in which the file may differ from the test split."""
        if self.drift is None:
            return ["no test split: how the file differs from it cannot be told"]
        drift, called = self.drift, self.grading.called
        found = [
            _told(f"{called} less that of the test split", drift.figure, "points", 100),
            f"labels: {said_distance(drift.labels)}: {said_found(drift.labels)} ({self.grading.moved})",
            f"answers: {said_distance(drift.answers)}: {said_found(drift.answers)}",
        ]
        if (sure := drift.confidence) is not None:
            found.append(_told("mean probability of what is said, less that on the test split", sure))
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        sure, some, drift = self.calibration, self.abstaining, self.drift
        return {
            "run": self.run,
            "file": self.file,
            "sha256": self.sha256,
            "label": self.column,
            "rows": self.rows,
            "scored": len(self.new.answers.labels),
            "groups": None if self.new.answers.groups is None else self.new.groups,
            "left_out": list(self.left_out),
            "unseen": dict(self.unseen),
            "accuracy_with_unseen_wrong": self.counted_wrong,
            "temperature": self.temperature,
            "passport": self.passport,
            "figures": self.new.figures.as_dict(),
            "calibration": None
            if sure is None
            else {"error": sure.error, "chance": sure.chance, "chance_most": sure.chance_most, "verdict": sure.verdict},
            "thresholds": None
            if some is None
            else {
                "least": dict(some.thresholds),
                "answered": some.answered,
                "right": some.right,
                "interval": None if some.interval is None else list(some.interval),
            },
            "test": None if self.test is None else self.test.figures.as_dict(),
            "drift": None
            if drift is None
            else {
                self.grading.figure: _change(drift.figure),
                "labels": _shift(drift.labels),
                "answers": _shift(drift.answers),
                "confidence": None if drift.confidence is None else _change(drift.confidence),
            },
            "verdict": self.verdict(),
        }


def said_of(figures: Figures, grading: Grading) -> str:
    """Return the figure that arms are compared by, for people."""
    return format_accuracy(figures[grading.figure])


def said_apart(change: MeanChange, unit: str = "", times: float = 1.0) -> str:
    """Return a difference with its interval."""
    interval = None if change.interval is None else (times * change.interval[0], times * change.interval[1])
    return f"{said_difference(times * change.difference, interval)} {unit}".rstrip()


def said_found(found: MeanChange | Shift) -> str:
    """Say whether two samples are told apart."""
    if isinstance(found, MeanChange) and found.interval is None:
        return "one side is one group: nothing can be told"
    if found.found:
        return "they differ"
    return "no difference found" if isinstance(found, MeanChange) else "no shift found"


def said_least(change: MeanChange, unit: str = "", times: float = 1.0) -> str:
    """Say what would have been found where nothing was; empty where something was."""
    return "" if change.found or change.detectable is None else said_effect(times * change.detectable, unit)


def said_distance(shift: Shift) -> str:
    """Return a distance, and how often chance makes as much of it."""
    return f"distance {shift.distance:.3f} (by chance {shift.chance:.3f}), p {said_p(shift.p)}"


def _told(what: str, change: MeanChange, unit: str = "", times: float = 1.0) -> str:
    """Return a difference, what was found, and what would have been."""
    least = said_least(change, unit, times)
    return f"{what}: {said_apart(change, unit, times)}: {said_found(change)}{f'; {least}' if least else ''}"


def _change(change: MeanChange) -> dict[str, Any]:
    interval = None if change.interval is None else list(change.interval)
    return {
        "new": change.new,
        "test": change.test,
        "difference": change.difference,
        "interval": interval,
        "detectable": change.detectable,
        "found": change.found,
    }


def _shift(shift: Shift) -> dict[str, Any]:
    return {"distance": shift.distance, "chance": shift.chance, "p": shift.p, "found": shift.found}
