"""What decoding keeps of the tokens that were already read, so that it looks back without computing them again.

A layer keeps their keys and values (`LayerCache`: memory is reserved once, two tensors (B, Hkv, length, K)) or sums
over them of a fixed size (`StateCache`). A row may begin with padding (`start`), so that prompts of different lengths
end together and grow together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from heed.errors import ConfigError


@dataclass
class LayerCache:
    """The keys and values (B, Hkv, length, K) of one layer, of which the first `used` positions are filled."""

    keys: Tensor
    values: Tensor
    used: int = 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k and v (B, Hkv, T, K) behind what is there, and return views (B, Hkv, S, K) of everything so far."""
        begin, count = self.used, k.shape[2]
        self.keys.narrow(2, begin, count).copy_(k)
        self.values.narrow(2, begin, count).copy_(v)
        self.used = end = begin + count
        return self.keys.narrow(2, 0, end), self.values.narrow(2, 0, end)

    def keep(self, rows: Tensor) -> None:
        """Keep the given rows."""
        self.keys, self.values = self.keys[rows], self.values[rows]

    def replace(self, rows: list[int], fresh: LayerCache, size: int) -> None:
        """Put the first `size` positions of `fresh` at the end of what is filled, in the given rows."""
        if size:
            self.keys[rows, :, self.used - size : self.used] = fresh.keys[:, :, :size]
            self.values[rows, :, self.used - size : self.used] = fresh.values[:, :, :size]

    def drop_first(self, count: int) -> None:
        """Forget the first `count` positions, and move what follows to the beginning."""
        rest = self.used - count
        self.keys[:, :, :rest] = self.keys[:, :, count : self.used].clone()
        self.values[:, :, :rest] = self.values[:, :, count : self.used].clone()
        self.used = rest


@dataclass
class StateCache:
    """Running sums over the past of one layer, each (B, ...); `used` counts the positions that were added."""

    sums: list[Tensor]
    used: int = 0

    def keep(self, rows: Tensor) -> None:
        """Keep the given rows."""
        self.sums = [part[rows] for part in self.sums]

    def replace(self, rows: list[int], fresh: StateCache, size: int) -> None:
        """Put the sums of `fresh`, which has read `size` positions, into the given rows."""
        for part, new in zip(self.sums, fresh.sums, strict=True):
            part[rows] = new if size else 0

    def drop_first(self, count: int) -> None:
        """Forget `count` positions of padding, of which the sums hold nothing."""
        self.used -= count


class Cache:
    """One `LayerCache` or `StateCache` a layer; `used` positions of `length` are filled, `start` (B,) is padding."""

    def __init__(self, layers: list[LayerCache | StateCache], length: int, start: Tensor | None = None) -> None:
        self.layers, self.length, self.start = layers, length, start

    @property
    def used(self) -> int:
        """Number of positions that are filled, padding included."""
        return self.layers[0].used

    def next(self) -> tuple[slice | Tensor, Tensor | None]:
        """Return where the next token of each row stands, and what it may see: None for all that is in the cache.

        For rows without padding. Raises `ConfigError` when the cache is full.
        """
        self.room_for(1)
        return slice(self.used, self.used + 1), None

    def room_for(self, T: int) -> None:
        """Raise `ConfigError` when T more tokens do not fit."""
        if self.used + T > self.length:
            raise ConfigError(f"the cache holds {self.used} of {self.length} tokens, and {T} more do not fit")

    def keep(self, rows: Tensor) -> None:
        """Keep the given rows (any order, repetition allowed), as when sequences end or one prompt feeds many."""
        for layer in self.layers:
            layer.keep(rows)
        if self.start is not None:
            self.start = self.start[rows]

    def replace(self, rows: list[int], fresh: Cache, size: int) -> None:
        """Let the given rows hold the `size` positions of `fresh`, at the end; what is before them becomes padding."""
        assert self.start is not None
        self.start[rows] = self.used - size
        for layer, new in zip(self.layers, fresh.layers, strict=True):
            layer.replace(rows, new, size)  # pyright: ignore[reportArgumentType] - the same model made both

    def drop_first(self, count: int) -> None:
        """Forget the first `count` positions, which are padding in every row."""
        assert self.start is not None
        for layer in self.layers:
            layer.drop_first(count)
        self.start = self.start - count


@cache
def row_tile() -> int:
    """Return the rows in whose multiples a row of a float32 product is the same to the last bit on this CPU.

    4, 8 or 16, by trial: the libraries have kernels of their own for few rows. On a processor with AVX2 4 are enough,
    on some with AVX-512 it takes 16. Where not even these are, 16.
    """
    made = torch.Generator().manual_seed(0)
    for tile in (4, 8):
        if all(_rows_agree(tile, *shape, made) for shape in ((64, 96), (256, 64), (384, 65), (768, 384), (1536, 384))):
            return tile
    return 16


def _rows_agree(tile: int, width: int, outputs: int, made: torch.Generator) -> bool:
    """Whether the first row of a product is the same among `tile` rows and among more."""
    x, weight = torch.randn(64, width, generator=made), torch.randn(outputs, width, generator=made)
    first = torch.mm(x[:tile], weight.t())[0]
    return all(torch.equal(torch.mm(x[:rows], weight.t())[0], first) for rows in range(2 * tile, 65, tile))


