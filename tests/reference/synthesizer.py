"""Synthesizers as the paper writes them, one number at a time. Tay et al. 2020."""

import torch
from torch import Tensor


def synthesizer(v: Tensor, score, T: int, allowed: list[list[bool]]) -> Tensor:
    """v (H, S, K); score(h, t, s) of a query and a key by their positions, with t counted among the T queries.

    The queries are the last T of the S positions, and the first key that any query may see has position 0; padding
    before it reads position 0.
    """
    H, S, _ = v.shape
    start = min((s for row in allowed for s in range(S) if row[s]), default=0)
    y = [[torch.zeros_like(v[0, 0]) for _ in range(T)] for _ in range(H)]
    for h in range(H):
        for t in range(T):
            seen = [s for s in range(S) if allowed[t][s]]
            exps = [torch.exp(score(h, t, max(S - T + t - start, 0), s - start)) for s in seen]
            for e, s in zip(exps, seen, strict=True):
                y[h][t] = y[h][t] + e / sum(exps) * v[h, s]
    return torch.stack([torch.stack(head) for head in y])


def dense(mechanism, q, k, v, allowed):
    def score(h, t, position, s):
        made = sum(torch.relu(q[h, t, i]) * mechanism.w2[h, s, i] for i in range(q.shape[2]))
        return made + mechanism.b2[h, s]

    return synthesizer(v, score, q.shape[1], allowed)


def random(mechanism, q, k, v, allowed):
    def score(h, t, position, s):
        if mechanism.rank is None:
            return mechanism.r[h, position, s]
        return sum(mechanism.r1[h, position, i] * mechanism.r2[h, s, i] for i in range(mechanism.rank))

    return synthesizer(v, score, q.shape[1], allowed)


REFERENCES = {"synthesizer-dense": dense, "synthesizer-random": random}
