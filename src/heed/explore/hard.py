"""Hard attention: the value of the best key, why it does not train, and the straight-through gradient beside it.

    y = v_j, j = argmax_i q.k_i            dL/dv_j = g, all other gradients 0, q and k among them    (g = dL/dy)
    soft  y = sum_i w_i v_i                dL/ds_i = w_i g.(v_i - y),  dL/dq = sum_i dL/ds_i k_i,  dL/dk_i = dL/ds_i q
    straight-through                       forward hard, dL/ds_i = w_i g.(v_i - sum_j w_j v_j) all the same

A small change of q or k changes no choice, so the output does not move and the gradient is 0: not small, but 0. The
straight-through estimator: Bengio et al. 2013, "Estimating or propagating gradients through stochastic neurons".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heed.explore.arrays import Array, matrix_of, said, softmax, vector_of


@dataclass(frozen=True)
class GradientSet:
    """Gradients of a loss with dL/dy = g."""

    query: Array
    """(d,)."""
    keys: Array
    """(n, d)."""
    values: Array
    """(n, m)."""


@dataclass(frozen=True)
class HardAttention:
    """Hard attention of one query, and what gradients reach."""

    scores: Array
    """K q (n,)."""
    chosen: int
    """The first of the best keys."""
    lead: float
    """Over the next best score: as much a score may change without any effect. 0 in a tie."""
    output: Array
    """The chosen value (m,)."""
    soft_output: Array
    """What softmax gives (m,)."""
    hard: GradientSet
    straight_through: GradientSet
    soft: GradientSet
    explanation: str


def hard_attention(
    query: ArrayLike, keys: ArrayLike, values: ArrayLike, gradient: ArrayLike | None = None
) -> HardAttention:
    """Return hard attention of a query (d,) over keys (n, d) and values (n, m), and the gradients of g.y.

    `gradient` is g (m,), all ones if left out. Scores are not divided by sqrt(d). Raises `ConfigError` for wrong
    shapes.
    """
    K = matrix_of("keys", keys)
    q, V = vector_of("query", query, K.shape[1]), matrix_of("values", values, rows=len(K))
    g = np.ones(V.shape[1]) if gradient is None else vector_of("gradient", gradient, V.shape[1])
    scores = K @ q
    chosen = int(scores.argmax())
    ranked = np.sort(scores)
    lead = float(ranked[-1] - ranked[-2]) if len(K) > 1 else np.inf
    w, one = softmax(scores), np.eye(len(K))[chosen]
    through_scores = w * ((V - w @ V) @ g)
    nothing = np.zeros(len(K))
    tie = "" if lead > 0 else " Two scores are equal here, and the first is taken."
    return HardAttention(
        scores,
        chosen,
        lead,
        V[chosen],
        w @ V,
        _gradients(nothing, one, q, K, g),
        _gradients(through_scores, one, q, K, g),
        _gradients(through_scores, w, q, K, g),
        f"Key {chosen} wins with a lead of {said(lead)}, and nothing smaller than that changes the output: so the "
        "gradient of the query and of every key is 0, and only the chosen value learns. Straight-through takes the "
        f"gradient of softmax for the scores.{tie}",
    )


def _gradients(scores: Array, weights: Array, q: Array, K: Array, g: Array) -> GradientSet:
    """Return the gradients that follow from those of scores (n,), values being weighted by `weights` (n,)."""
    return GradientSet(scores @ K, np.outer(scores, q), np.outer(weights, g))
