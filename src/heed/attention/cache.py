"""What decoding keeps of the tokens that were already read, so that it looks back without computing them again.

A layer keeps their keys and values (`LayerCache`: memory is reserved once, two tensors (B, Hkv, length, K)) or sums
over them of a fixed size (`StateCache`). A row may begin with padding (`start`), so that prompts of different lengths
end together and grow together.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        begin, end = self.used, self.used + k.shape[2]
        self.keys[:, :, begin:end] = k
        self.values[:, :, begin:end] = v
        self.used = end
        return self.keys[:, :, :end], self.values[:, :, :end]

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
