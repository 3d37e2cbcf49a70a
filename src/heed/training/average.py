"""The mean of the weights over the end of a training (Polyak & Juditsky 1992; its use for LSTMs: Merity et al. 2018).

    mean_n = mean_{n-1} + (w_n - mean_{n-1}) / n        n = 1, 2, .. counts updates since the averaging began

The optimizer never sees the mean. It stands in the model while it is evaluated, while it writes, and in
`model.safetensors`; the trained weights are kept beside the optimizer's state, so that a resumed run is the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from heed.config import TrainConfig
from heed.errors import CheckpointError


class WeightAverage:
    """The running mean of a model's trainable parameters over the last `plan.average_fraction` of a training."""

    def __init__(self, model: nn.Module, plan: TrainConfig) -> None:
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.fraction, self.steps = plan.average_fraction, plan.steps
        self.count = 0
        """Updates in the mean."""
        self.mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, step: int, used: float | None = None) -> None:
        """Add the weights after update number `step`, if it is late enough.

        `used` is the part of a training that ends by the clock; without it the steps are counted.
        """
        if not self._late(step, used):
            self.count, self.mean = 0, {}  # those of an end that was put off, where a run goes on for longer
            return
        self.count += 1
        if not self.mean:
            self.mean = {name: p.detach().clone() for name, p in self.parameters.items()}
            return
        for name, mean in self.mean.items():
            mean.lerp_(self.parameters[name], 1 / self.count)

    def _late(self, step: int, used: float | None) -> bool:
        if self.fraction is None:
            return False
        if used is None:
            return step > self.steps - round(self.fraction * self.steps)
        return used > 1 - self.fraction

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The mean stands in the model inside, and the trained weights afterwards, bit for bit."""
        trained = self._swap(self.mean)
        try:
            yield
        finally:
            self._swap(trained)

    @torch.no_grad()
    def _swap(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Put weights into the model and return those that stood there."""
        before = {name: self.parameters[name].detach().clone() for name in weights}
        for name, weight in weights.items():
            self.parameters[name].copy_(weight)
        return before

    def state(self) -> dict[str, Tensor]:
        """Return the trained weights by name for a checkpoint whose model is the mean; nothing before there is one."""
        return {name: self.parameters[name].detach() for name in self.mean}

    def load_state(self, trained: Mapping[str, Tensor], count: int) -> None:
        """Take what stands in the model as the mean of `count` updates, and put the trained weights there.

        Raises `CheckpointError` when they are those of other parameters.
        """
        self.count = count
        if not count:
            return
        if trained.keys() != self.parameters.keys():
            raise CheckpointError("the averaged weights do not fit the model: is config.yaml the run's own?")
        self.mean = self._swap(trained)
