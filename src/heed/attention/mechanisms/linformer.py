"""Linformer: keys and values are projected along the sequence, from S positions to r. For encoders.

    Kbar = E K,  Vbar = F V                            E, F (r, context)
    Y = softmax(Q Kbar^T / sqrt(K)) Vbar               T x r weights

Wang et al. 2020, "Linformer: Self-attention with linear complexity", equation 7. Each row of Kbar is a mean of keys of
the whole sequence, so every query sees the future: there is no causal form. A sequence shorter than the context meets
the first columns of E and F.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from heed.attention import steps
from heed.attention.facts import Facts
from heed.attention.masks import Mask, make_mask
from heed.attention.mechanism import Path
from heed.attention.mechanisms.softmax import Softmax
from heed.attention.shape import Shape
from heed.errors import ConfigError

if TYPE_CHECKING:
    from heed.attention.scores import Score


class Linformer(Softmax):
    """Softmax attention over `rank` projected keys and values instead of all of them.

    rank: rows of E and F, which is the number of keys that are left (k in the paper).
    share: headwise: one E and one F for all heads. kv: one matrix for all heads, keys and values. none: each
        query head has its own E and F.
    """

    facts = Facts(
        equation="softmax(Q (E K)^T / sqrt(K)) F V",
        source="Wang et al. 2020, Linformer: Self-attention with linear complexity",
        causal="never",
        differentiable="all",
        masks=frozenset({"padding"}),
        positions=frozenset({"none", "learned", "sinusoidal", "rotary"}),
        time="T r D",
        memory="T D fused, H T r step by step",
        growth=(1, 1),
        cache="none",
        grouped=True,
        weights=True,
        lengths="fixed",
        scores=frozenset({"any"}),
    )

    def __init__(
        self,
        shape: Shape,
        *,
        rank: int = 64,
        share: Literal["headwise", "kv", "none"] = "headwise",
        path: Path = "auto",
        dropout: float = 0.0,
        score: Score | None = None,
    ) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        if rank < 1:
            raise ConfigError(f"model.attention.options.rank: {rank} keys would be left, it must be at least 1")
        if share not in ("headwise", "kv", "none"):
            raise ConfigError(f"model.attention.options.share: unknown value {share!r}, choose headwise, kv or none")
        self.rank = rank
        size = (shape.n_heads, rank, shape.context) if share == "none" else (rank, shape.context)
        self.E = nn.Parameter(torch.empty(size))
        """Projects keys: (r, context), or (H, r, context) where heads share nothing."""
        self.F = None if share == "kv" else nn.Parameter(torch.empty(size))
        """Projects values, in the shape of E; None where E does."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Mix v (B, Hkv, S, K) by how q (B, H, T, K) meets the projected keys: (B, H, T, K).

        Raises `ConfigError` for a causal mask, a bias of the scores, or a sequence longer than the context.
        """
        refuse_order("linformer", mask, bias)
        S, context = k.shape[2], self.shape.context
        if context < S:
            raise ConfigError(f"a sequence of {S} tokens is longer than the {context} that linformer has columns for")
        k, v = without_padding(k, mask), without_padding(v, mask)
        if self.E.dim() == 3:
            k, v = steps.share_heads(k, q.shape[1]), steps.share_heads(v, q.shape[1])
        E, F = self.E, self.E if self.F is None else self.F
        return super().forward(q, E[..., :S] @ k, F[..., :S] @ v, make_mask(mask.T, self.rank))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw E and F from N(0, 1 / context): a projected key then has the spread of one key."""
        super().initialise(generator)
        for matrix in (self.E, self.F):
            if matrix is not None:
                spread = 1 / math.sqrt(self.shape.context)
                matrix.copy_(torch.empty(matrix.shape).normal_(0.0, spread, generator=generator))

    def flops(self, T: int) -> int:
        """Return the operations for one query: T keys and values become r (shared by T queries), then r are mixed."""
        heads = self.shape.kv_heads if self.E.dim() == 2 else self.shape.n_heads
        return 4 * self.rank * (heads * self.shape.width + self.shape.d_model)


def refuse_order(name: str, mask: Mask, bias: Tensor | None) -> None:
    """Raise `ConfigError` where a mechanism that mixes all positions is asked for an order of tokens."""
    if mask.causal:
        raise ConfigError(
            f"attention {name!r} mixes all positions and cannot be causal: use it in an encoder (model.kind encoder)"
        )
    if bias is not None or (mask.allowed is not None and mask.padding is None):
        raise ConfigError(
            f"attention {name!r} has no scores of a query and a key, to hide or to bias: it knows padding only"
        )


def without_padding(x: Tensor, mask: Mask) -> Tensor:
    """Return x (B, Hkv, S, K) with the real tokens of each row from position 0 on, and zeros for padding.

    >>> x = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1)
    >>> without_padding(x, make_mask(3, start=torch.tensor([1]))).flatten().tolist()
    [2.0, 3.0, 0.0]
    """
    if mask.padding is None:
        return x
    first = mask.padding.int().argmax(dim=-1)
    index = (torch.arange(mask.S, device=x.device) + first[:, None]) % mask.S
    real = mask.padding[:, None, :, None]
    return x.masked_fill(~real, 0.0).gather(2, index[:, None, :, None].expand_as(x))
