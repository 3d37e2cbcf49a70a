"""Means weighted by exp(k + w), element by element: what the attention-free transformer computes, stable and causal.

    y[t] = sum_s exp(k[s] + w[t,s]) v[s] / sum_s exp(k[s] + w[t,s])           (Zhai et al. 2021, equation 2)

Written out it needs T x S x N exponentials. A tile of queries and keys is two matrix products instead,
exp(w - high) @ (exp(k - u) v), with `high` the largest w and a unit u a channel, the largest k of a tile that all of
its queries see. Tiles are joined like those of flash attention (Dao et al. 2022), each in its own unit.

A causal triangle is cut in halves: the later half looks at the earlier one, each half is cut again. In the last
triangles, of at most `LEAF` queries, keys come in that not every query sees, and no unit may be taken from them: else a
huge one would make all that was seen vanish. There u is the largest of the keys before the triangle and its first one.
A key above u counts as it is until it is `LIMIT` above; queries behind such a key are written out, with a maximum of
their own, and the others keep every bit. `running_sums` does the same where w is 0.

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

LEAF = 128
"""Queries of a triangle that is one product, at most: half of it is wasted, and smaller ones are many."""
TILE = 512
"""Queries and keys of other products, at most: what they hold beside k and v stays in a processor's cache."""
STEP = 8
"""Queries and keys of the tiles that are written out."""
NUMBERS = 1 << 17
"""Keys times channels of all the rows that are worked on at a time: half a megabyte in float32."""
CHUNK = 256
"""Tokens that are summed up in one unit where w is 0."""
LIMIT = 40.0
"""A key may be this far above its unit: sums of e^40 are far from what float32 holds, 3e38."""
Tile = tuple[slice, slice, bool]
"""Queries, keys, and whether the last keys are a triangle (else all queries see all keys)."""


