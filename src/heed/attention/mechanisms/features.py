"""Feature maps: phi(x) such that phi(q).phi(k) says how much a query looks at a key.

    elu(x) + 1                                                 Katharopoulos et al. 2020, equation 7
    exp(w.x - |x|^2/2) / sqrt(m)                               Choromanski et al. 2021, lemma 1: positive
    exp(|x|^2/2) sqrt(2/m) [sin(w.x), cos(w.x)]                Choromanski et al. 2021, section 2.3: trigonometric

The last two take x / K^(1/4), so that the mean of phi(q).phi(k) over w ~ N(0, I) is exp(q.k / sqrt(K)).

Each map has its gradient beside it, because the causal product (`chunks.py`) makes features twice and keeps none. What
may overflow is given as phi e^scale, one logarithm `scale` a vector: a constant, the whole gradient goes through phi.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

SMALLEST = 1e-15
"""Added to elu(x) + 1: a query and a key far below 0 in every component still meet, where floats would be 0."""
LOWEST = -60.0
"""Log features are held this near to the largest one of their vector: products of e^-60 and 1 are still floats, so no
query finds every one of its weights rounded to 0. Beside the largest feature e^-60 = 9e-27 is below any precision."""


class FeatureMap:
    """Base of feature maps. Calling one is differentiable; `forward` and `gradient` are its two halves."""

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return phi (..., m) and scale (..., 1) or None of x (..., K)."""
        return _Apply.apply(x, self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return phi (..., m) and scale (..., 1) or None of x (..., K), without a gradient."""
        raise NotImplementedError

    def gradient(self, x: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        """Return the gradient of x (..., K) from that of phi (..., m)."""
        raise NotImplementedError


class EluPlusOne(FeatureMap):
    """elu(x) + 1, which is e^x below 0 and x + 1 above; m is K."""

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return phi; it needs no scale."""
        return x.clamp(max=0.0).exp_().add_(x.relu()).add_(SMALLEST), None

    def gradient(self, x: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        """Return g times the slope, which is e^x = phi below 0 and 1 above."""
        return g * phi.clamp(max=1.0)


class Positive(FeatureMap):
    """exp(w.x - |x|^2/2) / sqrt(m) for the m vectors w (m, K); the largest phi of each x is 1."""

    def __init__(self, w: Tensor) -> None:
        self.w = w

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return phi = exp(w.x - top), with top the largest w.x, and the scale that makes up for it."""
        dots = F.linear(x, _shrunk(self.w, x))
        top = dots.amax(dim=-1, keepdim=True)
        return dots.sub_(top).clamp_(min=LOWEST).exp_(), top.sub_(_half_square(x)).sub_(math.log(len(self.w)) / 2)

    def gradient(self, x: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        """Return the gradient of exp(w.x - |x|^2/2), in units of e^scale."""
        g = g * phi
        return (g @ _shrunk(self.w, x)).sub_(x * (g.sum(dim=-1, keepdim=True) / math.sqrt(x.shape[-1])))


class Trigonometric(FeatureMap):
    """exp(|x|^2/2) sqrt(2/m) [sin(w.x), cos(w.x)] for the m/2 vectors w (m/2, K)."""

    def __init__(self, w: Tensor) -> None:
        self.w = w

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sines and cosines, and |x|^2/2 + log(2/m)/2."""
        dots = F.linear(x, _shrunk(self.w, x))
        return torch.cat((dots.sin(), dots.cos()), dim=-1), _half_square(x) - math.log(len(self.w)) / 2

    def gradient(self, x: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        """Return the gradient of exp(|x|^2/2) [sin(w.x), cos(w.x)], in units of e^scale."""
        (sin, cos), (of_sin, of_cos) = phi.chunk(2, dim=-1), g.chunk(2, dim=-1)
        grows = (g * phi).sum(dim=-1, keepdim=True) / math.sqrt(x.shape[-1])
        return (of_sin * cos - of_cos * sin) @ _shrunk(self.w, x) + x * grows


class _Apply(torch.autograd.Function):
    """A feature map as one node of torch's graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, features: FeatureMap) -> tuple[Tensor, Tensor | None]:
        phi, scale = features.forward(x)
        ctx.save_for_backward(x, phi)
        ctx.features = features
        if scale is not None:
            ctx.mark_non_differentiable(scale)
        return phi, scale

    @staticmethod
    @once_differentiable  # its type makes ctx positional
    def backward(ctx: Any, *gradients: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.features.gradient(*ctx.saved_tensors, gradients[0]), None


def _shrunk(w: Tensor, x: Tensor) -> Tensor:
    """Return w / K^(1/4) in the type of x (..., K): w.x of the x that is so divided."""
    return w.to(x.dtype) * x.shape[-1] ** -0.25


def _half_square(x: Tensor) -> Tensor:
    """Return |x|^2 / 2 (..., 1) of x / K^(1/4)."""
    return (x * x).sum(dim=-1, keepdim=True) / (2 * math.sqrt(x.shape[-1]))
