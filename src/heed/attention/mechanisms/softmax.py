"""Softmax attention: Y = softmax(Q K^T / sqrt(K)) V. Vaswani et al. 2017, "Attention is all you need".

Two paths compute it. `reference` is `steps.py`, which holds the T x S weights; `fused` is torch's
`scaled_dot_product_attention`, which need not (Dao et al. 2022, "FlashAttention"), and in training on a CPU, where that
is slow, `written_out.py`. With fewer key/value heads than
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
from heed.attention.scores import meet
from heed.attention.written_out import write_out


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
        if self.path == "reference":
            return self.by_steps(q, k, v, mask, bias)
        factor, width = None, v.shape[-1]
        if self.score is not None:
            dot = self.score.as_dot(q, k)
            if dot is None:
                return self.by_steps(q, k, v, mask, bias)
            q, k, factor = dot
            v = F.pad(v, (0, q.shape[-1] - width))  # unequal widths have no fused kernel
        dropout = self.dropout if self.training else 0.0
        if bias is None and self.score is None and (y := write_out(q, k, v, mask, dropout)) is not None:
            return y
        hidden = mask.allowed
        if bias is not None:  # in four dimensions: three have no fused kernel
            hidden = steps.mask_scores(bias.to(q.dtype)[None], mask.dense(q.device))
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=hidden,
            dropout_p=dropout,
            is_causal=mask.is_plain_causal and bias is None,
            scale=factor,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return y[..., :width]

    def by_steps(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Return what `forward` returns by the equations of `steps.py`, with all T x S weights in memory."""
        weights = self.weights(meet(self.score, q, k, bias), mask)
        if self.training and self.dropout:
            weights = torch.dropout(weights, self.dropout, train=True)
        return steps.mix(weights, steps.share_heads(v, q.shape[1]))

    def weights(self, scores: Tensor, mask: Mask) -> Tensor:
        """Return the weights (B, H, T, S) that `scores` (B, H, T, S) give to the keys, before dropout."""
        return steps.weigh(steps.mask_scores(scores, mask.dense(scores.device)))
