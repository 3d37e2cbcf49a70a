"""The attention-free transformer: each channel is a mean of its own, gated by the query. Zhai et al. 2021.

    Y[t] = sigmoid(Q[t]) * sum_s exp(K[s] + w[t,s]) V[s] / sum_s exp(K[s] + w[t,s])        (equation 2)

All products are element by element: a query meets no key, it only gates. w[t,s] is learned for each pair of positions
and added in the exponent; all channels share it, so that heads make no difference. Causal: s <= t in both sums.

    full     w is learned for every pair of positions
    local    w is learned where |t - s| < window, and 0 beyond: keys far away take part as they are
    simple   w = 0

The sums are those of `means.py`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.attention import steps
from heed.attention.cache import LayerCache, StateCache
from heed.attention.facts import Facts
from heed.attention.masks import Mask
from heed.attention.mechanism import Mechanism, Path
from heed.attention.mechanisms.means import exponential_mean, prefix_mean, running_sums
from heed.attention.mechanisms.windows import windows
from heed.attention.scores import Score
from heed.attention.shape import Shape
from heed.errors import ConfigError

SPREAD = 0.02
"""Standard deviation of w at the start: every mean is then nearly the plain one."""


def _facts(kind: str, time: str, memory: str, growth: tuple[int, int], *, state: bool = False) -> Facts:
    """Return the facts of one of the three kinds."""
    bias = {"full": " + w_ts", "local": " + (w_ts if |t-s| < window else 0)", "simple": ""}[kind]
    return Facts(
        equation=f"sigmoid(Q_t) * sum_s exp(K_s{bias}) V_s / sum_s exp(K_s{bias})",
        source="Zhai et al. 2021, An Attention Free Transformer",
        causal="exact",
        differentiable="all",
        masks=frozenset({"causal", "padding"}),
        positions=frozenset({"none", "learned", "sinusoidal"}),
        time=time,
        memory=memory,
        growth=growth,
        cache="state" if state else "keys",
        grouped=False,
        weights=False,
        lengths="any" if state else "fixed",
        scores=frozenset(),
    )


class AFTFull(Mechanism):
    """Means weighted by exp(K + w), with a learned w for each pair of positions.

    `rank`: w = u v^T with u and v (context, rank), as the paper does with 128; None: w is a matrix (context, context).

    Dropout does nothing here: a weight belongs to one channel, and no paper says which weights it would drop.
    """

    facts = _facts("full", "T^2 D", "T^2 + T D", (2, 2))

    def __init__(
        self,
        shape: Shape,
        *,
        rank: int | None = None,
        path: Path = "auto",
        dropout: float = 0.0,
        score: Score | None = None,
    ) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        if rank is not None and rank < 1:
            raise ConfigError(f"model.attention.options.rank: must be at least 1, or left out, not {rank}")
        self.rank = rank
        if rank is None:
            self.w = nn.Parameter(torch.empty(shape.context, shape.context))
        else:
            self.u = nn.Parameter(torch.empty(shape.context, rank))
            self.v = nn.Parameter(torch.empty(shape.context, rank))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Fill w with N(0, 0.02^2); factors such that their product has this deviation."""
        super().initialise(generator)
        spread = SPREAD if self.rank is None else math.sqrt(SPREAD / math.sqrt(self.rank))
        for factor in self.parameters():
            factor.copy_(torch.empty(factor.shape).normal_(0.0, spread, generator=generator))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Gate by q (B, H, T, K) the means of v (B, H, S, K) weighted by exp(k + w): (B, H, T, K)."""
        w = self.biases(mask, q.device)
        if self.path == "reference":
            return _by_steps(q, k, v, w, mask)
        k, v = _channels(k, v, mask)
        w = w.to(k.dtype)
        if w.dim() == 2:  # one w for all rows: they are channels too, and one product serves them all
            k, v = _beside(k, v)
            y, _ = exponential_mean(k, v, w[None], causal=mask.causal, bounds=_bounds(w))
            return _gate(q, _apart(y, len(q)))
        return _gate(q, exponential_mean(k, v, w, causal=mask.causal, bounds=_bounds(w))[0])

    def biases(self, mask: Mask, device: torch.device) -> Tensor:
        """Return w of the mask's positions: (T, S), or (B, T, S) where rows begin with padding."""
        _refuse_long(mask, self.shape)
        queries, keys = mask.positions(device)
        if self.rank is not None:
            return self.u[queries] @ self.v[keys].transpose(-2, -1)
        if mask.start is None:
            return self.w[mask.S - mask.T : mask.S, : mask.S]
        return self.w[queries[:, :, None], keys[:, None, :]]


