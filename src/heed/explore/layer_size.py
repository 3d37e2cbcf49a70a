"""What an attention layer costs and holds, by formula.

    operations      8 n h^2 + 4 n^2 h      four projections of n vectors of width h; scores and their mixing (2 each)
    parameters      4 h (h + 1)            W_q, W_k, W_v, W_o with biases, h = heads x head width

The n h^2 of the projections is often left out, and is the larger part as long as n < 2 h.
"""

from __future__ import annotations

from dataclasses import dataclass

from heed.explore.arrays import count_of


@dataclass(frozen=True)
class LayerSize:
    """Operations and parameters of one layer of attention."""

    width: int
    """h = heads x head width."""
    parameters: int
    projections: int
    """Floating-point operations of the four projections."""
    mixing: int
    """Of scores and weighted means, over all heads."""
    explanation: str


def layer_size(length: int, heads: int, head_width: int) -> LayerSize:
    """Return what a layer with biases costs on `length` tokens. Raises `ConfigError` for numbers that are not whole."""
    n, m = count_of("length", length, most=10**9), count_of("heads", heads, most=10**4)
    d = count_of("head_width", head_width, most=10**6)
    h = m * d
    projections, mixing = 8 * n * h * h, 4 * n * n * h
    share = projections / (projections + mixing)
    return LayerSize(
        h,
        4 * h * (h + 1),
        projections,
        mixing,
        f"Projections take {share:.0%} of the operations: 8 n h^2 beside 4 n^2 h, so they are the larger part while "
        f"the text is shorter than 2 h = {2 * h:,} tokens.",
    )
