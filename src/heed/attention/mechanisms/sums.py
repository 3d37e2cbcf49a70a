"""Sums over keys: attention with weights phi(q).phi(k), which needs no T x S tensor, for any features phi.

    y_t = sum_s phi(q_t).phi(k_s) v_s / sum_s phi(q_t).phi(k_s)                     over the s that t may see
        = phi(q_t) S_t / phi(q_t) z_t       with  S_t = sum_s phi(k_s) v_s^T  and  z_t = sum_s phi(k_s)

Katharopoulos et al. 2020, "Transformers are RNNs", equations 4 to 6. z is one more column of S: the values have a 1
behind them. `quadratic` is the first line, `add` and `read` the second, `chunks.py` its causal form.

A feature may be too large or too small for a float. It is then given as phi e^scale, one logarithm `scale` a key: a
constant, all gradients go through phi. Sums are in units of e^top, where top is the largest scale that went into them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from heed.attention.masks import Mask
from heed.errors import ConfigError

NOTHING = -1e30
"""The scale of what is not there: finite, because the difference of two infinities is no number."""


class Keys(NamedTuple):
    """What is summed over: features phi (B, H, S, m), values v (B, H, S, K), and the scale (B, H, S, 1)."""

    phi: Tensor
    v: Tensor
    scale: Tensor | None = None
    """None: all zero."""


class Sums(NamedTuple):
    """The sum over keys of phi [v, 1], in units of e^top: (B, H, m, K + 1) and (B, H, 1, 1)."""

    total: Tensor
    top: Tensor


def no_sums(v: Tensor, m: int) -> Sums:
    """Return the sums over no key at all, for m features and values like v (B, H, S, K)."""
    B, H, _, K = v.shape
    return Sums(v.new_zeros(B, H, m, K + 1), v.new_full((B, H, 1, 1), NOTHING))


def add(keys: Keys, past: Sums) -> Sums:
    """Return the sums over `past` and these keys."""
    phi, v, scale = keys
    if scale is None:
        return Sums(past.total + phi.transpose(-2, -1) @ with_ones(v), past.top)
    top = torch.maximum(past.top, scale.amax(dim=-2, keepdim=True))
    values = with_ones(v) * (scale - top).exp()
    return Sums(past.total * (past.top - top).exp() + phi.transpose(-2, -1) @ values, top)


def read(q: Tensor, sums: Sums, floor: float = 0.0) -> Tensor:
    """Return y (B, H, T, K) of the queries phi(q) (B, H, T, m), which see all that is summed up."""
    return divide(q @ sums.total, floor)[0]


def quadratic(q: Tensor, keys: Keys, allowed: Tensor | None, floor: float = 0.0) -> Tensor:
    """Return y (B, H, T, K) by the equation as written: weights (B, H, T, S), zero where `allowed` is False."""
    phi, v, scale = keys
    weights = q @ phi.transpose(-2, -1)
    if scale is not None:
        seen = scale.transpose(-2, -1).expand_as(weights)
        seen = seen if allowed is None else seen.masked_fill(~allowed, NOTHING)
        weights = weights * (seen - seen.amax(dim=-1, keepdim=True)).exp()
    weights = weights if allowed is None else weights.masked_fill(~allowed, 0.0)
    return divide(weights @ with_ones(v), floor)[0]


def hide(keys: Keys, absent: Tensor | None) -> Keys:
    """Return the keys, of which those where `absent` (B, 1, S, 1) is True add nothing to any sum."""
    if absent is None:
        return keys
    phi, v, scale = keys
    lowest = None if scale is None else scale.masked_fill(absent, NOTHING)
    return Keys(phi.masked_fill(absent, 0.0), v.masked_fill(absent, 0.0), lowest)


def divide(sums: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Return y (..., K) and the denominators (..., 1) of sums (..., K + 1).

    A denominator nearer to zero than `floor` is held there. One that is zero because nothing is seen becomes infinite:
    y is zero then, and so are its gradients.
    """
    total = sums[..., -1:]
    total = total.abs().clamp(min=floor).copysign(total) if floor else total.masked_fill(total == 0, torch.inf)
    return sums[..., :-1] / total, total


def with_ones(v: Tensor) -> Tensor:
    """Return v (..., K) with a 1 behind: (..., K + 1)."""
    return F.pad(v, (0, 1), value=1.0)


def refuse_other(name: str, mask: Mask, bias: Tensor | None) -> None:
    """Raise `ConfigError` for what sums over keys cannot honour: a bias of the scores, other masks."""
    unknown = mask.allowed is not None and mask.padding is None and not mask.causal
    if bias is not None or mask.window is not None or unknown:
        raise ConfigError(f"attention {name!r} forms no scores to hide or to bias: it knows causal and padding masks")
