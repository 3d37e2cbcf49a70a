"""One head against several under keys of random length: an average that hangs on a coin, and one that does not.

    k_a ~ N(mu_a, alpha I + spread mu_a mu_a^T),  others k_i ~ N(mu_i, alpha I),  mu orthonormal, alpha small
    so k_a = (1 + sqrt(spread) g) mu_a, g ~ N(0, 1), up to alpha: the direction is right, the length is not

    one head      q = beta (mu_a + mu_b)     w_a = e^(beta f) / (e^(beta f) + e^beta + n - 2),  f = 1 + sqrt(spread) g
    two heads     beta mu_a and beta mu_b    each is full of its own key, whatever f, as long as e^(beta f) >> n - 1

w_a rises with g, so its quantiles are those of g, in closed form. With one head they are about 0 and 1. Several heads
hold wherever f is well above 0; where f < 0, which happens in Phi(-1 / sqrt(spread)) of all draws (7.9 % for a spread
of 1/2), the key points backwards and no head finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from heed.errors import ConfigError
from heed.explore.arrays import Array, count_of, fraction_of, positive_of, said, softmax
from heed.report.figure import Figure, Line, Plane, lines_figure

QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class RandomKeys:
    """What heads make of keys of random length. Quantiles are those of 5 %, 50 % and 95 % of the draws."""

    heads: int
    closed: Array
    """Quantiles (3,) of the weight of the key of random length, alpha being 0."""
    sampled: Array
    """The same of draws (3,)."""
    errors: Array
    """Quantiles (3,) of the largest difference of a weight from 1/2, 1/2, 0, ..., of draws."""
    failing: float
    """The share of draws whose error passes the tolerance."""
    failing_closed: float
    """The same in closed form, alpha being 0."""
    backwards: float
    """Phi(-1 / sqrt(spread)): the share of draws in which the key points backwards."""
    explanation: str


def random_keys(
    heads: int = 2,
    n: int = 4,
    beta: float = 70.0,
    spread: float = 0.5,
    alpha: float = 1e-6,
    draws: int = 20_000,
    tolerance: float = 0.05,
    seed: int = 0,
) -> RandomKeys:
    """Return how near `heads` heads come to the average of two of n values, the first key being of random length.

    One head asks beta (mu_a + mu_b). Of more heads, an even number, half ask beta mu_a and the others beta mu_b, and
    their outputs are averaged. Raises `ConfigError` for numbers out of range.
    """
    heads, n = count_of("heads", heads, most=64), count_of("n", n, least=2, most=512)
    if heads > 1 and heads % 2:
        raise ConfigError(f"heads: {heads} cannot be shared evenly between two keys, take 1 or an even number")
    draws = count_of("draws", draws, least=10, most=1_000_000)
    beta, spread, limit = positive_of("beta", beta), positive_of("spread", spread), fraction_of("tolerance", tolerance)
    if not 0 <= alpha < 1:
        raise ConfigError(f"alpha: {alpha!r} must be at least 0 and small, such as 1e-6")
    generator = np.random.default_rng(count_of("seed", seed, least=0, most=2**32))
    weights, errors = [], []
    for begin in range(0, draws, 2000):
        size = min(2000, draws - begin)
        lengths = 1 + np.sqrt(spread) * generator.normal(size=size)
        keys = np.tile(np.eye(n), (size, 1, 1))
        keys[:, 0] *= lengths[:, None]
        keys += np.sqrt(alpha) * generator.normal(size=keys.shape)
        w = _weights(keys, heads, beta)
        weights.append(w[:, 0])
        errors.append(_error(w))
    w, error = np.concatenate(weights), np.concatenate(errors)
    f = 1 + np.sqrt(spread) * norm.ppf(QUANTILES)
    backwards = float(norm.cdf(-1 / np.sqrt(spread)))
    failing = float((error > limit).mean())
    return RandomKeys(
        heads,
        weight_of_key(f, heads, n, beta),
        np.quantile(w, QUANTILES),
        np.quantile(error, QUANTILES),
        failing,
        _failing(heads, n, beta, spread, limit),
        backwards,
        _about(heads, np.quantile(w, QUANTILES), float(np.median(error)), failing, backwards),
    )


def weight_of_key(lengths: Array, heads: int, n: int, beta: float) -> Array:
    """Return the weight of the key of random length, whose length times direction is `lengths` (any), alpha being 0."""
    return _weights(_keys(lengths, n), heads, beta)[:, 0]


def _keys(lengths: Array, n: int) -> Array:
    """Return keys (draws, n, n): unit vectors, the first of these lengths."""
    keys = np.tile(np.eye(n), (len(lengths), 1, 1))
    keys[:, 0, 0] = lengths
    return keys


def _weights(keys: Array, heads: int, beta: float) -> Array:
    """Return the mean over heads of softmax(K q) (draws, n) of keys (draws, n, n)."""
    n = keys.shape[-1]
    first, second = np.eye(n)[:2]
    if heads == 1:
        return softmax(keys @ (beta * (first + second)))
    return (softmax(keys @ (beta * first)) + softmax(keys @ (beta * second))) / 2  # heads that ask the same are equal


def _error(weights: Array) -> Array:
    """Return the largest difference (draws,) from 1/2, 1/2, 0, ..."""
    wanted = np.zeros(weights.shape[-1])
    wanted[:2] = 0.5
    return np.abs(weights - wanted).max(-1)


def _failing(heads: int, n: int, beta: float, spread: float, limit: float) -> float:
    """Return the probability of an error beyond the limit: over a fine grid of g, weighted by its density."""
    edges = np.linspace(-8, 8, 16_001)
    g = (edges[1:] + edges[:-1]) / 2
    chance = np.diff(norm.cdf(edges))
    failing = 0.0
    for begin in range(0, len(g), 2000):
        part = slice(begin, begin + 2000)
        bad = _error(_weights(_keys(1 + np.sqrt(spread) * g[part], n), heads, beta)) > limit
        failing += float(chance[part][bad].sum())
    return failing


def _about(heads: int, w: Array, error: float, failing: float, backwards: float) -> str:
    if heads == 1:
        return (
            f"One head that asks for both keys gives its whole weight to the longer one: in 5 % of the draws the first "
            f"key gets {said(w[0])} or less, in 5 % {said(w[2])} or more."
        )
    return (
        "Each head asks for one key, and a softmax over one large score does not depend on its size: half of the "
        f"draws have an error of {said(error)} or less. In {said(100 * failing)} % it is beyond the tolerance: those "
        f"in which the key is short, or points backwards ({said(100 * backwards)} %)."
    )


def figure_of_lengths(n: int = 4, beta: float = 70.0, spread: float = 0.5) -> Figure:
    """Return the figure of the weight of the key over its length, for one head and for two."""
    n, beta = count_of("n", n, least=2, most=512), positive_of("beta", beta)
    f = 1 + np.sqrt(positive_of("spread", spread)) * np.linspace(-2.5, 2.5, 201)
    drawn = [
        Line(f"{heads} head{'s' if heads > 1 else ''}", f.tolist(), weight_of_key(f, heads, n, beta).tolist(), heads)
        for heads in (1, 2)
    ]
    figure = lines_figure(
        "lengths",
        "One head swings between two values with the length of a key, two heads hold",
        f"Weight of the first of {n} keys, of which two are to be averaged, over its length along its direction.",
        drawn,
        Plane("length of the key", "its weight", rule=(0.5, "wanted")),
    )
    assert figure is not None
    return figure
