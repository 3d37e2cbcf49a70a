"""Linformer as the paper writes it, one number at a time."""

import math

import torch


def linformer(mechanism, q, k, v, allowed):
    """q (H, T, K), k and v (Hkv, S, K); allowed[t][s] is the padding. Position 0 is the first real token."""
    E, F = mechanism.E, mechanism.E if mechanism.F is None else mechanism.F
    H, T, K = q.shape
    real = [s for s in range(k.shape[1]) if allowed[0][s]]
    heads = []
    for h in range(H):
        g = h // (H // k.shape[0])  # the key/value head of this query head
        e, f = (E[h], F[h]) if E.dim() == 3 else (E, F)
        first = real[0] if real else 0
        keys, values = [], []
        for r in range(len(e)):
            keys.append(sum((e[r, s - first] * k[g, s] for s in real), torch.zeros_like(k[g, 0])))
            values.append(sum((f[r, s - first] * v[g, s] for s in real), torch.zeros_like(v[g, 0])))
        rows = []
        for t in range(T):
            exps = [torch.exp(sum(q[h, t, i] * key[i] for i in range(K)) / math.sqrt(K)) for key in keys]
            rows.append(sum(x / sum(exps) * value for x, value in zip(exps, values, strict=True)))
        heads.append(torch.stack(rows))
    return torch.stack(heads)


REFERENCES = {"linformer": linformer}
