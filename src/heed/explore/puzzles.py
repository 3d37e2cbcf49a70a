"""Puzzles of attention as data: what is given, what the answer is, and a check that says why an answer is wrong.

An answer is an array: a query (d,), queries (heads, d), a key (d,), keys (n, d), a matrix, or numbers. It is checked by
what attention does with it (weights softmax(K q), as everywhere in this room) or by the equation, never by comparison
with a stored answer, since many are right. "Impossible" is an answer too, given as None: it is right where the linear
program has a certificate. A puzzle can be written to JSON and made again from its `id`, or from its kind and seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heed.errors import ConfigError, did_you_mean
from heed.explore.arrays import Array, attend, count_of, enumerated, matrix_of, said, softmax, vector_of
from heed.explore.certificates import Certificate
from heed.explore.hard import hard_attention
from heed.explore.kqv import outcome
from heed.explore.low_rank import project
from heed.explore.queries import QueryAnswer, average, edit_key, hit, select
from heed.explore.recurrent import hand_gradients, random_net
from heed.explore.superposition import extract

TOLERANCE = 0.05
FINE = 0.005
"""Of puzzles about weights: a query of two numbers that meets five weights to within 0.05 is often there by chance."""

COURSE_KEYS = np.array([[0.47, 0.65, 0.60], [0.64, 0.50, -0.59], [-0.03, -0.48, -0.88], [0.43, -0.83, 0.35]])
COURSE_VALUES = np.array([[-0.07, -0.88, 0.47], [0.37, -0.93, -0.07], [-0.25, -0.75, 0.61], [0.94, 0.20, 0.28]])
COURSE_QUERY = 30 * (COURSE_KEYS[0] + COURSE_KEYS[1]) / 2
"""Of the puzzles in which only a key may change: it averages the first two values."""


@dataclass(frozen=True)
class PuzzleVerdict:
    """Whether an answer is right."""

    right: bool
    reason: str
    numbers: Mapping[str, float]
    """What was measured: the error, norms, weights."""


@dataclass(frozen=True)
class Puzzle:
    """A question whose answers are checked."""

    id: str
    text: str
    kind: str
    """What is asked for: query, queries, key, matrix, numbers."""
    given: Mapping[str, Array]
    answer: Array | None
    """One that is right; None where there is none."""
    judge: Callable[[Array], PuzzleVerdict]
    shape: tuple[int, ...]
    """Of an answer."""
    certificate: Certificate | None = None
    """Why there is no answer, where there is none."""
    hint: str = ""

    def check(self, answer: ArrayLike | None) -> PuzzleVerdict:
        """Return whether an answer is right, and why not. None says that there is none.

        An answer of another shape, or with NaN, is wrong with the reason; nothing is raised.
        """
        if answer is None:
            if self.certificate is not None:
                return PuzzleVerdict(True, f"There is none: {self.hint}", {})
            return PuzzleVerdict(False, "There is an answer: the linear program finds one.", {})
        try:
            given = self._shaped(answer)
        except ConfigError as error:
            return PuzzleVerdict(False, str(error), {})
        return self.judge(given)

    def _shaped(self, answer: ArrayLike) -> Array:
        if len(self.shape) == 1:
            return vector_of("answer", answer, self.shape[0])
        return matrix_of("answer", answer, self.shape[1], self.shape[0])


def _output_judge(
    K: Array, V: Array, wanted: Array, said_wanted: str, tolerance: float = TOLERANCE
) -> Callable[[Array], PuzzleVerdict]:
    """Return the judge of a query (d,), or of several (heads, d) whose outputs are averaged."""

    def judge(answer: Array) -> PuzzleVerdict:
        queries = np.atleast_2d(answer)
        weights = softmax(queries @ K.T).mean(0)
        error = float(np.abs(weights @ V - wanted).max())
        numbers = {"error": error, "tolerance": tolerance}
        numbers |= {f"weight {i}": float(w) for i, w in enumerate(weights)}
        if error <= tolerance:
            return PuzzleVerdict(True, f"The output is {said_wanted}, within {said(error)}.", numbers)
        heaviest = int(weights.argmax())
        return PuzzleVerdict(
            False,
            f"The output is off by {said(error)}, more than {tolerance}: key {heaviest} has the most weight, "
            f"{said(float(weights[heaviest]))}.",
            numbers,
        )

    return judge


def _key_judge(K: Array, V: Array, q: Array, which: int, wanted: Array, unit: bool) -> Callable[[Array], PuzzleVerdict]:
    """Return the judge of a key (d,) in the place of one, the query staying."""

    def judge(answer: Array) -> PuzzleVerdict:
        length = float(np.linalg.norm(answer))
        if unit and abs(length - 1) > 1e-3:
            return PuzzleVerdict(False, f"The key has length {said(length)}, it must be 1.", {"length": length})
        keys = K.copy()
        keys[which] = answer
        error = float(np.abs(attend(q, keys, V) - wanted).max())
        numbers = {"error": error, "length": length, "score": float(answer @ q)}
        if error <= TOLERANCE:
            return PuzzleVerdict(True, f"The same query now gives what is wanted, within {said(error)}.", numbers)
        direction = "raise" if softmax(keys @ q)[which] < 0.3 else "lower"
        return PuzzleVerdict(
            False,
            f"The output is off by {said(error)}: the new key has the score {said(float(answer @ q))}, {direction} it.",
            numbers,
        )

    return judge


def _number_judge(wanted: Array, why: str, tolerance: float = 1e-3) -> Callable[[Array], PuzzleVerdict]:
    """Return the judge of numbers that have one right value each."""

    def judge(answer: Array) -> PuzzleVerdict:
        differences = np.abs(answer - wanted)
        error = float(differences.max())
        if error <= tolerance * max(1.0, float(np.abs(wanted).max())):
            return PuzzleVerdict(True, why, {"error": error})
        place = np.unravel_index(int(differences.argmax()), wanted.shape)
        where = ", ".join(map(str, place))
        return PuzzleVerdict(False, f"The number at [{where}] is off by {said(error)}. {why}", {"error": error})

    return judge


def _extraction_judge(A: Array, B: Array) -> Callable[[Array], PuzzleVerdict]:
    """Return the judge of a matrix that takes v_a out of (v_a + v_b) / 2."""

    def judge(answer: Array) -> PuzzleVerdict:
        kept = float(np.abs(answer @ A / 2 - A).max())
        left = float(np.abs(answer @ B / 2).max())
        numbers = {"error of v_a": kept, "left of v_b": left}
        if max(kept, left) <= 1e-3:
            return PuzzleVerdict(True, "It keeps every v_a and drops every v_b.", numbers)
        if kept > 1e-3 and float(np.abs(answer @ A - A).max()) < 1e-3:
            return PuzzleVerdict(False, "It gives half of v_a: the average has halved it, so double.", numbers)
        reason = f"v_a is off by {said(kept)}" if kept > 1e-3 else f"{said(left)} of v_b is left"
        return PuzzleVerdict(False, f"{reason[0].upper()}{reason[1:]}.", numbers)

    return judge


def _projection_judge(Q: Array, K: Array, V: Array, k: int) -> Callable[[Array], PuzzleVerdict]:
    """Return the judge of C (k, n) on top of D (k, n) with P V = Q (C K)^T (D V)."""

    def judge(answer: Array) -> PuzzleVerdict:
        C, D = answer[:k], answer[k:]
        exact = Q @ K.T / math.sqrt(Q.shape[1]) @ V
        error = float(np.abs(Q @ (C @ K).T @ (D @ V) - exact).max())
        if error <= 1e-3:
            return PuzzleVerdict(True, "Both sides are equal, for the rows of C span those of P.", {"error": error})
        return PuzzleVerdict(False, f"The two sides differ by {said(error)}.", {"error": error})

    return judge


def _matrices_judge(X: Array, wanted: dict[int, ArrayLike]) -> Callable[[Array], PuzzleVerdict]:
    """Return the judge of Q (d, d) on top of V (d, d), with K the identity."""
    d = X.shape[1]

    def judge(answer: Array) -> PuzzleVerdict:
        found = outcome(X, np.eye(d), answer[:d], answer[d:], wanted)
        errors = {i: float(np.abs(found.outputs[i] - np.asarray(c)).max()) for i, c in wanted.items()}
        numbers = {f"error of c{i + 1}": error for i, error in errors.items()}
        worst = max(errors, key=lambda i: errors[i])
        if errors[worst] <= TOLERANCE:
            return PuzzleVerdict(True, "Each input looks where it should and gets what it should.", numbers)
        most = int(found.weights[worst].argmax())
        return PuzzleVerdict(
            False,
            f"c{worst + 1} is off by {said(errors[worst])}: x{worst + 1} looks at x{most + 1} most.",
            numbers,
        )

    return judge


def _select_course(i: int) -> Puzzle:
    answer = 30 * COURSE_KEYS[i]
    return Puzzle(
        f"cse517-copy-{i}",
        f"Find a query that returns value {i}.",
        "query",
        {"keys": COURSE_KEYS, "values": COURSE_VALUES},
        answer,
        _output_judge(COURSE_KEYS, COURSE_VALUES, COURSE_VALUES[i], f"value {i}"),
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
            _identity_judge(K, V),
            (4, 3),
            hint="Each row solves the puzzle of copying one value.",
        ),
        Puzzle(
            "cse517-average-all",
            "Find a query that returns the mean of all four values.",
            "query",
            given,
            np.zeros(3),
            _output_judge(K, V, V.mean(0), "the mean of all"),
            (3,),
            hint="All scores must be equal. Which query has the same score with every key whatever the keys are?",
        ),
        Puzzle(
            "cse517-average-pair",
            "Find a query that returns the mean of the first two values.",
            "query",
            given,
            q,
            _output_judge(K, V, V[:2].mean(0), "the mean of the first two"),
            (3,),
            hint="It must meet both keys equally well, and better than the others.",
        ),
        Puzzle(
            "cse517-key-average-three",
            "The query stays. Replace key 2 so that it returns the mean of the first three values.",
            "key",
            with_query,
            three.key,
            _key_judge(K, V, q, 2, V[:3].mean(0), unit=False),
            (3,),
            hint="The new key needs the score that keys 0 and 1 have.",
        ),
        Puzzle(
            "cse517-key-alone",
            "The query stays. Replace key 2 by one of length 1 so that it returns value 2 alone.",
            "key",
            with_query,
            alone.key,
            _key_judge(K, V, q, 2, V[2], unit=True),
            (3,),
            hint="Among keys of length 1, which has the largest score with the query?",
        ),
    ]


def _identity_judge(K: Array, V: Array) -> Callable[[Array], PuzzleVerdict]:
    def judge(answer: Array) -> PuzzleVerdict:
        errors = np.abs(softmax(answer @ K.T) @ V - V).max(1)
        worst = int(errors.argmax())
        numbers = {f"error of row {i}": float(error) for i, error in enumerate(errors)}
        if errors[worst] <= TOLERANCE:
            return PuzzleVerdict(True, f"Each row returns its value, within {said(float(errors[worst]))}.", numbers)
        return PuzzleVerdict(False, f"Row {worst} is off by {said(float(errors[worst]))}.", numbers)

    return judge


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
            _number_judge(hard.scores, "A score is the sum of products, q.k."),
            (4,),
        ),
        Puzzle(
            "hw6-hard-output",
            "Hard attention takes the value of the key with the largest score. Give the output.",
            "numbers",
            {"query": np.array([-2.0, 1, 1]), "keys": keys, "values": values},
            hard.output,
            _number_judge(hard.output, "The largest score is that of key 0, so the output is value 0."),
            (3,),
        ),
        Puzzle(
            "hw6-extract-orthogonal",
            "v_a lies in the span of the columns of A, v_b in that of B, which is at right angles. Find M with "
            "M (v_a + v_b) / 2 = v_a.",
            "matrix",
            {"A": A, "B": B},
            extract(A, B).matrix,
            _extraction_judge(A, B),
            (5, 5),
            hint="A A^T projects on the span of A; and the average has halved v_a.",
        ),
        Puzzle(
            "hw6-extract-independent",
            "The same with a B that is not at right angles to A: find M with M (v_a + v_b) / 2 = v_a.",
            "matrix",
            {"A": A, "B": turned},
            extract(A, turned).matrix,
            _extraction_judge(A, turned),
            (5, 5),
            hint="Write v = [A B] c: the first coefficients are what is wanted, and the pseudo-inverse reads them.",
        ),
        Puzzle(
            "hw6-average-orthonormal",
            "The keys are orthonormal. Find a query that averages the values of keys 0 and 2.",
            "query",
            {"keys": orthonormal, "values": orthonormal},
            20 * (orthonormal[0] + orthonormal[2]),
            _output_judge(orthonormal, orthonormal, (orthonormal[0] + orthonormal[2]) / 2, "the mean of both"),
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
            _output_judge(SQUARE, np.eye(4), np.array([0.5, 0, 0, 0.5]), "the mean of both"),
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
            _matrices_judge(X, {0: ub - uc, 1: ub}),
            (8, 4),
            hint="to from^T / |from|^2 sends `from` to `to`. x2 must look at x1, so Q sends u_a to u_d.",
        ),
        Puzzle(
            "hw5-projections",
            "P = Q K^T / sqrt(2) has rank 2. Find C on top of D, two rows each, with P V = Q (C K)^T (D V).",
            "matrix",
            {"Q": q, "K": k, "V": v},
            np.vstack([projected.C, projected.D]),
            _projection_judge(q, k, v, 2),
            (4, 6),
            hint="P = U S V_k^T: what does V_k V_k^T do to the columns of K?",
        ),
        Puzzle(
            "hw5-output-gradient",
            "A linear recurrent net over three steps with cross-entropy: give dJ_t/do_t, a row a step.",
            "matrix",
            {"W_hh": net.W_hh, "W_hx": net.W_hx, "W_yh": net.W_yh, "x": x, "classes": y.astype(float)},
            gradients.of_outputs,
            _number_judge(gradients.of_outputs, "It is softmax(o_t) - y_t, for the true class and for the other."),
            (3, 2),
        ),
        Puzzle(
            "hw5-recurrent-gradient",
            "The same net: give dJ/dW_hh.",
            "matrix",
            {"W_hh": net.W_hh, "W_hx": net.W_hx, "W_yh": net.W_yh, "x": x, "classes": y.astype(float)},
            gradients.W_hh,
            _number_judge(gradients.W_hh, "It is the sum of (dJ_t/dh_i) h_{i-1}^T over all i <= t, and over t."),
            (4, 4),
            hint="Keep every term: W_hh is used at each step.",
        ),
    ]


SQUARE = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
KINDS = ("select", "average", "weights", "key", "extract")
"""Kinds of puzzles that can be generated."""


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


def generate(kind: str, seed: int) -> Puzzle:
    """Return a new puzzle of one of the `KINDS`, the same for the same seed. About a third have no answer.

    Keys are small whole numbers in the plane, so that they can be drawn. Raises `ConfigError` for an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind: unknown value {kind!r}, {did_you_mean(kind, KINDS)}")
    number = count_of("seed", seed, least=0, most=10**9)
    draw = np.random.default_rng([KINDS.index(kind), number])
    name = f"{kind}-{number}"
    if kind == "extract":
        return _generated_extraction(name, draw)
    keys = _distinct_keys(draw)
    return {"select": _generated_query, "average": _generated_query, "weights": _generated_weights}.get(
        kind, _generated_key
    )(name, kind, keys, draw)


