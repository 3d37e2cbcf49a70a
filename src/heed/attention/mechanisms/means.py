"""Means weighted by exp(k + w), element by element: what the attention-free transformer computes, stable and causal.

    y[t] = sum_s exp(k[s] + w[t,s]) v[s] / sum_s exp(k[s] + w[t,s])           (Zhai et al. 2021, equation 2)

Written out it needs T x S x N exponentials. A tile of queries and keys that all see each other is two matrix products
instead, exp(w - m[t]) @ (exp(k - M) v), with m the largest w of a query and M the largest k of the tile. M must not
be taken over keys that a query may not see: a huge one would make all it may see vanish. So a causal triangle is cut
in halves: the later half looks at the earlier one by products, each half is cut again, and the last 8 x 8 are
written out. The parts are joined like those of flash attention (Dao et al. 2022), each with its own largest exponent.

Letters: G rows that have a w of their own, N channels that share it. A key that is hidden is -inf, its value 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

LEAF = 8
"""Queries and keys of the tiles that are written out."""
LEAF_NUMBERS = 1 << 20
"""Numbers that such a tile may hold at a time: 4 MB in float32, which a cache still holds."""
Tile = tuple[slice, slice, bool]
"""Queries, keys, and whether the tile is written out (else products)."""


def exponential_mean(k: Tensor, v: Tensor, w: Tensor, *, causal: bool, spread: float) -> Tensor:
    """Return y (G, T, N) of k and v (G, S, N) and w (G, T, S), which is finite; a query that sees nothing gets 0.

    The queries are the last T of the S positions. `spread` is the largest w less the smallest: beyond what the
    products can hold (43 in float32, 354 in float64) everything is written out, tile by tile.
    """
    products = spread < -math.log(torch.finfo(k.dtype).tiny) / 2
    return _Mean.apply(k, v, w, causal, products)


def prefix_mean(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return y (G, T, N), the causal mean with w = 0, and z (G, T, N), the logarithm of the sum of its weights.

    k and v are (G, T, N). Where nothing is seen y is 0 and z is -inf.
    """
    return _PrefixMean.apply(k, v)


