"""Checkpoints: a folder a step, which is either whole or not there.

    checkpoints/
      best.json                  {"step": 500, "loss": 1.53}: the lowest validation loss so far
      step-00000500/
        model.safetensors        parameters and buffers by name, a shared tensor once
        optimizer.safetensors    optimizer/<parameter>/<key>, streams/<name>
        state.json               step, scalars, the place in the data, SHA-256 of the two files and of itself

It is written aside under another name, synced to the disk, and renamed: a process killed at any moment leaves the last
checkpoint whole. Reading checks every hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from heed.errors import CheckpointError

FORMAT = 1
"""Raised when a new heed writes what an old one cannot read."""
MODEL, OPTIMIZER, STATE, BEST = "model.safetensors", "optimizer.safetensors", "state.json", "best.json"
_ASIDE = "writing-"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds, read and checked."""

    path: Path
    step: int
    model: dict[str, Tensor]
    """Parameters and buffers by name, shared ones under each of their names."""
    tensors: dict[str, Tensor]
    """Optimizer and random streams, as `save_checkpoint` was given them."""
    state: dict[str, Any]
    """Plain values, as `save_checkpoint` was given them."""


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, tensors: Mapping[str, Tensor], state: Mapping[str, Any]
) -> Path:
    """Write `folder/step-00000500` and return it; an older one of the same step is replaced.

    Raises `CheckpointError` when the disk is full or refuses; earlier checkpoints are untouched then, and nothing is
    left of this one.
    """
    aside = folder / f"{_ASIDE}{step_name(step)}"
    path = folder / step_name(step)
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        weights, shared = unique_tensors(model)
        save_file(weights, aside / MODEL)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside / OPTIMIZER)
        content = json.loads(  # through JSON before it is hashed, as it will be read
            json.dumps(
                {
                    "format": FORMAT,
                    "step": step,
                    "sha256": {name: _sync_and_hash(aside / name) for name in (MODEL, OPTIMIZER)},
                    "shared": shared,
                    "state": dict(state),
                }
            )
        )
        _write_json(aside / STATE, {**content, "self": _hash_json(content)})
        _sync_folder(aside)
        if path.exists():
            shutil.rmtree(path)
        os.replace(aside, path)
        _sync_folder(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        last = latest_step(folder)
        kept = f"checkpoint {step_name(last)} is whole" if last is not None else "there is no earlier checkpoint"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CheckpointError(
            f"checkpoint {step_name(step)} could not be written to {folder}: {reason}; {kept}; "
            "make room and go on from there"
        ) from error
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder and check every hash.

    Raises `CheckpointError` when a file is missing, cut off or altered; it names the last good checkpoint beside it.
    """
    problem = find_damage(path)
    if problem is not None:
        raise CheckpointError(f"checkpoint {path.name} cannot be used: {problem}; {_instead(path)}")
    content = _read_state(path)
    model = load_file(path / MODEL)
    model |= {name: model[first] for name, first in content["shared"].items()}
    return Checkpoint(path, content["step"], model, load_file(path / OPTIMIZER), content["state"])


def find_damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint folder, or None when it is whole and unaltered."""
    if not path.is_dir():
        return "there is no such folder"
    try:
        content = _read_state(path)
        if content.get("self") != _hash_json({key: value for key, value in content.items() if key != "self"}):
            return f"{STATE} has been altered"
        if content["format"] != FORMAT:
            return f"it has format {content['format']}, and this heed reads {FORMAT}"
        for name, expected in content["sha256"].items():
            if _hash_file(path / name) != expected:
                return f"{name} is cut off or has been altered (its SHA-256 differs)"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{STATE} is cut off or has been altered"
    return None


def unique_tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the state dictionary with each tensor once, and {other name: first name} of those that are shared."""
    unique: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    first_name: dict[tuple, str] = {}
    for name, tensor in model.state_dict().items():
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in first_name:
            shared[name] = first_name[place]
        else:
            first_name[place] = name
            whole = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
            unique[name] = tensor if whole else tensor.contiguous().clone()  # safetensors takes no views
    return unique, shared


def step_name(step: int) -> str:
    """Return the name of a checkpoint folder.

    >>> step_name(500)
    'step-00000500'
    """
    return f"step-{step:08d}"


def saved_steps(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in `folder`, in order."""
    names = (path.name.removeprefix("step-") for path in folder.glob("step-*") if path.is_dir())
    return sorted(int(name) for name in names if name.isdigit())


def latest_step(folder: Path) -> int | None:
    """Return the step of the last checkpoint, or None."""
    return next(reversed(saved_steps(folder)), None)


def best_step(folder: Path) -> int | None:
    """Return the step of the best checkpoint, or None when nothing was ever evaluated."""
    try:
        return int(json.loads((folder / BEST).read_text(encoding="utf-8"))["step"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / BEST} cannot be read: take --checkpoint last, or a step") from error


def mark_best(folder: Path, step: int | None, loss: float | None) -> None:
    """Write which checkpoint is the best one, whole or not at all; None takes the mark away."""
    if step is None:
        (folder / BEST).unlink(missing_ok=True)
        return
    aside = folder / f"{_ASIDE}{BEST}"
    try:
        _write_json(aside, {"step": step, "loss": loss})
        os.replace(aside, folder / BEST)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise CheckpointError(f"{folder / BEST} could not be written: {error.strerror}; make room first") from error


def prune(folder: Path, keep_last: int) -> None:
    """Delete all but the last `keep_last` checkpoints and the best one, and what a killed process left aside."""
    best = best_step(folder)
    for step in saved_steps(folder)[:-keep_last]:
        if step != best:
            shutil.rmtree(folder / step_name(step))
    for left in folder.glob(f"{_ASIDE}*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def find_checkpoint(folder: Path, which: str | int) -> Path:
    """Return the folder of the checkpoint `which`: "best", "last" or a step.

    "best" is the last one when nothing was evaluated. Raises `CheckpointError` when it is not there.
    """
    steps = saved_steps(folder)
    if not steps:
        raise CheckpointError(f"{folder.parent} has no checkpoint yet: train it first, or go on with --resume")
    if which == "last":
        return folder / step_name(steps[-1])
    if which == "best":
        best = best_step(folder)
        which = steps[-1] if best is None else best
    if which not in steps:
        there = ", ".join(str(step) for step in steps)
        raise CheckpointError(f"{folder.parent} has no checkpoint {which!r}: choose best, last or one of {there}")
    return folder / step_name(int(which))


def _instead(path: Path) -> str:
    """Name the last checkpoint beside `path` that is whole, and how to take it."""
    for step in reversed(saved_steps(path.parent)):
        other = path.parent / step_name(step)
        if other != path and find_damage(other) is None:
            return f"the last good one is {other.name}: delete {path.name} to go on from there"
    return "there is no other good one: train again with --overwrite"


def _read_state(path: Path) -> dict[str, Any]:
    return json.loads((path / STATE).read_text(encoding="utf-8"))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _hash_json(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_and_hash(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(path: Path) -> None:
    """Make the names in a folder durable, not only the files' contents."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
