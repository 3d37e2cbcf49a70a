"""Temperature scaling: one number makes probabilities as sure as they should be (Guo et al. 2017, section 4.2, eq. 9).

    q = softmax(z / T) = p^(1/T) / sum p^(1/T)                z logits, p = softmax(z); T > 1: it was too sure
    T = arg min over T > 0 of the mean of -ln q(label)        nats, on texts that nothing is measured on

The likeliest class stays the likeliest, so accuracy, F1 and what is predicted never change. With b = 1 / T the loss is
convex in b, so that there is one minimum: at it the mean logit that is expected equals the mean logit of the labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from heed.errors import DataError

REACH = 7.0
"""|ln T| up to which T is looked for: 0.0009 to 1,100."""


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return the probabilities (n, C) of (n, C) at a temperature.

    >>> at_temperature(np.array([[0.9, 0.1]]), 2.0).round(3).tolist()  # sqrt 0.9 : sqrt 0.1 is 3 : 1
    [[0.75, 0.25]]
    """
    z = _logits(probabilities) / temperature
    chances = np.exp(z - z.max(axis=1, keepdims=True))
    return chances / chances.sum(axis=1, keepdims=True)


def best_temperature(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """Return the temperature with the lowest mean of -ln p(label), and that loss in nats; labels (n,), (n, C).

    >>> sure = np.array([[0.99, 0.01], [0.99, 0.01], [0.99, 0.01], [0.01, 0.99]])  # and right in three of four
    >>> T, loss = best_temperature(np.array([0, 0, 1, 1]), sure)
    >>> round(T, 2), round(loss, 4)  # ln 99 / ln 3;  -0.75 ln 0.75 - 0.25 ln 0.25
    (4.18, 0.5623)
    """
    from scipy.optimize import minimize_scalar

    z = _logits(probabilities)
    z -= z.max(axis=1, keepdims=True)
    own = z[np.arange(len(z)), labels]

    def loss(log_b: float) -> float:  # convex in b, so it falls and rises once in ln b
        b = np.exp(log_b)
        return float((np.log(np.exp(b * z).sum(axis=1)) - b * own).mean())

    found: Any = minimize_scalar(loss, bounds=(-REACH, REACH), method="bounded")
    return float(np.exp(-found.x)), float(found.fun)


def chosen_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the best temperature. Raises `DataError` where the texts cannot choose one, as when all are right."""
    T, _ = best_temperature(labels, probabilities)
    if abs(np.log(T)) > REACH - 0.1:
        what = "the surer the better, as where every text is right" if T < 1 else "the less sure the better"
        raise DataError(
            f"no temperature is best for these {len(labels):,} validation texts ({what}): tune with more of them, as "
            "with --data.validation-fraction 0.2"
        )
    return T


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Return logits, up to a number for each row; a probability of 0 is the smallest that float64 holds in full."""
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
