"""What a mechanism costs: time and peak memory of one pass over q, k and v, at one length after another.

Time is the median of passes, with an interval from their order, after a warm-up: on one CPU thread in CPU seconds of
the process, so that other work on the machine does not count; else on the wall, the device being synchronised before
and after. Memory is what the allocator held at most beyond the inputs and parameters: on a CPU from torch's profiler,
which notes every allocation, on CUDA from its own statistics. A length that would take longer than the budget, or more
than half of the memory that is free, is not tried, and the curve says so.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from heed.attention import Mechanism, Shape, make_mask
from heed.build.model import is_too_large
from heed.errors import ConfigError
from heed.models.block import mechanism_options
from heed.report.cost import CostCurve, Measurement
from heed.report.numbers import human_bytes, human_seconds
from heed.report.statistics import RATIO, median_interval
from heed.training.devices import available_memory
from heed.training.peak import peak_bytes

LEAST, MOST, ENOUGH = 7, 30, 0.3
"""Passes to time at least and at most, and the seconds after which there are enough; fewer than 7 give no interval."""


@dataclass(frozen=True)
class Setup:
    """How mechanisms are measured."""

    heads: int = 4
    batch: int = 1
    causal: bool = True
    backward: bool = False
    """Whether a pass is forward and backward, or forward alone."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    budget: float = 5.0
    """Seconds that one pass may take."""

    @property
    def clock(self) -> Callable[[], float]:
        """CPU seconds of the process on one CPU thread, else seconds on the wall."""
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        return time.process_time if alone else time.perf_counter


def measure_curve(
    kind: type[Mechanism],
    name: str,
    setup: Setup,
    lengths: Sequence[int],
    width: int,
    options: dict[str, Any] | None = None,
) -> CostCurve:
    """Return the costs of a mechanism at `lengths`, from short to long, as far as time and memory allow.

    Raises `ConfigError` where it cannot do what `setup` asks for.
    """
    refuse_mode(kind, name, setup)
    if width % setup.heads:
        raise ConfigError(f"width {width} does not divide into {setup.heads} heads: change --widths or --heads")
    own = {option: default for option, (_, default) in mechanism_options(kind).items()} | (options or {})
    curve = CostCurve(name, width, kind.facts.growth, (), own)
    for T in sorted(lengths):
        reason = _too_much(curve, T, setup)
        if reason:
            return replace(curve, stopped=reason)
        try:
            curve = replace(curve, cells=(*curve.cells, measure(kind, setup, T, width, options)))
        except (RuntimeError, MemoryError) as error:
            if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not is_too_large(error):
                raise
            return replace(curve, stopped=f"T = {T:,} needs more memory than there is")
    return curve


def refuse_mode(kind: type[Mechanism], name: str, setup: Setup) -> None:
    """Raise `ConfigError` where a mechanism cannot be causal, or can be nothing else."""
    if setup.causal and kind.facts.causal == "never":
        raise ConfigError(f"attention {name!r} cannot be causal: add --bidirectional")
    if not setup.causal and "padding" not in kind.facts.masks and kind.facts.causal != "never":
        raise ConfigError(f"attention {name!r} is for causal models only: leave --bidirectional out")


def measure(
    kind: type[Mechanism], setup: Setup, T: int, width: int, options: dict[str, Any] | None = None
) -> Measurement:
    """Return time and memory of a pass over T tokens."""
    one_pass = _pass_of(kind, setup, T, width, options or {})
    clock, wait = setup.clock, _synchroniser(setup.device)
    first = _timed(one_pass, clock, wait)  # warms up: kernels are chosen, memory is reserved
    times: list[float] = []
    while len(times) < LEAST or (len(times) < MOST and sum(times) < ENOUGH):
        times.append(_timed(one_pass, clock, wait))
        if first > setup.budget:
            break
    peak = peak_bytes(one_pass, setup.device)
    return Measurement(T, statistics.median(times), peak, len(times), median_interval(times, RATIO))


def _pass_of(
    kind: type[Mechanism], setup: Setup, T: int, width: int, options: dict[str, Any]
) -> Callable[[], Tensor | None]:
    """Return a function that mixes T tokens once, and goes back through it where `setup` says so."""
    generator = torch.Generator().manual_seed(0)
    mechanism = kind(Shape(width, setup.heads, T, causal=setup.causal), **options)
    mechanism.initialise(generator)
    mechanism = mechanism.to(setup.device).eval()
    size = (setup.batch, setup.heads, T, width // setup.heads)
    q, k, v, dy = (torch.randn(size, generator=generator).to(setup.device) for _ in range(4))
    leaves = [x.requires_grad_(setup.backward) for x in (q, k, v)] + list(mechanism.parameters())
    mask = make_mask(T, causal=setup.causal, device=setup.device)

    def forward() -> Tensor:
        with torch.no_grad():
            return mechanism(q, k, v, mask)

    def both() -> None:
        mechanism(q, k, v, mask).backward(dy)
        for leaf in leaves:
            leaf.grad = None

    return both if setup.backward else forward


def _timed(one_pass: Callable[[], object], clock: Callable[[], float], wait: Callable[[], None]) -> float:
    wait()
    begin = clock()
    one_pass()
    wait()
    return max(clock() - begin, 1e-9)


def _synchroniser(device: torch.device) -> Callable[[], None]:
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)


def _too_much(curve: CostCurve, T: int, setup: Setup) -> str:
    """Say why T tokens are not tried, going by the last length and the declared growth; empty when they are."""
    inputs = 4 * setup.batch * T * curve.width * 4  # q, k, v and a gradient, float32
    if inputs > available_memory(setup.device) / 2:
        return f"T = {T:,} needs {human_bytes(inputs)} of inputs, more than half of the memory that is free"
    if not curve.cells:
        return ""
    last = curve.cells[-1]
    seconds = last.seconds * (T / last.length) ** curve.growth[0]
    if seconds > setup.budget:
        return f"T = {T:,} would take about {human_seconds(seconds)} a pass, more than the budget of {setup.budget:g} s"
    memory = last.memory_bytes * (T / last.length) ** 2
    if memory > available_memory(setup.device) / 2:
        return f"T = {T:,} may need {human_bytes(memory)}, more than half of the memory that is free"
    return ""
