"""The one training loop: everything in heed that learns goes through `fit`.

    next batches ─> loss ─> gradients ─> norm, clip ─> finite? ─> update ─> [log] ─> [evaluate, sample] ─> [checkpoint]
                                                          └─ no: stop, this update is not applied

A step is one update of the optimizer. A checkpoint holds all that a later step depends on: parameters, optimizer, every
random stream, the place in the data, the counters. So a run that is killed at any moment and resumed computes, on a CPU
with the same number of threads, bit for bit what the unbroken run computes. (On a GPU some of torch's kernels add in
varying order; nothing else differs there.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

import torch
from torch import Tensor, nn

from heed.config import Config, TrainConfig
from heed.errors import CheckpointError, ConfigError, HeedError
from heed.models.base import LanguageModel
from heed.records.checkpoints import prune
from heed.records.events import CheckpointEvent, EndEvent, EvaluationEvent, SampleEvent, TrainEvent
from heed.training import checkpoint as files
from heed.training.average import WeightAverage
from heed.training.devices import peak_memory
from heed.training.interrupts import Interrupts
from heed.training.progress import Pace, Progress, Silent
from heed.training.ranks import ALONE, Ranks
from heed.training.run import Run, load_weights, plain
from heed.training.schedules import final_step
from heed.training.sharding import Sharded
from heed.training.step import LossOf, Updater
from heed.training.streams import Streams
from heed.training.threads import ThreadChoice, chooses_threads
from heed.training.trackers import find_trackers, tracking

Reason = Literal["finished", "patience", "interrupted"]


class Batches(Protocol):
    """An endless source of batches that knows its place: `heed.text.batches.Packed`, `Padded`, or your own."""

    @property
    def epoch(self) -> float:
        """How often all the data has been through, with the fraction of the present time."""
        ...

    def __next__(self) -> Any:
        """Return the next batch: `source` (B, T), `target` (B, T), `mask` (B, T) bool or None, numpy or torch."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the place as plain values."""
        ...

    def load_state(self, state: dict[str, Any], /) -> None:
        """Go on with exactly the batch that followed `state`."""
        ...


class Validated(Protocol):
    """What a validation returns: `heed.report.measured.Figures`, or your own."""

    @property
    def loss(self) -> float:
        """Nats."""
        ...

    @property
    def criterion(self) -> float:
        """The figure that chooses the best checkpoint, lower is better: the loss, or what stands for it."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """Return everything that metrics.jsonl shall hold of it."""
        ...


@dataclass(frozen=True)
class FitResult:
    """How a training ended."""

    step: int
    reason: Reason
    best_loss: float | None
    """Lowest `criterion` of what the validation returned, mostly its loss; None without a validation."""
    best_step: int | None
    tokens: int
    """Training targets seen."""
    seconds: float
    """Wall clock of the training steps, added up over resumptions."""


@dataclass
class Counters:
    """The plain values that a checkpoint holds beside the tensors."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int | None = None
    stale: int = 0
    """Evaluations since the last gain."""
    gained: float | None = None
    """Loss at the last gain; None: it is `best_loss`."""
    losses: list[float | Tensor] = field(default_factory=list)
    """Losses since the last train event: numbers, or scalars on the device that nobody has waited for."""

    def check(self) -> None:
        """Raise `TypeError` for a value of another kind than it must be."""
        whole = (self.step, self.tokens, self.stale, *([] if self.best_step is None else [self.best_step]))
        numbers = (self.seconds, *self.losses, *(one for one in (self.best_loss, self.gained) if one is not None))
        if not all(type(one) is int for one in whole) or not all(type(one) in (int, float) for one in numbers):
            raise TypeError("a counter is no number")


