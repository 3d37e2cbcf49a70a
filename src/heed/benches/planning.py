"""What fits on this machine, at which batch, and how long a number of tokens takes: before a run is begun.

    memory(rows) = weights + optimizer + max(gradients, activations(rows))
    activations(rows) = a + b rows + c layers + d rows layers          from steps of one and two layers, two row counts
    seconds(tokens) = tokens / (tokens a second of a measured step)

Weights and gradients are counted from the shapes, without memory. What a step holds for its backward pass is a straight
line in rows and in layers; four small steps give it, for any mechanism, and the whole model need not fit for that. The
gradients come as the activations go (see `training_memory`), hence the larger of both; with `train.accumulation` they
stay, hence the sum. Then steps of the whole model
are timed, of the largest batch that fits on a GPU, and on a CPU of one that takes a few seconds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from heed.benches.device_speed import time_steps, tokens_of_step
from heed.benches.training_memory import Memory, change, measure_memory
from heed.build import build_model
from heed.config import Config
from heed.errors import ConfigError, HeedError
from heed.models.block import Block
from heed.models.sampled import sample_softmax
from heed.training.autobatch import SHARE
from heed.training.devices import available_memory
from heed.training.precision import settle_precision
from heed.training.step import bytes_of_copies, halves_of

TOKENS_A_PARAMETER = 20
"""Of a training that spends its arithmetic well (Hoffmann et al. 2022, Training compute-optimal large language
models)."""
ROWS = (1, 2, 4, 8, 16, 32)
"""Of the small steps: the first two whose peak lies where no gradient is left, as that of a large batch does."""
SECONDS = 4.0
"""About how long a step on a CPU may take that is timed; rows are taken away for that."""
STEPS = 3
"""Steps that are timed, after a warm-up."""


@dataclass(frozen=True)
class Activations:
    """Bytes that a step of so many rows and layers keeps: a + b rows + c layers + d rows layers."""

    a: float
    b: float
    c: float
    d: float

    def bytes(self, rows: int, layers: int) -> int:
        """Return the bytes of a step."""
        return max(0, round(self.a + self.b * rows + self.c * layers + self.d * rows * layers))


@dataclass(frozen=True)
class LargestBatch:
    """The most rows that fit, with train.recompute or without it."""

    recompute: bool
    row_bytes: int
    """What one more row takes."""
    largest_batch: int
    """Rows; 0: not one fits."""
    bytes: int
    """Of a step of that batch, or of one row where none fits."""


@dataclass(frozen=True)
class Plan:
    """What training a model would need of this machine."""

    parameters: int
    flops_per_token: int
    precision: str
    weights: int
    """Bytes, as are the next three."""
    gradients: int
    optimizer: int
    free: int
    """Of what the device has, what may be taken: see `SHARE`."""
    fits: tuple[LargestBatch, ...]
    """As the configuration has it, and with the other `train.recompute` where the model has blocks."""
    tokens: int
    step_rows: int
    """Rows of the step that was timed; 0: none was, since it does not fit."""
    step_seconds: float | None
    tokens_per_second: float | None
    seconds: float | None
    """Of all tokens, evaluation left out."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def make_plan(
    config: Config, device: torch.device, tokens: int | None = None, say: Callable[[str], object] = lambda line: None
) -> Plan:
    """Return the plan of training on so many tokens (default: 20 a parameter).

    Raises `ConfigError` for a model that cannot be built from its settings alone.
    """
    config = settle_precision(config, device)
    if config.model.start_from is not None:
        raise ConfigError("model.start_from: a plan needs the shape of a model: give that run's config.yaml")
    with torch.device("meta"):  # shapes without memory
        model = build_model(config.model, config.tokenizer.vocab_size)
    sample_softmax(model, config.train.sampled_softmax)
    weights = _bytes(model.parameters()) + _bytes(model.buffers())
    if not config.train.compile:
        weights += bytes_of_copies(halves_of(model, config.train.precision, device))
    gradients = _bytes(p for p in model.parameters() if p.requires_grad)
    free = int(SHARE * available_memory(device))
    say("measuring steps of one and two layers")
    kept, optimizer = measure_kept(config, device)
    ways = [(config.train.recompute, kept)]
    if any(isinstance(part, Block) for part in model.modules()):
        other = config.changed("train", recompute=not config.train.recompute)
        ways.append((other.train.recompute, measure_kept(other, device)[0]))
    layers = config.model.n_layers
    state, passing = weights + optimizer, gradients
    if config.train.accumulation > 1:  # all gradients stay while the next pass is made
        state, passing = state + gradients, 0
    fits = tuple(_fit(recompute, kept, layers, state, passing, free) for recompute, kept in ways)
    tokens = tokens or TOKENS_A_PARAMETER * model.parameter_count()
    rows, seconds = _time(config, device, fits[0].largest_batch, say)
    rate = None if seconds is None else tokens_of_step(change(config, rows, config.model.context)) / seconds
    return Plan(
        parameters=model.parameter_count(),
        flops_per_token=model.flops_per_token(),
        precision=config.train.precision,
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        free=free,
        fits=fits,
        tokens=tokens,
        step_rows=rows,
        step_seconds=seconds,
        tokens_per_second=rate,
        seconds=None if rate is None else tokens / rate,
    )


