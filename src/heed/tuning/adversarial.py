"""Adversarial training: each step learns from its texts with their word vectors moved to where the loss grows fastest.

    g = dL/de                              e (B, T, D): the vectors of the words of a batch
    r = s sqrt(B) g / ||g||                moved by s, as the root of the mean square over the texts
    the step descends L(e + r)

Miyato, Dai and Goodfellow 2017, https://arxiv.org/abs/1605.07725, equation 4, and as there with words that stand for
vectors, not tokens. Otherwise than there the vectors are not normalised, one norm is taken over the batch, so that a
text which is in no doubt is hardly moved, and L(e) itself is left out: to first order (L(e) + L(e + r)) / 2 is
L(e + r/2), which takes five sixths of the passes. The first pass ends at the words: a step costs five thirds of the
computing of a plain one, and no memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Adversary:
    """Moves what `embeddings` returns by `strength`, s above; where texts are vectors already, these."""

    def __init__(self, embeddings: nn.Module, strength: float) -> None:
        self.strength = strength
        self._shift: Tensor | None = None
        self._seen: list[Tensor] | None = None
        embeddings.register_forward_hook(self._hook)

    def loss(self, loss_of: Callable[[], Tensor]) -> Tensor:
        """Return `loss_of()`, a scalar, at the words that are moved against it."""
        self._seen = seen = []
        try:
            (gradient,) = torch.autograd.grad(loss_of(), seen)
        finally:
            self._seen = None
        gradient = gradient.float()
        length = self.strength * len(gradient) ** 0.5
        self._shift = gradient * (length / gradient.norm().clamp(min=torch.finfo(torch.float32).tiny))
        try:
            return loss_of()
        finally:
            self._shift = None

    def look(self, words: Tensor) -> Tensor:
        """Return the words (B, T, D), or vectors (B, D): remembered in the first pass, moved in the second."""
        if self._shift is not None:
            return words + self._shift.to(words.dtype)
        if self._seen is None:
            return words
        self._seen.append(words.detach().requires_grad_())
        return self._seen[-1]

    def _hook(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        return self.look(output)