class AFTSimple(Mechanism):
    """Means weighted by exp(K): the same for every query that sees the same keys, gated by the query.

    Dropout does nothing here: a weight belongs to one channel, and no paper says which weights it would drop.
    """

    facts = _facts("simple", "T D", "T D", (1, 1), state=True)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Gate by q (B, H, T, K) the means of v (B, H, S, K) weighted by exp(k): (B, H, T, K)."""
        if self.path == "reference":
            return _by_steps(q, k, v, q.new_zeros(mask.T, mask.S), mask)
        k, v = _channels(k, v, mask)
        if mask.causal:
            return _gate(q, prefix_mean(k, v)[0][:, mask.S - mask.T :])
        weights = steps.weigh(k.transpose(1, 2)).transpose(1, 2)
        return _gate(q, (weights * v).sum(1, keepdim=True).expand(-1, mask.T, -1))

    def new_cache(self, batch: int, length: int, dtype: torch.dtype, device: torch.device) -> LayerCache | StateCache:
        """Return the sums of nothing: the largest key so far, and sums of values and weights, each (B, D)."""
        kind = torch.promote_types(dtype, torch.float32)
        return StateCache([torch.zeros(batch, self.shape.d_model, dtype=kind, device=device) for _ in range(3)])

    def extend(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, state: StateCache) -> Tensor:
        """Like `forward` for T tokens q, k, v (B, H, T, K) that follow what `state` has summed up."""
        T = q.shape[2]
        k, v = _channels(k, v, mask)
        top, total, weight = (part[:, None].to(k.dtype) for part in state.sums)
        before = torch.where(weight > 0, top, -torch.inf)  # a weight of 0: nothing was read
        ones = torch.ones_like(v)
        # The past is one more token: its key is `top`, and it counts `total` and `weight` where a token counts v and 1.
        k, values = torch.cat((before, k), 1), torch.stack((torch.cat((total, v), 1), torch.cat((weight, ones), 1)))
        top, sums = running_sums(k, values)
        state.sums = [part[:, -1].to(old.dtype) for part, old in zip((top, *sums), state.sums, strict=True)]
        state.used += T
        return _gate(q, torch.where(sums[1] > 0, sums[0] / sums[1], 0.0)[:, 1:])

    def flops(self, T: int) -> int:
        """Return the floating-point operations for one query: per channel 2 exponentials, 5 for the sums, 3 after."""
        return 10 * self.shape.d_model


class AFTLocal(Mechanism):
    """Means weighted by exp(K + w), with a learned w for keys that are less than `window` positions away, 0 beyond.

    `window`: how far w reaches; the query's own position counts. All keys take part, however far they are.

    Dropout does nothing here: a weight belongs to one channel, and no paper says which weights it would drop.
    """

    facts = _facts("local", "T window D", "T (window + D)", (1, 1))

    def __init__(
        self,
        shape: Shape,
        *,
        window: int = 32,
        path: Path = "auto",
        dropout: float = 0.0,
        score: Score | None = None,
    ) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        if window < 1:
            raise ConfigError(f"model.attention.options.window: must be at least 1, not {window}")
        self.window = min(window, shape.context)
        self.width = self.window if shape.causal else 2 * self.window - 1
        self.w = nn.Parameter(torch.empty(shape.context, self.width))
        """w[t, j] belongs to the query at t and the key at t - window + 1 + j."""

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Fill w with N(0, 0.02^2)."""
        super().initialise(generator)
        self.w.copy_(torch.empty(self.w.shape).normal_(0.0, SPREAD, generator=generator))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Tensor | None = None) -> Tensor:
        """Gate by q (B, H, T, K) the means of v (B, H, S, K) weighted by exp(k + w): (B, H, T, K)."""
        _refuse_long(mask, self.shape)
        near = self.w[mask.S - mask.T : mask.S] if mask.start is None else self.w[mask.positions(q.device)[0]]
        if self.path == "reference":
            return _by_steps(q, k, v, self._dense(near, mask), mask)
        k, v = _channels(k, v, mask)
        near, shared = near.to(k.dtype), near.dim() == 2
        if shared:
            (k, v), near = _beside(k, v), near[None]
        bounds = _bounds(F.pad(near, (0, 1)))  # 0 beyond the window counts as well
        if mask.T < mask.S:  # decoding: a few queries, whose w is a few rows
            y, _ = exponential_mean(k, v, self._dense(near, mask), causal=mask.causal, bounds=bounds)
        else:
            y = self._by_blocks(k, v, near, mask.causal, bounds)
        return _gate(q, _apart(y, len(q)) if shared else y)

    def _dense(self, near: Tensor, mask: Mask) -> Tensor:
        """Return w (..., T, S) from its rows (..., T, width)."""
        query = torch.arange(mask.S - mask.T, mask.S, device=near.device)
        column = torch.arange(mask.S, device=near.device) - query[:, None] + self.window - 1
        inside = (column >= 0) & (column < self.width)
        index = column.clamp(0, self.width - 1).expand(*near.shape[:-1], mask.S)
        return near.gather(-1, index) * inside

    def _by_blocks(self, k: Tensor, v: Tensor, near: Tensor, causal: bool, bounds: tuple[float, float]) -> Tensor:
        """Return y (G, T, N) of k and v (G, T, N) and the rows of w (G, T, width).

        A block of queries sees the keys around it, with w; those before them count as one key, which is their mean,
        and its weight the sum of theirs. So nothing is subtracted, and nothing can cancel.
        """
        G, T = k.shape[:2]
        reach, size = self.window - 1, max(self.window, 16)
        blocks, after = -(-T // size), 0 if causal else reach
        edges = (reach, blocks * size - T + after)
        k, v = F.pad(k, (0, 0, *edges), value=-torch.inf), F.pad(v, (0, 0, *edges))
        far = [_summary(k[:, : blocks * size], v[:, : blocks * size], size)]
        if not causal:
            behind = slice(reach + after, None)
            z, y = _summary(k[:, behind].flip(1), v[:, behind].flip(1), size)
            far.append((z.flip(1), y.flip(1)))
        around = (windows(part[:, None], size + reach + after, size)[:, 0] for part in (k, v))
        keys, values = (
            torch.cat((*(part[:, :, None] for part in parts), near), dim=2)
            for *parts, near in zip(*far, around, strict=True)
        )
        near = F.pad(near, (0, self.window + after - self.width, 0, blocks * size - T)).unflatten(1, (blocks, size))
        w = F.pad(_slant(near), (len(far), 0)).flatten(0, 1)
        y, _ = exponential_mean(keys.flatten(0, 1), values.flatten(0, 1), w, causal=causal, bounds=bounds)
        return y.unflatten(0, (G, blocks)).flatten(1, 2)[:, :T]

    def flops(self, T: int) -> int:
        """Return the floating-point operations for one query: two products near, and the sums over all as in simple."""
        return self.shape.d_model * (4 * min(self.width, T) + 10)


def _summary(k: Tensor, v: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the weight and the mean (G, n, N) of what stands before each of the n blocks of k and v (G, n size, N)."""
    k, v = (part.unflatten(1, (-1, size)) for part in (k, v))
    w = k.new_zeros(k[..., 0, 0].numel(), 1, size)
    y, z = exponential_mean(k.flatten(0, 1), v.flatten(0, 1), w, causal=False, bounds=(0.0, 0.0))
    y, z = prefix_mean(*(part.view(len(k), -1, k.shape[-1]) for part in (z, y)))
    return F.pad(z, (0, 0, 1, -1), value=-torch.inf), F.pad(y, (0, 0, 1, -1))


def _slant(rows: Tensor) -> Tensor:
    """Return (..., n, n + width - 1) with row i of `rows` (..., n, width) moved i to the right, zeros around it.

    >>> _slant(torch.tensor([[1, 2], [3, 4]])).tolist()
    [[1, 2, 0], [0, 3, 4]]
    """
    n, width = rows.shape[-2:]
    flat = F.pad(rows, (0, n)).flatten(-2)
    return flat[..., : n * (n + width - 1)].unflatten(-1, (n, n + width - 1))


def _by_steps(q: Tensor, k: Tensor, v: Tensor, w: Tensor, mask: Mask) -> Tensor:
    """Return the equation as written, by the steps of softmax attention for each channel: K + w are its scores."""
    k, v = k.transpose(-2, -1)[..., None, :], v.transpose(-2, -1)[..., None]
    scores = k + (w if w.dim() == 2 else w[:, None, None])
    allowed = mask.dense(q.device)
    if allowed is not None and allowed.dim() == 4:
        allowed = allowed[:, :, None]
    weights = steps.weigh(steps.mask_scores(scores, allowed))
    return torch.sigmoid(q) * steps.mix(weights, v.to(weights.dtype))[..., 0].transpose(-2, -1).to(q.dtype)


def _channels(k: Tensor, v: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
    """Return k and v (B, H, S, K) as channels (B, S, D) in at least float32, with hidden keys -inf and values 0."""
    kind = torch.promote_types(k.dtype, torch.float32)
    k, v = (steps.merge_heads(part).to(kind) for part in (k, v))
    if mask.padding is not None:
        hidden = ~mask.padding[:, -k.shape[1] :, None]
        k, v = k.masked_fill(hidden, -torch.inf), v.masked_fill(hidden, 0.0)
    return k, v


def _gate(q: Tensor, y: Tensor) -> Tensor:
    """Return sigmoid(q) * y as heads (B, H, T, K), for means y (B, T, D)."""
    return torch.sigmoid(q) * steps.split_heads(y, q.shape[1]).to(q.dtype)


def _beside(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Put the rows of a batch side by side: (B, S, D) gives (1, S, B D)."""
    return k.transpose(0, 1).flatten(1)[None], v.transpose(0, 1).flatten(1)[None]


def _apart(y: Tensor, rows: int) -> Tensor:
    """Undo `_beside`."""
    return y[0].unflatten(1, (rows, -1)).transpose(0, 1)


def _bounds(w: Tensor) -> tuple[float, float]:
    """Return the smallest w and the largest."""
    low, high = w.detach().aminmax()
    return float(low), float(high)


def _refuse_long(mask: Mask, shape: Shape) -> None:
    if shape.context < mask.S:
        raise ConfigError(f"a sequence of {mask.S} tokens is longer than the {shape.context} positions that w has")
