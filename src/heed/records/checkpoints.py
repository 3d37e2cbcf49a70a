"""What the checkpoints of a run say of it, without torch: `state.json` of each, and `config.yaml` held against it.

    checkpoints/step-00000500/state.json    {"step": 500, "state": {"settings": ..., ...}, "self": SHA-256 of the rest}

Each checkpoint has the settings of its run. What a figure depends on (model, tokenizer, data, the seed) must be the
same in config.yaml. How the training goes on (`train`) may be other than in the last checkpoint, since a run may have
been resumed with other settings, but only as heed wrote it (see `heed.seals`). Where a run is written and how many
threads it takes change no figure. Values count, comments and order do not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from heed import files, seals
from heed.config import flatten, read_own_yaml, read_yaml
from heed.errors import CheckpointError, why
from heed.records.events import Event, ResumeEvent

CONFIG, CHECKPOINTS, STATE, BEST = "config.yaml", "checkpoints", "state.json", "best.json"


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


def saved_states(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the plain values of each checkpoint whose state is as it was written, the last one first."""
    for step in reversed(saved_steps(folder)):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            content = read_state(folder / step_name(step))
            if content.pop("self") == hash_state(content):
                yield dict(content["state"])


def read_state(path: Path) -> dict[str, Any]:
    """Return what state.json of a checkpoint holds, unchecked. Raises `OSError` and `ValueError`."""
    with files.open_plain(path / STATE) as file:
        return json.loads(file.read())


def hash_state(content: Mapping[str, Any]) -> str:
    """Return the hash of a state without its own."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def latest_step(folder: Path) -> int | None:
    """Return the step of the last checkpoint, or None."""
    return next(reversed(saved_steps(folder)), None)


def best_step(folder: Path) -> int | None:
    """Return the step of the best checkpoint, or None when nothing was ever evaluated.

    Raises `CheckpointError` where the mark cannot be read, or is of no checkpoint here: each has in its state which one
    was the best when it was written.
    """
    try:
        found = json.loads((folder / BEST).read_text(encoding="utf-8"))
        mark = found["step"], found["loss"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder / BEST} cannot be read: take --checkpoint last, or a step") from error
    counted = [found for state in saved_states(folder) if isinstance(found := state.get("counters"), dict)]
    marks = [(counters.get("best_step"), counters.get("best_loss")) for counters in counted]
    known = 0 < len(marks) == len(saved_steps(folder))  # else a damaged one may have been of this mark
    if type(mark[0]) is not int or (known and mark not in marks):
        raise CheckpointError(f"{folder / BEST} is not as heed wrote it: take --checkpoint last, or a step")
    return mark[0]


def prune(folder: Path, keep_last: int) -> None:
    """Delete all but the last `keep_last` checkpoints and the best one, and what a killed process left aside."""
    best = best_step(folder)
    for step in saved_steps(folder)[:-keep_last]:
        if step != best:
            files.remove(folder / step_name(step))
    for left in folder.glob("writing-*"):  # the name that older versions wrote aside under
        files.remove(left)
    files.sweep(folder)


def read_config(run: Path) -> tuple[dict[str, Any], CheckpointError | None]:
    """Return what config.yaml of a run says, and the error where it is not as heed wrote it."""
    altered = None
    try:
        seals.read_bytes(run / CONFIG)
    except CheckpointError as error:
        altered = error
    except OSError as error:
        raise CheckpointError(f"{run / CONFIG} cannot be read: {why(error)}; it is part of the run") from error
    known = altered is None and seals.knows(run / CONFIG)
    return (read_own_yaml if known else read_yaml)(run / CONFIG), altered


def refuse_edited(run: Path, values: Mapping[str, Any], altered: CheckpointError | None) -> None:
    """Raise `CheckpointError` where a config.yaml (`read_config`) is not that of its checkpoints, with what differs."""
    settings = next(saved_states(run / CHECKPOINTS), {}).get("settings")
    if settings is None:
        if altered is not None:
            raise altered
        return
    if settings == values:
        return
    free = ("run.",) if altered is not None else ("run.", "train.")
    odd = _differences(settings, values, free, both=altered is None)  # a later heed writes settings that did not exist
    if odd:
        name, more = next(iter(odd)), f" ({len(odd) - 1} more differ)" if len(odd) > 1 else ""
        elsewhere = f"heed train --resume {run} --{name.replace('_', '-')} ..."
        raise CheckpointError(
            f"{run / CONFIG}: {_said(odd, name)}{more}: put it back, or "
            + (f"change it with {elsewhere}" if name.startswith("train.") else "train another run with it")
        )


def unexplained(run: Path, values: Mapping[str, Any], events: Iterable[Event]) -> list[str]:
    """Return a sentence for each setting of `train` that is not as in the last checkpoint, and that no event changed.

    Where hashes.json is gone, nothing else tells of such an edit.
    """
    settings = next(saved_states(run / CHECKPOINTS), {}).get("settings")
    if settings is None:
        return []
    changed = {name for event in events if isinstance(event, ResumeEvent) for name in event.changed or ()}
    odd = _differences({"train": settings["train"]}, {"train": values.get("train")}, (), both=False)
    return [f"{CONFIG}: {_said(odd, name)}." for name in odd if name not in changed]


def _differences(
    trained: Mapping[str, Any], now: Mapping[str, Any], free: tuple[str, ...], *, both: bool
) -> dict[str, tuple[Any, Any]]:
    """Return {setting: (now, when trained)} of those that differ and are not `free`; those of `now` alone with both."""
    before, after = dict(flatten(trained)), dict(flatten(json.loads(json.dumps(now, default=str))))
    names = {**before, **after} if both else before
    bound = [name for name in names if name == "run.seed" or not name.startswith(free or "\0")]
    return {
        name: (after.get(name, "missing"), before.get(name, "missing"))
        for name in bound
        if after.get(name, KeyError) != before.get(name, KeyError)
    }


def _said(odd: Mapping[str, tuple[Any, Any]], name: str) -> str:
    there, then = odd[name]
    return f"{name} is {there}, and the run was trained with {then}"
