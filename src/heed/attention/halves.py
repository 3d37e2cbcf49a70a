"""Linear layers that multiply in bfloat16 on a CPU, with copies of their weights that are made once an update.

    y = half(x) half(W)^T + half(b)        dx = dy half(W)        dW = dy^T x, db = sum(dy), in float32 at the weights

The weights stay float32: they are what the optimizer changes (Micikevicius et al. 2018, "Mixed precision training",
section 3.1). Autocast casts each weight in each pass; here `Halves` casts it once, and everything between two products
stays bfloat16. A CPU with tiles for bfloat16 (AMX) makes such a product seven to eleven times as fast as in float32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

HALF = torch.bfloat16
aten: Any = torch.ops.aten


class Linear(nn.Linear):
    """torch's linear layer with its weights unset: no random number is drawn before the model fills them.

    (Building on the meta device would do the same, and import torch._dynamo on the way: 84 MB and a second.)
    """

    copies: tuple[Tensor, Tensor | None] | None = None
    """Copies of weight and bias in bfloat16, while `Halves` are in use."""

    def reset_parameters(self) -> None:
        """Leave the weights unset."""

    def forward(self, input: Tensor) -> Tensor:
        """Return input (..., D) W^T + b: (..., M)."""
        if self.copies is None:
            return F.linear(input, self.weight, self.bias)
        return _HalfProduct.apply(input, self.weight, self.bias, *self.copies)


class Streaming:
    """A model that hands on in `stream` what passes between its layers."""

    stream: torch.dtype | None = None
    """The type of what passes between the layers in training, where it is not that of the weights; see `Halves`."""


class Halves:
    """The linear layers of a model in bfloat16, between `with` and the end of the block.

    What is entered again has copies of the weights as they are then.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = [layer for layer in model.modules() if isinstance(layer, Linear)]
        self.streams = [part for part in model.modules() if isinstance(part, Streaming)]
        self.copies: list[Tensor] = []

    @property
    def bytes(self) -> int:
        """Bytes of the copies, made or not."""
        return sum(tensor.numel() * HALF.itemsize for tensor in self._whole())

    @torch.no_grad()
    def __enter__(self) -> None:
        whole = self._whole()
        if not self.copies:
            self.copies = [tensor.to(HALF) for tensor in whole]
        else:
            aten._foreach_copy_(self.copies, whole)
        for part in self.streams:
            part.stream = HALF
        copies = iter(self.copies)
        for layer in self.layers:
            layer.copies = (next(copies), None if layer.bias is None else next(copies))

    def __exit__(self, *raised: object) -> None:
        for layer in self.layers:
            layer.copies = None
        for part in self.streams:
            part.stream = None

    def _whole(self) -> list[Tensor]:
        """Return the weights and biases that are copied."""
        return [tensor for layer in self.layers for tensor in (layer.weight, layer.bias) if tensor is not None]


class _HalfProduct(torch.autograd.Function):
    """A product with copies, whose gradients go to the weights."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, half: Tensor, half_bias: Tensor | None
    ) -> Tensor:
        small = x.to(HALF)
        ctx.save_for_backward(small, half)
        ctx.dtype, ctx.biased = x.dtype, bias is not None
        return F.linear(small, half, half_bias)

    @staticmethod
    @once_differentiable  # its type makes ctx positional
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, half = ctx.saved_tensors
        dy = grad_outputs[0].to(HALF)
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        dx = (dy @ half).to(ctx.dtype) if needs_x else None
        rows = dy.reshape(-1, dy.shape[-1])
        d_weight = (rows.t() @ x.reshape(-1, x.shape[-1])).float() if needs_weight else None
        d_bias = rows.sum(dim=0).float() if ctx.biased and needs_bias else None
        return dx, d_weight, d_bias, None, None
