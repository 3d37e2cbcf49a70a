"""The methods by name, and what each costs: from how an API behaves to the whole distribution.

probe ──> method_of ──> read ──> Distribution          every question is asked once, whoever asks it again
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from heed.errors import ApiError, ConfigError, did_you_mean
from heed.recovery.anchor import anchor_calls, read_anchored
from heed.recovery.bisection import bisection_calls, read_bisected
from heed.recovery.forced import forced_calls, read_forced
from heed.recovery.low_rank import choose_tokens, fit_low_rank, wanted
from heed.recovery.nucleus import read_nucleus
from heed.recovery.oracle import ApiLimits, Ask, BiasQuestion, BiasReply
from heed.recovery.probe import ApiTraits, first_unseen, probe, token_order
from heed.recovery.readings import Distribution, Readings, distribution_of
from heed.recovery.resolution import resolution_of

METHODS = {
    "anchor": "the likeliest token and k-1 others biased alike: the API shows probabilities after the bias",
    "forced": "each token forced: the API shows the probability before the bias of the token that it takes",
    "bisection": "the bias at which a token becomes the likeliest: the API shows no probabilities",
    "nucleus": "only the likeliest tokens, up to --top-p: what was seen is banned",
    "low-rank": "about 2 d tokens and an output matrix (--matrix): all others by least squares",
}
"""Every method and what it is for; the first three read every token."""


@dataclass(frozen=True)
class RecoveryWish:
    """What is to be recovered, and how."""

    method: str = "auto"
    accuracy: float = 0.05
    """Of bisection: the width, in nats, that a logit is known to."""
    top_p: float = 0.9
    """Of a nucleus."""
    matrix: np.ndarray | None = None
    """(V, d): the output matrix, for low rank."""
    matrix_bias: np.ndarray | None = None
    """(V,): the output bias, where there is one."""
    estimated: bool = False
    """Whether the matrix is an estimate of the span."""
    tokens: tuple[int, ...] | None = None
    """Read these tokens only; None: all."""
    seed: int = 1
    """Of the choice of tokens for low rank."""


class Remembered:
    """Asks each question once, and keeps what was replied."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.replies: dict[BiasQuestion, BiasReply] = {}

    def __call__(self, questions: Sequence[BiasQuestion]) -> list[BiasReply]:
        """Return the replies, those that are known without asking."""
        new = list(dict.fromkeys(question for question in questions if question not in self.replies))
        self.replies |= zip(new, self._ask(new) if new else [], strict=True)
        return [self.replies[question] for question in questions]

    def values(self) -> list[float]:
        """Return every log-probability that was shown."""
        return [value for reply in self.replies.values() for value in reply.shown.values()]


def fitting(shows: str, top: int) -> str:
    """Return the method that reads any tokens, for what an API shows and how many of the likeliest.

    >>> fitting("biased", 5), fitting("raw", 0), fitting("biased", 1), fitting("nothing", 0)
    ('anchor', 'forced', 'bisection', 'bisection')
    """
    return "forced" if shows == "raw" else "anchor" if shows == "biased" and top > 1 else "bisection"


def method_of(name: str, traits: ApiTraits) -> str:
    """Return the method to read a whole vocabulary with, checked against what the API shows.

    Raises `ConfigError` for an unknown name, `ApiError` for a method that the API does not allow.
    """
    fits = fitting(traits.shows, traits.limits.top)
    if name == "auto":
        return fits
    if name not in METHODS:
        raise ConfigError(f"--method {name!r}: {did_you_mean(name, [*METHODS, 'auto'])}")
    if name in ("anchor", "forced") and name != fits:
        shown = {"biased": "after the bias", "raw": "before the bias", "nothing": "not at all"}[traits.shows]
        few = f" of {traits.limits.top}" if traits.shows == "biased" else ""
        raise ApiError(f"this API shows probabilities {shown}{few}, so {name} reads nothing: take --method auto")
    return name


