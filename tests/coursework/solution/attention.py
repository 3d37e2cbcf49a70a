import math

import torch


def causal_mask(T):
    return torch.ones(T, T, dtype=torch.bool).tril()


def scaled_scores(q, k):
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


def attention_weights(scores, allowed=None):
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return torch.softmax(scores, dim=-1)


def attend(q, k, v, allowed=None):
    return attention_weights(scaled_scores(q, k), allowed) @ v


def split_heads(x, n_heads):
    B, T, D = x.shape
    return x.reshape(B, T, n_heads, D // n_heads).transpose(1, 2)


def merge_heads(x):
    B, H, T, K = x.shape
    return x.transpose(1, 2).reshape(B, T, H * K)


def causal_self_attention(x, qkv_weight, n_heads):
    q, k, v = (split_heads(part, n_heads) for part in (x @ qkv_weight.T).chunk(3, dim=-1))
    return merge_heads(attend(q, k, v, causal_mask(x.shape[1])))
