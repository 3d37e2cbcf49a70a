"""How wide a model is, from the rank of what it says: Carlini et al. 2024; Finlayson et al. 2024.

    log p = W h - c 1          less its mean over the tokens: a vector in a space of d dimensions, d the width of h

Stack such vectors of more than d prompts, read over the same n > d tokens, and d singular values stand out of the
noise. A layer norm without bias takes one away (its h has mean 0); a model whose matrix has a smaller rank shows that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from heed.errors import ApiError, DataError
from heed.recovery.anchor import anchor_calls, read_anchored
from heed.recovery.forced import forced_calls, read_forced
from heed.recovery.low_rank import row_space
from heed.recovery.methods import Remembered
from heed.recovery.oracle import ApiLimits, Ask
from heed.recovery.probe import ApiTraits, elsewhere, probe
from heed.recovery.resolution import resolution_of
from heed.report.recovery_record import read_distribution

SAFETY = 3.0
"""Times the largest singular value that noise can have, above which one counts."""


@dataclass(frozen=True)
class RankEstimate:
    """How many dimensions some log-probabilities have."""

    rank: int
    singular: np.ndarray
    """The singular values, the largest first."""
    floor: float
    """Where those of noise end."""
    bounded: bool
    """Whether the rank is that of the data, too few prompts or tokens: the model may be wider."""

    @property
    def gap(self) -> float:
        """How many times larger the last that counts is than the first that does not."""
        if self.bounded or self.rank == 0:
            return 1.0
        return float(self.singular[self.rank - 1] / max(self.singular[self.rank], np.finfo(float).tiny))


def estimate_rank(log_p: np.ndarray, error: float) -> RankEstimate:
    """Return the rank of log-probabilities (prompts, tokens), each known within `error`.

    Noise of standard deviation s has singular values up to s (sqrt(prompts) + sqrt(tokens)).
    """
    rows = log_p - log_p.mean(axis=1, keepdims=True)
    singular = np.linalg.svd(rows, compute_uv=False)
    arithmetic = np.finfo(float).eps * max(rows.shape) * singular[0]
    floor = SAFETY * max(error * (np.sqrt(rows.shape[0]) + np.sqrt(rows.shape[1])), arithmetic)
    rank = int((singular > floor).sum())
    return RankEstimate(rank, singular, float(floor), rank >= min(rows.shape[0], rows.shape[1] - 1))


def size_calls(prompts: int, tokens: int, traits: ApiTraits) -> int:
    """Return the calls that reading so many tokens after so many prompts takes."""
    if traits.shows == "raw":
        return prompts * forced_calls(tokens, 0)
    return prompts * anchor_calls(tokens + traits.limits.top, traits.limits.top)


def read_many(
    ask_about: Callable[[tuple[int, ...]], Ask],
    prompts: Sequence[tuple[int, ...]],
    tokens: Sequence[int],
    limits: ApiLimits,
    approve: Callable[[ApiTraits], None] = lambda traits: None,
) -> tuple[np.ndarray, float, int]:
    """Return (log-probabilities (prompts, tokens), error bar, calls), read with what a probe of the first prompt found.

    Tokens that cannot be read after every prompt are left out. Raises `ApiError` where no probabilities are shown.
    """
    rows, errors, calls = [], [], 0
    traits: ApiTraits | None = None
    for prompt in prompts:
        ask = Remembered(ask_about(prompt))
        if traits is None:
            traits = probe(ask, limits)
            if traits.shows == "nothing" or (traits.shows == "biased" and traits.limits.top < 2):
                raise ApiError("this API shows too few probabilities for a rank, which needs exact ones")
            approve(traits)
        here = traits if not rows else elsewhere(ask, traits)
        found = read_forced(ask, here, tokens) if here.shows == "raw" else read_anchored(ask, here, tokens)
        finer = resolution_of(ask.values())
        if finer != here.resolution:
            here = replace(here, resolution=finer)
            found = read_forced(ask, here, tokens) if here.shows == "raw" else read_anchored(ask, here, tokens)
        rows.append([found.values.get(token, (np.nan, np.nan))[0] for token in tokens])
        errors += [error for _, error in found.values.values()]
        calls += len(ask.replies)
    matrix = np.array(rows)
    return matrix[:, np.isfinite(matrix).all(axis=0)], float(np.median(errors)), calls


def estimated_matrix(folders: Sequence[Path]) -> np.ndarray:
    """Return a matrix (V, d) with the columns' span of an output matrix, from distributions of many prompts.

    Raises `DataError` where they are too few to tell the width, or not whole.
    """
    found = [read_distribution(folder) for folder in folders]
    sizes = {len(one.log_p) for one in found}
    if len(sizes) > 1:
        raise DataError(f"--estimate-from: vocabularies of {sorted(sizes)} tokens, which are of different models")
    for folder, one in zip(folders, found, strict=True):
        if not np.isfinite(one.log_p).all():
            raise DataError(f"--estimate-from {folder}: some tokens were never seen there, so it cannot be used")
    estimate = estimate_rank(np.stack([one.log_p for one in found]), float(np.median([one.error for one in found])))
    if estimate.bounded:
        raise DataError(
            f"--estimate-from: {len(found)} distributions have rank {estimate.rank}, the model may be wider: give more"
        )
    return row_space([one.log_p for one in found], estimate.rank)
