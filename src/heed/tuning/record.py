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
from typing import Any

from heed import files, seals
from heed.config.tuning import TuneConfig
from heed.errors import CheckpointError, ConfigError, why
from heed.training.run import ENVIRONMENT, OWN

TUNE, RESULT, CLEARING = "tune.json", "result.json", ".tune.json.clearing"
Record = dict[str, Any]
Pair = tuple[str, str]
"""Encoder and method: what an arm is."""


def read_record(folder: Path) -> Record | None:
    """Return what an earlier tune has found, None where there was none. Raises `CheckpointError` when it is damaged."""
    try:
        found = seals.read_json(folder / TUNE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CheckpointError(
            f"{folder / TUNE} cannot be read: {why(error)}; ask its owner, or choose another --out"
        ) from error
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"data", "arms", "seeds", "sizes", "encoders"} <= found.keys():
        raise CheckpointError(f"{folder / TUNE} is damaged: choose another --out, or --overwrite what is there")
    return found


def write_whole(path: Path, content: Record) -> None:
    """Write a JSON file whole or not at all. Raises `CheckpointError` when the folder or the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        seals.write_json(path, content)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {why(error)}; make room and give the same command again, or choose another "
            "--out"
        ) from error


def settings_of(config: TuneConfig, epochs: Sequence[int], device: str) -> Record:
    """Return the settings that all arms share, as plain values."""
    values = json.loads(config.model_dump_json(exclude={"data", "run"}))
    del values["encoder"]["name"], values["method"]["name"]
    return values | {"epochs": list(epochs), "device": device}


def name_arms(pairs: Iterable[Pair]) -> dict[Pair, str]:
    """Return the name of each arm: its method, after its encoder where there are several.

    Raises `ConfigError` when two encoders have one name.

    >>> name_arms([("minilm", "lora"), ("models/tiny/", "lora")])
    {('minilm', 'lora'): 'minilm / lora', ('models/tiny/', 'lora'): 'tiny / lora'}
    """
    found: dict[Pair, str] = {}
    pairs = list(dict.fromkeys(pairs))
    several = len({encoder for encoder, _ in pairs}) > 1
    for encoder, method in pairs:
        short = encoder.rstrip("/").rsplit("/", 1)[-1]
        name = f"{short} / {method}" if several else method
        if name in found.values():
            raise ConfigError(f"--encoders: two are called {short!r}: give them folders of different names")
        found[encoder, method] = name
    return found


def join(earlier: Record | None, new: Record, folder: Path) -> Record:
    """Return a new record, of which nothing is done, with all that an earlier one knows.

    Raises `CheckpointError` when the texts or the settings are not those of before.
    """
    if earlier is None:
        return new
    _refuse_others(earlier, new, folder)
    known = [_pair(arm) for arm in earlier["arms"]]
    names = name_arms([*known, *map(_pair, new["arms"])])
    added = [new_arm(*pair, name) for pair, name in names.items() if pair not in known]
    renamed = {arm["name"]: names[_pair(arm)] for arm in earlier["arms"]}
    kept = {key: earlier[key] for key in ("largest_batches",) if key in earlier}
    return (
        new
        | kept
        | {
            "seeds": sorted({*earlier["seeds"], *new["seeds"]}),
            "encoders": earlier["encoders"],
            "steps": earlier["steps"],
            "arms": [*(arm | {"name": names[_pair(arm)]} for arm in earlier["arms"]), *added],
            "sizes": [size | {"arm": renamed[size["arm"]]} for size in earlier["sizes"]],
        }
    )


def new_arm(encoder: str, method: str, name: str) -> Record:
    """Return an arm of which nothing is known; `stem` begins the names of its runs' folders."""
    stem = "-".join(name.replace("/", " ").replace("+", " and ").split())
    return {
        "name": name, "encoder": encoder, "method": method, "stem": stem,
        "status": "running", "reason": None, "search": [], "runs": [],
    }  # fmt: skip


def begin_arm(record: Record, pair: Pair) -> tuple[Record, Record]:
    """Put a new arm in the place of what was known of it before; return both."""
    place, earlier = next((place, arm) for place, arm in enumerate(record["arms"]) if _pair(arm) == pair)
    arm = new_arm(*pair, earlier["name"])
    arm["stem"] = earlier.get("stem", arm["stem"])  # its runs are where they were, whatever its name is by now
    record["arms"][place] = arm
    return arm, earlier


def keep_runs(record: Record, arm: Record, earlier: Record, seeds: Sequence[int]) -> None:
    """Keep an arm's earlier runs beside `seeds`, and its learning curve, where it learns as before; else drop them."""
    as_before = all(arm[key] == earlier.get(key) for key in ("learning_rate", "epochs"))
    arm["runs"] = [run for run in earlier["runs"] if as_before and run["seed"] not in seeds]
    record["sizes"] = [size for size in record["sizes"] if as_before or size["arm"] != arm["name"]]


def put_run(arm: Record, run: Record) -> None:
    """Put a run in its place by seed."""
    arm["runs"] = sorted([*arm["runs"], run], key=lambda one: one["seed"])


def put_size(record: Record, size: Record) -> None:
    """Put a point of a learning curve in the place of the same one of before."""
    same = lambda other: all(other[key] == size[key] for key in ("arm", "examples", "seed"))
    record["sizes"] = [other for other in record["sizes"] if not same(other)] + [size]


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
    mark.unlink()


def is_half_cleared(folder: Path) -> bool:
    """Whether a process died while it deleted a tune."""
    return (folder / CLEARING).is_file()


def _clear_run(folder: Path) -> None:
    """Delete a run, or where there are files of others in its folder what a tune has written."""
    names = set(os.listdir(folder)) if folder.is_dir() else {""}
    if names <= {*OWN, files.LOCK, files.WRITING, files.REMOVING}:
        files.remove(folder)
    elif ENVIRONMENT in names:
        for name in sorted(OWN, key=lambda name: name == ENVIRONMENT):  # last: it tells that the rest is to go
            files.remove(folder / name)


def soup_of(pair: Pair) -> Pair:
    """Return what the mean of the seeds of an arm is called in its place.

    >>> soup_of(("minilm", "mean-full"))
    ('minilm', 'mean-full soup')
    """
    return pair[0], f"{pair[1]} soup"


def _pair(arm: Mapping[str, Any]) -> Pair:
    return arm["encoder"], arm["method"]


def _refuse_others(earlier: Record, new: Record, folder: Path) -> None:
    """Raise `CheckpointError` that names what is not as before."""
    instead = "choose another --out, or --overwrite what is there"
    name = earlier["data"].get("name")
    if earlier["data"].get("fingerprint") != new["data"]["fingerprint"]:
        raise CheckpointError(f"{folder} holds a tune of other texts or splits ({name}): {instead}")
    before, now = (dict(_flat(record.get("settings", new["settings"]))) for record in (earlier, new))
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            values = f"{name} {before.get(name)}, not {now.get(name)}"
            raise CheckpointError(f"{folder} holds a tune with {values}: {instead}")


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names with their values."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
