"""tune.json: what a tune has found so far, and what of an earlier one in the same folder still holds.

The same command goes on where it was stopped. Another one may add methods, encoders, seeds and sizes to a folder. Texts
and settings must be those of before, since arms that were trained otherwise cannot be compared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from heed import files
from heed.config import NO_FIGURE
from heed.config.tuning import TuneConfig, TuneData
from heed.errors import CheckpointError, ConfigError, why
from heed.records.folder import OWN
from heed.records.kept import DamagedError, read_record
from heed.records.run import ENVIRONMENT
from heed.records.tune import TUNE, SeedRun, SizePoint, TunedArm, TuneFile

CLEARING = ".tune.json.clearing"
LOGS = "records"
"""Folder of what runs in processes of their own say."""


class Pair(NamedTuple):
    """What an arm is: an encoder and a method, the optimizer, and the texts of a step."""

    encoder: str
    method: str
    optimizer: str = ""
    """As `train.optimizer`; empty where all arms have the same."""
    batch_size: int = 0
    """0 where all arms have the same."""


FIRST = frozenset(
    """
    data.source data.text data.pair data.label data.group data.validation data.test data.validation_fraction
    data.test_fraction data.train_examples data.encoding encoder.name encoder.max_length encoder.pooling
    encoder.attention_dropout method.name method.rank method.alpha method.dropout method.targets method.tokens
    class_weights adversarial train.loss train.steps train.seconds train.batch_size train.accumulation train.optimizer
    train.learning_rate train.muon_learning_rate train.beta1 train.beta2 train.weight_decay train.schedule
    train.warmup_steps train.decay_fraction train.final_fraction train.average_fraction train.average_patience
    train.clip train.precision train.compile train.eval_every train.eval_tokens train.final_tokens
    train.checkpoint_every train.keep_last train.patience train.mask_fraction
    """.split()  # noqa: SIM905 - names, not a wall of quotes
)
"""The settings of `TuneConfig` that tell runs apart whatever they are. One that came later counts where it is not the
default, so that what an earlier heed has trained still stands."""


_NOT_SHARED: dict[str, Any] = {"data": True, "run": True, "train": {"trackers"}}


def read_tune(folder: Path) -> TuneFile | None:
    """Return what an earlier tune has found, None where there was none. Raises `CheckpointError` when it is damaged."""
    try:
        return read_record(TuneFile, folder / TUNE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CheckpointError(
            f"{folder / TUNE} cannot be read: {why(error)}; ask its owner, or choose another --out"
        ) from error
    except DamagedError as error:
        raise CheckpointError(f"{error}: choose another --out, or --overwrite what is there") from error
    except ValueError as error:
        raise CheckpointError(
            f"{folder / TUNE} is damaged: choose another --out, or --overwrite what is there"
        ) from error


def settings_of(config: TuneConfig, epochs: Sequence[int], device: str) -> dict[str, Any]:
    """Return the settings that all arms share, as plain values."""
    values = json.loads(config.model_dump_json(exclude=_NOT_SHARED))
    del values["encoder"]["name"], values["method"]["name"]
    return values | {"epochs": list(epochs), "device": device}


def name_arms(pairs: Iterable[Pair]) -> dict[Pair, str]:
    """Return the name of each arm: its method; its encoder, optimizer and batch size where there are several.

    Raises `ConfigError` when two encoders have one name.

    >>> list(name_arms([Pair("minilm", "lora"), Pair("models/tiny/", "lora")]).values())
    ['minilm / lora', 'tiny / lora']
    >>> list(name_arms([Pair("minilm", "lora", "adamw", 16), Pair("minilm", "lora", "sgd", 64)]).values())
    ['lora / adamw / batch 16', 'lora / sgd / batch 64']
    """
    found: dict[Pair, str] = {}
    pairs = list(dict.fromkeys(pairs))
    encoders, _, optimizers, sizes = (len(set(values)) > 1 for values in zip(*pairs, strict=True))
    for pair in pairs:
        short = pair.encoder.rstrip("/").rsplit("/", 1)[-1]
        parts = [(short, encoders), (pair.method, True), (pair.optimizer, optimizers)]
        parts.append((f"batch {pair.batch_size}", sizes))
        name = " / ".join(part for part, shown in parts if shown)
        if name in found.values():
            raise ConfigError(f"--encoders: two are called {short!r}: give them folders of different names")
        found[pair] = name
    return found


def join(earlier: TuneFile | None, new: TuneFile, folder: Path) -> TuneFile:
    """Return a new record, of which nothing is done, with all that an earlier one knows.

    Raises `CheckpointError` when the texts or the settings are not those of before.
    """
    if earlier is None:
        return new
    _refuse_others(earlier, new, folder)
    shared = (earlier.settings or new.settings)["train"]
    for arm in earlier.arms:  # of an early heed, which did not say it
        arm.optimizer = arm.optimizer or shared["optimizer"]
        arm.batch_size = arm.batch_size if arm.batch_size is not None else shared["batch_size"]
    known = [pair_of(arm) for arm in earlier.arms]
    names = name_arms([*known, *map(pair_of, new.arms)])
    added = [new_arm(pair, name) for pair, name in names.items() if pair not in known]
    renamed = {arm.name: names[pair_of(arm)] for arm in earlier.arms}
    more = {name: earlier.largest_batches for name in ("largest_batches",) if earlier.largest_batches}
    return new.but(
        **(earlier.model_extra or {}),
        **more,
        seeds=sorted({*earlier.seeds, *new.seeds}),
        encoders=earlier.encoders,
        steps=earlier.steps,
        arms=[*(arm.but(name=renamed[arm.name]) for arm in earlier.arms), *added],
        sizes=[size.but(arm=renamed[size.arm]) for size in earlier.sizes],
    )


def new_arm(pair: Pair, name: str) -> TunedArm:
    """Return an arm of which nothing is known; `stem` begins the names of its runs' folders."""
    stem = "-".join(name.replace("/", " ").replace("+", " and ").split())
    return TunedArm(name=name, **pair._asdict(), stem=stem, status="running", reason=None, search=[], runs=[])


