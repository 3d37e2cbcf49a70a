"""Classes: an answer is right or wrong, and has a probability; see `heed.report.classification` for the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from heed.report.accuracies import Groups, accuracy_interval, counted_interval
from heed.report.calibration import calibration, reliability
from heed.report.calibration_figure import reliability_figure
from heed.report.classification import figures
from heed.report.figure import Figure
from heed.report.figure_kinds import ACCURACY, LOSS, MAJORITY
from heed.report.gradings.grading import Grading, RunAnswers
from heed.report.measured import Figures
from heed.report.numbers import MISSING, format_count, format_percent
from heed.report.paired import Paired, compare_arms
from heed.report.statistics import Interval
from heed.targets.classes import SHOWN

KINDS = (ACCURACY, MAJORITY, replace(LOSS, unit="nats an example"))


class ClassGrading(Grading):
    """Accuracy, the F1 of classes, Matthews' correlation and calibration; the refined loss chooses."""

    figure, order, called = "accuracy", "correct", "accuracy"
    criterion = "refined validation loss"
    baseline, always, beats = "majority", "the commonest class", "always saying the commonest class"
    what_helps = "; of unequal classes macro F1 tells more"
    interval_kind, closer = "score", ("right with the first", "right with the second")
    moved = "total variation, half the sum over classes of how far their shares differ"
    mistakes, shared = "The surest errors of", "Wrong with every arm: {}"

    @property
    def columns(self) -> list[tuple[str, str]]:
        """(key, head) of F1, correlation and calibration error."""
        names = self.target.names
        positive = [("f1_positive", f"F1 of {names[1]}")] if len(names) == 2 else []
        return [("f1", "macro F1"), *positive, ("mcc", "MCC"), ("calibration_error", "calibration error")]

    def measured(self, labels: np.ndarray, answers: np.ndarray) -> Figures:
        """Return the figures of labels (n,) and probabilities (n, C); the refined loss chooses the best checkpoint."""
        values = figures(labels, answers)
        interval = {"accuracy": tuple(values.pop("accuracy_interval"))}
        return Figures(values, KINDS, interval, headline="accuracy", chosen_by="refined_loss", answers=answers)

    def read(self, row: Mapping[str, Any]) -> tuple[Any, Any, Sequence[float]] | None:
        """Return the classes of a line by place, and its probabilities."""
        p = np.array(row["probabilities"], dtype=np.float64)
        label, predicted = (self.target.names.index(str(row[key])) for key in ("label", "predicted"))
        if p.shape != (len(self.target.names),) or not np.isfinite(p).all() or p.min() < 0 or p.max() > 1 + 1e-6:
            return None
        return label, predicted, p.tolist()

    def mark(self, labels: np.ndarray, predicted: np.ndarray, answers: np.ndarray, groups: Groups) -> RunAnswers:
        """Return what is right, and the probability of the label and of what is said."""
        rows = np.arange(len(labels))
        right = predicted == labels
        sure = np.minimum(1.0, answers[rows, predicted])  # float32 sums to a little more
        return RunAnswers(predicted, answers, right, right, answers[rows, labels], sure, labels, groups)

    def distance(self, some: np.ndarray, others: np.ndarray) -> float:
        """Return the total variation of the shares of classes: 0 the same, 1 no class in common."""
        C = len(self.target.names)
        shares = [np.bincount(one, minlength=C) / len(one) for one in (some, others)]
        return float(np.abs(shares[0] - shares[1]).sum() / 2)

    def contradiction(self, answers: RunAnswers, scores: Any) -> str | None:
        """Return what the predictions say unlike the record."""
        if answers.right.sum() == scores.correct:
            return None
        return f"has {answers.right.sum():,} right, tune.json says {scores.correct:,}"

    def interval(self, marks: np.ndarray, groups: Groups) -> Interval | None:
        """Return the score interval of an accuracy."""
        return accuracy_interval(marks, groups)

    def interval_of_runs(self, scores: Sequence[Any]) -> Interval | None:
        """Return the interval by the counts of each run."""
        return counted_interval([one.correct for one in scores], scores[0].examples)

    def compare(
        self, a: str, b: str, of_a: Sequence[RunAnswers], of_b: Sequence[RunAnswers], *, same_seeds: bool, equal: bool
    ) -> Paired:
        """Compare what both arms have right."""
        right = [np.array([run.right for run in runs]) for runs in (of_a, of_b)]
        return compare_arms(a, b, right[0], right[1], of_a[0].groups, same_seeds=same_seeds, equal=equal)

    def says(self, answers: RunAnswers, example: int) -> tuple[str, str]:
        """Return the class and its probability."""
        name = self.target.names[answers.predicted[example]]
        return name, format_percent(float(answers.sure[example]))

    has, level, do = "is right", "are equally often right, and none more often", "get right"

    pairs_caption = (
        "Gained: right with the first alone; lost: with the second alone; means over seeds. 95 % interval: of the "
        "points, by a score test, which is surer than an exact one; the test decides."
    )

    def caption(self, scores: Sequence[Any]) -> str:
        """Name the bins of the calibration error."""
        counts = " or ".join(str(bins) for bins in sorted({one.bins for one in scores}))
        return f"Calibration error: over {counts} bins of equal mass (as many answers each). " if counts else " "

    def data_columns(self, splits: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
        """Return the texts of each class, where there are few."""
        names = self.target.names if len(self.target.names) <= SHOWN else ()
        counts = [one.get("classes", []) for one in splits.values()]
        return [
            (name, [format_count(some[place]) if place < len(some) else MISSING for some in counts])
            for place, name in enumerate(names)
        ]

    def exchanged(self, better: str, worse: str) -> str:
        """Return how many examples are right with one arm alone."""
        return f"{better} examples gained, {worse} lost"

    def value(self, share: str) -> str:
        """Return an accuracy, which needs no name."""
        return share

    def right(self, share: str) -> str:
        """Return a share of right answers."""
        return f"{share} right"

    trusted, alone = "Does 70 % mean 70 %?", "Right with {} alone"
    apart = "Which classes are taken for which"

    @property
    def of(self) -> str:
        """The classes that examples are in."""
        return f"in {self.target.said}"

    def trust(self, name: str, answers: RunAnswers, arm: str, paint: tuple[int, int]) -> Figure | None:
        """Return whether 70 % means 70 %."""
        found, bins = calibration(answers.sure, answers.right), reliability(answers.sure, answers.right)
        figure = reliability_figure(name, arm, bins, found, paint)
        if answers.groups is not None:
            figure = replace(figure, caption=f"{figure.caption} Answers of one group are taken as independent here.")
        return figure
