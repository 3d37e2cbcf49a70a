"""How scores and sets of labels are marked: against scipy, and against counting by hand."""

import doctest

import numpy as np
import pytest
from scipy import stats

from heed.errors import DataError
from heed.report import accuracies, resampling
from heed.report.accuracies import marks_interval
from heed.report.gradings import grading_of, labels, regression
from heed.report.gradings.labels import constant_f1, label_figures, macro_marks, micro_marks
from heed.report.gradings.regression import score_figures
from heed.report.paired import compare_marks, correct_pairs
from heed.report.resampling import bootstrap, fisher, pearson, spearman
from heed.targets.labels import LabelsTarget
from heed.targets.regression import ScoreTarget


def test_examples():
    for module in (resampling, regression, labels, accuracies):
        assert doctest.testmod(module).failed == 0


@pytest.fixture
def draw():
    return np.random.default_rng(3)


def test_correlations_and_their_intervals_are_those_of_scipy(draw):
    for n in (5, 40, 400):
        x = draw.normal(size=n)
        y = np.round(x + draw.normal(size=n), 1)  # with ties
        values, intervals = score_figures(y, x, float(y.mean()), float(y.std()))
        known = stats.pearsonr(x, y)
        assert values["pearson"] == pytest.approx(known.statistic, abs=1e-12)
        assert intervals["pearson"] == pytest.approx(tuple(known.confidence_interval(0.95)), abs=1e-12)
        assert values["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
        wide = intervals["spearman"][1] - intervals["spearman"][0]
        r = values["spearman"]
        assert wide >= np.subtract(*fisher(r, n)[::-1])  # Bonett and Wright: wider than Fisher's


def test_weights_are_repetitions(draw):
    """A resample's correlation is that of its examples written out."""
    x, y = draw.normal(size=30), np.round(draw.normal(size=30), 1)
    weights = draw.multinomial(30, np.full(30, 1 / 30), size=5)
    for w, r, rho in zip(weights, pearson(x, y, weights), spearman(x, y, weights), strict=True):
        a, b = np.repeat(x, w), np.repeat(y, w)
        assert r == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)
        assert rho == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


def test_what_does_not_vary_has_no_correlation(draw):
    y = draw.normal(size=20)
    values, intervals = score_figures(y, np.full(20, 0.3), 0.0, 1.0)
    assert values["pearson"] is None
    assert values["spearman"] is None
    assert not {"pearson", "spearman"} & intervals.keys()
    assert bootstrap([lambda w: pearson(np.full(20, 0.3), y, w)], 20) is None
    assert score_figures(y, y, 0.0, 1.0)[1]["pearson"] == (1.0, 1.0)
    with pytest.raises(DataError, match="NaN or infinite"):
        score_figures(y, np.full(20, np.nan), 0.0, 1.0)


def test_the_errors(draw):
    y, said = draw.normal(3, 2, 50), draw.normal(3, 2, 50)
    values, intervals = score_figures(y, said, 2.5, 1.5)
    assert values["mse"] == pytest.approx(np.mean((y - said) ** 2))
    assert values["rmse"] ** 2 == pytest.approx(values["mse"])
    assert values["loss"] == pytest.approx(values["mse"] / 1.5**2)
    assert values["r2"] == pytest.approx(1 - values["mse"] / np.mean((y - 2.5) ** 2))
    assert all(low < values[name] < high for name, (low, high) in intervals.items())
    grading = grading_of(ScoreTarget(("y",), 2.5, 1.5))
    marked = grading.mark(y, said, said[:, None], None)
    assert marked.marks.mean() == pytest.approx(values["r2"])
    assert score_figures(y, np.full(50, 2.5), 2.5, 1.5)[0]["r2"] == 0


def test_the_interval_of_the_bootstrap_is_about_that_of_theory(draw):
    x = draw.normal(size=400)
    y = x + draw.normal(size=400)
    low, high = bootstrap([lambda w: pearson(x, y, w)], 400)
    assert (low, high) == pytest.approx(fisher(float(pearson(x, y)[0]), 400), abs=0.02)
    assert bootstrap([lambda w: pearson(x, y, w)], 400) == (low, high)  # the same draws
    groups = np.repeat(np.arange(8), 50)
    shared = np.repeat(draw.normal(0, 3, 8), 50)  # what a group has in common makes its examples say less
    wide = bootstrap([lambda w: (w * shared).sum(1) / w.sum(1)], 400, groups)
    narrow = bootstrap([lambda w: (w * shared).sum(1) / w.sum(1)], 400)
    assert wide[1] - wide[0] > 4 * (narrow[1] - narrow[0])


