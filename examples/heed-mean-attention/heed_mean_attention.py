"""A mean of the past that decays: each head forgets at a rate of its own, which it learns.

    y_t = sum over s <= t of exp(-r (t - s)) v_s / sum over s <= t of exp(-r (t - s))

It reads no queries and no keys. In an encoder the distance |t - s| decays to both sides. This is the exponential
moving average of statistics (Brown 1959), with a rate r > 0 for each head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from heed.attention import Facts, Mask, Mechanism, Score, Shape, StateCache, steps
from heed.attention.mechanism import Path
from heed.errors import ConfigError


class DecayingMean(Mechanism):
    """Mixes values by how near they are.

    half_life: tokens after which the first head's weight has halved; each further head's is 4 times as long.
    """

    facts = Facts(
        equation="sum exp(-r |t-s|) v_s / sum exp(-r |t-s|)",
        source="Brown 1959, Statistical forecasting for inventory control",
        causal="exact",
        differentiable="all",
        masks=frozenset({"causal", "padding"}),
        positions=frozenset({"none", "learned", "sinusoidal"}),
        time="T^2 D; decoding D a token",
        memory="H T^2",
        growth=(2, 2),
        cache="state",
        grouped=False,
        weights=True,
        scores=frozenset(),
        inputs="v",
    )

    def __init__(
        self,
        shape: Shape,
        *,
        half_life: float = 1.0,
        path: Path = "auto",
        dropout: float = 0.0,
        score: Score | None = None,
    ) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        if half_life <= 0:
            raise ConfigError(f"model.attention.options.half_life: must be above 0, not {half_life}")
        self.half_life = half_life
        self.log_rate = nn.Parameter(torch.empty(shape.n_heads))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Spread the half-lives; nothing is drawn."""
        half_lives = self.half_life * 4.0 ** torch.arange(self.shape.n_heads)
        self.log_rate.copy_((math.log(2) / half_lives).log())

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Mix v (B, H, S, K) into y (B, H, T, K); q and k are not read."""
        place = torch.arange(mask.S, device=v.device)
        distance = (place[mask.S - mask.T :, None] - place).abs()  # (T, S)
        scores = -self.log_rate.exp()[:, None, None] * distance  # (H, T, S)
        weights = steps.weigh(steps.mask_scores(scores, mask.dense(v.device))).to(v.dtype)
        if self.training and self.dropout:
            weights = torch.dropout(weights, self.dropout, train=True)
        return steps.mix(weights, v)

    def new_cache(self, batch: int, length: int, dtype: torch.dtype, device: torch.device) -> StateCache:
        """Return the two sums of the equation, both 0: (B, H, K) and (B, H, 1)."""
        total = torch.zeros(batch, self.shape.n_heads, self.shape.width, dtype=dtype, device=device)
        return StateCache([total, torch.zeros_like(total[..., :1])])

    def extend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, state: StateCache) -> Tensor:
        """Add the T tokens of v (B, H, T, K) to the sums, one at a time, and return y (B, H, T, K)."""
        T = v.shape[2]
        kept = (-self.log_rate.exp()).exp()[:, None].to(v.dtype)  # (H, 1): what a step leaves of the sums
        real = torch.ones_like(v[:, :, :, :1])
        if mask.padding is not None:
            real = real * mask.padding[:, None, mask.S - T :, None]
        total, weight = state.sums
        means = []
        for t in range(T):
            total = kept * total + real[:, :, t] * v[:, :, t]
            weight = kept * weight + real[:, :, t]
            means.append(torch.where(weight > 0, total / weight.clamp(min=1e-30), 0.0))
        state.sums, state.used = [total, weight], state.used + T
        return torch.stack(means, dim=2)

    def flops(self, T: int) -> int:
        """Return the operations of one query among T keys: a product and a sum for each component of each value."""
        return 2 * self.shape.d_model * T
