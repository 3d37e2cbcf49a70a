"""Head ablation: how much worse is the next token predicted when one head is switched off?

    zero    what the head mixes is taken away
    mean    it is replaced by its mean over all the windows, so that only what depends on the text is lost

A difference is paired: the same windows with and without the head. Its interval is the t interval of the mean over
windows, which are taken as independent. Heads that do the same work stand in for each other: a small difference does
not mean that nothing is done there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from heed.errors import DataError
from heed.explore.subject import Subject, SwitchedHead

AT_ONCE = 4096
"""Tokens that are read together."""
Progress = Callable[[int, int], object]
"""Is told how many heads are done, and of how many."""


def silent(done: int, of: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class LossText:
    """Windows of a text, whose next tokens are predicted."""

    name: str
    """What it is, for people."""
    windows: np.ndarray
    """(N, T + 1) ids: each token but the first of a row is a target."""

    @property
    def source(self) -> np.ndarray:
        """(N, T) what is read."""
        return self.windows[:, :-1]

    @property
    def target(self) -> np.ndarray:
        """(N, T) what follows."""
        return self.windows[:, 1:]


@dataclass(frozen=True)
class HeadEffects:
    """Losses of each window, in nats a token."""

    whole: np.ndarray
    """(N,) with all heads."""
    zero: np.ndarray
    """(layers, H, N): with one head's output set to zero."""
    mean: np.ndarray
    """(layers, H, N): with one head's output set to its mean."""


def cut_windows(ids: np.ndarray, count: int, length: int, name: str) -> LossText:
    """Return `count` windows of `length` targets, evenly spread over a text; fewer where it is short.

    Raises `DataError` when not even two windows fit.
    """
    count = min(count, (len(ids) - 1) // length)
    if count < 2:
        raise DataError(
            f"{name} has {len(ids):,} tokens, and two windows of {length + 1} are needed for an interval: "
            "give more text, or a smaller --window"
        )
    starts = np.linspace(0, len(ids) - 1 - length, count).astype(np.int64)
    return LossText(name, np.stack([ids[s : s + length + 1] for s in starts]).astype(np.int64))


def window_nats(subject: Subject, text: LossText, off: SwitchedHead | None = None) -> np.ndarray:
    """Return the mean loss of each window, nats a token: (N,)."""
    step = max(1, AT_ONCE // text.source.shape[1])
    parts = range(0, len(text.windows), step)
    found = [subject.nats(text.source[i : i + step], text.target[i : i + step], off) for i in parts]
    return np.concatenate(found).mean(axis=1)


def measure_heads(
    subject: Subject,
    text: LossText,
    layers: Sequence[int],
    progress: Progress = silent,
) -> HeadEffects:
    """Return the loss of each window with all heads, and without each head of some layers."""
    step = max(1, AT_ONCE // text.source.shape[1])
    sizes = [text.source[i : i + step] for i in range(0, len(text.windows), step)]
    means = sum(subject.head_means(rows) * len(rows) for rows in sizes) / len(text.windows)  # (L, H, K)
    whole = window_nats(subject, text)
    zero, mean = (np.zeros((len(layers), subject.heads, len(whole))) for _ in range(2))
    for place, layer in enumerate(layers):
        for head in range(subject.heads):
            progress(place * subject.heads + head, len(layers) * subject.heads)
            zero[place, head] = window_nats(subject, text, SwitchedHead(layer, head))
            mean[place, head] = window_nats(subject, text, SwitchedHead(layer, head, means[layer, head]))  # type: ignore[index]
    return HeadEffects(whole, zero, mean)
