"""Fastformer as the paper writes it, one number at a time."""

import math

import torch


def softmax(scores):
    exps = [torch.exp(score) for score in scores]
    return [x / sum(exps) for x in exps]


def fastformer(mechanism, q, k, v, allowed):
    """q, k and v (H, T, K); allowed[t][s] is the padding. A row without a real token gives zeros."""
    H, T, K = q.shape
    real = [s for s in range(T) if allowed[0][s]]
    if not real:
        return torch.zeros_like(q)
    u = []
    for h in range(H):
        alpha = softmax([mechanism.w_q[h].dot(q[h, s]) / math.sqrt(K) for s in real])
        query = sum(a * q[h, s] for a, s in zip(alpha, real, strict=True))
        p = [query * k[h, s] for s in real]
        beta = softmax([mechanism.w_k[h].dot(p_i) / math.sqrt(K) for p_i in p])
        key = sum(b * p_i for b, p_i in zip(beta, p, strict=True))
        u.append([key * v[h, t] for t in range(T)])
    rows = []
    for t in range(T):
        side_by_side = torch.cat([u[h][t] for h in range(H)])
        r = torch.stack([mechanism.W_r[j].dot(side_by_side) for j in range(H * K)])
        rows.append([r[h * K : (h + 1) * K] + q[h, t] for h in range(H)])
    return torch.stack([torch.stack([rows[t][h] for t in range(T)]) for h in range(H)])


REFERENCES = {"fastformer": fastformer}
