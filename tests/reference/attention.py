"""Attention as the paper writes it, one number at a time: slow, obvious, and the judge of the fast paths."""

import math

import torch
from torch import Tensor


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, may_look: list[list[bool]]) -> Tensor:
    """q (T, K), k and v (S, K) of one head; may_look[t][s]. A query that may look nowhere gets zeros."""
    rows = []
    for t in range(len(q)):
        seen = [s for s in range(len(k)) if may_look[t][s]]
        if not seen:
            rows.append(torch.zeros_like(v[0]))
            continue
        scores = [sum(q[t, i] * k[s, i] for i in range(q.shape[1])) / math.sqrt(q.shape[1]) for s in seen]
        exps = [torch.exp(score) for score in scores]
        rows.append(sum(e / sum(exps) * v[s] for e, s in zip(exps, seen, strict=True)))
    return torch.stack(rows)


def rotary(x: Tensor, position: int, base: float) -> Tensor:
    """Turn one vector x (K,) to its position: components i and i + K/2 are a complex number times e^(i angle)."""
    K = len(x)
    turned = x.clone()
    for i in range(K // 2):
        angle = position * base ** (-2 * i / K)
        turned[i] = x[i] * math.cos(angle) - x[i + K // 2] * math.sin(angle)
        turned[i + K // 2] = x[i] * math.sin(angle) + x[i + K // 2] * math.cos(angle)
    return turned
