"""What every language model is: token ids in, logits out, a loss in nats, and a cache to decode with.

ids (B,T) --hidden--> (B,T,D) --logits--> (B,T,V)
                         └──────loss────> nats, without all logits in memory when V is large
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from heed.attention import Cache
from heed.attention.halves import Streaming
from heed.models.loss import linear_cross_entropy
from heed.models.sampled import SampledSoftmax

WeightKind = Literal["fp32", "fp16", "bf16", "int8"]
"""What the matrices of a model are kept in."""


class LanguageModel(Streaming, nn.Module, ABC):
    """Predicts the next token. Subclasses say what `hidden`, `head_weight`, `new_cache` and `flops_per_token` are."""

    vocab_size: int
    """Number of tokens V."""
    context: int
    """Longest sequence that the model can read."""
    causal: ClassVar[bool] = True
    """Whether a token sees only what stands before it; an encoder sees both sides, and cannot write."""

    carried: list[Tensor] | None = None
    """The state in which the last training batch ended, where a model carries it on; a checkpoint holds it."""

    label_smoothing: float = 0.0
    """Share of each target that is spread over all tokens (or classes), in the gradient of `loss`, not in its value."""
    sampled: SampledSoftmax | None = None
    """Draws the part of the vocabulary that the `loss` of a training step is estimated over; None: all of it."""

    leaks: str | None = None
    """What the audit has found, where it found that the model sees the tokens it predicts; its figures say so."""
    weights: WeightKind = "fp32"
    """What its matrices are kept in: see `models/packed.py`."""
    audited: str | None = None
    """What the audit says of the model before it is trained, how much was tried included."""

    @abstractmethod
    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the last hidden states (B, T, D) of ids (B, T) int64, final norm applied.

        With a cache, `ids` follow what the cache holds and are added to it. Raises `ConfigError` when the sequence
        becomes longer than `context` or than the cache.
        """

    @property
    @abstractmethod
    def head_weight(self) -> Tensor:
        """The output matrix (V, D); the token embedding where they are tied."""

    @property
    def head_bias(self) -> Tensor | None:
        """The output bias (V,), where there is one."""
        return None

    @abstractmethod
    def new_cache(self, batch: int, length: int, start: Tensor | None = None) -> Cache:
        """Return an empty cache for `batch` rows of up to `length` tokens.

        `start` (batch,) says how many tokens of padding each row begins with: they are never looked at, and the first
        real token has position 0.
        """

    @property
    def caches(self) -> bool:
        """Whether the model can decode with a cache; where it cannot, decoding reads the whole window each time."""
        return True

    @abstractmethod
    def flops_per_token(self) -> int:
        """Return the floating-point operations of one trained token, forward and backward, by formula."""

    def head_flops(self) -> int:
        """Return the operations of one trained token in the output layer: 6 a weight of the tokens its loss is over."""
        rows = self.vocab_size if self.sampled is None else self.sampled.size
        return 6 * rows * self.head_weight.shape[1]

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits (..., V) of hidden states (..., D)."""
        return nn.functional.linear(hidden, self.head_weight, self.head_bias)

    def forward(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return logits (B, T, V) of ids (B, T) int64; see `hidden` for the cache."""
        return self.logits(self.hidden(ids, cache))

    def log_probabilities(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the log-probabilities (B, T, V), in nats and at least float32, of what follows ids (B, T) int64."""
        logits = self(ids, cache)
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)

    def loss(
        self,
        source: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        reduction: Literal["mean", "sum", "none"] = "mean",
        continues: bool = False,
    ) -> Tensor:
        """Return the cross-entropy in nats of `target` (B, T) after `source` (B, T).

        `mask` (B, T) is True where a token counts. "mean" is over the tokens that count, "sum" their total, and
        "none" gives (B, T) with 0 where a token does not count. `continues` says that the rows go on where those of
        the last call ended, which only a model that carries its state takes notice of.
        """
        return self.token_loss(self.hidden(source), target, mask, reduction)

    def token_loss(
        self, hidden: Tensor, target: Tensor, mask: Tensor | None, reduction: Literal["mean", "sum", "none"]
    ) -> Tensor:
        """Return the cross-entropy in nats of `target` (B, T) by hidden states (B, T, D); see `loss`.

        In training it is that over `sampled`, where this is set, and its gradient that of smoothed targets.
        """
        learns = self.training and torch.is_grad_enabled()
        loss = linear_cross_entropy if self.sampled is None or not learns else self.sampled.loss
        return loss(
            hidden, self.head_weight, target, bias=self.head_bias, mask=mask, reduction=reduction,
            smoothing=self.label_smoothing,
        )  # fmt: skip

    def parameter_count(self) -> int:
        """Return the number of parameters, shared ones counted once."""
        return sum(parameter.numel() for parameter in self.parameters())
