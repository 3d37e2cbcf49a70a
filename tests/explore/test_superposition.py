"""Signals taken out of an average, heads under keys of random length, and matrices that send inputs to outputs."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from heed.errors import ConfigError
from heed.explore.arrays import softmax
from heed.explore.kqv import average_by_heads, outcome, outer_products, route, two_queries
from heed.explore.queries import average
from heed.explore.random_keys import figure_of_lengths, random_keys, weight_of_key
from heed.explore.superposition import extract, signals_that_fit


def orthonormal(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


class TestExtraction:
    def test_orthogonal_spans_give_twice_the_projection(self):
        basis = orthonormal(8)
        A, B = basis[:, :3], basis[:, 3:7]
        found = extract(A, B)
        assert found.kind == "orthogonal"
        assert np.abs(found.matrix - 2 * A @ A.T).max() < 1e-12
        va, vb = A @ [1.0, -2.0, 3.0], B @ [5.0, 0.5, -1.0, 2.0]
        assert np.abs(found.matrix @ (va + vb) / 2 - va).max() < 1e-12
        assert found.gain == pytest.approx(2)

    def test_independent_spans_need_the_pseudo_inverse(self):
        draw = np.random.default_rng(0)
        A, B = draw.normal(size=(6, 2)), draw.normal(size=(6, 3))
        found = extract(A, B)
        assert found.kind == "independent"
        va, vb = A @ [1.0, 2.0], B @ [3.0, -1.0, 0.5]
        assert np.abs(found.matrix @ (va + vb) / 2 - va).max() < 1e-12
        Q = np.linalg.qr(A)[0]
        assert np.abs(2 * Q @ Q.T @ (va + vb) / 2 - va).max() > 0.1  # the projection is not enough
        assert found.gain > 2

    def test_spans_that_meet_cannot_be_told_apart(self):
        A, B = np.eye(3)[:, :2], np.array([[1.0, 0], [1.0, 0], [0, 1.0]])
        found = extract(A, B)
        assert not found.possible
        for basis in (A, B):
            assert np.linalg.matrix_rank(np.hstack([basis, found.common[:, None]])) == 2
        assert np.linalg.norm(found.common) == pytest.approx(1)

    def test_how_many_fit(self):
        found = signals_that_fit(64, 2, bound=0.5, draws=4000, most=32)
        assert (found.exact, found.projected) == (32, 9)
        assert found.expected[found.projected - 1] <= 0.5 < found.expected[found.projected]
        assert found.sampled[1:] == pytest.approx(found.expected[1:], rel=0.06)  # 4,000 draws: sd 1.2 %, correlated

    @pytest.mark.parametrize(
        ("call", "why"),
        [
            (lambda: extract([[1, 0]], [[1], [0]]), "b: columns have 2 numbers, those of a have 1"),
            (lambda: extract([[1, 2], [2, 4]], [[1], [0]]), "a: its columns depend on each other"),
            (lambda: signals_that_fit(4, 5), "dimensions: a signal of 5 dimensions does not fit into 4"),
            (lambda: signals_that_fit(4, bound=0), "bound: 0 must be a finite number above 0"),
        ],
    )
    def test_bad_input(self, call, why):
        with pytest.raises(ConfigError, match=why):
            call()


class TestRandomKeys:
    def test_one_head_swings_between_0_and_1_and_two_hold(self):
        one, two = random_keys(1), random_keys(2)
        assert one.closed[0] == pytest.approx(4.4e-36, rel=0.01)
        assert 1e-37 < one.sampled[0] < 1e-34  # its logarithm varies by half a unit
        assert one.sampled[2] > 1 - 1e-9
        assert two.errors[1] < 0.002

    def test_two_heads_lose_a_key_that_points_backwards(self):
        two = random_keys(2)
        assert two.backwards == pytest.approx(norm.cdf(-math.sqrt(2)))
        assert two.backwards == pytest.approx(0.0786, abs=1e-4)
        assert two.failing_closed == pytest.approx(0.0888, abs=1e-3)
        assert two.failing == pytest.approx(two.failing_closed, abs=0.006)  # 20,000 draws: three deviations
        assert random_keys(2, spread=0.05).failing < 1e-3  # lengths that stay positive

    def test_closed_form_is_that_of_draws(self):
        for heads in (1, 2):
            found = random_keys(heads, n=3, beta=3.0, alpha=0.0, draws=100_000)
            assert found.sampled == pytest.approx(found.closed, abs=0.01)
            assert found.failing == pytest.approx(found.failing_closed, abs=0.005)

    def test_the_weight_by_hand(self):
        """e^2 / (e^2 + e^1 + 1) for a key of length 2 beside one of length 1 and a third."""
        assert weight_of_key(np.array([2.0]), 1, 3, 1.0)[0] == pytest.approx(math.e**2 / (math.e**2 + math.e + 1))
        expected = (math.e**2 / (math.e**2 + 2) + 1 / (math.e + 2)) / 2
        assert weight_of_key(np.array([2.0]), 4, 3, 1.0)[0] == pytest.approx(expected)

    def test_the_figure_has_both_lines(self):
        one, two = figure_of_lengths().lines
        assert max(one.y) > 0.99
        assert max(two.y) < 0.51

    def test_an_odd_number_of_heads_cannot_be_shared(self):
        with pytest.raises(ConfigError, match="heads: 3 cannot be shared evenly"):
            random_keys(3)


class TestMatrices:
    def test_outer_products_of_the_assignment(self):
        """x1 = u_d + u_b, x2 = u_a, x3 = u_c + u_b, |u| = beta: c2 is u_b and c1 is u_b - u_c."""
        for beta in (4.0, 10.0):
            ua, ub, uc, ud = beta * orthonormal(6)[:4]
            X = [ud + ub, ua, uc + ub]
            Q = (np.outer(ud, ua) + np.outer(uc, ud)) / beta**2
            V = (np.outer(ub, ub) - np.outer(uc, uc)) / beta**2
            assert np.abs(outer_products([(ud, ua), (uc, ud)]) - Q).max() < 1e-12
            assert np.abs(outer_products([(ub, ub), (-uc, uc)]) - V).max() < 1e-12
            found = outcome(X, np.eye(6), Q, V, {0: ub - uc, 1: ub})
            assert found.ranks == (6, 2, 2)
            assert found.error < 3 * beta * math.exp(-(beta**2)) + 1e-13
        assert found.error < 1e-12

    def test_any_inputs_go_where_they_should(self):
        draw = np.random.default_rng(1)
        X, Y = draw.normal(size=(4, 6)), draw.normal(size=(4, 3))
        found = route(X, [1, 1, 3, 0], Y)
        assert np.abs(found.outputs - Y[[1, 1, 3, 0]]).max() < 0.01
        by_hand = softmax((X @ found.Q.T) @ X.T) @ (X @ found.V.T)
        assert np.abs(by_hand - found.outputs).max() < 1e-9

    def test_inputs_that_depend_on_each_other_are_told(self):
        X = np.array([[1.0, 0], [0, 1.0], [-1.0, -1.0]])
        found = route(X, [0, 1, 2], [[1.0], [0.0], [5.0]])  # V x3 must be -V x1 - V x2
        assert found.error > 0.5
        assert "depend on each other" in found.explanation

    def test_a_source_that_nothing_selects(self):
        with pytest.raises(ConfigError, match="input 2 is a convex combination of others"):
            route([[1.0, 0], [-1.0, 0], [0, 0]], [0, 1, 2], [[1], [2], [3]])

    def test_two_heads_average_what_no_query_does(self):
        square = [[0, 0], [1, 0], [0, 1], [1, 1]]
        assert not average(square, [0, 3]).possible
        found = average_by_heads(square, [0, 3])
        assert found.possible
        assert np.abs(found.weights - [0.5, 0, 0, 0.5]).max() <= 0.05
        inner = average_by_heads([*square, [0.5, 0.5]], [0, 4])
        assert not inner.possible
        assert inner.missing == (4,)

    def test_two_queries_are_one_for_each_key(self):
        assert two_queries([1, 0, 0], [0, 1, 0], 5).tolist() == [[5, 0, 0], [0, 5, 0]]

    @pytest.mark.parametrize(
        ("call", "why"),
        [
            (lambda: outer_products([]), "pairs: there is none"),
            (lambda: outer_products([([1], [0, 0])]), "it is all zeros"),
            (lambda: outer_products([([1], [1, 0]), ([1], [1])]), "unlike those before"),
            (lambda: outcome([[1, 0]], [[1, 0]], np.eye(2), np.eye(2), {0: [1, 1]}), "Q: it has 2 rows and K has 1"),
            (lambda: outcome([[1, 0]], np.eye(2), np.eye(2), np.eye(2), {1: [1, 1]}), "wanted: 1 is none of the 1"),
            (lambda: route([[1, 0]], [0, 0], [[1]]), "sources: there are 2"),
        ],
    )
    def test_bad_input(self, call, why):
        with pytest.raises(ConfigError, match=why):
            call()
