"""Matrices K, Q, V by outer products, so that each input gets the value that it should.

    outer products      M = sum_i to_i from_i^T / |from_i|^2       M from_i = to_i where the `from` are orthogonal
    any inputs          Q x_i = S u_s(i),  V x_j = y_j              solved by the pseudo-inverse of the inputs

Input i looks at input s(i) along a direction u that selects it (`queries.py`), and gets y_s(i). With K = I a score is
x_j^T Q x_i. Both systems can be solved exactly where the inputs are linearly independent; else what is left is told.

A subset of keys that no one query averages may still be averaged by several heads, a query each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heed.errors import ConfigError
from heed.explore.arrays import (
    Array,
    enumerated,
    fraction_of,
    matrix_of,
    places_of,
    positive_of,
    said,
    softmax,
    vector_of,
)
from heed.explore.queries import select


@dataclass(frozen=True)
class Routing:
    """Matrices, and what attention does with them."""

    K: Array
    Q: Array
    """(d, d)."""
    V: Array
    """(m, d)."""
    ranks: tuple[int, int, int]
    """Of K, Q and V."""
    weights: Array
    """(n, n): of each input over all."""
    outputs: Array
    """(n, m): c_i."""
    error: float
    """The largest difference of an output from what was wanted."""
    explanation: str


@dataclass(frozen=True)
class SeveralQueries:
    """A query for each head, whose outputs are averaged."""

    possible: bool
    queries: Array | None
    """(heads, d)."""
    weights: Array | None
    """(n,): the mean over heads."""
    error: float
    missing: tuple[int, ...]
    """Keys that no query selects."""
    explanation: str


def outer_products(pairs: Sequence[tuple[ArrayLike, ArrayLike]]) -> Array:
    """Return sum_i to_i from_i^T / |from_i|^2 of pairs (to (m,), from (d,)): (m, d).

    Raises `ConfigError` where there is no pair, where lengths differ, and for a `from` of zeros.
    """
    if not pairs:
        raise ConfigError("pairs: there is none, give at least one (to, from)")
    made = []
    for i, (to, origin) in enumerate(pairs):
        target, source = vector_of(f"pairs[{i}][0]", to), vector_of(f"pairs[{i}][1]", origin)
        if made and made[0].shape != (len(target), len(source)):
            raise ConfigError(f"pairs[{i}]: {len(target)} and {len(source)} numbers, unlike those before")
        if not source.any():
            raise ConfigError(f"pairs[{i}][1]: it is all zeros, which no matrix sends anywhere else")
        made.append(np.outer(target, source) / (source @ source))
    return np.sum(made, axis=0)


def outcome(inputs: ArrayLike, K: ArrayLike, Q: ArrayLike, V: ArrayLike, wanted: Mapping[int, ArrayLike]) -> Routing:
    """Return what attention makes of inputs (n, d) by K (e, d), Q (e, d) and V (m, d), beside what is wanted of some.

    c_i = sum_j softmax_j((K x_j).(Q x_i)) V x_j; `wanted` holds c (m,) by i. Raises `ConfigError` for wrong shapes.
    """
    X = matrix_of("inputs", inputs)
    K, Q, V = (matrix_of(name, given, width=X.shape[1]) for name, given in (("K", K), ("Q", Q), ("V", V)))
    k, q, v = X @ K.T, X @ Q.T, X @ V.T
    if k.shape[1] != q.shape[1]:
        raise ConfigError(f"Q: it has {q.shape[1]} rows and K has {k.shape[1]}, they must be as many")
    weights = softmax(q @ k.T)
    outputs = weights @ v
    places = places_of("wanted", list(wanted), len(X))
    error = max(float(np.abs(outputs[i] - vector_of(f"wanted[{i}]", wanted[i], v.shape[1])).max()) for i in places)
    ranks = int(np.linalg.matrix_rank(K)), int(np.linalg.matrix_rank(Q)), int(np.linalg.matrix_rank(V))
    return Routing(
        K,
        Q,
        V,
        ranks,
        weights,
        outputs,
        error,
        f"Each outer product sends one direction to another, so a matrix needs a rank of as many as it sends: here "
        f"{ranks[0]}, {ranks[1]} and {ranks[2]}. The outputs are within {said(error)} of what is wanted.",
    )


def route(inputs: ArrayLike, sources: Sequence[int], outputs: ArrayLike, tolerance: float = 1e-3) -> Routing:
    """Return K = I, Q and V by which input i of inputs (n, d) gets output `sources[i]` of outputs (n, m).

    The scale is the smallest that gives each source a weight of 1 - tolerance. Raises `ConfigError` where a source is
    no vertex of the hull of the inputs, so that nothing selects it, and for wrong shapes.
    """
    X = matrix_of("inputs", inputs)
    n, d = X.shape
    Y = matrix_of("outputs", outputs, rows=n)
    if len(sources) != n:
        raise ConfigError(f"sources: there are {len(sources)}, one is needed for each of {n} inputs")
    chosen = [places_of(f"sources[{i}]", [source], n)[0] for i, source in enumerate(sources)]
    directions = np.zeros((n, d))
    for source in sorted(set(chosen)):
        answer = select(X, source, fraction_of("tolerance", tolerance))
        if answer.query is None:
            raise ConfigError(f"sources: input {source} is a convex combination of others, so no query selects it")
        for i in range(n):
            if chosen[i] == source:
                directions[i] = answer.query
    inverse = np.linalg.pinv(X.T)
    Q, V = directions.T @ inverse, Y.T @ inverse
    found = outcome(X, np.eye(d), Q, V, {i: Y[chosen[i]] for i in range(n)})
    independent = np.linalg.matrix_rank(X) == n
    words = (
        "The inputs are linearly independent, so Q and V can send each where it should go, and what is left is the "
        f"weight that a finite scale leaves to others: the outputs are within {said(found.error)}."
        if independent
        else "The inputs depend on each other, so what Q and V do to some follows from the others, and not all wishes "
        f"can be met: the outputs are within {said(found.error)}."
    )
    return Routing(found.K, Q, V, found.ranks, found.weights, found.outputs, found.error, words)


def average_by_heads(keys: ArrayLike, subset: Sequence[int], tolerance: float = 0.05) -> SeveralQueries:
    """Return a query for each key of a subset of keys (n, d): heads that copy one each, and average it together.

    Possible where each of them is a vertex of the hull, also where no one query averages them. Raises `ConfigError` as
    `queries.select` does.
    """
    K = matrix_of("keys", keys)
    places = places_of("subset", subset, len(K))
    answers = [select(K, place, tolerance) for place in places]
    missing = tuple(place for place, answer in zip(places, answers, strict=True) if not answer.possible)
    if missing:
        words = f"A head each would do, but no query selects key {enumerated(missing)}: other keys lie around it."
        return SeveralQueries(False, None, None, 1.0, missing, words)
    queries = np.array([answer.query for answer in answers])
    weights = softmax(queries @ K.T).mean(0)
    target = np.zeros(len(K))
    target[places] = 1 / len(places)
    error = float(np.abs(weights - target).max())
    words = (
        f"{len(places)} heads copy one key each and their mean is the average, within {said(error)}; no head needs two "
        "scores to be equal, so it does not hang on the exact lengths of keys."
    )
    return SeveralQueries(True, queries, weights, error, (), words)


def two_queries(a: ArrayLike, b: ArrayLike, beta: float) -> Array:
    """Return the queries (2, d) of two heads, beta mu_a and beta mu_b, in the place of one beta (mu_a + mu_b)."""
    first = vector_of("a", a)
    return positive_of("beta", beta) * np.vstack([first, vector_of("b", b, len(first))])
