"""A trained model beside a memory of the text that it has just read (Grave, Joulin & Usunier 2017, equations 2 to 4).

    p_cache(w) = sum_{i in memory} [x_{i+1} = w] exp(s h_t . h_i)  /  sum_{i in memory} exp(s h_t . h_i)
    p(w)       = (1 - a) p_model(w) + a p_cache(w)

It is attention, with the hidden states of the last `size` places as keys and the tokens that followed as values, over
far more text than the model's own context. Nothing is trained. Its two numbers, the sharpness s and the weight a, are
chosen on a text that is not the one measured. Where nothing was read yet, p is p_model.

    https://arxiv.org/abs/1612.04426
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from heed.attention import Cache
from heed.errors import ConfigError, DataError
from heed.models.base import LanguageModel

QUERIES = 512
"""Places that look at the memory at once."""
SHARPNESSES = tuple(2.0**power for power in range(1, 8))
"""What is tried, as the exponent of a hidden state by itself: s = one of these / mean h . h of the first batch."""


@dataclass(frozen=True)
class CacheNumbers:
    """What a neural cache is told."""

    size: int
    """Places that it remembers."""
    weight: float
    """a, the share of the cache's probability: 0 to 1, exclusive."""
    sharpness: float
    """s, above 0."""

    def __post_init__(self) -> None:
        if not 0 < self.weight < 1:
            raise ConfigError(f"the weight of a neural cache is between 0 and 1, not {self.weight}")
        if not self.sharpness > 0:
            raise ConfigError(f"the sharpness of a neural cache is above 0, not {self.sharpness}")

    def sentence(self) -> str:
        """Say it for people.

        >>> CacheNumbers(2000, 0.1234, 0.05678).sentence()
        'a neural cache of the last 2,000 tokens (weight 0.123, sharpness 0.0568)'
        """
        numbers = f"weight {self.weight:.3g}, sharpness {self.sharpness:.3g}"
        return f"a neural cache of the last {self.size:,} tokens ({numbers})"


