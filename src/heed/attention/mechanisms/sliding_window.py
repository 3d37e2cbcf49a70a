"""Sliding-window attention: each query sees the keys near it, in time and memory linear in T.

    y_t = sum_s a_ts v_s,  a_t = softmax over {s : 0 <= t - s < window} of q_t.k_s / sqrt(K)

Without causality the keys are {s : |t - s| < window}. Child et al. 2019, "Generating long sequences with sparse
transformers"; Beltagy et al. 2020, "Longformer", section 3.1; Jiang et al. 2023, "Mistral 7B", section 2.

The fast path cuts the queries into blocks, and each block meets the keys that its windows reach:

    queries        [ C ][ C ][ C ]
    keys of each  [L       ]              L = C + window - 1 (bidirectional: C + 2 (window - 1)),
                       [L       ]         read where they stand: one view with overlaps, nothing is copied
                            [L       ]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from heed.attention import steps
from heed.attention.facts import Facts
from heed.attention.masks import Mask, window_mask
from heed.attention.mechanism import Mechanism, Path
from heed.attention.mechanisms.windows import windows
from heed.attention.shape import Shape
from heed.errors import ConfigError

if TYPE_CHECKING:
    from heed.attention.scores import Score


class SlidingWindow(Mechanism):
    """Softmax attention to the keys near each query.

    window: how many keys a query sees, itself included: itself and window - 1 before it; in an encoder as many after.
    """

    facts = Facts(
        equation="y_t = sum_s softmax_s(q_t.k_s / sqrt(K)) v_s over 0 <= t - s < window",
        source="Beltagy et al. 2020, Longformer; Child et al. 2019, Sparse transformers",
        causal="exact",
        differentiable="all",
        masks=frozenset({"causal", "padding", "window"}),
        positions=frozenset({"none", "learned", "sinusoidal", "rotary"}),
        time="T window D",
        memory="T D fused, H T window with dropout",
        growth=(1, 1),
        cache="keys",
        grouped=True,
        weights=True,
        scores=frozenset({"scaled-dot", "dot", "cosine", "negative-distance", "bilinear"}),
    )

    def __init__(
        self, shape: Shape, *, window: int = 256, path: Path = "auto", dropout: float = 0.0, score: Score | None = None
    ) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        if window < 1:
            raise ConfigError(f"model.attention.options.window: must be at least 1, the query itself, not {window}")
        self.window = window
        self.block = max(32, -(-window // 2))
        """Queries in a block, C. Half a window wastes a third of the work and keeps the products large."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Mix v (B, Hkv, S, K) by how q (B, H, T, K) meets the k (B, Hkv, S, K) near it: (B, H, T, K)."""
        if bias is not None:
            raise ConfigError(
                "attention 'sliding-window' adds no bias to scores: choose model.positions learned, rotary or none"
            )
        window = min(self.window, mask.window or self.window)
        if self.path == "reference":
            return self._by_steps(q, k, v, mask, window)
        factor = None
        if self.score is not None:
            dot = self.score.as_dot(q, k)
            if dot is None:
                raise ConfigError(
                    "attention 'sliding-window' needs a score that is a dot product: "
                    f"choose model.attention.score {', '.join(sorted(self.facts.scores))}"
                )
            q, k, factor = dot
        dropout = self.dropout if self.training else 0.0
        return _Band(q, k, v, mask.padding, mask.causal, window, dropout, factor).mix(self.block)

    def _by_steps(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, window: int) -> Tensor:
        """Return attention by the equations of `steps.py`, under the dense mask of the window."""
        k, v = steps.share_heads(k, q.shape[1]), steps.share_heads(v, q.shape[1])
        scores = steps.scale(steps.similarities(q, k), q.shape[-1]) if self.score is None else self.score(q, k)
        allowed = window_mask(mask.T, mask.S, window, q.device, causal=mask.causal)
        if mask.padding is not None:
            allowed = allowed & mask.padding[:, None, None, :]
        weights = steps.weigh(steps.mask_scores(scores, allowed))
        if self.dropout and self.training:
            weights = torch.dropout(weights, self.dropout, train=True)
        return steps.mix(weights, v)

    def flops(self, T: int) -> int:
        """Return the floating-point operations of mixing for one query among T keys, forward."""
        return super().flops(min(T, self.window if self.shape.causal else 2 * self.window - 1))


