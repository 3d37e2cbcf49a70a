"""The most memory that some work holds at once, from every allocation of it and not from looks at the process.

    peak_bytes   the most bytes beyond what was there before
    step_peak    the same of a training step, and how many of them are gradients at the moment of the peak

A step's peak may lie at the end of the forward pass, when no gradient exists yet, or in the backward pass, when some
do: taking all gradients off the peak would not leave the activations.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class StepPeak:
    """What a training step holds at the moment when it holds the most, beyond what was there before it; bytes."""

    whole: int
    gradients: int
    """Of the parameters, those that exist at that moment."""

    @property
    def rest(self) -> int:
        """What forward keeps for backward, and scratch."""
        return self.whole - self.gradients


def peak_bytes(one_pass: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that a pass holds at once beyond what was there before it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        one_pass()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    total = most = 0
    for _, size in _allocations(one_pass):
        total += size
        most = max(most, total)
    return most


def step_peak(one_step: Callable[[], object], parameters: Iterable[Tensor], device: torch.device) -> StepPeak:
    """Return the peak of a step that makes the gradients of `parameters`, which have none before it."""
    if device.type == "cuda":
        return _step_peak_cuda(one_step, parameters, device)
    made: dict[int, int] = {}  # address of each gradient -> its bytes

    def note(parameter: Tensor) -> None:
        storage = _gradient(parameter)
        made[storage.data_ptr()] = storage.nbytes()

    with _watching(parameters, note):
        events = list(_allocations(one_step))
    total = most = at = 0
    for place, (_, size) in enumerate(events):
        total += size
        if total > most:
            most, at = total, place
    born: dict[int, int] = {}  # where the last allocation of an address is: the gradient, not what lay there before
    for place, (address, size) in enumerate(events):
        if size >= made.get(address, size + 1):
            born[address] = place
    return StepPeak(most, sum(made[address] for address, place in born.items() if place <= at))


def _step_peak_cuda(one_step: Callable[[], object], parameters: Iterable[Tensor], device: torch.device) -> StepPeak:
    """The same from the statistics of the allocator, looked at whenever a gradient is there."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    made: dict[int, int] = {}
    looks: list[tuple[int, int]] = []

    def look() -> None:
        looks.append((torch.cuda.max_memory_allocated(device) - before, sum(made.values())))
        torch.cuda.reset_peak_memory_stats(device)

    def note(parameter: Tensor) -> None:
        storage = _gradient(parameter)
        made[storage.data_ptr()] = storage.nbytes()
        look()

    with _watching(parameters, note):
        one_step()
    torch.cuda.synchronize(device)
    look()
    return StepPeak(*max(looks, key=lambda one: one[0]))


def _gradient(parameter: Tensor) -> Any:
    """Return the storage of a parameter's gradient."""
    assert parameter.grad is not None
    return parameter.grad.untyped_storage()


@contextmanager
def _watching(parameters: Iterable[Tensor], note: Callable[[Tensor], None]) -> Iterator[None]:
    """Call `note` with each parameter as soon as its gradient is there."""
    handles = [parameter.register_post_accumulate_grad_hook(note) for parameter in parameters]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _allocations(one_pass: Callable[[], object]) -> Iterator[tuple[int, int]]:
    """Yield (address, bytes) of every allocation of the CPU's memory in order, below 0 where it is given back."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes two lines a pass to standard error
    from torch._C._profiler import _EventType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        one_pass()
    assert profiled.profiler is not None
    assert profiled.profiler.kineto_results is not None
    waiting: list[Any] = list(profiled.profiler.kineto_results.experimental_event_tree())
    found: list[Any] = []
    while waiting:
        event = waiting.pop()
        waiting += event.children
        if event.tag == _EventType.Allocation:
            found.append(event)
    for event in sorted(found, key=lambda event: event.start_time_ns):
        yield event.extra_fields.ptr, event.extra_fields.alloc_size