def fit(
    model: nn.Module,
    batches: Batches,
    plan: TrainConfig,
    run: Run[Any],
    *,
    validation: Callable[[], Validated] | None = None,
    training: Callable[[], Validated] | None = None,
    sample: Callable[[], list[dict[str, Any]]] | None = None,
    device: torch.device | str = "cpu",
    streams: Streams | None = None,
    progress: Progress | None = None,
    loss_of: LossOf | None = None,
    resume: bool = False,
    log_every: int = 10,
    ranks: Ranks = ALONE,
    until: int | None = None,
    evaluations_after: float = 0.0,
) -> FitResult:
    """Train `model` on `batches` for `plan.steps` updates, and keep everything in the folder of `run`.

    `validation` is called every `plan.eval_every` steps and at the end, then `training`, which measures the same on a
    part of the training data, and `sample`; all may draw random numbers without any effect on the training. `streams`
    default to those of the run's seed. With `resume` it goes on from the last checkpoint of `run`, or from the start
    where there is none: give the same model, batches and plan then.
    `loss_of` stands in the place of `plan.loss`. A `train` event every `log_every` steps holds the mean loss since the
    last one. `ranks` are the processes that train the model together: this is the first of them, the others `follow`.
    After the step `until` it ends as if it had been interrupted there. The time that is left is shown with
    `evaluations_after`: what measures the end takes as long as so many evaluations.

    The first Ctrl-C (or SIGTERM) ends with a checkpoint at the next step boundary and `reason` "interrupted".
    Raises `HeedError` when loss or gradient is not finite (that update is never applied), `CheckpointError` when a
    checkpoint cannot be read or written, `DataError` when a whole step has no target that counts, `ConfigError` for
    `train.average_patience` without a validation.
    """
    if validation is None:  # patience may have run out before, and is then only found again
        refuse_without_validation(plan, (), ("average_patience",))
    progress = progress or Silent()
    streams = streams or Streams(run.config.run.seed)
    updater = Updater(model, plan, torch.device(device), streams, progress.say, loss_of, ranks)
    if plan.shard:
        each = f"each of {ranks.size} ranks holds a part of the weights and of the optimizer's state"
        progress.say(f"shard: {each if ranks.size > 1 else 'one process holds the whole model'}")
    average = WeightAverage(model, plan)
    threads = None
    if ranks.size == 1 and not updater.held.in_parts and loss_of is None and chooses_threads(run, updater.device):
        threads = ThreadChoice(run, model, batches, streams, plan.precision, progress.say)
    loop = _Loop(
        model, batches, plan, run, validation, training, sample, streams, progress, updater, average, log_every,
        until, evaluations_after, threads,
    )  # fmt: skip
    shown = () if until is not None else plan.trackers  # up to a step goes only what is thrown away
    find_trackers(shown)  # before anything is made
    with run.locked(), progress:
        loop.begin(resume)
        ranks.tell({"step": loop.now.step, "batches": batches.state()})
        _meet(updater, ranks)
        with tracking(shown, run, loop.now.step, progress.say):
            return loop.go()


def follow(
    model: nn.Module,
    batches: Batches,
    plan: TrainConfig,
    ranks: Ranks,
    *,
    device: torch.device | str = "cpu",
    streams: Streams | None = None,
    loss_of: LossOf | None = None,
) -> None:
    """Make every update of a `fit` along with it, on a rank that is not the first; measure, write and say nothing.

    Everything is as that `fit` was given it; weights, optimizer and the place in the data are the first rank's. Raises
    what an update raises, and `ClusterError` where the first rank is gone.
    """
    model.train()
    streams = streams or Streams(0)
    updater = Updater(model, plan, torch.device(device), streams, lambda line: None, loss_of, ranks)
    begun = ranks.told()
    if begun is None:
        return
    batches.load_state(begun["batches"])
    _meet(updater, ranks)
    streams.take_part(ranks.rank, begun["step"])
    while (order := ranks.told()) is not None:
        if order["do"] == "update":
            updater.update(order["step"], [next(batches) for _ in range(plan.accumulation)], order["used"])
        elif order["do"] == "collect":
            updater.held.collect()
        elif order["do"] == "check":
            updater.held.finite()
        elif order["do"] == "write":
            assert isinstance(updater.held, Sharded)
            updater.held.write(updater.optimizer, Path(order["folder"]), {})
        else:
            _gather(updater, ranks)


def _meet(updater: Updater, ranks: Ranks) -> None:
    """Give every rank the weights, the state of the optimizer, and its rows of a carried state."""
    updater.held.meet(updater.optimizer)
    learner = updater.held.learner
    if isinstance(learner, LanguageModel):
        learner.carried = ranks.deal(learner.carried, updater.device)


def _gather(updater: Updater, ranks: Ranks) -> list[Tensor]:
    """Return the carried state of the rows of all ranks, once those that hold the same weights are found to do so."""
    updater.held.refuse_drift()
    learner = updater.held.learner
    return ranks.collect(learner.carried or [], updater.rows) if isinstance(learner, LanguageModel) else []


