"""Checkpoints: a folder a step, which is either whole or not there.

    checkpoints/
      best.json                  {"step": 500, "loss": 1.53}: the lowest validation loss so far
      step-00000500/
        model.safetensors        parameters and buffers by name, a shared tensor once
        optimizer.safetensors    optimizer/<parameter>/<key>, streams/<name>
        state.json               step, scalars, the place in the data, SHA-256 of the two files and of itself

It is written aside, synced to the disk, and renamed (see `heed.files`): a process killed at any moment leaves the last
checkpoint whole. Reading checks every hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from heed import files
from heed.errors import CheckpointError, why
from heed.records.checkpoints import (
    BEST,
    STATE,
    best_step,
    hash_state,
    latest_step,
    read_state,
    saved_steps,
    step_name,
)

FORMAT = 1
"""Raised when a new heed writes what an old one cannot read."""
MODEL, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
ALTERED = f"{STATE} has been altered"


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
    path = folder / step_name(step)
    try:
        with files.aside_folder(path) as aside:
            weights, shared = unique_tensors(model)
            save_file(weights, aside / MODEL)
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside / OPTIMIZER)
            content = json.loads(  # through JSON before it is hashed, as it will be read
                json.dumps(
                    {
                        "format": FORMAT,
                        "step": step,
                        "sha256": {name: files.sha256(aside / name) for name in (MODEL, OPTIMIZER)},
                        "shared": shared,
                        "state": dict(state),
                    }
                )
            )
            files.write_json(aside / STATE, {**content, "self": hash_state(content)})
    except (OSError, SafetensorError) as error:
        last = latest_step(folder)
        kept = f"checkpoint {step_name(last)} is whole" if last is not None else "there is no earlier one"
        onward = "go on from there" if last is not None else "begin again with --resume"
        raise CheckpointError(
            f"checkpoint {step_name(step)} could not be written to {folder}: {why(error)}; {kept}; "
            f"make room and {onward}"
        ) from error
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder and check every hash.

    Raises `CheckpointError` when a file is missing, cut off or altered; it names the last good checkpoint beside it.
    What the system does not let us read may be whole: nothing is advised then that would destroy it.
    """
    try:
        problem = find_damage(path)
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or path} cannot be read: {why(error)}; ask its owner, or try again where the disk failed"
        ) from error
    if problem is not None:
        raise CheckpointError(f"checkpoint {path.name} cannot be used: {problem}; {_instead(path)}")
    content = read_state(path)
    model = load_file(path / MODEL)
    try:
        model |= {name: model[first] for name, first in content["shared"].items()}
    except (KeyError, TypeError):
        raise CheckpointError(f"checkpoint {path.name} cannot be used: {ALTERED}; {_instead(path)}") from None
    return Checkpoint(path, content["step"], model, load_file(path / OPTIMIZER), content["state"])


def find_damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint folder, or None when it is whole and unaltered.

    Raises `OSError` where that cannot be told, since the system does not let us read it.
    """
    if not path.is_dir():
        return "there is no such folder"
    try:
        content = read_state(path)
        if content.get("self") != hash_state({key: value for key, value in content.items() if key != "self"}):
            return ALTERED
        if content["format"] != FORMAT:
            return f"it has format {content['format']}, and this heed reads {FORMAT}"
        if step_name(content["step"]) != path.name:
            return f"{STATE} is of step {content['step']}"
        if not all(isinstance(content[name], dict) for name in ("state", "shared")):
            return ALTERED
        for name in (MODEL, OPTIMIZER):
            if files.sha256(path / name) != content["sha256"][name]:
                return f"{name} is cut off or has been altered (its SHA-256 differs)"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
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


def mark_best(folder: Path, step: int | None, loss: float | None) -> None:
    """Write which checkpoint is the best one, whole or not at all; None takes the mark away."""
    if step is None:
        (folder / BEST).unlink(missing_ok=True)
        return
    try:
        files.write_json(folder / BEST, {"step": step, "loss": loss})
    except OSError as error:
        raise CheckpointError(f"{folder / BEST} could not be written: {why(error)}; make room first") from error


def find_checkpoint(folder: Path, which: str | int) -> Path:
    """Return the folder of the checkpoint `which`: "best", "last" or a step, such as 500 or "500".

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
    elif isinstance(which, str) and which.isdecimal():
        which = int(which)
    if which not in steps:
        there = ", ".join(str(step) for step in steps)
        raise CheckpointError(f"{folder.parent} has no checkpoint {which!r}: choose best, last or one of {there}")
    return folder / step_name(int(which))


def _instead(path: Path) -> str:
    """Name the last checkpoint beside `path` that is whole, and how to take it."""
    for step in reversed(saved_steps(path.parent)):
        other = path.parent / step_name(step)
        try:
            good = other != path and find_damage(other) is None
        except OSError as error:
            return f"and {other.name} beside it cannot be read: {why(error)}"
        if good:
            return f"the last good one is {other.name}: delete {path.name} to go on from there"
    return "there is no other good one: train again with --overwrite"
