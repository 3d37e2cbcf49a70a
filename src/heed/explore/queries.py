"""Which query does it: select a key, average some, give these weights; or why none does.

    w = softmax(K q)                            weights of a query q (d,) over keys K (n, d)
    select j                exists iff k_j is a vertex of the hull of the keys and no other key equals it
    average a subset        exists iff a hyperplane that supports the hull holds exactly the keys of the subset
    all keys                q = 0, exactly
    w_j >= 1 - eps          needs a lead of ln((n - 1)(1 - eps) / eps) over every other score, if those are equal

Select and average are meant in the limit of a large scale: q = S u with S to infinity. Both are linear programs for u,
and where there is none their dual is a certificate (`certificates.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from heed.errors import ConfigError
from heed.explore.arrays import (
    Array,
    count_of,
    enumerated,
    fraction_of,
    matrix_of,
    places_of,
    said,
    softmax,
    vector_of,
)
from heed.explore.certificates import NEAR, Certificate, combination, proves_within, widest_margin

LARGEST = 1e12
"""Scales beyond this are not looked at."""
REACH = 20.0
"""How far beyond the scores of the other keys that of an edited key may lie: e^-20 is nothing."""


@dataclass(frozen=True)
class QueryAnswer:
    """A query that does what was asked, or the proof that none does."""

    possible: bool
    direction: Array | None
    """u (d,): the query is `scale` times it. None where there is none."""
    scale: float
    """The smallest S that reaches the tolerance."""
    query: Array | None
    """S u (d,), plus what fixes the weights within a subset."""
    weights: Array | None
    """softmax(K q) (n,)."""
    error: float
    """The largest difference between a weight and what was asked."""
    margin: float
    """What u gives the wanted keys over the best other one, in units of the spread of the keys."""
    certificate: Certificate | None
    proved_within: bool
    """Whether the certificate forbids even weights within the tolerance, and not only the exact ones."""
    explanation: str


@dataclass(frozen=True)
class KeyEdit:
    """A key in the place of another, so that a query that stays does something else."""

    possible: bool
    key: Array | None
    """The new key (d,)."""
    keys: Array | None
    """All keys (n, d) with the new one in its place."""
    weights: Array | None
    error: float
    """The largest difference between a weight and what was asked; where it is not possible, the least that is."""
    explanation: str


@dataclass(frozen=True)
class CopyingGap:
    """What it takes to copy one value among n."""

    gap: float
    """Lead of the score over each other one, all others being equal."""
    rule: float
    """ln((n - 1) / eps): the same for small eps, and never less."""
    weight: float
    """The weight at that gap, which is 1 - eps."""
    explanation: str


def select(keys: ArrayLike, which: int, tolerance: float = 0.05) -> QueryAnswer:
    """Return the query that gives key `which` of keys (n, d) a weight of at least 1 - tolerance, or why there is none.

    Raises `ConfigError` for keys that are no matrix of numbers, a place that there is not, or a bad tolerance.
    """
    return average(keys, [which], tolerance)


def average(keys: ArrayLike, subset: Sequence[int], tolerance: float = 0.05) -> QueryAnswer:
    """Return the query that averages a subset of keys (n, d) and leaves out the others, or why there is none.

    `tolerance` is the largest difference that a weight may have from 1 / |subset|, or from 0 outside. A subset of one
    is to be selected; of all keys q = 0 is exact. Raises `ConfigError` as `select` does.
    """
    K = matrix_of("keys", keys)
    within = places_of("subset", subset, len(K))
    target = np.zeros(len(K))
    target[within] = 1 / len(within)
    return _towards(K, within, target, fraction_of("tolerance", tolerance))


def hit(keys: ArrayLike, weights: ArrayLike, tolerance: float = 0.05) -> QueryAnswer:
    """Return the query that gives keys (n, d) these weights (n,), or why there is none.

    Weights that are all above 0 are met exactly: q.k_i = log w_i + a constant, a linear system. Where some are 0 the
    others must lie on a hyperplane that supports the hull, and the zeros are met in the limit of a large scale.
    Raises `ConfigError` for weights that are negative or do not sum to 1, and as `select` does.
    """
    K = matrix_of("keys", keys)
    target = vector_of("weights", weights, len(K))
    if target.min() < 0 or abs(math.fsum(target) - 1) > 1e-6:
        raise ConfigError("weights: they must be at least 0 and sum to 1, no softmax gives others")
    within = [int(i) for i in np.flatnonzero(target > 0)]
    return _towards(K, within, target, fraction_of("tolerance", tolerance))


def _towards(K: Array, within: list[int], target: Array, tolerance: float) -> QueryAnswer:
    """Return the query whose weights are the target: a part q0 that is right within, and S u that hides the rest."""
    logs = np.log(target[within])
    level, rest, dependency = _levels(K[within], logs)
    if rest > NEAR:
        b = np.zeros(len(K))
        b[within] = dependency
        return _impossible(
            Certificate(np.zeros(len(K)), b),
            "No query gives these weights: the keys of the subset depend on each other, and the logarithms of the "
            "weights do not depend on each other in the same way.",
            target,
            tolerance,
        )
    if len(within) == len(K):
        return _found(K, target, np.zeros(K.shape[1]), level, 0.0, tolerance, 0.0)
    u, margin = widest_margin(K, within)
    if margin <= NEAR:
        return _impossible(combination(K, within), _why_not(within, target), target, tolerance)
    return _found(K, target, u, level, _smallest_scale(K, target, level, u, tolerance), tolerance, margin)


def _levels(inside: Array, logs: Array) -> tuple[Array, float, Array]:
    """Return q0 (d,) with q0.k_a = log w_a + constant, what is left of it, and the dependency that is to blame."""
    differences, wanted = inside[1:] - inside[0], logs[1:] - logs[0]
    if not len(differences):
        return np.zeros(inside.shape[1]), 0.0, np.zeros(1)
    q0 = np.linalg.pinv(differences, rcond=1e-10) @ wanted
    rest = wanted - differences @ q0  # orthogonal to what differences span: rest^T differences = 0
    return q0, float(np.abs(rest).max()), np.r_[-rest.sum(), rest]


def _why_not(within: list[int], target: Array) -> str:
    """Say what the certificate proves."""
    if len(within) == 1:
        return (
            f"No query selects key {within[0]}: it is a convex combination of other keys, so that whatever the query, "
            "one of those has a score at least as large."
        )
    if np.ptp(target[within]) > 0:
        return (
            f"No query gives keys {enumerated(within)} these weights and the others none: a mean of other keys lies in "
            "the plane through them, so where the scores of these are given those of the others cannot all fall."
        )
    return (
        f"No query averages keys {enumerated(within)} alone: a mean of other keys lies in the plane through them, so "
        "where these have equal scores another has at least as large a one. Heads that each select one may do it."
    )


def _impossible(certificate: Certificate, explanation: str, target: Array, tolerance: float) -> QueryAnswer:
    proved = proves_within(certificate, target, tolerance)
    if not proved:
        explanation += f" That is so exactly; within {said(tolerance)} a query may still come near."
    return QueryAnswer(False, None, math.inf, None, None, 1.0, 0.0, certificate, proved, explanation)


def _found(
    K: Array, target: Array, u: Array, level: Array, scale: float, tolerance: float, margin: float
) -> QueryAnswer:
    """Return the answer at a scale, with its weights as attention makes them."""
    query = level + scale * u
    weights = softmax(K @ query)
    error = float(np.abs(weights - target).max())
    within = [int(i) for i in np.flatnonzero(target > 0)]
    if len(within) == len(K):
        even = float(np.ptp(target)) == 0
        words = "A query of zeros gives every key the same score, so it averages all of them exactly."
        if not even:
            words = "The query solves q.k_i = log w_i + a constant, so the weights are met exactly."
    elif len(within) == 1:
        words = (
            f"Key {within[0]} is a vertex of the hull: along this direction its score leads, and from a scale of "
            f"{said(scale)} on its weight is at least {said(1 - tolerance)}."
        )
    else:
        words = (
            f"Keys {enumerated(within)} are all that lies on a plane that supports the hull: their scores stay where "
            f"they are while the others fall, and from a scale of {said(scale)} on every weight is within "
            f"{said(tolerance)}."
        )
    return QueryAnswer(True, u, scale, query, weights, error, margin, None, False, words)


def _smallest_scale(K: Array, target: Array, level: Array, u: Array, tolerance: float) -> float:
    """Return the smallest S from which on softmax(K (level + S u)) stays within the tolerance of the target."""

    def excess(scale: float) -> float:
        return float(np.abs(softmax(K @ (level + scale * u)) - target).max()) - tolerance

    # what the others get together falls with S, but one of them may get more for a while, as others lose theirs
    outside, high = target == 0, 1.0
    while softmax(K @ (level + high * u))[outside].sum() > tolerance:
        high *= 2
        if high > LARGEST:
            raise ConfigError("keys: they lie so near to each other that no reasonable scale tells them apart")
    grid = np.r_[0.0, np.geomspace(high / 1e4, high, 800)]
    errors = np.abs(softmax(K @ level + grid[:, None] * (K @ u)) - target).max(1)
    bad = np.flatnonzero(errors > tolerance)
    return _at_least(excess, grid[bad[-1]], grid[bad[-1] + 1]) if len(bad) else 0.0


def _at_least(excess: Callable[[float], float], low: float, high: float) -> float:
    """Return the root of `excess` from `low`, where it is above 0, to `high`; itself on the side where it is not."""
    root = _root(excess, low, high)
    return root if excess(root) <= 0 else root * (1 + 1e-9)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function that changes its sign is 0."""
    return float(brentq(function, low, high, xtol=1e-12, rtol=1e-12))  # pyright: ignore[reportArgumentType]


