"""Why scores are divided by sqrt(K): what a dot product of random vectors is, and what softmax makes of large ones.

    q, k ~ N(mu, sigma^2 I), independent, K wide      E q.k = |mu|^2,  Var q.k = K sigma^4 + 2 sigma^2 |mu|^2
    J = diag(w) - w w^T, w = softmax(scores)          |J|_F^2 = sum w^2 - 2 sum w^3 + (sum w^2)^2

Without a mean the deviation of a score is sigma^2 sqrt(K), which the division takes out. Scores of a large deviation
give nearly all weight to one key: w (1 - w) is then nearly 0 for every key, so the gradients **vanish**; they do not
explode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heed.errors import ConfigError
from heed.explore.arrays import Array, count_of, positive_of, said, softmax, vector_of


@dataclass(frozen=True)
class ScoreMoments:
    """Mean and variance of q.k, by the formula and of draws."""

    mean: float
    variance: float
    sampled_mean: float
    sampled_variance: float
    explanation: str


@dataclass(frozen=True)
class Saturation:
    """What softmax does with scores of one deviation. Means over draws."""

    deviation: float
    """Standard deviation of the scores."""
    entropy: float
    """Of the weights, in nats; ln(keys) where all are equal."""
    largest: float
    """The largest weight."""
    gradient: float
    """Frobenius norm of the Jacobian of softmax."""


@dataclass(frozen=True)
class ScalingTable:
    """Softmax over widths, with and without the division by sqrt(K)."""

    widths: tuple[int, ...]
    scaled: tuple[Saturation, ...]
    plain: tuple[Saturation, ...]
    explanation: str


def score_moments(mu: ArrayLike, sigma: float, draws: int = 100_000, seed: int = 0) -> ScoreMoments:
    """Return mean and variance of q.k for q, k ~ N(mu, sigma^2 I) with mu (K,), by the formula and of draws.

    Raises `ConfigError` for a sigma that is not above 0 and a mu without numbers.
    """
    mean, deviation = vector_of("mu", mu), positive_of("sigma", sigma)
    K, square = len(mean), float(mean @ mean)
    count = count_of("draws", draws, least=2, most=2_000_000)
    generator = np.random.default_rng(count_of("seed", seed, least=0, most=2**32))
    step = max(1, 1_000_000 // K)
    dots = []
    for begin in range(0, count, step):
        q, k = (mean + deviation * generator.normal(size=(min(step, count - begin), K)) for _ in range(2))
        dots.append((q * k).sum(1))
    sampled = np.concatenate(dots)
    variance = K * deviation**4 + 2 * deviation**2 * square
    return ScoreMoments(
        square,
        variance,
        float(sampled.mean()),
        float(sampled.var(ddof=1)),
        f"q and k are independent, so q.k has the mean |mu|^2 = {said(square)} and the variance K sigma^4 + 2 sigma^2 "
        f"|mu|^2 = {said(variance)}; dividing by sqrt(K) takes the width out only where the mean is 0.",
    )


def saturation(deviation: float, keys: int = 128, draws: int = 5_000, seed: int = 0) -> Saturation:
    """Return entropy and gradient of softmax over `keys` scores ~ N(0, deviation^2), means over draws."""
    spread, n = positive_of("deviation", deviation), count_of("keys", keys, least=2, most=4096)
    generator = np.random.default_rng(count_of("seed", seed, least=0, most=2**32))
    scores = generator.normal(size=(count_of("draws", draws, most=1_000_000 // n * 4 + 1), n))
    return saturation_of(spread, spread * scores)


def saturation_of(deviation: float, scores: Array) -> Saturation:
    """Return entropy and gradient of softmax over scores (draws, n) of this deviation, means over draws."""
    w = softmax(scores)
    logs = np.log(np.where(w > 0, w, 1.0))
    norms = jacobian_norm(w)
    return Saturation(deviation, float(-(w * logs).sum(1).mean()), float(w.max(1).mean()), float(norms.mean()))


def jacobian_norm(weights: ArrayLike) -> Array:
    """Return |diag(w) - w w^T|_F of weights w (..., n)."""
    w = np.asarray(weights, dtype=np.float64)
    squares = (w**2).sum(-1)
    return np.sqrt(np.maximum(0.0, squares - 2 * (w**3).sum(-1) + squares**2))


def scaling_table(
    widths: Sequence[int] = (4, 16, 64, 256, 1024), keys: int = 128, draws: int = 500, seed: int = 0
) -> ScalingTable:
    """Return what softmax over `keys` dot products of N(0, I) vectors is like at each width, scaled and plain.

    Raises `ConfigError` for a width or a number of keys out of range.
    """
    if not widths:
        raise ConfigError("widths: there is none, give at least one")
    n, count = count_of("keys", keys, least=2, most=4096), count_of("draws", draws, most=20_000)
    generator = np.random.default_rng(count_of("seed", seed, least=0, most=2**32))
    scaled, plain = [], []
    for width in widths:
        K = count_of("widths", width, most=16_384)
        q = generator.normal(size=(count, K))
        # given q, the scores of independent keys are N(0, |q|^2), independent: exact, and K numbers fewer to draw
        scores = np.linalg.norm(q, axis=1, keepdims=True) * generator.normal(size=(count, n))
        plain.append(saturation_of(float(np.sqrt(K)), scores))
        scaled.append(saturation_of(1.0, scores / np.sqrt(K)))
    return ScalingTable(
        tuple(int(width) for width in widths),
        tuple(scaled),
        tuple(plain),
        f"Scaled, the entropy stays near {said(scaled[-1].entropy)} of ln {n} = {said(np.log(n))} nats at every width. "
        f"Without it the norm of the Jacobian goes from {said(plain[0].gradient)} to {said(plain[-1].gradient)}: "
        "softmax saturates and its gradients vanish.",
    )
