"""Which fine-tuning for these texts? Every method at its own rate, over seeds, on the same texts and the same budget.

    arm = encoder x method ──search of the rate, on validation, a part of the budget──> seeds ──best weights──> test

What is known is written to `tune.json` after every run, and a finished run is never made again: the same command goes
on where it was stopped. An arm that fails or does not fit is a result, and the others go on. The test split is read
once a run, by the best weights of the chosen rate.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from heed.config.tuning import TuneConfig
from heed.errors import ConfigError, DataError, HeedError
from heed.text.splits import Splits, open_splits
from heed.text.splits_report import describe
from heed.training.checkpoint import latest_step
from heed.training.devices import choose_device, has_amx, machine_facts
from heed.training.fit import FitResult
from heed.training.progress import Progress
from heed.training.run import Run, is_run, read_metrics
from heed.tuning.encoders import load_encoder
from heed.tuning.memory import measure_memory
from heed.tuning.methods import frozen_features, parts
from heed.tuning.record import (
    RESULT,
    TUNE,
    begin_arm,
    clear,
    join,
    keep_runs,
    name_arms,
    new_arm,
    put_run,
    put_size,
    read_record,
    settings_of,
    write_whole,
)
from heed.tuning.run import Material, build, changed, steps_per_epoch, train_run
from heed.tuning.search import Candidate, candidates, search_rates

SHARE = 0.25
"""The part of a run that a rate is tried for."""
LEAST_STEPS = 100
"""Steps on a part of the texts, at least, where the whole has so many: few texts need more passes."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is tuned and compared."""

    config: TuneConfig
    methods: tuple[str, ...]
    encoders: tuple[str, ...] = ("minilm",)
    seeds: tuple[int, ...] = (1, 2, 3)
    epochs: tuple[int, ...] = (3,)
    """Passes over the texts; with several the search chooses among them, too."""
    rates: tuple[float, ...] | None = None
    """Learning rates to try; None: those of each method."""
    search: str = "grid"
    """grid, optuna, or none: the middle one of the rates."""
    trials: int = 8
    """Tries of a search by optuna."""
    sizes: tuple[int, ...] = ()
    """Numbers of training texts for a learning curve."""
    memory: bool = True
    command: tuple[str, ...] = ()

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every encoder with every method."""
        return [(encoder, method) for encoder in self.encoders for method in self.methods]


@dataclass
class Tuning:
    """A tune that is under way: its plan, its folder, and what is known so far."""

    plan: Plan
    folder: Path
    say: Say
    progress: Callable[[int], Progress] | None
    record: dict[str, Any] = field(default_factory=dict)
    materials: dict[str, Material] = field(default_factory=dict)
    stopped: bool = False
    """Whether Ctrl-C has ended a run."""

    def write(self) -> None:
        """Write what is known, whole or not at all."""
        write_whole(self.folder / TUNE, self.record)


def tune(
    plan: Plan,
    folder: Path,
    say: Say,
    progress: Callable[[int], Progress] | None = None,
    *,
    overwrite: bool = False,
) -> bool:
    """Tune every arm and keep everything in `folder`; False when it was interrupted.

    With `overwrite` what an earlier tune left there is deleted, once nothing is left to complain of. Raises
    `DataError`, `ConfigError` and `CheckpointError` for what no arm could use; what goes wrong in one arm is written
    down.
    """
    torch.set_num_threads(plan.config.run.threads or torch.get_num_threads())
    check_methods(plan)
    splits = open_labelled_splits(plan.config)
    earlier = None if overwrite else read_record(folder)
    now = Tuning(plan, folder, say, progress, join(earlier, _begin(plan, splits), folder))
    for encoder in plan.encoders:  # what cannot be had, or cannot read these texts, is told before hours of training
        now.materials[encoder] = _read(now, _config(plan, encoder, plan.methods[0]), splits)
        for size in plan.sizes:
            now.materials[encoder].first(size)
    if overwrite:
        clear(folder)
    now.write()
    done = [_try_arm(now, pair, splits) for pair in plan.pairs]
    if now.stopped:
        return False
    if not any(done):
        reasons = [arm["reason"] for arm in now.record["arms"] if arm["reason"]]
        raise HeedError(f"no method could be tuned; {reasons[0]}")
    return _learning_curves(now)


def _try_arm(now: Tuning, pair: tuple[str, str], splits: Splits) -> bool:
    """Tune an arm, or write down why it cannot be; whether it is done."""
    if now.stopped:
        return False
    arm, earlier = begin_arm(now.record, pair)
    try:
        _tune_arm(now, arm, earlier, splits)
        arm["status"] = "running" if now.stopped else "done"
    except (HeedError, MemoryError, RuntimeError) as error:
        full = _is_out_of_memory(error)
        if not full and not isinstance(error, HeedError):
            raise
        arm["status"] = "does not fit" if full else "failed"
        advice = "out of memory: take a smaller --batch-size or --max-length, or leave this one out"
        arm["reason"] = str(error) if isinstance(error, HeedError) else advice
        now.say(f"{arm['name']}: {arm['status']}: {arm['reason']}")
    now.write()
    return arm["status"] == "done"


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was too small, in the words of heed, of torch on a GPU or of its allocator on a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in ("out of memory", "can't allocate memory"))


def check_methods(plan: Plan) -> None:
    """Raise `ConfigError` for an unknown method, and for a setting of methods that none of those named reads."""
    read = {setting for name in plan.methods for part in parts(name) for setting in part.reads}
    unread = sorted(plan.config.method.model_fields_set - read - {"name"})
    if unread:
        raise ConfigError(f"method.{unread[0]}: {', '.join(plan.methods)} do not read it: leave it out")


def open_labelled_splits(config: TuneConfig) -> Splits:
    """Return the labelled texts that a configuration names, and refuse what cannot be tuned on."""
    splits = open_splits(**config.data.model_dump())
    if "validation" not in splits.rows:
        raise DataError("there is no validation split: give data.validation or a data.validation_fraction")
    return splits


def _begin(plan: Plan, splits: Splits) -> dict[str, Any]:
    """Return the record of a tune of which nothing is done."""
    device = choose_device(plan.config.run.device).type
    return {
        "format": 1,
        "command": list(plan.command),
        "machine": machine_facts() | {"device": device},
        "data": describe(splits) | {"cut": {}},
        "encoders": {},
        "seeds": list(plan.seeds),
        "epochs": plan.epochs[0] if len(plan.epochs) == 1 else list(plan.epochs),
        "batch_size": plan.config.train.batch_size,
        "steps": None,
        "search": {"kind": plan.search, "share": SHARE, "seed": plan.seeds[0]},
        "settings": settings_of(plan.config, plan.epochs, device),
        "arms": [new_arm(*pair, name) for pair, name in name_arms(plan.pairs).items()],
        "sizes": [],
    }


def _config(plan: Plan, encoder: str, method: str) -> TuneConfig:
    """Return the configuration of an arm, with the first seed and in the precision that it is trained in."""
    train = {}
    if plan.config.train.precision == "auto" and choose_device(plan.config.run.device).type == "cpu" and has_amx():
        train = {"precision": "bf16"}  # of MiniLM's step 0.59 of the time; see docs/speed.md
    return changed(
        plan.config, encoder={"name": encoder}, method={"name": method}, train=train, run={"seed": plan.seeds[0]}
    )


def _tune_arm(now: Tuning, arm: dict[str, Any], earlier: dict[str, Any], splits: Splits) -> None:
    """Measure memory, search the rate and train every seed of one arm."""
    plan = now.plan
    config = _config(plan, arm["encoder"], arm["method"])
    material = now.materials[arm["encoder"]]
    per_epoch = steps_per_epoch(material, config)
    passes = max(part.passes for part in parts(arm["method"])) if frozen_features(arm["method"]) else 1
    tuned, _, learn = build(config, splits.classes)
    arm |= {"trained_parameters": learn, "pooling": "native" if tuned.head is None else "mean"}
    arm |= {"formula": formula(arm["method"]), "options": options(config)}
    now.say(f"{arm['name']}: {learn:,} parameters learn of {tuned.shape.parameters:,}")
    if plan.memory:
        material.compute(config, tuned)
        arm["memory"] = measure_memory(tuned, config, material.encoded["train"], choose_device(config.run.device))
    del tuned
    share = SHARE if len(plan.epochs) == 1 else 1.0

    def attempt(candidate: Candidate, number: int) -> dict[str, Any]:
        steps = max(1, math.ceil(share * candidate.epochs * passes * per_epoch))
        name = f"{arm['stem']}-search-{number}"
        now.say(f"{arm['name']}: trying the learning rate {candidate.rate:g} for {steps:,} steps")
        rate = candidate.rate
        found: dict[str, Any] = {"learning_rate": rate, "epochs": candidate.epochs, "steps": steps}
        found |= {"seconds": 0.0, "accuracy": None, "loss": None, "chosen": False}
        try:
            figures = _run(now, config, material, name, rate, steps, per_epoch, measured=("validation",), last=True)
        except HeedError as error:
            if "NaN or infinite" not in str(error):
                raise
            now.say(f"{arm['name']}: {error}")
        else:
            if now.stopped:
                return found
            found |= {"seconds": figures["seconds"]}
            found |= {name: figures["validation"][name] for name in ("accuracy", "loss")}
        arm["search"].append(found)
        now.write()
        return found

    grid = candidates(arm["method"], plan.rates, plan.epochs)
    chosen = search_rates(plan.search, grid, plan.trials, attempt, lambda: now.stopped)
    if now.stopped:
        return
    for tried in arm["search"]:
        tried["chosen"] = (tried["learning_rate"], tried["epochs"]) == (chosen.rate, chosen.epochs)
    arm |= {"learning_rate": chosen.rate, "epochs": chosen.epochs * passes}
    keep_runs(now.record, arm, earlier, plan.seeds)
    steps = chosen.epochs * passes * per_epoch
    now.record["steps"] = now.record["steps"] or chosen.epochs * per_epoch
    measured = tuple(split for split in ("validation", "test") if split in splits.rows)
    for seed in plan.seeds:
        now.say(f"{arm['name']}: seed {seed}, learning rate {chosen.rate:g}, {steps:,} steps")
        own = changed(config, run={"seed": seed})
        name = f"{arm['stem']}-{seed}"
        result = _run(now, own, material, name, chosen.rate, steps, per_epoch * passes, measured=measured)
        if now.stopped:
            return
        put_run(arm, {"seed": seed, **result})
        now.write()


def _read(now: Tuning, config: TuneConfig, splits: Splits) -> Material:
    """Return the texts as an encoder reads them, once for all its methods, and note what it is."""
    encoder = load_encoder(config.encoder, splits.classes, native=False)
    material = Material.of(splits, encoder, config.encoder.max_length)
    shape = encoder.shape
    now.record["encoders"][config.encoder.name] = {
        "parameters": shape.parameters, "layers": shape.layers, "d_model": shape.d_model, "heads": shape.heads,
        "source": encoder.source, "max_length": config.encoder.max_length,
    }  # fmt: skip
    cut = {split: texts.cut for split, texts in material.encoded.items()}
    now.record["data"]["cut"] = cut
    if any(cut.values()):
        counts = ", ".join(f"{count:,} of {split}" for split, count in cut.items() if count)
        now.say(f"note: longer than {config.encoder.max_length} tokens and cut: {counts}")
    return material


def _run(
    now: Tuning, config: TuneConfig, material: Material, name: str, rate: float, steps: int, every: int,
    *, measured: Sequence[str], last: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Make a run, go on with it where it was stopped, or take its result where it is there already.

    `last` measures the last weights alone: what a search goes by, and its checkpoints are not kept.
    """
    folder = now.folder / "runs" / name
    warmup = config.train.warmup_steps if "warmup_steps" in now.plan.config.train.model_fields_set else steps // 20
    settings = {"steps": steps, "learning_rate": rate, "warmup_steps": warmup}
    settings |= {"eval_every": steps if last else every, "checkpoint_every": 10**9 if last else every}
    if config.train.optimizer == "muon":
        settings["muon_learning_rate"] = rate * config.train.muon_learning_rate / config.train.learning_rate
    config = changed(config, train=settings, run={"name": name, "folder": str(now.folder / "runs")})
    key = _key(config, material)
    kept = folder / RESULT
    if (found := _result(kept, key)) is not None:
        return found
    begun = is_run(folder) and Run[TuneConfig](folder, config).fact("key") == key
    resume = begun and latest_step(folder / "checkpoints") is not None
    kept.unlink(missing_ok=True)
    done = train_run(
        config, material, folder, measured=tuple(measured), resume=resume, facts={"key": key},
        progress=None if now.progress is None else now.progress(steps),
    )  # fmt: skip
    now.stopped = done.fit.reason == "interrupted"
    result: dict[str, Any] = {"folder": f"runs/{name}", "best_epoch": None, "test": None}
    result |= _timing(folder, done.fit)
    result |= {split: found.figures for split, found in done.measures.items()}
    if not now.stopped:
        if last:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        write_whole(kept, {"key": key, "result": result})
    return result


