"""The settings that a run folder holds in config.yaml: those that its checkpoints were trained with, or none at all.

Each checkpoint has the settings of its run in its state. What a figure depends on (model, tokenizer, data, the seed)
must be the same in config.yaml. How the training goes on (`train`) may be other than in the last checkpoint, since a
run may have been resumed with other settings, but only as heed wrote it (see `heed.seals`). Where a run is written and
how many threads it takes change no figure. Values count, comments and order do not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from heed import seals
from heed.config import Config, make_config, overlay, read_yaml
from heed.errors import CheckpointError, ConfigError, why
from heed.records.run import ENVIRONMENT
from heed.report.record import flatten
from heed.training.checkpoint import saved_states

CONFIG, CHECKPOINTS = "config.yaml", "checkpoints"


def is_run(path: Path) -> bool:
    """Whether a folder is a run's: it has the config and the environment that `Run.create` writes."""
    return (path / CONFIG).is_file() and (path / ENVIRONMENT).is_file()


def read_settings(path: Path, verb: str) -> dict[str, Any]:
    """Return the values in a run folder's config.yaml. Raises `CheckpointError` when there is none."""
    if not is_run(path):
        what = "is a file" if path.is_file() else "does not exist"
        gone = next((name for name in (CONFIG, ENVIRONMENT) if not (path / name).is_file()), "")
        what = f"holds no run (no {gone})" if path.is_dir() else what
        if path.parts and path.parts[0].startswith("hf:"):
            raise CheckpointError(f"{path} is no run of heed yet: heed import {path} makes one of it")
        raise CheckpointError(f"{path} {what}: give a folder that `{verb}` wrote")
    altered = None
    try:
        seals.read_bytes(path / CONFIG)
    except CheckpointError as error:
        altered = error
    except OSError as error:
        raise CheckpointError(f"{path / CONFIG} cannot be read: {why(error)}; it is part of the run") from error
    values = read_yaml(path / CONFIG)
    if not isinstance(values.get("run"), dict):  # the last section of all kinds
        raise CheckpointError(f"{path / CONFIG} is empty or cut off: bring it back, it is part of the run")
    _refuse_edited(path, values, altered)
    return values


def settings_to_go_on(config: Config, settings: Mapping[str, Any], say: Callable[[str], object]) -> Config:
    """Return the configuration of a run that goes on with new settings. Raises `ConfigError` for one that may not."""
    after = make_config(overlay(config.model_dump(), settings))
    for section in ("data", "tokenizer", "model"):
        if getattr(config, section) != getattr(after, section):
            raise ConfigError(f"{section}: a run that goes on keeps its {section}; begin another with --run.name")
    if after.train.batch_size == "auto":
        raise ConfigError("train.batch_size: auto is for a new run; give a number to go on with")
    if after.train.optimizer != config.train.optimizer:
        raise ConfigError(f"train.optimizer: a run that goes on keeps its {config.train.optimizer}")
    if config.run.model_copy(update={"device": after.run.device, "threads": after.run.threads}) != after.run:
        raise ConfigError("run: a run that goes on keeps its name, folder and seed; only device and threads may change")
    if config != after:
        say("note: settings were changed, so this is no longer the run that was begun")
    return after


def _refuse_edited(path: Path, values: Mapping[str, Any], altered: CheckpointError | None) -> None:
    """Raise `CheckpointError` where a config.yaml is not that of its checkpoints, with what differs.

    How the training goes on may be other than in the last checkpoint, but only as heed wrote it (`altered`: it is not).
    """
    settings = next(saved_states(path / CHECKPOINTS), {}).get("settings")
    if settings is None:
        if altered is not None:
            raise altered
        return
    trained, now = dict(flatten(settings)), dict(flatten(json.loads(json.dumps(values, default=str))))
    free = ("run.",) if altered is not None else ("run.", "train.")
    names = trained if altered is None else {**trained, **now}  # a later heed writes settings that did not exist
    bound = [name for name in names if name == "run.seed" or not name.startswith(free)]
    odd = [name for name in bound if now.get(name, KeyError) != trained.get(name, KeyError)]
    if odd:
        name, more = odd[0], f" ({len(odd) - 1} more differ)" if len(odd) > 1 else ""
        there, then = (values.get(name, "missing") for values in (now, trained))
        elsewhere = f"heed train --resume {path} --{name.replace('_', '-')} ..."
        raise CheckpointError(
            f"{path / CONFIG}: {name} is {there}, and the run was trained with {then}{more}: put it back, or "
            + (f"change it with {elsewhere}" if name.startswith("train.") else "train another run with it")
        )
