"""Rows that are decoded together, and come and go while others run: what continuous batching stands on.

    add       reads a prompt, alone, and gives the logits after it; the row is the last one
    push      adds one token to every row, and gives the logits that follow
    remove    takes a row away; the last one takes its place

The rows of a plain GPT lie in the slots of one cache and share every product (`SlotRows`). Those of any other model,
whatever its cache, or none, each go by themselves (`SeparateRows`). In both a row's logits depend on its own tokens
alone; where products of matrices do not depend on their number of rows (see `SlotCache`), to the last bit.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import torch
from torch import Tensor

from heed.attention import Cache, SlotCache
from heed.generation.reading import Reader, device_of
from heed.generation.token_step import Step, lean_step
from heed.models.base import LanguageModel

REMEMBERED = 4
"""Prompts whose keys and values are kept for when they come again."""


class Rows(Protocol):
    """Rows that are decoded together."""

    def __len__(self) -> int: ...

    def add(self, ids: list[int], copies: int = 1) -> Tensor:
        """Read a prompt into `copies` new rows and return the logits (1, V) that follow it."""
        ...

    def push(self, tokens: list[int]) -> Tensor:
        """Add one token to each row and return the logits (rows, V) that follow."""
        ...

    def remove(self, row: int) -> None:
        """Take a row away; the last one takes its place."""
        ...


def make_rows(model: LanguageModel) -> Rows:
    """Return the rows of a model, together where it can be, none of them there yet."""
    step = lean_step(model)
    return SeparateRows(model) if step is None else SlotRows(model, step)


class SlotRows:
    """The rows of a plain GPT, in one cache."""

    def __init__(self, model: LanguageModel, step: Step) -> None:
        self.model, self.step, self.device = model, step, device_of(model)
        self.windows: list[list[int]] = []
        """The tokens of each row that the model still sees."""
        self.cache = self._empty()
        self._prompts: OrderedDict[tuple[int, ...], tuple[Cache, Tensor]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.windows)

    def add(self, ids: list[int], copies: int = 1) -> Tensor:
        """Read a prompt into `copies` new rows and return the logits (1, V) that follow it."""
        cache, logits = self._read_prompt(ids)
        for _ in range(copies):
            self.cache.add(cache)
            self.windows.append(list(ids))
        return logits

    def push(self, tokens: list[int]) -> Tensor:
        """Add one token to each row and return the logits (rows, V) that follow.

        A row beyond the context keeps the last half of its window, as in `Reader`.
        """
        context = self.model.context
        full: list[int] = []
        for row, (window, token) in enumerate(zip(self.windows, tokens, strict=True)):
            window.append(token)
            if len(window) > context:
                del window[: -max(1, context // 2)]
                self.cache.lengths[row] = 0  # its step is for nothing
                full.append(row)
        ids = torch.tensor([*tokens, *[0] * self.cache.idle], device=self.device)
        logits = self.model.logits(self.step(ids, self.cache))[: len(tokens)]
        for row in full:
            cache, logits[row : row + 1] = self._read(self.windows[row])
            self.cache.replace_row(row, cache)
        return logits

    def remove(self, row: int) -> None:
        """Take a row away; the last one takes its place."""
        self.cache.remove(row)
        last = self.windows.pop()
        if row < len(self.windows):
            self.windows[row] = last
        if not self.windows:
            self.cache = self._empty()  # its memory is given back

    def _read_prompt(self, ids: list[int]) -> tuple[Cache, Tensor]:
        """Read a prompt, or remember it: what is asked about one prompt a thousand times reads it once."""
        key = tuple(ids)
        if key not in self._prompts:
            self._prompts[key] = self._read(ids)
            if len(self._prompts) > REMEMBERED:
                self._prompts.popitem(last=False)
        self._prompts.move_to_end(key)
        return self._prompts[key]

    def _read(self, ids: list[int]) -> tuple[Cache, Tensor]:
        cache = self.model.new_cache(1, len(ids))
        hidden = self.model.hidden(torch.tensor([ids], device=self.device), cache)[:, -1]
        return cache, self.model.logits(hidden)

    def _empty(self) -> SlotCache:
        return SlotCache(self.model.new_cache(1, 1), self.model.context)


class SeparateRows:
    """The rows of any model, each read by itself."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, self.device = model, device_of(model)
        self.readers: list[Reader] = []

    def __len__(self) -> int:
        return len(self.readers)

    def add(self, ids: list[int], copies: int = 1) -> Tensor:
        """Read a prompt into `copies` new rows and return the logits (1, V) that follow it."""
        readers = [Reader(self.model, [ids], self.model.context, device=self.device) for _ in range(copies)]
        logits = [reader.read() for reader in readers]
        self.readers += readers
        return logits[0]

    def push(self, tokens: list[int]) -> Tensor:
        """Add one token to each row and return the logits (rows, V) that follow."""
        return torch.cat([reader.push([token]) for reader, token in zip(self.readers, tokens, strict=True)])

    def remove(self, row: int) -> None:
        """Take a row away; the last one takes its place."""
        last = self.readers.pop()
        if row < len(self.readers):
            self.readers[row] = last
