"""The causal form of attention as a kernel, in chunks of C tokens: time T (C (m + K) + m K), memory T K.

    chunk n       Y = tril(phi(Q) phi(K)^T) V + phi(Q) S_n                 its own past, and what was before it
    the next      S_(n+1) = S_n + phi(K)^T V

The same sums as token by token (Katharopoulos et al. 2020, "Transformers are RNNs", equations 18 to 20), in products
of matrices (Hua et al. 2022, "Transformer quality in linear time", section 3.2). A query's units (`sums.py`) are those
of the largest scale up to its own key, a running maximum. What comes later is in none of its numbers, so a huge key of
the future moves no bit of the past.

Chunks are worked on a segment at a time, small enough for the processor's cache. Features and sums are made there and
forgotten; the backward pass makes them again. So no T x m tensor is ever held.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from heed.attention.mechanisms.features import FeatureMap
from heed.attention.mechanisms.sums import Keys, Sums, divide, hide, with_ones

CHUNK = 64
"""Tokens in a chunk, at most: 32 and 64 are equally fast for K = 32 and 64, 128 up to a third slower (one thread)."""
SEGMENT = 2**17
"""Features in a segment, of all its tokens. 2^19 is as fast or a third slower; at 2^15 calls cost more than sums."""


def causal(
    features: FeatureMap, q: Tensor, k: Tensor, v: Tensor, absent: Tensor | None, past: Sums, floor: float = 0.0
) -> tuple[Tensor, Sums]:
    """Return y (B, H, T, K) of queries that see `past` and the keys up to their own, and the sums after the last key.

    q, k and v are (B, H, T, K); keys where `absent` (B, 1, T, 1) is True add nothing. Gradients reach q, k and v; none
    reach `past`, and none come back through the sums that are returned.
    """
    B, H, T, _ = q.shape
    chunks = -(-T // CHUNK)
    size = -(-T // chunks)  # as even as can be: 65 tokens are 33 and 32, not 64 and 1

    def cut(x: Tensor) -> Tensor:  # (B, H, T, K) -> (B H, N, C, K), with tokens that are not there at the end
        rows = x.flatten(0, 1)
        rows = F.pad(rows, (0, 0, 0, chunks * size - T)) if chunks * size > T else rows
        return rows.unflatten(1, (chunks, size)).contiguous()

    if absent is not None or chunks * size > T:
        absent = q.new_zeros(B, 1, T, 1, dtype=torch.bool) if absent is None else absent
        absent = ~cut(~absent.expand(B, H, T, 1))
    total, top = past.total.flatten(0, 1), past.top.flatten(0, 1)
    y, total, top = _Causal.apply(features, cut(q), cut(k), cut(v), absent, total, top, floor)
    return y.flatten(1, 2)[:, :T].unflatten(0, (B, H)), Sums(total.view_as(past.total), top.view_as(past.top))


class _Causal(torch.autograd.Function):
    """The causal product of q, k, v (R, N, C, K) in R rows, with a gradient that keeps little.

    Letters beside those above: A weights (C, C), R the gradient of S_(n+1), G the gradient of Y and of its divisor.
    """

    @staticmethod
    def forward(
        ctx: Any, features: FeatureMap, q: Tensor, k: Tensor, v: Tensor, absent: Tensor | None,
        total: Tensor, top: Tensor, floor: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        y, divisor = torch.empty_like(v), v.new_empty(*v.shape[:-1], 1)
        total, top, starts = total.clone(), top.clone(), []
        for at in _segments(q, total.shape[1]):
            starts.append(Sums(total[at[0]].clone(), top[at[0]].clone()))
            it = _prepare(features.forward(q[at])[0], _keys(features, k[at], v[at], absent, at), starts[-1])
            sums = _times(torch.bmm(it.Q, it.before), it.unit.before).baddbmm_(_within(it.Q, it.K, it.unit), it.V)
            for whole, piece in zip((y, divisor), divide(sums, floor), strict=True):
                whole[at] = piece.view_as(whole[at])
            total[at[0]], top[at[0]] = it.end
        ctx.save_for_backward(q, k, v, y, divisor)
        ctx.features, ctx.absent, ctx.starts, ctx.floor = features, absent, starts, floor
        ctx.mark_non_differentiable(total, top)
        return y, total, top

    @staticmethod
    @once_differentiable  # its type makes ctx positional
    def backward(ctx: Any, *gradients: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, y, divisor = ctx.saved_tensors
        g, R = gradients[0].contiguous(), torch.empty(0)
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for at, start in zip(reversed(_segments(q, ctx.starts[0].total.shape[1])), reversed(ctx.starts), strict=True):
            phi, keys = ctx.features.forward(q[at])[0], _keys(ctx.features, k[at], v[at], ctx.absent, at)
            it = _prepare(phi, keys, start)
            R = R if at[1].stop < q.shape[1] else torch.zeros_like(start.total)
            dQ, dK, dV, R = _gradients(it, _of_ratio(g[at], y[at], divisor[at], ctx.floor), R)
            dK, dV = dK.view_as(keys.phi), dV.view_as(v[at])
            if ctx.absent is not None:
                dK, dV = (x.masked_fill(ctx.absent[at], 0.0) for x in (dK, dV))
            dq[at] = ctx.features.gradient(q[at], phi, dQ.view_as(phi))
            dk[at], dv[at] = ctx.features.gradient(k[at], keys.phi, dK), dV
        return None, dq, dk, dv, None, None, None, None


def _segments(q: Tensor, m: int) -> list[tuple[slice, slice]]:
    """Return the segments of q (R, N, C, K), each a slice of rows and one of chunks, a row from its beginning."""
    R, N, C, _ = q.shape
    rows = min(R, max(1, SEGMENT // (C * m)))
    chunks = max(1, SEGMENT // (rows * C * m))
    return [
        (slice(r, min(r + rows, R)), slice(n, min(n + chunks, N)))
        for r in range(0, R, rows)
        for n in range(0, N, chunks)
    ]


def _keys(features: FeatureMap, k: Tensor, v: Tensor, absent: Tensor | None, at: tuple[slice, slice]) -> Keys:
    """Return the keys of a segment, made of k and v (r, n, C, K)."""
    phi, scale = features.forward(k)
    keys = Keys(phi, v, scale)
    return keys if absent is None else hide(keys, absent[at])


class _Unit(NamedTuple):
    """What turns the units of a segment into each other; None where all are the same."""

    inside: Tensor | None
    """From keys to queries of a chunk: (r n, C, C), zero where a key comes after the query."""
    before: Tensor | None
    """From S_n to the queries: (r n, C, 1)."""
    after: Tensor | None
    """From keys to S_(n+1): (r n, C, 1)."""
    decay: Tensor | None
    """From S_n to S_(n+1): (r, n, 1, 1)."""


class _Segment(NamedTuple):
    """What both passes make of a segment of r rows and n chunks."""

    Q: Tensor
    """Features of queries (r n, C, m)."""
    K: Tensor
    """Features of keys (r n, C, m)."""
    V: Tensor
    """Values with ones (r n, C, K + 1)."""
    unit: _Unit
    before: Tensor
    """S_n (r n, m, K + 1)."""
    end: Sums
    """The sums after the last chunk: (r, m, K + 1) and (r, 1, 1)."""


def _prepare(phi: Tensor, keys: Keys, start: Sums) -> _Segment:
    """Return a segment of phi(q) (r, n, C, m), its keys and the sums before it."""
    Q, K, V = phi.flatten(0, 1), keys.phi.flatten(0, 1), with_ones(keys.v.flatten(0, 1))
    unit, top = (_Unit(None, None, None, None), start.top) if keys.scale is None else _units(keys.scale, start.top)
    before, total = _add_up(K, _times(V, unit.after), unit.decay, start.total)
    return _Segment(Q, K, V, unit, before, Sums(total, top))


def _units(scale: Tensor, top: Tensor) -> tuple[_Unit, Tensor]:
    """Return the units for keys of this scale (r, n, C, 1) after sums in units of `top` (r, 1, 1), and the last."""
    highest = scale.flatten(1).cummax(dim=1).values.view(scale.shape)
    query = torch.maximum(highest, top[:, None])
    new = query[:, :, -1:]
    old = torch.cat((top[:, None], new[:, :-1]), dim=1)
    inside = (scale.transpose(2, 3) - query).exp_().tril_()
    before, after = (old - query).exp_(), (scale - new).exp_()
    return _Unit(inside.flatten(0, 1), before.flatten(0, 1), after.flatten(0, 1), (old - new).exp_()), new[:, -1]


def _add_up(x: Tensor, z: Tensor, decay: Tensor | None, carry: Tensor, backward: bool = False) -> tuple[Tensor, Tensor]:
    """Return the sums before each chunk (r n, m, K + 1) and after the last: carry = decay carry + x^T z.

    x (r n, C, m) and z (r n, C, K + 1) are chunks, `carry` (r, m, K + 1) the sums so far; `backward` begins at the end.
    """
    sums = torch.bmm(x.transpose(1, 2), z).unflatten(0, (len(carry), -1))
    order = range(sums.shape[1])
    for n in reversed(order) if backward else order:
        own = sums[:, n]
        after = own + (carry if decay is None else carry * decay[:, n])
        own.copy_(carry)
        carry = after
    return sums.flatten(0, 1), carry


def _gradients(it: _Segment, G: Tensor, R: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of phi(q), phi(k), v and of the sums before the segment; R is that of the sums after it."""
    Q, K, V, unit, before, _ = it
    A, dA, far = _within(Q, K, unit), _within(G, V, unit), _times(G, unit.before)
    later, R = _add_up(Q, far, unit.decay, R, backward=True)
    dQ = torch.bmm(far, before.transpose(1, 2)).baddbmm_(dA, K)
    dK = torch.bmm(_times(V, unit.after), later.transpose(1, 2)).baddbmm_(dA.transpose(1, 2), Q)
    dV = _times(torch.bmm(K, later), unit.after).baddbmm_(A.transpose(1, 2), G)[..., :-1]
    return dQ, dK, dV, R


def _times(x: Tensor, factor: Tensor | None) -> Tensor:
    return x if factor is None else x * factor


def _within(q: Tensor, k: Tensor, unit: _Unit) -> Tensor:
    """Return the products q k^T (r n, C, C) in the units of the queries, zero where a key comes after the query."""
    products = torch.bmm(q, k.transpose(1, 2))
    return products.tril_() if unit.inside is None else products.mul_(unit.inside)


def _of_ratio(g: Tensor, y: Tensor, divisor: Tensor, floor: float) -> Tensor:
    """Return the gradient (r n, C, K + 1) of numerators and divisor, from that of y; a held divisor has none."""
    numerator = g / divisor
    denominator = (numerator * y).sum(dim=-1, keepdim=True).neg_()
    denominator = denominator.masked_fill(divisor.abs() <= floor, 0.0) if floor else denominator
    return torch.cat((numerator, denominator), dim=-1).flatten(0, 1)
