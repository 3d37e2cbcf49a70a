"""Puzzles made by a seed: keys of small whole numbers in the plane, so that they can be drawn; the same for a seed."""

from __future__ import annotations

import numpy as np

from heed.errors import ConfigError, did_you_mean
from heed.explore.arrays import Array, count_of, enumerated, said, softmax
from heed.explore.judges import TOLERANCE, ExtractionJudge, KeyJudge, OutputJudge
from heed.explore.puzzle import Puzzle
from heed.explore.queries import QueryAnswer, average, edit_key, hit, select
from heed.explore.superposition import extract

FINE = 0.005
"""Of puzzles about weights: a query of two numbers that meets five weights to within 0.05 is often there by chance."""
KINDS = ("select", "average", "weights", "key", "extract")
"""Kinds of puzzles that can be generated."""


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
        OutputJudge(K, np.eye(len(K)), wanted, "what is wanted", tolerance),
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
        KeyJudge(K, np.eye(len(K)), query, which, wanted, unit=False),
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
        ExtractionJudge(A, B),
        (4, 4),
        hint=found.explanation,
    )
