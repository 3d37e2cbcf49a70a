"""Runs that are deleted, moved, or freed of what nobody needs: first what would go is told, then it is done.

Nothing that runs is touched: each folder is locked while something is done to it. Only what belongs to a run goes
(`heed.records.folder.OWN`, and what processes that died have left); a folder that holds more stays with the rest.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heed import files, seals
from heed.board.finding import FoundFolder
from heed.errors import CheckpointError, DataError, HeedError, why
from heed.records.checkpoints import (
    CHECKPOINTS,
    CONFIG,
    STATE,
    best_step,
    read_config,
    saved_states,
    saved_steps,
    step_name,
)
from heed.records.events import METRICS
from heed.records.folder import OWN, TOKENIZER
from heed.records.run import ENVIRONMENT
from heed.records.study import STUDY
from heed.records.tune import TUNE
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import load_tokenizer

DAY = 86_400
"""Seconds."""
TOKENS = ".tokens"
"""Where the token files of the runs in a folder lie, unless data.cache says otherwise."""


@dataclass
class Tidied:
    """What goes, of one folder."""

    name: str
    paths: list[Path] = field(default_factory=list)
    about: str = ""

    @property
    def bytes(self) -> int:
        """How much that frees."""
        return sum(size_of(path) for path in self.paths)


def size_of(path: Path) -> int:
    """Return the bytes below a path; links count as themselves."""
    found = 0
    with suppress(OSError):
        found = path.lstat().st_size if not path.is_dir() or path.is_symlink() else 0
        if path.is_dir() and not path.is_symlink():
            for below, _, names in os.walk(path):
                for name in names:
                    with suppress(OSError):
                        found += os.lstat(os.path.join(below, name)).st_size
    return found


def refuse_running(folder: Path) -> None:
    """Raise `CheckpointError` where a process is at a run."""
    if files.is_held(folder / files.LOCK):
        raise CheckpointError(f"{folder} is running: end it first (Ctrl-C in its terminal, or heed jobs cancel)")


def owner_of(folder: Path) -> Path | None:
    """Return the study or tune that a run is a part of, None where it stands alone."""
    for above in folder.resolve().parents:
        if any((above / name).is_file() for name in (STUDY, TUNE)):
            return above
    return None


def refuse_parts(folder: Path) -> None:
    """Raise `CheckpointError` for a run of a study or tune, whose record names it."""
    owner = owner_of(folder)
    if owner is not None:
        raise CheckpointError(
            f"{folder} is a run of {owner}, which would name what is gone: move or delete {owner} as a whole"
        )


def dependents(folder: Path, runs: Sequence[FoundFolder]) -> list[str]:
    """Return the names of the runs that began with the weights of a run."""
    found = []
    for run in runs:
        with suppress(HeedError, OSError):
            model = read_config(run.path)[0].get("model")
            start = model.get("start_from") if isinstance(model, Mapping) else None
            if isinstance(start, str) and os.path.realpath(start) == os.path.realpath(folder):
                found.append(run.name)
    return found


def plan_removal(run: FoundFolder) -> Tidied:
    """Return what of a run would be deleted. Raises `CheckpointError` where it runs, or is a part of something."""
    refuse_running(run.path)
    refuse_parts(run.path)
    own = _planned(run)
    others = sorted({*os.listdir(run.path)} - {path.name for path in own} - {files.LOCK})
    kept = f"; what is not heed's stays: {', '.join(others[:3])}{' and more' * (len(others) > 3)}" if others else ""
    return Tidied(run.name, own, f"the whole run{kept}")


def remove_run(run: FoundFolder) -> None:
    """Delete a run; one that is stopped in the middle can be deleted again."""
    with _alone(run.path, "deleting"):
        plan = [path.name for path in _planned(run)]
        # what tells that it is a run goes last
        last = [name for name in (ENVIRONMENT, CONFIG) if name in plan]
        for name in [*(name for name in plan if name not in last), *last]:
            files.remove(run.path / name)
    with suppress(OSError):
        run.path.rmdir()


def _planned(run: FoundFolder) -> list[Path]:
    names = sorted(os.listdir(run.path))
    return [run.path / n for n in names if n in OWN or (files.is_left(n) and n != files.LOCK)]


def _alone(folder: Path, doing: str) -> Any:
    return files.locked(folder / files.LOCK, f"{doing} {folder}")


def move_run(run: FoundFolder, target: Path) -> Path:
    """Move a run to another name or into a folder; return where it is now.

    Raises `CheckpointError` where it runs, is a part of a study, where there is something at the target, and where the
    target is on another disk.
    """
    refuse_running(run.path)
    refuse_parts(run.path)
    place = target / run.path.resolve().name if target.is_dir() else target
    if os.path.lexists(place):
        raise CheckpointError(f"{place} is there already: choose another name")
    if place.resolve().is_relative_to(run.path.resolve()):
        raise CheckpointError(f"{place} lies in the run itself: choose another place")
    home = _home(run.path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(run.path, "moving"):
            files.relocate(run.path, place)
            if home is not None:  # relative sources are found as before
                content = seals.read_json(place / ENVIRONMENT)
                content["began_in"] = Path(os.path.relpath(home, place.resolve())).as_posix()
                seals.write_json(place / ENVIRONMENT, content)
            (place / files.LOCK).unlink(missing_ok=True)  # it has come along, and whoever waits for it looks again
    except OSError as error:
        raise CheckpointError(f"{run.path} cannot be moved to {place}: {why(error)}; choose another place") from error
    return place


def _home(run: Path) -> Path | None:
    """Return the folder in which a run was begun, where it is noted as seen from the run."""
    try:
        began_in = seals.read_json(run / ENVIRONMENT).get("began_in")
    except (OSError, ValueError, AttributeError, CheckpointError):  # damaged: it stays as it is
        return None
    seen = isinstance(began_in, str) and not Path(began_in).is_absolute()
    return (run.resolve() / began_in).resolve() if seen else None


def plan_cleaning(runs: Sequence[FoundFolder], roots: Sequence[Path]) -> Iterator[Tidied]:
    """Yield what nobody needs: checkpoints beyond the best and the last, what processes that died have left, and token
    files of tokenizers that no run has."""
    for run in runs:
        if files.is_held(run.path / files.LOCK):
            continue
        spare = spare_checkpoints(run.path)
        if spare:
            yield Tidied(run.name, spare, f"{len(spare)} checkpoints beyond the best and the last")
        left = [*_left(run.path), *_left(run.path / CHECKPOINTS)]
        if left:
            yield Tidied(run.name, left, "what a process that died has left")
    folders = {path for root in roots for path in _folders(root, {run.path for run in runs})}
    for folder in sorted(folders):
        if left := _left(folder):
            yield Tidied(folder.as_posix(), left, "what a process that died has left")
        if unnamed := spare_tokens(folder, runs):
            yield Tidied((folder / TOKENS).as_posix(), unnamed, "token files of tokenizers that no run has")


def spare_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a run beyond the best and the last; none where it is not sure which is the best."""
    place = folder / CHECKPOINTS
    steps = saved_steps(place)
    try:
        best = best_step(place)
    except CheckpointError:
        return []
    marked = {c.get("best_step") for s in saved_states(place) if isinstance(c := s.get("counters"), Mapping)} - {None}
    if (best is None and marked) or (best is not None and best not in steps):
        return []
    spare = [place / step_name(step) for step in steps[:-1] if step != best]
    return [path for path in spare if (path / STATE).exists()]


