"""Figures of heads against numbers that can be worked out on paper."""

import math

import numpy as np

from heed.explore.head_figures import figures_of, role_of


def causal(T):
    return np.tril(np.ones((1, T, T), bool))


def test_a_head_that_looks_everywhere_alike():
    allowed = causal(4)
    one = figures_of(allowed / allowed.sum(-1, keepdims=True), allowed)
    assert np.isclose(one.entropy[0], (0 + math.log(2) + math.log(3) + math.log(4)) / 4)
    assert np.isclose(one.share[0], 1.0)
    assert np.isclose(one.distance[0], (0 + 0.5 + 1 + 1.5) / 4)
    assert np.isclose(one.previous[0], (1 / 2 + 1 / 3 + 1 / 4) / 3)
    assert np.isclose(one.first[0], one.previous[0])


def test_a_head_that_looks_at_the_token_before():
    weights = np.zeros((1, 4, 4))
    weights[0, [0, 1, 2, 3], [0, 0, 1, 2]] = 1
    one = figures_of(weights, causal(4))
    assert (one.entropy[0], one.share[0], one.distance[0], one.previous[0]) == (0, 0, 0.75, 1)
    assert np.isclose(one.first[0], 1 / 3)
    assert role_of(one.previous[0], one.first[0], None, one.share[0]) == "previous token"


def test_rows_that_do_not_sum_to_one_are_divided_for_entropy_and_distance_alone():
    weights = np.full((1, 2, 2), 0.25)
    one = figures_of(weights, np.ones((1, 2, 2), bool))
    assert np.isclose(one.entropy[0], math.log(2))
    assert np.isclose(one.distance[0], 0.5)
    assert np.isclose(one.previous[0], 0.25)


def test_negative_weights_have_no_entropy():
    weights = np.array([[[1.0, 0.0], [1.5, -0.5]], [[1.0, 0.0], [0.5, 0.5]]])
    two = figures_of(weights, causal(2))
    assert np.isnan(two.entropy[0])
    assert np.isnan(two.distance[0])
    assert np.isclose(two.entropy[1], math.log(2) / 2)
    assert two.first.tolist() == [1.5, 0.5]


def test_one_token_has_no_figures_of_others():
    one = figures_of(np.ones((2, 1, 1)), np.ones((1, 1, 1), bool))
    assert one.entropy.tolist() == [0, 0]
    assert np.isnan(one.share).all()
    assert np.isnan(one.previous).all()
