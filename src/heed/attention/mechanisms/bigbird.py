"""BigBird: attention to near, to global and to random blocks of keys, in time and memory linear in T.

    y_t = sum_s a_ts v_s,  a_t = softmax over {s : block(s) in A(block(t))} of q_t.k_s / sqrt(K)
    A(i) = window {j : |i - j| <= (window_blocks - 1) / 2} + global blocks + random_blocks drawn for i

A global block sees everything. Zaheer et al. 2020, "Big Bird: Transformers for longer sequences", section 2 (its
internal construction, ITC: tokens of the text itself are global) and appendix D (blocks).

Positions count from a row's first real token, and what stands in padding gets zeros. An encoder has half of the
global blocks (rounded up) at the beginning and the others at the end of each row, where its real tokens end. A causal
model has all of them at the beginning, and sees of every block only what is not later than itself; its random blocks
are drawn among the earlier ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from heed.attention import steps
from heed.attention.facts import Facts
from heed.attention.masks import Mask, bigbird_mask, make_mask
from heed.attention.mechanism import Mechanism, Path
from heed.attention.shape import Shape
from heed.errors import ConfigError

if TYPE_CHECKING:
    from heed.attention.scores import Score


class BigBird(Mechanism):
    """Softmax attention to near, global and random blocks.

    block: tokens in a block.
    window_blocks: neighbouring blocks that a block sees, itself included; an odd number, half of it on each side.
    global_blocks: blocks that see everything and that everything sees.
    random_blocks: further blocks that a block sees, drawn once for each head when the model is initialised.
    """

    facts = Facts(
        equation="y_t = sum_s softmax_s(q_t.k_s / sqrt(K)) v_s over window, global and random blocks",
        source="Zaheer et al. 2020, Big Bird",
        causal="exact",
        differentiable="all",
        masks=frozenset({"causal", "padding", "window"}),
        positions=frozenset({"none", "learned", "sinusoidal", "rotary"}),
        time="T m D, m = keys that a query sees",
        memory="T D m / block",
        growth=(1, 1),
        cache="keys",
        grouped=True,
        weights=True,
        lengths="fixed",
        scores=frozenset({"scaled-dot", "dot", "cosine", "negative-distance", "bilinear"}),
    )
    rank: Tensor
    """(H, n, n) int16 of the context's n blocks: block i of head h takes as random those of lowest rank[h, i]."""

    def __init__(
        self,
        shape: Shape,
        *,
        block: int = 64,
        window_blocks: int = 3,
        global_blocks: int = 2,
        random_blocks: int = 3,
        path: Path = "auto",
        dropout: float = 0.0,
        score: Score | None = None,
    ) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        problems = [
            f"model.attention.options.{name}: must be at least {least}, not {value}"
            for name, value, least in (
                ("block", block, 1),
                ("window_blocks", window_blocks, 1),
                ("global_blocks", global_blocks, 0),
                ("random_blocks", random_blocks, 0),
            )
            if value < least
        ]
        if window_blocks % 2 == 0:
            problems.append(f"model.attention.options.window_blocks: must be odd, not {window_blocks}")
        n = -(-shape.context // max(1, block))
        if n > 1 << 15:
            problems.append(f"model.attention.options.block: {block} cuts the context into {n} blocks; 32,768 is most")
        if problems:
            raise ConfigError(*problems)
        self.block, self.global_blocks, self.random_blocks = block, global_blocks, random_blocks
        self.reach = (window_blocks + 1) // 2
        """The window in blocks, counted as `window_mask` does: the block itself and those on one side."""
        self.register_buffer("rank", torch.empty(shape.n_heads, n, n, dtype=torch.int16))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw the random blocks, a random order of all blocks for each block and head."""
        super().initialise(generator)
        self.rank.copy_(torch.rand(self.rank.shape, generator=generator).argsort(dim=-1))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Mix v (B, Hkv, S, K) by how q (B, H, T, K) meets the keys k (B, Hkv, S, K) of its blocks: (B, H, T, K)."""
        if bias is not None:
            raise ConfigError(
                "attention 'bigbird' adds no bias to scores: choose model.positions learned, rotary or none"
            )
        if self.shape.context < mask.S:
            raise ConfigError(f"a sequence of {mask.S} tokens is longer than the context of {self.shape.context}")
        if self.path == "reference":
            k, v = steps.share_heads(k, q.shape[1]), steps.share_heads(v, q.shape[1])
            scores = steps.scale(steps.similarities(q, k), q.shape[-1]) if self.score is None else self.score(q, k)
            weights = steps.weigh(steps.mask_scores(scores, self.dense(mask, q.device)))
            return steps.mix(torch.dropout(weights, self.dropout, self.training), v)
        factor = None
        if self.score is not None:
            dot = self.score.as_dot(q, k)
            if dot is None:
                raise ConfigError(
                    "attention 'bigbird' needs a score that is a dot product: "
                    f"choose model.attention.score {', '.join(sorted(self.facts.scores))}"
                )
            q, k, factor = dot
        if mask.T != mask.S or mask.window is not None:
            return self._attend(q, k, v, self.dense(mask, q.device), factor)  # decoding: T is short
        mix = self._causal if mask.causal else self._both_sides
        if mask.padding is None:
            return mix(q, k, v, None, factor)
        # Every row is turned until its padding stands on the right, and the result is turned back.
        turn = (extent(mask.padding)[0][:, None] + torch.arange(mask.S, device=q.device)) % mask.S
        real = mask.padding.gather(1, turn)
        if (real[:, 1:] & ~real[:, :-1]).any():
            return self._attend(q, k, v, self.dense(mask, q.device), factor)  # padding between real tokens
        q, k, v = (x.gather(2, turn[:, None, :, None].expand_as(x)) for x in (q, k, v))
        y = mix(q, k, v, real, factor).masked_fill(~real[:, None, :, None], 0.0)
        return y.gather(2, turn.argsort(dim=-1)[:, None, :, None].expand_as(y))

    def ends(self, causal: bool) -> tuple[int, int]:
        """Return how many global blocks stand at the beginning and at the end."""
        first = self.global_blocks if causal else (self.global_blocks + 1) // 2
        return first, self.global_blocks - first

    def most(self, causal: bool) -> int:
        """Return how many blocks a block sees at most, M, unless it is global."""
        return self.global_blocks + self.random_blocks + (self.reach if causal else 2 * self.reach - 1)

    def pattern(self, n: int, causal: bool, queries: int | None = None) -> Tensor:
        """Return the boolean (H, queries, n) mask of which of n blocks the last `queries` (default: all) see."""
        rank = self.rank[:, n - (n if queries is None else queries) : n, :n]
        return bigbird_mask(rank, self.reach, *self.ends(causal), self.random_blocks, causal=causal)

    def patterns(self, n: int, lengths: Tensor | None) -> Tensor:
        """Return the (B or 1, H, n, n) masks of rows that see both sides, of `lengths` (B,) tokens each (default: n b).

        Blocks behind a row's end see none and are seen by none.
        """
        if lengths is None:
            return self.pattern(n, causal=False)[None]
        blocks = [-(-length // self.block) for length in lengths.tolist()]
        made = {m: F.pad(self.pattern(m, causal=False), (0, n - m, 0, n - m)) for m in set(blocks)}
        return torch.stack([made[m] for m in blocks])

    def dense(self, mask: Mask, device: torch.device) -> Tensor:
        """Return who sees whom as a tensor (B or 1, H, T, S)."""
        n, b, seen = -(-mask.S // self.block), self.block, mask.dense(device)
        if mask.padding is None:  # only the rows of the pattern that are asked for: decoding asks for one
            skipped = (mask.S - mask.T) // b
            rows = self.pattern(n, mask.causal, n - skipped).repeat_interleave(b, dim=1)
            rows = rows[:, mask.S - mask.T - skipped * b :][:, : mask.T]
            allowed = rows.repeat_interleave(b, dim=2)[None, :, :, : mask.S]
            return allowed if seen is None else allowed & seen
        start, lengths = extent(mask.padding)
        at = (torch.arange(mask.S, device=device) - start[:, None]).clamp(min=0) // b
        rows = at[:, mask.S - mask.T :]
        first = int(rows.min()) if mask.causal else 0
        pattern = self.pattern(n, True, n - first)[None] if mask.causal else self.patterns(n, lengths)
        which = torch.arange(len(at), device=device) % len(pattern)
        allowed = pattern[which[:, None, None], :, rows[:, :, None] - first, at[:, None, :]].permute(0, 3, 1, 2)
        allowed = allowed & mask.padding[:, None, mask.S - mask.T :, None]
        return allowed if seen is None else allowed & seen

    def _causal(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None, factor: float | None) -> Tensor:
        """Return y (B, H, T, K) where no query sees a later key; padding on the right is later than every real token.

        The first M blocks see all before them. Each later one sees exactly M, and the last of these is itself.
        """
        T, b, M = q.shape[2], self.block, self.most(causal=True)
        n = -(-T // b)
        head = min(T, M * b)
        y = self._attend(q[:, :, :head], k[:, :, :head], v[:, :, :head], None, factor)
        if head == T:
            return y
        index = self.pattern(n, True)[:, M:].nonzero()[:, 2].view(1, -1, n - M, M)
        k, v = (gather_blocks(as_blocks(x, b), index, q.shape[1]) for x in (k, v))
        allowed = torch.ones(b, M * b, dtype=torch.bool, device=q.device).tril((M - 1) * b)
        rest = self._attend(as_blocks(q[:, :, head:], b).flatten(1, 2), k, v, allowed[None, None], factor)
        return torch.cat([y, rest.unflatten(1, (q.shape[1], -1)).flatten(2, 3)[:, :, : T - head]], dim=2)

    def _both_sides(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None, factor: float | None) -> Tensor:
        """Return y (B, H, T, K) where queries see both sides; `real` (B, T) is True for real tokens, from 0 on.

        All blocks meet M blocks of keys, and then the global ones, which see everything, are put in their places.
        """
        (B, H, T, _), b, M = q.shape, self.block, self.most(causal=False)
        n = -(-T // b)
        if n <= M:
            mask = make_mask(T, padding=real)
            return self._attend(q, k, v, self.dense(mask, q.device), factor)
        if real is None:
            real = torch.ones(1, T, dtype=torch.bool, device=q.device)
        lengths = extent(real)[1]
        pattern = self.patterns(n, lengths)
        index = pattern.int().argsort(dim=-1, descending=True, stable=True)[..., :M]
        keys = gather_blocks(as_blocks(real[:, None, :, None], b), index, H)[..., 0]  # (B or 1, H n, M b)
        chosen = pattern.gather(-1, index).flatten(1, 2).repeat_interleave(b, dim=-1) & keys
        queries, index = as_blocks(q, b), index.expand(B, -1, -1, -1)
        k_seen, v_seen = (gather_blocks(as_blocks(x, b), index, H) for x in (k, v))
        y = self._attend(queries.flatten(1, 2), k_seen, v_seen, chosen[:, :, None], factor).unflatten(1, (H, n))
        if self.global_blocks:
            where = self._globals(lengths).expand(B, -1)[:, None, :, None, None].expand(-1, H, -1, b, -1)
            # A score may have made queries and keys wider than values.
            asked = queries.gather(2, where.expand(-1, -1, -1, -1, q.shape[3]))
            seen = self._attend(asked.flatten(2, 3), k, v, real[:, None, None], factor)
            where = where.expand(-1, -1, -1, -1, v.shape[3])
            y = y.scatter(2, where, seen.view(where.shape))
        return y.flatten(2, 3)[:, :, :T]

    def _globals(self, lengths: Tensor) -> Tensor:
        """Return the numbers (B, global_blocks) of the global blocks of rows of `lengths` (B,) tokens, each once.

        In a row that is too short for all of them some lie in its padding, where nothing is read.
        """
        first, last = self.ends(causal=False)
        end = torch.clamp(-(-lengths // self.block) - last, min=first)
        counts = torch.arange(self.global_blocks, device=lengths.device)
        return torch.where(counts < first, counts, end[:, None] + counts - first)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, factor: float | None) -> Tensor:
        """Return softmax attention under a mask of four dimensions (None: causal)."""
        dropout = self.dropout if self.training else 0.0
        grouped = q.shape[1] != k.shape[1]
        return F.scaled_dot_product_attention(
            q, k, v, allowed, dropout, allowed is None, scale=factor, enable_gqa=grouped
        )

    def flops(self, T: int) -> int:
        """Return the floating-point operations of mixing for one query among T keys, forward."""
        causal = self.shape.causal  # without causality the global queries see all T keys: as many as all see of theirs
        return super().flops(min(T, self.block * (self.most(causal) + (0 if causal else self.global_blocks))))


def extent(real: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the real tokens of each row (B, S) begin, and how many positions they take up: both (B,).

    >>> [part.tolist() for part in extent(torch.tensor([[False, True, True, False], [False] * 4]))]
    [[1, 0], [2, 0]]
    """
    start = real.int().argmax(dim=1)
    end = (real * torch.arange(1, real.shape[1] + 1, device=real.device)).amax(dim=1)
    return start, (end - start).clamp(min=0)


def as_blocks(x: Tensor, size: int) -> Tensor:
    """Return x (B, H, T, K) in blocks, (B, H, n, size, K), the last of them filled up with zeros."""
    return F.pad(x, (0, 0, 0, -x.shape[2] % size)).unflatten(2, (-1, size))


def gather_blocks(x: Tensor, index: Tensor, heads: int) -> Tensor:
    """Return the blocks `index` (B or 1, H, N, M) of x (B, Hkv, n, b, K) side by side: (B, H N, M b, K)."""
    B, Hkv, n = x.shape[:3]
    head = torch.arange(heads, device=x.device) // (heads // Hkv)
    row = torch.arange(B, device=x.device)
    flat = (row[:, None] * Hkv + head)[:, :, None, None] * n + index
    chosen = x.flatten(0, 2).index_select(0, flat.flatten())
    return chosen.view(B, -1, index.shape[3] * x.shape[3], x.shape[4])
