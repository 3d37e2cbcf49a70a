"""Keys and values of the tokens that were already read, so that decoding looks back without computing them again.

Memory is reserved once: for each layer two tensors (B, Hkv, length, K). A row may begin with padding (`start`), so
that prompts of different lengths end together and grow together.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        begin, end = self.used, self.used + k.shape[2]
        self.keys[:, :, begin:end] = k
        self.values[:, :, begin:end] = v
        self.used = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class Cache:
    """One `LayerCache` a layer. `used` positions are filled, of `length`; `start` (B,) counts each row's padding."""

    def __init__(
        self,
        n_layers: int,
        shape: tuple[int, int, int, int],
        *,
        dtype: torch.dtype,
        device: torch.device,
        start: Tensor | None = None,
    ) -> None:
        if start is not None and start.shape != shape[:1]:
            raise ConfigError(
                f"start has shape {tuple(start.shape)}: it must hold one number for each of {shape[0]} rows"
            )
        # Zeros, not empty: a NaN in unused memory would survive a weight of 0.
        self.layers = [
            LayerCache(torch.zeros(shape, dtype=dtype, device=device), torch.zeros(shape, dtype=dtype, device=device))
            for _ in range(n_layers)
        ]
        self.length = shape[2]
        self.start = None if start is None else start.to(device)

    @property
    def used(self) -> int:
        """Number of positions that are filled, padding included."""
        return self.layers[0].used

    def room_for(self, T: int) -> None:
        """Raise `ConfigError` when T more tokens do not fit."""
        if self.used + T > self.length:
            raise ConfigError(f"the cache holds {self.used} of {self.length} tokens, and {T} more do not fit")

    def rewind(self, used: int) -> None:
        """Forget every position from `used` on."""
        for layer in self.layers:
            layer.used = min(layer.used, used)

    def keep(self, rows: Tensor) -> None:
        """Keep the given rows (any order, repetition allowed), as when sequences end or one prompt feeds many."""
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
        if self.start is not None:
            self.start = self.start[rows]
