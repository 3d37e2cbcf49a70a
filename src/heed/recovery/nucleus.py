"""The likeliest tokens only: what was seen is banned, and the next k show.

    p_u = p'_u (1 - P)          P what the banned tokens have together

An API whose reported probabilities do not move is asked for one token a call, which shows its own. The error grows with
1 / (1 - P), and the bars say so.
"""

from __future__ import annotations

import math
from collections.abc import Container

from heed.errors import ApiError
from heed.recovery.oracle import Ask, biased
from heed.recovery.probe import ApiTraits, shown_top
from heed.recovery.readings import Readings
from heed.recovery.resolution import NO_NUMBER


def read_nucleus(ask: Ask, traits: ApiTraits, top_p: float) -> Readings:
    """Return the likeliest tokens that have `top_p` together, and perhaps a few more of the last call.

    It ends earlier where as many tokens are banned as the API allows, or where its rounding leaves the rest unknown.
    Raises `ApiError` where the API shows no probabilities.
    """
    if traits.shows == "nothing":
        raise ApiError("a nucleus needs probabilities, and this API shows none: take --method bisection")
    if traits.shows == "biased" and not traits.limits.top:
        raise ApiError("a nucleus needs the likeliest token's probability, and this API shows none: --method bisection")
    readings = Readings()
    for token, value in traits.known.items():
        readings.put(token, value, float(traits.resolution.error(value)))
    while len(readings.values) < traits.limits.vocabulary:
        low, mass, high = bounds(readings)
        if mass >= top_p or high >= 1 or len(readings.values) > traits.limits.biased:
            break
        reply = ask([biased(list(readings.values), -traits.limits.bias, greedy=traits.shows == "raw")])[0]
        shown = shown_top(reply) if traits.shows == "biased" else {reply.token: reply.logprob or NO_NUMBER}
        new = {u: value for u, value in shown.items() if u not in readings.values and value > NO_NUMBER}
        if not new:  # what is left cannot be banned, or has no probability
            break
        rest = off = 0.0
        if traits.shows == "biased":  # a token that shows although it is banned keeps its probability
            low, mass, high = bounds(readings, without=shown)
            rest = math.log1p(-mass)
            off = max(math.log1p(-low) - rest, rest - math.log1p(-high))
        for token, value in new.items():
            readings.put(token, value + rest, float(traits.resolution.error(value)) + off)
    return readings


def bounds(readings: Readings, without: Container[int] = ()) -> tuple[float, float, float]:
    """Return what the tokens that were read, but some, have together at least, as it was read, and at most."""
    pairs = [pair for token, pair in readings.values.items() if token not in without]
    return (
        sum(math.exp(value - error) for value, error in pairs),
        sum(math.exp(value) for value, _ in pairs),
        sum(math.exp(value + error) for value, error in pairs),
    )