def scale_that_reaches(
    direction: ArrayLike, keys: ArrayLike, target: ArrayLike, tolerance: float = 0.05, values: ArrayLike | None = None
) -> tuple[float, float] | None:
    """Return the least and the greatest S for which S u is within a tolerance of a target; None if none is.

    direction u (d,), keys (n, d). Without values the target is weights (n,), with values (n, m) an output (m,); what
    is measured is the largest difference of a component. Scales from 1e-3 to 1e6 are looked at in steps of 1 %, and
    the ends of the first run of good ones are found by bisection. Raises `ConfigError` for arrays of wrong shapes.
    """
    K = matrix_of("keys", keys)
    u = vector_of("direction", direction, K.shape[1])
    V = np.eye(len(K)) if values is None else matrix_of("values", values, rows=len(K))
    wanted, allowed = vector_of("target", target, V.shape[1]), fraction_of("tolerance", tolerance)

    def excess(scale: float) -> float:
        return float(np.abs(softmax(K @ (scale * u)) @ V - wanted).max()) - allowed

    grid = np.geomspace(1e-3, 1e6, 2083)
    good = (np.abs(softmax(grid[:, None] * (K @ u)) @ V - wanted).max(1) <= allowed).tolist()
    if not any(good):
        return None
    first = good.index(True)
    last = next((i for i in range(first, len(good)) if not good[i]), len(good)) - 1
    low = float(grid[first]) if first == 0 else _root(excess, float(grid[first - 1]), float(grid[first]))
    high = math.inf if last == len(grid) - 1 else _root(excess, float(grid[last]), float(grid[last + 1]))
    return low, high


