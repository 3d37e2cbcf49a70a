"""What a study would take: the steps of each variant, timed on this machine for a moment, times their number.

On a CPU a step of a full-size model may take a minute. There batches of a few rows are timed, and a straight line goes
through them: time = what every step costs, as the optimizer does + rows x what a row costs. Memory likewise.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from heed.build import Say, build_model
from heed.config import Config
from heed.errors import HeedError
from heed.lab.cost import peak_bytes
from heed.lab.lengths import why_it_ends
from heed.lab.plan import Plan
from heed.lab.prepare import Facts, Text, all_facts, check_models, prepare_texts
from heed.text.batches import Batch
from heed.training.devices import available_memory, choose_device
from heed.training.step import Updater
from heed.training.streams import Streams

STEPS, SECONDS = 4, 3.0
"""Steps to time after the first one, and the seconds after which there are enough; also those of a step at most."""

FEW = 3
"""Rows of a step that are timed at least beside one row, however long they take."""


@dataclass(frozen=True)
class Estimate:
    """What one run of a variant would take."""

    variant: str
    facts: Facts
    tokens: int | None
    """Places of the windows in training; None: as many as the time allows."""
    flops: int | None
    seconds: float | None
    """Training without evaluation; None where a step could not be made."""
    ends: str = ""
    """Why it cannot be read at the longest of the study's lengths; empty where it can."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        numbers = {"tokens": self.tokens, "flops": self.flops, "seconds": self.seconds}
        return {"variant": self.variant, **asdict(self.facts), **numbers, "ends": self.ends}


def estimate(plan: Plan, say: Say) -> list[Estimate]:
    """Return what a run of each variant would take; nothing is written.

    Raises `ConfigError` for what cannot be built, and what reading the text raises.
    """
    check_models(plan)
    texts = prepare_texts(plan, None, say)
    facts = all_facts(plan, texts)
    found = []
    for name, own in facts.items():
        seconds = plan.budget.seconds
        if own.steps is not None:
            step = step_seconds(plan.config(name, own.steps), texts[name])
            seconds = None if step is None else step * own.steps
        tokens = None if own.steps is None else own.steps * own.tokens_per_step
        flops = None if tokens is None else tokens * own.flops_per_token
        ends = ""
        if plan.lengths:
            text = texts[name]
            ends = why_it_ends(plan.config(name), text.vocabulary, text.classes, plan.lengths[-1])
        found.append(Estimate(name, own, tokens, flops, seconds, ends))
    return found


def step_seconds(config: Config, text: Text) -> float | None:
    """Return the wall clock of a step on random tokens; None where it fails, as when memory runs out.

    The median of a few steps. Where a step of all rows would take longer than `SECONDS` on a CPU, it is worked out from
    steps of fewer rows, and so is whether it fits into the free memory.
    """
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    device = choose_device(config.run.device)
    streams = Streams(config.run.seed)
    rows, accumulation = int(config.train.batch_size), config.train.accumulation
    made = itertools.count(1)
    try:
        model = build_model(config.model, text.vocabulary, classes=text.classes).to(device).train()
        updater = Updater(model, config.train, device, streams, lambda line: None)

        def step(batches: list[Batch]) -> float:
            begin = time.perf_counter()
            updater.update(next(made), batches)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return time.perf_counter() - begin

        if device.type == "cpu" and rows * accumulation > 1:
            first = [_random_batch(config, text, 1)]
            once = step(first)  # allocates, and is slow for that
            if once * rows * accumulation > SECONDS:
                once = step(first)
            if once * rows * accumulation > SECONDS:
                return _from_few_rows(step, config, text, once)
        batches = [_random_batch(config, text, rows) for _ in range(accumulation)]
        taken: list[float] = []
        while len(taken) <= STEPS and sum(taken) < SECONDS:
            taken.append(step(batches))
    except (HeedError, RuntimeError, MemoryError):
        return None
    return statistics.median(taken[1:] or taken)  # the first allocates once and for all


def _from_few_rows(step: Callable[[list[Batch]], float], config: Config, text: Text, once: float) -> float | None:
    """Return the seconds of a whole step on a CPU, from as many rows as take some `SECONDS`; None: it does not fit.

    `once` are the seconds of one row.
    """
    rows, accumulation = int(config.train.batch_size), config.train.accumulation
    several = min(rows * accumulation, max(FEW, int(SECONDS / once)))
    several -= several % rows if several > rows else 0  # whole batches
    at_once, cpu, free = min(several, rows), torch.device("cpu"), available_memory(torch.device("cpu"))
    taken: list[float] = []
    part = [_random_batch(config, text, at_once)] * max(1, several // rows)
    most = peak_bytes(lambda: taken.append(step(part)), cpu)
    if most * rows > free * at_once:  # part of it is the same for any number of rows
        least = peak_bytes(lambda: step([_random_batch(config, text, 1)]), cpu)
        if _line(least, at_once, most, rows) > free:
            return None
    return _line(once, several, taken[0], rows * accumulation)


def _line(once: float, several: int, taken: float, rows: int) -> float:
    """Return the seconds (or bytes) of a step of `rows` rows, from those of one row and those that `several` took.

    >>> round(_line(1.0, 3, 2.2, 16), 6)  # 0.4 s a step and 0.6 s a row
    10.0
    """
    if several < 2:
        return once * rows
    return once + (rows - 1) * max((taken - once) / (several - 1), 0.0)


def _random_batch(config: Config, text: Text, rows: int) -> Batch:
    draw = np.random.default_rng(0)
    shape = (rows, config.model.context)
    source = draw.integers(0, text.vocabulary, shape)
    if text.classes is not None:
        return Batch(source, draw.integers(0, text.classes, shape[0]), None)
    hidden = draw.random(shape) < config.train.mask_fraction if config.model.kind == "encoder" else None
    if hidden is not None:
        hidden[0, 0] = True  # a short row must hide something
    return Batch(source, draw.integers(0, text.vocabulary, shape), hidden)
