"""How a model knows the order of its tokens.

    learned       x_t + P_t, P learned                                    Radford et al. 2018 (GPT-1)
    sinusoidal    sqrt(D) x_t + P_t, P of sines and cosines               Vaswani et al. 2017, sections 3.4 and 3.5
    rotary        q and k turned by angles that grow with t               Su et al. 2021, "RoFormer"
    alibi         scores - slope_h |t - s|                                Press et al. 2022
    relative      scores + b_h[bucket(s - t)], b learned                  Raffel et al. 2020 (T5), section 2.1

A scheme has three hooks, and each may do nothing: `add` changes the embeddings once, before the first block;
`at` returns what turns queries and keys in every layer; `bias` is added to the scores in every layer. `index` says
which positions the T tokens have: a slice where every row has the same, or a tensor (B, T) where rows are padded on
the left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from heed.attention.normalise import trains_on_cpu
from heed.attention.shape import Shape

Index = slice | Tensor
Place = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes q (B, H, T, K) and k (B, Hkv, T, K) and returns both with their positions in them."""


class NoPositions(nn.Module):
    """No positions: order is known only through the causal mask. Haviv et al. 2022."""

    biased: ClassVar[bool] = False
    """Whether `bias` does something."""

    def __init__(self, shape: Shape, base: float = 10_000.0) -> None:
        super().__init__()

    def add(self, x: Tensor, index: Index) -> Tensor:
        """Return the embeddings x (B, T, D) with what the scheme adds to them."""
        return x

    def at(self, index: Index) -> Place | None:
        """Return the function that places q and k at these positions, or None."""
        return None

    def bias(self, T: int, S: int) -> Tensor | None:
        """Return what is added to the scores of T queries, the last of S positions: (H, T, S), or None."""
        return None


class LearnedPositions(NoPositions):
    """One learned vector for each position, added to the embeddings. Radford et al. 2018 (GPT-1)."""

    def __init__(self, shape: Shape, base: float = 10_000.0) -> None:
        super().__init__(shape)
        self.weight = nn.Parameter(torch.empty(shape.context, shape.d_model))

    def add(self, x: Tensor, index: Index) -> Tensor:
        """Return x (B, T, D) plus the vectors of its positions."""
        return x + self.weight[index]


class SinusoidalPositions(NoPositions):
    """Fixed sines and cosines, added to the embeddings. Vaswani et al. 2017, sections 3.4 and 3.5.

    Components 2i and 2i + 1 of position t are the sine and the cosine of t base^(-2i/D). The embeddings are multiplied
    by sqrt(D) first, as the paper does: next to sines of size 1, embeddings that begin at 0.02 could not be told apart.
    """

    table: Tensor

    def __init__(self, shape: Shape, base: float = 10_000.0) -> None:
        super().__init__(shape)
        angles = angles_of(shape.context, shape.d_model, base)
        table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[:, : shape.d_model]
        self.register_buffer("table", table.to(torch.get_default_dtype()), persistent=False)

    def add(self, x: Tensor, index: Index) -> Tensor:
        """Return sqrt(D) x (B, T, D) plus the sines and cosines of its positions."""
        return math.sqrt(x.shape[-1]) * x + self.table[index].to(x.dtype)


class RotaryPositions(NoPositions):
    """Rotary positions: q and k are turned by angles that grow with the position. Su et al. 2021, "RoFormer".

    Components i and i + K/2 form a plane, turned by the angle position * base^(-2i/K) (the half-split layout of
    Llama). A dot product of a turned query with a turned key depends on the distance of their positions only.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape, base: float = 10_000.0) -> None:
        super().__init__(shape)
        angles = angles_of(shape.context, shape.width, base)
        cos, sin = (turn.to(torch.get_default_dtype()) for turn in (angles.cos(), angles.sin()))
        self.register_buffer("cos", torch.cat((cos, cos), dim=-1), persistent=False)  # (context, K)
        self.register_buffer("sin", torch.cat((-sin, sin), dim=-1), persistent=False)

    def at(self, index: Index) -> Place:
        """Return the function that turns q and k to these positions."""
        cos, sin = self.cos[index].unsqueeze(-3), self.sin[index].unsqueeze(-3)
        return lambda q, k: (rotate(q, cos, sin), rotate(k, cos, sin))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (B, H, T, K) in its planes of components i and i + K/2.

    `cos` and `sin` (..., T, K) hold the cosine and the sine of each plane's angle at both components, the sine negative
    at the first: (a, b) becomes (a cos - b sin, b cos + a sin).
    """
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return _Rotate.apply(x, cos, sin) if x.requires_grad and trains_on_cpu(x) else _turned(x, cos, sin)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    return torch.cat((x[..., half:], x[..., :half]), dim=-1).mul_(sin).addcmul_(x, cos)


