"""How well examples were classified: every figure of one split, from its labels and the probabilities of its classes.

    accuracy      c / n, with Wilson's interval at 95 %                                      Wilson 1927
    majority      share of the commonest class: the accuracy of whoever always says the same
    loss          mean of -ln p(label), nats
    refined loss  min over b > 0 of the mean of -ln softmax(b ln p)(label), nats             Berta et al. 2025
    F1            2 TP / (2 TP + FP + FN) of a class; macro: its mean over classes           van Rijsbergen 1979
    MCC           (c n - sum p_k t_k) / sqrt((n^2 - sum p_k^2) (n^2 - sum t_k^2))            Matthews 1975, for
                                                                                             any C: Gorodkin 2004
    calibration   expected calibration error of the probability of the predicted class,      Naeini et al. 2015
                  in `calibration_bins` bins of equal mass

t_k counts the examples of class k, p_k those that are taken for it, c those that are right. Accuracy and F1 can be high
for a model that knows nothing, where one class is rare; Matthews' correlation is 0 for it. The refined loss is what
remains when being too sure, or not sure enough, is taken out: it orders models nearly as accuracy does, with less
noise, where the loss itself rises while a model still learns (https://arxiv.org/abs/2501.19195).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heed.errors import DataError
from heed.report.calibration import bins_of, expected_calibration_error
from heed.report.statistics import wilson
from heed.report.temperature import best_temperature


def figures(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Return every figure of a split as plain values: labels (n,) int64 in 0..C-1, probabilities (n, C).

    The predicted class is the likeliest, the first of equal ones. A probability of 0 counts as the smallest that
    float64 holds in full (708 nats), so that one sure mistake leaves the loss a number. Raises `DataError` when there
    is no example, shapes differ, a label is no class, or a row is no distribution.

    >>> found = figures(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    >>> found["correct"], found["majority"], found["confusion"], round(found["f1_positive"], 3), found["mcc"]
    (2, 0.6666666666666666, [[1, 0], [1, 1]], 0.667, 0.5)
    """
    y, p = _checked(labels, probabilities)
    n, classes = p.shape
    predicted = p.argmax(axis=1)
    confusion = confusion_matrix(y, predicted, classes)
    correct = int(np.trace(confusion))
    surest = np.minimum(p.max(axis=1), 1.0)
    return {
        "examples": n,
        "correct": correct,
        "accuracy": correct / n,
        "accuracy_interval": list(wilson(correct, n)),
        "majority": int(confusion.sum(axis=1).max()) / n,
        "loss": float(-np.log(np.maximum(p[np.arange(n), y], np.finfo(np.float64).tiny)).mean()),
        "refined_loss": refined_loss(y, p),
        "f1": macro_f1(confusion),
        "f1_positive": class_f1(confusion)[1] if classes == 2 else None,
        "mcc": matthews(confusion),
        "calibration_error": expected_calibration_error(surest, predicted == y),
        "calibration_bins": bins_of(n),
        "confusion": confusion.tolist(),
    }


def refined_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean of -ln p(label), nats, at the temperature at which it is lowest.

    >>> sure = np.array([[0.99, 0.01], [0.99, 0.01], [0.99, 0.01], [0.01, 0.99]])  # and right in three of four
    >>> round(refined_loss(np.array([0, 0, 1, 1]), sure), 4)  # -0.75 ln 0.75 - 0.25 ln 0.25
    0.5623
    """
    return best_temperature(labels, probabilities)[1]


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the counts (C, C) int64 by label (rows) and by prediction (columns), both (n,) int64.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    counts = np.bincount(np.asarray(labels) * classes + np.asarray(predicted), minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def class_f1(confusion: np.ndarray) -> list[float]:
    """Return the F1 of each class; 0 where it is neither a label nor a prediction.

    >>> class_f1(np.array([[1, 0], [1, 1]]))  # 2 / (2 + 1 + 0), 2 / (2 + 0 + 1)
    [0.6666666666666666, 0.6666666666666666]
    """
    hits, both = np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1)
    return [float(2 * hit / total) if total else 0.0 for hit, total in zip(hits, both, strict=True)]


def macro_f1(confusion: np.ndarray) -> float:
    """Return the mean F1 over those classes that occur among labels or predictions, as scikit-learn does.

    >>> macro_f1(np.array([[2, 0, 0], [0, 0, 2], [0, 0, 0]]))  # 1, 0 and 0
    0.3333333333333333
    """
    occurs = confusion.sum(axis=0) + confusion.sum(axis=1) > 0
    return float(np.mean([f1 for f1, there in zip(class_f1(confusion), occurs, strict=True) if there]))


def matthews(confusion: np.ndarray) -> float:
    """Return Matthews' correlation of any number of classes: -1 to 1; 0 where one side is all of one class.

    >>> matthews(np.array([[5, 0], [0, 5]])), matthews(np.array([[5, 0], [5, 0]]))
    (1.0, 0.0)
    """
    # whole numbers of Python: n^4 leaves int64 at some 55,000 examples
    truth, said = ([int(count) for count in confusion.sum(axis=axis)] for axis in (1, 0))
    n, correct = sum(truth), int(np.trace(confusion))
    covariance = correct * n - sum(t * p for t, p in zip(truth, said, strict=True))
    spread = (n * n - sum(p * p for p in said)) * (n * n - sum(t * t for t in truth))
    return covariance / math.sqrt(spread) if spread else 0.0


def _checked(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (n,) int64 and probabilities (n, C) float64, or say what is wrong with them."""
    y, p = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or y.shape != p.shape[:1]:
        raise DataError(f"labels {y.shape} and probabilities {p.shape}: give (n,) and (n, classes)")
    if not len(y):
        raise DataError("there is no example to measure: give at least one")
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= p.shape[1]:
        raise DataError(f"a label is no class: give whole numbers from 0 to {p.shape[1] - 1}")
    # float32 softmax sums to 1 within some 1e-6
    if not np.isfinite(p).all() or p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise DataError("a row of probabilities is none (negative, not finite, or sum not 1): give softmaxed logits")
    return y.astype(np.int64), p
