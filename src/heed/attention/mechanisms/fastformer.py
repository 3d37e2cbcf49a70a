"""Fastformer: a sequence is summed up in one query and one key, which then multiply every value. For encoders.

    alpha_i = softmax_i(w_q . q_i / sqrt(K))      qbar = sum_i alpha_i q_i            global query
    p_i     = qbar * k_i                                                              products of components
    beta_i  = softmax_i(w_k . p_i / sqrt(K))      kbar = sum_i beta_i p_i             global key
    u_i     = kbar * v_i
    y_i     = W_r u_i + q_i

Wu et al. 2021, "Fastformer: Additive attention can be all you need", section 3.1. Everything down to u is done per
head; W_r (D, D) reads all heads side by side, as in the authors' code. It has no bias, since the layer's own output
matrix follows and has one. Both sums run over the whole sequence: there is no causal form.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from heed.attention import steps
from heed.attention.facts import Facts
from heed.attention.masks import Mask
from heed.attention.mechanism import Mechanism, Path
from heed.attention.mechanisms.linformer import refuse_order
from heed.attention.shape import Shape
from heed.errors import ConfigError

if TYPE_CHECKING:
    from heed.attention.scores import Score


class Fastformer(Mechanism):
    """Additive attention: two learned directions a head weigh the positions, T weights each and never T x S.

    `dropout` is not applied here, as in the authors' code: it stays on the residual branch of the block.
    """

    facts = Facts(
        equation="W_r (kbar * V) + Q",
        source="Wu et al. 2021, Fastformer: Additive attention can be all you need",
        causal="never",
        differentiable="all",
        masks=frozenset({"padding"}),
        positions=frozenset({"none", "learned", "sinusoidal"}),
        time="T D^2",
        memory="T D",
        growth=(1, 1),
        cache="none",
        grouped=False,
        weights=False,
        scores=frozenset(),
    )

    def __init__(self, shape: Shape, *, path: Path = "auto", dropout: float = 0.0, score: Score | None = None) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        self.w_q = nn.Parameter(torch.empty(shape.n_heads, shape.width))
        self.w_k = nn.Parameter(torch.empty(shape.n_heads, shape.width))
        self.W_r = nn.Parameter(torch.empty(shape.d_model, shape.d_model))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Multiply v by what q and k, all (B, H, T, K), sum up to, and add q: (B, H, T, K).

        Raises `ConfigError` for a causal mask, a bias of the scores, or queries that are not all positions.
        """
        refuse_order("fastformer", mask, bias)
        if mask.T != mask.S:
            raise ConfigError(f"fastformer sums up all positions: {mask.T} queries of {mask.S} are not enough")
        real = None if mask.padding is None else mask.padding[:, None, :]
        query = pool(q, self.w_q, real)
        if self.path == "reference":
            key = pool(query[:, :, None] * k, self.w_k, real)
        else:  # qbar is the same for all positions: out of the sum, and p is never held
            key = query * pool(k, self.w_k * query, real)
        y = self.spread(key, q, v)
        return y if real is None else y.masked_fill(~real.any(-1)[..., None, None], 0.0)

    def spread(self, key: Tensor, q: Tensor, v: Tensor) -> Tensor:
        """Return y (B, H, T, K): the global key (B, H, K) times each value, by W_r, and the query added."""
        u = steps.merge_heads(key[:, :, None] * v)
        return steps.split_heads(u @ self.W_r.T, self.shape.n_heads) + q

    def shares(self, q: Tensor, k: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Return alpha and beta (B, H, T): the share of each position in the global query, and in the global key."""
        real = None if mask.padding is None else mask.padding[:, None, :]
        alpha = shares_of(q, self.w_q, real)
        return alpha, shares_of(k, self.w_k * (alpha[..., None, :] @ q)[..., 0, :], real)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw each matrix from N(0, 1 / its inputs): its outputs have the spread of its inputs."""
        super().initialise(generator)
        for matrix in (self.w_q, self.w_k, self.W_r):
            spread = 1 / math.sqrt(matrix.shape[1])
            matrix.copy_(torch.empty(matrix.shape).normal_(0.0, spread, generator=generator))

    def flops(self, T: int) -> int:
        """Return the operations for one query: two scores, two means, u, W_r and q, whatever T is."""
        D = self.shape.d_model
        return 2 * D * D + 10 * D


def pool(x: Tensor, direction: Tensor, real: Tensor | None) -> Tensor:
    """Return the mean (B, H, K) of x (B, H, T, K) over positions, weighted by softmax(x . direction / sqrt(K)).

    `direction` is (H, K) or (B, H, K); padding, where `real` (B, 1, T) is False, has no weight.
    """
    return (shares_of(x, direction, real)[..., None, :] @ x)[..., 0, :]


def shares_of(x: Tensor, direction: Tensor, real: Tensor | None) -> Tensor:
    """Return the weights (B, H, T) of that mean."""
    scores = steps.scale((x @ direction[..., None])[..., 0], x.shape[-1])
    return steps.weigh(steps.mask_scores(scores, real))
