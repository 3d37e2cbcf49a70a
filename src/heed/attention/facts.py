"""What a mechanism declares about itself, once: the layer, `heed list`, the docs and the contract tests all read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from heed.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
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
    growth: tuple[int, int]
    """Powers of T in time and in memory of the fast path, which `heed bench attention` holds against what it measures.
    """
    cache: Literal["keys", "state", "none"]
    """How it decodes: from the keys and values of the past, from running sums of a fixed size, or not with a cache."""
    grouped: bool
    """Whether key/value heads may be fewer than query heads."""
    weights: bool
    """Whether it forms weights (T, S), on which dropout can act."""
    lengths: Literal["any", "fixed"] = "any"
    """fixed: parameters belong to positions, and a sequence longer than the context cannot be read."""
    scores: frozenset[str] = frozenset({"scaled-dot"})
    """How a query may meet a key, names of `SCORES`; empty where queries meet no keys."""
    inputs: Literal["qkv", "qv", "v"] = "qkv"
    """What it reads of queries, keys and values; the layer projects nothing else."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What a model asks of a mechanism."""

    causal: bool
    masks: frozenset[str]
    positions: str
    score: str = "scaled-dot"
    projection: str = "separate"
    grouped: bool = False
    qk_norm: bool = False


def refuse_impossible(name: str, facts: Facts, wishes: Wishes) -> None:
    """Raise `ConfigError` that lists every wish which the mechanism `name` cannot honour, and what it can."""
    problems: list[str] = []
    who = f"attention {name!r}"
    if wishes.causal and facts.causal == "never":
        problems.append(f"{who} mixes all positions and cannot be causal: use it in an encoder (model.kind encoder)")
    else:
        for mask in sorted(wishes.masks - facts.masks):
            problems.append(f"{who} does not honour the mask {mask!r}: it knows {_listed(facts.masks)}")
    if wishes.positions not in facts.positions:
        problems.append(f"{who} cannot take positions {wishes.positions!r}: choose {_listed(facts.positions)}")
    if wishes.score != "scaled-dot" and wishes.score not in facts.scores and "any" not in facts.scores:
        problems.append(f"{who} cannot take the score {wishes.score!r}: {_scores(facts.scores)}")
    reads = " and ".join({"q": "queries", "k": "keys", "v": "values"}[part] for part in facts.inputs)
    if wishes.projection not in ("separate", "network", "networks") and facts.inputs != "qkv":
        problems.append(f"{who} reads {reads} only and cannot take the projection {wishes.projection!r}")
    if wishes.qk_norm and facts.inputs != "qkv":
        problems.append(f"{who} reads {reads} only, no queries and keys to normalise: leave model.qk_norm out")
    if wishes.grouped and not facts.grouped:
        problems.append(f"{who} has no grouped key/value heads: leave model.n_kv_heads out")
    if problems:
        raise ConfigError(*problems)


def _scores(names: frozenset[str]) -> str:
    return f"choose {_listed(names)}" if names else "leave model.attention.score out"


def _listed(names: frozenset[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"
