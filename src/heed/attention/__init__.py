"""The attention room: torch only, plain arguments, usable without the rest of heed.

Read `steps.py` first: each equation as one function. `layer.py` projects, places, mixes and merges; one file a
mechanism only mixes. The catalogues below are literal: a new mechanism is one file and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from heed.attention.cache import Cache, LayerCache, StateCache
from heed.attention.facts import Facts, Wishes, refuse_impossible
from heed.attention.layer import Attention
from heed.attention.masks import Mask, make_mask, padding_mask, window_mask
from heed.attention.mechanism import Mechanism
from heed.attention.positions import LearnedPositions, NoPositions, RotaryPositions
from heed.attention.projections import PROJECTIONS
from heed.attention.scores import SCORES, Score
from heed.attention.shape import Shape
from heed.attention.softmax import Softmax
from heed.attention.steps import causal_mask, self_attention
from heed.errors import ConfigError, did_you_mean

MECHANISMS: dict[str, type[Mechanism]] = {
    "softmax": Softmax,
}
"""Attention mechanisms by name; other packages add theirs through the entry point `heed.mechanisms`."""

POSITIONS = {
    "none": NoPositions,
    "learned": LearnedPositions,
    "rotary": RotaryPositions,
}
"""Schemes of positions by name; each is a module with `add(x, index)`, `at(index)` and `bias(T, S)`."""

MASKS = {
    "causal": causal_mask,
    "padding": padding_mask,
    "window": window_mask,
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
    return find(MECHANISMS, name, "model.attention.mechanism")


__all__ = [
    "MASKS",
    "MECHANISMS",
    "POSITIONS",
    "PROJECTIONS",
    "SCORES",
    "Attention",
    "Cache",
    "Facts",
    "LayerCache",
    "LearnedPositions",
    "Mask",
    "Mechanism",
    "NoPositions",
    "RotaryPositions",
    "Score",
    "Shape",
    "Softmax",
    "StateCache",
    "Wishes",
    "causal_mask",
    "find",
    "find_mechanism",
    "make_mask",
    "padding_mask",
    "refuse_impossible",
    "self_attention",
    "window_mask",
]
