"""FAVOR+ as Choromanski et al. 2021 write it, one number at a time, with no care for overflow."""

import math

import torch
from torch import Tensor

from heed.attention.mechanisms.performer import Performer
from reference.linear import kernel_attention


def positive(x: Tensor, w: Tensor) -> Tensor:
    """exp(w.x - |x|^2/2) / sqrt(m) of one vector x (K,) and m vectors w (m, K): lemma 1."""
    return torch.stack([torch.exp(row @ x - x @ x / 2) / math.sqrt(len(w)) for row in w])


def trigonometric(x: Tensor, w: Tensor) -> Tensor:
    """exp(|x|^2/2) / sqrt(m) times the sines and the cosines of w.x: equation 6."""
    waves = [torch.sin(row @ x) for row in w] + [torch.cos(row @ x) for row in w]
    return torch.exp(x @ x / 2) / math.sqrt(len(w)) * torch.stack(waves)


def performer(mechanism: Performer, q: Tensor, k: Tensor, v: Tensor, allowed: list[list[bool]]) -> Tensor:
    """q (H, T, K), k and v (Hkv, S, K) of one row; reads the random vectors `w` and the `kind` of the mechanism."""
    phi = positive if mechanism.kind == "positive" else trigonometric
    share, root, w = len(q) // len(k), q.shape[-1] ** 0.25, mechanism.w.to(q.dtype)
    features = [[phi(x / root, w) for x in head] for head in k]
    return torch.stack(
        [
            kernel_attention([phi(x / root, w) for x in q[h]], features[h // share], v[h // share], allowed)
            for h in range(len(q))
        ]
    )


REFERENCES = {"performer": performer}
