"""Argmax attention: each query takes the value of the one key that it meets best.

    y_t = v_j,   j = argmax_s of q_t.k_s / sqrt(K) over the keys that t may look at

The limit of softmax attention for large scores where one key is best; of several that are exactly equal it takes the
first. The choice has no derivative: gradients reach the values and are zero for queries and keys. With
`straight_through` the backward pass treats the weights as those of the softmax (Bengio et al. 2013).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from heed.attention import steps
from heed.attention.masks import Mask
from heed.attention.mechanism import Path
from heed.attention.mechanisms.softmax import Softmax
from heed.attention.scores import meet
from heed.attention.shape import Shape

if TYPE_CHECKING:
    from heed.attention.scores import Score

ROWS = 256
"""Queries whose scores are held at a time."""


class Argmax(Softmax):
    """Hard attention: the value of the best key.

    straight_through: backward as if the weights were those of the softmax, so that queries and keys learn as well.
    """

    facts = replace(
        Softmax.facts,
        equation="v_j, j = argmax_s q.k_s / sqrt(K)",
        source="the limit of softmax; straight-through: Bengio et al. 2013",
        differentiable="values",
        memory="256 H T, H T^2 with straight_through",
    )

    def __init__(
        self,
        shape: Shape,
        *,
        straight_through: bool = False,
        path: Path = "auto",
        dropout: float = 0.0,
        score: Score | None = None,
    ) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        self.straight_through = straight_through

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Take for each q (B, H, T, K) the row of v (B, Hkv, S, K) whose k (B, Hkv, S, K) is best: (B, H, T, K)."""
        if self.path == "reference" or self.straight_through or (self.training and self.dropout):
            return self.by_steps(q, k, v, mask, bias)
        parts = [self._choose(q, k, mask, bias, begin) for begin in range(0, q.shape[2], ROWS)]
        best, nowhere = (torch.cat(part, dim=2) for part in zip(*parts, strict=True))
        rows = best.reshape(v.shape[0], v.shape[1], -1, 1).expand(-1, -1, -1, v.shape[-1])  # groups share their values
        return v.gather(2, rows).view(*q.shape[:3], -1).masked_fill(nowhere, 0.0)

    @torch.no_grad()
    def _choose(self, q: Tensor, k: Tensor, mask: Mask, bias: Tensor | None, begin: int) -> tuple[Tensor, Tensor]:
        """Return the best key of `ROWS` queries from `begin` on, and whether they see none: (B, H, rows, 1) each."""
        end = min(begin + ROWS, mask.T)
        S, allowed = mask.S, mask.allowed
        if mask.is_plain_causal:
            S, allowed = end, steps.causal_mask(end - begin, end, q.device)
        elif allowed is not None and allowed.shape[-2] > 1:
            allowed = allowed[..., begin:end, :]
        scores = meet(self.score, q[:, :, begin:end], k[:, :, :S], None if bias is None else bias[:, begin:end, :S])
        top, best = steps.mask_scores(scores, allowed).max(dim=-1, keepdim=True)
        return best, torch.isneginf(top)

    def weights(self, scores: Tensor, mask: Mask) -> Tensor:
        """Return weights (B, H, T, S) that are 1 for the best key and 0 elsewhere."""
        scores = steps.mask_scores(scores, mask.dense(scores.device))
        top, best = scores.max(dim=-1, keepdim=True)
        hard = torch.zeros_like(scores).scatter(-1, best, 1.0).masked_fill(torch.isneginf(top), 0.0).detach()
        if not self.straight_through:
            return hard
        soft = steps.weigh(scores)
        return hard + (soft - soft.detach())  # in this order the value is exactly `hard`
