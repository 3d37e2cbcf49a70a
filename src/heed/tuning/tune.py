"""Which fine-tuning for these texts? Every method at its own rate, over seeds, on the same texts and the same budget.

    arm = encoder x method ──search of the rate, on validation, a part of the budget──> seeds ──best weights──> test

What is known is written to `tune.json` after every run, and a finished run is never made again: the same command goes
on where it was stopped. An arm that fails or does not fit is a result, and the others go on. The test split is read
once a run, by the best weights of the chosen rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from heed.config.tuning import TuneConfig
from heed.errors import HeedError
from heed.files import working_in
from heed.text.splits import Splits
from heed.text.splits_report import describe, describe_lines
from heed.training.devices import choose_device, describe_device, machine_facts, take_threads
from heed.training.progress import Progress
from heed.tuning.batch_size import settle_batch
from heed.tuning.encoders import load_encoder
from heed.tuning.memory import measure_memory
from heed.tuning.methods import frozen_features, parts
from heed.tuning.once import run_once
from heed.tuning.plan import Plan, Say, Tuning, arm_config, check_methods, open_labelled_splits
from heed.tuning.reading import describe_reading, reading_lines
from heed.tuning.record import (
    Pair,
    begin_arm,
    clear,
    is_half_cleared,
    join,
    keep_runs,
    name_arms,
    new_arm,
    pair_of,
    put_run,
    put_size,
    read_record,
    settings_of,
)
from heed.tuning.run import Material, build, changed, steps_per_epoch
from heed.tuning.search import Candidate, at_an_end, candidates, search_rates
from heed.tuning.soup import add_soup, soups

SHARE = 0.25
"""The part of a run that a rate is tried for."""
LEAST_STEPS = 100
"""Steps on a part of the texts, at least, where the whole has so many: few texts need more passes."""


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
    take_threads(plan.config.run.threads)
    check_methods(plan)
    with working_in(folder, f"tuning in {folder}", "choose another --out"):
        return _tune(plan, folder, say, progress, overwrite or is_half_cleared(folder))


def _tune(plan: Plan, folder: Path, say: Say, progress: Callable[[int], Progress] | None, overwrite: bool) -> bool:
    """Tune every arm in a folder that no other process is at."""
    splits = open_labelled_splits(plan.config)
    earlier = None if overwrite else read_record(folder)
    plan, largest = settle_batch(plan, splits, earlier, say)
    now = Tuning(plan, folder, say, progress, join(earlier, _begin(plan, splits), folder))
    if largest:
        now.record["largest_batches"] = largest
    for encoder in plan.encoders:  # what cannot be had, or cannot read these texts, is told before hours of training
        now.materials[encoder] = _read(now, arm_config(plan, Pair(encoder, plan.methods[0])), splits)
        for size in plan.sizes:
            now.materials[encoder].first(size)
    for pair in plan.pairs if plan.config.method.targets else ():  # one that matches nothing is a mistake
        if any("targets" in part.reads for part in parts(pair.method)):
            build(arm_config(plan, pair), splits.classes)
    if overwrite:
        clear(folder)
    for line in describe_lines(now.record["data"]):
        say(line)
    for encoder in plan.encoders:
        facts = now.record["encoders"][encoder]
        for line in reading_lines(encoder, facts["read"], facts["max_length"]):
            say(line)
    say(f"device: {describe_device(choose_device(plan.config.run.device))}")
    now.write()
    done = []
    for pair in plan.pairs:
        done.append(_try_arm(now, pair, splits))
        if now.stopped:
            return False
        add_soup(now, pair)
    if not any(done):
        reasons = [arm["reason"] for arm in now.record["arms"] if arm["reason"]]
        raise HeedError(f"no method could be tuned; {reasons[0]}")
    return _learning_curves(now)


def _try_arm(now: Tuning, pair: Pair, splits: Splits) -> bool:
    """Tune an arm, or write down why it cannot be; whether it is done."""
    arm, earlier = begin_arm(now.record, pair)
    try:
        _tune_arm(now, arm, earlier, splits)
        arm["status"] = "running" if now.stopped else "done"
    except (HeedError, MemoryError, RuntimeError) as error:
        full = _is_out_of_memory(error)
        if not full and (not isinstance(error, HeedError) or "not be written" in str(error)):
            raise  # our own mistake, or a full disk, which is no fault of this arm
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
        "arms": [new_arm(pair, name) for pair, name in name_arms([*plan.pairs, *soups(plan)]).items()],
        "sizes": [],
    }


def _tune_arm(now: Tuning, arm: dict[str, Any], earlier: dict[str, Any], splits: Splits) -> None:
    """Measure memory, search the rate and train every seed of one arm."""
    plan = now.plan
    config = arm_config(plan, pair_of(arm))
    material = now.materials[arm["encoder"]]
    per_epoch = steps_per_epoch(material, config)
    passes = max(part.passes for part in parts(arm["method"])) if frozen_features(arm["method"]) else 1
    tuned, _, learn = build(config, splits.classes)
    arm |= {"trained_parameters": learn, "pooling": "native" if tuned.head is None else "mean"}
    arm |= {"formula": formula(arm["method"]), "options": options(config)}
    now.say(f"{arm['name']}: {learn:,} parameters learn, the encoder has {tuned.shape.parameters:,}")
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
        found |= {"seconds": 0.0, "accuracy": None, "loss": None, "refined_loss": None, "chosen": False}
        try:
            figures = run_once(now, config, material, name, rate, steps, per_epoch, measured=("validation",), last=True)
        except HeedError as error:
            if "NaN or infinite" not in str(error):
                raise
            now.say(f"{arm['name']}: {error}")
        else:
            if now.stopped:
                return found
            found |= {"seconds": figures["seconds"]}
            found |= {name: figures["validation"][name] for name in ("accuracy", "loss", "refined_loss")}
        arm["search"].append(found)
        now.write()
        return found

    grid = candidates(arm["method"], plan.rates, plan.epochs, arm["optimizer"])
    chosen = search_rates(plan.search, grid, plan.trials, attempt, lambda: now.stopped)
    if now.stopped:
        return
    if (end := at_an_end(chosen, grid)) is not None:
        now.say(
            f"note: {arm['name']}: the {end} rate that was tried is the best: --rates with others may find a better"
        )
    for tried in arm["search"]:
        tried["chosen"] = (tried["learning_rate"], tried["epochs"]) == (chosen.rate, chosen.epochs)
    arm |= {"learning_rate": chosen.rate, "epochs": chosen.epochs * passes}
    keep_runs(now.record, arm, earlier, plan.seeds)
    steps = arm["steps"] = chosen.epochs * passes * per_epoch
    now.record["steps"] = now.record["steps"] or chosen.epochs * per_epoch
    measured = tuple(split for split in ("validation", "test") if split in splits.rows)
    for seed in plan.seeds:
        now.say(f"{arm['name']}: seed {seed}, learning rate {chosen.rate:g}, {steps:,} steps")
        own = changed(config, run={"seed": seed})
        name = f"{arm['stem']}-{seed}"
        result = run_once(now, own, material, name, chosen.rate, steps, per_epoch * passes, measured=measured)
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
    given = {split: figures["duplicates"] for split, figures in now.record["data"]["splits"].items()}
    read = {split: describe_reading(texts, encoder, given[split]) for split, texts in material.encoded.items()}
    now.record["encoders"][config.encoder.name]["read"] = read
    now.record["data"]["cut"] = {split: one["cut"] for split, one in read.items()}
    return material


def _learning_curves(now: Tuning) -> bool:
    """Train every finished arm on parts of the texts, with the first seed and the rate that was chosen."""
    plan = now.plan
    for arm in now.record["arms"] if plan.sizes else []:
        if arm["status"] != "done" or pair_of(arm) not in plan.pairs:
            continue
        config = arm_config(plan, pair_of(arm))
        whole = now.materials[arm["encoder"]]
        full = steps_per_epoch(whole, config) * arm["epochs"]
        for size in plan.sizes:
            some = whole.first(size)
            steps = max(steps_per_epoch(some, config) * arm["epochs"], min(full, LEAST_STEPS))
            now.say(f"{arm['name']}: {size:,} training texts, {steps:,} steps")
            name = f"{arm['stem']}-of-{size}"
            measured = [split for split in ("validation", "test") if split in whole.encoded]
            try:
                result = run_once(now, config, some, name, arm["learning_rate"], steps, steps, measured=measured)
            except HeedError as error:
                now.say(f"{arm['name']}: {size:,} training texts could not be learned: {error}")
                continue
            if now.stopped:
                return False
            figures = {split: result.get(split) for split in ("validation", "test")}
            put_size(now.record, {"arm": arm["name"], "examples": size, "seed": plan.seeds[0], **figures})
            now.write()
    return True


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


__all__ = ["Plan", "formula", "options", "tune"]
