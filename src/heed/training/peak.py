"""The most memory that some work holds at once, from every allocation of it and not from looks at the process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import torch


def peak_bytes(one_pass: Callable[[], object], device: torch.device) -> int:
    """Return the most bytes that a pass holds at once beyond what was there before it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        one_pass()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    return max(0, *_running_totals(one_pass))


def _running_totals(one_pass: Callable[[], object]) -> Iterator[int]:
    """Yield what the CPU allocator holds after each allocation and release, beyond what it held before."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes two lines a pass to standard error
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        one_pass()
    assert profiled.profiler is not None
    assert profiled.profiler.kineto_results is not None
    total = 0
    yield 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            total += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue] - torch's stub lacks it
            yield total
