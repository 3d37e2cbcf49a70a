"""Every wrong way to hide a key, beside the right one.

    minus-infinity   s_h = -inf, then softmax                       right: weight 0, and nothing else moves
    renormalised     softmax, w_h = 0, rows divided by their sum    right: the same numbers
    zero-key         k_h = 0, so s_h = 0, then softmax              the hidden key has a weight, of a score of 0
    finite-fill      s_h = -1e4, then softmax                       right, until scores fall below the fill
    after-softmax    softmax, then w_h = 0                          leaks: the denominator has seen the hidden score

What each does to a trained model is in `wrong_masks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heed.errors import ConfigError, did_you_mean
from heed.explore.arrays import Array, count_of, places_of, said, softmax, vector_of

FILL = -1e4
"""The finite number that many models write in the place of -inf."""


@dataclass(frozen=True)
class MaskedWeights:
    """What one way of hiding gives."""

    way: str
    weights: Array
    """(n,)."""
    hidden: float
    """The weight of hidden keys together: above 0 their values are mixed in."""
    total: float
    """The sum of all weights: 1 unless something is missing."""
    moved: float
    """How much a visible weight moves when hidden scores grow by 3: above 0 it tells what they are."""
    right: bool
    """Whether hidden keys have no influence on these scores."""
    explanation: str


@dataclass(frozen=True)
class ZeroedKeys:
    """The weight of a key that was set to zero, beside other random ones."""

    mean: float
    largest: float
    """Over all draws."""
    explanation: str


def _minus_infinity(scores: Array, hidden: list[int]) -> Array:
    filled = scores.copy()
    filled[hidden] = -np.inf
    return softmax(filled)


def _filled(scores: Array, hidden: list[int], fill: float) -> Array:
    filled = scores.copy()
    filled[hidden] = fill
    return softmax(filled)


def _after_softmax(scores: Array, hidden: list[int]) -> Array:
    weights = softmax(scores)
    weights[hidden] = 0.0
    return weights


def _renormalised(scores: Array, hidden: list[int]) -> Array:
    seen = np.delete(scores, hidden)
    left = np.exp(np.minimum(scores - seen.max(), 0.0))  # the largest of the visible: no hidden score can overflow
    left[hidden] = 0.0
    return left / left.sum()


WAYS = {
    "minus-infinity": _minus_infinity,
    "renormalised": _renormalised,
    "zero-key": lambda scores, hidden: _filled(scores, hidden, 0.0),
    "finite-fill": lambda scores, hidden: _filled(scores, hidden, FILL),
    "after-softmax": _after_softmax,
}
"""Ways of hiding keys by name: scores (n,) and hidden places to weights (n,)."""
SAID = {
    "minus-infinity": "A score of -inf has the weight 0, and the denominator does not know it.",
    "renormalised": "Dividing by the sum of what is left takes the hidden scores out of the denominator again.",
    "zero-key": "A key of zeros has the score 0, which is a score like any other and gets a weight.",
    "finite-fill": "A finite fill hides as long as every visible score is far above it, and no longer.",
    "after-softmax": "The hidden score stays in the denominator, so what is left of the others tells what it is.",
}


def hide(scores: ArrayLike, hidden: Sequence[int], way: str = "minus-infinity") -> MaskedWeights:
    """Return the weights of scores (n,) with some keys hidden in one of the `WAYS`.

    Raises `ConfigError` for an unknown way, places that there are not, and where all keys are hidden.
    """
    given = vector_of("scores", scores)
    places = places_of("hidden", hidden, len(given))
    if len(places) == len(given):
        raise ConfigError("hidden: all keys are hidden, so there is nothing to look at")
    if way not in WAYS:
        raise ConfigError(f"way: unknown value {way!r}, {did_you_mean(way, WAYS)}")
    weights = WAYS[way](given, places)
    other = given.copy()
    other[places] += 3.0
    seen = [i for i in range(len(given)) if i not in places]
    moved = float(np.abs(WAYS[way](other, places)[seen] - weights[seen]).max())
    share = float(weights[places].sum())
    right = share == 0.0 and moved < 1e-12
    found = f" Here hidden keys have {said(share)} of the weight, and a visible weight moves by {said(moved)}."
    return MaskedWeights(way, weights, share, float(weights.sum()), moved, right, SAID[way] + found)


def compare_masks(scores: ArrayLike, hidden: Sequence[int]) -> tuple[MaskedWeights, ...]:
    """Return what each of the `WAYS` gives for the same scores (n,); raises `ConfigError` as `hide` does."""
    return tuple(hide(scores, hidden, way) for way in WAYS)


def zeroed_keys(keys: int = 5, width: int = 5, draws: int = 4_000, seed: int = 0) -> ZeroedKeys:
    """Return the weight of a key of zeros among `keys`, the query and the others being N(0, I), scores scaled."""
    n, d = count_of("keys", keys, least=2, most=1024), count_of("width", width, most=4096)
    count = count_of("draws", draws, most=2_000_000 // (n * d) + 1)
    generator = np.random.default_rng(count_of("seed", seed, least=0, most=2**32))
    q, k = generator.normal(size=(count, d)), generator.normal(size=(count, n, d))
    k[:, -1] = 0
    weights = softmax(np.einsum("bd,bnd->bn", q, k) / np.sqrt(d))[:, -1]
    mean, largest = float(weights.mean()), float(weights.max())
    words = (
        f"A key of zeros keeps {said(mean)} of the weight on average, not much less than its share of 1 / {n}, and "
        f"{said(largest)} at worst here; where all other scores are far below 0 it gets nearly everything."
    )
    return ZeroedKeys(mean, largest, words)
