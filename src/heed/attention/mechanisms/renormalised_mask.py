"""The renormalised mask: hidden weights are set to zero, and what is left is divided by its sum.

    E_ts = exp(X_ts - m_t) where query t may look at key s, else 0         X = Q K^T / sqrt(K)
    A_ts = E_ts / sum_s E_ts                                               m_t = max of X_ts over the keys it may see

The division takes the sum over all keys out again, so this is softmax attention with a mask, exactly causal. That
holds as long as m_t is taken over the allowed keys. Written literally, as softmax over all keys, then zero, then
divide, a hidden score that is 104 higher (745 in float64) leaves 0 / 0 in its row.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from heed.attention import steps
from heed.attention.masks import Mask
from heed.attention.mechanisms.softmax import Softmax


class RenormalisedMask(Softmax):
    """Exponentials, the hidden ones zeroed, divided by their sum. The fused path is softmax, which it equals."""

    facts = replace(
        Softmax.facts,
        equation="(E * mask) / sum(E * mask) V, E = exp(Q K^T / sqrt(K))",
        source="equal to Vaswani et al. 2017 in exact arithmetic",
    )

    def weights(self, scores: Tensor, mask: Mask) -> Tensor:
        """Return weights (B, H, T, S) whose rows sum to 1, or to 0 where a query may look nowhere."""
        allowed = mask.dense(scores.device)
        top = steps.mask_scores(scores.detach(), allowed).amax(-1, keepdim=True)
        # An allowed score is at most `top`. A hidden one may be far above it: unclamped, its exponential would be
        # infinite, and its gradient 0 * inf.
        left = (scores - top.masked_fill(torch.isneginf(top), 0.0)).clamp(max=0.0).exp()
        if allowed is not None:
            left = left.masked_fill(~allowed, 0.0)
        total = left.sum(-1, keepdim=True)
        return left / total.masked_fill(total == 0.0, 1.0)
