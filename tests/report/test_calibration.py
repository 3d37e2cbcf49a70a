"""Calibration, risk and thresholds: on paper, against scikit-learn's figures, brute force, and known worlds."""

import doctest
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.errors import ConfigError, DataError
from heed.report import calibration as module
from heed.report.calibration import (
    Threshold,
    abstention_threshold,
    beyond,
    brier,
    calibration,
    expected_calibration_error,
    halves,
    held_out_threshold,
    reliability,
    risk_coverage,
)
from heed.report.statistics import wilson

ANSWERS = st.lists(st.tuples(st.integers(0, 8).map(lambda k: k / 8), st.booleans()), min_size=1, max_size=12)
"""Eighths: sums of them are exact in float64, and there are many ties."""


def world(seed, n, truth):
    """Answers whose probability of being right is truth(p)."""
    random = np.random.default_rng(seed)
    p = random.beta(0.7, 1.3, n)
    return p, random.random(n) < truth(p)


def test_examples():
    assert doctest.testmod(module).failed == 0


def test_bins_on_paper():
    p, correct = [0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [False, False, True, True, True, False]
    low, high = reliability(p, correct, 2)
    assert (low.count, low.low, low.high, low.accuracy) == (3, 0.1, 0.3, 1 / 3)
    assert (high.count, high.low, high.high, high.accuracy) == (3, 0.7, 0.9, 2 / 3)
    assert (low.probability, high.probability) == (pytest.approx(0.2), pytest.approx(0.8))
    assert low.interval == wilson(1, 3)
    # |0.6 - 1| and |2.4 - 2|, over 6
    assert expected_calibration_error(p, correct, 2) == pytest.approx(0.8 / 6)
    # four bins of equal width hold 2, 1, 1 and 2: |0.3 - 0| + |0.3 - 1| + |0.7 - 1| + |1.7 - 1|
    assert [one.count for one in reliability(p, correct, 4, equal="width")] == [2, 1, 1, 2]
    assert expected_calibration_error(p, correct, 4, equal="width") == pytest.approx(2.0 / 6)


def test_an_edge_belongs_to_the_bin_below_it():
    edges = [k / 10 for k in range(11)]
    bins = reliability(edges, [True] * 11, equal="width")
    assert [one.count for one in bins] == [2] + [1] * 9  # 0 and 0.1 share the first


def test_bins_and_score_are_those_of_scikit_learn():
    random = np.random.default_rng(4)
    p = np.round(random.beta(0.8, 1.2, 60), 3)
    correct = random.random(60) < p**1.3
    # sklearn.calibration.calibration_curve(correct, p, n_bins=6, strategy=...) and brier_score_loss, version 1.9.1
    theirs = {
        "width": ([0.0, 0.166667, 0.5, 0.166667, 0.571429, 0.666667],
                  [0.078647, 0.2865, 0.423083, 0.58775, 0.740143, 0.906833]),
        "mass": ([0.0, 0.0, 0.4, 0.3, 0.3, 0.7], [0.044, 0.1654, 0.3721, 0.5035, 0.6416, 0.8542]),
    }  # fmt: skip
    for equal, (accuracy, probability) in theirs.items():
        bins = reliability(p, correct, 6, equal=equal)
        assert [one.accuracy for one in bins] == pytest.approx(accuracy, abs=5e-7)  # printed with six decimals
        assert [one.probability for one in bins] == pytest.approx(probability, abs=5e-7)
    assert brier(p, correct).score == pytest.approx(0.18219256666666667, rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(ANSWERS, st.randoms(use_true_random=False), st.integers(1, 12), st.sampled_from(["mass", "width"]))
def test_bins_hold_every_answer_and_the_order_does_not_matter(answers, random, bins, equal):
    p, correct = zip(*answers, strict=True)
    found = reliability(p, correct, bins, equal=equal)
    assert len(found) <= bins
    assert sum(one.count for one in found) == len(answers)
    assert sum(one.count * one.accuracy for one in found) == pytest.approx(sum(correct))
    assert all(left.high < right.low for left, right in itertools.pairwise(found))  # ties share a bin
    by_bins = sum(one.count * abs(one.probability - one.accuracy) for one in found) / len(answers)
    assert expected_calibration_error(p, correct, bins, equal=equal) == pytest.approx(by_bins, abs=1e-12)
    shuffled = random.sample(answers, len(answers))
    assert reliability(*zip(*shuffled, strict=True), bins, equal=equal) == found
    assert risk_coverage(*zip(*shuffled, strict=True)).risk == risk_coverage(p, correct).risk


@settings(max_examples=40, deadline=None)
@given(ANSWERS, st.integers(1, 12), st.sampled_from(["mass", "width"]))
def test_the_parts_of_the_brier_score_add_up(answers, bins, equal):
    p, correct = zip(*answers, strict=True)
    found = brier(p, correct, bins, equal=equal)
    mean_square = sum((chance - right) ** 2 for chance, right in answers) / len(answers)
    assert found.score == pytest.approx(mean_square, abs=1e-12)
    parts = found.reliability - found.resolution + found.uncertainty + found.within
    assert parts == pytest.approx(found.score, abs=1e-12)
    if equal == "width" and bins == 8 and 0 not in p:  # every bin holds one of the eighths; the first 0 besides
        assert found.within == pytest.approx(0, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=5))
def test_risk_is_the_mean_over_every_order_of_the_ties(answers):
    curve = risk_coverage(*zip(*answers, strict=True))
    orders = [order for order in itertools.permutations(answers) if list(order) == sorted(order, key=lambda a: -a[0])]
    for k in range(1, len(answers) + 1):
        mean = sum(sum(not right for _, right in order[:k]) / k for order in orders) / len(orders)
        assert curve.risk[k - 1] == pytest.approx(mean, abs=1e-12)
    oracle = [sum(not right for right in sorted((r for _, r in answers), reverse=True)[:k]) / k
              for k in range(1, len(answers) + 1)]  # fmt: skip
    assert curve.oracle == pytest.approx(oracle)
    assert curve.area == pytest.approx(sum(curve.risk) / len(curve.risk))
    assert curve.oracle_area <= curve.area + 1e-12


def test_area_of_the_oracle_is_close_to_its_formula():
    # Geifman et al. 2019: r + (1 - r) ln(1 - r) for n -> infinity; the sum of n terms is off by about r / 2n
    p, right = np.linspace(0, 1, 4000), np.arange(4000) >= 1000
    curve = risk_coverage(p, right)
    assert curve.oracle_area == curve.area == pytest.approx(0.25 + 0.75 * math.log(0.75), abs=1e-4)
    assert risk_coverage([0.5] * 10, [True] * 7 + [False] * 3).area == pytest.approx(0.3)  # knows nothing


@settings(max_examples=80, deadline=None)
@given(ANSWERS, st.sampled_from([0.25, 0.5, 0.75, 1.0]), st.integers(1, 4))
def test_the_threshold_is_the_lowest_that_does(answers, wanted, least):
    p, correct = zip(*answers, strict=True)
    found = abstention_threshold(p, correct, accuracy=wanted, least=least)
    good = []
    for threshold in sorted(set(p)):
        given_ = [right for chance, right in answers if chance >= threshold]
        if len(given_) >= least and sum(given_) >= wanted * len(given_):
            good.append(Threshold(threshold, len(given_), sum(given_), len(answers)))
    assert found == (good[0] if good else None)


def test_what_a_threshold_says():
    found = beyond(0.5, [0.5, 0.4, 0.9, 0.1], [True, True, False, True])
    assert found == Threshold(0.5, answered=2, right=1, total=4)
    assert (found.coverage, found.accuracy, found.interval) == (0.5, 0.5, wilson(1, 2))
    nothing = beyond(0.95, [0.5], [True])
    assert (nothing.coverage, nothing.accuracy, nothing.interval) == (0.0, None, None)


def test_a_threshold_flatters_where_it_was_chosen_and_not_on_the_other_half():
    # probabilities that say nothing, 70 % right: what looks like 75 % in one half is chance
    chosen, held_out, answered = [], [0, 0], 0
    for seed in range(150):
        random = np.random.default_rng(seed)
        p, correct = random.random(120), random.random(120) < 0.7
        half = np.arange(120) % 2 == 1
        parts = held_out_threshold(p, correct, half, accuracy=0.75)
        if parts is None:
            continue
        chosen.append(abstention_threshold(p[half], correct[half], accuracy=0.75).accuracy)
        held_out = [held_out[0] + sum(part.right for part in parts), held_out[1] + sum(part.total for part in parts)]
        answered += sum(part.answered for part in parts)
    assert min(chosen) >= 0.75
    # thousands of answers: the binomial sd is below 0.01
    assert held_out[0] / answered == pytest.approx(0.7, abs=0.03)


def test_halves_are_of_the_words_and_not_of_the_order():
    prompts = [f"Where was person {i} born?" for i in range(400)]
    first = halves(prompts)
    assert halves(prompts[::-1]) == first[::-1]
    assert 160 < sum(first) < 240  # binomial sd 10: four of them
    assert held_out_threshold([0.5] * 3, [True] * 3, [True] * 3, accuracy=0.5) is None


@pytest.mark.parametrize("equal", ["mass", "width"])
def test_a_calibrated_model_has_the_error_that_chance_gives(equal):
    errors, found = [], None
    for seed in range(40):
        p, correct = world(seed, 300, lambda p: p)
        errors.append(expected_calibration_error(p, correct, equal=equal))
        found = calibration(p, correct, equal=equal) if found is None else found
    assert 0.03 < found.chance < 0.08
    # the errors have an sd of some 0.013: five of 0.013 / sqrt(40)
    assert np.mean(errors) == pytest.approx(found.chance, abs=0.011)
    assert found.verdict == "no miscalibration found"
    assert found.interval[0] == 0.0


def test_the_interval_begins_at_0_where_nothing_was_found():
    # of these answers the bootstrap alone would say 0.035 and more
    found = calibration(*world(21, 300, lambda p: p))
    assert found.verdict == "no miscalibration found"
    assert found.interval[0] == 0.0


def test_verdicts_of_models_that_are_known_to_be_so():
    sure = calibration(*world(1, 500, lambda p: 0.5 * p))
    shy = calibration(*world(1, 500, lambda p: p**0.5))
    even = np.linspace(0, 1, 500)
    both = calibration(even, np.random.default_rng(1).random(500) < 1 - even)
    assert (sure.verdict, shy.verdict) == ("too sure", "not sure enough")
    assert both.verdict == module.BOTH
    # mean of p / 2 of Beta(0.7, 1.3): 0.35 / 2
    assert sure.interval[0] < 0.175 < sure.interval[1]
    assert sure.surplus == pytest.approx(0.175, abs=0.06)


@pytest.mark.slow
def test_the_interval_of_the_error_holds_the_truth_as_often_as_it_says():
    big = np.sort(np.random.default_rng(0).beta(0.7, 1.3, 200_000))
    for truth in (lambda p: p, lambda p: 0.9 * p, lambda p: 0.5 * p):
        true_error = float(np.mean([abs((part - truth(part)).mean()) for part in np.array_split(big, 10)]))
        held = 0
        for seed in range(40):
            low, high = calibration(*world(seed, 500, truth)).interval
            held += low <= true_error <= high
        assert held >= 29  # 86 % of 40 is 34, binomial sd 2.2: two and a half of them


@pytest.mark.parametrize(
    ("p", "correct", "words"),
    [
        ([], [], "no answer"),
        ([0.5, 0.6], [True], "2 probabilities and 1 marks"),
        ([-0.7], [True], "exp"),
        ([float("nan")], [True], "0..1"),
        ([0.5], [0.5], "neither right nor wrong"),
    ],
)
def test_what_is_no_answer_is_refused(p, correct, words):
    with pytest.raises(DataError, match=words):
        expected_calibration_error(p, correct)


def test_settings_out_of_range():
    with pytest.raises(ConfigError, match="at least one"):
        reliability([0.5], [True], 0)
    with pytest.raises(ConfigError, match="share"):
        abstention_threshold([0.5], [True], accuracy=80)


def test_a_share_that_is_reached_exactly_is_reached():
    found = abstention_threshold([0.5] * 20, [True] * 11 + [False] * 9, accuracy=0.55)  # 0.55 * 20 > 11
    assert found is not None
    assert (found.right, found.answered) == (11, 20)


@pytest.mark.parametrize(("answers", "bins"), [(1, 1), (19, 1), (40, 2), (199, 9), (200, 10), (5000, 10)])
def test_as_many_bins_as_the_answers_carry(answers, bins):
    p = np.random.default_rng(0).random(answers)
    found = reliability(p, p > 0.5)
    assert len(found) == bins
    assert min(one.count for one in found) >= min(20, answers)
    assert expected_calibration_error(p, p > 0.5) == expected_calibration_error(p, p > 0.5, bins)
