"""How many threads of the CPU a training takes where `run.threads` is auto: what is fastest at the time.

    1, 2, 4, ... all that are allowed ─> passes in turns, without a trace ─> the fewest that are about as fast as any

Threads that share the work of a product wait for the last of them. Where another process holds a core, that one is
late each time, and fewer threads are often faster; a small step has too little work to share even on an idle machine.
Only a measurement tells. It is made of forward and backward passes before the first step: weights, gradients, random
streams and the place in the data are afterwards as they were. So a run for which N threads were chosen has the bits of
one that was told `run.threads N`, and its `threads` event says which.

The number is looked at again where evaluations or checkpoints show that the training has become slower by `FALL`, and
now and then while it has fewer threads than it may, since nobody notices a neighbour that is gone. A change comes with
a checkpoint, so that whoever goes on from there has the number that the run had.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from heed.errors import HeedError
from heed.models.base import LanguageModel
from heed.records.events import Event, ThreadsEvent, TrainEvent
from heed.text.encoding import asked_threads
from heed.text.stream import Batch
from heed.training.autobatch import training_step
from heed.training.devices import threads_kept
from heed.training.run import Run
from heed.training.step import targets_of
from heed.training.streams import Streams

BLOCK, PASS = 0.04, 0.25
"""Seconds of passes that are timed together, at least, and of one pass at most, where its rows can be fewer."""
SECONDS, SHARE = 2.0, 0.02
"""Seconds of a measurement, and the share of the steps to come that it may take, if that is less."""
LONG, TURNS = 1.0, 4
"""Seconds of a pass, and turns, before which no number is given up: a single pass may have had to wait for others."""
SHORT = 2.0
"""A training that takes no more seconds is not measured: it has all threads."""
AS_FAST = 1.1
"""The fewest threads are taken than which no other number is faster by more: near ties fall alike."""
GAIN = 1.2
"""How many times as fast another number must be for a training that is under way to take it."""
FALL = 1.5
"""A training that has become slower than this looks again."""
LEAST, PATIENCE = 2.0, 60.0
"""Seconds of training that say how fast it is, and between two looks of one that has become slower."""
AGAIN = 30.0, 300.0
"""Seconds until fewer threads than all are looked at for the first time, then twice as many each time, and the most."""
COST, COST_OF_FEWER = 100, 10
"""A look waits until the training has taken so many times as long as the last one; with fewer threads than all, too."""


def numbers_of_threads(most: int) -> list[int]:
    """Return what is tried: all, and the powers of two below.

    >>> numbers_of_threads(6)
    [6, 4, 2, 1]
    """
    return [most, *(2**power for power in reversed(range(most.bit_length())) if 2**power < most)]


def choose(speeds: dict[int, float], now: int | None = None) -> int:
    """Return the number of threads to take: the fewest that are about as fast as any; what a training has now, stays.

    >>> choose({4: 100.0, 2: 95.0, 1: 60.0}), choose({4: 100.0, 2: 95.0, 1: 60.0}, now=4)
    (2, 4)
    """
    best = max(speeds.values())
    if now in speeds and best <= GAIN * speeds[now]:
        return now
    return min(number for number, speed in speeds.items() if best <= AS_FAST * speed)


def said_of(speeds: Mapping[int, float], taken: int, most: int) -> str:
    """Say how many threads are taken, and what the others would be worth.

    >>> said_of({2: 60.0, 1: 100.0}, 1, 2)
    'threads: 1 of 2; it would be 0.60 times as fast with 2'
    """
    others = {number: speed / speeds[taken] for number, speed in sorted(speeds.items()) if number != taken}
    said = ", ".join(f"{ratio:.2f} times as fast with {number}" for number, ratio in others.items())
    return f"threads: {taken} of {most}" + (f"; it would be {said}" if said else "")


def measure_threads(one_pass: Callable[[], object], most: int, seconds: float) -> dict[int, float]:
    """Return passes a second by number of threads.

    First all numbers once, from `most` down until a pass takes both `LONG` and twice as long as the best: with fewer it
    would take longer still. Then in turns, so that what others do meanwhile meets all of them; after `TURNS` without
    those that take twice as long. What counts is passes over time: where cores are shared a pass is quick or has to
    wait, and a median would be one of the two.
    """
    made: dict[int, _Passes] = {}
    begin = time.perf_counter()
    with threads_kept():
        for number in numbers_of_threads(most):
            torch.set_num_threads(number)
            first = _time_of(one_pass)  # threads begin, memory is found
            made[number] = _Passes(1, first)
            if first <= PASS:
                made[number] = _Passes()
                made[number].add(one_pass)
            if made[number].each > max(LONG, 2 * min(passes.each for passes in made.values())):
                break
        turns, left = 0, list(made)
        while len(left) > 1 and time.perf_counter() < begin + seconds:
            for number in left:
                torch.set_num_threads(number)
                made[number].add(one_pass)
            turns += 1
            if turns >= TURNS:
                fastest = min(passes.each for passes in made.values())
                left = [number for number in left if made[number].each <= 2 * fastest]
    return {number: 1 / passes.each for number, passes in made.items()}


@dataclass
class _Passes:
    """Passes that were made, and the seconds that they took."""

    count: int = 0
    seconds: float = 0.0

    @property
    def each(self) -> float:
        """Seconds of a pass, the mean."""
        return self.seconds / self.count

    def add(self, one_pass: Callable[[], object]) -> None:
        """Make as many as take `BLOCK`."""
        begin = time.perf_counter()
        end, made = begin, 0
        while made == 0 or end < begin + BLOCK:
            one_pass()
            end, made = time.perf_counter(), made + 1
        self.count, self.seconds = self.count + made, self.seconds + end - begin


def _time_of(one_pass: Callable[[], object]) -> float:
    begin = time.perf_counter()
    one_pass()
    return time.perf_counter() - begin


class ThreadChoice:
    """The number of threads of one training, from its first step to its last: chosen, kept, and looked at again.

    `model`, `batches` and `streams` are those of the training, `precision` that of its settings. All threads that torch
    has now are allowed.
    """

    def __init__(
        self,
        run: Run[Any],
        model: nn.Module,
        batches: Any,
        streams: Streams,
        precision: str,
        say: Callable[[str], object],
    ) -> None:
        self.run, self.model, self.batches, self.streams, self.precision, self.say = (
            run, model, batches, streams, precision, say
        )  # fmt: skip
        self.most = self.now = torch.get_num_threads()
        self.best = 0.0
        """The most tokens a second since the number was chosen."""
        self.mark, self.since, self.cost = (0, 0.0), 0.0, 0.0
        """Tokens and seconds of training when the speed was last read; its seconds at the last look; what that took."""
        self.again = AGAIN[0]
        """Seconds after the last look until there is another, while there are fewer threads than all."""

    def begin(self, step: int, tokens: int, seconds: float, left: Callable[[float], float]) -> None:
        """Take the number that the run had after `step`, or choose one before its first step.

        `left` tells from the seconds of a batch those that the training has before it.
        """
        self.mark, self.since = (tokens, seconds), seconds
        events = self.run.read_metrics()
        number = _last(events) or (step and _whole(self.run.environment.machine.threads)) or None
        if number is None:
            self.look(step, seconds, left)
            return
        torch.set_num_threads(number)
        self.now = number
        self.say(f"threads: {number} of {self.most}, as the run had before")
        chosen = max((at for at, event in enumerate(events) if isinstance(event, ThreadsEvent)), default=-1)
        speeds = [float(e.tokens_per_second or 0) for e in events[chosen + 1 :] if isinstance(e, TrainEvent)]
        self.best = statistics.median(speeds) if speeds else 0.0

    def look(self, step: int, seconds: float, left: Callable[[float], float]) -> bool:
        """Measure, take the number that comes out and write it down; return whether it is another one than before."""
        begin, before = time.perf_counter(), self.now
        speeds = self._measure(left)
        if speeds:
            self.now = choose(speeds, before if step else None)
        torch.set_num_threads(self.now)
        self.best, self.since, self.cost = 0.0, seconds, time.perf_counter() - begin
        if not speeds or (step and self.now == before):
            return False
        rounded = {str(number): round(speed, 1) for number, speed in sorted(speeds.items())}
        self.run.log(ThreadsEvent(step=step, threads=self.now, tokens_per_second=rounded))
        self.say(said_of(speeds, self.now, self.most))
        return self.now != before

    def is_due(self, tokens: int, seconds: float) -> bool:
        """Whether it is time for another look, after so many tokens and seconds of training."""
        if seconds < self.mark[1] + LEAST:
            return False
        speed = (tokens - self.mark[0]) / (seconds - self.mark[1])
        self.mark = tokens, seconds
        slower = speed * FALL < self.best
        self.best = max(self.best, speed)
        passed = seconds - self.since
        if self.now < self.most and passed >= max(self.again, COST_OF_FEWER * self.cost):
            self.again = min(2 * self.again, AGAIN[1])
            return True
        return slower and passed >= max(PATIENCE, COST * self.cost)

    def _measure(self, left: Callable[[float], float]) -> dict[int, float]:
        """Return tokens a second by number of threads; nothing where the training is too short to tell.

        Nothing too where a pass cannot be made: the step that comes will say why.
        """
        place = self.batches.state()
        batch = next(self.batches)
        self.batches.load_state(place)
        mask, all_rows = batch.mask, len(batch.source)

        def some(rows: int) -> Batch:
            return Batch(batch.source[:rows], batch.target[:rows], None if mask is None else mask[:rows])

        step = training_step(self.model, some, self.streams, torch.device("cpu"), self.precision)
        with _state_kept(self.model), suppress(HeedError, RuntimeError, MemoryError):
            step(1)  # the first of all allocates once and for all
            rows = min(all_rows, max(1, int(PASS / _time_of(lambda: step(1)))))
            to_come = left(_time_of(lambda: step(rows)) * all_rows / rows)
            if to_come < SHORT:
                return {}
            passes = measure_threads(lambda: step(rows), self.most, min(SECONDS, SHARE * to_come))
            counted = targets_of(some(rows))
            return {number: speed * counted for number, speed in passes.items()}
        return {}


@contextmanager
def _state_kept(model: nn.Module) -> Iterator[None]:
    """Leave what a recurrent model carries from batch to batch as it is."""
    carried = model.carried if isinstance(model, LanguageModel) else None
    try:
        yield
    finally:
        if isinstance(model, LanguageModel):
            model.carried = carried


def chooses_threads(run: Run[Any], device: torch.device) -> bool:
    """Whether the threads of a run are to be chosen: nobody has said how many, and there is more than one."""
    return (
        run.config.run.threads == "auto"
        and device.type == "cpu"
        and asked_threads() is None
        and torch.get_num_threads() > 1
    )


def threads_of_record(run: Run[Any], until: int | None = None) -> int | None:
    """Return how many threads a run had when it stopped, or after step `until`; None where that is not known."""
    return _last(run.read_metrics(), until) or _whole(run.environment.machine.threads)


def take_recorded(run: Run[Any]) -> None:
    """Take as many threads as a run had when it stopped, where it chose them itself and OMP_NUM_THREADS does not."""
    if run.config.run.threads == "auto" and asked_threads() is None and (number := threads_of_record(run)):
        torch.set_num_threads(number)


def _last(events: Iterable[Event], until: int | None = None) -> int | None:
    found = [e.threads for e in events if isinstance(e, ThreadsEvent) and (until is None or e.step <= until)]
    return _whole(found[-1]) if found else None


def _whole(number: Any) -> int | None:
    return int(number) if isinstance(number, int | float) and 1 <= number <= 1024 else None
