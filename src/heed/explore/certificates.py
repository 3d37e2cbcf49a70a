"""Why no query exists: a combination of keys that forbids it, and how it is checked without a linear program.

    sum_o c_o k_o  =  sum_a b_a k_a          c >= 0, sum c = 1 over keys outside the subset; sum b = 1 within it

Multiply by any query: the mean score of the outsiders, weighted by c, equals the same sum over the subset. If all of
the subset had one score, some outsider would have at least that score, so its weight would be at least as large. For a
subset of one key this says that k_j is a convex combination of others: it is no vertex of the hull of all.
The linear program that looks for the query with the largest margin is the dual of the one that looks for c and b
(Farkas).

    sum_a b_a k_a = 0, sum b = 0, sum_a b_a log w_a != 0          no query gives the weights w

since log w_a = q.k_a - log Z would have to sum to 0 with the same b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from heed.errors import ConfigError
from heed.explore.arrays import Array, matrix_of, places_of, vector_of

NEAR = 1e-7
"""A margin below this share of the keys' spread counts as none: linear programs are solved to about 1e-9."""


@dataclass(frozen=True)
class Certificate:
    """Coefficients (n,), one a key, that prove that no query does what was asked."""

    outside: Array
    """c: at least 0, 1 in sum, 0 within the subset. All 0 in a certificate about weights."""
    inside: Array
    """b: 0 outside the subset; 1 in sum, or 0 in a certificate about weights."""


@dataclass(frozen=True)
class Verification:
    """What a check by plain arithmetic found."""

    holds: bool
    residual: float
    """The largest component of the difference of both sides: no query with |q|_1 = 1 has a larger margin."""
    reason: str
    """Empty where it holds."""


def widest_margin(keys: Array, subset: list[int]) -> tuple[Array, float]:
    """Return the direction u (d,), |u|_inf <= 1, with equal scores in the subset and the largest lead over the rest.

    The lead is what `subset` has over the best other key, in units of the spread of the keys: 0 where no u leads.
    """
    centred, d = _normalised(keys), keys.shape[1]
    inside, others = centred[subset], np.delete(centred, subset, axis=0)
    if not len(others):
        return np.zeros(d), 0.0
    # variables u and t: maximise t with (k_a - k_o).u >= t and (k_a - k_b).u = 0
    leads = np.hstack([others - inside[0], np.ones((len(others), 1))])
    equal = np.hstack([inside[1:] - inside[0], np.zeros((len(subset) - 1, 1))]) if len(subset) > 1 else None
    found = linprog(
        np.r_[np.zeros(d), -1.0],
        A_ub=leads,
        b_ub=np.zeros(len(others)),
        A_eq=equal,
        b_eq=None if equal is None else np.zeros(len(equal)),
        bounds=[(-1, 1)] * d + [(0, None)],
        method="highs",
    )
    if not found.success:
        raise ConfigError(f"keys: the linear program was not solved: {found.message}")
    u = _equalised(found.x[:d], inside)
    lead = float(((inside[0] - others) @ u).min())
    return u, max(0.0, lead)


def _equalised(u: Array, inside: Array) -> Array:
    """Return u without what rounding left of it along differences of the subset's keys."""
    if len(inside) == 1:
        return u
    differences = inside[1:] - inside[0]
    return u - np.linalg.pinv(differences, rcond=1e-10) @ (differences @ u)


def _normalised(keys: Array) -> Array:
    """Return keys around their mean, in units of their spread."""
    centred = keys - keys.mean(0)
    spread = float(np.abs(centred).max())
    return centred / spread if spread else centred