def running_sums(k: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return top (G, T, N) and sums (J, G, T, N) with sum_{s<=t} exp(k[s]) values[s] = exp(top[t]) sums[t].

    k is (G, T, N) and values (J, G, T, N). `top` is the largest k so far, or a huge negative number before any.
    About sqrt(T) steps go through all chunks of sqrt(T) tokens at once, then as many from chunk to chunk.
    """
    J, G, T, N = values.shape
    size = max(1, math.isqrt(T))
    short = -T % size
    top = F.pad(_finite(k), (0, 0, 0, short), value=_floor(k)).view(G, -1, size, N)
    sums = F.pad(values * k.isfinite(), (0, 0, 0, short)).view(J, G, -1, size, N)
    for i in range(1, size):
        _add(top[:, :, i], sums[:, :, :, i], top[:, :, i - 1], sums[:, :, :, i - 1])
    for c in range(1, top.shape[1]):
        _add(top[:, c], sums[:, :, c], top[:, c - 1, -1:], sums[:, :, c - 1, -1:])
    return top.view(G, -1, N)[:, :T], sums.view(J, G, -1, N)[:, :, :T]


def _add(top: Tensor, sums: Tensor, other_top: Tensor, other_sums: Tensor) -> None:
    """Add to sums, in units of exp(top), those in units of exp(other_top): in place."""
    highest = torch.maximum(top, other_top)
    sums.mul_((top - highest).exp_()).addcmul_(other_sums, (other_top - highest).exp_())
    top.copy_(highest)


def _floor(x: Tensor) -> float:
    """Return the lowest finite number: it stands for -inf where a difference of two may be taken."""
    return torch.finfo(x.dtype).min


def _finite(x: Tensor) -> Tensor:
    return x.clamp(min=_floor(x))


def _divide(top: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the logarithm of its weights from the sums (2, ...) of values and of weights."""
    seen = sums[1] > 0
    mean = torch.where(seen, sums[0] / sums[1], 0.0)
    return mean, torch.where(seen, top + sums[1].log(), -torch.inf)


class _PrefixMean(torch.autograd.Function):
    """`prefix_mean`; keeps its arguments and its results only."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        y, z = _divide(*running_sums(k, torch.stack((v, torch.ones_like(v)))))
        ctx.save_for_backward(k, v, y, z)
        return y, z

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides its names
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor]:
        k, v, y, z = ctx.saved_tensors
        dy, dz = gradients
        # p[t,s] = exp(k[s] - z[t]) is the weight of s for t. z only grows: of all t >= s, the largest -z is that of s.
        later = torch.where(z.isneginf(), z, -z).flip(1)
        top, sums = running_sums(later, torch.stack((dy, dz - dy * y)).flip(2))
        weight = (k + top.flip(1)).exp()
        to_values, to_weights = sums.flip(2) * weight
        return to_values * v + to_weights, to_values


class _Mean(torch.autograd.Function):
    """`exponential_mean`; keeps its arguments and its result only, and makes every tile again going backward."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, v: Tensor, w: Tensor, causal: bool, products: bool) -> Tensor:
        top = k.new_full((len(k), w.shape[1], k.shape[2]), _floor(k))
        sums = k.new_zeros(2, *top.shape)
        with torch.autocast(k.device.type, enabled=False):
            for rows in _groups(k):
                for ts, ss, written in _tiles(w.shape[1], w.shape[2], causal, products):
                    tile = _write_out if written else _multiply
                    part = tile(k[rows, ss], v[rows, ss], _hide_future(w[rows, ts, ss], ts, ss, w, causal))
                    _add(top[rows, ts], sums[:, rows, ts], *part)
        y, z = _divide(top, sums)
        ctx.save_for_backward(k, v, w, y, z)
        ctx.causal, ctx.products = causal, products
        return y

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides its names
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        k, v, w, y, z = ctx.saved_tensors
        causal, products = ctx.causal, ctx.products
        g, z = gradients[0], z.masked_fill(z.isneginf(), torch.inf)  # exp(k + w - z) is 0 where nothing was seen
        dk, dv, dw = torch.zeros_like(k), torch.zeros_like(v), torch.zeros_like(w)
        with torch.autocast(k.device.type, enabled=False):
            for rows in _groups(k):
                for ts, ss, written in _tiles(w.shape[1], w.shape[2], causal, products):
                    tile = _write_out_backward if written else _multiply_backward
                    near = _hide_future(w[rows, ts, ss], ts, ss, w, causal)
                    part = tile(k[rows, ss], v[rows, ss], near, g[rows, ts], y[rows, ts], z[rows, ts])
                    dk[rows, ss] += part[0]
                    dv[rows, ss] += part[1]
                    dw[rows, ts, ss] += part[2]
        return dk, dv, dw, None, None


def _groups(k: Tensor) -> list[slice]:
    """Return slices of the G rows, so few at a time that a written tile stays small."""
    size = max(1, LEAF_NUMBERS // (LEAF * LEAF * k.shape[2]))
    return [slice(begin, begin + size) for begin in range(0, len(k), size)]


def _tiles(T: int, S: int, causal: bool, products: bool) -> Iterator[Tile]:
    """Yield tiles that cover each query (the last T of S) and each key it may see, once.

    >>> [(t.start, t.stop, s.start, s.stop, w) for t, s, w in _tiles(10, 12, True, True)]
    [(0, 10, 0, 2, False), (0, 8, 2, 10, True), (8, 10, 2, 10, False), (8, 10, 10, 12, True)]
    """
    if not causal:
        yield from _rectangle(0, T, 0, S, products)
        return
    yield from _rectangle(0, T, 0, S - T, products)
    yield from _triangle(0, T, S - T, products)


def _triangle(begin: int, end: int, past: int, products: bool) -> Iterator[Tile]:
    size = end - begin
    if size <= LEAF:
        yield slice(begin, end), slice(past + begin, past + end), True
        return
    middle = begin + LEAF * 2 ** (((size - 1) // LEAF).bit_length() - 1)
    yield from _triangle(begin, middle, past, products)
    yield from _rectangle(middle, end, past + begin, past + middle, products)
    yield from _triangle(middle, end, past, products)


def _rectangle(t0: int, t1: int, s0: int, s1: int, products: bool) -> Iterator[Tile]:
    if products and s0 < s1:
        yield slice(t0, t1), slice(s0, s1), False
        return
    for t in range(t0, t1, LEAF):
        for s in range(s0, s1, LEAF):
            yield slice(t, min(t + LEAF, t1)), slice(s, min(s + LEAF, s1)), True


def _hide_future(tile: Tensor, ts: slice, ss: slice, w: Tensor, causal: bool) -> Tensor:
    """Return the tile of w with -inf where a key comes after its query."""
    past = w.shape[2] - w.shape[1]
    if not causal or ss.stop <= past + ts.start + 1:
        return tile
    seen = torch.ones(tile.shape[1:], dtype=torch.bool, device=w.device).tril(past + ts.start - ss.start)
    return tile.masked_fill(~seen, -torch.inf)


def _multiply(k: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return top and sums of a tile by two products."""
    weights, keys, top = _factors(k, w)
    return top, torch.stack((weights @ (keys * v), weights @ keys))


def _multiply_backward(
    k: Tensor, v: Tensor, w: Tensor, g: Tensor, y: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of k, v and w in a tile, where g is that of y."""
    weights, keys, top = _factors(k, w)
    g = g * (top - z).exp_()
    right = torch.cat((keys * v, keys), dim=-1)
    left = torch.cat((g, -g * y), dim=-1)
    to_values, to_keys = (weights.transpose(1, 2) @ left).chunk(2, dim=-1)
    to_values = to_values * keys
    return to_values * v + to_keys * keys, to_values, weights * (left @ right.transpose(1, 2))


def _factors(k: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp(w - m), exp(k - M) and m + M, with m the largest w of each query and M the largest k."""
    m, M = w.amax(2, keepdim=True), _finite(k.amax(1, keepdim=True))
    return (w - m).exp_(), (k - M).exp_(), _finite(m + M)


def _write_out(k: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return top and sums of a tile by its exponentials, one for each query, key and channel."""
    scores = k[:, None] + w[..., None]
    top = _finite(scores.amax(2))
    weights = scores.sub_(top[:, :, None]).exp_()
    total = weights.sum(2)
    return top, torch.stack((weights.mul_(v[:, None]).sum(2), total))


def _write_out_backward(
    k: Tensor, v: Tensor, w: Tensor, g: Tensor, y: Tensor, z: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of k, v and w in a tile, where g is that of y."""
    weights = (k[:, None] + w[..., None]).sub_(z[:, :, None]).exp_().mul_(g[:, :, None])
    to_values = weights.sum(1)
    to_scores = weights.mul_(v[:, None] - y[:, :, None])
    return to_scores.sum(1), to_values, to_scores.sum(3)
