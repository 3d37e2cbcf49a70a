"""How a query meets a key. Each score is a module: q (B, H, T, K) and k (B, H, S, K) give scores (B, H, T, S).

    scaled-dot   q.k / sqrt(K)                       Vaswani et al. 2017, equation 1
    dot          q.k                                 Luong et al. 2015

A score that is a dot product in disguise says so in `as_dot`, and then runs on the fused paths.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from heed.attention import steps
from heed.attention.shape import Shape


class Score(nn.Module):
    """Base of all scores; the scaled dot product itself."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Return the scores (B, H, T, S) of q (B, H, T, K) and k (B, H, S, K)."""
        dot = self.as_dot(q, k)
        assert dot is not None, "a score without a dot product must write its own forward"
        q, k, factor = dot
        return factor * steps.similarities(q, k)

    def as_dot(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, float] | None:
        """Return q', k' and a factor such that factor * q'.k' differs from the score by what is the same for all keys.

        None where there is no such form. Key/value heads of k may be fewer than query heads.
        """
        return q, k, 1 / math.sqrt(q.shape[-1])

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Fill the score's own parameters from `generator` (on the CPU)."""


class Dot(Score):
    """The plain dot product, unscaled."""

    def as_dot(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return q and k as they are."""
        return q, k, 1.0


SCORES: dict[str, type[Score]] = {"scaled-dot": Score, "dot": Dot}
"""Scores by name."""