@dataclass(frozen=True)
class _Band:
    """The band of scores of one call, cut into pieces; q is (B, H, T, K), k and v are (B, Hkv, S, K)."""

    q: Tensor
    k: Tensor
    v: Tensor
    padding: Tensor | None
    causal: bool
    window: int
    dropout: float
    factor: float | None

    def mix(self, C: int) -> Tensor:
        """Return y (B, H, T, K): blocks of C queries at once wherever their windows lie whole within the keys."""
        T, before = self.q.shape[2], self.window - 1
        head = min(T, max(0, before - self.offset))
        count = max(0, T - head - self.after) // C
        if count < 2:
            return self.piece(self.q, 0)
        q = self.q.split([head, count * C, T - head - count * C], dim=2)
        pieces = [self.piece(q[0], 0), self.blocks(q[1], head, C), self.piece(q[2], head + count * C)]
        return torch.cat([y for y in pieces if y.shape[2]], dim=2)

    @property
    def offset(self) -> int:
        """Return how many keys stand before the first query."""
        return self.k.shape[2] - self.q.shape[2]

    @property
    def after(self) -> int:
        """Return how many keys a query reaches behind itself."""
        return 0 if self.causal else self.window - 1

    def piece(self, q: Tensor, begin: int) -> Tensor:
        """Return y of the queries q (B, H, T, K) from number `begin` on, with every key that one of them reaches."""
        if not q.shape[2]:
            return q
        first = begin + self.offset
        low, high = max(0, first - self.window + 1), min(self.k.shape[2], first + q.shape[2] + self.after)
        allowed = self.near(first - low, q.shape[2], high - low)
        if self.padding is not None:
            allowed = allowed & self.padding[:, None, None, low:high]
        return self.attend(q, self.k[:, :, low:high], self.v[:, :, low:high], allowed)

    def blocks(self, q: Tensor, begin: int, C: int) -> Tensor:
        """Return y of the queries q (B, H, N C, K) from number `begin` on, whose windows lie whole within the keys."""
        H, count, L = q.shape[1], q.shape[2] // C, C + self.window - 1 + self.after
        low = begin + self.offset - self.window + 1
        reach = slice(low, low + (count - 1) * C + L)
        q = q.unflatten(2, (count, C))  # (B, H, N, C, K)
        k, v, allowed = self.k[:, :, reach], self.v[:, :, reach], self.near(self.window - 1, C, L)
        if self.padding is None:  # one mask serves all blocks, rows and heads
            # Rows and heads of a view with overlaps merge only where its base is contiguous; else the view is copied.
            k, v = (windows(steps.share_heads(x, H).contiguous(), L, C) for x in (k, v))  # (B, H, N, L, K)
            y = self.attend(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), allowed)
            return y.unflatten(0, (-1, H)).flatten(2, 3)
        k, v = (windows(x, L, C).transpose(1, 2).flatten(0, 1) for x in (k, v))  # (B N, Hkv, L, K)
        real = self.padding[:, reach].unfold(1, L, C).flatten(0, 1)
        y = self.attend(q.transpose(1, 2).flatten(0, 1), k, v, allowed & real[:, None, None, :])
        return y.unflatten(0, (-1, count)).transpose(1, 2).flatten(2, 3)

    def near(self, first: int, T: int, S: int) -> Tensor:
        """Return the mask (1, 1, T, S) of T queries over S keys, where query 0 stands at key `first`."""
        index = torch.arange(max(T, S), device=self.q.device)
        behind = first + index[:T, None] - index[:S]
        return ((behind < self.window) & (behind >= -self.after))[None, None]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        """Return softmax attention under a mask of four dimensions.

        With three, torch leaves its fused kernel on a CPU, and takes 1.4 times as long.
        """
        return F.scaled_dot_product_attention(
            q, k, v, allowed, self.dropout, scale=self.factor, enable_gqa=q.shape[1] != k.shape[1]
        )
