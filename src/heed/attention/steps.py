"""Attention one equation at a time: the page to read first, and what every fast path is tested against.

    A = softmax(Q K^T / sqrt(K) + mask)        weights, each row sums to 1
    Y = A V                                    a mean of the values, weighted by A

Vaswani et al. 2017, "Attention is all you need", equation 1 and section 3.2.2.

Letters: B batch, T queries, S keys, H heads, D model width, K width per head. Every function works on any number
of leading dimensions. A mask is boolean and True means: this query may look at this key.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def similarities(q: Tensor, k: Tensor) -> Tensor:
    """Return how well each query meets each key: q (..., T, K) and k (..., S, K) give q k^T (..., T, S)."""
    return q @ k.transpose(-2, -1)


def scale(scores: Tensor, width: int) -> Tensor:
    """Divide scores by sqrt(width), where `width` is the width per head.

    A dot product of two vectors of `width` independent components with mean 0 and variance 1 has variance `width`;
    without the division the softmax saturates and its gradients vanish.
    """
    return scores / math.sqrt(width)


def mask_scores(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """Set scores (..., T, S) to -inf wherever `allowed` (broadcastable, True = may look) is False.

    This happens before the softmax: a weight that is zeroed after it has already leaked through the denominator.
    A finite fill such as -1e4 would lose against scores below it. None allows everything.
    """
    return scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)


def weigh(scores: Tensor) -> Tensor:
    """Return softmax over the keys: weights (..., T, S) that are positive and sum to 1 in each row.

    A row that may look nowhere (all -inf) gets zero weights, and passes no gradient, where a plain softmax gives NaN.
    """
    nowhere = torch.isneginf(scores).all(dim=-1, keepdim=True)
    return torch.softmax(scores.masked_fill(nowhere, 0.0), dim=-1).masked_fill(nowhere, 0.0)


def mix(weights: Tensor, v: Tensor) -> Tensor:
    """Return the weighted mean of the values: weights (..., T, S) and v (..., S, K) give (..., T, K)."""
    return weights @ v


def causal_mask(T: int, S: int | None = None, device: torch.device | str | None = None) -> Tensor:
    """Return the boolean (T, S) mask in which a query looks at itself and at what came before it.

    With S > T the queries are the last T of the S positions, as in decoding with a cache.

    >>> causal_mask(2, 3).int().tolist()
    [[1, 1, 0], [1, 1, 1]]
    """
    S = T if S is None else S
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(diagonal=S - T)


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """Cut the width into heads: x (B, T, H K) gives y (B, H, T, K), with y[b, h, t, i] = x[b, t, h K + i].

    >>> split_heads(torch.arange(6).view(1, 1, 6), 2).tolist()
    [[[[0, 1, 2]], [[3, 4, 5]]]]
    """
    return x.unflatten(-1, (n_heads, -1)).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    """Put heads side by side again: (B, H, T, K) gives (B, T, H K), the inverse of `split_heads`."""
    return x.transpose(-3, -2).flatten(-2)


def share_heads(x: Tensor, n_heads: int) -> Tensor:
    """Repeat key or value heads for grouped-query attention: (B, Hkv, S, K) gives (B, n_heads, S, K).

    Query head h meets key head h // (n_heads / Hkv). Ainslie et al. 2023, "GQA".
    """
    groups = n_heads // x.shape[-3]
    return x if groups == 1 else x.repeat_interleave(groups, dim=-3)


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Return scaled dot-product attention of q (..., T, K) over k and v (..., S, K): (..., T, K)."""
    return mix(weigh(mask_scores(scale(similarities(q, k), q.shape[-1]), allowed)), v)


def self_attention(
    x: Tensor,
    qkv_weight: Tensor,
    out_weight: Tensor,
    *,
    n_heads: int = 1,
    qkv_bias: Tensor | None = None,
    out_bias: Tensor | None = None,
    allowed: Tensor | None = None,
) -> Tensor:
    """Return multi-head self-attention of x (B, T, D), composed of the steps above: (B, T, D).

    `qkv_weight` (3D, D) holds the query, key and value projections on top of each other, `out_weight` (D, D) the
    output projection, as in `torch.nn.functional.multi_head_attention_forward`.
    """
    projected = torch.nn.functional.linear(x, qkv_weight, qkv_bias)
    q, k, v = (split_heads(part, n_heads) for part in projected.chunk(3, dim=-1))
    return torch.nn.functional.linear(merge_heads(attend(q, k, v, allowed)), out_weight, out_bias)
