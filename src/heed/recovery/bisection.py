"""Bisection on the argmax: the bias at which a token becomes the likeliest is how far its logit lies below.

    b* = l_a - l_v, found in ceil(log2(range / accuracy)) calls a token, range the largest bias

It needs no probabilities at all, only which token is taken at temperature 0. The values add up to 1 afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from heed.recovery.oracle import Ask, BiasQuestion
from heed.recovery.probe import ApiTraits
from heed.recovery.readings import Readings


def rounds(bias: float, accuracy: float) -> int:
    """Return the calls for one token.

    >>> rounds(100.0, 0.05), rounds(100.0, 100.0)
    (11, 1)
    """
    return max(1, math.ceil(math.log2(bias / accuracy)))


def bisection_calls(tokens: int, bias: float, accuracy: float) -> int:
    """Return the calls for so many tokens, the plain one included.

    >>> bisection_calls(2_000, 100.0, 0.05)
    21990
    """
    return 1 + (tokens - 1) * rounds(bias, accuracy)


def read_bisected(ask: Ask, traits: ApiTraits, tokens: Sequence[int], accuracy: float) -> Readings:
    """Return how far the logits of tokens lie below the largest one, each within half of `accuracy`.

    A token that no bias makes the likeliest is missing from them.
    """
    top = traits.likeliest
    readings = Readings(relative=True)
    readings.put(top, 0.0, 0.0)
    left = [token for token in tokens if token != top]
    low, high = np.zeros(len(left)), np.full(len(left), traits.limits.bias)
    for _ in range(rounds(traits.limits.bias, accuracy)):
        middle = (low + high) / 2
        replies = ask([
            BiasQuestion(((token, float(bias)),), greedy=True) for token, bias in zip(left, middle, strict=True)
        ])  # fmt: skip
        won = np.array([reply.token == token for token, reply in zip(left, replies, strict=True)], dtype=bool)
        low, high = np.where(won, low, middle), np.where(won, middle, high)
    for token, below, above in zip(left, low.tolist(), high.tolist(), strict=True):
        if above < traits.limits.bias:
            readings.put(token, -(below + above) / 2, (above - below) / 2 + traits.resolution.noise)
    return readings
