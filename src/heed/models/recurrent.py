"""A recurrent language model: LSTM, GRU, Elman's RNN, or a linear one.

ids (B,T) --tokens--> x (B,T,D) --n_layers cells--> (B,T,H) --head--> hidden --output matrix--> logits (B,T,V)

    head linear       logits = W h + b. Tied, W is the token embedding, and the last layer is D wide, as in AWD-LSTM
    head two-layer    logits = E relu(A h + a), A (D, H); tied, E is the token embedding       (IFT6135)

Regularisation after Merity et al. 2018 (AWD-LSTM), each an option in `model.recurrent`: recurrent weights are dropped
(`weight_drop`), whole words (`embedding_dropout`), and with one mask for all tokens of a row (Gal & Ghahramani 2016)
the inputs, what passes between layers, and the output. With outputs y_t of the last layer, y'_t after dropout,

    gradient of   loss + alpha mean(y'_t^2) + beta mean((y_t - y_{t-1})^2)

is what is followed, while the loss that is shown is the cross-entropy alone.

With `carry` a training batch goes on with the state, not the gradient, in which the one before it ended.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.attention import Cache, StateCache
from heed.attention.dropout import dropout
from heed.attention.layer import Linear
from heed.config import ModelConfig
from heed.models.base import LanguageModel
from heed.models.cells import CELLS, RecurrentCell
from heed.models.first_weights import begin

States = list[list[Tensor]]
"""The states of each layer, each (B, H)."""


class Recurrent(LanguageModel):
    """A recurrent language model, as `config` describes it; `config.kind` names the cell.

    It reads sequences of any length: its `context` is how many tokens it is trained on at a time. The initial weights
    come from `generator` alone (default: seed 0); dropout draws from torch's global generator of the device.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config, self.vocab_size, self.context = config, vocab_size, config.context
        D, H = config.d_model, config.d_hidden or config.d_model
        two = config.recurrent.head == "two-layer"
        last = D if config.tied and not two else H
        widths = [D, *[H] * (config.n_layers - 1), last]
        cell = CELLS[config.kind]
        self.tokens = nn.Embedding.from_pretrained(torch.empty(vocab_size, D), freeze=False)
        self.layers = nn.ModuleList(cell(inputs, width, config.bias) for inputs, width in itertools.pairwise(widths))
        self.middle = Linear(last, D, bias=config.bias) if two else None
        self.head = None if config.tied else Linear(D if two else last, vocab_size, bias=False)
        self.bias = nn.Parameter(torch.empty(vocab_size)) if config.bias and not two else None
        self._initialise(generator or torch.Generator().manual_seed(0))

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Cells as torch does (see `Cell.initialise`), other matrices N(0, init_std), their biases 0."""
        for i, cell in enumerate(self._cells):
            cell.initialise(generator, f"layers.{i}.")
        for name, parameter in self.named_parameters():
            if name.startswith("layers."):
                continue
            if name.endswith("bias"):
                parameter.zero_()
            else:
                begin(generator, name)
                drawn = torch.empty(parameter.shape).normal_(0.0, self.config.init_std, generator=generator)
                parameter.copy_(drawn)

    @property
    def _cells(self) -> list[RecurrentCell]:
        return [layer for layer in self.layers if isinstance(layer, RecurrentCell)]

    @property
    def head_weight(self) -> Tensor:
        """The output matrix (V, D or H); the token embedding where they are tied."""
        return self.tokens.weight if self.head is None else self.head.weight

    @property
    def head_bias(self) -> Tensor | None:
        """The output bias (V,); None with a two-layer head or without biases."""
        return self.bias

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return what the output matrix reads (B, T, D or H) of ids (B, T) int64; see `LanguageModel.hidden`.

        Without a cache the state begins at zero. Raises `ConfigError` when the cache is too short.
        """
        if cache is None:
            return self._read(ids, self._start(len(ids)))[0]
        cache.room_for(ids.shape[1])
        out: Tensor | None = None
        for skip, rows in _by_padding(cache, ids.shape[1]):
            states = [[part if rows is None else part[rows] for part in layer.sums] for layer in _layers(cache)]
            some = ids[:, skip:] if rows is None else ids[rows, skip:]
            hidden, states, _ = self._read(some, states)
            for layer, new in zip(_layers(cache), states, strict=True):
                layer.sums = new if rows is None else _put(layer.sums, rows, new)
            if rows is None:
                out = hidden
            else:  # what stands at padding means nothing
                out = hidden.new_zeros(*ids.shape, hidden.shape[-1]) if out is None else out
                out[rows, skip:] = hidden
        for layer in _layers(cache):
            layer.used += ids.shape[1]
        return self._nothing(ids) if out is None else out

    def loss(
        self,
        source: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        reduction: Literal["mean", "sum", "none"] = "mean",
        continues: bool = False,
    ) -> Tensor:
        """Return the cross-entropy in nats; in training the penalties of `model.recurrent` add to its gradient.

        With `model.recurrent.carry`, a training batch that `continues` begins in the state where the last one ended.
        """
        carries = self.training and self.config.recurrent.carry
        goes_on = carries and continues and self.carried is not None
        states = self._unpacked(self.carried) if goes_on and self.carried is not None else self._start(len(source))
        hidden, states, penalty = self._read(source, states)
        if carries:
            self.carried = [part.detach() for layer in states for part in layer]
        loss = self.token_loss(hidden, target, mask, reduction)
        return loss if penalty is None or reduction == "none" else loss + (penalty - penalty.detach())

    def _read(self, ids: Tensor, states: States) -> tuple[Tensor, States, Tensor | None]:
        """Return the hidden states, the states of each layer after the last token, and the penalty, if there is any."""
        ours, plain = self.config.recurrent, self.config.dropout
        x = self.tokens(ids)
        if self.training and ours.embedding_dropout:
            kept = F.dropout(x.new_ones(self.vocab_size, 1), ours.embedding_dropout)
            x = x * kept[ids]
        x = self._drop(x, ours.input_dropout, plain)
        after: States = []
        raw = x
        drop = ours.weight_drop if self.training else 0.0
        for number, (cell, state) in enumerate(zip(self._cells, states, strict=True), 1):
            raw, new = cell(x, state, drop)
            after.append(new)
            last = number == len(states)
            x = self._drop(raw, ours.output_dropout if last else ours.hidden_dropout, plain)
        penalty = self._penalty(x, raw) if self.training else None
        return x if self.middle is None else F.relu(self.middle(x)), after, penalty

    def _drop(self, x: Tensor, locked: float, plain: float) -> Tensor:
        """Return x (B, T, D) with dropout while training: one mask a row, or else a mask for each token."""
        if not self.training:
            return x
        if locked:
            return x * F.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), locked)
        return dropout(x, plain) if plain else x

    def _penalty(self, dropped: Tensor, raw: Tensor) -> Tensor | None:
        """Return alpha mean(y'^2) + beta mean((y_t - y_{t-1})^2), or None where neither is asked for."""
        alpha, beta = self.config.recurrent.activation_penalty, self.config.recurrent.change_penalty
        parts = [alpha * dropped.square().mean()] if alpha else []
        if beta and raw.shape[1] > 1:
            parts.append(beta * (raw[:, 1:] - raw[:, :-1]).square().mean())
        return torch.stack(parts).sum() if parts else None

    def _start(self, batch: int) -> States:
        return [cell.start(batch) for cell in self._cells]

    def _unpacked(self, flat: list[Tensor]) -> States:
        """Return the states by layer."""
        each = self._cells[0].states
        return [flat[i : i + each] for i in range(0, len(flat), each)]

    def _nothing(self, ids: Tensor) -> Tensor:
        """Return hidden states for tokens that are all padding."""
        return self.head_weight.new_zeros(*ids.shape, self.head_weight.shape[1])

    def new_cache(self, batch: int, length: int, start: Tensor | None = None) -> Cache:
        """Return an empty cache: the states of each layer, of a size that does not grow with `length`."""
        layers = [StateCache(states) for states in self._start(batch)]
        return Cache([*layers], length, None if start is None else start.to(self.tokens.weight.device))

    def flops_per_token(self) -> int:
        """Return the floating-point operations of one trained token: 6 a weight that multiplies, not the look-up."""
        cells = sum(p.numel() for p in self.layers.parameters() if p.dim() == 2)
        middle = 0 if self.middle is None else self.middle.weight.numel()
        return 6 * (cells + middle) + self.head_flops()


def _by_padding(cache: Cache, T: int) -> list[tuple[int, Tensor | None]]:
    """Return (tokens of padding among the next T, the rows that have so many); rows None: all of them.

    Rows are read together where as many of their next tokens are real, so that padding touches no state. Rows of which
    all T tokens are padding are left out.
    """
    if cache.start is None:
        return [(0, None)]
    padding = (cache.start - cache.used).clamp(0, T)
    if not padding.any():
        return [(0, None)]
    return [(skip, (padding == skip).nonzero()[:, 0]) for skip in padding.unique().tolist() if skip < T]


def _layers(cache: Cache) -> list[StateCache]:
    return [layer for layer in cache.layers if isinstance(layer, StateCache)]


def _put(parts: list[Tensor], rows: Tensor, new: list[Tensor]) -> list[Tensor]:
    """Return the parts with the given rows replaced."""
    return [part.index_copy(0, rows, piece) for part, piece in zip(parts, new, strict=True)]