class WithNeuralCache(LanguageModel):
    """A model whose losses are those of the mixture; its calls are one text, in order, each place once.

    With `numbers` None nothing is mixed; what the text comes to by each of `SHARPNESSES` is kept for `chosen`.
    """

    def __init__(self, model: LanguageModel, size: int, numbers: CacheNumbers | None) -> None:
        super().__init__()
        self.model, self.size, self.numbers = model, size, numbers
        self.vocab_size, self.context, self.weights, self.leaks = (
            model.vocab_size, model.context, model.weights, model.leaks
        )  # fmt: skip
        self.keys, self.after = torch.empty(0), torch.empty(0, dtype=torch.int64)
        self.tried: list[float] = [] if numbers is None else [numbers.sharpness]
        self.by_model: list[Tensor] = []
        self.by_cache: list[Tensor] = []

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the model's hidden states (B, T, D)."""
        return self.model.hidden(ids, cache)

    @property
    def head_weight(self) -> Tensor:
        """The model's output matrix (V, D)."""
        return self.model.head_weight

    @property
    def head_bias(self) -> Tensor | None:
        """The model's output bias (V,), where there is one."""
        return self.model.head_bias

    def new_cache(self, batch: int, length: int, start: Tensor | None = None) -> Cache:
        """Return an empty cache of the model; see `LanguageModel.new_cache`."""
        return self.model.new_cache(batch, length, start)

    def flops_per_token(self) -> int:
        """Return those of the model."""
        return self.model.flops_per_token()

    def token_loss(
        self, hidden: Tensor, target: Tensor, mask: Tensor | None, reduction: Literal["mean", "sum", "none"]
    ) -> Tensor:
        """Return the cross-entropy of the mixture in nats (B, T), its mean or sum over what `mask` (B, T) says.

        The places that count are remembered, and rows follow each other in the text.
        """
        losses = self.model.token_loss(hidden, target, mask, "none")
        counts = torch.ones_like(target, dtype=torch.bool) if mask is None else mask
        read = self._read(hidden[counts].float(), target[counts], losses[counts].float())
        mixed = losses.masked_scatter(counts, read)
        if reduction == "none":
            return mixed
        return mixed.sum() / (counts.sum() if reduction == "mean" else 1)

    def _read(self, queries: Tensor, goals: Tensor, losses: Tensor) -> Tensor:
        """Return the losses (M,) of places (M, D) before the tokens `goals` (M,), and remember them."""
        if not self.tried:
            square = max(queries.square().sum(dim=1).mean().item(), 1e-12)  # hidden states of 0 are all alike
            self.tried = [one / square for one in SHARPNESSES]
        known = len(self.after)
        keys = torch.cat((self.keys.to(queries).reshape(-1, queries.shape[1]), queries))
        after = torch.cat((self.after.to(goals), goals))
        found = torch.cat(
            [
                self._look_up(queries[at : at + QUERIES], goals[at : at + QUERIES], keys, after, known + at)
                for at in range(0, len(queries), QUERIES)
            ]
        )
        self.keys, self.after = keys[-self.size :], after[-self.size :]
        if self.numbers is None:
            self.by_model.append(-losses)
            self.by_cache.append(found)
            return losses
        return -mixture(-losses, found[:, 0], self.numbers.weight)

    def _look_up(self, queries: Tensor, goals: Tensor, keys: Tensor, after: Tensor, place: int) -> Tensor:
        """Return log p_cache (Q, S) of what follows places that stand at `place` and on, by each sharpness tried.

        NaN where nothing stands before.
        """
        first, last = max(0, place - self.size), place + len(queries) - 1
        keys, after = keys[first:last], after[first:last]
        distance = torch.arange(place, place + len(queries), device=keys.device)[:, None] - torch.arange(
            first, last, device=keys.device
        )
        outside = (distance < 1) | (distance > self.size)
        products = (queries @ keys.t()).masked_fill_(outside, -torch.inf)
        other = after != goals[:, None]
        found = []
        for sharpness in self.tried:
            scores = products * sharpness
            found.append(scores.masked_fill(other, -torch.inf).logsumexp(dim=1) - scores.logsumexp(dim=1))
        return torch.stack(found, dim=1)

    def chosen(self) -> CacheNumbers:
        """Return the sharpness and the weight with the lowest loss on what was read.

        Raises `DataError` where that has no place with another one before it.
        """
        by_model, by_cache = (torch.cat(found).cpu().double() for found in (self.by_model, self.by_cache))
        if len(by_cache) < 2:
            raise DataError("the validation split is too short to choose the numbers of a neural cache on: give them")
        best: tuple[float, float, float] = (np.inf, 0.5, self.tried[0])
        for sharpness, log_p in zip(self.tried, by_cache.t(), strict=True):
            weight = best_weight(by_model, log_p)
            best = min(best, (-mixture(by_model, log_p, weight).mean().item(), weight, sharpness))
        return CacheNumbers(self.size, best[1], best[2])


def mixture(by_model: Tensor, by_cache: Tensor, weight: float) -> Tensor:
    """Return log((1 - weight) p_model + weight p_cache) (N,) from both logarithms; p_model where the cache is NaN."""
    mixed = torch.logaddexp(by_model + np.log1p(-weight), by_cache + np.log(weight))
    return by_model.where(by_cache.isnan(), mixed)


def best_weight(by_model: Tensor, by_cache: Tensor, rounds: int = 100) -> float:
    """Return the weight with the highest likelihood, by EM (Dempster et al. 1977): it is the mean responsibility."""
    there = ~by_cache.isnan()
    by_model, by_cache = by_model[there], by_cache[there]
    weight = 0.1
    for _ in range(rounds):
        weight = (by_cache + np.log(weight) - mixture(by_model, by_cache, weight)).exp().mean().item()
        weight = min(max(weight, 1e-6), 1 - 1e-6)
    return weight


def choose_numbers(model: LanguageModel, size: int, read: Callable[[LanguageModel], object]) -> CacheNumbers:
    """Return what a cache of `size` places is best told on the text that `read` reads with the model it is given."""
    trial = WithNeuralCache(model, size, None)
    read(trial)
    return trial.chosen()
