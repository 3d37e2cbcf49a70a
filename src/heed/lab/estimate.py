"""What a study would take: the steps of each variant, timed on this machine for a moment, times their number."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from heed.build import Say, build_model
from heed.config import Config
from heed.errors import HeedError
from heed.lab.lengths import why_it_ends
from heed.lab.plan import Plan
from heed.lab.prepare import Facts, Text, all_facts, check_models, prepare_texts
from heed.text.batches import Batch
from heed.training.devices import choose_device
from heed.training.step import Updater
from heed.training.streams import Streams

STEPS, SECONDS = 4, 3.0
"""Steps to time after the first one, and the seconds after which there are enough."""


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
    """Return the median wall clock of a few steps on random tokens; None where they fail, as when memory runs out."""
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    device = choose_device(config.run.device)
    streams = Streams(config.run.seed)
    batches = [_random_batch(config, text) for _ in range(config.train.accumulation)]
    taken: list[float] = []
    try:
        model = build_model(config.model, text.vocabulary, classes=text.classes).to(device).train()
        updater = Updater(model, config.train, device, streams, lambda line: None)
        while len(taken) <= STEPS and sum(taken) < SECONDS:
            begin = time.perf_counter()
            updater.update(len(taken) + 1, batches)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - begin)
    except (HeedError, RuntimeError, MemoryError):
        return None
    return statistics.median(taken[1:] or taken)  # the first allocates once and for all


def _random_batch(config: Config, text: Text) -> Batch:
    draw = np.random.default_rng(0)
    shape = (int(config.train.batch_size), config.model.context)
    source = draw.integers(0, text.vocabulary, shape)
    if text.classes is not None:
        return Batch(source, draw.integers(0, text.classes, shape[0]), None)
    hidden = draw.random(shape) < config.train.mask_fraction if config.model.kind == "encoder" else None
    return Batch(source, draw.integers(0, text.vocabulary, shape), hidden)
