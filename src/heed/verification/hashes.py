"""Every hash below a folder, read again: those of `heed.seals`, and those that each checkpoint has of itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from heed import files, seals
from heed.errors import CheckpointError
from heed.records.checkpoints import CHECKPOINTS, CONFIG
from heed.training.checkpoint import find_damage, saved_steps, step_name
from heed.verification.checks import VerifiedFolder


def check_hashes(found: VerifiedFolder, root: Path, needed: tuple[str, ...] = ()) -> None:
    """Hold every file below a folder that has a hash against it; files that are `needed` must be there and have one."""
    whole = 0
    wrong: list[str] = []
    for folder in folders(root):
        shown = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
        try:
            known = seals.altered(folder)
        except CheckpointError as error:
            wrong.append(str(error))
            continue
        whole += sum(problem is None for problem in known.values())
        wrong += [f"{shown}{name} {problem}" for name, problem in known.items() if problem is not None]
        if folder == root:
            wrong += [f"{name} is missing" for name in needed if not (root / name).is_file()]
            bare = [name for name in needed if (root / name).is_file() and name not in known]
            if bare:
                found.note("hashes", "not checked", f"{', '.join(bare)}: without a hash, as an earlier heed wrote it")
    if wrong or whole:
        found.note(
            "hashes",
            "differs" if wrong else "same",
            "; ".join(wrong) if wrong else f"{whole:,} files, each SHA-256 as noted",
        )


def check_checkpoints(found: VerifiedFolder, root: Path) -> None:
    """Hold each file of each checkpoint below a folder against its hash."""
    whole = 0
    wrong: list[str] = []
    for folder in folders(root):
        for step in saved_steps(folder / CHECKPOINTS):
            path = folder / CHECKPOINTS / step_name(step)
            try:
                problem = find_damage(path)
            except OSError as error:
                problem = f"cannot be read ({error.strerror})"
            whole += problem is None
            wrong += [] if problem is None else [f"{path.relative_to(root).as_posix()}: {problem}"]
    if wrong or whole:
        said = "; ".join(wrong) if wrong else f"{whole:,} checkpoints, each file's SHA-256 as noted"
        found.note("checkpoints", "differs" if wrong else "same", said)


def folders(root: Path) -> Iterator[Path]:
    """Yield a folder and those below it that heed keeps records in."""
    for below, names, there in os.walk(root):
        names[:] = sorted(name for name in names if not files.is_left(name) and name != CHECKPOINTS)
        if Path(below) == root or {seals.SEALS, CONFIG} & set(there):
            yield Path(below)
