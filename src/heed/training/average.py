"""The mean of the weights over the end of a training (Polyak & Juditsky 1992; its use for LSTMs: Merity et al. 2018).

    mean_n = mean_{n-1} + (w_n - mean_{n-1}) / n        n = 1, 2, .. counts updates since the averaging began

It begins with the last `train.average_fraction` of the training, or once the validation loss no longer falls (NT-ASGD,
the non-monotonic trigger of Merity et al. 2018, section 3). With v_t the loss of evaluation t and n
`train.average_patience`, the mean begins with the weights of the first evaluation for which

    v_t > min(v_0, .., v_{t-n-1})        n evaluations in between, so that noise alone does not begin it

The optimizer never sees the mean. It stands in the model while it is evaluated, while it writes, and in
`model.safetensors`; the trained weights are kept beside the optimizer's state, so that a resumed run is the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from heed.config import TrainConfig
from heed.errors import CheckpointError


class WeightAverage:
    """The running mean of a model's trainable parameters over the end of a training; `plan` says where that begins."""

    def __init__(self, model: nn.Module, plan: TrainConfig) -> None:
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.fraction, self.patience, self.steps = plan.average_fraction, plan.average_patience, plan.steps
        self.count = 0
        """Updates in the mean."""
        self.mean: dict[str, Tensor] = {}
        self.losses: list[float] = []
        """Validation losses until the mean begins, where they decide that."""

    def update(self, step: int, used: float | None = None) -> None:
        """Add the weights after update number `step`, if it is late enough.

        `used` is the part of a training that ends by the clock; without it the steps are counted.
        """
        if not self._late(step, used):
            self.count, self.mean = 0, {}  # those of an end that was put off, where a run goes on for longer
            return
        self._add()

    def watch(self, loss: float) -> bool:
        """Take note of a validation loss, and return whether the mean begins here, with the weights as they stand."""
        if self.patience is None or self.count:
            return False
        earlier = self.losses[: -self.patience]
        self.losses.append(loss)
        if not earlier or loss <= min(earlier):
            return False
        self._add()
        return True

    @torch.no_grad()
    def _add(self) -> None:
        self.count += 1
        if not self.mean:
            self.mean = {name: p.detach().clone() for name, p in self.parameters.items()}
            return
        for name, mean in self.mean.items():
            mean.lerp_(self.parameters[name], 1 / self.count)

    def _late(self, step: int, used: float | None) -> bool:
        if self.patience is not None:
            return self.count > 0
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

    def load_state(self, trained: Mapping[str, Tensor], count: int, losses: Sequence[float] = ()) -> None:
        """Take what stands in the model as the mean of `count` updates, and put the trained weights there.

        `losses` are those that have been watched. Raises `CheckpointError` when the weights are of other parameters.
        """
        self.count, self.losses = count, list(losses)
        if not count:
            return
        if trained.keys() != self.parameters.keys():
            raise CheckpointError("the averaged weights do not fit the model: is config.yaml the run's own?")
        self.mean = self._swap(trained)
