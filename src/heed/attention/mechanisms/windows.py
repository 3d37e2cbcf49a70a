"""Windows that overlap: what blocks of queries see of the keys around them, in one view."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def windows(x: Tensor, length: int, step: int) -> Tensor:
    """Return every `step`-th window of x (B, H, S, K), (B, H, N, length, K): a view in which they overlap."""
    return _Windows.apply(x, length, step)


class _Windows(torch.autograd.Function):
    """`Tensor.unfold`, with a backward that adds whole slices: that of `unfold` takes 4 times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, length: int, step: int) -> Tensor:
        ctx.step, ctx.S = step, x.shape[2]
        return x.unfold(2, length, step).transpose(-1, -2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        [gradient] = grad_outputs
        B, H, N, L, K = gradient.shape
        C = ctx.step
        total = gradient.new_zeros(B, H, N + -(-L // C) - 1, C, K)
        for i, part in enumerate(gradient.split(C, dim=3)):
            total[:, :, i : i + N, : part.shape[3]] += part
        return total.flatten(2, 3)[:, :, : ctx.S], None, None
