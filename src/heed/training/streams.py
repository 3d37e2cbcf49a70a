"""Named random streams: each purpose draws from its own generator, so that no purpose can disturb another.

    initialisation   the first weights
    data             the order of the training examples (its seed; the batches keep their own place)
    dropout          torch's global generators, CPU and CUDA: dropout takes no generator of its own
    sampling         texts generated while training
    evaluation       whatever an evaluation may draw

A generator's seed is the SHA-256 of the run's seed and the stream's name: streams of neighbouring seeds have nothing in
common, and a new stream changes none of the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from heed.errors import CheckpointError, did_you_mean

NAMES = ("initialisation", "data", "dropout", "sampling", "evaluation")
"""The streams of a run."""
GLOBAL = "dropout"
"""The stream that is torch's global generators."""


def stream_seed(seed: int, name: str) -> int:
    """Return the 63-bit seed of stream `name` in a run with `seed`.

    >>> stream_seed(1, "data") == stream_seed(1, "data"), stream_seed(1, "data") == stream_seed(2, "data")
    (True, False)
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_torch(seed: int) -> None:
    """Seed torch's global generators; without a device that of the CPU alone, for torch notes who seeds the others."""
    (torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed)(seed)


class Streams:
    """The random generators of one run, by name; making them seeds torch's global generators for dropout."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._own = {name: torch.Generator().manual_seed(stream_seed(seed, name)) for name in NAMES if name != GLOBAL}
        seed_torch(stream_seed(seed, GLOBAL))

    def __getitem__(self, name: str) -> torch.Generator:
        """The CPU generator of a stream; for `dropout` torch's own default one."""
        if name == GLOBAL:
            return torch.default_generator
        if name not in self._own:
            raise KeyError(f"no random stream {name!r}, {did_you_mean(name, NAMES)}")
        return self._own[name]

    def take_part(self, rank: int, step: int) -> None:
        """Seed dropout anew on a rank that follows the first from a step on: others than that drop other units."""
        seed_torch(stream_seed(self.seed, f"{GLOBAL}/{rank}/{step}"))

    def seeds(self) -> dict[str, int]:
        """The seed of every stream, for `environment.json`."""
        return {name: stream_seed(self.seed, name) for name in NAMES}

    def state(self) -> dict[str, Tensor]:
        """Where every stream stands: byte tensors that safetensors can hold, one for each name (and CUDA device)."""
        states = {name: self[name].get_state() for name in NAMES}
        for index in range(_cuda_devices()):
            states[f"{GLOBAL}.cuda.{index}"] = torch.cuda.get_rng_state(index)
        return states

    def load_state(self, states: Mapping[str, Tensor]) -> None:
        """Put every stream where `state` found it.

        CUDA states of devices that are not here are left out: on another device dropout draws other numbers anyway.
        Raises `CheckpointError` when a stream is missing.
        """
        missing = [name for name in NAMES if name not in states]
        if missing:
            raise CheckpointError(f"the checkpoint has no random stream {missing[0]!r}: it is not one of heed's")
        for name in NAMES:
            self[name].set_state(states[name].cpu())
        for index in range(_cuda_devices()):
            key = f"{GLOBAL}.cuda.{index}"
            if key in states:
                torch.cuda.set_rng_state(states[key].cpu(), index)

    @contextmanager
    def undisturbed(self, *, except_for: tuple[str, ...] = ()) -> Iterator[None]:
        """Whatever is drawn inside, every stream but `except_for` stands afterwards where it stood before."""
        before = self.state()
        try:
            yield
        finally:
            self.load_state(before | {name: self[name].get_state() for name in except_for})


def _cuda_devices() -> int:
    """How many CUDA devices this process uses; 0 before CUDA is started, so that asking starts nothing."""
    return torch.cuda.device_count() if torch.cuda.is_available() and torch.cuda.is_initialized() else 0
