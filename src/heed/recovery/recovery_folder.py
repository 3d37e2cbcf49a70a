"""A recovery on the disk: what is read from an API, kept as it comes, and what came of it.

answers.jsonl        every answer, so that a process which is killed goes on where it was
distribution.npz     id, token, log_p, error, and truth where it is known; arrays without objects
distribution.jsonl   the same, one token a line
recovery.json        what was asked and how the API behaves; there once the distribution of it is
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np

from heed import seals
from heed.errors import CheckpointError
from heed.files import advice, together, write_text
from heed.records.recovery import RECOVERY, RecoveryFile, TruthCheck
from heed.recovery.readings import Distribution
from heed.report.parts import PAGE
from heed.report.recovery_record import DISTRIBUTION

LINES = "distribution.jsonl"


def write_recovery_files(
    folder: Path, record: RecoveryFile, found: Distribution, names: list[str], truth: np.ndarray | None
) -> None:
    """Write the distribution and its record, both or neither.

    Raises `CheckpointError` where the folder or the disk refuses.
    """
    arrays: dict[str, np.ndarray] = {
        "id": np.arange(len(names), dtype=np.int32),
        "token": np.array([name.replace("\0", "\u2400") for name in names]),  # numpy drops a null at the end
        "log_p": found.log_p,
        "error": found.error,
    }
    if truth is not None:
        arrays["truth"] = truth
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    try:
        with together(folder, RECOVERY, replacing=[PAGE]) as new:
            seals.write_bytes(new / DISTRIBUTION, packed.getvalue())
            write_text(new / LINES, "".join(_lines(found, names, truth)))
            seals.write_json(new / RECOVERY, record.plain())
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {advice(error)}") from error


def truth_check(found: Distribution, truth: np.ndarray, name: str) -> TruthCheck:
    """Return how far a distribution is from the log-probabilities (V,) of a model at hand."""
    seen = found.seen
    off = np.abs(found.log_p[seen] - truth[seen])
    worst = float(off.max()) if off.size else 0.0
    return TruthCheck(name=name, worst=worst, outside=int((off > found.error[seen]).sum()))


def _lines(found: Distribution, names: list[str], truth: np.ndarray | None) -> list[str]:
    lines = []
    for token, name in enumerate(names):
        value, error = float(found.log_p[token]), float(found.error[token])
        row = {"id": token, "token": name, "log_p": None, "error": None}
        if math.isfinite(value):
            row |= {"log_p": value, "error": error}
        if truth is not None:
            row["truth"] = float(truth[token])
        lines.append(json.dumps(row, ensure_ascii=True) + "\n")
    return lines
