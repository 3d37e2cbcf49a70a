"""Induction: does a head look at what followed the current token the last time? Olsson et al. 2022.

    x_1 .. x_n x_1 .. x_n           n random tokens, read twice or more
    score = mean over the later copies of a[t, t - n + 1] + a[t, t - 2 n + 1] + ...

Random tokens have no other reason to be looked at. A head that looks everywhere alike has the score `chance`, the
same mean of (keys that count) / (keys allowed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heed.errors import ConfigError
from heed.explore.subject import Subject


@dataclass(frozen=True)
class InductionPlan:
    """Which random tokens are read."""

    length: int
    """n, tokens of a copy."""
    repeats: int = 2
    """Copies in a sequence."""
    sequences: int = 16
    seed: int = 0


@dataclass(frozen=True)
class InductionScores:
    """What the heads did on repeated random tokens."""

    scores: np.ndarray
    """(sequences, L, H)."""
    chance: float
    """Score of a head that looks at all keys alike."""
    first_nats: np.ndarray
    """(sequences,): loss of the first copy, its first token aside; empty where there is no loss."""
    later_nats: np.ndarray
    """(sequences,): loss of the later copies."""


def plan_induction(
    context: int, start: int, length: int | None, repeats: int, sequences: int, seed: int
) -> InductionPlan:
    """Return a plan that fits into `context` tokens after `start` tokens that every text begins with.

    Raises `ConfigError` where the length that is asked for does not fit.
    """
    most = (context - start) // repeats
    if length is None:
        length = min(50, most)
    if not 2 <= length <= most:
        raise ConfigError(
            f"--repeat: {repeats} copies of {length} random tokens do not fit into a context of {context}: "
            f"a copy has 2 to {most} tokens"
        )
    return InductionPlan(length, repeats, sequences, seed)


def repeated_tokens(ids: np.ndarray, start: Sequence[int], plan: InductionPlan) -> np.ndarray:
    """Return sequences of random tokens out of `ids`, each copy behind the other: (sequences, start + n repeats)."""
    drawn = np.random.default_rng(plan.seed).choice(ids, (plan.sequences, plan.length))
    begin = np.tile(np.asarray(start, dtype=drawn.dtype), (plan.sequences, 1))
    return np.concatenate([begin, np.tile(drawn, plan.repeats)], axis=1)


def induction_score(weights: np.ndarray, length: int, start: int = 0) -> np.ndarray:
    """Return the scores (H,) of weights (H, T, T) on copies of `length` tokens behind `start` others.

    A head that looks from the fourth token at the second, the one after its own first copy (n = 3), does induction:

    >>> a = np.zeros((1, 6, 6)); a[0, [3, 4, 5], [1, 2, 3]] = 1
    >>> induction_score(a, 3).tolist()
    [1.0]
    """
    T = weights.shape[1]
    total = np.zeros(weights.shape[0])
    queries = np.arange(start + length, T)
    for back in range(length - 1, T, length):
        those = queries[queries - back > start]  # the key after an earlier copy of the query's token
        total += weights[:, those, those - back].sum(axis=1)
    return total / len(queries)


def measure_induction(subject: Subject, plan: InductionPlan) -> InductionScores:
    """Read repeated random tokens and score every head. The model must see what stands before a token only."""
    start = len(subject.start_ids)
    rows = repeated_tokens(subject.plain_ids, subject.start_ids, plan)
    found, chance = [], 0.0
    for row in rows:
        layers = subject.trace(row.tolist()).layers
        found.append(np.stack([induction_score(one.weights, plan.length, start) for one in layers]))
        if not chance:
            even = layers[0].allowed / layers[0].allowed.sum(axis=2, keepdims=True).clip(1)
            chance = float(induction_score(even, plan.length, start).mean())
    nats = subject.nats(rows[:, :-1], rows[:, 1:]) if subject.predicts else np.zeros((plan.sequences, 0))
    split = start + plan.length - 1  # targets before this place belong to the first copy
    first, later = nats[:, start:split], nats[:, split:]
    if not subject.predicts:
        return InductionScores(np.stack(found), chance, np.zeros(0), np.zeros(0))
    return InductionScores(np.stack(found), chance, first.mean(axis=1), later.mean(axis=1))
