"""How a model knows the order of its tokens.

A scheme has three hooks, and each may do nothing: `add` changes the embeddings once, before the first block;
`at` returns what turns queries and keys in every layer; `bias` is added to the scores in every layer. `index` says
which positions the T tokens have: a slice where every row has the same, or a tensor (B, T) where rows are padded on
the left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

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


class RotaryPositions(NoPositions):
    """Rotary positions: q and k are turned by angles that grow with the position. Su et al. 2021, "RoFormer".

    Components i and i + K/2 form a plane, turned by the angle position * base^(-2i/K) (the half-split layout of
    Llama). A dot product of a turned query with a turned key depends on the distance of their positions only.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape, base: float = 10_000.0) -> None:
        super().__init__(shape)
        # Angles in float64: position 1,000 times a frequency loses 1e-4 rad in float32.
        frequencies = base ** (-torch.arange(0, shape.width, 2, dtype=torch.float64) / shape.width)
        angles = torch.outer(torch.arange(shape.context, dtype=torch.float64), frequencies)
        self.register_buffer("cos", angles.cos().to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("sin", angles.sin().to(torch.get_default_dtype()), persistent=False)

    def at(self, index: Index) -> Place:
        """Return the function that turns q and k to these positions."""
        cos, sin = self.cos[index].unsqueeze(-3), self.sin[index].unsqueeze(-3)
        return lambda q, k: (rotate(q, cos, sin), rotate(k, cos, sin))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn x (B, H, T, K) in its K/2 planes by the angles whose cosine and sine (..., T, K/2) are given."""
    a, b = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