def spare_tokens(folder: Path, runs: Sequence[FoundFolder]) -> list[Path]:
    """Return the token files beside runs whose tokenizer no run has.

    None while a run there goes on, and none where the tokenizer of a run cannot be read, since that may be it.
    """
    place = folder / TOKENS
    if not place.is_dir() or any(files.is_held(run.path / files.LOCK) for run in runs):
        return []
    try:
        known = {load_tokenizer(run.path).hash for run in runs if (run.path / TOKENIZER).is_file()}
    except (HeedError, OSError, ValueError):
        return []
    found = []
    for path in sorted(place.iterdir()):
        with suppress(HeedError, OSError, json.JSONDecodeError):
            if path.is_file() and TokenFile.open(path).header.get("tokenizer_hash") not in known:
                found.append(path)
    return found


def clean(tidied: Tidied, runs: Sequence[FoundFolder]) -> None:
    """Delete what was planned. Raises `CheckpointError` where a process has begun to work there meanwhile."""
    run = next((run for run in runs if run.name == tidied.name), None)
    if run is None:
        for path in tidied.paths:
            files.remove(path)
        return
    with _alone(run.path, "tidying"):
        for path in tidied.paths:
            files.remove(path)


def _left(folder: Path) -> list[Path]:
    """Return what processes that died have left in a folder.

    What another one holds is not theirs, and a folder that is on its way may be somebody's until nothing has moved in
    it for a day.
    """
    if not folder.is_dir():
        return []
    found = []
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if not files.is_left(name) or name.endswith(files.LOCK):
            continue
        fresh = path.is_dir() and name.endswith(files.WRITING) and time.time() - path.stat().st_mtime < DAY
        if not fresh and not (path.is_file() and files.is_held(path)):
            found.append(path)
    return found


def _folders(root: Path, runs: set[Path]) -> Iterator[Path]:
    """Yield a folder and those below it that are no runs; links are not followed."""
    if root in runs:
        return
    yield root
    with suppress(OSError):
        for entry in os.scandir(root):
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _folders(root / entry.name, runs)


def named_runs(names: Sequence[str]) -> list[FoundFolder]:
    """Return the runs of these names. Raises `DataError` for what is none."""
    found = []
    for name in names:
        path = Path(name)
        if not (path / CONFIG).is_file() and not (path / METRICS).is_file():
            raise DataError(f"{files.shortened(name)} is no run: heed runs lists them")
        found.append(FoundFolder(name, path, "run"))
    return found
