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


@dataclass(frozen=True)
class StabiliserLeak:
    """How much outputs before the last position move when the last key is another one. Causal, so it should be 0."""

    whole_sequence: float
    """With the largest w.k of all keys taken off, and a small number added to each feature."""
    each_key: float
    """With the largest log feature of each key, which its weight is multiplied with again: heed's way."""
    explanation: str


def stabiliser_leak(
    growth: float = 10.0, added: float = 1e-4, width: int = 16, length: int = 32, features: int = 64, seed: int = 0
) -> StabiliserLeak:
    """Return what two ways to keep exponentials small do to the past, when the last key becomes `growth` times as long.

    `added` is the number that keeps features above 0 in the first way. Raises `ConfigError` for numbers out of range.
    """
    import torch

    from heed.attention import Shape, make_mask
    from heed.attention.mechanisms.performer import Performer

    factor, floor = positive_of("growth", growth), positive_of("added", added)
    T, K = count_of("length", length, least=2, most=1024), count_of("width", width, most=1024)
    generator = torch.Generator().manual_seed(count_of("seed", seed, least=0, most=2**32))
    mechanism = Performer(Shape(K, 1, T), features=count_of("features", features, most=65_536)).double()
    mechanism.initialise(generator)
    q, k, v = (torch.randn(1, 1, T, K, dtype=torch.float64, generator=generator) for _ in range(3))
    longer = k.clone()
    longer[..., -1, :] *= factor

    def stabilised(k: Tensor) -> Tensor:
        x, y = q[0, 0] * K**-0.25, k[0, 0] * K**-0.25
        dots = y @ mechanism.w.T
        phi_k = (dots - dots.max() - y.square().sum(-1, keepdim=True) / 2).exp() + floor
        phi_q = (x @ mechanism.w.T - x.square().sum(-1, keepdim=True) / 2).exp() + floor
        A = (phi_q @ phi_k.T).tril()
        return (A / A.sum(-1, keepdim=True)) @ v[0, 0]

    mask = make_mask(T, causal=True)
    whole = (stabilised(longer) - stabilised(k))[:-1].abs().max().item()
    own = (mechanism(q, longer, v, mask) - mechanism(q, k, v, mask))[..., :-1, :].abs().max().item()
    return StabiliserLeak(
        whole,
        own,
        f"A maximum over all keys lets a later key shrink the features of earlier ones to the {said(floor)} that is "
        f"added, so that outputs before it move by {said(whole)}. With a scale for each key they move by {said(own)}.",
    )


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
        A = estimated_weights(kind, q, k, w)
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


def estimated_weights(kind: str, q: Tensor, k: Tensor, w: Tensor) -> Tensor:
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