class SlotCache(Cache):
    """The keys and values of rows that come and go, each of its own length: row i begins at position 0 of slot i.

        slot 0   a a a a a a . .        places  6
        slot 1   b b . . . . . .                2
        slot 2   . . . . . . . .   idle         0

    One token is added to every row at a time. What a row gives does not depend on its company to the last bit, where
    the kernels allow it: products of matrices have a multiple of `row_tile` rows, idle ones to fill up, because fewer
    are computed in another order, and attention reads a multiple of `SPAN` positions, the rest of them hidden.
    """

    SPAN = 64

    def __init__(self, like: Cache, length: int) -> None:
        layers = [SlotLayer.of(layer, self) for layer in like.layers if isinstance(layer, LayerCache)]
        super().__init__([*layers], length)
        self.slots = layers
        self.device = layers[0].keys.device
        self.lengths: list[int] = []
        """Positions that are filled, of each row."""
        self.places, self.rows = self._counts([]), self._counts([])
        self.seen = 0

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def idle(self) -> int:
        """Slots that are computed for nothing, so that there are `row_tile` of them or a multiple."""
        return -len(self.lengths) % row_tile()

    def add(self, cache: Cache) -> None:
        """Add a row: what `cache`, of one row without padding, holds."""
        self.lengths.append(0)
        self.replace_row(len(self.lengths) - 1, cache)

    def replace_row(self, row: int, cache: Cache) -> None:
        """Let a row hold what `cache`, of one row without padding, holds."""
        self.lengths[row] = cache.used
        for slot, layer in zip(self.slots, cache.layers, strict=True):
            assert isinstance(layer, LayerCache)
            slot.reserve(len(self.lengths) + self.idle, max(self.lengths))
            slot.keys[row, :, : layer.used] = layer.keys[0, :, : layer.used]
            slot.values[row, :, : layer.used] = layer.values[0, :, : layer.used]

    def remove(self, row: int) -> None:
        """Take a row away; the last one takes its place."""
        length = self.lengths.pop()
        if row < len(self.lengths):
            self.lengths[row] = length
            for slot in self.slots:
                slot.keys[row, :, :length] = slot.keys[len(self.lengths), :, :length]
                slot.values[row, :, :length] = slot.values[len(self.lengths), :, :length]

    def next(self) -> tuple[slice | Tensor, Tensor | None]:
        """Add a place to each row: return the positions (B, 1), idle slots included, and the mask (B, 1, 1, S)."""
        self.places = self._counts([*self.lengths, *[0] * self.idle])
        self.rows = torch.arange(len(self.places), device=self.device)
        self.lengths = [length + 1 for length in self.lengths]
        self.seen = _up(max(self.lengths), self.SPAN)
        for slot in self.slots:
            slot.reserve(len(self.places), self.seen)
        hidden = torch.arange(self.seen, device=self.device) > self.places[:, None]
        mask = torch.zeros(hidden.shape, dtype=self.slots[0].keys.dtype, device=self.device)
        return self.places[:, None], mask.masked_fill_(hidden, -torch.inf)[:, None, None]

    def _counts(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)


@dataclass
class SlotLayer(LayerCache):
    """The slots of one layer: keys and values (slots, Hkv, positions, K), which grow as they are needed."""

    owner: SlotCache | None = None

    @classmethod
    def of(cls, layer: LayerCache, owner: SlotCache) -> SlotLayer:
        """Return no slots yet, of the kind of `layer`."""
        return cls(layer.keys[:0, :, :0], layer.values[:0, :, :0], 0, owner)

    def reserve(self, slots: int, positions: int) -> None:
        """Make room for so many slots and positions, half as many again where there is too little."""
        have_slots, _, have, _ = self.keys.shape
        if slots <= have_slots and positions <= have:
            return
        slots = have_slots if slots <= have_slots else max(slots, _up(have_slots * 3 // 2, row_tile()))
        positions = have if positions <= have else _up(max(positions, have * 3 // 2), SlotCache.SPAN)
        self.keys, self.values = (_grown(part, slots, positions) for part in (self.keys, self.values))

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k and v (slots, Hkv, 1, K) at the place of each row, and return views of all that some row has."""
        assert self.owner is not None
        rows, places, seen = self.owner.rows, self.owner.places, self.owner.seen
        self.keys[rows, :, places] = k[:, :, 0]
        self.values[rows, :, places] = v[:, :, 0]
        return self.keys[: len(rows), :, :seen], self.values[: len(rows), :, :seen]


def _grown(part: Tensor, slots: int, positions: int) -> Tensor:
    """Return a larger tensor of zeros (slots, Hkv, positions, K) that holds `part`; what is hidden must be finite."""
    larger = part.new_zeros(slots, part.shape[1], positions, part.shape[3])
    larger[: part.shape[0], :, : part.shape[2]] = part
    return larger


def _up(number: int, step: int) -> int:
    """Return the multiple of `step` that is at least `number`."""
    return -(-number // step) * step
