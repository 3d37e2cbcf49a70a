"""Normalisation of each token's vector.

    LayerNorm   (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias      Ba et al. 2016; var divides by D, not D - 1
    RMSNorm     x / sqrt(mean(x^2) + epsilon) * weight                      Zhang and Sennrich 2019

Both are computed in `heed.attention.normalise`; the tests hold them against these equations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from heed.attention.normalise import layer_norm, rms_norm


class LayerNorm(nn.Module):
    """Centres and scales the last dimension (width D), with the biased variance."""

    def __init__(self, width: int, epsilon: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised x (..., D)."""
        return layer_norm(x, self.weight, self.bias, self.epsilon)


class RMSNorm(nn.Module):
    """Scales the last dimension (width D) to a root mean square of 1; it has no bias whatever `bias` says."""

    def __init__(self, width: int, epsilon: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled x (..., D)."""
        return rms_norm(x, self.weight, self.epsilon)


NORMS: dict[str, type[LayerNorm] | type[RMSNorm]] = {"layer": LayerNorm, "rms": RMSNorm}
"""Normalisations by name."""
