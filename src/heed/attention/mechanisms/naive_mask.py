"""The naive mask: hidden weights are set to zero after the softmax. It leaks the future, and is here to show it.

    A = softmax(Q K^T / sqrt(K))        over all keys, the future among them
    Y = (A * M) V                       M is 1 where a query may look and 0 elsewhere

Every weight that is left was divided by a sum over all keys, so its size tells what the hidden keys are. A model
learns to read that: its training loss falls below the entropy of the text, and it cannot be had again in use.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from heed.attention import steps
from heed.attention.masks import Mask
from heed.attention.mechanisms.softmax import Softmax


class NaiveMask(Softmax):
    """Softmax over all keys; what the future got is zeroed afterwards. **Leaks.** Padding is masked properly."""

    facts = replace(
        Softmax.facts,
        equation="(softmax(Q K^T / sqrt(K)) * mask) V",
        source="a common mistake; not a paper",
        causal="leaks",
        masks=frozenset({"causal", "padding"}),
        memory="H T^2",
        growth=(2, 2),
        cache="none",  # it would not see the future that the full sequence leaks, and so be another function
    )

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Mix v (B, Hkv, S, K) by how q (B, H, T, K) meets k (B, Hkv, S, K), step by step: (B, H, T, K)."""
        return self.by_steps(q, k, v, mask, bias)

    def weights(self, scores: Tensor, mask: Mask) -> Tensor:
        """Return weights (B, H, T, S) whose rows sum to less than 1 wherever something is hidden."""
        real = None if mask.padding is None else mask.padding[:, None, None, :]
        weights = steps.weigh(steps.mask_scores(scores, real))
        allowed = mask.dense(scores.device)
        return weights if allowed is None else weights.masked_fill(~allowed, 0.0)