def expected_calls(method: str, limits: ApiLimits, shows: str, wish: RecoveryWish) -> int:
    """Return the calls of a method by its formula, the plain one included, the others of the probe not.

    Those of a nucleus depend on the distribution: what is returned is the most that there can be.
    """
    tokens = limits.vocabulary if wish.tokens is None else len(wish.tokens)
    if method == "low-rank":
        assert wish.matrix is not None
        tokens, method = wanted(wish.matrix.shape[1], limits.vocabulary), fitting(shows, limits.top)
    if method == "nucleus":
        return 1 + min(limits.vocabulary, limits.biased)
    if method == "bisection":
        return bisection_calls(tokens, limits.bias, wish.accuracy)
    return anchor_calls(tokens, limits.top) if method == "anchor" else forced_calls(tokens, limits.top)


SUM = 1e-4
"""By which a sum of probabilities may miss 1, besides its error bar: a model's own softmax is not exact."""
Approve = Callable[[ApiTraits, str], None]
"""Is told how an API behaves and which method reads it, before that is paid for; may raise."""


def recover(
    ask: Ask,
    limits: ApiLimits,
    wish: RecoveryWish,
    approve: Approve = lambda traits, method: None,
    noise: Callable[[], float] = lambda: 0.0,
) -> tuple[ApiTraits, Distribution]:
    """Probe an API and return how it behaves, and the distribution of what comes next, with error bars.

    Once all is read it is known how finely the API prints; `noise` then tells how far equal questions were answered
    differently. Where error bars change by that, they are reckoned again from the same replies.
    """
    remembered = Remembered(ask)
    traits = probe(remembered, limits)
    method = method_of(wish.method, traits)
    check(method, limits, wish)
    approve(traits, method)
    found = read(remembered, traits, method, wish)
    resolution = replace(resolution_of(remembered.values()), noise=noise())
    if resolution != traits.resolution:
        traits = replace(traits, resolution=resolution)
        found = read(remembered, traits, method, wish)
    check_sum(found)
    return traits, replace(found, method=method, calls=len(remembered.replies))


def check_sum(found: Distribution) -> None:
    """Raise `ApiError` where probabilities add up to more than 1, or those of all tokens to less."""
    mass, off = found.seen_mass
    if mass - off > 1 + SUM or (found.seen.all() and mass + off < 1 - SUM):
        raise ApiError(
            f"the probabilities that were read add up to {mass:.6g} ± {off:.1g}: the API does something else than it "
            "did when it was probed, such as another temperature or a filter of its own; nothing was written"
        )


def check(method: str, limits: ApiLimits, wish: RecoveryWish) -> None:
    """Raise `ConfigError` where a method lacks its output matrix, or that has another vocabulary."""
    if method != "low-rank":
        return
    if wish.matrix is None:
        raise ConfigError("--method low-rank needs the output matrix: --matrix RUN, or --estimate-from earlier results")
    if len(wish.matrix) != limits.vocabulary:
        rows, tokens = len(wish.matrix), limits.vocabulary
        raise ConfigError(f"the output matrix has {rows:,} rows, and the vocabulary {tokens:,} tokens")


def read(ask: Ask, traits: ApiTraits, method: str, wish: RecoveryWish) -> Distribution:
    """Return the distribution by one method, from an API that has been probed."""
    V = traits.limits.vocabulary
    every = wish.tokens or token_order(V)

    def some(tokens: Sequence[int]) -> Readings:
        fits = fitting(traits.shows, traits.limits.top)
        if fits == "bisection":
            return read_bisected(ask, traits, tokens, wish.accuracy)
        return read_forced(ask, traits, tokens) if fits == "forced" else read_anchored(ask, traits, tokens)

    if method == "low-rank":
        assert wish.matrix is not None
        known = [
            *(traits.known or [traits.likeliest]),
            *first_unseen(traits.plain, traits.limits, max(1, traits.limits.top - 1)),
        ]
        tokens = choose_tokens(wish.matrix.shape[1], V, wish.seed, known)
        return fit_low_rank(some, tokens, wish.matrix, wish.matrix_bias, wish.estimated)
    if method == "nucleus":
        return distribution_of(method, read_nucleus(ask, traits, wish.top_p), V)
    if method == "bisection":
        return distribution_of(method, read_bisected(ask, traits, every, wish.accuracy), V)
    return distribution_of(method, some(every), V)