def _distinct_keys(draw: np.random.Generator) -> Array:
    """Return five keys (5, 2) of small whole numbers, no two of them equal."""
    while True:
        keys = draw.integers(-3, 4, (5, 2)).astype(float)
        if len({tuple(key) for key in keys}) == len(keys):
            return keys


def _generated_query(name: str, kind: str, K: Array, draw: np.random.Generator) -> Puzzle:
    """Return a puzzle of a query that selects a key or averages two or three."""
    wish = bool(draw.random() < 0.6)  # of most subsets there is no query: look for one of which there is
    while True:
        size = 1 if kind == "select" else 2 + int(draw.random() < 0.1)
        subset = sorted(draw.choice(len(K), size, replace=False).tolist())
        found = average(K, subset, TOLERANCE)
        if found.possible == wish and (found.possible or found.proved_within):
            break
        if draw.random() < 0.1:
            K = _distinct_keys(draw)
    wanted = np.zeros(len(K))
    wanted[subset] = 1 / size
    goal = f"gives key {subset[0]} all the weight" if size == 1 else f"averages keys {enumerated(subset)}"
    return _query_puzzle(name, f"Find a query that {goal}, or say that there is none.", K, wanted, found)


def _generated_weights(name: str, kind: str, K: Array, draw: np.random.Generator) -> Puzzle:
    """Return a puzzle of weights to be hit: half of them those of a query."""
    wish = draw.random() < 0.6
    while True:
        wanted = softmax(K @ (draw.integers(-4, 5, 2) / 4)) if wish else draw.dirichlet(np.full(len(K), 3.0))
        found = hit(K, wanted, FINE)
        if found.possible or found.proved_within:
            break
    shown = ", ".join(said(round(float(w), 3)) for w in wanted)
    text = f"Find a query whose weights are {shown}, each within {FINE}, or say that there is none."
    return _query_puzzle(name, text, K, wanted, found, FINE)


