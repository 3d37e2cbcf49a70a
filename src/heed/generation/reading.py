"""What the model has read of each row, and the logits that follow: the cache, padding, and the sliding window.

Rows of different lengths end together: shorter ones are padded on the left (P), and grow together to the right.

    row 0   P P P t0 t1 t2 | t3 ...
    row 1  t0 t1 t2 t3 t4 t5 | t6 ...

A model reads at most `context` tokens. A row that grows beyond keeps the last half of its window (context // 2 tokens,
the newest one included), which is read afresh from position 0, and it goes on from there. When a row slides depends on
its own length alone, so it gets the same text in any company.
"""

from __future__ import annotations

import torch
from torch import Tensor

from heed.attention import Cache
from heed.generation.token_step import lean_step
from heed.models.base import LanguageModel


class Reader:
    """Reads windows of token ids and gives the logits (B, V) of the token that follows each.

    `length` is the number of tokens that the longest row may reach, sliding aside. Without `cached`, every call reads
    every window anew, one by one: slow and obvious, what the cache is tested against.
    """

    def __init__(
        self, model: LanguageModel, windows: list[list[int]], length: int, *, device: torch.device, cached: bool = True
    ) -> None:
        self.model, self.device, self.cached = model, device, cached and model.caches
        self.windows = [list(window) for window in windows]
        self.slides = [0] * len(windows)
        """How many times each row dropped the older half of its window."""
        self._length = min(length, model.context)
        self._cache: Cache | None = None
        self._step = lean_step(model)

    def read(self) -> Tensor:
        """Read every window and return the logits (B, V) that follow."""
        if not self.cached:
            hidden = [self.model.hidden(self._tensor([window]))[:, -1] for window in self.windows]
            return self.model.logits(torch.cat(hidden))
        self._cache, hidden = self._fill(self.windows)
        return self.model.logits(hidden)

    def push(self, tokens: list[int]) -> Tensor:
        """Add one token to each row and return the logits (B, V) that follow."""
        context = self.model.context
        for window, token in zip(self.windows, tokens, strict=True):
            window.append(token)
        full = [row for row, window in enumerate(self.windows) if len(window) > context]
        for row in full:
            del self.windows[row][: -max(1, context // 2)]
            self.slides[row] += 1
        if self._cache is None or len(full) == len(self.windows):
            return self.read()
        if full:
            self._reread(self._cache, full)
        if self._cache.used == self._cache.length:
            self._move_left(self._cache)
        ids = self._tensor(tokens)
        if self._step is not None and self._cache.start is None:
            return self.model.logits(self._step(ids, self._cache))
        return self.model.logits(self.model.hidden(ids[:, None], self._cache)[:, -1])

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows only, in this order; a row may be named several times."""
        self.windows = [list(self.windows[row]) for row in rows]
        self.slides = [self.slides[row] for row in rows]
        if self._cache is not None:
            self._cache.keep(torch.tensor(rows, device=self.device))

    def _fill(self, windows: list[list[int]]) -> tuple[Cache, Tensor]:
        """Read windows into a new cache; return it and the last hidden state (B, D) of each."""
        width = max(len(window) for window in windows)
        padding = [width - len(window) for window in windows]
        start = self._tensor(padding) if any(padding) else None
        cache = self.model.new_cache(len(windows), max(width, self._length), start)
        ids = self._tensor([[0] * pad + window for pad, window in zip(padding, windows, strict=True)])
        return cache, self.model.hidden(ids, cache)[:, -1]

    def _reread(self, cache: Cache, rows: list[int]) -> None:
        """Replace what the cache holds of these rows by their windows, all but the newest token."""
        size = len(self.windows[rows[0]]) - 1  # the same for all: they have just slid
        if cache.start is None:
            cache.start = torch.zeros(len(self.windows), dtype=torch.int64, device=self.device)
        fresh = self._fill([self.windows[row][:-1] for row in rows])[0] if size else cache
        cache.replace(rows, fresh, size)

    def _move_left(self, cache: Cache) -> None:
        """Make room at the end of a full cache by dropping the padding that all rows have.

        There is some: a row without padding would fill the context, and would have slid before.
        """
        assert cache.start is not None
        cache.drop_first(int(cache.start.min()))

    def _tensor(self, values: list[int] | list[list[int]]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)


def device_of(model: LanguageModel) -> torch.device:
    """Return where the model is: the device of its first parameter, or the CPU when it has none."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device
