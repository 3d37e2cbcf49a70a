"""The same query in other precisions: what attention itself gives in float32, bfloat16 and half precision.

float32 has 24 bits and reaches 3.4e38; bfloat16 8 bits and the same range; float16 11 bits and 65,504
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heed.errors import ConfigError, did_you_mean
from heed.explore.arrays import Array, attend, matrix_of, said, vector_of

PRECISIONS = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class PreciseOutput:
    """What attention gives in one precision."""

    precision: str
    output: Array
    """softmax(K q) V (m,), each step in that precision; may hold NaN where it overflows."""
    error: float
    """The largest difference from the output in float64; infinite where there is NaN."""
    overflows: bool
    """Whether a number of the query or a score is beyond the largest of that precision."""
    explanation: str


def in_precision(query: ArrayLike, keys: ArrayLike, values: ArrayLike, precision: str = "bfloat16") -> PreciseOutput:
    """Return softmax(K q) V by `heed.attention.steps` in a precision: query (d,), keys (n, d), values (n, m).

    Raises `ConfigError` for an unknown precision and arrays of wrong shapes.
    """
    import torch

    from heed.attention import steps

    if precision not in PRECISIONS:
        raise ConfigError(f"precision: unknown value {precision!r}, {did_you_mean(precision, PRECISIONS)}")
    K = matrix_of("keys", keys)
    q, V = vector_of("query", query, K.shape[1]), matrix_of("values", values, rows=len(K))
    kind = getattr(torch, precision)
    tensors = [torch.from_numpy(array).to(kind) for array in (q[None], K, V)]
    scores = steps.similarities(tensors[0], tensors[1])
    output = steps.mix(steps.weigh(scores), tensors[2])[0].double().numpy()
    overflows = not bool(torch.isfinite(tensors[0]).all() and torch.isfinite(scores).all())
    difference = float(np.abs(output - attend(q, K, V)).max())
    error = difference if np.isfinite(difference) else math.inf
    if overflows:
        largest = said(float(torch.finfo(kind).max))
        words = (
            f"In {precision} nothing beyond {largest} can be written: the query or a score overflows to infinity, and "
            "the output is no answer. A smaller scale does the same."
        )
    else:
        words = f"In {precision} the output differs from that in float64 by at most {said(error)}."
    return PreciseOutput(precision, output, error, overflows, words)
