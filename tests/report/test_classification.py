"""The figures of a classified split: by hand, and by the formulas of scikit-learn written out here once more."""

import doctest
import json
import math

import numpy as np
import pytest

from heed.errors import DataError
from heed.report import classification
from heed.report.calibration import expected_calibration_error
from heed.report.classification import class_f1, confusion_matrix, figures, macro_f1, matthews
from heed.report.statistics import wilson

KEYS = {
    "examples", "correct", "accuracy", "accuracy_interval", "majority", "loss", "refined_loss", "f1",
    "f1_positive", "mcc", "calibration_error", "calibration_bins", "confusion",
}  # fmt: skip


def test_examples():
    assert doctest.testmod(classification).failed == 0


def test_five_examples_by_hand():
    labels = np.array([0, 0, 1, 1, 1])
    p = np.array([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.3, 0.7], [0.75, 0.25]])
    found = figures(labels, p)
    assert set(found) == KEYS
    assert (found["examples"], found["correct"], found["accuracy"], found["majority"]) == (5, 3, 0.6, 0.6)
    assert found["accuracy_interval"] == list(wilson(3, 5))
    assert found["confusion"] == [[1, 1], [1, 2]]
    assert found["loss"] == pytest.approx(-math.log(0.8 * 0.4 * 0.9 * 0.7 * 0.25) / 5)
    assert found["refined_loss"] < found["loss"]
    # class 0: 2 * 1 / (2 + 1 + 1); class 1: 2 * 2 / (4 + 1 + 1)
    assert found["f1_positive"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    # (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN)) = (2 - 1) / sqrt(3 * 3 * 2 * 2)
    assert found["mcc"] == pytest.approx(1 / 6)
    sure, right = [0.8, 0.6, 0.9, 0.7, 0.75], [1, 0, 1, 1, 0]
    assert found["calibration_error"] == expected_calibration_error(sure, right)


def test_the_refined_loss_is_blind_to_how_sure_a_model_is():
    random = np.random.default_rng(1)
    logits, labels = random.normal(size=(300, 3)), random.integers(0, 3, 300)
    logits[np.arange(300), labels] += 1

    def of(b):
        p = np.exp(b * logits)
        return figures(labels, p / p.sum(axis=1, keepdims=True))

    losses = {b: of(b)["loss"] for b in np.exp(np.linspace(-2, 2, 401))}
    for b in (0.2, 1.0, 6.0):
        assert of(b)["refined_loss"] == pytest.approx(min(losses.values()), abs=1e-5)  # the grid is that coarse
    certain = figures(np.array([0, 1]), np.eye(2))
    assert certain["refined_loss"] == pytest.approx(0, abs=1e-9)
    blind = figures(np.array([0, 1]), np.eye(2)[::-1])  # always wrong: no positive temperature helps
    assert blind["refined_loss"] > math.log(2)


def test_plain_data():
    found = figures(np.array([0, 1, 2, 2]), np.full((4, 3), 1 / 3))
    assert json.loads(json.dumps(found)) == found
    assert found["f1_positive"] is None  # three classes have no positive one
    assert found["mcc"] == 0.0  # always the first class: no correlation


def correlation(labels, predicted, classes):
    """Gorodkin's R_K as he defines it: the covariance of one-hot columns, summed, over the root of both variances."""
    x, y = np.eye(classes)[labels], np.eye(classes)[predicted]
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_measures_by_their_definitions(classes):
    random = np.random.default_rng(classes)
    labels, predicted = random.integers(0, classes, 200), random.integers(0, classes, 200)
    predicted = np.where(random.random(200) < 0.5, labels, predicted)
    confusion = confusion_matrix(labels, predicted, classes)
    assert confusion.sum() == 200
    for k in range(classes):
        hits = ((labels == k) & (predicted == k)).sum()
        precision, recall = hits / (predicted == k).sum(), hits / (labels == k).sum()
        assert class_f1(confusion)[k] == pytest.approx(2 * precision * recall / (precision + recall))
    assert macro_f1(confusion) == pytest.approx(np.mean(class_f1(confusion)))
    # float64: the two sums differ in their last digits
    assert matthews(confusion) == pytest.approx(correlation(labels, predicted, classes), rel=1e-12)


def test_large_counts_do_not_overflow():
    # n^4 leaves int64 beyond some 55,000 examples
    half = 10**6
    assert matthews(np.array([[half, 0], [0, half]])) == 1.0
    assert matthews(np.array([[3 * half, half], [half, 3 * half]])) == pytest.approx(0.5)


def test_a_class_that_never_occurs_is_in_no_mean():
    confusion = confusion_matrix(np.array([0, 0, 2]), np.array([0, 0, 2]), 4)
    assert class_f1(confusion) == [1.0, 0.0, 1.0, 0.0]
    assert macro_f1(confusion) == 1.0


def test_a_sure_mistake_leaves_the_loss_a_number():
    found = figures(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert found["loss"] == pytest.approx(708.4 / 2, abs=0.1)  # -ln 2.2e-308


def test_a_tie_goes_to_the_first_class():
    assert figures(np.array([1, 0]), np.array([[0.5, 0.5], [0.5, 0.5]]))["confusion"] == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("labels", "probabilities", "match"),
    [
        (np.zeros(0, np.int64), np.zeros((0, 2)), "no example"),
        (np.array([0, 1]), np.array([[1.0, 0.0]]), "classes"),
        (np.array([2]), np.array([[0.5, 0.5]]), "from 0 to 1"),
        (np.array([-1]), np.array([[0.5, 0.5]]), "from 0 to 1"),
        (np.array([0.5]), np.array([[0.5, 0.5]]), "whole numbers"),
        (np.array([0]), np.array([[2.0, -1.0]]), "negative"),
        (np.array([0]), np.array([[2.3, 0.1]]), "sum not 1"),
        (np.array([0]), np.array([[np.nan, 1.0]]), "not finite"),
    ],
)
def test_what_is_no_classification_is_one_line(labels, probabilities, match):
    with pytest.raises(DataError, match=match):
        figures(labels, probabilities)
