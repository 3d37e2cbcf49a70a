"""Three calls that tell how an API behaves, and so which method reads it.

    1  plain                                    its top k, the likeliest token a (at temperature 0 where none show)
    2  a and k-1 unseen tokens, biased by B     does the bias move what is reported?
    3  one of the unseen, biased by B'          is it taken then, and is its own probability told? is a biased at all?

Calls 1 and 2 are the first two of the anchor method, and 1 and 3 of forced reading: the probe costs them one call.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from heed.errors import ApiError
from heed.recovery.oracle import ApiLimits, Ask, BiasQuestion, BiasReply, biased
from heed.recovery.resolution import NO_NUMBER, Resolution, resolution_of

BIAS = 40.0
"""What unseen tokens are biased by. More would cost digits (float32 holds 1e-6 of 40, and 4e-6 of 100), less would
miss tokens that are e^40 times less likely than the second one, which are asked for again with the largest bias."""
MOVED = 0.5
"""Nats by which a bias of 40 moves a log-probability at least, where it moves it at all."""
SURE = 0.01
"""Nats from 0 within which a token has all of the probability."""
TRIED = 4
"""Tokens that are forced before it is said that none can be."""

Shows = Literal["biased", "raw", "nothing"]


@dataclass(frozen=True)
class ApiTraits:
    """How an API behaves: what the probe found."""

    shows: Shows
    """The probabilities after the bias, those before it, or none."""
    limits: ApiLimits
    """With the number of likeliest tokens that it really shows."""
    plain: BiasReply
    """What it says without any bias."""
    anchor: int
    """The likeliest token that can be biased."""
    resolution: Resolution

    @property
    def known(self) -> dict[int, float]:
        """What the plain call showed of the likeliest tokens."""
        return shown_top(self.plain)

    @property
    def likeliest(self) -> int:
        """The likeliest token."""
        known = self.known
        return max(known, key=lambda token: known[token]) if known else self.plain.token

    @property
    def bias(self) -> float:
        """What tokens are biased by that are to be seen."""
        return min(BIAS, self.limits.bias)


def probe(ask: Ask, limits: ApiLimits) -> ApiTraits:
    """Ask three questions and return how the API behaves.

    Raises `ApiError` where a bias changes nothing that can be seen.
    """
    plain = ask([BiasQuestion()])[0]
    if not plain.top:
        plain = ask([BiasQuestion(greedy=True)])[0]
    shown = shown_top(plain)
    limits = replace(limits, top=min(limits.top, len(shown)) if shown else 0)
    ranked = sorted(shown, key=lambda token: -shown[token]) or [plain.token]
    unseen = first_unseen(plain, limits, max(1, limits.top - 1))
    if not unseen:
        raise ApiError("the API shows the whole vocabulary in one call: there is nothing to recover")
    bias = min(BIAS, limits.bias)
    pair, forced = ask([biased([ranked[0], *unseen], bias), biased(unseen[:1], limits.bias)])
    values = [value for reply in (plain, pair, forced) for value in reply.shown.values()]
    traits = ApiTraits("nothing", limits, plain, ranked[0], resolution_of(values))
    if _moved(shown, shown_top(pair), unseen) or _forced_moved(shown, forced, unseen[0]):
        return replace(traits, shows="biased", anchor=_anchor(ranked, unseen[0], pair, forced, limits.bias))
    if forced.token != unseen[0] and not _taken(ask, plain, limits):
        raise ApiError("a logit bias of this API changes neither what it shows nor what it takes: nothing to read")
    return replace(traits, shows="raw" if forced.logprob is not None else "nothing")


def elsewhere(ask: Ask, traits: ApiTraits) -> ApiTraits:
    """Return how an API behaves after another prompt than the one that was probed: one plain call."""
    plain = ask([BiasQuestion()])[0]
    shown = shown_top(plain)
    return replace(traits, plain=plain, anchor=max(shown, key=lambda token: shown[token], default=plain.token))


def shown_top(reply: BiasReply) -> dict[int, float]:
    """Return the likeliest tokens of a reply; one that chance took is none, so that calls can be counted beforehand."""
    return {token: value for token, value in reply.top if value > NO_NUMBER}


def token_order(vocabulary: int) -> list[int]:
    """Return all tokens, those at the ends last: special tokens, which often cannot be biased, stand there.

    >>> token_order(7)
    [2, 3, 4, 5, 6, 0, 1]
    """
    return [*range(vocabulary // 3, vocabulary), *range(vocabulary // 3)]


def first_unseen(plain: BiasReply, limits: ApiLimits, count: int) -> list[int]:
    """Return the first `count` tokens that a plain call did not show."""
    known = shown_top(plain) or {plain.token}
    wanted = (token for token in token_order(limits.vocabulary) if token not in known)
    return [token for token, _ in zip(wanted, range(count), strict=False)]


def _taken(ask: Ask, plain: BiasReply, limits: ApiLimits) -> bool:
    """Whether one of a few other tokens is taken when it is forced: the first may have been one that cannot be."""
    unseen = first_unseen(plain, limits, limits.vocabulary)
    others = unseen[1 :: max(1, len(unseen) // TRIED)][:TRIED]
    replies = ask([biased([token], limits.bias) for token in others])
    return any(reply.token == token for token, reply in zip(others, replies, strict=True))


def _moved(plain: dict[int, float], pair: dict[int, float], unseen: list[int]) -> bool:
    """Whether a bias moved what is reported: unseen tokens show among the likeliest, or known ones have new values."""
    if any(token in pair for token in unseen):
        return True
    return any(token in plain and abs(plain[token] - value) > MOVED for token, value in pair.items())


def _forced_moved(plain: dict[int, float], forced: BiasReply, unseen: int) -> bool:
    """Whether what is told of a token that was forced can only be what it has by that.

    A token that a plain call did not show is less likely than those that it showed; and none has all by itself.
    """
    if forced.token != unseen or forced.logprob is None:
        return False
    return forced.logprob > min([-SURE, *(value + SURE for value in plain.values())])


def _anchor(ranked: list[int], unseen: int, pair: BiasReply, forced: BiasReply, bias: float) -> int:
    """Return the likeliest token if it can be biased, else the second one.

    With both biased alike their distance is d; with the unseen one alone it is d + bias. Where the likeliest did not
    take its bias, it lies far below the other in both.
    """
    top, both, alone = ranked[0], pair.shown, forced.shown
    if top in both and unseen in both and both[unseen] - both[top] < MOVED:
        return top
    if top in both and top in alone and unseen in both and unseen in alone:
        distance = (alone[unseen] - alone[top]) - (both[unseen] - both[top])
        if abs(distance - bias) < MOVED:
            return top
    elif top in both and unseen not in both:  # the unseen one is what cannot be biased
        return top
    return ranked[1] if len(ranked) > 1 else top
