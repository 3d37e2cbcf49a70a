"""The settings that a run folder holds in config.yaml: those that its checkpoints were trained with, or none at all.

See `heed.records.checkpoints` for what is held against what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from heed.config import Config, make_config, overlay
from heed.errors import CheckpointError, ConfigError
from heed.records.checkpoints import CONFIG, read_config, refuse_edited
from heed.records.folder import is_run
from heed.records.run import ENVIRONMENT


def read_settings(path: Path, verb: str) -> dict[str, Any]:
    """Return the values in a run folder's config.yaml. Raises `CheckpointError` when there is none."""
    if not is_run(path):
        what = "is a file" if path.is_file() else "does not exist"
        gone = next((name for name in (CONFIG, ENVIRONMENT) if not (path / name).is_file()), "")
        what = f"holds no run (no {gone})" if path.is_dir() else what
        if path.parts and path.parts[0].startswith("hf:"):
            raise CheckpointError(f"{path} is no run of heed yet: heed import {path} makes one of it")
        raise CheckpointError(f"{path} {what}: give a folder that `{verb}` wrote")
    values, altered = read_config(path)
    if not isinstance(values.get("run"), dict):  # the last section of all kinds
        raise CheckpointError(f"{path / CONFIG} is empty or cut off: bring it back, it is part of the run")
    refuse_edited(path, values, altered)
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
    if config.changed("train", trackers=()) != after.changed("train", trackers=()):
        say("note: settings were changed, so this is no longer the run that was begun")
    return after