class _Rotate(torch.autograd.Function):
    """The way back is a turn by the angles in the other direction: three passes over memory where torch takes ten."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    @once_differentiable  # its type makes ctx positional
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        cos, sin = ctx.saved_tensors
        return _turned(grad_outputs[0], cos, -sin), None, None


def angles_of(positions: int, width: int, base: float) -> Tensor:
    """Return the angles t base^(-2i/width) of all positions t, (positions, width / 2 rounded up), in float64.

    In float32, position 1,000 times a frequency loses 1e-4 rad.
    """
    frequencies = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.outer(torch.arange(positions, dtype=torch.float64), frequencies)


class AlibiPositions(NoPositions):
    """ALiBi: scores fall with the distance, by a fixed slope for each head. Press et al. 2022.

    The slopes of H heads are 2^(-8/H), 2^(-16/H), ... 2^-8 where H is a power of two. Otherwise they are those of the
    next lower power of two, then every other one of twice as many, as in the paper's own code. Keys on both sides of a
    query are treated alike, which makes the scheme fit for encoders.
    """

    biased: ClassVar[bool] = True
    slopes: Tensor

    def __init__(self, shape: Shape, base: float = 10_000.0) -> None:
        super().__init__(shape)
        slopes = torch.tensor(alibi_slopes(shape.n_heads), dtype=torch.get_default_dtype())
        self.register_buffer("slopes", slopes, persistent=False)

    def bias(self, T: int, S: int) -> Tensor:
        """Return -slope |t - s| of T queries, the last of S positions: (H, T, S)."""
        distances = distances_of(T, S, self.slopes.device).abs().to(self.slopes.dtype)
        return spread(-self.slopes[:, None] * distances, T, S)


def alibi_slopes(n_heads: int) -> list[float]:
    """Return the slope of each head.

    >>> alibi_slopes(4), alibi_slopes(3)
    ([0.25, 0.0625, 0.015625, 0.00390625], [0.0625, 0.00390625, 0.25])
    """
    power = 1 << (n_heads.bit_length() - 1)
    slopes = [2.0 ** (-8 * h / power) for h in range(1, power + 1)]
    between = [2.0 ** (-8 * h / (2 * power)) for h in range(1, 2 * power + 1, 2)]
    return slopes + between[: n_heads - power]


class RelativePositions(NoPositions):
    """T5's relative bias: one learned number for each head and bucket of distances. Raffel et al. 2020, section 2.1.

    One table (32, H) serves all layers. A causal model has a bucket for each distance up to 15 and 16 that grow
    in width up to distance 128, beyond which all share the last. Otherwise each side has half of the buckets.
    """

    biased: ClassVar[bool] = True
    BUCKETS: ClassVar[int] = 32

    def __init__(self, shape: Shape, base: float = 10_000.0) -> None:
        super().__init__(shape)
        self.causal = shape.causal
        self.weight = nn.Parameter(torch.empty(self.BUCKETS, shape.n_heads))

    def bias(self, T: int, S: int) -> Tensor:
        """Return the learned bias of T queries, the last of S positions: (H, T, S)."""
        buckets = relative_buckets(distances_of(T, S, self.weight.device), causal=self.causal, buckets=self.BUCKETS)
        return spread(self.weight[buckets].t(), T, S)


def relative_buckets(distances: Tensor, *, causal: bool, buckets: int = 32, farthest: int = 128) -> Tensor:
    """Return the bucket of each distance s - t (int64, any shape) of a key s from its query t.

    >>> relative_buckets(torch.tensor([0, -1, -15, -16, -19, -127, -500, 3]), causal=True).tolist()
    [0, 1, 15, 16, 17, 31, 31, 0]
    >>> relative_buckets(torch.tensor([0, -1, 1, -8, 8, 500]), causal=False).tolist()
    [0, 1, 17, 8, 24, 31]
    """
    if causal:
        side, far = 0, (-distances).clamp(min=0)
    else:
        buckets //= 2
        side, far = buckets * (distances > 0), distances.abs()
    exact = buckets // 2
    # In float64, and 1e-9 more: 8 + 8 log(16/8) / log(128/8) is the whole number 10, also when rounding says 9.999...
    logs = torch.log(far.clamp(min=exact).double() / exact) / math.log(farthest / exact)
    wide = exact + (logs * (buckets - exact) + 1e-9).long().clamp(max=buckets - exact - 1)
    return side + torch.where(far < exact, far, wide)


def distances_of(T: int, S: int, device: torch.device | str | None = None) -> Tensor:
    """Return all distances s - t of T queries, the last of S positions: (T + S - 1,) int64, ascending."""
    return torch.arange(1 - S, T, device=device)


def spread(by_distance: Tensor, T: int, S: int) -> Tensor:
    """Lay out what depends on the distance only, (H, T + S - 1) for ascending s - t, by query and key: (H, T, S).

    >>> spread(torch.tensor([[-2, -1, 0, 1]]), 2, 3).tolist()
    [[[-1, 0, 1], [-2, -1, 0]]]
    """
    return by_distance.unfold(-1, S, 1).flip(-2)
