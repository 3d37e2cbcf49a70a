"""Muon: momentum whose update is brought near to an orthogonal matrix.

Jordan et al. 2024, kellerjordan.github.io/posts/muon. For a matrix W with gradient G, momentum μ, learning rate η and
decay λ:

    B <- μ B + (1 - μ) G
    U  = (1 - μ) G + μ B                          Nesterov's look ahead
    W <- W - η λ W - η sqrt(max(1, rows/columns)) NS(U)

NS(U) is five Newton-Schulz steps with a quintic whose slope at 0 is large: it keeps the singular vectors of U and
moves every singular value that is not tiny to between about 0.7 and 1.2.

`torch.optim.Muon` does the same in bfloat16. Few CPUs multiply bfloat16 fast (eight times slower than float32 where
they do not), so here the steps are float32 on a CPU, unless the training itself is in bfloat16, and bfloat16 on a GPU.
Matrices of one shape go through together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Jordan's quintic: s -> a s + b s^3 + c s^5."""
STEPS = 5
"""Newton-Schulz steps; with these coefficients five are enough for singular values above about 1/500."""
MOMENTUM = 0.95
"""Jordan's choice."""


def orthogonalise(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return matrices (..., R, C) with the same singular vectors and singular values near 1, computed in `dtype`.

    The work is on the smaller side. Where the longer side is at least twice as long, X_n = P_n X_0 is followed through
    the Gram matrix alone (A_n = P_n A_0 P_n, all polynomials of A_0, so that they commute): the long side is
    multiplied twice and not ten times. Not so in bfloat16: what rounding adds to A_n is never measured against X_n
    again, and grows out of bounds where many singular values are near zero.
    """
    a, b, c = COEFFICIENTS
    x = matrices.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / x.flatten(-2).norm(dim=-1)[..., None, None].clamp(min=1e-7)
    if dtype != torch.bfloat16 and x.shape[-1] >= 2 * x.shape[-2]:
        identity = torch.eye(x.shape[-2], dtype=dtype, device=x.device)
        gram = x @ x.mT
        product = identity
        for step in range(STEPS):
            factor = a * identity + b * gram + c * (gram @ gram)
            product = factor @ product if step else factor
            if step < STEPS - 1:
                gram = factor @ (factor @ gram)
        x = product @ x
    else:
        for _ in range(STEPS):
            gram = x @ x.mT
            x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


def update_matrices(
    weights: list[Tensor], gradients: list[Tensor], buffers: list[Tensor], lr: float, weight_decay: float,
    dtype: torch.dtype = torch.float32,
) -> None:  # fmt: skip
    """Apply one update to matrices of any shapes, in place; those of one shape go through together, in `dtype`."""
    by_shape: dict[torch.Size, list[int]] = {}
    for index, weight in enumerate(weights):
        by_shape.setdefault(weight.shape, []).append(index)
    for (rows, columns), places in by_shape.items():
        ahead = [_ahead(gradients[place], buffers[place]) for place in places]
        rate = lr * math.sqrt(max(1, rows / columns))
        for place, update in zip(places, orthogonalise(torch.stack(ahead), dtype), strict=True):
            weight = weights[place]
            weight.mul_(1 - lr * weight_decay).add_(update.to(weight.dtype), alpha=-rate)


def update_in_parts(
    weight: Tensor,
    gradient: Tensor,
    buffer: Tensor,
    lr: float,
    weight_decay: float,
    whole: Callable[[Tensor], Tensor],
    own: Callable[[Tensor], Tensor],
) -> None:
    """Apply one update to some rows of a matrix, in place; `whole` puts all rows together, `own` takes these again."""
    matrix = whole(_ahead(gradient, buffer))
    dtype = torch.bfloat16 if weight.device.type == "cuda" else torch.float32
    rate = lr * math.sqrt(max(1, matrix.shape[0] / matrix.shape[1]))
    update = own(orthogonalise(matrix, dtype)).to(weight.dtype)
    weight.mul_(1 - lr * weight_decay).add_(update, alpha=-rate)


def _ahead(gradient: Tensor, buffer: Tensor) -> Tensor:
    """Return U of a gradient, and move the momentum on."""
    return gradient.lerp(buffer.lerp_(gradient, 1 - MOMENTUM), MOMENTUM)
