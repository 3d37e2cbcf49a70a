"""Normalisation of vectors (..., D), and the way back that training takes on a CPU.

    layer norm   y = h w + b,   h = (x - mean(x)) r,   r = 1 / sqrt(var(x) + epsilon)         Ba et al. 2016
    rms norm     y = h w,       h = x r,               r = 1 / sqrt(mean(x^2) + epsilon)      Zhang and Sennrich 2019

    dx = r (g - mean(g) - h mean(g h)) with g = dy w; of rms norm without mean(g);   dw = sum(dy h),   db = sum(dy)

torch composes the backward pass of rms norm of a dozen operations: here it is that of layer norm, told a mean of 0, and
r mean(g) is added again. And torch's sums of dw run in bfloat16 where x is bfloat16: over 24,576 vectors they are 16 %
off. Here all of it runs in float32: rounded to bfloat16, r would scale the whole of a vector and r mean(g) shift it,
which adds up over the layers (24 with rms norm after the branches: the gradient is 4 % off, and 1 % with this).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

aten: Any = torch.ops.aten


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
    """Return the layer norm of x (..., D) in the type of x; see the head of the file."""
    learns = x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    if learns and trains_on_cpu(x) and x.dtype == torch.bfloat16:
        return _LayerNorm.apply(x, weight, bias, epsilon)
    return F.layer_norm(x, (x.shape[-1],), weight, bias, epsilon)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Return the rms norm of x (..., D) in the type of x; see the head of the file."""
    learns = x.requires_grad or (weight.requires_grad and x.dtype == torch.bfloat16)
    has_kernel = weight.dtype == torch.promote_types(x.dtype, torch.float32)
    if learns and has_kernel and trains_on_cpu(x):
        return _RMSNorm.apply(x, weight, epsilon)
    # in the type of x: under autocast it is bfloat16, and a float32 scale has no fused kernel
    return F.rms_norm(x, (x.shape[-1],), weight.to(x.dtype), epsilon)


def trains_on_cpu(x: Tensor) -> bool:
    """Return whether x is of a step of training on a CPU, uncompiled: where own ways back are worth their Python."""
    on_cpu = x.device.type == "cpu" and x.numel() > 0
    return on_cpu and torch.is_grad_enabled() and not torch.compiler.is_compiling()


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
        y, mean, r = aten.native_layer_norm(x, [x.shape[-1]], weight, bias, epsilon)
        ctx.save_for_backward(x, mean, r, weight)
        ctx.biased = bias is not None
        return y

    @staticmethod
    @once_differentiable  # its type makes ctx positional
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, mean, r, weight = ctx.saved_tensors
        dy, mean, r, w = (tensor.float() for tensor in (grad_outputs[0], mean, r, weight))
        like_bias, wanted = w if ctx.biased else None, [True, True, ctx.biased]
        dx, dw, db = aten.native_layer_norm_backward(dy, x.float(), [x.shape[-1]], mean, r, w, like_bias, wanted)
        return dx.to(x.dtype), dw.to(weight.dtype), db.to(weight.dtype) if ctx.biased else None, None


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        D = x.shape[-1]
        rows = x.reshape(-1, D)
        wide = rows.to(torch.promote_types(x.dtype, torch.float32))
        r = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(D).add_(epsilon).rsqrt_()
        ctx.save_for_backward(rows, r, weight)
        h = wide * r if wide is rows else wide.mul_(r)
        return h.mul_(weight).to(x.dtype).view(x.shape)

    @staticmethod
    @once_differentiable  # its type makes ctx positional
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows, r, weight = ctx.saved_tensors
        D = rows.shape[1]
        dy = grad_outputs[0].reshape(-1, D).to(r.dtype)
        mean, zeros = torch.mv(dy, weight)[:, None].mul_(r).div_(D), torch.zeros_like(r)
        wanted = [True, True, False]
        dx, dw, _ = aten.native_layer_norm_backward(dy, rows.to(r.dtype), [D], zeros, r, weight, None, wanted)
        return dx.add_(mean).to(rows.dtype).view(grad_outputs[0].shape), dw, None
