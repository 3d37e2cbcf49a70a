"""Forced reading: a token with the largest bias is taken, and the API tells the probability that it had without.

    1 + V - k calls: the plain one, and one for each token that it did not show

It is for APIs whose bias moves what is taken and not what is reported.
"""

from __future__ import annotations

from collections.abc import Sequence

from heed.recovery.oracle import Ask, biased
from heed.recovery.probe import ApiTraits
from heed.recovery.readings import Readings
from heed.recovery.resolution import NO_NUMBER


def forced_calls(tokens: int, top: int) -> int:
    """Return the calls for so many tokens, the plain one included.

    >>> forced_calls(2_000, 2)
    1999
    """
    return 1 + max(0, tokens - top)


def read_forced(ask: Ask, traits: ApiTraits, tokens: Sequence[int]) -> Readings:
    """Return the log-probabilities of tokens; one that is not taken although it is forced is missing from them."""
    readings = Readings()
    for token, value in traits.known.items():
        if token in set(tokens):
            readings.put(token, value, float(traits.resolution.error(value)))
    left = readings.missing(tokens)
    replies = ask([biased([token], traits.limits.bias) for token in left])
    for token, reply in zip(left, replies, strict=True):
        if reply.token == token and reply.logprob is not None and reply.logprob > NO_NUMBER:
            readings.put(token, reply.logprob, float(traits.resolution.error(reply.logprob)))
    return readings