def test_how_often_the_intervals_hold_the_truth():
    """Of 95 %: R² against a truth known from many examples, and a difference of two models that are as good."""
    draw, held, found = np.random.default_rng(1), 0, 0
    truth = 1 - 1 / 5  # y = 2 x + noise of 1, said is 2 x: 1 - 1 / (4 + 1)
    for _ in range(400):
        x = draw.normal(size=60)
        y = 2 * x + draw.normal(size=60)
        low, high = score_figures(y, 2 * x, 0.0, 5**0.5)[1]["r2"]
        held += low <= truth <= high
        a, b = (2 * x + draw.normal(0, 0.7, 60) for _ in range(2))
        grading = grading_of(ScoreTarget(("y",), 0.0, 5**0.5))
        one, other = (grading.mark(y, said, said[:, None], None) for said in (a, b))
        found += grading.compare("a", "b", [one], [other], same_seeds=True, equal=False).p < 0.05
    assert 0.90 <= held / 400 <= 0.98
    assert 0.02 <= found / 400 <= 0.08


def test_marks_of_several_seeds_and_groups(draw):
    marks = draw.normal(size=(1, 40))
    known = stats.ttest_1samp(marks[0], 0).confidence_interval(0.95)
    assert marks_interval(marks) == pytest.approx((known.low, known.high))
    pair = compare_marks("a", "b", marks, marks + 0.1, (40, 0))
    assert (pair.points, pair.p, pair.differs) == (pytest.approx(10), 0.0, False)  # before the correction
    assert correct_pairs([pair])[0].differs
    other = draw.normal(size=(1, 40))
    pair = compare_marks("a", "b", marks, other, (20, 20), same_seeds=True)
    assert pair.p == pytest.approx(stats.ttest_rel(other[0], marks[0]).pvalue)
    assert pair.turned().points == -pair.points
    assert pair.turned().interval == (-pair.interval[1], -pair.interval[0])
    alone = compare_marks("a", "b", marks, other, (20, 20), np.zeros(40))
    assert alone.p == 1.0  # one group says nothing


def test_sets_by_counting(draw):
    y, p = draw.random((50, 4)) < 0.3, draw.random((50, 4))
    said = p >= 0.5
    values, intervals = label_figures(y, p)
    cells = [(bool(a), bool(b)) for rows in zip(y, said, strict=True) for a, b in zip(*rows, strict=True)]
    tp, fp, fn = (cells.count(kind) for kind in ((True, True), (False, True), (True, False)))
    assert values["micro_f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    each = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(y.T, said.T, strict=True)]
    assert values["macro_f1"] == pytest.approx(np.mean(each))
    assert [one["f1"] for one in values["each"]] == pytest.approx(each)
    assert values["exact_match"] == np.mean([tuple(a) == tuple(b) for a, b in zip(y, said, strict=True)])
    assert micro_marks(y, said).mean() == pytest.approx(values["micro_f1"])
    assert macro_marks(y, said).mean() == pytest.approx(values["macro_f1"])
    constants = [[(mask >> k) & 1 for k in range(4)] for mask in range(1, 16)]
    f1 = lambda c: 2 * (y & c).sum() / (y.sum() + np.sum(c) * 50)
    assert constant_f1(y) == pytest.approx(max(f1(np.array(c, bool)) for c in constants))
    assert all(low <= values[name] <= high for name, (low, high) in intervals.items())


def test_sets_at_their_ends():
    y = np.array([[True, False], [False, False]])
    perfect, _ = label_figures(y, y.astype(float))
    assert (perfect["micro_f1"], perfect["exact_match"], perfect["loss"]) == (1.0, 1.0, 0.0)
    assert perfect["each"][1]["f1"] is None  # it is never there, and never said
    silent, intervals = label_figures(y, np.zeros((2, 2)))
    assert silent["micro_f1"] == silent["macro_f1"] == 0.0
    assert np.isfinite(silent["loss"])
    assert intervals["micro_f1"] == (0.0, 0.0)
    with pytest.raises(DataError, match="a probability is none"):
        label_figures(y, np.full((2, 2), 1.5))


def test_lines_of_predictions_are_read_with_care():
    grading = grading_of(LabelsTarget(("a", "b")))
    line = {"label": ["a"], "predicted": [], "probabilities": [0.2, 0.1]}
    assert grading.read(line) == ([True, False], [False, False], [0.2, 0.1])
    assert grading.read({**line, "predicted": ["c"]}) is None
    assert grading.read({**line, "probabilities": [0.2]}) is None
    scores = grading_of(ScoreTarget(("y",)))
    assert scores.read({"label": 1.5, "predicted": 2}) == (1.5, 2.0, [2.0])
    assert scores.read({"label": 1.5, "predicted": float("nan")}) is None
