"""The runs of a tune: each is made once, a finished one is taken as it is, one that was stopped goes on.

    measure   how many parameters of an arm learn, and the memory of a step
    tune      one training: of a search, of a seed, or of a point of a learning curve

    runs/<name>/result.json    {"key": what the result depends on, as a hash; "result": what tune.json holds of it}

The same function makes a run in the process of the tune, which has read the texts, and in one of its own, which reads
them again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heed.config.tuning import TuneConfig
from heed.errors import HeedError
from heed.files import remove
from heed.records.events import METRICS, EvaluationEvent, TrainEvent
from heed.records.folder import is_run
from heed.records.kept import DamagedError, read_record, write_record
from heed.records.study import Outcome
from heed.records.tune import RESULT, CurvePoint, KeptResult, RunResult, StepBytes
from heed.report.gradings import grading_of
from heed.studies.runner import Task
from heed.studies.tune_plan import open_labelled_splits
from heed.studies.tune_record import counted
from heed.training.checkpoint import latest_step
from heed.training.devices import choose_device, out_of_memory, take_threads
from heed.training.fit import FitResult
from heed.training.progress import Progress
from heed.training.run import Run, read_metrics
from heed.tuning.encoders import load_encoder
from heed.tuning.methods import frozen_features
from heed.tuning.step_memory import measure_memory
from heed.tuning.tuned_run import Material, build, train_run

NO_ROOM = "out of memory: take a smaller --batch-size or --max-length, or leave this one out"


class ArmOutcome(Outcome):
    """What an arm is, before any run of it."""

    trained_parameters: int = 0
    encoder_parameters: int = 0
    pooling: str = ""
    step: StepBytes | None = None
    """The memory of a step, where it was asked for."""


@dataclass(frozen=True)
class TunedTask(Task):
    """A run of a tune that is to be made; its values are those of a `TuneConfig`."""

    kind: str = "tune"
    """tune, or measure."""
    measured: tuple[str, ...] = ("validation",)
    """The splits that are classified by the weights that are kept."""
    last: bool = False
    """Whether the last weights alone are measured: what a search goes by, and its checkpoints are not kept."""
    size: int | None = None
    """So many training texts alone."""
    memory: bool = False
    """Of measure: whether the memory of a step is measured."""

    @property
    def outcome(self) -> type[Outcome]:
        """Return the class of what it comes to."""
        return ArmOutcome if self.kind == "measure" else Outcome

    @property
    def config(self) -> TuneConfig:
        """Its configuration."""
        return TuneConfig.model_validate(self.values)


def task_of(order: Mapping[str, Any]) -> TunedTask:
    """Return the task that a process was told."""
    tuples = {name: tuple(order[name]) for name in ("measured", "lengths")}
    return TunedTask(**{**order, **tuples, "record": Path(order["record"])})


def make_alone(task: TunedTask) -> Outcome:
    """Make a run in a process that knows nothing yet."""
    config = task.config
    take_threads(config.run.threads)
    splits = open_labelled_splits(config)
    encoder = load_encoder(config.encoder, splits.target, native=False)
    material = Material.of(splits, encoder, config.encoder.max_length)
    return make(task, material)


def make(task: TunedTask, material: Material, progress: Callable[[int], Progress] | None = None) -> Outcome:
    """Make a run and return what it came to, which result.json holds if it has finished.

    States: finished; broke down (NaN); interrupted; does not fit; failed. Our own mistakes leave this function, and so
    does a full disk, which is no fault of the run.
    """
    try:
        return _measure(task, material) if task.kind == "measure" else _train(task, material, progress)
    except (HeedError, MemoryError, RuntimeError) as error:
        known = isinstance(error, HeedError)
        if out_of_memory(error):
            return Outcome.of("does not fit", str(error) if known else NO_ROOM)
        if not known or "not be written" in str(error):
            raise
        return Outcome.of("broke down" if "NaN or infinite" in str(error) else "failed", str(error))


def _measure(task: TunedTask, material: Material) -> ArmOutcome:
    config = task.config
    tuned, _, learn = build(config, material.splits.target)
    found = ArmOutcome.of(
        "finished",
        trained_parameters=learn,
        encoder_parameters=tuned.shape.parameters,
        pooling="native" if tuned.head is None else "mean",
    )
    if task.memory:
        material.compute(config, tuned)
        device = choose_device(config.run.device)
        found.step = StepBytes.model_validate(measure_memory(tuned, config, material.encoded["train"], device))
    return found


def _train(task: TunedTask, material: Material, progress: Callable[[int], Progress] | None) -> Outcome:
    """Make a run, go on with it where it was stopped, or take its result where it is there already."""
    config, folder, last = task.config, task.folder, task.last
    if task.size is not None:
        if frozen_features(config.method.name):  # vectors depend in their last digits on the texts beside them
            material.compute(config, build(config, material.splits.target)[0])
        material = material.first(task.size)
    key = _key(config, material)
    kept = folder / RESULT
    if kept_result(kept, key) is not None:
        if last:
            remove(folder / "checkpoints")  # of a process that died before
        return Outcome.of("finished")
    begun = is_run(folder) and Run[TuneConfig](folder, config).environment.key == key
    resume = begun and latest_step(folder / "checkpoints") is not None
    kept.unlink(missing_ok=True)
    done = train_run(
        config, material, folder, measured=task.measured, measures_training=not last, resume=resume,
        facts={"key": key}, progress=None if progress is None else progress(config.train.steps),
    )  # fmt: skip
    if done.fit.reason == "interrupted":
        return Outcome.of("interrupted", f"stopped after step {done.fit.step:,}")
    figures = {split: found.as_dict() for split, found in done.measures.items()}
    figure = grading_of(material.splits.target).figure
    result = RunResult.model_validate(
        {"folder": f"runs/{folder.name}", "test": None} | _timing(folder, done.fit, figure) | figures
    )
    write_record(kept, KeptResult(key=key, result=result))
    if last:
        remove(folder / "checkpoints")
    return Outcome.of("finished")


def kept_result(path: Path, key: str | None = None) -> RunResult | None:
    """Return what a result.json says came of a run; None where there is none, or its key is another than `key`."""
    try:
        found = read_record(KeptResult, path)
    except (OSError, ValueError, DamagedError):
        return None
    return found.result if key in (None, found.key) else None


def _timing(folder: Path, fit: FitResult, figure: str) -> dict[str, Any]:
    """Return seconds, speed and curve of a run from its metrics; `figure` is what arms are compared by."""
    name = "accuracy" if figure == "accuracy" else "figure"
    events = read_metrics(folder / METRICS)
    curve: dict[int, CurvePoint] = {}
    losses: list[float] = []
    epochs = {event.step: event.epoch for event in events if isinstance(event, TrainEvent)}
    for event in events:
        if isinstance(event, TrainEvent) and event.loss is not None:
            losses.append(event.loss)
        elif isinstance(event, EvaluationEvent):
            known = [step for step in epochs if step <= event.step]
            part = event.train
            curve[event.step] = CurvePoint.model_validate(
                {
                    "epoch": epochs[max(known)] if known else None,
                    "train_loss": sum(losses) / len(losses) if losses else None,
                    "validation_loss": event.loss,
                    f"validation_{name}": event.finite(figure),
                    "train_measured_loss": None if part is None else part.loss,
                    f"train_{name}": None if part is None else part.finite(figure),
                }
            )
            losses = []
    best = curve.get(fit.best_step) if fit.best_step is not None else None
    return {
        "seconds": fit.seconds,
        "examples_per_second": fit.tokens / max(fit.seconds, 1e-9),
        "reason": fit.reason,
        "best_epoch": None if best is None or math.isnan(best.epoch) else best.epoch,
        "curve": list(curve.values()),
    }


def _key(config: TuneConfig, material: Material) -> str:
    """Return what a run's result depends on, as a hash; where it is written and on how many threads do not count."""
    values = counted(config)
    values["run"] = {"seed": config.run.seed, "device": config.run.device}
    parts_ = [values, material.splits.fingerprint, len(material.encoded["train"]), material.sha256]
    return hashlib.sha256(json.dumps(parts_, sort_keys=True).encode()).hexdigest()
