"""What a study would take: the steps of each variant, timed on this machine for a moment, times their number.

To them comes what a run takes besides (`heed.studies.overhead`): a study of short runs is mostly that. Tokens are those
of the text; the padding of rows is computed as well, and told apart.

On a CPU a step of a full-size model may take a minute. There batches of a few rows are timed, and a straight line goes
through them: time = what every step costs, as the optimizer does + rows x what a row costs. After `PATIENCE` a variant
whose kind of model has been timed makes one step of one row, so that what cannot run is found, and its time goes by its
operations.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from heed.build import Say, build_model
from heed.config import Config, aim_of
from heed.errors import HeedError
from heed.studies.lengths import why_it_ends
from heed.studies.overhead import contents, evaluation_seconds, open_text, start_seconds
from heed.studies.plan import StudyPlan
from heed.studies.prepare import Text, VariantNumbers, all_facts, check_models, prepare_texts
from heed.text.batches import Batch
from heed.training.devices import choose_device, take_threads, threads_kept
from heed.training.step import Updater
from heed.training.streams import Streams

STEPS, SECONDS = 4, 3.0
"""Steps to time after the first one, and the seconds after which there are enough; also those of a step at most."""

FEW = 3
"""Rows of a step that are timed at least beside one row, however long they take."""
PATIENCE = 20.0
"""Seconds after which no variant is timed whose kind of model has been."""


@dataclass(frozen=True)
class Estimate:
    """What one run of a variant would take."""

    variant: str
    facts: VariantNumbers
    tokens: int | None
    """Tokens of the text in training, padding not counted; None: as many as the time allows."""
    places: int | None
    """Places that are computed, padding and all."""
    flops: int | None
    """Of the places."""
    seconds: float | None
    """Training without evaluation; None where a step could not be made."""
    besides: float = 0.0
    """Evaluations, texts, the start of the process and the page, in seconds."""
    ends: str = ""
    """Why it cannot be read at the longest of the study's lengths; empty where it can."""
    timed: bool = True
    """Whether its own steps were timed; else the seconds are those of its operations in a model of the same kind."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        numbers = {"tokens": self.tokens, "places": self.places, "flops": self.flops, "seconds": self.seconds}
        numbers["besides"] = self.besides
        return {"variant": self.variant, **asdict(self.facts), **numbers, "ends": self.ends, "timed": self.timed}


@threads_kept()
def estimate(plan: StudyPlan, say: Say, each: int = 1) -> list[Estimate]:
    """Return what a run of each variant would take on `each` threads, where it does not say how many itself.

    What is written meanwhile is gone afterwards.

    Raises `ConfigError` for what cannot be built, and what reading the text raises.
    """
    check_models(plan)
    with TemporaryDirectory() as place:
        folder = Path(place)
        texts = prepare_texts(plan, folder, say)
        facts = all_facts(plan, texts)
        start = start_seconds(plan.config(plan.baseline).run.fixed_threads or each)
        rates: dict[tuple[str, str], float] = {}
        begin = time.perf_counter()
        found = []
        for name, own in facts.items():
            take_threads(plan.config(name).run.fixed_threads or each)
            patient = time.perf_counter() - begin < PATIENCE
            found.append(_estimate(plan, name, own, texts[name], folder, rates, start, patient))
        return found


def _estimate(
    plan: StudyPlan, name: str, own: VariantNumbers, text: Text, folder: Path, rates: dict[tuple[str, str], float],
    start: float, patient: bool,
) -> Estimate:  # fmt: skip
    """Return what a run of one variant would take; `rates` are the seconds an operation of kinds that were timed."""
    ends = why_it_ends(plan.config(name), text.vocabulary, text.classes, plan.lengths[-1]) if plan.lengths else ""
    config = plan.config(name, own.steps)
    opened = open_text(config, text, folder)
    besides = start + evaluation_seconds(text, opened, own.steps or 0)
    if own.steps is None:
        return Estimate(name, own, None, None, None, plan.budget.seconds, besides, ends)
    inside = contents(opened)
    batches = own.steps * config.train.accumulation
    tokens, places = round(batches * inside.tokens), round(batches * inside.places)
    kind, flops = (config.model.kind, config.model.attention.mechanism), places * own.flops_per_token
    timed = kind not in rates or patient
    step = step_seconds(config, text, glance=not timed, width=inside.width)
    if step is not None and timed:
        rates[kind] = step * own.steps / flops
    seconds = None if step is None else rates[kind] * flops
    return Estimate(name, own, tokens, places, flops, seconds, besides, ends, timed)


def step_seconds(config: Config, text: Text, *, glance: bool = False, width: int | None = None) -> float | None:
    """Return the wall clock of a step on random tokens; None where it fails, as when memory runs out.

    `width` is how many columns its batches have; default: the context.

    The median of a few steps. Where a step of all rows would take longer than `SECONDS` on a CPU, it is worked out from
    steps of fewer rows. With `glance` one step of one row says whether it works at all, and the rest is left out.
    """
    device = choose_device(config.run.device)
    streams = Streams(config.run.seed)
    rows, accumulation = int(config.train.batch_size), config.train.accumulation
    made = itertools.count(1)
    try:
        model = build_model(config.model, text.vocabulary, classes=text.classes).to(device).train()
        updater = Updater(model, config.train, device, streams, lambda line: None)

        def step(size: int, parts: int) -> float:
            batches = [_random_batch(config, text, size, width)] * parts
            begin = time.perf_counter()
            updater.update(next(made), batches)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return time.perf_counter() - begin

        if glance:
            return step(1, 1)
        if device.type == "cpu" and step(1, 1) * rows * accumulation > SECONDS:
            return _from_few_rows(step, rows, accumulation)
        taken: list[float] = []
        while len(taken) <= STEPS and sum(taken) < SECONDS:
            taken.append(step(rows, accumulation))
    except (HeedError, RuntimeError, MemoryError):
        return None
    return statistics.median(taken[1:] or taken)  # the first allocates once and for all


def _from_few_rows(step: Callable[[int, int], float], rows: int, accumulation: int) -> float:
    """Return the seconds of a whole step from one of one row and one of as many as take some `SECONDS`.

    >>> calls = []
    >>> step = lambda size, parts: calls.append((size, parts)) or 0.4 + 0.6 * size * parts
    >>> round(_from_few_rows(step, 16, 1), 6), calls
    (10.0, [(1, 1), (3, 1)])
    """
    once = step(1, 1)
    several = min(rows * accumulation, max(FEW, int(SECONDS / once)))
    size, parts = min(several, rows), max(1, several // rows)
    if size * parts < 2:
        return once * rows * accumulation
    return once + (rows * accumulation - 1) * max(0.0, (step(size, parts) - once) / (size * parts - 1))


def _random_batch(config: Config, text: Text, rows: int, width: int | None = None) -> Batch:
    draw = np.random.default_rng(0)
    shape = (rows, width or config.model.context)
    source = draw.integers(0, text.vocabulary, shape)
    if text.classes is not None:
        return Batch(source, draw.integers(0, text.classes, shape[0]), None)
    hidden = draw.random(shape) < config.train.mask_fraction if aim_of(config).both_sides else None
    if hidden is not None:
        hidden[0, 0] = True  # a short row must hide something
    return Batch(source, draw.integers(0, text.vocabulary, shape), hidden)
