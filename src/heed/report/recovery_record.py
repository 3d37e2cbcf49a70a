"""The files of a recovery as objects: what was asked (recovery.json), and the distribution (distribution.npz)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heed import seals
from heed.errors import CheckpointError, why
from heed.npz import read_arrays
from heed.records.kept import read_record
from heed.records.recovery import RECOVERY, RecoveryFile

DISTRIBUTION = "distribution.npz"


@dataclass(frozen=True)
class RecoveredTokens:
    """The distribution, by token id; what was never seen is NaN, its error infinite."""

    names: np.ndarray
    """(V,) strings."""
    log_p: np.ndarray
    """(V,) float64, nats."""
    error: np.ndarray
    """(V,) float64."""
    truth: np.ndarray | None = None
    """(V,) float64: the log-probabilities of the model itself, where it is at hand."""

    @property
    def order(self) -> np.ndarray:
        """The ids of all tokens that were seen, the likeliest first."""
        seen = np.flatnonzero(np.isfinite(self.log_p))
        return seen[np.argsort(-self.log_p[seen], kind="stable")]


def read_recovery(folder: str | Path) -> tuple[RecoveryFile, RecoveredTokens]:
    """Return the record and the distribution in a folder. Raises `CheckpointError` where they are not whole."""
    folder = Path(folder)
    try:
        return read_record(RecoveryFile, folder / RECOVERY), read_distribution(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / RECOVERY} cannot be read: {why(error)}; give heed recover again") from error


def read_distribution(folder: str | Path) -> RecoveredTokens:
    """Return the distribution in a folder. Raises `CheckpointError` where it is missing or damaged."""
    path = Path(folder) / DISTRIBUTION
    try:
        seals.read_bytes(path)
        arrays = read_arrays(path)
        tokens = RecoveredTokens(arrays["token"], arrays["log_p"], arrays["error"], arrays.get("truth"))
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read: {why(error)}; give heed recover again") from error
    if not (tokens.names.shape == tokens.log_p.shape == tokens.error.shape and tokens.log_p.ndim == 1):
        raise CheckpointError(f"{path} is damaged (its arrays have different lengths); give heed recover again")
    return tokens