def exponential_mean(
    k: Tensor, v: Tensor, w: Tensor, *, causal: bool, bounds: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Return the mean y (G, T, N) of k and v (G, S, N) and w (G, T, S), and z (G, T, N), the logarithm of its weights.

    The queries are the last T of the S positions. w is finite. Where nothing is seen y is 0 and z is -inf. `bounds`
    hold every w: if they lie further apart than the products can bear (43 in float32, 354 in float64) everything is
    written out, tile by tile.
    """
    return _Mean.apply(k, v, w, causal, *bounds)


def prefix_mean(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return y (G, T, N), the causal mean with w = 0, and z (G, T, N), the logarithm of the sum of its weights.

    k and v are (G, T, N). Where nothing is seen y is 0 and z is -inf.
    """
    return _PrefixMean.apply(k, v)


def running_sums(k: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return unit (G, T, N) and sums (J, G, T, N) with sum_{s<=t} exp(k[s]) values[s] = exp(unit[t]) sums[t].

    k is (G, T, N) and values (J, G, T, N). A unit is at most `LIMIT` below the largest k so far, and a huge negative
    number before any. Sums run within all chunks at once, then from chunk to chunk.
    """
    J, G, T, N = values.shape
    size = min(T, CHUNK)
    short = -T % size
    keys = F.pad(k, (0, 0, 0, short), value=-torch.inf).view(G, -1, size, N)
    values = F.pad(values, (0, 0, 0, short)).view(J, G, -1, size, N)
    unit, highest = _units(keys)
    sums = ((keys - unit).exp_() * values).cumsum_(3)
    if (highest - unit > LIMIT).any():
        late = keys.cummax(2).values - unit > LIMIT
        top, slow = _finite(keys), values * keys.isfinite()
        for i in range(1, size):
            _add(top[:, :, i], slow[:, :, :, i], top[:, :, i - 1], slow[:, :, :, i - 1])
        unit, sums = torch.where(late, top, unit), torch.where(late, slow, sums)
    for c in range(1, keys.shape[1]):
        sums[:, :, c] += sums[:, :, c - 1, -1:] * (unit[:, c - 1, -1:] - unit[:, c]).exp_()
    return unit.expand(keys.shape).reshape(G, -1, N)[:, :T], sums.view(J, G, -1, N)[:, :, :T]


def _units(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return the unit of each chunk and the largest key up to its end, (G, n, 1, N), of keys (G, n, size, N).

    The unit is the largest of the keys before the chunk and its first one; where no key was before, its first that is
    not hidden.
    """
    highest = _finite(keys.amax(2, keepdim=True)).cummax(1).values
    before, first = F.pad(highest[:, :-1], (0, 0, 0, 0, 1, 0), value=_floor(keys)), keys[:, :, :1]
    if first.isneginf().any():
        seen = keys.gather(2, keys.isfinite().int().argmax(2, keepdim=True))
        first = torch.where(before > _floor(keys), first, seen)
    return torch.maximum(before, first), highest


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


def _divide(unit: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the logarithm of its weights from the sums (2, ...) of values and of weights."""
    seen = sums[1] > 0
    mean = torch.where(seen, sums[0] / sums[1], 0.0)
    return mean, torch.where(seen, unit + sums[1].log(), -torch.inf)


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
        unit, sums = running_sums(later, torch.stack((dy, dz - dy * y)).flip(2))
        weight = (k + unit.flip(1)).exp_()
        to_values, to_weights = sums.flip(2).mul_(weight)
        return to_values * v + to_weights, to_values


class _Mean(torch.autograd.Function):
    """`exponential_mean`; keeps its arguments and its result only, and makes every tile again going backward."""

    @staticmethod
    def forward(
        ctx: Any, k: Tensor, v: Tensor, w: Tensor, causal: bool, low: float, high: float
    ) -> tuple[Tensor, Tensor]:
        top = k.new_full((len(k), w.shape[1], k.shape[2]), _floor(k))
        sums = k.new_zeros(2, *top.shape)
        products = high - low < -math.log(torch.finfo(k.dtype).tiny) / 2
        with torch.autocast(k.device.type, enabled=False):
            for rows in _groups(k, products):
                if not products:
                    top[rows], sums[:, rows] = _write_out(k[rows], v[rows], w[rows], causal)
                    continue
                for ts, ss, last in _tiles(w.shape[1], w.shape[2], causal):
                    before = top[rows, ts][:, :1] - high if last else None
                    part = _multiply(k[rows, ss], v[rows, ss], w[rows, ts, ss], high, before)
                    _add(top[rows, ts], sums[:, rows, ts], *part)
        y, z = _divide(top, sums)
        ctx.save_for_backward(k, v, w, y, z)
        ctx.causal, ctx.products, ctx.high = causal, products, high
        return y, z

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides its names
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        k, v, w, y, z = ctx.saved_tensors
        g, z = gradients[0], z.masked_fill(z.isneginf(), torch.inf)  # exp(k + w - z) is 0 where nothing was seen
        h = gradients[1] - g * y
        dk, dv, dw = torch.zeros_like(k), torch.zeros_like(v), torch.zeros_like(w)
        with torch.autocast(k.device.type, enabled=False):
            for rows in _groups(k, ctx.products):
                if not ctx.products:
                    part = _write_out_backward(k[rows], v[rows], w[rows], g[rows], h[rows], z[rows], ctx.causal)
                    dk[rows], dv[rows], dw[rows] = part
                    continue
                for ts, ss, last in _tiles(w.shape[1], w.shape[2], ctx.causal):
                    behind = g[rows, ts], h[rows, ts], z[rows, ts]
                    part = _multiply_backward(k[rows, ss], v[rows, ss], w[rows, ts, ss], *behind, ctx.high, last)
                    dk[rows, ss] += part[0]
                    dv[rows, ss] += part[1]
                    dw[rows, ts, ss] = part[2]
        return dk, dv, dw, None, None, None


def _groups(k: Tensor, products: bool) -> list[slice]:
    """Return slices of the G rows, so few at a time that a tile of k (G, S, N) stays small."""
    keys = min(k.shape[1], TILE) if products else STEP * STEP
    size = max(1, NUMBERS // (keys * k.shape[2]))
    return [slice(begin, begin + size) for begin in range(0, len(k), size)]


def _tiles(T: int, S: int, causal: bool) -> Iterator[Tile]:
    """Yield tiles that cover each query (the last T of S) and each key it may see, once.

    >>> [(t.start, t.stop, s.start, s.stop, last) for t, s, last in _tiles(200, 500, True)]
    [(0, 200, 0, 300, False), (0, 128, 300, 428, True), (128, 200, 300, 428, False), (128, 200, 428, 500, True)]
    """
    if not causal:
        yield from _rectangle(0, T, 0, S)
    elif T <= LEAF and S <= TILE:
        yield slice(0, T), slice(0, S), True
    else:
        yield from _rectangle(0, T, 0, S - T)
        yield from _triangle(0, T, S - T)


def _triangle(begin: int, end: int, past: int) -> Iterator[Tile]:
    size = end - begin
    if size <= LEAF:
        yield slice(begin, end), slice(past + begin, past + end), True
        return
    middle = begin + LEAF * 2 ** (((size - 1) // LEAF).bit_length() - 1)
    yield from _triangle(begin, middle, past)
    yield from _rectangle(middle, end, past + begin, past + middle)
    yield from _triangle(middle, end, past)


def _rectangle(t0: int, t1: int, s0: int, s1: int, size: int = TILE) -> Iterator[Tile]:
    for t in range(t0, t1, size):
        for s in range(s0, s1, size):
            yield slice(t, min(t + size, t1)), slice(s, min(s + size, s1)), False


def _factors(k: Tensor, w: Tensor, unit: Tensor, high: float, last: bool) -> tuple[Tensor, Tensor]:
    """Return exp(w - high) and exp(k - unit), finite also for keys that are too large for it: no query sees them."""
    weights = (w - high).exp_()
    return weights.tril_(k.shape[1] - w.shape[1]) if last else weights, (k - unit).clamp_(max=1.5 * LIMIT).exp_()


def _seen_by_all(k: Tensor, w: Tensor, last: bool) -> Tensor:
    """Return the largest (G, 1, N) of the keys k of a tile that each of its queries sees."""
    return _finite((k[:, : k.shape[1] - w.shape[1] + 1] if last else k).amax(1, keepdim=True))


def _late(k: Tensor, w: Tensor, unit: Tensor, last: bool) -> Tensor | None:
    """Return where (G, T, N) a query of a triangle sees a key that is too large for the unit; None: nowhere."""
    if not last or not (k.amax(1, keepdim=True) - unit > LIMIT).any():
        return None
    return k[:, -w.shape[1] :].cummax(1).values - unit > LIMIT


def _multiply(k: Tensor, v: Tensor, w: Tensor, high: float, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return top and sums of a tile by a product; `before` (G, 1, N) is the largest key before a triangle."""
    last = before is not None
    unit = _seen_by_all(k, w, last)
    unit = unit if before is None else torch.maximum(unit, before)
    weights, keys = _factors(k, w, unit, high, last)
    sums = torch.bmm(weights, torch.cat((keys * v, keys), dim=-1)).unflatten(2, (2, -1)).movedim(2, 0)
    if (late := _late(k, w, unit, last)) is None:
        return unit + high, sums
    top, slow = _write_out(k, v, w, causal=True)
    return torch.where(late, top, unit + high), torch.where(late, slow, sums)


def _multiply_backward(
    k: Tensor, v: Tensor, w: Tensor, g: Tensor, h: Tensor, z: Tensor, high: float, last: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of k, v and w in a tile, where g is that of y and h of the logarithm of its weights."""
    unit = _seen_by_all(k, w, last)
    weights, keys = _factors(k, w, unit, high, last)
    factor, late = (unit + high - z).exp_(), _late(k, w, unit, last)
    factor = factor if late is None else factor.masked_fill_(late, 0.0)
    left, right = torch.cat((g * factor, h * factor), dim=-1), torch.cat((keys * v, keys), dim=-1)
    to_values, to_keys = torch.bmm(weights.transpose(1, 2), left).chunk(2, dim=-1)
    to_values = to_values * keys
    to_w = torch.bmm(left, right.transpose(1, 2))
    to_w = (to_w.tril_(k.shape[1] - w.shape[1]) if last else to_w).mul_(weights)
    dk, dv, dw = to_values * v + to_keys * keys, to_values, to_w
    if late is None:
        return dk, dv, dw
    g, h = g.masked_fill(~late, 0.0), h.masked_fill(~late, 0.0)
    of_k, of_v, of_w = _write_out_backward(k, v, w, g, h, z, causal=True)
    return dk + of_k, dv + of_v, dw + of_w


def _written(w: Tensor, causal: bool) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield tiles of w (G, T, S) with their queries and keys; it is -inf where a key comes after its query."""
    T, S = w.shape[1:]
    for ts, ss, _ in _rectangle(0, T, 0, S, STEP):
        tile = w[:, ts, ss]
        if causal and ss.stop > S - T + ts.start + 1:
            if ss.start >= S - T + ts.stop:
                continue
            future = torch.ones(tile.shape[1:], dtype=torch.bool, device=w.device).triu(S - T + ts.start - ss.start + 1)
            tile = tile.masked_fill(future, -torch.inf)
        yield ts, ss, tile


def _write_out(k: Tensor, v: Tensor, w: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Return top and sums by all exponentials, one for each query, key and channel."""
    top = k.new_full((len(k), w.shape[1], k.shape[2]), _floor(k))
    sums = k.new_zeros(2, *top.shape)
    for ts, ss, tile in _written(w, causal):
        scores = k[:, None, ss] + tile[..., None]
        highest = _finite(scores.amax(2))
        weights = scores.sub_(highest[:, :, None]).exp_()
        total = weights.sum(2)
        _add(top[:, ts], sums[:, :, ts], highest, torch.stack((weights.mul_(v[:, None, ss]).sum(2), total)))
    return top, sums


def _write_out_backward(
    k: Tensor, v: Tensor, w: Tensor, g: Tensor, h: Tensor, z: Tensor, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of k, v and w, where g and h are as in a product."""
    dk, dv, dw = torch.zeros_like(k), torch.zeros_like(v), torch.zeros_like(w)
    for ts, ss, tile in _written(w, causal):
        weights = (k[:, None, ss] + tile[..., None]).sub_(z[:, ts, None]).exp_()
        dv[:, ss] += (weights * g[:, ts, None]).sum(1)
        to_scores = weights.mul_(torch.addcmul(h[:, ts, None], g[:, ts, None], v[:, None, ss]))
        dk[:, ss] += to_scores.sum(1)
        dw[:, ts, ss] = to_scores.sum(3)
    return dk, dv, dw