def _query_puzzle(
    name: str, text: str, K: Array, wanted: Array, found: QueryAnswer, tolerance: float = TOLERANCE
) -> Puzzle:
    """Return a puzzle of a query, with what the linear program found."""
    hint = found.explanation
    return Puzzle(
        name,
        text,
        "query",
        {"keys": K, "values": np.eye(len(K)), "weights": wanted},
        found.query,
        _output_judge(K, np.eye(len(K)), wanted, "what is wanted", tolerance),
        (K.shape[1],),
        certificate=found.certificate,
        hint=hint,
    )


def _generated_key(name: str, kind: str, K: Array, draw: np.random.Generator) -> Puzzle:
    """Return a puzzle of a key to be replaced so that a query selects it."""
    which = int(draw.integers(len(K)))
    other = next(i for i in draw.permutation(len(K)) if i != which and select(K, int(i)).possible)
    query = select(K, int(other), 0.01).query
    assert query is not None
    wanted = np.eye(len(K))[which]
    edit = edit_key(K, query, which, [which])
    return Puzzle(
        name,
        f"The query stays. Replace key {which} so that it gets all the weight.",
        "key",
        {"keys": K, "values": np.eye(len(K)), "query": query},
        edit.key,
        _key_judge(K, np.eye(len(K)), query, which, wanted, unit=False),
        (2,),
        hint=edit.explanation,
    )


def _generated_extraction(name: str, draw: np.random.Generator) -> Puzzle:
    """Return a puzzle of a matrix that takes one signal out of an average."""
    while True:
        A, B = draw.integers(-2, 3, (4, 1)).astype(float), draw.integers(-2, 3, (4, 2)).astype(float)
        if A.any() and np.linalg.matrix_rank(np.hstack([A, B])) == 3:
            break
    found = extract(A, B)
    return Puzzle(
        name,
        "v_a lies in the span of A, v_b in that of B. Find M with M (v_a + v_b) / 2 = v_a.",
        "matrix",
        {"A": A, "B": B},
        found.matrix,
        _extraction_judge(A, B),
        (4, 4),
        hint=found.explanation,
    )
