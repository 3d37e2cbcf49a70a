"""The anchor method: the likeliest token a and k-1 unseen tokens biased alike, so that just these are shown.

    log p_v = log p_a + (log p'_v - log p'_a)          the new normaliser cancels

1 + ceil((V - k) / (k - 1)) calls for V tokens, V - 1 of them where two are shown. Nothing is divided by 1 - p': the
odds formula logit(p) = logit(p') - b loses everything where p' rounds to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from heed.errors import ApiError
from heed.recovery.oracle import Ask, BiasReply, biased
from heed.recovery.probe import ApiTraits
from heed.recovery.readings import Readings
from heed.recovery.resolution import NO_NUMBER

MARGIN = 1e-3
"""Nats by which a token must beat what is not biased: a tie may be one that cannot be biased."""


def anchor_calls(tokens: int, top: int) -> int:
    """Return the calls for so many tokens, the plain one included.

    >>> anchor_calls(50_257, 2), anchor_calls(50_257, 5), anchor_calls(1536, 5), anchor_calls(2, 2)
    (50256, 12564, 384, 1)
    """
    return 1 + -(-max(0, tokens - top) // (top - 1))


def read_anchored(ask: Ask, traits: ApiTraits, tokens: Sequence[int]) -> Readings:
    """Return the log-probabilities of tokens; those of the plain call are known already.

    What does not show, since it is very unlikely or cannot be biased, is asked for again with the largest bias; what
    does not show then is missing from the readings. Raises `ApiError` where fewer than two tokens are shown.
    """
    size = traits.limits.top - 1
    if size < 1:
        raise ApiError("the anchor method needs an API that shows two tokens: this one shows one (--method nucleus)")
    known, readings = traits.known, Readings()
    for token in tokens:
        if token in known:
            readings.put(token, known[token], float(traits.resolution.error(known[token])))
    for bias in dict.fromkeys((traits.bias, traits.limits.bias)):
        left = readings.missing(tokens)
        groups = [left[at : at + size] for at in range(0, len(left), size)]
        replies = ask([biased([traits.anchor, *group], bias) for group in groups])
        for group, reply in zip(groups, replies, strict=True):
            _read(readings, traits, group, reply, bias)
    return readings


def _read(readings: Readings, traits: ApiTraits, group: Sequence[int], reply: BiasReply, bias: float) -> None:
    """Add what a reply shows of a group of tokens that were biased with the anchor."""
    known, shown, anchor = traits.known, reply.shown, traits.anchor
    if shown.get(anchor, NO_NUMBER) <= NO_NUMBER:
        return
    rival = max((value for token, value in known.items() if token != anchor), default=float("-inf"))
    base = known[anchor] - shown[anchor]
    off = traits.resolution.error(known[anchor]) + traits.resolution.error(shown[anchor], bias)
    for token in group:
        value = shown.get(token, NO_NUMBER)
        if value > NO_NUMBER and base + value + bias > rival + MARGIN:
            readings.put(token, base + value, float(off + traits.resolution.error(value, bias)))
