"""A linear recurrent net, its gradients step by step, and why they vanish or explode.

    h_t = W_hh h_{t-1} + W_hx x_t,  o_t = W_yh h_t,  J_t = -sum_i y_ti log softmax(o_t)_i,  J = sum_t J_t,  h_0 given

    dJ_t/do_t   = softmax(o_t) - y_t                                 for the true class and for the others
    dJ_t/dh_i   = (W_hh^T)^(t-i) W_yh^T (softmax(o_t) - y_t)         i <= t
    dJ_t/dW_hh  = sum_{i<=t} (dJ_t/dh_i) h_{i-1}^T                   every i: one term only is another number
    dJ_t/dW_hx  = sum_{i<=t} (dJ_t/dh_i) x_i^T,   dJ_t/dW_yh = (dJ_t/do_t) h_t^T

(W_hh^T)^n grows or falls as the n-th power of the spectral radius; its norm may first rise where W_hh is not normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heed.errors import ConfigError
from heed.explore.arrays import LARGEST_NUMBER, Array, count_of, matrix_of, said, softmax, vector_of


@dataclass(frozen=True)
class LinearNet:
    """The weights of a linear recurrent net, and where it begins."""

    W_hh: Array
    """(H, H)."""
    W_hx: Array
    """(H, X)."""
    W_yh: Array
    """(Y, H)."""
    h0: Array
    """(H,)."""


@dataclass(frozen=True)
class HandGradients:
    """Everything of one pass forward and backward. T steps, widths X, H, Y."""

    hidden: Array
    """(T + 1, H): h_0 first."""
    probabilities: Array
    """(T, Y)."""
    losses: Array
    """J_t (T,) in nats."""
    of_outputs: Array
    """dJ_t/do_t (T, Y)."""
    of_hidden: Array
    """dJ_t/dh_i (T, T, H) at [t, i]; 0 for i > t."""
    recurrent_by_step: Array
    """dJ_t/dW_hh (T, H, H)."""
    W_hh: Array
    """dJ/dW_hh (H, H), and of the others."""
    W_hx: Array
    W_yh: Array
    one_term: Array
    """dJ/dW_hh with the term i = t alone: what is left when the path back through time is forgotten."""
    one_term_error: float
    """How far that is from the gradient, relative, in the Frobenius norm."""
    explanation: str


@dataclass(frozen=True)
class GradientReach:
    """How much of a gradient is left after n steps back."""

    radius: float
    """Spectral radius of W_hh."""
    norms: Array
    """Largest singular value of (W_hh^T)^n for n = 0 .. steps."""
    fate: str
    """vanishes, explodes or stays."""
    explanation: str


def linear_net(W_hh: ArrayLike, W_hx: ArrayLike, W_yh: ArrayLike, h0: ArrayLike | None = None) -> LinearNet:
    """Return a net of (H, H), (H, X), (Y, H) and h_0 (H,), zeros if left out; `ConfigError` for other shapes."""
    recurrent = matrix_of("W_hh", W_hh)
    H = recurrent.shape[0]
    if recurrent.shape[1] != H:
        raise ConfigError(f"W_hh: it is {H} x {recurrent.shape[1]}, it must be square")
    start = np.zeros(H) if h0 is None else vector_of("h0", h0, H)
    return LinearNet(recurrent, matrix_of("W_hx", W_hx, rows=H), matrix_of("W_yh", W_yh, width=H), start)


def random_net(x: int = 3, h: int = 4, y: int = 2, seed: int = 0, radius: float | None = None) -> LinearNet:
    """Return a net of these widths with weights ~ N(0, 1 / width) and h_0 = 0; W_hh scaled to a spectral radius."""
    X, H, Y = (count_of(name, n, most=512) for name, n in (("x", x), ("h", h), ("y", y)))
    generator = np.random.default_rng(count_of("seed", seed, least=0, most=2**32))
    W_hh = generator.normal(size=(H, H)) / np.sqrt(H)
    if radius is not None:
        if not 0 < radius < 100:
            raise ConfigError(f"radius: {radius!r} must be above 0 and below 100")
        W_hh *= radius / np.abs(np.linalg.eigvals(W_hh)).max()
    return LinearNet(
        W_hh, generator.normal(size=(H, X)) / np.sqrt(X), generator.normal(size=(Y, H)) / np.sqrt(H), np.zeros(H)
    )


def hand_gradients(net: LinearNet, inputs: ArrayLike, targets: ArrayLike) -> HandGradients:
    """Return loss and gradients of a net on inputs (T, X) with targets (T,), the true class of each step.

    Written as the equations above, with sums over steps. Raises `ConfigError` for other shapes, T above 200, and
    classes that there are not.
    """
    x = matrix_of("inputs", inputs, width=net.W_hx.shape[1])
    T = len(x)
    if T > 200:
        raise ConfigError(f"inputs: {T} steps are too many to write out, 200 at most")
    classes = vector_of("targets", targets, T)
    Y, H = net.W_yh.shape
    if any(c != int(c) or not 0 <= c < Y for c in classes):
        raise ConfigError(f"targets: each must be one of the {Y} classes, 0 to {Y - 1}")
    h = np.zeros((T + 1, H))
    h[0] = net.h0
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(T):
            h[t + 1] = net.W_hh @ h[t] + net.W_hx @ x[t]
    if not np.isfinite(h).all() or np.abs(h).max() > LARGEST_NUMBER:
        raise ConfigError("W_hh: the hidden state explodes beyond the largest number: fewer steps or smaller weights")
    outputs = h[1:] @ net.W_yh.T
    p = softmax(outputs)
    highest = outputs.max(1)
    losses = highest + np.log(np.exp(outputs - highest[:, None]).sum(1))  # minus the true one: no log of an underflow
    places = classes.astype(int)
    of_outputs = p - np.eye(Y)[places]
    of_hidden = np.zeros((T, T, H))
    for t in range(T):
        of_hidden[t, t] = net.W_yh.T @ of_outputs[t]
        for i in range(t - 1, -1, -1):
            of_hidden[t, i] = net.W_hh.T @ of_hidden[t, i + 1]
    by_step = np.einsum("tia,ib->tab", of_hidden, h[:-1])
    one_term = np.einsum("ta,tb->ab", of_hidden[range(T), range(T)], h[:-1])
    whole = by_step.sum(0)
    size = float(np.linalg.norm(whole))
    missed = float(np.linalg.norm(one_term - whole)) / size if size else 0.0
    return HandGradients(
        h,
        p,
        losses - outputs[range(T), places],
        of_outputs,
        of_hidden,
        by_step,
        whole,
        np.einsum("tia,ib->ab", of_hidden, x),
        of_outputs.T @ h[1:],
        one_term,
        missed,
        "W_hh is used at every step, so its gradient is a sum over all pairs of a loss at t and a use at i <= t; the "
        f"terms i = t alone are off by {said(100 * missed)} %.",
    )


def autograd_difference(net: LinearNet, inputs: ArrayLike, targets: ArrayLike) -> float:
    """Return the largest difference between `hand_gradients` and torch's autograd, over all three matrices."""
    import torch
    import torch.nn.functional as F

    mine = hand_gradients(net, inputs, targets)
    W_hh, W_hx, W_yh = (torch.tensor(w, requires_grad=True) for w in (net.W_hh, net.W_hx, net.W_yh))
    h, loss = torch.tensor(net.h0), torch.zeros((), dtype=torch.float64)
    for x, y in zip(matrix_of("inputs", inputs), vector_of("targets", targets), strict=True):
        h = W_hh @ h + W_hx @ torch.tensor(x)
        loss = loss + F.cross_entropy(W_yh @ h, torch.tensor(int(y)))
    theirs = torch.autograd.grad(loss, (W_hh, W_hx, W_yh))
    return max(
        float(np.abs(a - b.numpy()).max()) for a, b in zip((mine.W_hh, mine.W_hx, mine.W_yh), theirs, strict=True)
    )


