"""Where the memory of a training step goes: weights, gradients, optimizer state, activations.

    weights       bytes of all parameters and buffers
    gradients     bytes of those gradients that exist at the moment of the peak
    optimizer     bytes of the state that the optimizer keeps, after its first step
    activations   what else a step holds at that moment: what forward keeps for backward, and scratch

Backward makes the gradients one after the other while the activations go, so that all of both are never there together:
the peak of a step of many tokens lies at the end of forward, when there is no gradient yet, and that of few tokens in
backward. `all_gradients` is one for each parameter that learns. The total is the true peak.

Weights and state are counted from the tensors themselves. The peak is measured: on a CPU from torch's profiler, which
notes every allocation of a step, on CUDA from the allocator's own statistics. Lower precision on a GPU (autocast) keeps
copies of the weights during a step; they count as activations.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from heed.benches.device_speed import prepare
from heed.config import Config
from heed.errors import HeedError
from heed.report.numbers import human_bytes
from heed.training.devices import available_memory
from heed.training.peak import step_peak
from heed.training.step import bytes_of_copies

PARTS = ("weights", "gradients", "optimizer", "activations")
SHARE = 0.8
"""The share of the free memory that a step may be expected to need before it is tried on a CPU."""


@dataclass(frozen=True)
class Memory:
    """The memory of one training step, in bytes."""

    batch_size: int
    context: int
    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    all_gradients: int = 0
    """One for each parameter that learns; at the moment of the peak some of them."""
    problem: str = ""
    """Why it was not measured; empty where it was."""

    @property
    def total(self) -> int:
        """The most bytes at once."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, with the total."""
        return {**asdict(self), "total": self.total}


def measure_memory(config: Config, device: torch.device) -> Memory:
    """Return the memory of one training step, `train.accumulation` and all, after a first step that makes the state.

    Out of memory is an answer: `problem` says so.
    """
    size = config.train.batch_size
    assert size != "auto"
    try:
        model, updater, batches = prepare(config, device)
        weights = _bytes([*model.parameters(), *model.buffers()]) + bytes_of_copies(updater.halves)
        gradients = _bytes(updater.parameters)
        updater.update(1, batches)
        state = _bytes(updater.optimizer.state().values())
        peak = step_peak(lambda: updater.update(2, batches), updater.parameters, device)
    except (HeedError, torch.OutOfMemoryError, MemoryError) as error:
        if isinstance(error, HeedError) and "out of memory" not in str(error):
            raise
        return Memory(size, config.model.context, problem="does not fit")
    # Before the step there are weights and state; gradients come and go with it.
    return Memory(size, config.model.context, weights, peak.gradients, state, peak.rest, gradients)


def measure_all(
    config: Config,
    device: torch.device,
    batch_sizes: Sequence[int],
    contexts: Sequence[int],
    say: Callable[[str], object] = lambda line: None,
) -> list[Memory]:
    """Return the memory of every batch size at every context, each from small to large.

    On a CPU a step is tried only where a straight line from the last one says that it fits: the operating system would
    end the process, or another one.
    """
    found: list[Memory] = []
    for context in sorted(contexts):
        for size in sorted(batch_sizes):
            say(f"measuring batch size {size}, context {context:,}")
            changed = change(config, size, context)
            expected = _expected(found, size, context)
            free = available_memory(device)
            if device.type == "cpu" and expected > SHARE * free:
                problem = f"may need {human_bytes(expected)}, more than {SHARE:.0%} of the memory that is free"
                found.append(Memory(size, context, problem=problem.replace("%", " %")))
            else:
                found.append(measure_memory(changed, device))
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return found


def change(config: Config, batch_size: int, context: int) -> Config:
    """Return the configuration with another batch size and context."""
    train = config.train.model_copy(update={"batch_size": batch_size})
    model = config.model.model_copy(update={"context": context})
    return config.model_copy(update={"train": train, "model": model})


def _expected(found: Sequence[Memory], size: int, context: int) -> float:
    """Return the bytes of a step that go with its tokens, from the largest one that was measured; 0 where none was.

    Squared in the context, which is the worst that attention does.
    """
    known = [memory for memory in found if not memory.problem]
    if not known:
        return 0.0
    last = max(known, key=lambda memory: memory.batch_size * memory.context)
    return last.activations * (size / last.batch_size) * max(1.0, context / last.context) ** 2


def _bytes(tensors: Any) -> int:
    """Return the bytes of tensors, each storage counted once: tied weights are one."""
    sizes = {tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors if tensor.numel()}
    return sum(sizes.values())
