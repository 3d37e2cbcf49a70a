"""Low rank: what it saves, what is exact, and what the softmax makes of it.

    scores P = Q K^T / sqrt(h), rank k <= h        P = sum_k s_i u_i v_i^T: outer products of vectors of length n
    P V                                            exact from the factors, in O(n k h)
    C = V_k^T, D = V_k^T / sqrt(h)                 P V = Q (C K)^T (D V): exact, C and D are (k, n)
    softmax(P)                                     has in general full rank: a cut at k is an approximation

The linear algebra is `heed.attention.low_rank`; here are its errors, beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heed.explore.arrays import Array, count_of, matrix_of, said, softmax


@dataclass(frozen=True)
class RankErrors:
    """What a cut at each rank costs, of scores and of their softmax."""

    score_rank: int | None
    """Numerical rank of the scores: singular values above 1e-10 of the largest. None where only weights are known."""
    weight_rank: int
    """The same of softmax of the scores."""
    effective_rank: float
    """exp of the entropy of the weights' singular values as shares."""
    score_errors: Array | None
    """|P - P_k|_F / |P|_F for k = 0 .. n."""
    weight_errors: Array
    """|A - A_k|_F / |A|_F for k = 0 .. n."""
    values: Array
    """Singular values of the weights, the largest first."""
    rank_for_99: int
    """The smallest k that holds 99 % of the sum of their squares."""
    explanation: str


@dataclass(frozen=True)
class Projected:
    """Attention without softmax by projections C and D, beside the real one."""

    C: Array
    D: Array
    """(k, n) each."""
    error: float
    """Largest difference of Q (C K)^T (D V) from P V: rounding alone, where k is the rank of the scores."""
    softmax_error: float
    """Root mean square error of the output of softmax attention whose weights are cut at rank k, relative."""
    operations: tuple[int, int]
    """Products of P V from the factors, n k (h + m), and from P, n^2 m."""
    explanation: str


def spectrum_of(weights: ArrayLike) -> RankErrors:
    """Return the spectrum of weights (n, s), such as those of a head of one's own model, instead of random ones."""
    return _errors(None, matrix_of("weights", weights), "The weights have, with")


def rank_errors(queries: ArrayLike, keys: ArrayLike) -> RankErrors:
    """Return what a cut at each rank costs for queries (n, h) and keys (n, h): of scores and of softmax.

    Raises `ConfigError` for matrices of unequal width.
    """
    Q = matrix_of("queries", queries)
    K = matrix_of("keys", keys, width=Q.shape[1])
    P = Q @ K.T / np.sqrt(Q.shape[1])
    return _errors(P, softmax(P), f"The scores have rank {np.linalg.matrix_rank(P)}, but their softmax has, with")


def _errors(P: Array | None, A: Array, subject: str) -> RankErrors:
    import torch

    from heed.attention.low_rank import spectrum

    found = spectrum(torch.from_numpy(A))
    scores = None if P is None else spectrum(torch.from_numpy(P))
    rank = int((found.values > 1e-10 * found.values[0]).sum())
    effective, needed = float(found.effective_rank), int(found.rank_for(0.99))
    return RankErrors(
        None if scores is None else int((scores.values > 1e-10 * scores.values[0]).sum()),
        rank,
        effective,
        None if scores is None else np.nan_to_num(scores.errors.numpy()),
        found.errors.numpy(),
        found.values.numpy(),
        needed,
        f"{subject} {A.shape[0]} x {A.shape[1]} numbers, rank {rank}. A cut at rank {needed} holds 99 % of the sum of "
        f"squares, with an error of {said(float(found.errors[needed]))}; softmax keeps no low rank.",
    )


def project(queries: ArrayLike, keys: ArrayLike, values: ArrayLike, rank: int | None = None) -> Projected:
    """Return C and D of rank `rank` (that of the scores, if left out) for queries, keys (n, h) and values (n, m).

    Raises `ConfigError` for matrices of unequal sizes and a rank that there is not.
    """
    import torch

    from heed.attention.low_rank import low_rank_mix, score_projections

    Q = matrix_of("queries", queries)
    n, h = Q.shape
    K = matrix_of("keys", keys, width=h)
    V = matrix_of("values", values, rows=len(K))
    P = Q @ K.T / np.sqrt(h)
    full = int(np.linalg.matrix_rank(P)) or 1
    k = full if rank is None else count_of("rank", rank, most=min(n, len(K), h))
    C, D = (part.numpy() for part in score_projections(torch.from_numpy(Q), torch.from_numpy(K), k))
    A = softmax(P)
    error = float(np.abs(Q @ (C @ K).T @ (D @ V) - P @ V).max())
    cut = low_rank_mix(torch.from_numpy(A), torch.from_numpy(V), k).numpy()
    softmax_error = float(np.linalg.norm(cut - A @ V) / np.linalg.norm(A @ V))
    exact = "is exact, up to" if k >= full else f"is a cut, for the scores have rank {full}, and off by up to"
    return Projected(
        C,
        D,
        error,
        softmax_error,
        (n * k * (h + V.shape[1]), n * len(K) * V.shape[1]),
        f"Without softmax rank {k} {exact} {said(error)}. With softmax the weights cut at rank {k} give an output that "
        f"is off by {said(100 * softmax_error)} %: projections before a softmax are another model.",
    )
