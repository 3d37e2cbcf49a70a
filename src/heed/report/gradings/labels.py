"""Several labels a text: each is said or not, and an answer is right where all of them are.

    micro F1      2 TP / (2 TP + FP + FN), counted over all labels and texts
    macro F1      the mean of that of each label, over those that occur among labels or answers
    exact match   texts all of whose labels are right / texts, with Wilson's interval
    loss          mean of -ln p over all labels and texts, p of what is so, nats a label
    baseline      the highest micro F1 of always saying the same labels: the commonest ones

A label is said where its probability is at least `heed.targets.labels.THRESHOLD`, for every label alike: no threshold
is tuned. F1 is a ratio of sums; its interval is that of a ratio of means (the delta method, with the t quantile).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from heed.errors import DataError
from heed.report.accuracies import Groups, accuracy_interval, marks_interval
from heed.report.calibration import calibration, reliability
from heed.report.calibration_figure import reliability_figure
from heed.report.figure import Figure
from heed.report.figure_kinds import FigureKind
from heed.report.gradings.grading import Grading, RunAnswers
from heed.report.measured import Figures
from heed.report.numbers import MISSING, format_accuracy, format_percent, said_shares
from heed.report.statistics import Interval, wilson
from heed.report.tabular import TextTable, words_table
from heed.targets.labels import THRESHOLD

KINDS = (
    FigureKind("micro_f1", "micro F1", "higher", format_accuracy),
    FigureKind("macro_f1", "macro F1", "higher", format_accuracy),
    FigureKind("exact_match", "exact match", "higher", format_accuracy),
)


class LabelsGrading(Grading):
    """Micro and macro F1, and how often a whole set is right."""

    figure, order, called = "micro_f1", "micro_f1", "micro F1"
    baseline, always, beats = "baseline", "the commonest labels", "always saying the same labels"
    unit = "nats a label"
    moved = "the largest difference in the share of texts that have a label"
    mistakes, shared = "The surest errors of", "Not all right with any arm: {}"
    trusted, alone = "Does 70 % mean 70 %?", "All labels right with {} alone"

    @property
    def columns(self) -> list[tuple[str, str]]:
        """(key, head) of macro F1 and exact match."""
        return [("macro_f1", "macro F1"), ("exact_match", "exact match")]

    def measured(self, labels: np.ndarray, answers: np.ndarray) -> Figures:
        """Return the figures of sets (n, outputs) bool and probabilities (n, outputs)."""
        values, intervals = label_figures(np.asarray(labels, bool), np.asarray(answers, dtype=np.float64))
        return Figures(values, KINDS, intervals, headline="micro_f1", answers=answers)

    def read(self, row: Mapping[str, Any]) -> tuple[Any, Any, Sequence[float]] | None:
        """Return both sets by place, and the probabilities of a line."""
        names = self.target.names
        p = np.array(row["probabilities"], dtype=np.float64)
        label, predicted = ([name in row[key] for name in names] for key in ("label", "predicted"))
        strange = {*map(str, row["label"]), *map(str, row["predicted"])} - {*names}
        if strange or p.shape != (len(names),) or not np.isfinite(p).all() or p.min() < 0 or p.max() > 1:
            return None
        return label, predicted, p.tolist()

    def mark(self, labels: np.ndarray, predicted: np.ndarray, answers: np.ndarray, groups: Groups) -> RunAnswers:
        """Return which sets are right, and each text's part of micro F1."""
        right = (labels == predicted).all(axis=1)
        close = np.where(labels, answers, 1 - answers).mean(axis=1)
        sure = np.maximum(answers, 1 - answers).min(axis=1)
        return RunAnswers(predicted, answers, right, micro_marks(labels, predicted), close, sure, labels, groups)

    def distance(self, some: np.ndarray, others: np.ndarray) -> float:
        """Return the largest difference in the share of texts that have a label, 0 to 1."""
        return float(np.abs(some.mean(axis=0) - others.mean(axis=0)).max())

    def confidence(self, answers: RunAnswers) -> np.ndarray | None:
        """Return the mean probability of what is said of each label: that it is there, or that it is not."""
        return np.maximum(answers.probabilities, 1 - answers.probabilities).mean(axis=1)

    def says(self, answers: RunAnswers, example: int) -> tuple[str, str]:
        """Return the labels, and how sure the least sure one is."""
        said = self.target.cell(self.target.written(answers.predicted[example]))
        return said, format_percent(float(answers.sure[example]))

    def caption(self, scores: Sequence[Any]) -> str:
        """Say where a label is said."""
        return (
            f"A label is said from a probability of {THRESHOLD:g}. Exact match: texts all of whose labels are right. "
            "In brackets: 95 % interval over the same. "
        )

    def shown(self, key: str, scores: Sequence[Any], answers: Sequence[RunAnswers]) -> str:
        """Return a figure with its interval over seeds, examples and groups."""
        if not scores:
            return MISSING
        mean = format_accuracy(sum(getattr(one, key) for one in scores) / len(scores))
        if not answers:
            return mean
        groups = answers[0].groups
        if key == "exact_match":
            interval = accuracy_interval(np.array([run.right for run in answers]), groups)
        else:
            interval = marks_interval(np.array([macro_marks(run.labels, run.predicted) for run in answers]), groups)
        return mean if interval is None else f"{mean} ({said_shares(*_within(interval))})"

    def interval(self, marks: np.ndarray, groups: Groups) -> Interval | None:
        """Return the interval of micro F1, from 0 to 1 at most."""
        found = marks_interval(marks, groups)
        return None if found is None else _within(found)

    def each(self, scores: Any) -> TextTable | None:
        """Return a row for each label."""
        rows = [
            (name, f"{one['texts']:,}", *(format_accuracy(one[key]) for key in ("precision", "recall", "f1")))
            for name, one in zip(self.target.names, scores.each, strict=True)
        ]
        return words_table(("label", "texts", "precision", "recall", "F1"), rows, 1)

    def trust(self, name: str, answers: RunAnswers, arm: str, paint: tuple[int, int]) -> Figure | None:
        """Return whether 70 % means 70 %, of every label of every text."""
        sure = np.maximum(answers.probabilities, 1 - answers.probabilities).ravel()
        right = (answers.predicted == answers.labels).ravel()
        return reliability_figure(name, arm, reliability(sure, right), calibration(sure, right), paint)


