"""What a head does in figures: how widely it looks, how far back, and at what.

    entropy       mean over queries of -sum_s p ln p, nats               p: the weights of a query, divided by their sum
    share         mean over queries of entropy / ln(keys allowed)        0: one key, 1: all alike
    distance      mean over queries of sum_s p |t - s|, tokens
    previous      mean over queries t > 0 of a[t, t - 1]                 a: the weights as they are
    first         mean over queries t > 0 of a[t, 0]

Entropy and distance have no meaning where weights are negative, and are NaN there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST = -1e-6
"""Weights below this are negative, and no rounding."""


@dataclass(frozen=True)
class HeadFigures:
    """The figures of the heads of a layer, each (H,) float64."""

    entropy: np.ndarray
    share: np.ndarray
    distance: np.ndarray
    previous: np.ndarray
    first: np.ndarray


def figures_of(weights: np.ndarray, allowed: np.ndarray) -> HeadFigures:
    """Return the figures of weights (H, T, T) of which `allowed` (1 or H, T, T) may be looked at."""
    a = weights.astype(np.float64)
    H, T, _ = a.shape
    entropy, share, distance = spread_of(a, allowed)
    later = np.arange(1, T)
    empty = np.full(H, np.nan)
    previous = a[:, later, later - 1].mean(axis=1) if T > 1 else empty
    first = a[:, 1:, 0].mean(axis=1) if T > 1 else empty
    return HeadFigures(entropy, share, distance, previous, first)


def spread_of(a: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (entropy in nats, its share of the largest possible, distance in tokens) of weights a (H, T, S).

    >>> entropy, share, distance = spread_of(np.full((1, 2, 2), 0.5), np.ones((1, 2, 2), bool))
    >>> entropy.round(4).tolist(), share.tolist(), distance.tolist()
    ([0.6931], [1.0], [0.5])
    """
    H, T, S = a.shape
    negative = a.min(axis=(1, 2)) < LEAST
    total = a.sum(axis=2, keepdims=True)
    p = np.divide(a.clip(0), total, out=np.zeros_like(a), where=total > 0)
    nats = -(p * np.log(p, out=np.zeros_like(p), where=p > 0)).sum(axis=2)  # (H, T)
    most = np.broadcast_to(allowed.sum(axis=2), (H, T))
    several = most > 1
    room = np.log(most, out=np.ones((H, T)), where=several)
    counted = several.sum(axis=1)
    share = np.divide((nats / room * several).sum(axis=1), counted, out=np.full(H, np.nan), where=counted > 0)
    away = np.abs(np.arange(T)[:, None] - np.arange(S))
    distance = (p * away).sum(axis=2).mean(axis=1)
    entropy, share, distance = (np.where(negative, np.nan, value) for value in (nats.mean(axis=1), share, distance))
    return entropy, share, distance


def role_of(previous: float | None, first: float | None, induction: float | None, share: float | None) -> str:
    """Say in a word what a head does, where one thing takes half of its weight or more; else how widely it looks.

    >>> role_of(0.8, 0.1, 0.02, 0.3), role_of(0.1, 0.1, None, 0.95), role_of(0.1, 0.2, 0.1, 0.5)
    ('previous token', 'looks everywhere', 'mixed')
    """
    named = {"induction": induction or 0.0, "previous token": previous or 0.0, "first token": first or 0.0}
    best = max(named, key=lambda name: named[name])
    if named[best] >= 0.5:
        return best
    return "looks everywhere" if share is not None and share >= 0.9 else "mixed"
