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


def score(made, h: int, q: Tensor, k: Tensor) -> Tensor:
    """How query q (K,) of head h meets key k (K,), by the score module `made` (None: the scaled dot product)."""
    K, kind = len(q), "Score" if made is None else type(made).__name__
    dot = sum(q[i] * k[i] for i in range(K))
    if kind == "Score":
        return dot / math.sqrt(K)
    if kind == "Dot":
        return dot
    if kind == "Cosine":
        lengths = torch.sqrt(sum(x**2 for x in q)) * torch.sqrt(sum(x**2 for x in k))
        return torch.exp(made.log_scale[h]) * dot / lengths
    if kind == "NegativeDistance":
        return -sum((q[i] - k[i]) ** 2 for i in range(K)) / (2 * math.sqrt(K))
    if kind == "Bilinear":
        return sum(q[i] * made.weight[h, i, j] * k[j] for i in range(K) for j in range(K))
    if kind == "Additive":
        units = [
            torch.tanh(sum(q[i] * made.query[h, i, a] + k[i] * made.key[h, i, a] for i in range(K))) for a in range(K)
        ]
        return sum(made.out[h, a, 0] * units[a] for a in range(K))
    return made.function(q, k)


def _by_rows(mechanism, q: Tensor, k: Tensor, v: Tensor, allowed: list[list[bool]], row) -> Tensor:
    """Give `row(scores of all keys, values, allowed)` every query of q (H, T, K); k and v (Hkv, S, K)."""
    heads = []
    for h in range(len(q)):
        g = h * len(k) // len(q)  # neighbouring query heads share a key head
        met = [[score(mechanism.score, h, one, other) for other in k[g]] for one in q[h]]
        heads.append(torch.stack([row(scores, v[g], seen) for scores, seen in zip(met, allowed, strict=True)]))
    return torch.stack(heads)


def _mean(scores: list[Tensor], v: Tensor, over: list[int], of: list[int]) -> Tensor:
    """Mean of the values `of`, by exponentials divided by their sum `over` these keys."""
    if not of:
        return torch.zeros_like(v[0])
    top = max(scores[s].item() for s in over)
    total = sum(torch.exp(scores[s] - top) for s in over)
    return sum(torch.exp(scores[s] - top) / total * v[s] for s in of)


def softmax(mechanism, q, k, v, allowed):
    def row(scores, v, seen):
        keys = [s for s in range(len(v)) if seen[s]]
        return _mean(scores, v, keys, keys)

    return _by_rows(mechanism, q, k, v, allowed, row)


def naive_mask(mechanism, q, k, v, allowed):
    """The sum goes over every key that some query may see: hidden by causality or not. The others are padding."""
    real = [s for s in range(k.shape[1]) if any(seen[s] for seen in allowed)]

    def row(scores, v, seen):
        return _mean(scores, v, real, [s for s in real if seen[s]])

    return _by_rows(mechanism, q, k, v, allowed, row)


def argmax(mechanism, q, k, v, allowed):
    def row(scores, v, seen):
        keys = [s for s in range(len(v)) if seen[s]]
        if not keys:
            return torch.zeros_like(v[0])
        best = keys[0]
        for s in keys:
            if scores[s] > scores[best]:
                best = s
        if not mechanism.straight_through:
            return v[best]
        top = scores[best].item()
        total = sum(torch.exp(scores[s] - top) for s in keys)
        soft = [torch.exp(scores[s] - top) / total for s in keys]
        return sum(((s == best) + (w - w.detach())) * v[s] for w, s in zip(soft, keys, strict=True))

    return _by_rows(mechanism, q, k, v, allowed, row)


REFERENCES = {"softmax": softmax, "argmax": argmax, "naive-mask": naive_mask, "renormalised-mask": softmax}
"""For one row of a batch: f(mechanism, q (H, T, K), k and v (Hkv, S, K), allowed T x S) gives (H, T, K)."""


def sinusoidal(position: int, width: int, base: float = 10_000.0) -> list[float]:
    """The vector of one position, Vaswani et al. 2017, section 3.5."""
    angles = [position / base ** (2 * (j // 2) / width) for j in range(width)]
    return [math.cos(angle) if j % 2 else math.sin(angle) for j, angle in enumerate(angles)]
