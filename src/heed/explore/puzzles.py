"""The puzzles of five assignments, and any puzzle by its id: one of these, or one that is generated again."""

from __future__ import annotations

import numpy as np

from heed.errors import ConfigError, did_you_mean
from heed.explore.generators import KINDS, generate
from heed.explore.hard import hard_attention
from heed.explore.judges import (
    ExtractionJudge,
    IdentityJudge,
    KeyJudge,
    MatricesJudge,
    NumberJudge,
    OutputJudge,
    ProjectionJudge,
)
from heed.explore.low_rank import project
from heed.explore.puzzle import Puzzle
from heed.explore.queries import edit_key
from heed.explore.recurrent import hand_gradients, random_net
from heed.explore.superposition import extract

COURSE_KEYS = np.array([[0.47, 0.65, 0.60], [0.64, 0.50, -0.59], [-0.03, -0.48, -0.88], [0.43, -0.83, 0.35]])
COURSE_VALUES = np.array([[-0.07, -0.88, 0.47], [0.37, -0.93, -0.07], [-0.25, -0.75, 0.61], [0.94, 0.20, 0.28]])
COURSE_QUERY = 30 * (COURSE_KEYS[0] + COURSE_KEYS[1]) / 2
"""Of the puzzles in which only a key may change: it averages the first two values."""
SQUARE = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])


def puzzles() -> dict[str, Puzzle]:
    """Return the puzzles of the assignments by id."""
    return {puzzle.id: puzzle for puzzle in [*_course_puzzles(), *_paper_puzzles()]}


def puzzle_of(name: str) -> Puzzle:
    """Return the puzzle of an id: one of the assignments, or `KIND-SEED` of a generated one; else `ConfigError`."""
    known = puzzles()
    if name in known:
        return known[name]
    kind, _, seed = name.rpartition("-")
    if kind in KINDS and seed.isdecimal() and len(seed) < 10:
        return generate(kind, int(seed))
    hint = did_you_mean(name, known)
    raise ConfigError(f"unknown puzzle {name!r}, {hint if len(hint) < 60 else 'see heed.explore.puzzles.puzzles()'}")


def _select_course(i: int) -> Puzzle:
    answer = 30 * COURSE_KEYS[i]
    return Puzzle(
        f"cse517-copy-{i}",
        f"Find a query that returns value {i}.",
        "query",
        {"keys": COURSE_KEYS, "values": COURSE_VALUES},
        answer,
        OutputJudge(COURSE_KEYS, COURSE_VALUES, COURSE_VALUES[i], f"value {i}"),
        (3,),
        hint="All keys have length 1, so none meets a key better than a multiple of that key.",
    )


def _course_puzzles() -> list[Puzzle]:
    """Return the puzzles of CSE 517, assignment 2, section 1."""
    K, V, q = COURSE_KEYS, COURSE_VALUES, COURSE_QUERY
    given = {"keys": K, "values": V}
    with_query = given | {"query": q}
    three, alone = edit_key(K, q, 2, [0, 1, 2]), edit_key(K, q, 2, [2], unit=True)
    return [
        *(_select_course(i) for i in range(4)),
        Puzzle(
            "cse517-identity",
            "Find four queries, one a row, with which attention returns the four values in their order.",
            "queries",
            given,
            30 * K,
            IdentityJudge(K, V),
            (4, 3),
            hint="Each row solves the puzzle of copying one value.",
        ),
        Puzzle(
            "cse517-average-all",
            "Find a query that returns the mean of all four values.",
            "query",
            given,
            np.zeros(3),
            OutputJudge(K, V, V.mean(0), "the mean of all"),
            (3,),
            hint="All scores must be equal. Which query has the same score with every key whatever the keys are?",
        ),
        Puzzle(
            "cse517-average-pair",
            "Find a query that returns the mean of the first two values.",
            "query",
            given,
            q,
            OutputJudge(K, V, V[:2].mean(0), "the mean of the first two"),
            (3,),
            hint="It must meet both keys equally well, and better than the others.",
        ),
        Puzzle(
            "cse517-key-average-three",
            "The query stays. Replace key 2 so that it returns the mean of the first three values.",
            "key",
            with_query,
            three.key,
            KeyJudge(K, V, q, 2, V[:3].mean(0), unit=False),
            (3,),
            hint="The new key needs the score that keys 0 and 1 have.",
        ),
        Puzzle(
            "cse517-key-alone",
            "The query stays. Replace key 2 by one of length 1 so that it returns value 2 alone.",
            "key",
            with_query,
            alone.key,
            KeyJudge(K, V, q, 2, V[2], unit=True),
            (3,),
            hint="Among keys of length 1, which has the largest score with the query?",
        ),
    ]


