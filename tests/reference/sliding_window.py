"""Sliding-window attention by loops: each query, one at a time, with the keys that stand near it."""

import math

import torch
from torch import Tensor


def sliding_window(mechanism, q: Tensor, k: Tensor, v: Tensor, allowed: list[list[bool]]) -> Tensor:
    """Return y (H, T, K) of q (H, T, K), k and v (Hkv, S, K): softmax over the allowed keys s with |t - s| < window.

    Where the model is causal, `allowed` leaves out what comes later. The queries are the last T of the S positions.
    """
    H, T, K = q.shape
    groups, offset = H // len(k), k.shape[1] - T
    heads = []
    for h in range(H):
        rows = []
        for t in range(T):
            seen = [s for s in range(k.shape[1]) if allowed[t][s] and abs(t + offset - s) < mechanism.window]
            exps = [torch.exp(q[h, t] @ k[h // groups, s] / math.sqrt(K)) for s in seen]
            parts = [e / sum(exps) * v[h // groups, s] for e, s in zip(exps, seen, strict=True)]
            rows.append(sum(parts) if parts else torch.zeros_like(v[0, 0]))
        heads.append(torch.stack(rows))
    return torch.stack(heads)


REFERENCES = {"sliding-window": sliding_window}
