"""Linear attention as Katharopoulos et al. 2020 write it, one number at a time."""

import torch
from torch import Tensor

from heed.attention import Mechanism


def phi(x: Tensor) -> Tensor:
    """elu(x) + 1 of one vector x (K,)."""
    return torch.stack([torch.exp(value) if value < 0 else value + 1 for value in x])


def kernel_attention(phi_q: list[Tensor], phi_k: list[Tensor], v: Tensor, allowed: list[list[bool]]) -> Tensor:
    """Features of T queries and S keys, each (m,), and v (S, K) of one head: (T, K); zeros where nothing is seen."""
    rows = []
    for t in range(len(phi_q)):
        numerator, divisor = torch.zeros_like(v[0]), torch.zeros((), dtype=v.dtype)
        for s in range(len(phi_k)):
            if allowed[t][s]:
                weight = sum(phi_q[t][j] * phi_k[s][j] for j in range(len(phi_q[t])))
                numerator, divisor = numerator + weight * v[s], divisor + weight
        rows.append(numerator / divisor if any(allowed[t]) else numerator)
    return torch.stack(rows)


def linear(mechanism: Mechanism, q: Tensor, k: Tensor, v: Tensor, allowed: list[list[bool]]) -> Tensor:
    """q (H, T, K), k and v (Hkv, S, K) of one row."""
    share = len(q) // len(k)
    features = [[phi(x) for x in head] for head in k]
    return torch.stack(
        [kernel_attention([phi(x) for x in q[h]], features[h // share], v[h // share], allowed) for h in range(len(q))]
    )


REFERENCES = {"linear": linear}