def combination(keys: Array, subset: list[int]) -> Certificate:
    """Return c and b with the smallest difference of both sides: a certificate where that is 0.

    Raises `ConfigError` where the subset is all keys, since then nothing stands against it.
    """
    n, d = keys.shape
    others = [i for i in range(n) if i not in subset]
    if not others:
        raise ConfigError("subset: all keys are in it, a query of zeros averages them")
    centred = _normalised(keys)
    # c, b and the slacks s >= |difference| of each component
    c, b = len(others), len(subset)
    difference = np.hstack([centred[others].T, -centred[subset].T])
    rows = np.block([[difference, -np.eye(d)], [-difference, -np.eye(d)]])
    sums = np.zeros((2, c + b + d))
    sums[0, :c], sums[1, c : c + b] = 1, 1
    found = linprog(
        np.r_[np.zeros(c + b), np.ones(d)],
        A_ub=rows,
        b_ub=np.zeros(2 * d),
        A_eq=sums,
        b_eq=np.ones(2),
        bounds=[(0, None)] * c + [(None, None)] * b + [(0, None)] * d,
        method="highs",
    )
    if not found.success:
        raise ConfigError(f"keys: the linear program was not solved: {found.message}")
    outside, inside = np.zeros(n), np.zeros(n)
    outside[others] = np.maximum(found.x[:c], 0.0)
    inside[subset] = found.x[c : c + b]
    return Certificate(outside / outside.sum(), inside / inside.sum())


def verify_certificate(
    keys: ArrayLike, subset: list[int], certificate: Certificate, weights: ArrayLike | None = None
) -> Verification:
    """Check a certificate by adding up: no linear program, sums without rounding (`math.fsum`).

    keys (n, d); `subset` are the places that were to be averaged, or selected if it is one. With `weights` (n,), the
    weights that were asked for, the certificate is one about weights. Raises `ConfigError` for arrays of wrong shapes.
    """
    K = matrix_of("keys", keys)
    n = len(K)
    within = places_of("subset", subset, n)
    c, b = vector_of("outside", certificate.outside, n), vector_of("inside", certificate.inside, n)
    scale = float(np.abs(K - K.mean(0)).max()) * max(1.0, float(np.abs(b).max()))
    sides = [math.fsum([*(c * column), *(-b * column)]) for column in (K - K.mean(0)).T]
    residual = max(map(abs, sides))
    outsiders = [i for i in range(n) if i not in within]
    faults = []
    if np.abs(c[within]).max() > 0 or (outsiders and np.abs(b[outsiders]).max() > 0):
        faults.append("it uses a key on the wrong side")
    if residual > NEAR * max(scale, 1e-300):
        faults.append(f"the two sides differ by {residual:.3g}")
    if weights is None:
        if c.min() < 0:
            faults.append("a coefficient of an outsider is negative")
        if abs(math.fsum(c) - 1) > 1e-9 or abs(math.fsum(b) - 1) > 1e-9:
            faults.append("the coefficients do not sum to 1")
    else:
        faults += _faults_about_weights(c, b, vector_of("weights", weights, n), within)
    return Verification(not faults, residual, "; ".join(faults))


def proves_within(certificate: Certificate, weights: ArrayLike, tolerance: float) -> bool:
    """Return whether a certificate forbids even weights (n,) that are all within `tolerance` of those asked for.

    log p_a is between log(w_a - tolerance) and log(w_a + tolerance) for each key of the subset, and at most
    log(tolerance) outside of it. Both sides of the certificate are equal for the log p of every query, so it forbids
    them where the least of one side is above the most of the other.
    """
    w = vector_of("weights", weights, len(certificate.inside))
    b, within = certificate.inside, w > 0
    low = np.log(np.maximum(w[within] - tolerance, 1e-300))
    high = np.log(np.minimum(w[within] + tolerance, 1.0))
    rises = b[within] > 0
    least = float((b[within] * np.where(rises, low, high)).sum())
    most = float((b[within] * np.where(rises, high, low)).sum())
    if certificate.outside.any():
        return least > math.log(tolerance)
    return least > 0 or most < 0


def _faults_about_weights(c: Array, b: Array, w: Array, within: list[int]) -> list[str]:
    """Return what is wrong with b as a proof that no query gives the weights w."""
    if w[within].min() <= 0:
        return ["a weight of the subset is not above 0"]
    faults = []
    if np.abs(c).max() > 0:
        faults.append("a certificate about weights has no outsiders")
    if abs(math.fsum(b)) > 1e-9 * max(1.0, float(np.abs(b).max())):
        faults.append("the coefficients do not sum to 0")
    if abs(math.fsum(b[within] * np.log(w[within]))) < 1e-6:
        faults.append("the logarithms of the weights sum to 0 as well, so nothing is proved")
    return faults
