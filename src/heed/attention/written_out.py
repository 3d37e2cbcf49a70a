"""Softmax attention by products of whole matrices, for the training that torch's fused attention is slow at on a CPU.

    P = softmax(Q K^T / sqrt(K)),  Y = (P * M) V                                                  M: dropout, or 1
    dV = (P * M)^T dY,  dP = (dY V^T) * M,  dS = P * (dP - sum(dP * P)),  dQ = dS K / sqrt(K),  dK = dS^T Q / sqrt(K)

The fused kernel keeps no T x S weights. Its backward pass takes as long in bfloat16 as in float32, where tiles for
bfloat16 (AMX) make these products ten times as fast; and it has no dropout. Here P is kept, in the type of q. Some
heads go through at a time, which stay in the cache, and of these the queries in blocks: under a causal mask none meets
a key after its last query.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from heed.attention.dropout import keep
from heed.attention.masks import Mask

aten: Any = torch.ops.aten
BLOCK = 128
"""Queries of a block."""
LONGEST = 768
"""Positions up to which it is faster in bfloat16. Beyond, the fused kernel is, and without T x S weights; where there
is dropout that has them too."""
AT_A_TIME = 2**19
"""Numbers of a block of weights that are worked on at a time, for each thread."""


def write_out(q: Tensor, k: Tensor, v: Tensor, mask: Mask, dropout: float) -> Tensor | None:
    """Return y (B, H, T, K) of q (B, H, T, K), k and v (B, Hkv, T, K), or None where the fused attention is faster.

    It is for training on a CPU, in bfloat16 up to `LONGEST` or with dropout, where all is seen or all that came before.
    """
    learns = torch.is_grad_enabled() and q.requires_grad and not torch.compiler.is_compiling()
    plain = mask.allowed is None and q.device.type == "cpu" and q.shape[2:] == v.shape[2:]
    faster = dropout or (q.dtype == torch.bfloat16 and mask.T <= LONGEST)
    if not (learns and plain and faster):
        return None
    if (share := q.shape[1] // k.shape[1]) > 1:
        k, v = k.repeat_interleave(share, dim=1), v.repeat_interleave(share, dim=1)
    return _WrittenOut.apply(q, k, v, mask.causal and mask.T > 1, dropout)


class _WrittenOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool, dropout: float) -> Tensor:
        (B, H, T, K), S = q.shape, k.shape[2]
        q, k, v = ((q * K**-0.5).reshape(B * H, T, K), k.reshape(B * H, S, K), v.reshape(B * H, S, K))
        y = torch.empty_like(q)
        hidden = q.new_full((min(T, BLOCK),) * 2, -torch.inf).triu(1) if causal else None
        begins = range(0, T, BLOCK)
        kept = [q.new_empty(B * H, min(T - begin, BLOCK), min(T, begin + BLOCK) if causal else S) for begin in begins]
        masks = [keep(weights.shape, dropout, q.dtype) for weights in kept] if dropout else []
        for some in _pieces(B * H, BLOCK * S):
            for number, weights in enumerate(kept):
                rows, seen = slice(number * BLOCK, number * BLOCK + weights.shape[1]), weights.shape[2]
                scores = torch.bmm(q[some, rows], k[some, :seen].transpose(1, 2))
                if hidden is not None:
                    size = weights.shape[1]
                    scores[:, :, seen - size :] += hidden[:size, :size]
                p = aten._softmax(scores, -1, False, out=weights[some])
                y[some, rows] = torch.bmm(p * masks[number][some] if dropout else p, v[some, :seen])
        ctx.save_for_backward(q, k, v, *kept, *masks)
        ctx.blocks = len(kept)
        return y.view(B, H, T, K)

    @staticmethod
    @once_differentiable  # its type makes ctx positional
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, *rest = ctx.saved_tensors
        kept, masks = rest[: ctx.blocks], rest[ctx.blocks :]
        B, H, T, K = grad_outputs[0].shape
        dy = grad_outputs[0].reshape(B * H, T, K)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for some in _pieces(B * H, BLOCK * k.shape[1]):
            for number, weights in enumerate(kept):
                rows, seen = slice(number * BLOCK, number * BLOCK + weights.shape[1]), weights.shape[2]
                p, g = weights[some], dy[some, rows]
                dp, mixed = torch.bmm(g, v[some, :seen].transpose(1, 2)), p
                if masks:
                    dp, mixed = dp.mul_(masks[number][some]), p * masks[number][some]
                ds = aten._softmax_backward_data(dp, p, -1, dp.dtype)
                dq[some, rows] = torch.bmm(ds, k[some, :seen])
                dk[some, :seen] += torch.bmm(ds.transpose(1, 2), q[some, rows])
                dv[some, :seen] += torch.bmm(mixed.transpose(1, 2), g)
        shape = (B, H, -1, K)
        return dq.mul_(K**-0.5).view(shape), dk.view(shape), dv.view(shape), None, None


def _pieces(heads: int, each: int) -> list[slice]:
    """Return slices of so many heads that what is worked on stays in the cache."""
    step = max(1, AT_A_TIME * torch.get_num_threads() // each)
    return [slice(begin, begin + step) for begin in range(0, heads, step)]
