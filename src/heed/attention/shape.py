"""The sizes of an attention layer, which its parts are made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """Width, heads and longest sequence of one attention layer, and whether its model is causal."""

    d_model: int
    n_heads: int
    context: int
    """Longest sequence, in tokens."""
    n_kv_heads: int | None = None
    """Key/value heads, where they are fewer than query heads."""
    causal: bool = True

    @property
    def width(self) -> int:
        """Width per head, K."""
        return self.d_model // self.n_heads

    @property
    def kv_heads(self) -> int:
        """Number of key/value heads, Hkv."""
        return self.n_kv_heads or self.n_heads
