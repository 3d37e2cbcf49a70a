"""The honest loss of a model that leaks: each token predicted from its prefix alone, as a model writes.

    usual     one pass over a window: f(x_1 .. x_T), all T tokens scored at once
    honest    a pass for each scored token: f(x_1 .. x_t), the last answer scored

For a causal model the two are equal. Where the future leaks into the past, the usual loss is false, and this is true.
A prefix costs a pass, so a sample of the split is scored: evenly spread windows, and evenly spread tokens in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from heed.report.numbers import format_loss
from heed.text.tokenfile import TokenFile

WINDOWS, PLACES = 32, 10
"""At most so many windows, and scored tokens in each."""


@dataclass(frozen=True)
class HonestLoss:
    """Two losses of the same tokens, in nats a token."""

    loss: float
    """Each token from its prefix alone."""
    one_pass: float
    """The same tokens, scored in one pass over their windows."""
    tokens: int
    """How many there are."""

    def sentence(self) -> str:
        """Say both for people.

        >>> HonestLoss(5.03, 0.17, 320).sentence()
        '5.0300 nats a token on prefixes alone (the same 320 tokens in one pass: 0.1700)'
        """
        one_pass = f"the same {self.tokens} tokens in one pass: {format_loss(self.one_pass)}"
        return f"{format_loss(self.loss)} nats a token on prefixes alone ({one_pass})"


def honest_loss(
    model: nn.Module, tokens: TokenFile, context: int, device: torch.device | str | None = None
) -> HonestLoss:
    """Score a sample of `tokens` on prefixes of up to `context` tokens, and in one pass.

    `model.loss(source, target, mask, reduction="none")` gives nats (B, T). Equal arguments give equal numbers.
    """
    where = torch.device(device) if device is not None else next(model.parameters()).device
    context = min(context, len(tokens.ids) - 1)
    last = len(tokens.ids) - 1 - context
    starts = np.unique(np.linspace(0, last, WINDOWS).astype(np.int64))
    windows = torch.from_numpy(np.stack([tokens.ids[s : s + context + 1] for s in starts]).astype(np.int64)).to(where)
    source, target = windows[:, :-1], windows[:, 1:]
    places = np.unique(np.linspace(0, context - 1, PLACES).astype(np.int64)).tolist()

    def loss(end: int, scored: list[int]) -> Tensor:
        counts = torch.zeros_like(target[:, :end], dtype=torch.bool)
        counts[:, scored] = True
        nats = model.loss(source[:, :end], target[:, :end], counts, reduction="none")  # pyright: ignore[reportCallIssue]
        return nats[:, scored].double()

    with evaluating(model):
        one_pass = loss(context, places)
        honest = torch.cat([loss(t + 1, [t]) for t in places], dim=1)
    return HonestLoss(honest.mean().item(), one_pass.mean().item(), honest.numel())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards the model is in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
