"""Recurrent layers: a sequence is read from left to right, and a state of fixed size keeps what was read.

    rnn          h_t = tanh(W x_t + b + U h_{t-1} + b')                                  Elman 1990
    linear-rnn   h_t = W x_t + b + U h_{t-1} + b'
    gru          r, z = sigma(..);  n = tanh(W x_t + b + r * (U h_{t-1} + b'));          Cho et al. 2014
                 h_t = (1 - z) n + z h_{t-1}
    lstm         i, f, o = sigma(..);  g = tanh(..);                                     Hochreiter & Schmidhuber 1997,
                 c_t = f c_{t-1} + i g;  h_t = o tanh(c_t)                               Gers et al. 2000 (f)

Parameters, their order and the equations are those of `torch.nn.LSTM`, `GRU` and `RNN`, whose kernels do the work; here
the weights are handed over at each call, so that U can be dropped out before it (weight drop: Merity et al. 2018).
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.models.first_weights import begin


class RecurrentCell(nn.Module, ABC):
    """One recurrent layer that reads x (B, T, I) and answers with its states h (B, T, H)."""

    gates: ClassVar[int] = 1
    """How many blocks of H rows the weights have."""
    states: ClassVar[int] = 1
    """How many tensors (B, H) are kept from one token to the next; the first is h."""

    def __init__(self, inputs: int, width: int, bias: bool = True) -> None:
        super().__init__()
        self.width = width
        self.weight_ih = nn.Parameter(torch.empty(self.gates * width, inputs))
        self.weight_hh = nn.Parameter(torch.empty(self.gates * width, width))
        self.bias_ih = nn.Parameter(torch.empty(self.gates * width)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(self.gates * width)) if bias else None

    def initialise(self, generator: torch.Generator, prefix: str = "") -> None:
        """Fill every parameter from U(-1/sqrt(H), 1/sqrt(H)), as torch does; `prefix` goes before their names."""
        bound = 1 / math.sqrt(self.width)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                begin(generator, prefix + name)
                parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))

    def forward(self, x: Tensor, states: list[Tensor], weight_drop: float = 0.0) -> tuple[Tensor, list[Tensor]]:
        """Return h of every token (B, T, H) and the states after the last one, each (B, H).

        `weight_drop` is the share of U that is zeroed for this whole call. The recurrence is computed in the precision
        of the weights, also under autocast: its rounding would add up over the tokens.
        """
        U = F.dropout(self.weight_hh, weight_drop) if weight_drop else self.weight_hh
        weights = [self.weight_ih, U]
        if self.bias_ih is not None and self.bias_hh is not None:
            weights += [self.bias_ih, self.bias_hh]
        with torch.autocast(x.device.type, enabled=False), _quiet() if x.is_cuda else nullcontext():
            return self.read(x.to(U.dtype), states, weights)

    @abstractmethod
    def read(self, x: Tensor, states: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Do as `forward`, with the weights [W, U] or [W, U, b, b']."""

    def start(self, batch: int) -> list[Tensor]:
        """Return the states before the first token, zeros (B, H)."""
        return [self.weight_hh.new_zeros(batch, self.width) for _ in range(self.states)]


class LSTM(RecurrentCell):
    """Long short-term memory; the blocks of its weights are i, f, g, o, its states h and c."""

    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2

    def read(self, x: Tensor, states: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One call of torch's kernel."""
        before = [state[None] for state in states]
        y, h, c = torch.lstm(x, before, weights, len(weights) == 4, 1, 0.0, self.training, False, True)
        return y, [h[0], c[0]]


class GRU(RecurrentCell):
    """Gated recurrent unit, with the reset gate after the product; the blocks of its weights are r, z, n."""

    gates: ClassVar[int] = 3

    def read(self, x: Tensor, states: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One call of torch's kernel."""
        y, h = torch.gru(x, states[0][None], weights, len(weights) == 4, 1, 0.0, self.training, False, True)
        return y, [h[0]]


class RNN(RecurrentCell):
    """Elman's simple recurrent net, with tanh."""

    def read(self, x: Tensor, states: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One call of torch's kernel."""
        y, h = torch.rnn_tanh(x, states[0][None], weights, len(weights) == 4, 1, 0.0, self.training, False, True)
        return y, [h[0]]


class LinearRNN(RecurrentCell):
    """A recurrent net without a nonlinearity, whose gradients can be written down: a product of U for each step."""

    def read(self, x: Tensor, states: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One product for all inputs, then one a token."""
        W, U, *biases = weights
        inputs = F.linear(x, W, biases[0] + biases[1] if biases else None)
        h, steps = states[0], []
        for a in inputs.unbind(1):
            h = a + h @ U.t()
            steps.append(h)
        return torch.stack(steps, 1), [h]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without cuDNN's advice to have all weights in one piece of memory, which weights that are dropped cannot be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
        yield


CELLS: dict[str, type[RecurrentCell]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN, "linear-rnn": LinearRNN}
"""Recurrent layers by the name in `model.kind`."""
