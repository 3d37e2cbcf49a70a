"""Attention as a kernel: how much a query looks at a key is a product of features, phi(q).phi(k).

    y_t = phi(q_t)^T sum_s phi(k_s) v_s^T / phi(q_t)^T sum_s phi(k_s)

A subclass says what phi is. The sums are in `sums.py`, their causal form in `chunks.py`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from heed.attention import steps
from heed.attention.cache import StateCache
from heed.attention.masks import Mask
from heed.attention.mechanism import Mechanism
from heed.attention.mechanisms import sums
from heed.attention.mechanisms.chunks import CHUNK, causal
from heed.attention.mechanisms.features import FeatureMap
from heed.attention.mechanisms.sums import NOTHING, Keys, Sums


class KernelAttention(Mechanism):
    """Base of mechanisms whose weights are phi(q).phi(k).

    Features and sums are float32 at least, also where autocast asks for less: the sums run over all tokens.
    """

    name: ClassVar[str]
    """The name in the catalogue, for messages."""
    n_features: int
    """Number of features, m."""
    floor: float = 0.0
    """Denominators are held at least this far from zero; 0 where all features are positive."""

    def feature_map(self) -> FeatureMap:
        """Return phi as it is now: it stays the same when features are drawn anew."""
        raise NotImplementedError

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Mix v (B, Hkv, S, K) by the features of q (B, H, T, K) and k (B, Hkv, S, K): (B, H, T, K).

        Raises `ConfigError` for a bias of the scores and for masks other than causal and padding.
        """
        sums.refuse_other(self.name, mask, bias)
        absent = None if mask.padding is None else ~mask.padding[:, None, :, None]
        with torch.autocast(q.device.type, enabled=False):
            phi = self.feature_map()
            x, k, v = self._share(q, k, v)
            nothing = sums.no_sums(v, self.n_features)
            if self.path == "reference":
                y = sums.quadratic(phi(x)[0], _keys(phi, k, v, absent), mask.dense(q.device), self.floor)
            elif mask.causal and mask.T > 1:
                x = F.pad(x, (0, 0, mask.S - mask.T, 0))  # positions before the queries have keys only
                y = causal(phi, x, k, v, absent, nothing, self.floor)[0][:, :, mask.S - mask.T :]
            else:
                seen = sums.add(_keys(phi, k, v, absent), nothing)
                y = sums.read(phi(x)[0], seen, self.floor)
            return y.to(q.dtype)

    def extend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, state: StateCache) -> Tensor:
        """Mix as `forward` does for the T tokens that follow what `state` has summed up, and add them to it.

        `mask.padding` (B, S) is of all positions, and the last T are these. No gradient reaches the tokens before.
        """
        sums.refuse_other(self.name, mask, None)
        T = q.shape[2]
        absent = None if mask.padding is None else ~mask.padding[:, None, -T:, None]
        with torch.autocast(q.device.type, enabled=False):
            phi = self.feature_map()
            x, k, v = self._share(q, k, v)
            past = _of_state(state)
            if mask.causal and T > 1:
                y, after = causal(phi, x, k, v, absent, past, self.floor)
            else:
                after = sums.add(_keys(phi, k, v, absent), past)
                y = sums.read(phi(x)[0], after, self.floor)
        state.sums = [part.detach() for part in after]
        state.used += T
        return y.to(q.dtype)

    def _share(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q, k and v in a type that can be summed, and as many key/value heads as query heads."""
        dtype, H = torch.promote_types(q.dtype, torch.float32), q.shape[1]
        return q.to(dtype), steps.share_heads(k.to(dtype), H), steps.share_heads(v.to(dtype), H)

    def new_cache(self, batch: int, length: int, dtype: torch.dtype, device: torch.device) -> StateCache:
        """Return empty sums for `batch` rows: they are as large for one token as for a million."""
        H, K, dtype = self.shape.n_heads, self.shape.width, torch.promote_types(dtype, torch.float32)
        like = torch.empty(batch, H, 0, K, dtype=dtype, device=device)
        return StateCache(list(sums.no_sums(like, self.n_features)))

    def flops(self, T: int) -> int:
        """Return the operations for one query: its chunk, of T tokens at most, and the sums; features not counted."""
        m, K = self.n_features, self.shape.width
        return self.shape.n_heads * (2 * min(CHUNK, T) * (m + K + 1) + 4 * m * (K + 1))


def _of_state(state: StateCache) -> Sums:
    """Return the sums of a cache; a row that was set to zero, sums and units too, holds nothing."""
    total, top = state.sums
    empty = (total[..., -1] == 0).all(dim=-1)[..., None, None]
    return Sums(total, top.masked_fill(empty, NOTHING))


def _keys(features: FeatureMap, k: Tensor, v: Tensor, absent: Tensor | None) -> Keys:
    """Return what is summed over, made of k and v (B, H, S, K)."""
    phi, scale = features(k)
    return sums.hide(Keys(phi, v, scale), absent)
