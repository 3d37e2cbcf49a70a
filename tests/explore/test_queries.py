"""Queries that select, average and hit weights; certificates where there is none; keys that are edited."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from heed.errors import ConfigError
from heed.explore.arrays import attend, softmax
from heed.explore.certificates import Certificate, verify_certificate
from heed.explore.precision import in_precision
from heed.explore.queries import average, copied_weight, copying_gap, edit_key, hit, scale_that_reaches, select

K = np.array([[0.47, 0.65, 0.60], [0.64, 0.50, -0.59], [-0.03, -0.48, -0.88], [0.43, -0.83, 0.35]])
V = np.array([[-0.07, -0.88, 0.47], [0.37, -0.93, -0.07], [-0.25, -0.75, 0.61], [0.94, 0.20, 0.28]])
PAIR = (K[0] + K[1]) / 2
"""CSE 517: keys and values of the puzzles, and the direction that averages the first two."""


def solved(matrix, right):
    """The only solution of a linear system of fractions, by elimination; None where there is none or more than one."""
    rows = [[*map(Fraction, row), Fraction(value)] for row, value in zip(matrix, right, strict=True)]
    unknowns = len(rows[0]) - 1
    for column in range(unknowns):
        pivot = next((r for r in range(column, len(rows)) if rows[r][column]), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [x / rows[column][column] for x in rows[column]]
        for r in range(len(rows)):
            if r != column and rows[r][column]:
                rows[r] = [a - rows[r][column] * b for a, b in zip(rows[r], rows[column], strict=True)]
    return None if any(row[-1] for row in rows[unknowns:]) else [row[-1] for row in rows[:unknowns]]


def complement(rows, width):
    """Vectors that span what is orthogonal to the rows: by elimination of fractions."""
    rows, pivots = [list(map(Fraction, row)) for row in rows], []
    for column in range(width):
        pivot = next((r for r in range(len(pivots), len(rows)) if rows[r][column]), None)
        if pivot is None:
            continue
        at = len(pivots)
        rows[at], rows[pivot] = rows[pivot], rows[at]
        rows[at] = [x / rows[at][column] for x in rows[at]]
        for r in range(len(rows)):
            if r != at and rows[r][column]:
                rows[r] = [a - rows[r][column] * b for a, b in zip(rows[r], rows[at], strict=True)]
        pivots.append(column)
    basis = []
    for free in (c for c in range(width) if c not in pivots):
        vector = [Fraction(0)] * width
        vector[free] = Fraction(1)
        for r, column in enumerate(pivots):
            vector[column] = -rows[r][free]
        basis.append(vector)
    return basis


def exists(keys, subset):
    """Whether a query averages the subset, by trying every simplex of other keys in fractions (Caratheodory).

    There is none exactly where 0 lies in the hull of what is left of the outsiders after the directions in which the
    subset extends are taken out of the space.
    """
    first = keys[subset[0]]
    basis = complement([keys[a] - first for a in subset[1:]], keys.shape[1])
    points = [
        [sum(b * int(x) for b, x in zip(vector, keys[o] - first, strict=True)) for vector in basis]
        for o in range(len(keys))
        if o not in subset
    ]
    for size in range(1, len(basis) + 2):
        for simplex in itertools.combinations(points, size):
            system = [[p[i] for p in simplex] for i in range(len(basis))] + [[1] * size]
            found = solved(system, [0] * len(basis) + [1])
            if found is not None and min(found) >= 0:
                return False
    return True


@pytest.mark.parametrize(("first", "count"), [(0, 150), pytest.param(150, 1000, marks=pytest.mark.slow)])
def test_linear_programs_agree_with_every_simplex_tried(first, count):
    """Small whole numbers, so that keys often coincide, lie on a line, or within the hull of others."""
    answers = {True: 0, False: 0}
    for seed in range(first, first + count):
        draw = np.random.default_rng(seed)
        d, n = int(draw.integers(1, 4)), int(draw.integers(3, 7))
        keys = draw.integers(-2, 3, (n, d))
        subset = sorted(draw.choice(n, int(draw.choice([1, 1, 2, 2, 3])), replace=False).tolist())
        if len(subset) == n:
            subset = subset[:-1]
        answer = average(keys, subset, 0.01)
        assert answer.possible == exists(keys, subset), (seed, keys, subset)
        answers[answer.possible] += 1
        if answer.possible:
            assert answer.query is not None
            weights = softmax(keys @ answer.query)
            assert np.abs(weights[subset] - 1 / len(subset)).max() <= 0.01 + 1e-9
            assert np.abs(np.delete(weights, subset)).max() <= 0.01 + 1e-9
        else:
            assert answer.certificate is not None
            verdict = verify_certificate(keys, subset, answer.certificate)
            assert verdict.holds, (seed, verdict)
            assert verdict.residual < 1e-9
    assert min(answers.values()) > count / 5  # both kinds are tried


def test_a_certificate_that_is_wrong_is_found_out():
    keys = [[0, 0], [1, 0], [0, 1], [0.25, 0.25]]
    right = select(keys, 3).certificate
    assert right is not None
    assert verify_certificate(keys, [3], right).holds
    for outside, inside, why in [
        ([0.6, 0.25, 0.15, 0], right.inside, "differ by"),
        ([0.5, 0.25, 0.25, 0], [0, 0, 0, 2.0], "sum to 1"),
        ([1.5, -0.25, -0.25, 0], right.inside, "negative"),
        ([0, 0, 0, 1.0], right.inside, "wrong side"),
    ]:
        verdict = verify_certificate(keys, [3], Certificate(np.array(outside), np.array(inside)))
        assert not verdict.holds
        assert why in verdict.reason


def test_no_query_of_many_beats_a_certificate():
    """Whatever the query, the key within the hull never has the largest score."""
    keys = np.array([[0, 0], [1, 0], [0, 1], [0.3, 0.3]])
    assert not select(keys, 3).possible
    queries = np.random.default_rng(0).normal(size=(20_000, 2)) * 100
    assert softmax(queries @ keys.T)[:, 3].max() < 0.5


def test_a_vertex_is_selected_and_its_scale_is_the_smallest():
    for which in range(4):
        answer = select(K, which, 0.05)
        assert answer.possible
        assert softmax(K @ answer.query)[which] == pytest.approx(0.95, abs=1e-6)
        assert softmax(K @ (0.999 * answer.query))[which] < 0.95


def test_the_scale_holds_from_there_on_though_another_weight_rises_for_a_while():
    """Key 10 is nearly as good as the subset: it gains while the twenty others vanish, and vanishes last."""
    keys = np.zeros((31, 11))
    keys[:10, 1:] = np.eye(10)
    keys[:10, 0], keys[10, 0], keys[11:, 0] = 1.0, 0.9, -1.0
    answer = average(keys, range(10), 0.05)
    for factor in (1.0, 1.5, 2, 5, 20):
        weights = softmax(keys @ (answer.query * factor))
        assert np.abs(weights - np.r_[np.full(10, 0.1), np.zeros(21)]).max() <= 0.05 + 1e-9


def test_zeros_average_everything_exactly():
    answer = average(K, range(4))
    assert answer.possible
    assert not answer.query.any()
    assert answer.weights.tolist() == [0.25] * 4
    assert np.abs(attend(K.mean(0), K, V) - V.mean(0)).max() == pytest.approx(0.020, abs=5e-4)  # the mean of keys errs


def test_diagonals_of_a_square_cannot_be_averaged():
    square = [[0, 0], [1, 0], [0, 1], [1, 1]]
    answer = average(square, [0, 3])
    assert not answer.possible
    assert answer.certificate.outside.tolist() == [0, 0.5, 0.5, 0]
    assert average(square, [0, 1]).possible


def test_weights_are_hit_or_proved_impossible():
    target = [0.5, 0.3, 0.15, 0.05]
    answer = hit(K, target)  # four keys in three dimensions are affinely independent
    assert np.abs(softmax(K @ answer.query) - target).max() < 1e-12
    square = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    product = hit(square, np.outer([0.3, 0.7], [0.4, 0.6]).ravel())  # w0 w3 = w1 w2: the only ones there are
    assert product.possible
    assert product.error < 1e-12
    wrong = hit(square, [0.4, 0.3, 0.2, 0.1])
    assert not wrong.possible
    assert verify_certificate(square, [0, 1, 2, 3], wrong.certificate, [0.4, 0.3, 0.2, 0.1]).holds
    assert not verify_certificate(square, [0, 1, 2, 3], wrong.certificate, [0.25] * 4).holds
    edge = hit(square, [0.7, 0.3, 0, 0], 0.01)
    assert np.abs(softmax(square @ edge.query) - [0.7, 0.3, 0, 0]).max() <= 0.01 + 1e-9
    assert not hit(square, [0.7, 0, 0, 0.3]).possible


def test_what_is_impossible_may_still_be_near():
    """Key 2 lies far out on the line through the pair: a slight tilt hides it, and the pair hardly differs."""
    keys = [[0.0, 0], [1, 0], [40, 0]]
    exact = average(keys, [0, 1], 0.05)
    assert not exact.possible
    assert not exact.proved_within
    assert "may still come near" in exact.explanation
    assert np.abs(softmax(np.array(keys) @ [-0.15, 0]) - [0.5, 0.5, 0]).max() < 0.05
    assert average([[0.0, 0], [1, 0], [2, 0]], [0, 1], 0.05).proved_within
    assert hit([[0, 0], [1, 0], [0, 1], [1, 1]], [0.4, 0.3, 0.2, 0.1], 0.01).proved_within
    assert not hit([[0, 0], [1, 0], [0, 1], [1, 1]], [0.4, 0.3, 0.2, 0.1], 0.05).proved_within


def test_two_equal_keys_share_whatever_the_query():
    answer = select([[1, 0], [1, 0], [0, 1]], 0)
    assert not answer.possible
    assert answer.certificate.outside.tolist() == [0, 1, 0]


class TestPuzzlesOfTheCourse:
    """CSE 517 assignment 2, section 1: within 0.05."""

    def test_the_pair_and_what_was_printed(self):
        assert np.abs(attend(10 * PAIR, K, V) - V[:2].mean(0)).max() == pytest.approx(0.0029, abs=5e-5)
        assert np.abs(attend(20 * PAIR, K, V) - V[:2].mean(0)).max() == pytest.approx(0.0058, abs=5e-5)

    def test_scales_from_17_to_59_5_solve_all_three(self):
        for scale in (17, 30, 59.5):
            q = scale * PAIR
            assert np.abs(attend(q, K, V) - V[:2].mean(0)).max() < 0.05
            three = edit_key(K, q, 2, [0, 1, 2])
            assert np.abs(attend(q, three.keys, V) - V[:3].mean(0)).max() < 0.05
            alone = edit_key(K, q, 2, [2], unit=True)
            assert np.linalg.norm(alone.key) == pytest.approx(1)
            assert np.abs(attend(q, alone.keys, V) - V[2]).max() < 0.05

    def test_the_ends_of_the_range(self):
        """Below 16.7 a key of length 1 does not win by enough; above 174 the second key, a little longer, takes all."""
        low, high = scale_that_reaches(PAIR, K, V[:2].mean(0), 0.05, V)
        assert (low, high) == (pytest.approx(2.78, abs=0.01), pytest.approx(174.3, abs=0.1))

        def error(scale):
            q = scale * PAIR
            keys = np.vstack([K[:2], q / np.linalg.norm(q), K[3:]])
            return np.abs(attend(q, keys, V) - V[2]).max()

        assert error(16.7) > 0.05 > error(16.75)
        # with the printed query, S = 10, a key of length 1 fails
        assert error(10) == pytest.approx(0.118, abs=5e-4)

    def test_the_mean_of_both_keys_works_where_the_query_itself_does_not(self):
        q = 10 * PAIR
        errors = [
            np.abs(attend(q, np.vstack([K[:2], k2, K[3:]]), V) - V[:3].mean(0)).max() for k2 in (PAIR, q)
        ]  # fmt: skip
        assert errors[0] < 0.004
        assert errors[1] > 0.2

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_answers_hold_in_that_precision(self, precision):
        q = 30 * PAIR
        three, alone = edit_key(K, q, 2, [0, 1, 2]), edit_key(K, q, 2, [2], unit=True)
        for query, keys, wanted in [
            (30 * select(K, 0).direction, K, V[0]),
            (np.zeros(3), K, V.mean(0)),
            (q, K, V[:2].mean(0)),
            (q, three.keys, V[:3].mean(0)),
            (q, alone.keys, V[2]),
            *((1e6 * K[i], K, V[i]) for i in range(4)),
        ]:
            found = in_precision(query, keys, V, precision)
            assert not found.overflows
            assert np.abs(found.output - wanted).max() < 0.05

    def test_a_million_overflows_half_precision_and_it_is_said(self):
        found = in_precision(1e6 * K[0], K, V, "float16")
        assert found.overflows
        assert found.error == math.inf
        assert "overflows" in found.explanation
        assert not in_precision(30 * K[0], K, V, "float16").overflows


class TestEdits:
    def test_a_key_of_length_one_may_be_too_short(self):
        short = edit_key(K, 10 * PAIR, 2, [2], unit=True)
        assert not short.possible
        assert "at most |q|" in short.explanation
        assert edit_key(K, 10 * PAIR, 2, [2]).possible

    def test_only_the_component_along_the_query_changes(self):
        q = np.array([2.0, 0.0])
        edit = edit_key([[1.0, 0.0], [0.0, 3.0]], q, 1, [0, 1])
        assert edit.key == pytest.approx([1.0, 3.0])
        assert edit.error < 1e-9

    def test_a_subset_whose_other_keys_differ_cannot_be_averaged(self):
        assert not edit_key([[3.0, 0], [0, 0], [0, 1]], [5.0, 0], 2, [0, 1, 2]).possible

    def test_a_key_can_be_hidden(self):
        edit = edit_key(K, 30 * PAIR, 0, [1])
        assert edit.possible
        assert edit.weights[0] < 0.05


def test_copying_needs_the_logarithm_of_the_other_keys():
    found = copying_gap(1001, 0.01)
    assert found.gap == pytest.approx(math.log(1000 * 99))
    assert found.rule == pytest.approx(11.51, abs=0.01)
    assert found.weight == pytest.approx(0.99)
    assert copied_weight(10, [5] * 1000) == pytest.approx(0.129, abs=5e-4)
    assert copied_weight(found.gap, [0] * 1000) == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: select([[1, 2], [3]], 0), "keys: rows have unequal lengths, 1 and 2"),
        (lambda: select([[1, math.nan]], 0), "keys: holds NaN or infinity"),
        (lambda: select([], 0), "keys: there is nothing in it"),
        (lambda: select([["a", "b"]], 0), "keys: these are not numbers"),
        (lambda: select([1, 2], 0), "keys: a matrix is needed"),
        (lambda: select(K, 4), "subset: 4 is none of the 4 keys"),
        (lambda: select(K, -1), "subset: -1 is none"),
        (lambda: average(K, []), "subset: there is nothing in it"),
        (lambda: average(K, [0, 0]), "subset: a key is named twice"),
        (lambda: average(K, [0.5]), "subset: whole numbers"),
        (lambda: average(K, [0], 0), "tolerance: 0 must be a number between 0 and 1"),
        (lambda: hit(K, [0.5, 0.5]), "weights: there are 2 numbers, there must be 4"),
        (lambda: hit(K, [0.5, 0.5, 0.5, -0.5]), "weights: they must be at least 0 and sum to 1"),
        (lambda: edit_key(K, [0, 0, 0], 2, [2]), "query: it is all zeros"),
        (lambda: edit_key(K, [1, 0], 2, [2]), "query: there are 2 numbers, there must be 3"),
        (lambda: copying_gap(1, 0.1), "n: 1 must be a whole number"),
        (lambda: in_precision(K[0], K, V, "float8"), "precision: unknown value 'float8'"),
    ],
)
def test_bad_input_is_one_line(call, why):
    with pytest.raises(ConfigError) as error:
        call()
    assert str(error.value).startswith(why)
    assert "\n" not in str(error.value)