def gradient_reach(W_hh: ArrayLike, steps: int = 50) -> GradientReach:
    """Return the norm of (W_hh^T)^n for n up to `steps`: what a gradient n steps back is multiplied by, at most.

    Raises `ConfigError` for a matrix that is not square.
    """
    W = matrix_of("W_hh", W_hh)
    if W.shape[0] != W.shape[1]:
        raise ConfigError(f"W_hh: it is {W.shape[0]} x {W.shape[1]}, it must be square")
    radius = float(np.abs(np.linalg.eigvals(W)).max())
    power, norms = np.eye(len(W)), []
    for _ in range(count_of("steps", steps, most=2000) + 1):
        norms.append(float(np.linalg.norm(power, 2)))
        with np.errstate(over="ignore", invalid="ignore"):
            power = W.T @ power
        if not np.isfinite(power).all():
            raise ConfigError(f"steps: (W_hh^T)^{len(norms)} is beyond the largest number, take fewer")
    fate = "stays" if abs(radius - 1) < 1e-6 else "vanishes" if radius < 1 else "explodes"
    rises = max(norms) > 1.0001 * max(norms[0], norms[-1]) and fate == "vanishes"
    bump = f" It first rises to {said(max(norms))} times, because W_hh is not normal." if rises else ""
    return GradientReach(
        radius,
        np.array(norms),
        fate,
        f"The spectral radius is {said(radius)}, so a gradient {fate} with its power: after {steps} steps back it is "
        f"multiplied by {said(norms[-1])} at most.{bump}",
    )