def _result(path: Path, key: str) -> dict[str, Any] | None:
    """Return what came of a finished run; None where there is none, or it was another run's."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found["result"] if found["key"] == key else None


def _timing(folder: Path, fit: FitResult) -> dict[str, Any]:
    """Return seconds, speed and curve of a run from its metrics."""
    events = read_metrics(folder / "metrics.jsonl")
    curve: list[dict[str, Any]] = []
    losses: list[float] = []
    epochs = {event["step"]: event["epoch"] for event in events if event["event"] == "train"}
    for event in events:
        if event["event"] == "train":
            losses.append(event["loss"])
        elif event["event"] == "evaluation":
            known = [step for step in epochs if step <= event["step"]]
            curve.append(
                {
                    "epoch": epochs[max(known)] if known else None,
                    "train_loss": sum(losses) / len(losses) if losses else None,
                    "validation_loss": event["loss"],
                    "validation_accuracy": event["accuracy"],
                    "step": event["step"],
                }
            )
            losses = []
    best = next((point["epoch"] for point in curve if point["step"] == fit.best_step), None)
    return {
        "seconds": fit.seconds,
        "examples_per_second": fit.tokens / max(fit.seconds, 1e-9),
        "reason": fit.reason,
        "best_epoch": best,
        "curve": [{key: value for key, value in point.items() if key != "step"} for point in curve],
    }


def _learning_curves(now: Tuning) -> bool:
    """Train every finished arm on parts of the texts, with the first seed and the rate that was chosen."""
    plan = now.plan
    for arm in now.record["arms"] if plan.sizes else []:
        if arm["status"] != "done" or (arm["encoder"], arm["method"]) not in plan.pairs:
            continue
        config = _config(plan, arm["encoder"], arm["method"])
        whole = now.materials[arm["encoder"]]
        full = steps_per_epoch(whole, config) * arm["epochs"]
        for size in plan.sizes:
            some = whole.first(size)
            steps = max(steps_per_epoch(some, config) * arm["epochs"], min(full, LEAST_STEPS))
            now.say(f"{arm['name']}: {size:,} training texts, {steps:,} steps")
            name = f"{arm['stem']}-of-{size}"
            measured = [split for split in ("validation", "test") if split in whole.encoded]
            try:
                result = _run(now, config, some, name, arm["learning_rate"], steps, steps, measured=measured)
            except HeedError as error:
                now.say(f"{arm['name']}: {size:,} training texts could not be learned: {error}")
                continue
            if now.stopped:
                return False
            figures = {split: result.get(split) for split in ("validation", "test")}
            put_size(now.record, {"arm": arm["name"], "examples": size, "seed": plan.seeds[0], **figures})
            now.write()
    return True


def _key(config: TuneConfig, material: Material) -> str:
    """Return what a run's result depends on, as a hash; where it is written and on how many threads do not count."""
    values = config.model_dump()
    values["run"] = {"seed": config.run.seed, "device": config.run.device}
    parts_ = [values, material.splits.fingerprint, len(material.encoded["train"]), material.sha256]
    return hashlib.sha256(json.dumps(parts_, sort_keys=True).encode()).hexdigest()


def formula(name: str) -> str:
    """Return how the trained parameters of a method are counted.

    >>> formula("bitfit+head")
    'the lengths of all biases + head'
    """
    found = [part.formula for part in parts(name) if part.formula != "nothing"]
    return " + ".join([*found, "head"])


def options(config: TuneConfig) -> dict[str, Any]:
    """Return the settings that the methods of a run read."""
    read = {setting for part in parts(config.method.name) for setting in part.reads}
    return {name: value for name, value in config.method.model_dump().items() if name in read}


__all__ = ["Plan", "formula", "open_labelled_splits", "options", "tune"]
