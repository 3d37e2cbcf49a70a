"""First weights that two models share: each part draws from a generator of its own, by its name.

One generator that fills all parameters in turn shifts everything behind a part that another model has not. So in a
comparison a parameter begins where SHA-256(seed, name) says. Of two models with the same seed, parameters of one name
and shape then begin with the same random numbers (times what each model scales them by), whatever else they hold.
"""

from __future__ import annotations

import hashlib

import torch


class ByName(torch.Generator):
    """A generator for first weights that begins anew at each part: see `begin`."""

    def __new__(cls, seed: int) -> ByName:
        """Make a generator of the CPU: torch's own `__new__` would take the number for a device."""
        return super().__new__(cls)

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed_of_all = seed
        self.manual_seed(seed)

    def start(self, name: str) -> None:
        """Go to the beginning of what belongs to the part `name`."""
        digest = hashlib.sha256(f"{self.seed_of_all}/{name}".encode()).digest()
        self.manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def begin(generator: torch.Generator, name: str) -> None:
    """Tell the generator which parameter or part is filled next; only `ByName` takes notice."""
    if isinstance(generator, ByName):
        generator.start(name)
