"""Synthesizers: weights without keys. Tay et al. 2020, "Synthesizer: Rethinking Self-Attention for Transformers".

    dense     B[t] = W2 relu(W1 x[t] + b1) + b2      one score for each position, made from the query's token alone
    random    B = R, or R1 R2^T                      the same scores for every text, learned or left as they were drawn
    Y = softmax(B + mask) V

Column s of B belongs to the absolute position s. W1 and b1 are the layer's projection to queries.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.attention import steps
from heed.attention.facts import Facts
from heed.attention.masks import Mask
from heed.attention.mechanism import Mechanism, Path
from heed.attention.scores import Score
from heed.attention.shape import Shape
from heed.errors import ConfigError

SPREAD = 0.02
"""Standard deviation of what is learned, at the start: attention is then nearly uniform."""
FIXED_SPREAD = 1.0
"""Standard deviation of random scores that are never learned: with a small one they would stay uniform for ever."""

BLOCK = 256
"""Queries whose scores are made together: a causal block leaves out the keys that all of it may not see."""


class DenseSynthesizer(Mechanism):
    """Mixes values by scores that a query makes by itself, one for each position of the context.

    It is softmax attention to keys that are learned, one a position (column s of W2, with b2 added to the score), and
    the fast path computes it so: it needs no T x T weights.
    """

    facts = Facts(
        equation="softmax(relu(Q) W2 + b2) V",
        source="Tay et al. 2020, Synthesizer: Rethinking Self-Attention for Transformers",
        causal="exact",
        differentiable="all",
        masks=frozenset({"causal", "padding"}),
        positions=frozenset({"none", "learned", "sinusoidal"}),
        time="T^2 D",
        memory="T D fused, H T^2 step by step",
        growth=(2, 1),
        cache="keys",
        grouped=False,
        weights=True,
        lengths="fixed",
        scores=frozenset(),
        inputs="qv",
    )

    def __init__(self, shape: Shape, *, path: Path = "auto", dropout: float = 0.0, score: Score | None = None) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        self.w2 = nn.Parameter(torch.empty(shape.n_heads, shape.context, shape.width))
        """W2 by columns: the learned key of each position."""
        self.b2 = nn.Parameter(torch.empty(shape.n_heads, shape.context))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Fill W2 with N(0, 0.02^2) and b2 with 0."""
        super().initialise(generator)
        self.w2.copy_(torch.empty(self.w2.shape).normal_(0.0, SPREAD, generator=generator))
        self.b2.zero_()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Mix v (B, H, S, K) by what each of q (B, H, T, K) scores the positions: (B, H, T, K). k is not read."""
        _refuse_long(mask, self.shape)
        q, (_, keys), dropout = torch.relu(q), mask.positions(q.device), self.dropout if self.training else 0.0
        w2, b2 = (_by_row(part[:, keys], mask).to(q.dtype) for part in (self.w2, self.b2))
        if self.path == "reference":
            return _mix(steps.similarities(q, w2) + b2[..., None, :], v, mask, dropout)
        # b2 is one more component of the keys, which meets a 1. Fused kernels want a width that 8 divides.
        short = -(q.shape[-1] + 1) % 8
        q = F.pad(F.pad(q, (0, 1), value=1.0), (0, short))
        learned = F.pad(torch.cat((w2, b2[..., None]), dim=-1), (0, short))
        y = F.scaled_dot_product_attention(
            q,
            learned.expand(len(q), -1, -1, -1),
            F.pad(v, (0, 1 + short)),
            attn_mask=mask.allowed,
            dropout_p=dropout,
            is_causal=mask.is_plain_causal,
            scale=1.0,
        )
        return y[..., : v.shape[-1]]


class RandomSynthesizer(Mechanism):
    """Mixes values by scores that no text changes.

    `trainable`: whether the scores are learned; false: they stay as they were drawn.
    `rank`: the scores are R1 R2^T with factors (context, rank) a head; None: a matrix (context, context) a head.
    """

    facts = Facts(
        equation="softmax(R) V, or softmax(R1 R2^T) V",
        source="Tay et al. 2020, Synthesizer: Rethinking Self-Attention for Transformers",
        causal="exact",
        differentiable="values",
        masks=frozenset({"causal", "padding"}),
        positions=frozenset({"none", "learned", "sinusoidal"}),
        time="T^2 D",
        memory="H T^2",
        growth=(2, 2),
        cache="keys",
        grouped=False,
        weights=True,
        lengths="fixed",
        scores=frozenset(),
        inputs="v",
    )
    r: Tensor
    r1: Tensor
    r2: Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        trainable: bool = True,
        rank: int | None = None,
        path: Path = "auto",
        dropout: float = 0.0,
        score: Score | None = None,
    ) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        if rank is not None and rank < 1:
            raise ConfigError(f"model.attention.options.rank: must be at least 1, or left out, not {rank}")
        self.rank, self.trainable = rank, trainable
        names, columns = (("r",), shape.context) if rank is None else (("r1", "r2"), rank)
        for name in names:
            empty = torch.empty(shape.n_heads, shape.context, columns)
            if trainable:
                self.register_parameter(name, nn.Parameter(empty))
            else:
                self.register_buffer(name, empty)  # it travels in the checkpoint

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Fill R with N(0, 0.02^2), or N(0, 1) where it is not learned; factors such that R has this deviation."""
        super().initialise(generator)
        spread = SPREAD if self.trainable else FIXED_SPREAD
        if self.rank is not None:
            spread = math.sqrt(spread / math.sqrt(self.rank))
        for part in (*self.parameters(), *self.buffers()):
            part.copy_(torch.empty(part.shape).normal_(0.0, spread, generator=generator))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Mix v (B, H, S, K) by the scores of the positions: (B, H, T, K). q and k are not read."""
        _refuse_long(mask, self.shape)
        scores, dropout = self.scores(mask, v.device).to(v.dtype), self.dropout if self.training else 0.0
        if self.path == "reference" or mask.padding is not None or dropout:
            return _mix(scores.expand(len(v), -1, -1, -1), v, mask, dropout)
        beside = v.permute(1, 2, 0, 3).flatten(2)  # every row has the same weights: one product mixes them all
        mixed, end = [], mask.S - mask.T
        for block in scores.split(BLOCK, dim=1):
            end = end + block.shape[1]
            if mask.causal:
                block = block[:, :, :end]
                block = steps.mask_scores(block, steps.causal_mask(block.shape[1], end, v.device))
            mixed.append(steps.mix(torch.softmax(block, dim=-1), beside[:, : block.shape[2]]))
        return torch.cat(mixed, dim=1).unflatten(-1, (len(v), -1)).permute(2, 0, 1, 3)

    def scores(self, mask: Mask, device: torch.device) -> Tensor:
        """Return R of the mask's positions: (H, T, S), or (B, H, T, S) where rows begin with padding."""
        queries, keys = mask.positions(device)
        if self.rank is not None:
            r1, r2 = _by_row(self.r1[:, queries], mask), _by_row(self.r2[:, keys], mask)
            return r1 @ r2.transpose(-2, -1)
        if mask.start is None:
            return self.r[:, mask.S - mask.T : mask.S, : mask.S]
        return _by_row(self.r[:, queries[:, :, None], keys[:, None, :]], mask)


def _by_row(part: Tensor, mask: Mask) -> Tensor:
    """Return what was picked by positions: (H, ...) as it is, (H, B, ...) with the rows of the batch first."""
    return part if mask.start is None else part.movedim(1, 0)


def _mix(scores: Tensor, v: Tensor, mask: Mask, dropout: float) -> Tensor:
    """Return the values v (B, H, S, K) mixed by scores (..., T, S), with dropout on the weights."""
    weights = steps.weigh(steps.mask_scores(scores, mask.dense(v.device)))
    if dropout:
        weights = torch.dropout(weights, dropout, train=True)
    return steps.mix(weights, v)


def _refuse_long(mask: Mask, shape: Shape) -> None:
    if shape.context < mask.S:
        raise ConfigError(f"a sequence of {mask.S} tokens is longer than the {shape.context} positions with weights")
