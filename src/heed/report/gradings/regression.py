"""Regression: an answer is a number, nearer to the score or further from it.

    mse        mean of (s - y)^2                                          of what is said s and the scores y
    R^2        1 - mse / mean of (m - y)^2                                m: the mean of the training scores
    Pearson    correlation of s and y: how straight a line they make      Pearson 1895
    Spearman   correlation of their ranks: whether the order is right     Spearman 1904
    loss       mse / variance of the training scores                      what is trained, and chooses the weights

R^2 is what arms are compared by: 0 is always saying the training mean, 1 is every score exactly, and below 0 is worse
than not reading the text. Its interval of one run is that of a ratio of means (the delta method, with the t quantile),
and so is that of the mean squared error, taken of its logarithm; correlations have Fisher's. A page resamples seeds and
groups instead (`heed.report.resampling`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from heed.errors import DataError
from heed.report.accuracies import Groups, marks_interval, t_quantile
from heed.report.figure import Figure, Line, Plane, lines_figure
from heed.report.figure_kinds import FigureKind
from heed.report.gradings.grading import Grading, RunAnswers
from heed.report.measured import Figures
from heed.report.numbers import MISSING, format_accuracy
from heed.report.resampling import bootstrap, fisher, pearson, spearman
from heed.report.statistics import Interval
from heed.targets.regression import ScoreTarget

BINS = 10
"""Parts of the answers, by size, that a figure takes the means of."""


def _plain(value: float) -> str:
    return f"{value:.4g}"


KINDS = (
    FigureKind("r2", "R²", "higher", format_accuracy),
    FigureKind("mse", "mean squared error", "lower", _plain),
    FigureKind("pearson", "Pearson correlation", "higher", _plain),
    FigureKind("spearman", "Spearman correlation", "higher", _plain),
)


class ScoreGrading(Grading):
    """R² against the mean of the training scores, the mean squared error and correlations."""

    target: ScoreTarget
    figure, order, called = "r2", "r2", "R²"
    baseline, always, beats = "baseline", "the training mean", "always saying the mean of the training scores"
    means = (
        "R²: what is explained of the squared error that always saying the mean of the training scores makes. MSE: "
        "mean squared error, RMSE its root. Intervals beside them: bootstrap of seeds and examples, or their groups. "
    )
    unit = "squared error / variance"
    moved = "Kolmogorov and Smirnov's distance, the largest difference of the shares below a score"
    mistakes, shared = "The largest errors of", "Furthest off with every arm, of {}"
    trusted = "Does 3 mean 3?"

    @property
    def columns(self) -> list[tuple[str, str]]:
        """(key, head) of errors and correlations."""
        return [("mse", "MSE"), ("rmse", "RMSE"), ("pearson", "Pearson"), ("spearman", "Spearman")]

    def measured(self, labels: np.ndarray, answers: np.ndarray) -> Figures:
        """Return the figures of scores (n,) and what is said of them (n, 1)."""
        y, said = np.asarray(labels, dtype=np.float64), np.asarray(answers, dtype=np.float64)[:, 0]
        values, intervals = score_figures(y, said, self.target.center, self.target.scale)
        return Figures(values, KINDS, intervals, headline="r2", answers=answers)

    def read(self, row: Mapping[str, Any]) -> tuple[Any, Any, Sequence[float]] | None:
        """Return the score, and what is said."""
        label, predicted = (float(row[key]) for key in ("label", "predicted"))
        return (label, predicted, [predicted]) if math.isfinite(label) and math.isfinite(predicted) else None

    def mark(self, labels: np.ndarray, predicted: np.ndarray, answers: np.ndarray, groups: Groups) -> RunAnswers:
        """Return the errors as marks whose mean is R²."""
        error = np.abs(predicted - labels)
        marks = _marks(error**2, (labels - self.target.center) ** 2)
        return RunAnswers(predicted, answers, np.zeros(len(labels), bool), marks, -error, error, labels, groups)

    def distance(self, some: np.ndarray, others: np.ndarray) -> float:
        """Return the largest difference of the empirical distribution functions, 0 to 1."""
        at = np.concatenate([some, others])
        below = [np.searchsorted(np.sort(one), at, side="right") / len(one) for one in (some, others)]
        return float(np.abs(below[0] - below[1]).max())

    def confidence(self, answers: RunAnswers) -> np.ndarray | None:
        """Return that a score has no probability."""
        return None

    def wins(self, one: RunAnswers, other: RunAnswers) -> np.ndarray:
        """Return where the one is nearer."""
        return one.close > other.close

    def says(self, answers: RunAnswers, example: int) -> tuple[str, str]:
        """Return the score and how far it is off."""
        off = float(answers.predicted[example] - answers.labels[example])
        return _plain(float(answers.predicted[example])), f"{off:+.2g} off"

    def caption(self, scores: Sequence[Any]) -> str:
        """Say what the figures are."""
        return f"{self.means} "

    def shown(self, key: str, scores: Sequence[Any], answers: Sequence[RunAnswers]) -> str:
        """Return a figure with its interval over seeds, examples and groups."""
        known = [value for one in scores if (value := getattr(one, key)) is not None]
        if not known:
            return MISSING
        write = _plain if key in ("mse", "rmse") else "{:.3f}".format
        mean = write(sum(known) / len(known))
        interval = self._resampled(key, answers) if answers and key != "rmse" else None
        return mean if interval is None else f"{mean} ({write(interval[0])} to {write(interval[1])})"

    def _resampled(self, key: str, answers: Sequence[RunAnswers]) -> Interval | None:
        def of(run: RunAnswers) -> Any:
            if key == "mse":
                return lambda w: (w * run.sure**2).sum(axis=1) / w.sum(axis=1)
            correlation = pearson if key == "pearson" else spearman
            return lambda w: correlation(run.predicted, run.labels, w)

        name = (key, *map(id, answers))
        if name not in self._known:
            self._known[name] = bootstrap([of(run) for run in answers], len(answers[0].labels), answers[0].groups)
        return self._known[name]

    def __init__(self, target: ScoreTarget) -> None:
        super().__init__(target)
        self._known: dict[tuple[Any, ...], Interval | None] = {}

    def trust(self, name: str, answers: RunAnswers, arm: str, paint: tuple[int, int]) -> Figure | None:
        """Return the mean score of texts by what is said of them."""
        parts = np.array_split(np.argsort(answers.predicted, kind="stable"), min(BINS, len(answers.predicted)))
        x = [float(answers.predicted[part].mean()) for part in parts]
        y = [float(answers.labels[part].mean()) for part in parts]
        if x[0] == x[-1]:
            return None
        low, high = min(x + y), max(x + y)
        lines = [Line("", [low, high], [low, high], 0, dash=1), Line(arm, x, y, paint[0], dots=True, dash=paint[1])]
        title = f"{arm}: where it says {x[-1]:.3g} the scores are {y[-1]:.3g} on average"
        caption = (
            f"Texts in {len(parts)} parts of equal size by what is said of them; mean score of each. Stroke: what is "
            "said is so."
        )
        return lines_figure(name, title, caption, lines, Plane("said", "mean score"))


def score_figures(
    y: np.ndarray, said: np.ndarray, center: float, scale: float
) -> tuple[dict[str, Any], dict[str, Interval]]:
    """Return the figures of scores y (n,) and what is said of them (n,), and their 95 % intervals.

    `center` and `scale` are mean and deviation of the training scores. Correlations of what does not vary are None.
    Raises `DataError` when there is no example, or something is not finite.

    >>> values, _ = score_figures(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]), 2.0, 1.0)
    >>> values["r2"], round(values["mse"], 4), round(values["pearson"], 4), values["spearman"]
    (0.5, 0.3333, 0.982, 1.0)
    """
    if y.shape != said.shape or not len(y):
        raise DataError("there is no example to measure: give at least one")
    if not (np.isfinite(y).all() and np.isfinite(said).all()):
        raise DataError("a score or an answer is NaN or infinite")
    n, squares, base = len(y), (said - y) ** 2, (y - center) ** 2
    mse, by_mean = float(squares.mean()), float(base.mean())
    r, rho = (float(of(said, y)[0]) for of in (pearson, spearman))
    values: dict[str, Any] = {
        "examples": n,
        "r2": 1 - mse / by_mean if by_mean else None,
        "mse": mse,
        "rmse": math.sqrt(mse),
        "mae": float(np.abs(said - y).mean()),
        "pearson": None if math.isnan(r) else r,
        "spearman": None if math.isnan(rho) else rho,
        "loss": mse / scale**2,
        "baseline": 0.0,
        "mean_mse": by_mean,
    }
    found = {
        "r2": marks_interval(_marks(squares, base)[None]) if by_mean else None,
        "mse": _mean_interval(squares),
        "pearson": fisher(r, n),
        "spearman": fisher(rho, n, ranks=True),
    }
    return values, {name: interval for name, interval in found.items() if interval is not None}


def _marks(squares: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return R² of each example: their mean is that of all, and their spread is that of the ratio of the two means."""
    ratio = squares.mean() / base.mean()
    return 1 - ratio - (squares - ratio * base) / base.mean()


def _mean_interval(values: np.ndarray) -> Interval | None:
    """Return the 95 % interval of the mean of numbers above 0, by its logarithm; None of one number alone."""
    n, mean = len(values), float(values.mean())
    if n < 2 or mean == 0:
        return None
    reach = t_quantile(n - 1) * float(values.std(ddof=1)) / math.sqrt(n) / mean
    return mean * math.exp(-reach), mean * math.exp(reach)
