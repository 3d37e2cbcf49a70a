"""AFT as the paper writes it, one query, key and channel at a time. Zhai et al. 2021, equations 2 to 4."""

import torch
from torch import Tensor


def aft(q: Tensor, k: Tensor, v: Tensor, w, allowed: list[list[bool]]) -> Tensor:
    """q (H, T, K), k and v (H, S, K); w(t, s) is the bias of a query and a key by their positions.

    The queries are the last T of the S positions, and the first key that any query may see has position 0.
    Padding before it has negative positions, and its queries read the row of position 0.
    """
    H, T, K = q.shape
    S = k.shape[1]
    start = min((s for row in allowed for s in range(S) if row[s]), default=0)
    y = [[[q.new_zeros(()) for _ in range(K)] for _ in range(T)] for _ in range(H)]
    for t in range(T):
        seen = [s for s in range(S) if allowed[t][s]]
        if not seen:
            continue
        bias = [w(S - T + t - start, s - start) for s in seen]
        for h in range(H):
            for i in range(K):
                exponents = [k[h, s, i] + b for s, b in zip(seen, bias, strict=True)]
                highest = max(float(e.detach()) for e in exponents)  # divides both sums, which changes nothing
                weights = [torch.exp(e - highest) for e in exponents]
                mean = sum(e * v[h, s, i] for e, s in zip(weights, seen, strict=True)) / sum(weights)
                y[h][t][i] = torch.sigmoid(q[h, t, i]) * mean
    return torch.stack([torch.stack([torch.stack(row) for row in head]) for head in y])


def full(mechanism, q, k, v, allowed):
    if mechanism.rank is None:
        return aft(q, k, v, lambda t, s: mechanism.w[max(t, 0), s], allowed)

    def w(t, s):
        return sum(mechanism.u[max(t, 0), i] * mechanism.v[s, i] for i in range(mechanism.rank))

    return aft(q, k, v, w, allowed)


def simple(mechanism, q, k, v, allowed):
    return aft(q, k, v, lambda t, s: 0.0, allowed)


def local(mechanism, q, k, v, allowed):
    window, width = mechanism.window, mechanism.w.shape[1]

    def w(t, s):
        column = s - t + window - 1  # a causal mechanism has no bias for the future, and its mask hides it anyway
        return mechanism.w[max(t, 0), column] if 0 <= column < width else 0.0

    return aft(q, k, v, w, allowed)


REFERENCES = {"aft-full": full, "aft-simple": simple, "aft-local": local}
