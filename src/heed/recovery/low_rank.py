"""A known output matrix: all V values from about 2 d of them.

    l = W h + b          log p = W h + b - c          h (d,) and c unknown: d + 1 numbers

Read n = 2 d tokens, solve by least squares, and multiply: GPT-2 behind a top-5 API takes 384 calls, not 12,564. The
residual tells whether W is the model's own; where it is not, there is no result. W may be estimated (`row_space`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from heed.errors import ApiError, ConfigError
from heed.recovery.readings import Distribution, Readings

BLOCK = 4096
"""Rows of W that are worked on at once."""
RESIDUAL = 3.0
"""Times the error bars that a residual may have, besides what float32 loses in a product."""
PRODUCT = 1e-3
"""Nats that a model's own arithmetic may lose in W h; another model's matrix is off by whole nats."""

Read = Callable[[Sequence[int]], Readings]


def wanted(columns: int, vocabulary: int) -> int:
    """Return how many tokens are read for a matrix with so many columns.

    >>> wanted(768, 50_257), wanted(64, 100)
    (1536, 100)
    """
    return min(vocabulary, max(2 * columns, columns + 8))


def choose_tokens(columns: int, vocabulary: int, seed: int, known: Sequence[int]) -> list[int]:
    """Return the tokens to read: those that are known without a call, and others drawn by the seed."""
    count = wanted(columns, vocabulary)
    order = np.random.default_rng(seed).permutation(vocabulary).tolist()
    return list(dict.fromkeys([*known, *order]))[:count]


def fit_low_rank(
    read: Read, tokens: Sequence[int], matrix: np.ndarray, bias: np.ndarray | None = None, estimated: bool = False
) -> Distribution:
    """Return the whole distribution from the readings of some tokens; `matrix` (V, d), `bias` (V,).

    Raises `ApiError` where the residual shows that the matrix is not the model's, `ConfigError` where too few tokens
    could be read for it.
    """
    ids, values, errors = (readings := read(tokens)).arrays()
    vocabulary, columns = matrix.shape
    offset = np.zeros(vocabulary) if bias is None else np.asarray(bias, dtype=np.float64)
    if ids.size <= columns + 1:
        raise ConfigError(f"{ids.size} tokens could be read, and a matrix with {columns} columns needs {columns + 2}")
    design = np.column_stack([matrix[ids].astype(np.float64), np.ones(ids.size)])
    inverse = np.linalg.pinv(design, rcond=1e-10)
    solution = inverse @ (values - offset[ids])
    residual = np.abs(design @ solution + offset[ids] - values)
    if np.any(residual > RESIDUAL * errors + PRODUCT):
        raise ApiError(
            f"the output matrix does not fit what the API says (off by {residual.max():.3g} nats, error bars of "
            f"{np.median(errors):.1g}): it is of another model, or the API changes its logits; take another --method"
        )
    off = errors + residual.max()
    more = RESIDUAL * residual.max() if estimated else 0.0
    log_p, error = np.empty(vocabulary), np.empty(vocabulary)
    for at in range(0, vocabulary, BLOCK):
        rows = matrix[at : at + BLOCK].astype(np.float64)
        rows = np.column_stack([rows, np.ones(len(rows))])
        log_p[at : at + BLOCK] = rows @ solution + offset[at : at + BLOCK]
        error[at : at + BLOCK] = np.abs(rows @ inverse) @ off + more
    if readings.relative:
        top = log_p.max()
        shift = top + np.log(np.exp(log_p - top).sum())
        log_p, error = log_p - shift, error + float((np.exp(log_p - shift) * np.expm1(error)).sum())
    facts = {"columns": columns, "read": int(ids.size), "residual": float(residual.max())}
    note = "The output matrix is an estimate from other prompts, so error bars are estimates as well."
    return Distribution("low-rank", log_p, error, notes=(note,) if estimated else (), facts=facts)


def row_space(distributions: Sequence[np.ndarray], rank: int) -> np.ndarray:
    """Return a matrix (V, rank) that spans what the distributions (V,) of many prompts have in common.

    Their log-probabilities, each less its mean over the vocabulary, are linear in the hidden state.
    """
    rows = np.stack([log_p - log_p.mean() for log_p in distributions])
    return np.linalg.svd(rows, full_matrices=False)[2][:rank].T