def measure_kept(config: Config, device: torch.device) -> tuple[Activations, int]:
    """Return what steps keep for their backward pass, and the bytes of the optimizer's state at all layers.

    Raises `HeedError` where not even steps of one and two layers fit.
    """

    def step(rows: int, layers: int) -> Memory:
        once = config.changed("train", accumulation=1)
        few = change(once, rows, config.model.context).changed("model", n_layers=layers)
        if (memory := measure_memory(few, device)).problem:
            raise HeedError(
                f"{layers} layers with {rows} rows of {config.model.context:,} tokens do not fit: "
                "make model.context or model.d_model smaller"
            )
        return memory

    few = next((rows for rows in ROWS[:-1] if not step(rows, 2).gradients), ROWS[-2])
    many = 2 * few
    found = {(rows, layers): step(rows, layers) for layers in (1, 2) for rows in (few, many)}
    a1, a2 = ({layers: found[rows, layers].activations for layers in (1, 2)} for rows in (few, many))
    d = ((a2[2] - a2[1]) - (a1[2] - a1[1])) / (many - few)
    c = (a1[2] - a1[1]) - d * few
    b = (a2[1] - a1[1]) / (many - few) - d
    state = {layers: found[few, layers].optimizer for layers in (1, 2)}
    return Activations(a1[1] - b * few - c - d * few, b, c, d), state[1] + (config.model.n_layers - 1) * (
        state[2] - state[1]
    )


def _fit(recompute: bool, kept: Activations, layers: int, state: int, gradients: int, free: int) -> LargestBatch:
    """Return the largest batch whose step takes no more than `free`."""

    def needed(rows: int) -> int:
        return state + max(gradients, kept.bytes(rows, layers))

    row = max(1, kept.bytes(2, layers) - kept.bytes(1, layers))
    largest = max(0, (free - state - kept.bytes(1, layers)) // row + 1) if needed(1) <= free else 0
    return LargestBatch(recompute, row, largest, needed(max(1, largest)))


def _time(config: Config, device: torch.device, largest: int, say: Callable[[str], object]) -> tuple[int, float | None]:
    """Return the rows and the seconds of a step of the whole model; (0, None) where it does not fit."""
    if not largest:
        return 0, None
    asked = config.train.batch_size
    rows = largest if asked == "auto" else min(asked, largest)
    if device.type == "cpu":
        say("timing steps of the whole model")
        one = statistics.median(time_steps(change(config, 1, config.model.context), device, 1))
        rows = max(1, min(rows, int(SECONDS / one)))
    say(f"timing steps of {rows} rows")
    return rows, statistics.median(time_steps(change(config, rows, config.model.context), device, STEPS))


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
