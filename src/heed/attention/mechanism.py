"""What every attention mechanism is: it mixes values. The layer owns projections, positions and heads.

A new mechanism is one file: a subclass that declares its `facts` and mixes in `forward`; its own options are keyword
arguments of `__init__`, and its parameters and random features are filled by `initialise`.

    class Mean(Mechanism):
        facts = Facts(...)

        def forward(self, q, k, v, mask, bias=None):
            ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from heed.attention.cache import LayerCache, StateCache
from heed.attention.facts import Facts
from heed.attention.masks import Mask
from heed.attention.shape import Shape

if TYPE_CHECKING:
    from heed.attention.scores import Score

Path = Literal["auto", "fused", "reference"]
"""auto, fused: the fast path. reference: the equation as written, which may hold T x S numbers."""


class Mechanism(nn.Module):
    """Base of all mechanisms. `dropout` acts on the weights while training, where there are weights."""

    facts: ClassVar[Facts]

    def __init__(self, shape: Shape, *, path: Path = "auto", dropout: float = 0.0, score: Score | None = None) -> None:
        super().__init__()
        self.shape, self.path, self.dropout = shape, path, dropout
        self.score = score
        """How a query meets a key; None: the scaled dot product."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Mix v (B, Hkv, S, K) by how q (B, H, T, K) meets k (B, Hkv, S, K), and return y (B, H, T, K).

        The queries are the last T of the S positions, and `mask` says what each may look at. `bias` (H, T, S) is
        added to the scores. What `facts.inputs` leaves out is not projected: v stands in its place.
        """
        raise NotImplementedError

    def extend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, state: StateCache) -> Tensor:
        """Like `forward` for the T tokens that follow what `state` has summed up; q, k and v hold these T only.

        For mechanisms that decode from running sums (`facts.cache == "state"`); adds the T tokens to `state`.
        """
        raise NotImplementedError

    def new_cache(self, batch: int, length: int, dtype: torch.dtype, device: torch.device) -> LayerCache | StateCache:
        """Return an empty cache of this layer for `batch` rows of up to `length` tokens."""
        size = (batch, self.shape.kv_heads, length, self.shape.width)
        return LayerCache(torch.zeros(size, dtype=dtype, device=device), torch.zeros(size, dtype=dtype, device=device))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Fill the mechanism's own parameters and random features from `generator` (on the CPU)."""
        if self.score is not None:
            self.score.initialise(generator)

    def flops(self, T: int) -> int:
        """Return the floating-point operations of mixing for one query among T keys, forward."""
        mean = 2 * self.shape.d_model * T  # of v: a product and a sum for each number
        return mean + (mean if self.score is None else self.score.flops(T))  # q k^T costs the same
