"""Softmax attention: Y = softmax(Q K^T / sqrt(K)) V. Vaswani et al. 2017, "Attention is all you need".

Two paths compute it. `reference` is `steps.py`, which holds the T x S weights; `fused` is torch's
`scaled_dot_product_attention`, which need not (Dao et al. 2022, "FlashAttention").
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.attention import steps
from heed.attention.facts import Facts
from heed.attention.masks import Mask


class Softmax(nn.Module):
    """Mixes values by softmax of the scaled dot products. `dropout` acts on the weights while training."""

    facts = Facts(
        equation="softmax(Q K^T / sqrt(K)) V",
        source="Vaswani et al. 2017, Attention is all you need",
        causal="exact",
        differentiable="all",
        masks=frozenset({"causal", "padding", "window"}),
        positions=frozenset({"none", "learned", "rotary"}),
        time="T^2 D",
        memory="T D fused, H T^2 step by step",
        cache=True,
        grouped=True,
    )

    def __init__(self, path: Literal["auto", "fused", "reference"] = "auto", dropout: float = 0.0) -> None:
        super().__init__()
        self.path = path
        self.dropout = dropout

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
        """Mix v (B, Hkv, S, K) by how q (B, H, T, K) meets k (B, Hkv, S, K): (B, H, T, K)."""
        dropout = self.dropout if self.training else 0.0
        if self.path == "reference":
            return _by_steps(q, k, v, mask.dense(q.device), dropout)
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask.allowed,
            dropout_p=dropout,
            is_causal=mask.is_plain_causal,
            enable_gqa=q.shape[1] != k.shape[1],
        )


def _by_steps(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, dropout: float) -> Tensor:
    """Return attention by the equations of `steps.py`, with dropout on the weights."""
    k, v = steps.share_heads(k, q.shape[1]), steps.share_heads(v, q.shape[1])
    weights = steps.weigh(steps.mask_scores(steps.scale(steps.similarities(q, k), q.shape[-1]), allowed))
    if dropout:
        weights = torch.dropout(weights, dropout, train=True)
    return steps.mix(weights, v)
