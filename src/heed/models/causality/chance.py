"""Chance or tokens? What a model draws for itself, and whether two of its answers differ by more than chance.

Each call begins with the same seeds, so two calls whose operations all have the same shapes draw the same random
numbers in the same places, and what differs between their answers comes of their tokens:

    dropout of a prefix (1, 8, D) and of the whole (1, 16, D)        other shapes: other units are hidden
    dropout in an expert that gets other tokens                      other shapes too, at the same length
    dropout of two sequences of one length                           the same units: the answers can be compared

Where the draws are not the same, answers under many seeds are compared (`separated`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CHOSEN, TOLD = 6, 10
"""Answers of each kind that choose where to look, and fresh ones of each kind that are looked at there."""


class PlainMode(TorchDispatchMode):
    """A mode of torch whose dispatch is called as it is: torch would import its compiler before (1.3 CPU seconds)."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Watch(PlainMode):
    """What is drawn while it is entered: a context manager around one call of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[object] = []
        """Those of `steps` that may draw."""
        self.steps: list[object] = []
        """Each operation of torch with the shapes that it gave."""
        self.others: list[object] = []
        """The states of numpy's and Python's generators where they have moved."""
        self.drawn = False
        """Whether anything was drawn."""
        self.epsilon = 0.0
        """Rounding of the coarsest floating-point type that any operation gave."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation of torch and note what it drew."""
        before = _states() if torch.Tag.nondeterministic_seeded in func.tags else None
        answer = func(*args, **(kwargs or {}))
        made = [x for x in (answer if isinstance(answer, tuple | list) else (answer,)) if isinstance(x, Tensor)]
        if before is not None:  # attention without dropout has the tag too, and draws nothing
            own = any(isinstance(x, torch.Generator) for x in (*args, *(kwargs or {}).values()))
            self.draws.append((func, *(x.shape for x in made)))
            self.drawn |= own or any(not torch.equal(a, b) for a, b in zip(before, _states(), strict=True))
        self.steps.append((func, *(x.shape for x in made)))
        for x in made:
            if x.is_floating_point():
                self.epsilon = max(self.epsilon, torch.finfo(x.dtype).eps)
        return answer

    def same_draws(self, other: Watch) -> bool:
        """Whether two calls had the same random numbers in the same places: none, or all their steps were alike.

        As many numbers are not enough: an expert without tokens draws none, and the next one then has its numbers.
        """
        return (self.steps, self.others) == (other.steps, other.others) if self.drawn or other.drawn else True

    def as_many_draws(self, other: Watch) -> bool:
        """Whether calls of other lengths drew the same, as a table of random numbers that is made anew each time."""
        return self.draws == other.draws and self.others == other.others if self.drawn or other.drawn else True

    def add_others(self, seed: int) -> None:
        """Note the state of numpy's and Python's generators, which `seed_all` has seeded, where they have moved."""
        here = random.getstate()
        if here != random.Random(seed).getstate():
            self.others.append(here)
            self.drawn = True
        mine = _numpy_state()
        if mine != _numpy_state(np.random.RandomState(seed % 2**32)):
            self.others.append(mine)
            self.drawn = True


def seed_all(seed: int) -> None:
    """Seed what a model may draw from: torch, Python and numpy.

    Without a device, torch's generator alone: `torch.manual_seed` writes down for three kinds of devices who has called
    it, which takes a fifth of an audit, and two fifths forty calls deep.
    """
    (torch.manual_seed if _has_device() else torch.default_generator.manual_seed)(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


@cache
def _has_device() -> bool:
    """Whether this machine has a device, with generators of its own."""
    return torch.accelerator.is_available()


def has_drawn(seed: int) -> bool:
    """Whether torch's, Python's or numpy's numbers have gone on since `seed_all`."""
    now = _states(), random.getstate(), _numpy_state()
    seed_all(seed)
    same = all(torch.equal(a, b) for a, b in zip(now[0], _states(), strict=True))
    return not same or now[1] != random.getstate() or now[2] != _numpy_state()


def _numpy_state(source: Any = np.random) -> tuple[int, bytes]:
    """Return where numpy's generator stands."""
    state = source.get_state(legacy=False)["state"]
    return state["pos"], bytes(state["key"])


def _states() -> list[Tensor]:
    """Return the states of torch's generators."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else states


def separated(
    one: Callable[[int], Tensor], other: Callable[[int], Tensor], allowed: float
) -> tuple[Tensor, float, float]:
    """Compare two random answers (P, C), as functions of a seed: (which of P positions differs, effect, spread).

    A few answers of each kind choose the component whose means are farthest apart in units of their spread; of ten
    fresh ones of each, all of one kind must there lie above all of the other. Chance does that once in 92,378 times
    (2 in 20 over 10), whatever its distribution, since where to look was settled before. `effect` is 0 and no position
    is marked where it does not. They are asked in turn, so that what drifts from call to call separates nothing.
    """

    def ask(seeds: range) -> tuple[Tensor, Tensor]:
        pairs = [(one(2 * seed), other(2 * seed + 1)) for seed in seeds]
        a, b = (torch.stack(side).nan_to_num(nan=0.0, posinf=1e30, neginf=-1e30) for side in zip(*pairs, strict=True))
        return a.double(), b.double()

    a, b = ask(range(1, 1 + CHOSEN))
    spread = a.std(0) + b.std(0)
    score = (a.mean(0) - b.mean(0)).abs() / (spread + allowed)
    place = score.flatten().argmax().item()
    a, b = (side.flatten(1)[:, int(place)] for side in ask(range(1 + CHOSEN, 1 + CHOSEN + TOLD)))
    marked = torch.zeros(len(score), dtype=torch.bool)
    gap = max((a.min() - b.max()).item(), (b.min() - a.max()).item())
    if gap <= allowed:
        return marked, 0.0, spread.max().item()
    marked[int(place) // score.shape[1]] = True
    return marked, (a.mean() - b.mean()).abs().item(), spread.max().item()
