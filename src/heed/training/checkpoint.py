"""Checkpoints: a folder a step, which is either whole or not there.

    checkpoints/
      best.json                  {"step": 500, "loss": 1.53}: the lowest validation loss so far
      step-00000500/
        model.safetensors        parameters and buffers by name, a shared tensor once
        optimizer.safetensors    optimizer/<parameter>/<key>, streams/<name>
        state.json               step, scalars, the place in the data, SHA-256 of the two files and of itself
      step-00000250/             of several processes with train.shard, until the training ends:
        part-00000-of-00004.safetensors ..    model/<name>, optimizer/<parameter>/<key>: some rows of each, by rank;
                                              the first one also has whatever is not in parts
        state.json               the same, with `parts`: 4

It is written aside, synced to the disk, and renamed (see `heed.files`): a process killed at any moment leaves the last
checkpoint whole. Reading checks every hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
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

FORMAT, IN_PARTS = 1, 2
"""Of a checkpoint in two files, and of one in parts; raised when a new heed writes what an old one cannot read."""
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
    weights, shared = unique_tensors(model)
    return _save(folder, step, weights, shared, tensors, state)


def save_in_parts(
    folder: Path, step: int, shared: Mapping[str, str], state: Mapping[str, Any], write: Callable[[Path], list[str]]
) -> Path:
    """Write `folder/step-00000500` in parts, as `save_checkpoint` does the whole.

    `write` lets every rank write its part (`write_part`) into the folder that it is given, and returns the SHA-256 of
    each; all of them see one file system. `shared` is {other name: first name} of weights with several names.
    """

    def fill(aside: Path) -> dict[str, Any]:
        digests = write(aside)
        names = part_names(len(digests))
        return {"format": IN_PARTS, "parts": len(names), "sha256": dict(zip(names, digests, strict=True))}

    return _write(folder, step, fill, shared, state)


def write_part(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a rank's part, make it durable, and return its SHA-256. Raises `OSError` when the disk is full."""
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    files.sync(path)
    return files.sha256(path)


def part_names(parts: int) -> list[str]:
    """Return the names of the files of a checkpoint in parts.

    >>> part_names(2)
    ['part-00000-of-00002.safetensors', 'part-00001-of-00002.safetensors']
    """
    return [f"part-{part:05d}-of-{parts:05d}.safetensors" for part in range(parts)]


def put_together(path: Path) -> None:
    """Make a checkpoint in parts an ordinary one, in its place; an ordinary one stays. It is whole in memory for that.

    Raises what `load_checkpoint` and `save_checkpoint` raise.
    """
    if not any(path.glob("part-*")):
        return
    saved, shared = load_checkpoint(path), read_state(path)["shared"]
    weights = {name: tensor for name, tensor in saved.model.items() if name not in shared}
    _save(path.parent, saved.step, weights, shared, saved.tensors, saved.state)


def weight_files(path: Path) -> list[Path]:
    """Return the files of a checkpoint that hold its weights."""
    return [path / name for name in _names(read_state(path)) if name != OPTIMIZER]


def weight_digest(path: Path) -> str:
    """Return what tells the weights of a checkpoint from others: the SHA-256 of their file, or of the list of those."""
    known = read_state(path)["sha256"]
    return known[MODEL] if MODEL in known else hash_state(known)


def _save(
    folder: Path, step: int, weights: dict[str, Tensor], shared: Mapping[str, str], tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> Path:  # fmt: skip
    def fill(aside: Path) -> dict[str, Any]:
        save_file(weights, aside / MODEL)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, aside / OPTIMIZER)
        return {"format": FORMAT, "sha256": {name: files.sha256(aside / name) for name in (MODEL, OPTIMIZER)}}

    return _write(folder, step, fill, shared, state)


def _write(
    folder: Path, step: int, fill: Callable[[Path], dict[str, Any]], shared: Mapping[str, str], state: Mapping[str, Any]
) -> Path:
    """Write a checkpoint aside, `fill` its tensors first and state.json last, and put it in its place."""
    path = folder / step_name(step)
    try:
        with files.aside_folder(path) as aside:
            about = fill(aside)
            content = json.loads(  # through JSON before it is hashed, as it will be read
                json.dumps(
                    {"format": about.pop("format"), "step": step} | about | {"shared": shared, "state": dict(state)}
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
    if content["format"] == IN_PARTS:
        model, tensors = _joined([path / name for name in _names(content)])
    else:
        model, tensors = load_file(path / MODEL), load_file(path / OPTIMIZER)
    try:
        model |= {name: model[first] for name, first in content["shared"].items()}
    except (KeyError, TypeError):
        raise CheckpointError(f"checkpoint {path.name} cannot be used: {ALTERED}; {_instead(path)}") from None
    return Checkpoint(path, content["step"], model, tensors, content["state"])


def _joined(parts: Sequence[Path]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights, and the rest, of a checkpoint in parts: the rows of each tensor, rank after rank."""
    rows: dict[str, list[Tensor]] = {}
    for part in parts:
        for name, tensor in load_file(part).items():
            rows.setdefault(name, []).append(tensor)
    whole: dict[str, Tensor] = {}
    for name in list(rows):  # each is let go as it is joined
        some = rows.pop(name)
        whole[name] = some[0] if len(some) == 1 else torch.cat(some)
    weights = {name.removeprefix("model/"): whole.pop(name) for name in list(whole) if name.startswith("model/")}
    return weights, whole


def _names(content: Mapping[str, Any]) -> list[str]:
    """Return the names of the files with the tensors of a checkpoint. Raises `ValueError` where state.json is none."""
    if content["format"] != IN_PARTS:
        return [MODEL, OPTIMIZER]
    if type(parts := content["parts"]) is not int or not 0 < parts == len(content["sha256"]):
        raise ValueError("a number of parts that cannot be")
    return part_names(parts)


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
        if content["format"] not in (FORMAT, IN_PARTS):
            return f"it has format {content['format']}, and this heed reads {FORMAT} and {IN_PARTS}"
        if step_name(content["step"]) != path.name:
            return f"{STATE} is of step {content['step']}"
        if not all(isinstance(content[name], dict) for name in ("state", "shared")):
            return ALTERED
        for name in _names(content):
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
