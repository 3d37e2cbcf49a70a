"""The attention room: torch only, plain arguments, usable without the rest of heed.

Read `steps.py` first: each equation as one function. `layer.py` projects, places, mixes and merges; a file in
`mechanisms/` only mixes. The catalogues below are literal: a new mechanism is one file and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from heed.attention.cache import Cache, LayerCache, SlotCache, StateCache
from heed.attention.facts import Facts, Wishes, refuse_impossible
from heed.attention.held import HELD
from heed.attention.layer import Attention
from heed.attention.masks import Mask, bigbird_mask, global_mask, make_mask, padding_mask, random_mask, window_mask
from heed.attention.mechanism import Mechanism
from heed.attention.mechanisms.aft import AFTFull, AFTLocal, AFTSimple
from heed.attention.mechanisms.argmax import Argmax
from heed.attention.mechanisms.bigbird import BigBird
from heed.attention.mechanisms.fastformer import Fastformer
from heed.attention.mechanisms.linear import LinearAttention
from heed.attention.mechanisms.linformer import Linformer
from heed.attention.mechanisms.naive_mask import NaiveMask
from heed.attention.mechanisms.performer import Performer
from heed.attention.mechanisms.renormalised_mask import RenormalisedMask
from heed.attention.mechanisms.sliding_window import SlidingWindow
from heed.attention.mechanisms.softmax import Softmax
from heed.attention.mechanisms.synthesizer import DenseSynthesizer, RandomSynthesizer
from heed.attention.plugins import Entry, load_class, load_offer, offered, offers
from heed.attention.positions import (
    AlibiPositions,
    LearnedPositions,
    NoPositions,
    RelativePositions,
    RotaryPositions,
    SinusoidalPositions,
)
from heed.attention.projections import PROJECTIONS
from heed.attention.scores import SCORES, Score, find_score, pairwise
from heed.attention.shape import Shape
from heed.attention.steps import causal_mask, self_attention
from heed.errors import ConfigError, did_you_mean

MECHANISMS: dict[str, type[Mechanism]] = {
    "aft-full": AFTFull,
    "aft-local": AFTLocal,
    "aft-simple": AFTSimple,
    "argmax": Argmax,
    "bigbird": BigBird,
    "fastformer": Fastformer,
    "linear": LinearAttention,
    "linformer": Linformer,
    "naive-mask": NaiveMask,
    "performer": Performer,
    "renormalised-mask": RenormalisedMask,
    "sliding-window": SlidingWindow,
    "softmax": Softmax,
    "synthesizer-dense": DenseSynthesizer,
    "synthesizer-random": RandomSynthesizer,
}
"""Attention mechanisms by name; other packages add theirs through the entry point `heed.mechanisms`."""

POSITIONS = {
    "none": NoPositions,
    "learned": LearnedPositions,
    "sinusoidal": SinusoidalPositions,
    "rotary": RotaryPositions,
    "alibi": AlibiPositions,
    "relative": RelativePositions,
}
"""Schemes of positions by name; each is a module with `add(x, index)`, `at(index)` and `bias(T, S)`."""

MASKS = {
    "causal": causal_mask,
    "padding": padding_mask,
    "window": window_mask,
    "global": global_mask,
    "random": random_mask,
    "bigbird": bigbird_mask,
}
"""Masks by name; each is a function that returns booleans, True = may look."""

T = TypeVar("T")


def find(catalogue: Mapping[str, T], name: str, setting: str) -> T:
    """Return the entry `name`, or raise `ConfigError` that names the setting and the nearest entry.

    >>> find(MECHANISMS, "softmx", "model.attention.mechanism")
    Traceback (most recent call last):
    heed.errors.ConfigError: model.attention.mechanism: unknown value 'softmx', did you mean 'softmax'?
    """
    try:
        return catalogue[name]
    except KeyError:
        raise ConfigError(f"{setting}: unknown value {name!r}, {did_you_mean(name, catalogue)}") from None


def find_mechanism(name: str) -> type[Mechanism]:
    """Return the mechanism `name`: of the catalogue, of another package's entry point, or `package.module:Class`.

    Raises `ConfigError` for a name that nobody has, and for what cannot be imported or is no `Mechanism`.
    """
    if name in MECHANISMS:
        return MECHANISMS[name]
    if (held := HELD.get().get(name)) is not None:
        return held
    if ":" in name:
        return load_class(name, "model.attention.mechanism")
    rivals = offers(name)
    if rivals:
        return load_offer(name, rivals)
    return find({**MECHANISMS, **{offer.name: Mechanism for offer in offers()}}, name, "model.attention.mechanism")


def catalogue() -> dict[str, Entry]:
    """Return every mechanism by name: heed's own, then those of installed packages, also where they cannot be used."""
    own = {name: Entry(name, "heed", kind) for name, kind in MECHANISMS.items()}
    return own | offered(own)


__all__ = [
    "MASKS",
    "MECHANISMS",
    "POSITIONS",
    "PROJECTIONS",
    "SCORES",
    "AFTFull",
    "AFTLocal",
    "AFTSimple",
    "AlibiPositions",
    "Argmax",
    "Attention",
    "BigBird",
    "Cache",
    "DenseSynthesizer",
    "Entry",
    "Facts",
    "Fastformer",
    "LayerCache",
    "LearnedPositions",
    "LinearAttention",
    "Linformer",
    "Mask",
    "Mechanism",
    "NaiveMask",
    "NoPositions",
    "Performer",
    "RandomSynthesizer",
    "RelativePositions",
    "RenormalisedMask",
    "RotaryPositions",
    "Score",
    "Shape",
    "SinusoidalPositions",
    "SlidingWindow",
    "SlotCache",
    "Softmax",
    "StateCache",
    "Wishes",
    "bigbird_mask",
    "catalogue",
    "causal_mask",
    "find",
    "find_mechanism",
    "find_score",
    "global_mask",
    "make_mask",
    "padding_mask",
    "pairwise",
    "random_mask",
    "refuse_impossible",
    "self_attention",
    "window_mask",
]
