"""The largest batch that fits: doubling until it does not, then halving the gap.

On a GPU a try that runs out of memory is caught, and its memory given back. Main memory must not be tried like this:
Linux would kill the process, or another one. There the growth of the resident memory is measured on small batches, and
a larger one is tried only when a straight line through the last measurement says that it fits. On a CPU a step of many
sequences is no faster for each of them either, so sizes whose step would take longer than `PATIENCE` are not tried.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from heed.config import Config
from heed.errors import ConfigError
from heed.report.numbers import human_bytes
from heed.training.devices import available_memory, choose_precision
from heed.training.heap import give_back_at_once
from heed.training.step import default_loss, halves_of, to_device
from heed.training.streams import Streams

SHARE = 0.8
"""Share of the free memory that a batch may take: other processes need some, and fragments are lost."""

PATIENCE = 10.0
"""Longest step that a CPU is made to try, in seconds."""


@dataclass(frozen=True)
class BatchSearch:
    """What the search found."""

    size: int
    """Sequences in a batch."""
    tried: tuple[int, ...]
    """Sizes that were tried, in order."""
    reason: str
    """Why not a larger one, as a sentence for people."""


def search_largest(fits: Callable[[int], bool], *, start: int = 1, limit: int = 1024) -> tuple[int, list[int]]:
    """Return (the largest size that fits, sizes that were tried).

    It doubles from `start` up to `limit`, then halves the gap until less than an eighth of the size is left to win.
    The size is 0 when not even one sequence fits.

    >>> search_largest(lambda size: size <= 27)
    (26, [1, 2, 4, 8, 16, 32, 24, 28, 26])
    """
    tried: list[int] = []

    def attempt(size: int) -> bool:
        tried.append(size)
        return fits(size)

    good, size = 0, min(start, limit)
    while attempt(size):
        good = size
        if size == limit:
            return good, tried
        size = min(2 * size, limit)
    bad = size
    while bad - good > max(1, good // 8):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if attempt(middle) else (good, middle)
    return good, tried


def largest_batch(
    try_step: Callable[[int], object], *, device: torch.device, start: int = 1, limit: int = 1024, reserve: int = 0
) -> BatchSearch:
    """Return the largest batch size for which `try_step(size)` fits into memory.

    `reserve` bytes are kept free besides, for the state of the optimizer. Raises `ConfigError` when not even one
    sequence fits.
    """
    ballast = torch.empty(reserve if device.type == "cuda" else 0, dtype=torch.uint8, device=device)
    budget = int(SHARE * available_memory(device)) - reserve
    fits = _OnGPU(try_step) if device.type == "cuda" else _InMainMemory(try_step, budget)
    size, tried = search_largest(fits, start=start, limit=limit)
    del ballast
    if size == 0:
        raise ConfigError(
            "train.batch_size: not even one sequence fits into memory; take a smaller model.context or model.d_model"
        )
    why = "the limit" if size == limit else fits.refusal
    return BatchSearch(size, tuple(tried), f"batch size {size}: {why} (tried {', '.join(map(str, tried))})")


def training_step(
    model: nn.Module,
    make_batch: Callable[[int], Any],
    streams: Streams,
    device: torch.device,
    precision: str = "auto",
) -> Callable[[int], None]:
    """Return a `try_step` for `largest_batch`: forward and backward over `make_batch(size)`, which leave no trace.

    `precision` is that of `TrainConfig`. Parameters are not updated; gradients, buffers and random streams are
    afterwards as they were before.
    """
    chosen = choose_precision(precision, device)[0]
    halves = halves_of(model, chosen, device)

    def try_step(size: int) -> None:
        with _untouched(model), streams.undisturbed(), halves:
            with torch.autocast(device.type, torch.bfloat16, enabled=chosen == "bf16"):
                loss = default_loss(model, to_device(make_batch(size), device))
            loss.backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

    return try_step


def optimizer_bytes(model: nn.Module) -> int:
    """Return the bytes that an optimizer will hold at most: two tensors for each parameter, as Adam does."""
    return sum(2 * p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def settle_batch_size(
    config: Config,
    model: nn.Module,
    batches_of: Callable[[Config], Iterator[Any]],
    streams: Streams,
    device: torch.device,
    say: Callable[[str], object],
) -> Config:
    """Return a configuration whose batch size is a number: where auto was asked for, the largest that fits.

    `batches_of` gives the batches of a configuration. Says why there is no larger one.
    """
    if config.train.batch_size != "auto":
        return config

    def batch(size: int) -> Any:
        return next(batches_of(config.changed("train", batch_size=size)))

    step = training_step(model.to(device), batch, streams, device, config.train.precision)
    found = largest_batch(step, device=device, reserve=optimizer_bytes(model))
    say(found.reason)
    return config.changed("train", batch_size=found.size)


class _OnGPU:
    """Tries, and takes running out of memory for a no."""

    refusal = "a larger one does not fit into the memory of the GPU"

    def __init__(self, try_step: Callable[[int], object]) -> None:
        self.try_step = try_step

    def __call__(self, size: int) -> bool:
        try:
            self.try_step(size)
        except torch.OutOfMemoryError:
            return False
        finally:
            gc.collect()
            torch.cuda.empty_cache()
        return True


class _InMainMemory:
    """Tries only what the last try says will stay below `budget` bytes and `PATIENCE` seconds."""

    def __init__(self, try_step: Callable[[int], object], budget: int) -> None:
        self.try_step, self.budget = try_step, budget
        self.refusal = ""
        self._before = 0
        self._last: tuple[int, int, float] | None = None  # size, bytes, seconds of the largest try

    def __call__(self, size: int) -> bool:
        if self._last is None:
            give_back_at_once()
            self.try_step(size)  # the first step of all allocates once and for all, and is slow
            self._before = psutil.Process().memory_info().rss
        else:  # bytes and seconds are a fixed part and one for each sequence: at most proportional
            last_size, last_bytes, last_seconds = self._last
            if last_bytes * size / last_size > self.budget:
                return self._refuse(f"a larger one may not fit into {human_bytes(self.budget)} of free memory")
            if last_seconds * size / last_size > PATIENCE:
                return self._refuse(f"a step of a larger one takes longer than {PATIENCE:.0f} s")
        begin = time.perf_counter()
        with peak_resident() as peak:
            self.try_step(size)
        grown = peak.bytes - self._before
        if grown > self.budget:
            return self._refuse(f"a larger one does not fit into {human_bytes(self.budget)} of free memory")
        self._last = (size, grown, time.perf_counter() - begin)
        return True

    def _refuse(self, why: str) -> bool:
        self.refusal = why
        return False


@dataclass
class Peak:
    """The most resident memory that was seen."""

    bytes: int = 0


@contextmanager
def peak_resident(interval: float = 0.002) -> Iterator[Peak]:
    """Look at the process's resident memory every `interval` seconds, in a thread, and keep the highest value."""
    give_back_at_once()  # else what an earlier training left would be taken again unseen
    process = psutil.Process()
    peak, done = Peak(process.memory_info().rss), threading.Event()

    def watch() -> None:
        while not done.wait(interval):
            peak.bytes = max(peak.bytes, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak.bytes = max(peak.bytes, process.memory_info().rss)


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Put gradients and buffers back afterwards."""
    gradients: list[Tensor | None] = [p.grad for p in model.parameters()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    for parameter in model.parameters():
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, before in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(before)
