"""The weights of any attention mechanism, read off its own code: what it makes of values that are unit vectors.

    y = A v  for given q and k,  so  v = I  gives  A (T, S)

One way serves every mechanism that mixes values linearly: softmax and its kin, whose weights these are, and kernels
(linear, Performer) and Linformer, which never form such a matrix: there it is the one that they amount to. Where each
channel of a head has weights of its own (AFT), a mean over channels is taken, with the query's gate divided out and
told beside it. Fastformer mixes keys, into one that all positions share, and no values: the share of each position in
that key is the map, every row the same. Whether it holds is seen each time: A v, or what that key makes of the values,
must be what the layer made of the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from heed.attention import BigBird, Fastformer, Linformer, Mask, Mechanism, SlidingWindow, window_mask
from heed.attention.steps import share_heads

AT_ONCE = 1 << 25
"""Numbers of a batch of maps (rows, H, T, S) that are held at a time."""
NEAR = 1e-3
"""How far A v may be from y, as a share of its length, for A to be what mixed the values."""

Reading = Literal["weights", "effective", "channels", "pooled", "none"]


@dataclass(frozen=True)
class MixerCall:
    """What a mechanism was given for one sequence, and what it made of it."""

    q: Tensor
    """(1, H, T, K)."""
    k: Tensor
    """(1, Hkv, S, K)."""
    v: Tensor
    """(1, Hkv, S, K)."""
    mask: Mask
    bias: Tensor | None
    y: Tensor
    """(1, H, T, K)."""


@dataclass(frozen=True)
class HeadWeights:
    """Who looks at whom in one layer."""

    weights: np.ndarray
    """(H, T, S) float32."""
    allowed: np.ndarray
    """(1 or H, T, S) bool: which keys a query may look at."""
    reading: Reading
    """weights: those that the mechanism forms. effective: the matrix that it amounts to. channels: the mean over the
    channels of a head, without the gate. pooled: the share of each position in the key that all share."""
    error: float | None
    """|A v - y| / |y|: how exactly the map makes what the layer made; None where transformers tells the weights."""
    gate: np.ndarray | None = None
    """(H, T) float32: what the query's gate lets through, the mean over the channels of a head; None without one."""


@torch.no_grad()
def read_weights(mechanism: Mechanism, call: MixerCall) -> HeadWeights:
    """Return the weights by which a mechanism mixed values; `reading` is "none" where it mixed them in no such way."""
    allowed = keys_allowed(mechanism, call.mask, call.q.device)
    if isinstance(mechanism, Fastformer):
        return _pooled(mechanism, call, allowed)
    weights = _by_unit_vectors(mechanism, call)
    error = _distance(weights @ share_heads(call.v, call.q.shape[1]), call.y)
    reading: Reading = "weights" if mechanism.facts.weights and not isinstance(mechanism, Linformer) else "effective"
    if error <= NEAR:
        return HeadWeights(_numbers(weights), allowed, reading, error)
    weights, gate, error = _by_channels(mechanism, call)
    if error > NEAR:
        return HeadWeights(_numbers(weights), allowed, "none", error)
    return HeadWeights(_numbers(weights), allowed, "channels", error, _numbers(gate))


def _numbers(of_one: Tensor) -> np.ndarray:
    """Return a tensor (1, ...) of one sequence without its first axis."""
    return of_one[0].float().cpu().numpy()


def keys_allowed(mechanism: Mechanism, mask: Mask, device: torch.device) -> np.ndarray:
    """Return which keys each query may look at: (1, T, S) bool, or (H, T, S) where heads differ."""
    if isinstance(mechanism, BigBird):
        return mechanism.dense(mask, device)[0].cpu().numpy()
    seen = mask.dense(device)
    seen = torch.ones(mask.T, mask.S, dtype=torch.bool, device=device) if seen is None else seen
    if isinstance(mechanism, SlidingWindow):
        seen = seen & window_mask(mask.T, mask.S, mechanism.window, device, causal=mask.causal)
    return seen.reshape(-1, mask.T, mask.S)[:1].cpu().numpy()


def _by_unit_vectors(mechanism: Mechanism, call: MixerCall) -> Tensor:
    """Return A (1, H, T, S): K keys at a time are unit vectors, all others 0."""
    S, K = call.v.shape[2:]
    rows = -(-S // K)
    key = torch.arange(rows * K, device=call.v.device)
    units = call.v.new_zeros(rows, 1, rows * K, K)
    units[key // K, 0, key, key % K] = 1.0
    parts = _mixed(mechanism, call, units[:, :, :S].expand(-1, call.v.shape[1], -1, -1))
    return parts.permute(1, 2, 0, 3).flatten(2)[None, :, :, :S]  # (rows, H, T, K) -> (1, H, T, S)


def _pooled(mechanism: Fastformer, call: MixerCall, allowed: np.ndarray) -> HeadWeights:
    """Return the share of each position in the global key as a map whose rows are the same."""
    alpha, beta = mechanism.shares(call.q, call.k, call.mask)
    query, key = ((share[..., None, :] @ x)[..., 0, :] for share, x in ((alpha, call.q), (beta, call.k)))
    error = _distance(mechanism.spread(query * key, call.q, call.v), call.y)
    rows = beta[:, :, None].expand(-1, -1, call.mask.T, -1)
    return HeadWeights(_numbers(rows), allowed, "pooled" if error <= NEAR else "none", error)


def _by_channels(mechanism: Mechanism, call: MixerCall) -> tuple[Tensor, Tensor, float]:
    """Return means over channels, of weights (1, H, T, S) without the gate and of the gate (1, H, T), and the error."""
    S, shape = call.v.shape[2], call.v.shape
    if mechanism.facts.inputs != "qkv":
        nothing = call.v.new_zeros(1, call.q.shape[1], call.mask.T, S)
        return nothing, nothing[..., 0], torch.inf
    gate = _mixed(mechanism, call, torch.ones_like(call.v))  # (1, H, T, K): the sum over keys
    total, made = call.v.new_zeros(call.q.shape[1], call.mask.T, S), torch.zeros_like(call.y)
    step = max(1, AT_ONCE // call.y[0].numel())
    for begin in range(0, S, step):
        keys = torch.arange(begin, min(begin + step, S), device=call.v.device)
        units = call.v.new_zeros(len(keys), *shape[1:])
        units[torch.arange(len(keys)), :, keys] = 1.0
        parts = _mixed(mechanism, call, units)  # (keys, H, T, K): the weight of each key in each channel
        made += torch.einsum("shtk,hsk->htk", parts, share_heads(call.v, call.q.shape[1])[0][:, keys])
        total[:, :, keys] = (parts / gate).mean(-1).permute(1, 2, 0)
    return total[None], gate.mean(-1), _distance(made, call.y)


def _mixed(mechanism: Mechanism, call: MixerCall, values: Tensor) -> Tensor:
    """Return what the mechanism makes of other values (B, Hkv, S, K) with the same q and k: (B, H, T, K)."""
    H, T, S = call.q.shape[1], call.mask.T, call.mask.S
    step = max(1, AT_ONCE // (H * T * S))
    parts = [
        mechanism(
            call.q.expand(len(some), -1, -1, -1),
            call.k.expand(len(some), -1, -1, -1),
            some.contiguous(),
            call.mask,
            call.bias,
        )
        for some in values.split(step)
    ]
    return torch.cat(parts)


def _distance(made: Tensor, y: Tensor) -> float:
    length = y.double().norm().item()
    return (made.double() - y.double()).norm().item() / length if length else made.double().norm().item()
