"""What a mechanism declares about itself, once: the layer, `heed list`, the docs and the contract tests all read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from heed.errors import ConfigError


@dataclass(frozen=True)
class Facts:
    """The declaration of one attention mechanism. Costs are in T tokens and D width, as written in its paper."""

    equation: str
    """The mechanism in one line."""
    source: str
    """The paper it comes from."""
    causal: Literal["exact", "leaks", "never"]
    """exact: the past never depends on the future. leaks: it does although masked. never: for encoders only."""
    differentiable: Literal["all", "values"]
    """Whether gradients reach queries, keys and values, or the values only."""
    masks: frozenset[str]
    """The masks it honours, names of `MASKS`."""
    positions: frozenset[str]
    """The schemes of positions that make sense with it, names of `POSITIONS`."""
    time: str
    """Time of one layer, such as 'T^2 D'."""
    memory: str
    """Memory of one layer beside its input."""
    cache: bool
    """Whether it can decode with a cache of keys and values."""
    grouped: bool
    """Whether key/value heads may be fewer than query heads."""
    lengths: Literal["any", "fixed"] = "any"
    """fixed: parameters belong to positions, and a longer sequence cannot be read."""


def refuse_impossible(name: str, facts: Facts, *, causal: bool, masks: set[str], positions: str, grouped: bool) -> None:
    """Raise `ConfigError` that lists every wish which the mechanism `name` cannot honour, and what it can."""
    problems: list[str] = []
    if causal and facts.causal == "never":
        problems.append(f"attention {name!r} mixes all positions and cannot be causal: use it in an encoder")
    for mask in sorted(masks - facts.masks):
        problems.append(f"attention {name!r} does not honour the mask {mask!r}: it knows {_listed(facts.masks)}")
    if positions not in facts.positions:
        problems.append(f"attention {name!r} cannot take positions {positions!r}: choose {_listed(facts.positions)}")
    if grouped and not facts.grouped:
        problems.append(f"attention {name!r} has no grouped key/value heads: leave n_kv_heads out")
    if problems:
        raise ConfigError(*problems)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"
