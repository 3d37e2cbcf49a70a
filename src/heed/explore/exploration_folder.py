"""An exploration on the disk.

explore.json     what was looked at, and the figures of every head; written last
explore.npz      weights (layers, H, T, T) float16, gate (layers, H, T) where there is one, ids, layers, scores and
                 losses by sequence and window, the lens
report.html      the page
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from heed import seals
from heed.errors import CheckpointError, ConfigError, why
from heed.files import HASHES, advice, holds_something, is_left, together, write_text
from heed.npz import read_arrays
from heed.records.exploration import EXPLORATION, ExplorationFile, ExploredHead
from heed.records.kept import read_record

ARRAYS, PAGE = "explore.npz", "report.html"
OWN = (EXPLORATION, ARRAYS, PAGE, HASHES)


@dataclass
class Exploration:
    """What was found: the record, and arrays by name."""

    record: ExplorationFile
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def telling(heads: Sequence[ExploredHead], count: int = 5) -> list[ExploredHead]:
    """Return the most telling heads: those whose loss costs most, else those that look at least.

    Of heads whose effect on the loss is known (with the mean in their place) the largest; else the lowest share of
    the possible entropy.
    """
    known = [head for head in heads if head.mean is not None]
    if known:
        return sorted(known, key=lambda head: -(head.mean or 0.0))[:count]
    pointed = [head for head in heads if head.share is not None]
    return sorted(pointed, key=lambda head: head.share or 0.0)[:count]


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise `ConfigError` where a folder holds something else, or an exploration that is to stay."""
    if not folder.is_dir():
        return
    other = next((path.name for path in sorted(folder.iterdir()) if not (path.name in OWN or is_left(path.name))), None)
    if other is not None:
        raise ConfigError(f"{folder} holds other things ({other}): choose another --out")
    if (folder / EXPLORATION).is_file() and holds_something(folder, EXPLORATION) and not overwrite:
        raise ConfigError(f"{folder} holds an exploration already: choose another --out, or --overwrite it")


def write_exploration(folder: Path, found: Exploration, page: str) -> None:
    """Write the arrays, the page and the record, which is there once all are.

    Raises `CheckpointError` where the folder or the disk refuses.
    """
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **found.arrays)
    try:
        with together(folder, EXPLORATION) as new:
            seals.write_bytes(new / ARRAYS, packed.getvalue())
            write_text(new / PAGE, page)
            seals.write_json(new / EXPLORATION, found.record.plain())
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {advice(error)}") from error


def read_exploration(folder: str | Path) -> Exploration:
    """Return what is kept in a folder. Raises `CheckpointError` where it is not whole."""
    folder = Path(folder)
    try:
        record = read_record(ExplorationFile, folder / EXPLORATION)
        seals.read_bytes(folder / ARRAYS)
        arrays = read_arrays(folder / ARRAYS)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} holds no whole exploration: {why(error)}; give heed explore again") from error
    return Exploration(record, arrays)