def label_figures(y: np.ndarray, p: np.ndarray) -> tuple[dict[str, Any], dict[str, Interval]]:
    """Return the figures of sets y (n, L) bool and probabilities p (n, L), and their 95 % intervals.

    Raises `DataError` when there is no example, or p holds what is no probability.

    >>> values, _ = label_figures(np.array([[1, 0], [1, 1]], bool), np.array([[0.9, 0.2], [0.6, 0.3]]))
    >>> round(values["micro_f1"], 3), values["macro_f1"], values["exact_match"], round(values["baseline"], 3)
    (0.8, 0.5, 0.5, 0.857)
    """
    if y.shape != p.shape or not len(y):
        raise DataError("there is no example to measure: give at least one")
    if not (np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1):
        raise DataError("a probability is none (negative, above 1 or not finite)")
    said = p >= THRESHOLD
    hits, texts, given = (y & said).sum(axis=0), y.sum(axis=0), said.sum(axis=0)
    n, right = len(y), int((y == said).all(axis=1).sum())
    share = lambda part, whole: [float(a / b) if b else None for a, b in zip(part, whole, strict=True)]
    f1 = share(2 * hits, texts + given)
    chance = np.maximum(np.where(y, p, 1 - p), np.finfo(np.float64).tiny)
    columns = zip(texts.tolist(), share(hits, given), share(hits, texts), f1, strict=True)
    values: dict[str, Any] = {
        "examples": n,
        "micro_f1": float(2 * hits.sum() / max(1, texts.sum() + given.sum())),
        "macro_f1": float(np.mean([one for one in f1 if one is not None] or [0.0])),
        "exact_match": right / n,
        "correct": right,
        "loss": float(-np.log(chance).mean()),
        "baseline": constant_f1(y),
        "threshold": THRESHOLD,
        "each": [{"texts": a, "precision": b, "recall": c, "f1": d} for a, b, c, d in columns],
    }
    intervals = {
        "micro_f1": marks_interval(micro_marks(y, said)[None]),
        "macro_f1": marks_interval(macro_marks(y, said)[None]),
    }
    found = {name: _within(interval) for name, interval in intervals.items() if interval is not None}
    return values, found | {"exact_match": wilson(right, n)}


def micro_marks(y: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Return micro F1 of each text: their mean is that of all, and their spread that of the ratio."""
    return _ratio_marks(2.0 * (y & said).sum(axis=1), (y.sum(axis=1) + said.sum(axis=1)).astype(float))


def macro_marks(y: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Return macro F1 of each text, in the same sense."""
    there = np.flatnonzero((y | said).any(axis=0))
    if not len(there):
        return np.zeros(len(y))
    marks = [_ratio_marks(2.0 * (y & said)[:, label], y[:, label].astype(float) + said[:, label]) for label in there]
    return np.mean(marks, axis=0)


def constant_f1(y: np.ndarray) -> float:
    """Return the highest micro F1 of always saying the same labels: the first so many of the commonest.

    >>> constant_f1(np.array([[1, 0], [1, 1]], bool))  # always both: 2 * 3 / (3 + 4); always the first: 2 * 2 / (3 + 2)
    0.8571428571428571
    """
    counts = np.sort(y.sum(axis=0))[::-1]
    said = np.arange(1, len(counts) + 1) * len(y)
    return float((2 * counts.cumsum() / (counts.sum() + said)).max())


def _ratio_marks(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    mean = whole.mean()
    if mean == 0:
        return np.zeros(len(part))
    ratio = part.mean() / mean
    return ratio + (part - ratio * whole) / mean


def _within(interval: Interval) -> Interval:
    return max(0.0, interval[0]), min(1.0, interval[1])
