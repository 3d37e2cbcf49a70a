"""Low rank: how much of an attention matrix a few singular vectors hold. To look at attention, not to train with it.

    A = U diag(s) V^T                  singular values s_1 >= s_2 >= ...      (T, S) = (T, n) (n) (n, S)
    A_k = U_k diag(s_k) V_k^T          the best matrix of rank k (Eckart and Young 1936)
    A_k X = U_k (s_k * (V_k^T X))      mixing in O((T + S) k K) operations instead of T S K
    |A - A_k|_F^2 = sum_{i>k} s_i^2

Scores P = Q K^T / sqrt(K) have rank K or less, so with C = V_k^T and D = V_k^T / sqrt(K), both (k, S), P X is
Q (C K)^T (D X): Linformer's equation without the softmax. The softmax of such a matrix has in general full rank, and
`spectrum` says what a cut at k then costs. Singular vectors read the whole matrix: a cut of causal weights is no longer
causal, and nothing here is a mechanism.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """The singular values of weights (..., T, S), n = min(T, S) of them, and what follows from them."""

    values: Tensor
    """Singular values (..., n), the largest first."""

    @property
    def errors(self) -> Tensor:
        """|A - A_k| / |A| in the Frobenius norm for k = 0 .. n: (..., n + 1), from 1 down to 0."""
        squares = self.values.square()
        # summed from the smallest on, so that a small tail is not lost in a large total
        tails = squares.flip(-1).cumsum(-1).flip(-1)
        tails = torch.cat((tails, torch.zeros_like(tails[..., :1])), dim=-1)
        return (tails / tails[..., :1]).sqrt()

    @property
    def effective_rank(self) -> Tensor:
        """exp of the entropy of s / sum(s): (...), n for equal values and 1 for a single one. Roy and Vetterli 2007."""
        shares = self.values / self.values.sum(-1, keepdim=True)
        return torch.special.entr(shares).sum(-1).exp()

    def rank_for(self, energy: float = 0.99) -> Tensor:
        """Return the smallest k whose values hold this share of the sum of all s^2: int64 (...)."""
        squares = self.values.square()
        shares = squares.cumsum(-1) / squares.sum(-1, keepdim=True)
        return ((shares < energy).sum(-1) + 1).clamp(max=squares.shape[-1])


def spectrum(weights: Tensor) -> Spectrum:
    """Return the singular values of weights (..., T, S), taken in float64.

    >>> spectrum(torch.full((4, 4), 0.25)).rank_for(0.99).item()
    1
    """
    return Spectrum(torch.linalg.svdvals(weights.double()))


def low_rank(weights: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return U_k (..., T, k), s_k (..., k) and V_k^T (..., k, S): the best factors of that rank."""
    u, s, vt = torch.linalg.svd(weights, full_matrices=False)
    return u[..., :rank], s[..., :rank], vt[..., :rank, :]


def low_rank_mix(weights: Tensor, v: Tensor, rank: int) -> Tensor:
    """Return A_k v (..., T, K) for weights A (..., T, S) and v (..., S, K), from the factors and never from A_k."""
    u, s, vt = low_rank(weights, rank)
    return u @ (s[..., :, None] * (vt @ v))


def score_projections(q: Tensor, k: Tensor, rank: int | None = None) -> tuple[Tensor, Tensor]:
    """Return C and D, both (..., rank, S), with P v = q (C k)^T (D v) for the scores P = q k^T / sqrt(K).

    q (..., T, K) and k (..., S, K). Exact for `rank` = min(T, S, K), which None stands for; the best P_k below. P
    itself is never held: its right singular vectors lie in the span of the columns of k, so K x K factors are enough.
    """
    basis, triangle = torch.linalg.qr(k)  # k = basis (S, K) triangle (K, K)
    _, _, vt = torch.linalg.svd(q @ triangle.transpose(-2, -1), full_matrices=False)
    C = (vt @ basis.transpose(-2, -1))[..., :rank, :]
    return C, C / math.sqrt(q.shape[-1])
