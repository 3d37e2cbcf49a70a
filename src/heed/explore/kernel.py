"""Random features in the place of the exponential: how good an estimate, of which kind, with how many features.

    exp(q.k / sqrt(K)) = E phi(q).phi(k)           x / K^(1/4), w ~ N(0, I); features of `heed.attention`'s Performer
    positive        exp(w.x - |x|^2/2) / sqrt(m)   every weight is above 0
    trigonometric   sines and cosines              unbiased as well, but weights may be negative
    orthogonal      the w of a block of K stand at right angles: still unbiased, and less variance

There is no second exponential: phi(q).phi(k) is the weight. Choromanski et al. 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from heed.errors import ConfigError
from heed.explore.arrays import count_of, positive_of, said

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class KernelEstimate:
    """How near random features come, over draws of them: medians, for tails are heavy."""

    kind: str
    orthogonal: bool
    features: int
    spread: float
    kernel_error: float
    """Root mean square over all pairs of the relative error of exp(q.k / sqrt(K)), median over draws."""
    output_error: float
    """Root mean square error of the output, median over draws, over the root mean square of the exact output."""
    negative: float
    """The share of estimated weights below 0."""
    second_exponential: float
    """The same error of exp(phi(q).phi(k)): what a second exponential does."""
    explanation: str


def estimate_kernel(
    features: int = 128,
    kind: str = "positive",
    orthogonal: bool = True,
    spread: float = 0.75,
    width: int = 16,
    length: int = 32,
    draws: int = 50,
    seed: int = 0,
) -> KernelEstimate:
    """Return how well `features` features estimate softmax attention of `length` tokens, q, k ~ N(0, spread^2).

    Raises `ConfigError` for numbers out of range, and for an odd number of trigonometric features.
    """
    import torch

    from heed.attention.mechanisms.performer import draw, refuse_impossible_options

    m = count_of("features", features, most=65_536)
    refuse_impossible_options(m, kind, None)
    K, T = count_of("width", width, most=1024), count_of("length", length, most=1024)
    generator = torch.Generator().manual_seed(count_of("seed", seed, least=0, most=2**32))
    size = positive_of("spread", spread)

    def normal() -> Tensor:
        return torch.randn(T, K, dtype=torch.float64, generator=generator)

    q, k, v = size * normal(), size * normal(), normal()
    exact = (q @ k.T / math.sqrt(K)).exp()
    output = exact @ v / exact.sum(-1, keepdim=True)
    kernel, outputs, negative, second = [], [], [], []
    for _ in range(count_of("draws", draws, most=10_000)):
        w = draw(m if kind == "positive" else m // 2, K, orthogonal, generator)
        A = _estimate(kind, q, k, w)
        kernel.append((A / exact - 1).square().mean())
        outputs.append((A @ v / A.sum(-1, keepdim=True) - output).square().mean())
        negative.append((A < 0).double().mean())
        second.append((A.clamp(max=50).exp() / exact - 1).square().mean())
    return _told(
        KernelEstimate(
            kind,
            orthogonal,
            m,
            size,
            torch.stack(kernel).median().sqrt().item(),
            (torch.stack(outputs).median() / output.square().mean()).sqrt().item(),
            torch.stack(negative).mean().item(),
            torch.stack(second).median().sqrt().item(),
            "",
        )
    )


def _estimate(kind: str, q: Tensor, k: Tensor, w: Tensor) -> Tensor:
    """Return phi(q) phi(k)^T (T, S) of q (T, K), k (S, K) and random vectors w."""
    from heed.attention.mechanisms.features import Positive, Trigonometric

    phi = Positive(w) if kind == "positive" else Trigonometric(w)
    (of_q, scale_q), (of_k, scale_k) = phi.forward(q), phi.forward(k)
    assert scale_q is not None
    assert scale_k is not None
    return of_q @ of_k.T * (scale_q + scale_k.T).exp()


def _told(found: KernelEstimate) -> KernelEstimate:
    """Return the same with its sentence."""
    words = (
        f"{found.features} {found.kind} features miss exp(q.k / sqrt(K)) by {said(100 * found.kernel_error)} % and the "
        f"output by {said(100 * found.output_error)} % at a spread of {said(found.spread)}"
    )
    if found.negative > 0:
        words += f"; {said(100 * found.negative)} % of the weights are negative, so that a denominator may come near 0"
    return replace(found, explanation=f"{words}. The number that is needed grows exponentially with |q + k|^2.")


def errors_over_features(
    features: Sequence[int] = (16, 64, 256, 1024), kind: str = "positive", orthogonal: bool = True, spread: float = 0.75
) -> tuple[KernelEstimate, ...]:
    """Return the estimate for each number of features; raises `ConfigError` as `estimate_kernel` does."""
    if not features:
        raise ConfigError("features: there is none, give at least one number")
    return tuple(estimate_kernel(m, kind, orthogonal, spread) for m in features)
