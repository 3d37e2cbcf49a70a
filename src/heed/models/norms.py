"""Normalisation of each token's vector.

    LayerNorm   (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias      Ba et al. 2016; var divides by D, not D - 1
    RMSNorm     x / sqrt(mean(x^2) + epsilon) * weight                      Zhang and Sennrich 2019

Both call torch's fused kernel; the tests hold them against these equations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """Centres and scales the last dimension (width D), with the biased variance."""

    def __init__(self, width: int, epsilon: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.shape, self.epsilon = (width,), epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised x (..., D)."""
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.epsilon)


class RMSNorm(nn.Module):
    """Scales the last dimension (width D) to a root mean square of 1; it has no bias whatever `bias` says."""

    def __init__(self, width: int, epsilon: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.shape, self.epsilon = (width,), epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled x (..., D)."""
        return F.rms_norm(x, self.shape, self.weight, self.epsilon)


NORMS: dict[str, type[LayerNorm] | type[RMSNorm]] = {"layer": LayerNorm, "rms": RMSNorm}
"""Normalisations by name."""
