"""From x (B, T, D) to queries, keys and values: which of them share a matrix, and what bends them.

separate      q = W_q x, k = W_k x, v = W_v x                    Vaswani et al. 2017
shared-qk     q = k = W x: tokens meet like tokens               Kitaev et al. 2020, "Reformer"
shared-kv     k = v = W x
shared-qkv    q = k = v = W x
network       q, k, v from gelu(W x + b): one hidden layer of width D before the three matrices
networks      q = W_q gelu(U_q x + c_q) + b_q; likewise k and v: a hidden layer of width D for each, nothing shared
nonlinear-q   q = gelu(W_q x); likewise nonlinear-k, nonlinear-v
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Projection:
    """One way to project: the number of the matrix that makes queries, keys and values; equal numbers share it."""

    q: int = 0
    k: int = 1
    v: int = 2
    bends: str = ""
    """Which one of q, k, v goes through a GELU."""
    network: Literal["", "shared", "own"] = ""
    """Which hidden layer comes before the matrices: none, one for all, or one for each."""


PROJECTIONS = {
    "separate": Projection(),
    "shared-qk": Projection(0, 0, 1),
    "shared-kv": Projection(0, 1, 1),
    "shared-qkv": Projection(0, 0, 0),
    "network": Projection(network="shared"),
    "networks": Projection(network="own"),
    "nonlinear-q": Projection(bends="q"),
    "nonlinear-k": Projection(bends="k"),
    "nonlinear-v": Projection(bends="v"),
}
"""Projections by name."""