def edit_key(
    keys: ArrayLike,
    query: ArrayLike,
    which: int,
    subset: Sequence[int],
    tolerance: float = 0.05,
    unit: bool = False,
) -> KeyEdit:
    """Return a key in the place of `which` with which the query, as it is, averages `subset`.

    keys (n, d), query (d,). `subset` may hold `which` or not, and be it alone: then the key is selected. With `unit`
    the new key has length 1. Only the component along the query counts, so k = (s / |q|^2) q + what is orthogonal to
    q, where s is the score that is needed; with length 1 that is possible for |s| <= |q|.
    Raises `ConfigError` for arrays of wrong shapes, places that there are not, and a query of zeros.
    """
    K = matrix_of("keys", keys)
    q = vector_of("query", query, K.shape[1])
    place = places_of("which", [which], len(K))[0]
    within = places_of("subset", subset, len(K))
    norm = float(np.linalg.norm(q))
    if norm == 0:
        raise ConfigError("query: it is all zeros, which gives every key the same weight whatever the key")
    target = np.zeros(len(K))
    target[within] = 1 / len(within)
    scores = K @ q
    others = np.delete(scores, place)
    low, high = (-norm, norm) if unit else (float(others.min()) - REACH, float(others.max()) + REACH)

    def errors(tried: Array) -> Array:
        changed = np.tile(scores, (len(tried), 1))
        changed[:, place] = tried
        return np.abs(softmax(changed) - target).max(1)

    best = _lowest(errors, low, high)
    key = _with_score(q, best, K[place], unit)
    changed = K.copy()
    changed[place] = key
    weights = softmax(changed @ q)
    found = float(np.abs(weights - target).max())
    possible = found <= fraction_of("tolerance", tolerance)
    return KeyEdit(
        possible, key, changed, weights, found, _about_edit(place, within, best, norm, found, unit, possible)
    )


