"""One update: gradients of one or several batches, their norm, and the optimizer, unless something is not finite."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from heed.attention.halves import Halves
from heed.config import TrainConfig
from heed.errors import ConfigError, DataError, HeedError
from heed.models.block import Block
from heed.models.sampled import sample_softmax
from heed.text.stream import Batch
from heed.training.devices import choose_precision
from heed.training.heap import keep_what_is_freed
from heed.training.optim import make_optimizer
from heed.training.ranks import ALONE, Ranks
from heed.training.schedules import learning_rate_share
from heed.training.sharding import Sharded, hold
from heed.training.streams import Streams


@dataclass(frozen=True)
class TensorBatch:
    """One batch on the device: source (B, T), target (B, T), mask (B, T) bool, True = counts, or None: all count."""

    source: Tensor
    target: Tensor
    mask: Tensor | None
    counted: int
    """Targets that count."""
    continues: bool = False
    """Whether the rows go on where those of the batch before ended."""

    @property
    def sequences(self) -> int:
        """Rows with a target that counts."""
        return len(self.target) if self.mask is None else int(self.mask.any(dim=1).sum())


LossOf = Callable[[Any, TensorBatch], Tensor]
"""(model, batch) -> the mean loss over the targets that count, a scalar."""


def default_loss(model: Any, batch: TensorBatch) -> Tensor:
    """Return `model.loss(source, target, mask)`, told where the batch goes on from the one before."""
    if batch.continues:
        return model.loss(batch.source, batch.target, batch.mask, continues=True)
    return model.loss(batch.source, batch.target, batch.mask)


def sequence_loss(model: Any, batch: TensorBatch) -> Tensor:
    """Return the mean over each sequence's tokens, then over the sequences, as IFT6135 defines its loss.

    It is no logarithm of a perplexity: a token of a short sequence counts for more. Sequences without a target that
    counts are left out.
    """
    if batch.mask is None:
        return default_loss(model, batch)  # all are equally long
    weights = batch.mask / (batch.mask.sum(dim=1, keepdim=True).clamp(min=1) * batch.sequences)
    return model.loss(batch.source, batch.target, weights, reduction="sum")


LOSSES: dict[str, LossOf] = {"token": default_loss, "sequence": sequence_loss}
"""What `train.loss` can be."""


def smooth(model: Any, share: float) -> None:
    """Let a model learn from targets of which `share` is spread over all classes: its losses read `label_smoothing`.

    Raises `ConfigError` for a model whose losses do not.
    """
    if hasattr(model, "label_smoothing"):
        model.label_smoothing = share
    elif share:
        raise ConfigError("train.label_smoothing: the losses of this model have none: leave it out")


class Updater:
    """Makes the updates of one training: `update` returns the loss, `bad_step` the first step that was refused."""

    def __init__(
        self,
        model: nn.Module,
        plan: TrainConfig,
        device: torch.device,
        streams: Streams,
        say: Callable[[str], None],
        loss_of: LossOf | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        loss_of = loss_of or LOSSES[plan.loss]
        smooth(model, plan.label_smoothing)
        sample_softmax(model, plan.sampled_softmax)
        for part in model.modules():
            if isinstance(part, Block):
                part.recompute = plan.recompute
        self.plan, self.device, self.streams, self.say, self.ranks = plan, device, streams, say, ranks
        self.held = hold(model, plan.shard, ranks, device)
        self.optimizer = make_optimizer(self.held.learner, plan, self.held.parameters, self.held.muon)
        self.parameters = list(self.held.parameters.values())
        self.precision, warning = choose_precision(plan.precision, device)
        if warning:
            say(warning)
        if device.type == "cpu" and not self.held.in_parts:
            keep_what_is_freed()
        autocast_alone = plan.compile or self.held.in_parts
        self.halves: AbstractContextManager[None] = (
            contextlib.nullcontext() if autocast_alone else halves_of(model, self.precision, device)
        )
        self.plain_loss = lambda batch: loss_of(self.held.learner, batch)
        self.loss = self.plain_loss
        if plan.compile and isinstance(self.held, Sharded):
            self.held.compile()
        elif plan.compile:
            self.loss = torch.compile(self.plain_loss)
        self.on_trial = plan.compile  # the first step compiles; where it fails, the plain loss takes over
        # A CPU has nothing to wait for, and a step that is not fused cannot be skipped on the device: look at once.
        self.looks_at_once = device.type != "cuda" or not self.optimizer.skips_on_device
        self.first_bad = torch.zeros((), dtype=torch.int64, device=device)
        self.norm = torch.zeros((), device=device)
        """Norm of the whole gradient at the last step, before clipping."""
        self.share = 0.0
        """Share of the peak learning rate that the last step was made with."""
        self.rows = 0
        """Rows of the last batch, those of all ranks."""

    def update(self, step: int, batches: list[Any], used: float | None = None) -> tuple[float | Tensor, int]:
        """Make update number `step` from `batches`, as if they were one; return (loss, targets that count).

        `used` is the part of the training's time that is gone, where it ends by the clock (see `schedules`).
        The loss is a number on a CPU, elsewhere a scalar that nobody has waited for. Where loss or gradient is not
        finite nothing is applied, now or later; `bad_step` knows it. Raises `DataError` when no target counts.
        """
        parts = [self._part(batch, batches) for batch in batches]
        counted, self.rows = sum(map(targets_of, batches)), len(batches[-1].source)
        sequences = sum(map(sequences_of, batches)) if self.plan.loss == "sequence" else 0
        if counted == 0:
            raise DataError(f"step {step}: no token of the batch counts; are all documents shorter than 2 tokens?")
        try:
            with self.held.exchanging():
                loss = self._gradients(parts, counted, sequences)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise HeedError(
                f"out of memory at step {step}: take a smaller train.batch_size (and train.accumulation to make up for "
                "it), or train.batch_size auto"
            ) from error
        loss = self.held.reduce(loss)
        self.norm = self.held.norm()
        if self._refuses(step, loss):
            return loss, counted
        if self.plan.clip is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.plan.clip, self.norm)
        self.share = learning_rate_share(step, self.plan, used)
        self.optimizer.step(self.share)
        self.optimizer.zero_grad()
        return (loss.item() if self.looks_at_once else loss), counted

    def bad_step(self) -> int | None:
        """Return the first step whose loss or gradient was not finite, or None; this waits for the device."""
        return int(self.first_bad.item()) or None

    def _part(self, batch: Any, batches: list[Any]) -> TensorBatch:
        """Return this rank's rows; where none counts and it must take part in the pass, a row of another rank."""
        part = to_device(self.ranks.part(batch), self.device)
        if part.counted or not self.held.in_parts:
            return part
        return replace(to_device(first_row(batches), self.device), counted=0)

    def _gradients(self, parts: list[TensorBatch], counted: int, sequences: int) -> Tensor:
        """Add up the gradients and return the loss; where torch.compile fails in its first step, do without."""
        if not self.on_trial:
            return self._accumulate(parts, counted, sequences)
        self.on_trial = False
        before = self.streams.state()
        try:
            return self._accumulate(parts, counted, sequences)
        except (HeedError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the compiler chain throws many kinds; a true error comes again below
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.say(f"torch.compile failed, going on without it: {first_line}")
        self.loss = self.plain_loss
        self.held.go_on_plain()
        self.streams.load_state(before)
        self.optimizer.zero_grad()
        return self._accumulate(parts, counted, sequences)

    def _accumulate(self, parts: list[TensorBatch], counted: int, sequences: int) -> Tensor:
        """Backward through each part, weighted by its share of the targets (or sequences) that count."""
        total = torch.zeros((), device=self.device)
        for part in parts:
            if part.counted == 0 and not self.held.in_parts:  # its mean is 0/0
                continue
            half, kept = self.precision == "bf16", not self.held.in_parts  # else it would keep every block's weights
            with self.halves:  # on the way back too: what is computed again there must be what it was
                with torch.autocast(self.device.type, torch.bfloat16, enabled=half, cache_enabled=kept):
                    loss = self.loss(part)
                if part.counted == 0:
                    loss = loss * 0
                elif part.counted != counted:
                    loss = loss * (part.sequences / sequences if sequences else part.counted / counted)
                loss.backward()
            total = total + loss.detach()
        return total

    def _refuses(self, step: int, loss: Tensor) -> bool:
        """See to it that a NaN or an infinity is never applied; True where that is known at once."""
        if self.looks_at_once:
            if math.isfinite(loss.item()) and math.isfinite(self.norm.item()):
                return False
            self.first_bad.fill_(step)
            return True
        bad = ~torch.isfinite(loss + self.norm) & (self.first_bad == 0)
        self.first_bad = torch.where(bad, step, self.first_bad)
        self.optimizer.skip_if((self.first_bad > 0).float())
        return False


def bytes_of_copies(halves: AbstractContextManager[None]) -> int:
    """Return the bytes of the copies that `halves_of` keeps beside the weights."""
    return halves.bytes if isinstance(halves, Halves) else 0


def halves_of(model: nn.Module, precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Return what a pass in `precision` is made within: on a CPU, bf16 has copies of the weights of each update."""
    return Halves(model) if precision == "bf16" and device.type == "cpu" else contextlib.nullcontext()


def to_device(batch: Any, device: torch.device) -> TensorBatch:
    """Move a batch of numpy arrays or tensors to the device and count its targets."""
    source, target = torch.as_tensor(batch.source), torch.as_tensor(batch.target)
    mask = None if batch.mask is None else torch.as_tensor(batch.mask)
    counted = targets_of(batch)
    if device.type == "cuda":  # pinned memory is copied while the device works
        source, target = source.pin_memory(), target.pin_memory()
        mask = None if mask is None else mask.pin_memory()
    source, target = source.to(device, non_blocking=True), target.to(device, non_blocking=True)
    mask = None if mask is None else mask.to(device, non_blocking=True)
    return TensorBatch(source, target, mask, counted, getattr(batch, "continues", False))


def targets_of(batch: Any) -> int:
    """Return how many targets of a batch, of numpy arrays or tensors, count."""
    if batch.mask is not None:
        return int(torch.as_tensor(batch.mask).sum())
    target = torch.as_tensor(batch.target)
    return len(target) if target.is_floating_point() else target.numel()


def first_row(batches: list[Any]) -> Batch:
    """Return the first row of some batches that has a target which counts."""
    for batch in batches:
        mask = None if batch.mask is None else torch.as_tensor(batch.mask).reshape(len(batch.target), -1).any(dim=1)
        rows = range(len(batch.target)) if mask is None else mask.nonzero()[:, 0].tolist()
        for row in rows:
            own = slice(row, row + 1)
            return Batch(batch.source[own], batch.target[own], None if batch.mask is None else batch.mask[own])
    raise DataError("no token of the batches counts")


def sequences_of(batch: Any) -> int:
    """Return how many rows of a batch have a target that counts."""
    return len(batch.target) if batch.mask is None else int(torch.as_tensor(batch.mask).any(dim=1).sum())
