"""The attention layer: project, place, mix, merge. It owns q, k, v and the heads; a mechanism only mixes.

x (B,T,D) --project--> q,k,v (B,H,T,K) --place--> q,k [+ bias (H,T,S)] --mix--> y (B,H,T,K) --merge--> (B,T,D)
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.attention.cache import LayerCache, StateCache
from heed.attention.halves import Linear
from heed.attention.masks import Mask, make_mask
from heed.attention.mechanism import Mechanism
from heed.attention.mechanisms.softmax import Softmax
from heed.attention.normalise import rms_norm
from heed.attention.positions import Place
from heed.attention.projections import PROJECTIONS
from heed.attention.shape import Shape
from heed.errors import ConfigError


class Attention(nn.Module):
    """Multi-head self-attention with any mechanism, optionally grouped (fewer key/value heads than query heads).

    `qk_norm` divides each query and key by its root mean square per head and gives each component a learned scale,
    before positions turn it (after Henry et al. 2020, who divide by the length and learn one scale of the scores).
    Weights are left unset: whoever assembles the model fills them.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        mechanism: Mechanism | None = None,
        projection: str = "separate",
        bias: bool = True,
        qk_norm: bool = False,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        n_kv_heads = n_kv_heads or n_heads
        if d_model % n_heads or n_heads % n_kv_heads:
            raise ConfigError(
                f"{d_model} wide with {n_heads} heads and {n_kv_heads} key/value heads: each must divide the one before"
            )
        self.n_heads, self.n_kv_heads, self.width = n_heads, n_kv_heads, d_model // n_heads
        self.projection = PROJECTIONS[projection]
        self.mechanism = mechanism if mechanism is not None else Softmax(Shape(d_model, n_heads, 1 << 30, n_kv_heads))
        makers = {part: getattr(self.projection, part) for part in self.mechanism.facts.inputs}
        if n_heads != n_kv_heads and self.projection.q == self.projection.k:
            raise ConfigError(f"projection {projection!r} makes as many keys as queries: leave n_kv_heads out")
        order = sorted(set(makers.values()))
        self.slices = [order.index(makers.get(part, makers["v"])) for part in "qkv"]
        """Which slice of the product with `qkv` is q, k and v; what the mechanism does not read is v."""
        self.heads = [n_heads if makers.get("q") == maker else n_kv_heads for maker in order]
        """The heads of each slice."""
        self.sizes = [heads * self.width for heads in self.heads]
        self.epsilon = epsilon
        layers = {"": 0, "shared": 1, "own": len(order)}[self.projection.network]
        self.hidden = Linear(d_model, layers * d_model, bias=bias) if layers else None
        """The hidden layers of the projections on top of each other: none, one for all, or one for each slice."""
        self.qkv = Linear(d_model, sum(self.heads) * self.width, bias=bias)
        self.out = Linear(d_model, d_model, bias=bias)
        self.q_norm = nn.Parameter(torch.empty(self.width)) if qk_norm else None
        self.k_norm = nn.Parameter(torch.empty(self.width)) if qk_norm else None

    def forward(
        self,
        x: Tensor,
        mask: Mask | None = None,
        place: Place | None = None,
        bias: Tensor | None = None,
        cache: LayerCache | StateCache | None = None,
    ) -> Tensor:
        """Return y (B, T, D) for x (B, T, D); without a mask every token sees every other.

        `place` turns q and k and `bias` (H, T, S) is added to the scores (see `positions.py`). With a cache, x is
        added to it, and queries see everything in it that `mask` allows.
        """
        B, T, D = x.shape
        q, k, v = self.project(x)
        if self.q_norm is not None and self.k_norm is not None:
            q = rms_norm(q, self.q_norm, self.epsilon)
            k = rms_norm(k, self.k_norm, self.epsilon)
        if place is not None:
            q, k = place(q, k)
        if isinstance(cache, StateCache):
            y = self.mechanism.extend(q, k, v, mask or make_mask(T, cache.used + T), cache)
        else:
            if cache is not None:
                k, v = cache.append(k, v)
            y = self.mechanism(q, k, v, mask or make_mask(T, k.shape[2]), bias)
        return self.out(y.transpose(1, 2).reshape(B, T, D))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q (B, H, T, K), k and v (B, Hkv, T, K); what the mechanism does not read is v."""
        B, T, D = x.shape
        if self.hidden is not None:
            x = F.gelu(self.hidden(x))
        if self.projection.network == "own":
            weights = self.qkv.weight.split(self.sizes)
            biases = [None] * len(weights) if self.qkv.bias is None else self.qkv.bias.split(self.sizes)
            inner = x.split(D, dim=-1)
            slices = [F.linear(*one) for one in zip(inner, weights, biases, strict=True)]
        else:
            slices = self.qkv(x).split(self.sizes, dim=-1)
        made = [
            part.view(B, T, heads, self.width).transpose(1, 2) for part, heads in zip(slices, self.heads, strict=True)
        ]
        q, k, v = (made[i] for i in self.slices)
        match self.projection.bends:
            case "q":
                q = F.gelu(q)
            case "k":
                k = F.gelu(k)
            case "v":
                v = F.gelu(v)
        return q, k, v
