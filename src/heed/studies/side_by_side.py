"""How many runs are made at a time, and on how many threads each, where `--jobs auto` leaves that to heed.

A run of one thread never waits for another thread, so as many of them as there are cores keep every core at work. They
begin as far as memory goes: the first alone, and each of the others where what is free holds as much again as the
largest run has taken.

One at a time are made: runs that end by the clock, since they share the machine with whatever runs beside them; those
of a search, whose trials depend on the ones that were told before; those on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from heed.studies.runner import Standing
from heed.text.encoding import asked_threads
from heed.training.devices import available_memory, choose_device, cores, threads_each

Jobs = int | Literal["auto"]
SPARE = 1.25
"""What must be free for another run, as a multiple of what the largest has taken."""


@dataclass
class Shares:
    """How the machine is shared."""

    jobs: int
    """Runs at a time, at most."""
    threads: int
    """Of each run that does not say it itself."""
    measured: bool
    """Whether memory is looked at before another run begins."""
    largest: int = 0
    """Bytes that a run has taken, at most."""

    def have_room(self, running: Sequence[Standing]) -> bool:
        """Whether another run may begin beside those that are under way."""
        if not self.measured or not running:
            return True
        self.largest = max([self.largest, *(one.memory for one in running)])
        unknown = sum(not one.memory for one in running)
        if not self.largest:
            return False
        return available_memory(torch.device("cpu")) >= SPARE * self.largest * (unknown + 1)


def share(asked: Jobs, runs: int, fixed: int | None, device: str, *, alone: bool = False) -> Shares:
    """Return how the machine is shared by `runs`, of which `asked` are made at a time.

    `fixed` are the threads that the settings ask for, `device` is `run.device`; `alone`: auto makes one at a time.
    """
    if asked != "auto":
        return Shares(asked, fixed or threads_each(asked), measured=False)
    if alone or choose_device(device).type != "cpu":
        return Shares(1, fixed or threads_each(1), measured=False)
    each = fixed or asked_threads()
    jobs = max(1, min(cores() // (each or 1), runs))
    return Shares(jobs, each or max(1, cores() // jobs), measured=True)