def refuse_without_validation(
    plan: TrainConfig, splits: Collection[str], settings: Sequence[str] = ("patience", "average_patience")
) -> None:
    """Raise `ConfigError` for one of the settings that go by the validation loss where there is no such split."""
    for name in settings:
        if getattr(plan, name) is not None and "validation" not in splits:
            raise ConfigError(f"train.{name}: goes by the validation loss, and nothing is held out: leave it out")


@dataclass
class _Loop:
    """The state of one call of `fit`."""

    model: nn.Module
    batches: Batches
    plan: TrainConfig
    run: Run[Any]
    validation: Callable[[], Validated] | None
    training: Callable[[], Validated] | None
    sample: Callable[[], list[dict[str, Any]]] | None
    streams: Streams
    progress: Progress
    updater: Updater
    average: WeightAverage
    log_every: int
    until: int | None
    evaluations_after: float
    threads: ThreadChoice | None
    """None: they are what was asked for, and stay."""
    now: Counters = field(default_factory=Counters)
    clock: float = 0.0
    """When the training clock was last started."""
    mark: tuple[int, float] = (0, 0.0)
    """Tokens and seconds at the last train event."""
    pace: Pace | None = None
    """What the last train event said."""
    shown: float = -math.inf
    """When the progress was last moved."""
    evaluated: int | None = None
    """The step of the last evaluation."""
    spent: dict[str, tuple[int, float]] = field(default_factory=dict)
    """How often each phase that is no training was gone through, and its seconds in all."""

    def go(self) -> FitResult:
        """Run until there is a reason to stop."""
        plan, now = self.plan, self.now
        self.model.train()
        with Interrupts() as interrupts:
            if self.threads is not None:
                self.threads.begin(now.step, now.tokens, now.seconds, self.seconds_of_steps)
            self.clock = time.perf_counter()
            reason = self.reason_to_stop(self.is_over())
            while reason is None:
                now.step += 1
                used = self.used()
                self.updater.held.let_go()
                self.updater.ranks.tell({"do": "update", "step": now.step, "used": used})
                batches = [next(self.batches) for _ in range(plan.accumulation)]
                loss, counted = self.updater.update(now.step, batches, used)
                now.losses.append(loss)
                now.tokens += counted
                if self.updater.looks_at_once:
                    self.stop_if_bad()
                self.average.update(now.step, self.used())
                over = self.is_over()  # asked once: the clock goes on
                self.show()
                if now.step % self.log_every == 0 or now.step == 1 or over:
                    self.log_training()
                improved = False
                if self.validation is not None and (now.step % plan.eval_every == 0 or over):
                    improved = self.evaluate(self.validation)
                reason = "interrupted" if now.step == self.until else self.reason_to_stop(over)
                if reason is None and interrupts.asked:
                    reason = "interrupted"
                saves = improved or reason is not None or now.step % plan.checkpoint_every == 0
                if (reason is None and (saves or self.evaluated == now.step) and self.takes_other_threads()) or saves:
                    self.save()
        self.collect()
        self.updater.ranks.tell(None)
        if reason != "interrupted":
            self.put_together()
        self.run.log(EndEvent(step=now.step, reason=reason))
        if reason == "interrupted":
            again = f"; go on with: heed train --resume {self.run.folder}"
            own = isinstance(self.run.config, Config)  # a run of heed tune goes on by the command of the whole tune
            self.progress.say(f"stopped after step {now.step}{again if own else ''}")
        return FitResult(now.step, reason, now.best_loss, now.best_step, now.tokens, now.seconds)

    def is_over(self) -> bool:
        """Whether the steps are made or the time is up."""
        plan, now = self.plan, self.now
        return now.step >= plan.steps or (plan.seconds is not None and self.seconds() >= plan.seconds)

    def seconds(self) -> float:
        """The training clock, while it runs."""
        return self.now.seconds + time.perf_counter() - self.clock

    def used(self) -> float | None:
        """The part of a training that ends by the clock, or by its steps if they come first; None: by steps alone."""
        plan = self.plan
        if plan.seconds is None:
            return None
        return max(self.seconds() / plan.seconds, self.now.step / final_step(plan))

    def reason_to_stop(self, over: bool) -> Reason | None:
        """Why no further step is made, or None."""
        if over:
            return "finished"
        if self.plan.patience is not None and self.now.stale >= self.plan.patience:
            return "patience"
        return None

    def takes_other_threads(self) -> bool:
        """Look at the number of threads where it is time to; return whether the next steps have another one.

        Up to a step goes what makes steps again that were made, which have the number that they had.
        """
        if self.threads is None or self.until is not None or self.plan.compile:
            return False
        if not self.threads.is_due(self.now.tokens, self.seconds()):
            return False
        with self.aside("choosing threads"):
            return self.threads.look(self.now.step, self.now.seconds, self.seconds_of_steps)

    def seconds_of_steps(self, batch: float) -> float:
        """Return the seconds of the steps that are left, where a batch takes so many."""
        plan, now = self.plan, self.now
        seconds = batch * plan.accumulation * (plan.steps - now.step)
        return seconds if plan.seconds is None else min(seconds, plan.seconds - now.seconds)

    def stop_if_bad(self) -> None:
        """Raise `HeedError` when a step was not finite; on a GPU this waits for the device."""
        step = self.updater.bad_step()
        if step is not None:
            self.refuse_step(step, "loss or gradient is NaN or infinite", "which was not applied")

    def refuse_step(self, step: int, what: str, then: str) -> NoReturn:
        """End the run with an error that says what is not finite, and name the last good checkpoint."""
        self.run.log(EndEvent(step=step, reason="not finite"))
        last = files.latest_step(self.run.checkpoints)
        kept = "there is no checkpoint yet" if last is None else f"the last good checkpoint is {files.step_name(last)}"
        raise HeedError(
            f"{what} at step {step}, {then}; {kept}; "
            "take a lower train.learning_rate, a longer train.warmup_steps or a smaller train.clip"
        )

    def log_training(self) -> None:
        """Write a `train` event, and show it."""
        self.stop_if_bad()
        now, plan = self.now, self.plan
        loss = sum(float(loss) for loss in now.losses) / len(now.losses)
        now.losses = []
        seconds = self.seconds()
        tokens_before, seconds_before = self.mark
        speed = (now.tokens - tokens_before) / max(seconds - seconds_before, 1e-9)
        self.mark = (now.tokens, seconds)
        memory = peak_memory(self.updater.device)
        self.run.log(
            TrainEvent(
                step=now.step,
                loss=loss,
                learning_rate=plan.learning_rate * self.updater.share,
                gradient_norm=self.updater.norm.item(),
                tokens=now.tokens,
                seconds=round(seconds, 4),
                tokens_per_second=round(speed, 1),
                memory_bytes=memory,
                epoch=round(self.batches.epoch, 4),
            )
        )
        self.pace = Pace(loss, speed, memory, *self.left(), getattr(self.batches, "unit", "token"), self.leaks)
        self.show(at_once=True)

    def show(self, *, at_once: bool = False) -> None:
        """Move the progress, at most ten times a second, with the loss and the speed of the last train event."""
        if self.pace is None or (not at_once and time.perf_counter() < self.shown + 0.1):
            return
        self.shown = time.perf_counter()
        left, whole = self.left()
        self.progress.update(self.now.step, replace(self.pace, seconds_left=left, whole=whole))

    def left(self) -> tuple[float, bool]:
        """Return the seconds to the end of the run, evaluations and checkpoints among them, and whether all are known.

        Each takes what it has taken so far; what measures the end, as long for each token as an evaluation did.
        """
        plan, now, seconds = self.plan, self.now, self.seconds()
        steps: float = plan.steps - now.step
        if plan.seconds is not None:
            steps = min(steps, max(0.0, plan.seconds - seconds) * now.step / seconds)
        saves, evaluations = (now.step + steps) // plan.checkpoint_every - now.step // plan.checkpoint_every, 0.0
        if self.validation is not None:
            done = (now.step - (self.evaluated != now.step)) // plan.eval_every
            evaluations = -(-(now.step + steps) // plan.eval_every) - done + self.evaluations_after
        known = {phase: spent / times for phase, (times, spent) in self.spent.items()}
        left = steps * seconds / now.step
        left += evaluations * known.get("evaluating", 0.0) + saves * known.get("saving", 0.0)
        return left, not evaluations or "evaluating" in known

    @property
    def leaks(self) -> bool:
        """Whether the audit found that the model sees the tokens that it predicts."""
        return getattr(self.model, "leaks", None) is not None

    def evaluate(self, validation: Callable[[], Validated]) -> bool:
        """Measure on the validation split, let the model write, and return whether it is the best so far."""
        now = self.now
        self.stop_if_bad()
        with self.aside("evaluating"), self.average.in_place():
            self.collect()
            with self.streams.undisturbed(except_for=("evaluation",)):
                measured = validation()
            if not math.isfinite(measured.loss):
                self.refuse_step(now.step, "the validation loss is NaN or infinite", "so this state is not kept")
            event = {"step": now.step, "tokens": now.tokens, "seconds": round(now.seconds, 4)} | measured.as_dict()
            said = ""
            if self.training is not None:
                with self.streams.undisturbed():
                    known = self.training()
                event["train"] = known.as_dict()
                said = f", on a part of the training split {known.loss:.4f}"
            self.run.log(EvaluationEvent.model_validate(event))
            leaking = "LEAKING " if self.leaks else ""
            self.progress.say(f"step {now.step}: {leaking}validation loss {measured.loss:.4f}{said}")
            if self.sample is not None:
                with self.streams.undisturbed(except_for=("sampling",)):
                    texts = self.sample()
                self.run.log(SampleEvent(step=now.step, texts=texts))
        self.evaluated = now.step
        if self.average.watch(measured.loss):
            self.progress.say(f"step {now.step}: the loss no longer falls, from here on the mean of the weights counts")
        figure = measured.criterion
        improved = now.best_loss is None or figure < now.best_loss
        last = now.best_loss if now.gained is None else now.gained
        gains = last is None or figure < last - self.plan.least_gain
        now.stale, now.gained = (0, figure) if gains else (now.stale + 1, last)
        if improved:
            now.best_loss, now.best_step = figure, now.step
        return improved

    def collect(self) -> None:
        """See to it that the model holds the weights of now, where what learns holds them in parts."""
        if not self.updater.held.whole:
            self.updater.ranks.tell({"do": "collect"})
            self.updater.held.collect()

    @contextmanager
    def aside(self, phase: str) -> Iterator[None]:
        """Stop the training clock for what is no training, and go back to training mode after it."""
        if self.updater.device.type == "cuda":
            torch.cuda.synchronize(self.updater.device)
        begun = time.perf_counter()
        self.now.seconds += begun - self.clock
        self.progress.phase(phase)
        try:
            yield
        finally:
            self.model.train()
            self.progress.phase("training")
            self.clock = time.perf_counter()
            times, spent = self.spent.get(phase, (0, 0.0))
            self.spent[phase] = times + 1, spent + self.clock - begun

    def begin(self, resume: bool) -> None:
        """Start from nothing, or from the last checkpoint."""
        folder, changed, goes_on = self.run.checkpoints, {}, True
        self.clock = time.perf_counter()
        last = files.latest_step(folder)
        if last is not None and not resume:
            raise CheckpointError(f"{self.run.folder} has checkpoints already: go on with --resume, or --overwrite it")
        if last is not None:
            saved = files.load_checkpoint(folder / files.step_name(last))
            trained_with = saved.state.get("optimizer")
            if trained_with is None:
                raise CheckpointError(
                    f"{self.run.folder} was imported, it has no training to go on with: sample, evaluate or export it"
                )
            if trained_with != self.plan.optimizer:
                raise CheckpointError(
                    f"{saved.path.name} was trained with {trained_with}: go on with train.optimizer {trained_with}"
                )
            try:
                self.restore(saved)
                changed = self.run.changed_since(saved.state.get("settings"))
            except (KeyError, TypeError, ValueError, AttributeError) as error:  # the hash is right, and it is none
                reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
                raise CheckpointError(
                    f"{saved.path.name} is not as heed writes it ({reason}): delete it to go on from the one before"
                ) from error
            if self.plan.steps < self.now.step:
                raise CheckpointError(f"{saved.path.name} is beyond train.steps {self.plan.steps}: ask for more")
            self.mark = (self.now.tokens, self.now.seconds)
            goes_on = self.reason_to_stop(self.is_over()) is None
            if not goes_on and (learning := [name for name in changed if not name.startswith("run.")]):
                raise ConfigError(
                    f"{', '.join(learning)}: {self.run.folder} has no step left that could be made so: "
                    "ask for more train.steps too, or begin another run"
                )
        if resume:
            self.run.log_resume(self.now.step, changed, goes_on=goes_on)
        if last is not None:
            self.catch_up()
        if resume:
            self.progress.say(f"going on from step {self.now.step}")

    def restore(self, saved: files.Checkpoint) -> None:
        """Take over everything that a checkpoint holds. Raises what Python raises where its state is none."""
        tensors: dict[str, dict[str, Tensor]] = {"optimizer": {}, "streams": {}, "carried": {}, "trained": {}}
        for name, tensor in saved.tensors.items():
            group, _, rest = name.partition("/")
            tensors[group][rest] = tensor
        load_weights(self.model, saved.model)
        self.average.load_state(tensors["trained"], saved.state.get("averaged", 0), saved.state.get("watched", ()))
        learner = self.updater.held.learner
        if isinstance(learner, LanguageModel) and tensors["carried"]:
            learner.carried = [part.to(self.updater.device) for _, part in sorted(tensors["carried"].items())]
        self.updater.held.load(self.updater.optimizer, tensors["optimizer"])
        self.streams.load_state(tensors["streams"])
        self.batches.load_state(saved.state["batches"])
        self.now = Counters(**saved.state["counters"])
        self.now.check()

    def catch_up(self) -> None:
        """Do what a process that was killed after it had written a checkpoint did not come to."""
        now, folder = self.now, self.run.checkpoints
        best = now.best_step if now.best_step in files.saved_steps(folder) else None
        files.mark_best(folder, best, now.best_loss)
        prune(folder, self.plan.keep_last)
        noted = [event.step for event in self.run.read_metrics() if isinstance(event, CheckpointEvent)]
        if now.step not in noted:
            self.note_checkpoint()

    def note_checkpoint(self) -> None:
        """Write the event of a checkpoint."""
        place = f"{self.run.checkpoints.name}/{files.step_name(self.now.step)}"
        self.run.log(CheckpointEvent(step=self.now.step, path=place))

    def put_together(self) -> None:
        """Make ordinary checkpoints of those in parts; where that fails the parts stay, which heed reads as well."""
        for step in files.saved_steps(self.run.checkpoints):
            try:
                files.put_together(self.run.checkpoints / files.step_name(step))
            except CheckpointError as error:
                self.progress.say(f"note: {files.step_name(step)} stays in parts: {error}")

    def save(self) -> None:
        """Write a checkpoint of this step, mark the best one, and delete what is no longer kept."""
        self.stop_if_bad()
        now, folder = self.now, self.run.checkpoints
        ranks, held = self.updater.ranks, self.updater.held
        with self.aside("saving"):
            ranks.tell({"do": "check"})
            if not held.finite():
                self.refuse_step(now.step, "a parameter is NaN or infinite", "so this state is not kept")
            ranks.tell({"do": "gather"})
            carried = _gather(self.updater, ranks)
            now.losses = [float(loss) for loss in now.losses]
            tensors = {f"streams/{name}": tensor for name, tensor in self.streams.state().items()}
            tensors |= {f"carried/{number:03d}": part for number, part in enumerate(carried)}
            state = {"counters": asdict(now), "batches": self.batches.state(), "optimizer": self.plan.optimizer}
            state |= {"settings": plain(self.run.config)}
            state |= {"averaged": self.average.count, "watched": self.average.losses}
            self.run.sync()
            if isinstance(held, Sharded):

                def write(aside: Path) -> list[str]:
                    ranks.tell({"do": "write", "folder": str(aside.resolve())})
                    return held.write(self.updater.optimizer, aside, tensors)

                files.save_in_parts(folder, now.step, held.shared, state, write)
            else:
                tensors |= {f"optimizer/{name}": tensor for name, tensor in self.updater.optimizer.state().items()}
                tensors |= {f"trained/{name}": tensor.clone() for name, tensor in self.average.state().items()}
                with self.average.in_place():
                    files.save_checkpoint(folder, now.step, self.model, tensors, state)
            if now.best_step == now.step:
                files.mark_best(folder, now.best_step, now.best_loss)
            prune(folder, self.plan.keep_last)
            self.note_checkpoint()
