"""How far can a probability be trusted? Calibration, the Brier score, risk and coverage, and when to abstain.

Each of n answers has a probability p that the model gave to it, and y = 1 where it was right, else 0.

    calibration error    sum over bins of |sum of p - sum of y| / n                             Naeini et al. 2015
    Brier score          mean of (p - y)^2 = reliability - resolution + uncertainty + within    Brier 1950, Murphy 1973
    risk at coverage c   share of wrong answers among the c n surest                            El-Yaniv and Wiener 2010
    AURC                 mean risk over the coverages 1/n, 2/n, ..., 1                          Geifman et al. 2019

Bins have equal mass (as many answers each; Nixon et al. 2019) or equal width (Guo et al. 2017). The calibration error
cannot be negative, so that noise alone makes it positive: a model that is calibrated perfectly has one as well, the
larger the fewer the answers. `calibration` says how large, for these probabilities and this n (consistency resampling,
Bröcker and Smith 2007), and its interval is the pivotal one, which takes that bias off.

Equal probabilities are never told apart: they share a bin, are answered together or not at all, and count in the risk
by their mean, so that the order of the answers does not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from heed.errors import ConfigError, DataError
from heed.report.statistics import LEVEL, Interval, pieces, resampled_interval, wilson

Equal = Literal["mass", "width"]
Numbers = Sequence[float] | np.ndarray
Flags = Sequence[bool] | np.ndarray

BINS = 10
"""Bins of equal width, and at most of equal mass, where it is not said how many."""
A_BIN = 20
"""Answers that a bin of equal mass holds, at least."""
BOTH = "too sure of some answers, not sure enough of others"
DRAWS = 2000
"""Simulated sets of answers of a model that is calibrated."""
LEAST = 10
"""Answers that must lie beyond a threshold: the accuracy of fewer is known too badly to choose by."""


@dataclass(frozen=True)
class Bin:
    """Answers with about the same probability."""

    count: int
    low: float
    """The lowest probability in it."""
    high: float
    probability: float
    """Mean probability: how sure the model was."""
    accuracy: float
    """Share of right answers: how sure it should have been."""
    interval: Interval
    """Wilson's 95 % interval of the accuracy."""


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error, and how much of it noise alone would make."""

    error: float
    interval: Interval
    """95 % pivotal bootstrap interval over the answers; `error` is too high, so it reaches further down than up.

    It begins at 0 where noise alone could make this error (`chance_most`). For 500 answers it held the true error of
    four simulated models 86 to 93 times in 100; the percentile interval 0 to 20 times where that error was small."""
    chance: float
    """Mean calibration error of a perfectly calibrated model with the same probabilities and as few answers."""
    chance_most: float
    """What such a model would exceed once in twenty."""
    surplus: float
    """Mean probability - accuracy: above 0 the model is too sure of itself on the whole."""

    @property
    def verdict(self) -> str:
        """What was found: "too sure", "not sure enough", `BOTH` or "no miscalibration found"."""
        if self.error <= self.chance_most:
            return "no miscalibration found"
        # where bins err on both sides their gaps cancel in the surplus, and neither word would be true
        if abs(self.surplus) < 0.5 * self.error:
            return BOTH
        return "too sure" if self.surplus > 0 else "not sure enough"


@dataclass(frozen=True)
class Brier:
    """The Brier score and its parts: score = reliability - resolution + uncertainty + within."""

    score: float
    """0 is perfect; always saying the share of right answers gets `uncertainty`."""
    interval: Interval
    """95 % bootstrap interval over the answers."""
    reliability: float
    """Squared distance of probability and accuracy, between bins; 0 is calibrated."""
    resolution: float
    """How far accuracies differ between bins; 0: the probability tells nothing about what is right."""
    uncertainty: float
    """Share right times share wrong: what the questions make it."""
    within: float
    """What lies inside the bins (Stephenson et al. 2008); 0 where the answers of each bin have one probability."""


@dataclass(frozen=True)
class RiskCoverage:
    """Risk when only the surest answers are given, for every share of answers that can be given."""

    coverage: tuple[float, ...]
    """1/n to 1."""
    risk: tuple[float, ...]
    """Share of wrong ones among the answers given."""
    oracle: tuple[float, ...]
    """The same, had the model been surest of exactly those that are right."""
    area: float
    """AURC: mean of `risk`; an order that knows nothing gets the error rate."""
    area_interval: Interval
    """95 % bootstrap interval over the answers."""
    oracle_area: float
    """The least area that this accuracy allows."""


@dataclass(frozen=True)
class Threshold:
    """Answers are given from a probability on; below it the model abstains."""

    probability: float
    answered: int
    """Answers with at least this probability."""
    right: int
    total: int

    @property
    def coverage(self) -> float:
        """Share of the questions that are answered."""
        return self.answered / self.total

    @property
    def accuracy(self) -> float | None:
        """Share of right ones among the answers given; None when none is."""
        return self.right / self.answered if self.answered else None

    @property
    def interval(self) -> Interval | None:
        """Wilson's 95 % interval of the accuracy: honest only on answers that the threshold was not chosen by."""
        return wilson(self.right, self.answered) if self.answered else None


