"""A loss over a part of the vocabulary, in training alone: sampled softmax (Jean et al. 2015; Bengio & Senécal 2003).

    log p(t) = l_t - log sum_i exp(l_i)          the whole vocabulary: V products a token
    ~ l_t - log (exp(l_t) + sum_{i in S, i != t} exp(l_i) / p_i)

S holds each token i with a probability p_i of its own, drawn anew for each step: with weights 1 / p_i the sum has the
mean of the whole one, so that the loss is an estimate of the cross-entropy, a little below it (Jensen). p_i goes with
count_i^0.75 of the training text (Mikolov et al. 2013, section 2.2), up to 1: frequent tokens are always there. Targets
that were not drawn count in their own rows only; in the others they would tell a model not to repeat a rare word.

Evaluations, and everything that is shown of them, are over the whole vocabulary.

    https://arxiv.org/abs/1412.2007   https://arxiv.org/abs/1310.4546
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from heed.errors import ConfigError
from heed.models.loss import linear_cross_entropy, rounded

POWER = 0.75
"""Of the counts."""
NOT_DRAWN = -1e9
"""What is added to the logit of a token that is only there as the target of some row, or to round up a size."""


class SampledSoftmax:
    """Draws the tokens of each step; `size` on average, of a vocabulary that occurs `counts` (V,) times.

    Raises `ConfigError` where `size` is no part of the vocabulary.
    """

    def __init__(self, counts: Tensor, size: int) -> None:
        if size >= len(counts):
            raise ConfigError(
                f"train.sampled_softmax: {size} is no part of the vocabulary of {len(counts)}: leave it out"
            )
        self.size = size
        self.inclusion = inclusion(counts, size)
        """How likely each token is drawn (V,), float32."""

    def loss(self, hidden: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None = None, **how: Any) -> Tensor:
        """Return the estimate of `linear_cross_entropy(hidden, weight, target, bias=bias, **how)`, a scalar.

        What is drawn comes from torch's global generator of the device.
        """
        self.inclusion = self.inclusion.to(weight.device)
        drawn = torch.rand_like(self.inclusion) < self.inclusion
        there = rounded(drawn.index_fill(0, target.reshape(-1).clamp(min=0), True))  # what does not count may be -100
        ids = there.nonzero()[:, 0]
        place = there.cumsum(0) - 1
        return linear_cross_entropy(
            hidden, weight.index_select(0, ids), place[target.clamp(min=0)],
            bias=None if bias is None else bias.index_select(0, ids),
            correction=(-self.inclusion.log()).where(drawn, NOT_DRAWN).index_select(0, ids), **how,
        )  # fmt: skip


def sample_softmax(model: nn.Module, size: int | None) -> None:
    """Let a model learn from a loss over `size` tokens of its vocabulary; None: over all.

    A model that was not told how often each occurs draws them evenly. Raises `ConfigError` for one without tokens.
    """
    predicts = hasattr(model, "sampled") and getattr(model, "classes", None) is None
    if size is not None and not predicts:
        raise ConfigError("train.sampled_softmax: what this model tells is no token of a vocabulary: leave it out")
    if predicts and (size is None or model.sampled is None):
        chosen: Any = model
        chosen.sampled = None if size is None else SampledSoftmax(torch.ones(chosen.vocab_size), size)


def inclusion(counts: Tensor, size: int) -> Tensor:
    """Return probabilities (V,) min(1, c (count + 1)^0.75), float32, with the c for which they add up to `size` < V.

    >>> inclusion(torch.tensor([10_000, 15, 15, 0, 0]), 3).tolist()
    [1.0, 0.8888888955116272, 0.8888888955116272, 0.1111111119389534, 0.1111111119389534]
    """
    share = (counts.double() + 1) ** POWER
    certain = torch.zeros(len(share), dtype=torch.bool)
    while True:  # what is above 1 is 1, which leaves more for the others
        left = size - int(certain.sum())
        scaled = share * (left / share[~certain].sum())
        more = ~certain & (scaled > 1)
        if not more.any():
            return scaled.where(~certain, 1.0).float()
        certain |= more