def _lowest(errors: Callable[[Array], Array], low: float, high: float) -> float:
    """Return the score with the smallest error: by a grid, refined ten times around its best point."""
    best = low
    for _ in range(10):
        grid = np.linspace(low, high, 201)
        place = int(errors(grid).argmin())
        best, low, high = (float(grid[i]) for i in (place, max(0, place - 1), min(200, place + 1)))
    return best


def _with_score(q: Array, score: float, old: Array, unit: bool) -> Array:
    """Return the key with q.k = score that keeps what it can of the old one, or has length 1."""
    along = score / (q @ q) * q
    across = old - (old @ q) / (q @ q) * q
    if not unit:
        return along + across
    left = max(0.0, 1 - float(along @ along))
    if np.linalg.norm(across) < 1e-12:  # any direction at right angles to q
        axis = np.eye(len(q))[int(np.argmin(np.abs(q)))]
        across = axis - (axis @ q) / (q @ q) * q
    length = float(np.linalg.norm(across))
    key = along + (math.sqrt(left) / length * across if length > 0 else 0.0)
    return key / np.linalg.norm(key)


def _about_edit(
    place: int, within: list[int], score: float, norm: float, error: float, unit: bool, possible: bool
) -> str:
    """Say what the new key does."""
    if possible:
        kept = " of length 1" if unit else ""
        shared = f"keys {enumerated(within)} share the weight" if len(within) > 1 else f"key {within[0]} has it all"
        return (
            f"Only the score of key {place} can change, and a key{kept} whose component along the query is "
            f"{said(score / norm)} has the score {said(score)}: then {shared}, within {said(error)}."
        )
    if unit:
        return (
            f"A key of length 1 has a score of at most |q| = {said(norm)}, and the scores of the other keys stay: the "
            f"best that can be reached is an error of {said(error)}."
        )
    return (
        f"Only the score of key {place} can change; the others of the subset do not share the weight as they are. The "
        f"best that can be reached is an error of {said(error)}."
    )


def copying_gap(n: int, eps: float) -> CopyingGap:
    """Return the lead over n - 1 equal scores that gives a weight of 1 - eps.

    weight = 1 / (1 + (n - 1) exp(-gap)). Raises `ConfigError` for n below 2 and eps outside (0, 1).
    """
    count, eps = count_of("n", n, least=2, most=10**12), fraction_of("eps", eps)
    gap = math.log((count - 1) * (1 - eps) / eps)
    rule = math.log((count - 1) / eps)
    weight = 1 / (1 + (count - 1) * math.exp(-gap))
    return CopyingGap(
        gap,
        rule,
        weight,
        f"To copy one of {count:,} values to within {said(eps)} its score must lead each other one by {said(gap)}: "
        "what counts is the lead over all of them together, which grows with the logarithm of their number.",
    )


def copied_weight(score: float, others: ArrayLike) -> float:
    """Return the weight of a score among other scores (n - 1,): 0.129 for 10 among a thousand of 5."""
    rest = vector_of("others", others)
    return float(softmax(np.r_[float(score), rest])[0])
