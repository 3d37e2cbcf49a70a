"""Softmax attention: Y = softmax(Q K^T / sqrt(K)) V. Vaswani et al. 2017, "Attention is all you need".

Two paths compute it. `reference` is `steps.py`, which holds the T x S weights; `fused` is torch's
`scaled_dot_product_attention`, which need not (Dao et al. 2022, "FlashAttention"). With fewer key/value heads than
query heads it is grouped-query attention (Ainslie et al. 2023), with one multi-query attention (Shazeer 2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from heed.attention import steps
from heed.attention.facts import Facts
from heed.attention.masks import Mask
from heed.attention.mechanism import Mechanism


class Softmax(Mechanism):
    """Mixes values by the softmax of how queries meet keys."""

    facts = Facts(
        equation="softmax(Q K^T / sqrt(K)) V",
        source="Vaswani et al. 2017, Attention is all you need",
        causal="exact",
        differentiable="all",
        masks=frozenset({"causal", "padding", "window"}),
        positions=frozenset({"none", "learned", "sinusoidal", "rotary", "alibi", "relative"}),
        time="T^2 D",
        memory="T D fused, H T^2 step by step",
        growth=(2, 1),
        cache="keys",
        grouped=True,
        weights=True,
        scores=frozenset({"any"}),
    )

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Mix v (B, Hkv, S, K) by how q (B, H, T, K) meets k (B, Hkv, S, K): (B, H, T, K)."""
        dropout = self.dropout if self.training else 0.0
        factor = None
        if self.path != "reference" and self.score is not None:
            dot = self.score.as_dot(q, k)
            if dot is not None:
                q, k, factor = dot
        if self.path == "reference" or (self.score is not None and factor is None):
            return self._by_steps(q, k, v, mask.dense(q.device), bias, dropout)
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask.allowed if bias is None else steps.mask_scores(bias.to(q.dtype), mask.dense(q.device)),
            dropout_p=dropout,
            is_causal=mask.is_plain_causal and bias is None,
            scale=factor,
            enable_gqa=q.shape[1] != k.shape[1],
        )

    def _by_steps(
        self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, bias: Tensor | None, dropout: float
    ) -> Tensor:
        """Return attention by the equations of `steps.py`, with dropout on the weights."""
        k, v = steps.share_heads(k, q.shape[1]), steps.share_heads(v, q.shape[1])
        scores = steps.scale(steps.similarities(q, k), q.shape[-1]) if self.score is None else self.score(q, k)
        weights = steps.weigh(steps.mask_scores(scores if bias is None else scores + bias, allowed))
        if dropout:
            weights = torch.dropout(weights, dropout, train=True)
        return steps.mix(weights, v)
