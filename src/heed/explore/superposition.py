"""Signals in superposition: the matrix that takes one out of an average, and how many fit.

    v_a in span(A), v_b in span(B), M (v_a + v_b) / 2 = v_a          A (d, p), B (d, r): a basis in the columns
    A orthonormal, A and B orthogonal      M = 2 A A^T
    only independent                       M = 2 A P, P the first p rows of the pseudo-inverse of [A B]
    a common direction                     none: a vector of it belongs to both

Signals of p dimensions each in random directions of d dimensions, n of them added up, of which one is taken out by
A A^T: each other one leaves a share p / d of its energy, so the error beside a signal of length 1 is
sqrt((n - 1) p / d). The pseudo-inverse leaves nothing, as long as n p <= d.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heed.errors import ConfigError
from heed.explore.arrays import Array, count_of, matrix_of, positive_of, said

INDEPENDENT = 1e-10
"""A singular value below this share of the largest is 0."""


@dataclass(frozen=True)
class Extraction:
    """The matrix that takes v_a out of (v_a + v_b) / 2, or a vector that shows why there is none."""

    possible: bool
    matrix: Array | None
    """M (d, d)."""
    kind: str
    """orthogonal, independent or dependent."""
    error: float
    """The largest |M (v_a + v_b) / 2 - v_a| over columns of A and of B."""
    gain: float
    """How much M makes of what is neither signal, at most: its largest singular value. 2 for orthogonal ones."""
    common: Array | None
    """A unit vector of both spans (d,), where they share one."""
    explanation: str


@dataclass(frozen=True)
class SignalRoom:
    """How many signals can be added up and still be told apart."""

    exact: int
    """By the pseudo-inverse, without any error: d // p."""
    projected: int
    """By a projection, with an error within the bound: 1 + floor(bound^2 d / p)."""
    expected: Array
    """sqrt((n - 1) p / d) for n = 1 .. the number of `sampled`."""
    sampled: Array
    """Root of the mean square error of a projection, over draws of random subspaces."""
    explanation: str


def extract(a: ArrayLike, b: ArrayLike) -> Extraction:
    """Return the matrix M with M (v_a + v_b) / 2 = v_a for each v_a in span(a) and v_b in span(b).

    a (d, p) and b (d, r) hold a basis in their columns. Raises `ConfigError` for columns of unequal length, and where
    the columns of one of them depend on each other.
    """
    A, B = matrix_of("a", a), matrix_of("b", b)
    if len(A) != len(B):
        raise ConfigError(f"b: columns have {len(B)} numbers, those of a have {len(A)}")
    for name, basis in (("a", A), ("b", B)):
        if _rank(basis) < basis.shape[1]:
            raise ConfigError(f"{name}: its columns depend on each other, so they are no basis")
    both = np.hstack([A, B])
    if _rank(both) < both.shape[1]:
        return _dependent(A, B)
    p = A.shape[1]
    orthonormal = np.abs(A.T @ A - np.eye(p)).max() < 1e-9
    orthogonal = bool(orthonormal and np.abs(A.T @ B).max() < 1e-9)
    M = 2 * A @ (A.T if orthogonal else np.linalg.pinv(both)[:p])
    error = max(float(np.abs(M @ A / 2 - A).max()), float(np.abs(M @ B / 2).max()))
    gain = float(np.linalg.norm(M, 2))
    words = (
        "A is orthonormal and at right angles to B, so 2 A A^T keeps what lies in A and drops what lies in B."
        if orthogonal
        else "A and B have no direction in common, so the first rows of the pseudo-inverse of [A B] read the part in "
        f"A; the less they are at right angles, the more the matrix makes of noise: up to {said(gain)} times."
    )
    return Extraction(True, M, "orthogonal" if orthogonal else "independent", error, gain, None, words)


def _rank(basis: Array) -> int:
    return int(np.linalg.matrix_rank(basis, rtol=INDEPENDENT))


def _dependent(A: Array, B: Array) -> Extraction:
    """Return why no matrix tells v_a from v_b: a vector that is both."""
    _, _, vt = np.linalg.svd(np.hstack([A, -B]))
    common = A @ vt[-1][: A.shape[1]]
    return Extraction(
        False,
        None,
        "dependent",
        1.0,
        np.inf,
        common / np.linalg.norm(common),
        "The spans have a direction in common: a vector along it may be v_a or v_b, and no matrix can tell which.",
    )


def signals_that_fit(
    width: int, dimensions: int = 1, bound: float = 0.5, draws: int = 200, most: int = 64, seed: int = 0
) -> SignalRoom:
    """Return how many signals of `dimensions` each fit into `width` before the error passes `bound`.

    The error is that of one signal taken out of the sum of n, beside its own length; each is a random unit vector of a
    random subspace. Sampled for n = 1 .. `most`. Raises `ConfigError` for a signal of more dimensions than there are.
    """
    d, p = count_of("width", width, most=4096), count_of("dimensions", dimensions, most=4096)
    limit, draws = positive_of("bound", bound), count_of("draws", draws, most=100_000)
    if p > d:
        raise ConfigError(f"dimensions: a signal of {p} dimensions does not fit into {d}")
    generator = np.random.default_rng(count_of("seed", seed, least=0, most=2**32))
    most = count_of("most", most, most=1024)
    squares = np.zeros(most)
    for _ in range(draws):
        # by symmetry the signal that is taken out may lie along the first p axes; a random unit vector of a random
        # subspace is a random unit vector
        others = generator.normal(size=(most - 1, d))
        others /= np.linalg.norm(others, axis=1, keepdims=True)
        left = np.vstack([np.zeros((1, p)), others[:, :p].cumsum(0)])
        squares += (left**2).sum(1)
    counts = np.arange(1, most + 1)
    exact, projected = d // p, 1 + int(limit**2 * d / p + 1e-9)
    return SignalRoom(
        exact,
        projected,
        np.sqrt((counts - 1) * p / d),
        np.sqrt(squares / draws),
        f"A projection takes one of {projected} signals out of their sum with an error of at most {said(limit)} of its "
        f"length, in the mean over random directions; if the directions are known, the pseudo-inverse takes one of "
        f"{exact} out exactly.",
    )
