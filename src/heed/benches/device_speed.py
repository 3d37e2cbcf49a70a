"""The same training steps on every device of the machine: how long a step takes, and how many tokens a second.

The model and the batches are the same everywhere (random token ids: speed does not depend on which). The first steps
warm up and do not count: kernels are chosen, memory is reserved, the optimizer makes its state. The device is
synchronised before and after each step that counts, since a GPU returns before it has computed. The figure is the
median step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from heed.build import build_model
from heed.build.model import is_too_large
from heed.config import Config
from heed.errors import ConfigError, HeedError
from heed.models import LanguageModel
from heed.report.statistics import RATIO, median_interval
from heed.text.batches import Batch
from heed.training.devices import describe_device, take_threads, threads_kept
from heed.training.precision import settle_precision
from heed.training.step import Updater
from heed.training.streams import Streams

WARM_UP = 3
"""Steps that do not count."""


@dataclass(frozen=True)
class Speed:
    """Training speed on one device."""

    device: str
    """As `describe_device` says it."""
    kind: str
    """cpu, cuda or mps."""
    threads: int | None
    """Threads of the CPU; None elsewhere."""
    precision: str
    median: float
    """Seconds of the median step."""
    fastest: float
    slowest: float
    tokens_per_second: float
    ratio: float
    """How many times as fast as the first device that was measured."""
    ratio_interval: tuple[float, float] | None
    """At least 95 %, from the intervals of both medians; None with fewer steps than these need, and of the first."""
    steps: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def measure_devices(asked: Config, steps: int = 20, say: Callable[[str], object] = lambda line: None) -> list[Speed]:
    """Return the speed of training steps on the CPU with one thread and with all, and on the GPU where there is one.

    Raises `ConfigError` for a model that cannot be built from its settings alone.
    """
    cores = torch.get_num_threads()
    places: list[tuple[torch.device, int | None]] = [(torch.device("cpu"), 1)]
    if cores > 1:
        places.append((torch.device("cpu"), cores))
    if torch.cuda.is_available():
        places.append((torch.device("cuda"), None))
    if torch.backends.mps.is_available():
        places.append((torch.device("mps"), None))
    found: list[Speed] = []
    sure: list[tuple[float, float] | None] = []
    for device, threads in places:
        with threads_kept():
            take_threads(threads)
            say(f"measuring {describe_device(device)}: {WARM_UP} steps to warm up, {steps} that count")
            config = settle_precision(asked, device)
            times = time_steps(config, device, steps)
        median = statistics.median(times)
        first = found[0].median if found else median
        name = f"cpu, {threads} thread{'s' if threads != 1 else ''}" if threads else describe_device(device)
        precision = config.train.precision
        speed = tokens_of_step(config) / median
        sure.append(median_interval(times, RATIO))
        ratio = None
        if len(sure) > 1 and sure[0] is not None and sure[-1] is not None:
            ratio = sure[0][0] / sure[-1][1], sure[0][1] / sure[-1][0]
        spread = min(times), max(times)
        found.append(Speed(name, device.type, threads, precision, median, *spread, speed, first / median, ratio, steps))
    return found


def time_steps(config: Config, device: torch.device, steps: int) -> list[float]:
    """Return the seconds of each of `steps` training steps, after a warm-up and with the device synchronised.

    Raises `HeedError` where memory does not suffice.
    """
    _, updater, batches = prepare(config, device)
    times = []
    for step in range(1, WARM_UP + steps + 1):
        synchronise(device)
        begin = time.perf_counter()
        updater.update(step, batches)
        synchronise(device)
        if step > WARM_UP:
            times.append(max(time.perf_counter() - begin, 1e-9))
    return times


def prepare(config: Config, device: torch.device) -> tuple[LanguageModel, Updater, list[Batch]]:
    """Return a model, what makes training steps of it, and the batches of one step: random token ids.

    Raises `ConfigError` where the configuration needs a text before there is a model.
    """
    if config.model.kind == "encoder":
        raise ConfigError("bench measures models that predict the next token: take another model.kind than encoder")
    if config.train.batch_size == "auto":
        raise ConfigError("train.batch_size: auto is for a training run; give a number")
    streams = Streams(config.run.seed)
    model = build_model(config.model, config.tokenizer.vocab_size, streams["initialisation"]).to(device)
    model.train()
    updater = Updater(model, config.train, device, streams, lambda line: None)
    generator = torch.Generator().manual_seed(0)
    size = (config.train.batch_size, config.model.context + 1)
    batches = []
    for _ in range(config.train.accumulation):
        try:
            ids = torch.randint(config.tokenizer.vocab_size, size, generator=generator).numpy()
        except RuntimeError as error:
            if not is_too_large(error):
                raise
            raise HeedError(
                f"out of memory: a batch of {size[0]:,} x {size[1] - 1:,} tokens; make it smaller"
            ) from None
        batches.append(Batch(ids[:, :-1].copy(), ids[:, 1:].copy(), None))
    return model, updater, batches


def tokens_of_step(config: Config) -> int:
    """Return the tokens that one optimizer step trains on."""
    if config.train.batch_size == "auto":
        raise HeedError("train.batch_size: auto has no size yet; give a number")
    return config.train.batch_size * config.train.accumulation * config.model.context


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
