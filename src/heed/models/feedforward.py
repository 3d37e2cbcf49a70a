"""The feed-forward layer of a block: widen, bend, narrow. Vaswani et al. 2017, section 3.3.

    gelu, gelu-tanh, relu, relu2:   W_down f(W_up x + b_up) + b_down
    swiglu:                         W_down (silu(W_gate x) * W_value x)      Shazeer 2020, "GLU variants"

relu2 is relu(x)^2 (So et al. 2021, "Primer"); gelu-tanh is the approximation that GPT-1 and GPT-2 were trained with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from heed.attention.layer import Linear
from heed.attention.normalise import trains_on_cpu


def squared_relu(x: Tensor) -> Tensor:
    """Return relu(x)^2 of any shape."""
    return _SquaredReLU.apply(x) if x.requires_grad and trains_on_cpu(x) else F.relu(x).square()


class _SquaredReLU(torch.autograd.Function):
    """The way back is 2 g relu(x): one pass over memory where torch's own two steps take four, with the same bits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        kept = F.relu(x)
        ctx.save_for_backward(kept)
        return kept * kept

    @staticmethod
    @once_differentiable  # its type makes ctx positional
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (kept,) = ctx.saved_tensors
        return torch.addcmul(kept.new_zeros(()), grad_outputs[0], kept, value=2)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu-tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "relu2": squared_relu,
}
"""Nonlinearities by name; "swiglu" is the one with a gate, and is `FeedForward`'s own."""


def default_width(d_model: int, activation: str) -> int:
    """Return the hidden width that keeps the usual parameter count: 4 D, or 8/3 D up to a multiple of 8 for SwiGLU.

    >>> default_width(384, "gelu"), default_width(384, "swiglu"), default_width(100, "swiglu")
    (1536, 1024, 272)
    """
    return -(-8 * d_model // 3 // 8) * 8 if activation == "swiglu" else 4 * d_model


class FeedForward(nn.Module):
    """Two linear layers with a nonlinearity between them: (..., D) to (..., D)."""

    def __init__(self, d_model: int, d_hidden: int, activation: str, bias: bool = True) -> None:
        super().__init__()
        self.gated = activation == "swiglu"
        self.activation = F.silu if self.gated else ACTIVATIONS[activation]
        # Gate and value are one matrix (gate first): one product instead of two.
        self.up = Linear(d_model, 2 * d_hidden if self.gated else d_hidden, bias=bias)
        self.down = Linear(d_hidden, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (..., D) for x (..., D)."""
        wide = self.up(x)
        if self.gated:
            gate, value = wide.chunk(2, dim=-1)
            return self.down(self.activation(gate) * value)
        return self.down(self.activation(wide))
