"""BigBird by loops, written from Zaheer et al. 2020, section 2: who sees whom, block by block, then softmax over those.

Positions count from a row's first real token. What is padding gets zeros.
"""

import math

import torch
from torch import Tensor


def blocks_seen(i: int, n: int, *, causal: bool, half: int, count: int, random: int, rank: list[int]) -> set[int]:
    """The blocks that block i of n sees: `half` on each side, `count` global ones, `random` ones of lowest rank."""
    at_the_end = 0 if causal else count // 2
    shared = {j for j in range(n) if j < count - at_the_end or j >= n - at_the_end}
    if i in shared and not causal:
        return set(range(n))
    seen = shared | {j for j in range(n) if abs(i - j) <= half}
    if causal:
        seen = {j for j in seen if j <= i}
        if i in shared:
            return set(range(i + 1))
    others = [j for j in range(n) if j not in seen and (j < i or not causal)]
    return seen | set(sorted(others, key=lambda j: rank[j])[:random])


def bigbird(mechanism, q: Tensor, k: Tensor, v: Tensor, allowed: list[list[bool]]) -> Tensor:
    """Return y (H, T, K) of q (H, T, K), k and v (Hkv, S, K) of one row; queries are the last T of the S positions."""
    H, T, K = q.shape
    S, b = k.shape[1], mechanism.block
    groups, offset = H // len(k), S - T
    causal = any(not allowed[t][s] and allowed[t + 1][s] for t in range(T - 1) for s in range(S))
    causal = causal or mechanism.shape.causal
    real = [s for s in range(S) if any(row[s] for row in allowed)]
    if not real:
        return torch.zeros_like(q)
    n = (real[-1] - real[0]) // b + 1
    heads = []
    for h in range(H):
        rows = []
        for t in range(T):
            if t + offset not in real:
                rows.append(torch.zeros_like(v[0, 0]))
                continue
            i = (t + offset - real[0]) // b
            blocks = blocks_seen(
                i, n, causal=causal, half=mechanism.reach - 1, count=mechanism.global_blocks,
                random=mechanism.random_blocks, rank=mechanism.rank[h, i].tolist(),
            )  # fmt: skip
            seen = [s for s in real if allowed[t][s] and (s - real[0]) // b in blocks]
            exps = [torch.exp(q[h, t] @ k[h // groups, s] / math.sqrt(K)) for s in seen]
            rows.append(sum(e / sum(exps) * v[h // groups, s] for e, s in zip(exps, seen, strict=True)))
        heads.append(torch.stack(rows))
    return torch.stack(heads)


REFERENCES = {"bigbird": bigbird}