def bins_of(answers: int) -> int:
    """Return how many bins some answers carry: at least 20 in each, at most ten bins.

    >>> bins_of(40), bins_of(199), bins_of(2000), bins_of(3)
    (2, 9, 10, 1)
    """
    return max(1, min(BINS, answers // A_BIN))


def reliability(probabilities: Numbers, correct: Flags, bins: int | None = None, *, equal: Equal = "mass") -> list[Bin]:
    """Return the bins that hold an answer, from unsure to sure.

    Raises `DataError` when there is no answer or a probability is none, `ConfigError` when `bins` is below 1.

    >>> [(one.count, one.probability, one.accuracy) for one in reliability([0.2, 0.4, 0.9, 0.7], [0, 0, 1, 1], 2)]
    [(2, 0.30000000000000004, 0.0), (2, 0.8, 1.0)]
    """
    p, y = _sorted(probabilities, correct)
    starts = _starts(p, bins, equal)
    found = []
    for start, stop in zip(starts, [*starts[1:], len(p)], strict=True):
        here, right = p[start:stop], int(y[start:stop].sum())
        share, interval = right / len(here), wilson(right, len(here))
        found.append(Bin(len(here), float(here[0]), float(here[-1]), float(here.mean()), share, interval))
    return found


def expected_calibration_error(
    probabilities: Numbers, correct: Flags, bins: int | None = None, *, equal: Equal = "mass"
) -> float:
    """Return the mean distance of probability and accuracy over bins, weighted by their answers: 0 to 1.

    Too high by its noise for few answers: `calibration` says by how much. Raises as `reliability` does.

    >>> round(expected_calibration_error([0.2, 0.4, 0.9, 0.7], [0, 0, 1, 1], 2), 3)  # (|0.6 - 0| + |1.6 - 2|) / 4
    0.25
    """
    p, y = _sorted(probabilities, correct)
    return float(_errors(p[None], y[None], bins, equal)[0])


def calibration(
    probabilities: Numbers, correct: Flags, bins: int | None = None, *, equal: Equal = "mass"
) -> Calibration:
    """Return the expected calibration error with its interval and with what noise alone would make of it."""
    p, y = _sorted(probabilities, correct)
    starts = _starts(p, bins, equal)
    random = np.random.default_rng(0)
    drawn = [
        np.abs(np.add.reduceat(p - (random.random((rows, len(p))) < p), starts, axis=1)).sum(axis=1) / len(p)
        for rows in pieces(DRAWS, len(p))
    ]
    chance = np.concatenate(drawn)
    error, most = float(_errors(p[None], y[None], bins, equal)[0]), float(np.quantile(chance, LEVEL))
    low, high = resampled_interval(lambda a, b: _errors(a, b, bins, equal), p, y, pivotal=True)  # sorted as p
    return Calibration(
        error=error,
        interval=(0.0 if error <= most else max(0.0, low), min(1.0, max(error, high))),
        chance=float(chance.mean()),
        chance_most=most,
        surplus=float((p - y).mean()),
    )


def brier(probabilities: Numbers, correct: Flags, bins: int | None = None, *, equal: Equal = "mass") -> Brier:
    """Return the Brier score with Murphy's parts over bins. Raises as `reliability` does.

    >>> parts = brier([0.25, 0.25, 0.25, 0.75], [0, 0, 1, 1], 2)
    >>> parts.score, parts.uncertainty, parts.within  # ((1 + 1 + 9 + 1) / 16) / 4
    (0.1875, 0.25, 0.0)
    """
    p, y = _sorted(probabilities, correct)
    starts = _starts(p, bins, equal)
    counts = np.diff(np.r_[starts, len(p)])
    said, right = (np.add.reduceat(values, starts) / counts for values in (p, y))
    inside_p, inside_y = p - np.repeat(said, counts), y - np.repeat(right, counts)
    base, squares = float(y.mean()), (p - y) ** 2
    return Brier(
        score=float(squares.mean()),
        interval=resampled_interval(lambda values: values.mean(axis=1), squares),
        reliability=float((counts * (said - right) ** 2).sum() / len(p)),
        resolution=float((counts * (right - base) ** 2).sum() / len(p)),
        uncertainty=base * (1 - base),
        within=float((inside_p * (inside_p - 2 * inside_y)).mean()),
    )


def risk_coverage(probabilities: Numbers, correct: Flags) -> RiskCoverage:
    """Return the risk at every coverage, with its area. Raises as `reliability` does.

    >>> curve = risk_coverage([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0])
    >>> curve.risk, curve.oracle
    ((0.0, 0.5, 0.3333333333333333, 0.5), (0.0, 0.0, 0.3333333333333333, 0.5))
    """
    p, y = _sorted(probabilities, correct)
    [risk], given = _risks(p[None], y[None]), np.arange(1, len(p) + 1)
    oracle = np.maximum(0, given - y.sum()) / given
    interval = resampled_interval(lambda a, b: _risks(a, b).mean(axis=1), p, y)
    return RiskCoverage(
        coverage=tuple((given / len(p)).tolist()),
        risk=tuple(risk.tolist()),
        oracle=tuple(oracle.tolist()),
        area=float(risk.mean()),
        area_interval=interval,
        oracle_area=float(oracle.mean()),
    )


def abstention_threshold(
    probabilities: Numbers, correct: Flags, *, accuracy: float, least: int = LEAST
) -> Threshold | None:
    """Return the lowest threshold from which at least the share `accuracy` of the answers is right, if there is one.

    At least `least` answers lie beyond it. The accuracy that it has here is flattering, because it was chosen here:
    measure it with `beyond` on other answers, or as `held_out_threshold` does. Raises `ConfigError` when `accuracy` is
    no share, else as `reliability` does.

    >>> abstention_threshold([0.9, 0.8, 0.7, 0.6], [True, True, False, False], accuracy=0.6, least=1)
    Threshold(probability=0.7, answered=3, right=2, total=4)
    """
    if not 0 < accuracy <= 1:
        raise ConfigError(f"accuracy is {accuracy}: ask for a share above 0, up to 1")
    p, y = _sorted(probabilities, correct)
    ends = np.flatnonzero(np.r_[True, np.diff(p) > 0])  # the first of equal probabilities: all of them are answered
    answered, right = len(p) - ends, np.cumsum(y[::-1])[::-1][ends]
    good = np.flatnonzero((answered >= max(1, least)) & (right >= accuracy * answered - 1e-9))  # 0.55 * 20 > 11
    return beyond(float(p[ends[good[0]]]), p, y) if len(good) else None


def beyond(threshold: float, probabilities: Numbers, correct: Flags) -> Threshold:
    """Return what a threshold comes to on these answers: how many are given, and how many of those are right."""
    p, y = _sorted(probabilities, correct)
    given = p >= threshold
    return Threshold(float(threshold), int(given.sum()), int(y[given].sum()), len(p))


def held_out_threshold(
    probabilities: Numbers, correct: Flags, half: Flags, *, accuracy: float
) -> tuple[Threshold, Threshold] | None:
    """Choose a threshold on each half of the answers and measure it on the other; None where a half has none.

    `half` says which half each answer is in (`halves`). The first threshold is measured on the answers of the second
    half and the second on those of the first, so that together they say what abstaining comes to on answers that did
    not choose: add their counts.
    """
    p, y, second = np.asarray(probabilities), np.asarray(correct), np.asarray(half, dtype=bool)
    if not 0 < int(second.sum()) < len(p):
        return None
    measured = []
    for chosen_on in (~second, second):
        chosen = abstention_threshold(p[chosen_on], y[chosen_on], accuracy=accuracy)
        if chosen is None:
            return None
        measured.append(beyond(chosen.probability, p[~chosen_on], y[~chosen_on]))
    return measured[0], measured[1]


def halves(prompts: Sequence[str]) -> list[bool]:
    """Return in which half each question lies: by the hash of its words, the same in every run and any order."""
    return [hashlib.sha256(prompt.encode("utf-8")).digest()[0] % 2 == 1 for prompt in prompts]


def _sorted(probabilities: Numbers, correct: Flags) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities from low to high, and 1.0 where the answer is right, both (n,) float64."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise DataError(f"{p.size} probabilities and {y.size} marks of right and wrong: give one of each an answer")
    if not len(p):
        raise DataError("there is no answer: calibration needs at least one")
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("a probability is not in 0..1: log-probabilities become probabilities by exp")
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError("an answer is neither right nor wrong: mark each with true or false")
    order = np.argsort(p, kind="stable")
    return p[order], y[order]


def _begins(p: np.ndarray, bins: int | None, equal: Equal) -> np.ndarray:
    """Return which of sorted probabilities (rows, n) is the first of a bin; bins without an answer are left out."""
    rows, n = p.shape
    if bins is None:
        bins = bins_of(n) if equal == "mass" else BINS
    if bins < 1:
        raise ConfigError(f"{bins} bins: calibration needs at least one")
    if equal == "width":  # a bin holds its upper edge: (0.2, 0.3]; a probability of 0 is in the first
        return _changes(np.searchsorted(np.arange(1, bins) / bins, p, side="left"))
    begins = np.zeros((rows, n + 1), dtype=bool)
    begins[:, 0] = True
    for cut in n * np.arange(1, bins) // bins:
        if cut > 0:  # equal probabilities stay together
            begins[np.arange(rows), (p <= p[:, cut - 1 : cut]).sum(axis=1)] = True
    return begins[:, :n]


def _changes(values: np.ndarray) -> np.ndarray:
    """Return which of some values (rows, n) is another than the one before it; the first always is."""
    first = np.ones((len(values), 1), dtype=bool)
    return np.concatenate([first, values[:, 1:] != values[:, :-1]], axis=1)


def _starts(p: np.ndarray, bins: int | None, equal: Equal) -> np.ndarray:
    """Return where each bin begins in sorted probabilities (n,)."""
    return np.flatnonzero(_begins(p[None], bins, equal))


def _errors(p: np.ndarray, y: np.ndarray, bins: int | None, equal: Equal) -> np.ndarray:
    """Return the calibration error of each row of answers (rows, n)."""
    begins = _begins(p, bins, equal)
    gaps = np.abs(np.add.reduceat((p - y).ravel(), np.flatnonzero(begins)))
    of_row = np.cumsum(begins.sum(axis=1)) - begins.sum(axis=1)
    return np.add.reduceat(gaps, of_row) / p.shape[1]


def _risks(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the share of wrong answers among the k surest of each row (rows, n), k = 1..n.

    Among equal ones it is the mean over their orders.
    """
    surest, wrong = p[:, ::-1], 1 - y[:, ::-1]
    starts = np.flatnonzero(_changes(surest))
    counts = np.diff(np.r_[starts, p.size])
    level = np.repeat(np.add.reduceat(wrong.ravel(), starts) / counts, counts).reshape(p.shape)
    return np.cumsum(level, axis=1) / np.arange(1, p.shape[1] + 1)