def begin_arm(record: TuneFile, pair: Pair) -> tuple[TunedArm, TunedArm]:
    """Put a new arm in the place of what was known of it before; return both."""
    place, earlier = next((place, arm) for place, arm in enumerate(record.arms) if pair_of(arm) == pair)
    arm = new_arm(pair, earlier.name)
    arm.stem = earlier.stem or arm.stem  # its runs are where they were, whatever its name is by now
    record.arms[place] = arm
    return arm, earlier


def keep_runs(record: TuneFile, arm: TunedArm, earlier: TunedArm, seeds: Sequence[int]) -> None:
    """Keep an arm's earlier runs beside `seeds`, and its learning curve, where it learns as before; else drop them."""
    as_before = (arm.learning_rate, arm.epochs) == (earlier.learning_rate, earlier.epochs)
    arm.runs = [run for run in earlier.runs if as_before and run.seed not in seeds]
    record.sizes = [size for size in record.sizes if as_before or size.arm != arm.name]


def put_run(arm: TunedArm, run: SeedRun) -> None:
    """Put a run in its place by seed."""
    arm.runs = sorted([*arm.runs, run], key=lambda one: one.seed)


def put_size(record: TuneFile, size: SizePoint) -> None:
    """Put a point of a learning curve in the place of the same one of before."""
    what = lambda one: (one.arm, one.examples, one.seed)
    record.sizes = [*(other for other in record.sizes if what(other) != what(size)), size]


def clear(folder: Path) -> None:
    """Delete what a tune left in a folder, and nothing else; a process that dies over it leaves no tune, and a mark.

    Raises `CheckpointError` when there is something in it, and no tune.
    """
    mark = folder / CLEARING
    if (folder / TUNE).is_file():
        os.replace(folder / TUNE, mark)
    elif not is_half_cleared(folder):
        if files.holds_something(folder, TUNE):
            raise CheckpointError(f"{folder} holds no tune (no {TUNE}): choose another --out, nothing was deleted")
        return
    for run in list((folder / "runs").glob("*")):
        _clear_run(run)
    with suppress(OSError):  # it is not empty, or not there
        (folder / "runs").rmdir()
    for name in ("report.html", "table.md", "table.tex"):
        files.remove(folder / name)
    for path in [*(folder / LOGS).glob("*.json"), *(folder / LOGS).glob("*.log")]:
        files.remove(path)
    with suppress(OSError):  # as above
        (folder / LOGS).rmdir()
    mark.unlink()


def is_half_cleared(folder: Path) -> bool:
    """Whether a process died while it deleted a tune."""
    return (folder / CLEARING).is_file()


def _clear_run(folder: Path) -> None:
    """Delete a run, or where there are files of others in its folder what a tune has written."""
    names = {name for name in os.listdir(folder) if not files.is_left(name)} if folder.is_dir() else {""}
    if names <= {*OWN}:
        files.remove(folder)
    elif ENVIRONMENT in names:
        for name in sorted(OWN, key=lambda name: name == ENVIRONMENT):  # last: it tells that the rest is to go
            files.remove(folder / name)
        files.sweep(folder)


def soup_of(pair: Pair) -> Pair:
    """Return what the mean of the seeds of an arm is called in its place.

    >>> soup_of(Pair("minilm", "mean-full", "adamw", 32))
    Pair(encoder='minilm', method='mean-full soup', optimizer='adamw', batch_size=32)
    """
    return pair._replace(method=f"{pair.method} soup")


def pair_of(arm: TunedArm) -> Pair:
    """Return what an arm of a record is."""
    return Pair(arm.encoder, arm.method, arm.optimizer, arm.batch_size or 0)


def counted(config: TuneConfig) -> dict[str, Any]:
    """Return the settings of a run that tell it apart from others, nested, without `run`."""
    default = dict(_flat(TuneConfig(data=TuneData(source="")).model_dump()))
    found: dict[str, Any] = {}
    for name, value in _flat(config.model_dump()):
        if not name.startswith(("run.", *NO_FIGURE)) and (name in FIRST or value != default.get(name)):
            *sections, last = name.split(".")
            place = found
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = value
    return found


def _refuse_others(earlier: TuneFile, new: TuneFile, folder: Path) -> None:
    """Raise `CheckpointError` that names what is not as before."""
    instead = "choose another --out, or --overwrite what is there"
    if earlier.data.fingerprint != new.data.fingerprint:
        raise CheckpointError(f"{folder} holds a tune of other texts or splits ({earlier.data.name}): {instead}")
    before, now = (dict(_flat(record.settings or new.settings)) for record in (earlier, new))
    later = json.loads(TuneConfig(data=TuneData(source="")).model_dump_json(exclude=_NOT_SHARED))
    usual = dict(_flat(later))  # a setting that an earlier heed did not know was as it is by default
    for name in sorted(before.keys() | now.keys()):
        was, is_ = before.get(name, usual.get(name)), now.get(name, usual.get(name))
        if was != is_:
            values = f"{name} {was}, not {is_}"
            raise CheckpointError(f"{folder} holds a tune with {values}: {instead}")


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names with their values."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
