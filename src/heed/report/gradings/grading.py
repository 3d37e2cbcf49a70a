"""How what a model says of texts is marked, and how pages say it: what every kind of target has.

    labels, answers ──figures──> the figures of a split          (tune.json, metrics.jsonl)
                    ──marks────> a number for each example       (their mean is the figure that arms are compared by)

An example's mark is 0 or 1 where it is right or wrong. Where the figure is a ratio of sums, as R² and F1 are, it is the
figure plus what the example moves it by (the influence function), so that the mean of the marks is the figure and their
spread that of the figure: one variance over seeds, examples and groups serves all kinds (`heed.report.accuracies`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

import numpy as np

from heed.report.accuracies import Groups, marks_interval
from heed.report.figure import Figure
from heed.report.measured import Figures
from heed.report.numbers import MISSING
from heed.report.paired import Paired, compare_marks
from heed.report.statistics import Interval
from heed.report.tabular import TextTable
from heed.targets import Target


@dataclass(frozen=True)
class RunAnswers:
    """What one run says of the examples of a split, in their order, and how it is marked."""

    predicted: np.ndarray
    """(n,) or (n, outputs): what is said."""
    probabilities: np.ndarray
    """(n, outputs) float64: what `Target.answers` gives."""
    right: np.ndarray
    """(n,) bool; nowhere of what is neither right nor wrong."""
    marks: np.ndarray
    """(n,): their mean is the figure that arms are compared by."""
    close: np.ndarray
    """(n,) how near each answer is to the label, more is nearer."""
    sure: np.ndarray
    """(n,) how sure each answer is, or how far off; the highest of the wrong ones are the gravest mistakes."""
    labels: np.ndarray
    """(n,) or (n, outputs)."""
    groups: Groups = None
    """(n,) the same number for examples of one group; None where each is its own."""


class Grading(ABC):
    """How the answers of a kind of target are marked; `target` is that of the texts."""

    figure: ClassVar[str]
    """The figure that arms are compared by; its key in every file. More is better, and 1 is the most."""
    order: ClassVar[str]
    """What pairs of arms are ordered by: the figure, or the count that it is a share of."""
    called: ClassVar[str]
    """Its name for people."""
    baseline: ClassVar[str]
    """The key of what always the same answer gets."""
    always: ClassVar[str]
    """What that answer is, as "the commonest class"."""
    beats: ClassVar[str]
    """What an arm must beat, as a part of a sentence."""
    what_helps: ClassVar[str] = ""
    """What else is said where no arm does."""
    criterion: ClassVar[str] = "validation loss"
    """What chooses the weights that are kept, and rates."""
    unit: ClassVar[str] = "nats"
    """Of the loss."""
    interval_kind: ClassVar[str] = "t"
    """Of the difference of two arms."""
    closer: ClassVar[tuple[str, str]] = ("nearer with the first", "nearer with the second")
    """What the examples are that the one and the other of two arms does better."""
    moved: ClassVar[str]
    """What `distance` is, with its definition, as the end of a sentence."""
    mistakes: ClassVar[str]
    """What a list of an arm's gravest mistakes is called."""
    shared: ClassVar[str]
    """What a list of those of all arms is called, with their number."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @property
    @abstractmethod
    def columns(self) -> list[tuple[str, str]]:
        """(key, head) of the other figures that the table of results shows."""

    @abstractmethod
    def measured(self, labels: np.ndarray, answers: np.ndarray) -> Figures:
        """Return the figures of a split: labels as `Target.numbers` gives them, answers (n, outputs)."""

    @abstractmethod
    def read(self, row: Mapping[str, Any]) -> tuple[Any, Any, Sequence[float]] | None:
        """Return label, what is predicted and the answers of a line of predictions; None where it is none."""

    @abstractmethod
    def mark(self, labels: np.ndarray, predicted: np.ndarray, answers: np.ndarray, groups: Groups) -> RunAnswers:
        """Return what a run says of a split, marked."""

    @abstractmethod
    def distance(self, some: np.ndarray, others: np.ndarray) -> float:
        """Return how far the labels, or what is predicted, of some texts (n, ...) and of others (m, ...) lie apart."""

    def confidence(self, answers: RunAnswers) -> np.ndarray | None:
        """Return how probable what is said of each text (n,) is; None of what has no probability."""
        return answers.sure

    def contradiction(self, answers: RunAnswers, scores: Any) -> str | None:
        """Return what the predictions say unlike the record, None where they agree."""
        found, said = float(answers.marks.mean()), getattr(scores, self.figure)
        if said is None or abs(found - said) <= 1e-4 * max(1.0, abs(said)):
            return None
        return f"has {self.called} {found:.4f}, tune.json says {said:.4f}"

    def interval(self, marks: np.ndarray, groups: Groups) -> Interval | None:
        """Return the 95 % interval of the figure from the marks (S, n) of the runs of an arm."""
        return marks_interval(marks, groups)

    def interval_of_runs(self, scores: Sequence[Any]) -> Interval | None:
        """Return that interval where no predictions are known, only the figures of each run."""
        found = getattr(scores[0], f"{self.figure}_interval")
        return None if len(scores) > 1 or found is None else (found[0], found[1])

    def compare(
        self, a: str, b: str, of_a: Sequence[RunAnswers], of_b: Sequence[RunAnswers], *, same_seeds: bool, equal: bool
    ) -> Paired:
        """Compare two arms by what their runs say of the same examples."""
        marks = [np.array([run.marks for run in runs]) for runs in (of_a, of_b)]
        near = [np.array([run.close for run in runs]) for runs in (of_a, of_b)]
        if same_seeds:
            better, worse = (float((p > q).sum()) / len(p) for p, q in ((near[1], near[0]), (near[0], near[1])))
        else:
            meet = len(near[0]) * len(near[1])
            better, worse = (
                float((p[:, None] > q[None]).sum()) / meet for p, q in ((near[1], near[0]), (near[0], near[1]))
            )
        groups = of_a[0].groups
        return compare_marks(a, b, marks[0], marks[1], (better, worse), groups, same_seeds=same_seeds, equal=equal)

    def wins(self, one: RunAnswers, other: RunAnswers) -> np.ndarray:
        """Return in which examples (n,) bool the one is better than the other."""
        return one.right & ~other.right

    @abstractmethod
    def says(self, answers: RunAnswers, example: int) -> tuple[str, str]:
        """Return what a run says of an example, and how sure it is, or how far off."""

    def label(self, labels: np.ndarray, example: int) -> str:
        """Return the label of an example for people."""
        return self.target.cell(self.target.written(labels[example]))

    has: ClassVar[str] = "has"
    """What a lone arm does, before the value."""
    level: ClassVar[str] = "are level, and none is better"
    """What arms do that have the highest value together."""
    do: ClassVar[str] = "say"
    """What two arms do that cannot be told apart."""

    def exchanged(self, better: str, worse: str) -> str:
        """Return in how many examples one arm is better and worse than another."""
        return f"nearer in {better} examples, further in {worse}"

    def value(self, share: str) -> str:
        """Return a value of the figure where it stands by itself in a sentence."""
        return f"{self.called} {share}"

    def right(self, share: str) -> str:
        """Return what is said of a value of the figure, as "80.0 % right"."""
        return f"{self.called} {share}"

    pairs_caption: ClassVar[str] = (
        "Gained: nearer with the first; lost: nearer with the second; means over seeds. Points: of the figure; their "
        "95 % interval and p are of a t test of the same variance."
    )
    """What the columns of a table of pairs are."""

    def caption(self, scores: Sequence[Any]) -> str:
        """Return what must be said of the other figures of the table of results; `scores`: of every run."""
        return ""

    def shown(self, key: str, scores: Sequence[Any], answers: Sequence[RunAnswers]) -> str:
        """Return one of the other figures of an arm for a table, its mean over the runs that have it.

        `scores` are those of every run, and so are `answers`, where all of them have predictions.
        """
        known = [value for one in scores if (value := getattr(one, key)) is not None]
        return f"{fmean(known):.3f}" if known else MISSING

    def data_columns(self, splits: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
        """Return the columns that tell what labels each split holds, a cell for each split."""
        return self.target.columns(splits)

    trusted: ClassVar[str] = "Can the answers be trusted?"
    """The heading over the figures of `trust`."""
    apart: ClassVar[str] = "Each by itself"
    """The heading over what is said of each output."""
    alone: ClassVar[str] = "Nearer with {}"
    """The heading over examples that an arm does better than another."""

    @property
    def of(self) -> str:
        """What examples are of, behind their count."""
        return f"of {self.target.said}"

    def each(self, scores: Any) -> TextTable | None:
        """Return what a run comes to for each output by itself; None where there is no more to be said of it."""
        return None

    def trust(self, name: str, answers: RunAnswers, arm: str, paint: tuple[int, int]) -> Figure | None:
        """Return the figure that tells how far the answers of a run can be trusted; None where there is none."""
        return None