def _paper_puzzles() -> list[Puzzle]:
    """Return the puzzles of the other assignments: two homeworks and the practical."""
    keys = np.array([[0.0, 1, 2], [1, 1, 2], [-1, 1, -2], [0, -1, -2]])
    values = np.array([[3.0, 2, -4], [3, -2, 4], [3, 2, 0], [3, 2, 4]])
    hard = hard_attention([-2, 1, 1], keys, values)
    basis = np.eye(5)
    A, B = basis[:, :2], basis[:, 2:4]
    turned = np.array([[1.0, 0], [0, 1], [1, 0], [0, 0], [0, 2]])
    beta = 4.0
    ua, ub, uc, ud = beta * np.eye(4)
    X = np.array([ud + ub, ua, uc + ub])
    Q, W = (np.outer(ud, ua) + np.outer(uc, ud)) / beta**2, (np.outer(ub, ub) - np.outer(uc, uc)) / beta**2
    draw = np.random.default_rng(5)
    q, k, v = (draw.normal(size=(6, 2)).round(1) for _ in range(3))
    projected = project(q, k, v)
    net = random_net(seed=1)
    x, y = draw.normal(size=(3, 3)).round(1), np.array([0, 1, 1])
    gradients = hand_gradients(net, x, y)
    orthonormal = np.eye(4)
    return [
        Puzzle(
            "hw6-hard-scores",
            "Hard attention takes the value of the key with the largest score. Give the four scores of the query.",
            "numbers",
            {"query": np.array([-2.0, 1, 1]), "keys": keys, "values": values},
            hard.scores,
            NumberJudge(hard.scores, "A score is the sum of products, q.k."),
            (4,),
        ),
        Puzzle(
            "hw6-hard-output",
            "Hard attention takes the value of the key with the largest score. Give the output.",
            "numbers",
            {"query": np.array([-2.0, 1, 1]), "keys": keys, "values": values},
            hard.output,
            NumberJudge(hard.output, "The largest score is that of key 0, so the output is value 0."),
            (3,),
        ),
        Puzzle(
            "hw6-extract-orthogonal",
            "v_a lies in the span of the columns of A, v_b in that of B, which is at right angles. Find M with "
            "M (v_a + v_b) / 2 = v_a.",
            "matrix",
            {"A": A, "B": B},
            extract(A, B).matrix,
            ExtractionJudge(A, B),
            (5, 5),
            hint="A A^T projects on the span of A; and the average has halved v_a.",
        ),
        Puzzle(
            "hw6-extract-independent",
            "The same with a B that is not at right angles to A: find M with M (v_a + v_b) / 2 = v_a.",
            "matrix",
            {"A": A, "B": turned},
            extract(A, turned).matrix,
            ExtractionJudge(A, turned),
            (5, 5),
            hint="Write v = [A B] c: the first coefficients are what is wanted, and the pseudo-inverse reads them.",
        ),
        Puzzle(
            "hw6-average-orthonormal",
            "The keys are orthonormal. Find a query that averages the values of keys 0 and 2.",
            "query",
            {"keys": orthonormal, "values": orthonormal},
            20 * (orthonormal[0] + orthonormal[2]),
            OutputJudge(orthonormal, orthonormal, (orthonormal[0] + orthonormal[2]) / 2, "the mean of both"),
            (4,),
            hint="beta (k_a + k_b) has the score beta with both and 0 with the others.",
        ),
        Puzzle(
            "practical-two-heads",
            "Keys 0 and 3 are opposite corners of a square: no one query averages them. Find two queries, one a row, "
            "whose outputs have the mean that is wanted.",
            "queries",
            {"keys": SQUARE, "values": np.eye(4)},
            30 * np.array([[-1.0, -1], [1, 1]]),
            OutputJudge(SQUARE, np.eye(4), np.array([0.5, 0, 0, 0.5]), "the mean of both"),
            (2, 2),
            hint="Each head copies one of them.",
        ),
        Puzzle(
            "practical-kqv",
            "x1 = u_d + u_b, x2 = u_a, x3 = u_c + u_b, all u at right angles and of length 4; K is the identity. Find "
            "Q on top of V, with which c2 is u_b and c1 is u_b - u_c.",
            "matrix",
            {"inputs": X, "u": np.array([ua, ub, uc, ud])},
            np.vstack([Q, W]),
            MatricesJudge(X, {0: ub - uc, 1: ub}),
            (8, 4),
            hint="to from^T / |from|^2 sends `from` to `to`. x2 must look at x1, so Q sends u_a to u_d.",
        ),
        Puzzle(
            "hw5-projections",
            "P = Q K^T / sqrt(2) has rank 2. Find C on top of D, two rows each, with P V = Q (C K)^T (D V).",
            "matrix",
            {"Q": q, "K": k, "V": v},
            np.vstack([projected.C, projected.D]),
            ProjectionJudge(q, k, v, 2),
            (4, 6),
            hint="P = U S V_k^T: what does V_k V_k^T do to the columns of K?",
        ),
        Puzzle(
            "hw5-output-gradient",
            "A linear recurrent net over three steps with cross-entropy: give dJ_t/do_t, a row a step.",
            "matrix",
            {"W_hh": net.W_hh, "W_hx": net.W_hx, "W_yh": net.W_yh, "x": x, "classes": y.astype(float)},
            gradients.of_outputs,
            NumberJudge(gradients.of_outputs, "It is softmax(o_t) - y_t, for the true class and for the other."),
            (3, 2),
        ),
        Puzzle(
            "hw5-recurrent-gradient",
            "The same net: give dJ/dW_hh.",
            "matrix",
            {"W_hh": net.W_hh, "W_hx": net.W_hx, "W_yh": net.W_yh, "x": x, "classes": y.astype(float)},
            gradients.W_hh,
            NumberJudge(gradients.W_hh, "It is the sum of (dJ_t/dh_i) h_{i-1}^T over all i <= t, and over t."),
            (4, 4),
            hint="Keep every term: W_hh is used at each step.",
        ),
    ]
