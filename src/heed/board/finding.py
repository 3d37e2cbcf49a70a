"""Which runs, studies and tunes lie below some folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from heed import files
from heed.errors import DataError, why
from heed.files import HASHES
from heed.records.checkpoints import CONFIG
from heed.records.events import METRICS
from heed.records.run import ENVIRONMENT
from heed.records.study import STUDY
from heed.records.tune import TUNE

USUAL = ("runs", "studies", "tunes")
"""Where heed writes when nobody says where."""
DEEPEST = 8
"""Folders below each other that are looked through."""


@dataclass(frozen=True)
class FoundFolder:
    """A folder that heed wrote."""

    name: str
    """As it is shown and asked for: the path that was given, and what is below it."""
    path: Path
    kind: str
    """run, study or tune."""


@dataclass
class Skipped:
    """What was not looked at, and is said."""

    links: int = 0
    closed: int = 0

    def notes(self) -> list[str]:
        """Return a line about each."""
        found = []
        if self.links:
            found.append(f"links that are not followed, since nothing outside of a folder is looked at: {self.links:,}")
        if self.closed:
            found.append(f"folders that cannot be opened, and may hold runs: {self.closed:,}")
        return found


def usual_folders(given: Sequence[Path]) -> list[Path]:
    """Return the folders to look through: those given, or the usual ones here that there are.

    Raises `DataError` where there is none.
    """
    if not given:
        there = [Path(name) for name in USUAL if Path(name).is_dir()]
        if not there:
            raise DataError(f"there is none of {', '.join(USUAL)} here: name the folder that holds your runs")
        return there
    for folder in given:
        if files.what_is(folder) != "folder":
            raise DataError(f"{files.shortened(folder)} is no folder: name one that holds runs")
    return list(dict.fromkeys(given))


def find_folders(roots: Sequence[Path], skipped: Skipped | None = None) -> list[FoundFolder]:
    """Return every run, study and tune below some folders, by name; links below them are not followed.

    Raises `DataError` where one of `roots` itself cannot be opened.
    """
    skipped = Skipped() if skipped is None else skipped
    seen: dict[str, FoundFolder] = {}
    for root in roots:
        try:
            os.scandir(root).close()
        except OSError as error:
            raise DataError(f"{files.shortened(root)} cannot be opened: {why(error)}") from None
        for found in _below(root, 0, skipped):
            seen.setdefault(os.path.abspath(found.path), found)
    return sorted(seen.values(), key=lambda found: found.name)


def _below(folder: Path, depth: int, skipped: Skipped) -> Iterator[FoundFolder]:
    try:
        with os.scandir(folder) as entries:
            names = {entry.name: entry for entry in entries}
    except OSError:
        skipped.closed += 1
        return
    if names.keys() >= {CONFIG, ENVIRONMENT} or METRICS in names:
        yield FoundFolder(folder.as_posix(), folder, "run")
        return
    for record, kind in ((STUDY, "study"), (TUNE, "tune")):
        if record in names and all(names[n].is_file(follow_symlinks=False) for n in (record, HASHES) if n in names):
            yield FoundFolder(folder.as_posix(), folder, kind)
    for name, entry in names.items():
        if name.startswith(".") or depth == DEEPEST:
            continue
        try:
            linked, inside = entry.is_symlink(), entry.is_dir()
        except OSError:
            continue
        if inside and linked:
            skipped.links += 1
        elif inside:
            yield from _below(folder / name, depth + 1, skipped)
