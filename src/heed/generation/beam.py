"""Beam search: the likeliest texts that end, of those whose every beginning is among the likeliest of its length.

At each step the `beams` likeliest beginnings of each prompt grow by one token. A text is never likelier than its own
beginning, so the search is over when no beginning is likelier than the worst of `beams` texts that have ended. Whole
texts are compared by their log-probability alone: nothing is divided by the length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from heed.generation.reading import Reader, device_of
from heed.models.base import LanguageModel


@dataclass(frozen=True)
class Beam:
    """A text or the beginning of one: its tokens, without the one that ends it, and its log-probability in nats."""

    ids: tuple[int, ...]
    logprob: float
    ended: bool


@dataclass
class _Search:
    """The search for one prompt."""

    prompt: list[int]
    width: int
    alive: list[Beam] = field(default_factory=lambda: [Beam((), 0.0, False)])
    ended: list[Beam] = field(default_factory=list)
    cut: list[Beam] = field(default_factory=list)
    """What was alive when there was no more room."""

    def extend(self, logprobs: Tensor, end_id: int | None) -> list[int]:
        """Grow by one token, from log-probabilities (alive, V) of the next one; return the beams that live on."""
        total = logprobs + torch.tensor([[beam.logprob] for beam in self.alive], dtype=torch.float64)
        if end_id is not None:
            ends = [Beam(beam.ids, p, True) for beam, p in zip(self.alive, total[:, end_id].tolist(), strict=True)]
            ended = [*self.ended, *(beam for beam in ends if beam.logprob > -torch.inf)]
            self.ended = sorted(ended, key=lambda beam: -beam.logprob)[: self.width]
            total[:, end_id] = -torch.inf
        least = self.ended[-1].logprob if len(self.ended) == self.width else -torch.inf
        values, flat = total.flatten().topk(min(self.width, total.numel()))
        grown = [
            (*divmod(place, total.shape[1]), value)
            for place, value in zip(flat.tolist(), values.tolist(), strict=True)
            if value > least
        ]
        self.alive = [Beam((*self.alive[beam].ids, token), value, False) for beam, token, value in grown]
        return [beam for beam, _, _ in grown]

    def stop(self) -> None:
        """Let nothing grow any more."""
        self.cut, self.alive = self.alive, []


def beam_search(
    model: LanguageModel,
    prompts: Sequence[list[int]],
    end_id: int | None,
    *,
    beams: int,
    max_tokens: int,
    banned: Sequence[int] = (),
) -> list[list[Beam]]:
    """Return `beams` texts after each prompt (token ids, fewer than the context): those that ended, best first.

    `max_tokens` counts the end token. What is cut off there or at the end of the context stands behind, and only where
    too few have ended. `banned` tokens are never chosen. A prompt's result does not depend on those beside it (beyond
    float rounding). The model is to be in evaluation mode.
    """
    searches = [_Search(prompt, beams) for prompt in prompts]
    longest = max(map(len, prompts)) + max_tokens
    with torch.inference_mode():
        reader = Reader(model, list(prompts), longest, device=device_of(model))
        logits = reader.read()
        for step in range(1, max_tokens + 1):
            logprobs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1).cpu().double()
            logprobs[:, list(banned)] = -torch.inf
            rows, at = [], 0
            for search in searches:
                size = len(search.alive)
                if size:
                    rows += [at + beam for beam in search.extend(logprobs[at : at + size], end_id)]
                    if step == max_tokens or len(search.prompt) + step > model.context:
                        rows = rows[: len(rows) - len(search.alive)]
                        search.stop()
                at += size
            if not rows:
                break
            reader.keep(rows)
            logits = reader.push([beam.ids[-1] for search in searches for beam in search.alive])
    return [(search.ended + search.cut)[: search.width] for search in searches]
