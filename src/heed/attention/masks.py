"""Who may look at whom. One convention, here and everywhere: **True means may look**.

`Mask` describes what is hidden, so that a fast path can honour the description without the T x S tensor;
`Mask.dense` is that tensor. Queries are always the last T of the S positions, so a mask serves decoding too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from heed.attention.steps import causal_mask


def padding_mask(start: Tensor, S: int) -> Tensor:
    """Return the boolean (B, S) mask of real keys in rows that begin with `start` (B,) tokens of padding.

    >>> padding_mask(torch.tensor([0, 2]), 3).int().tolist()
    [[1, 1, 1], [0, 0, 1]]
    """
    return torch.arange(S, device=start.device) >= start[:, None]


def window_mask(
    T: int, S: int, window: int, device: torch.device | str | None = None, *, causal: bool = True
) -> Tensor:
    """Return the boolean (T, S) mask of a sliding window: query t sees key s where 0 <= t - s < `window`.

    That is itself and `window` - 1 keys before it; without `causal`, where |t - s| < `window`, as many after it too.

    >>> window_mask(3, 3, 2).int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    near = torch.ones(T, S, dtype=torch.bool, device=device).triu(diagonal=S - T - window + 1)
    return near & causal_mask(T, S, device) if causal else near.tril(diagonal=S - T + window - 1)


def global_mask(T: int, S: int, first: int, last: int = 0, device: torch.device | str | None = None) -> Tensor:
    """Return the boolean (T, S) mask of global positions, the `first` first and `last` last of S.

    They see everything, and everything sees them (Beltagy et al. 2020, section 3.1).

    >>> global_mask(3, 3, 1).int().tolist()
    [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    """
    index = torch.arange(S, device=device)
    shared = (index < first) | (index >= S - last)
    return shared[S - T :, None] | shared


def random_mask(rank: Tensor, count: int, among: Tensor | None = None) -> Tensor:
    """Return the boolean (..., T, S) mask in which each query sees the `count` keys of lowest `rank` (..., T, S).

    `among` (..., T, S) says which keys may be drawn; a query that has fewer than `count` of them sees all of them.
    With ranks in random order, such as `torch.rand(T, S)`, the draw is uniform and without repetition.

    >>> random_mask(torch.tensor([[2, 0, 1]]), 2).int().tolist()
    [[0, 1, 1]]
    """
    among = torch.ones_like(rank, dtype=torch.bool) if among is None else among.expand(rank.shape)
    order = rank.float().masked_fill(~among, torch.inf).argsort(dim=-1)
    return torch.zeros_like(among).scatter(-1, order[..., :count], True) & among


def bigbird_mask(rank: Tensor, window: int, first: int, last: int, random: int, *, causal: bool = False) -> Tensor:
    """Return the boolean (..., T, S) mask of BigBird: window, global and random places together.

    Zaheer et al. 2020, section 2. A place is a token or a block of tokens; the queries are the last T of S places.
    `window` counts as in `window_mask`, `first` and `last` as in `global_mask`; each place sees the `random` places of
    lowest `rank` (..., T, S) among those that it does not see yet. With `causal` no place sees a later one, and the
    random ones are drawn among the earlier ones.

    >>> bigbird_mask(torch.zeros(4, 4), 1, 1, 0, 0, causal=True).int().tolist()
    [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]]
    """
    T, S = rank.shape[-2:]
    seen = window_mask(T, S, window, rank.device, causal=causal) | global_mask(T, S, first, last, rank.device)
    if not causal:
        return seen | random_mask(rank, random, ~seen)
    possible = causal_mask(T, S, rank.device)
    return seen & possible | random_mask(rank, random, possible & ~seen)


@dataclass(frozen=True)
class Mask:
    """What T queries may see of S keys; the queries are the last T of the S positions.

    `padding` (B, S) is True for real keys. `start` (B,) says that the padding is on the left, and how long it is: the
    first real token of a row then has position 0. `window` counts the query itself, and needs `causal`.
    `allowed` is everything together, broadcastable to (B, H, T, S), or None where no tensor is needed: when nothing
    is hidden, or when plain causality from the first position on is all (`is_plain_causal`).
    """

    T: int
    S: int
    causal: bool = False
    window: int | None = None
    padding: Tensor | None = None
    allowed: Tensor | None = None
    start: Tensor | None = None

    @property
    def is_plain_causal(self) -> bool:
        """Whether `causal` says it all, with as many queries as keys."""
        return self.causal and self.allowed is None and self.T > 1

    def positions(self, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
        """Return the position of each query, (T,) or (B, T), and of each key, (S,) or (B, S); left padding has 0."""
        index = torch.arange(self.S, device=device)
        if self.start is not None:
            index = (index - self.start[:, None]).clamp(min=0)
        return index[..., self.S - self.T :], index

    def dense(self, device: torch.device | str | None = None) -> Tensor | None:
        """Return the mask as a tensor (broadcastable to (B, H, T, S)), or None when nothing is hidden."""
        return causal_mask(self.T, self.S, device) if self.is_plain_causal else self.allowed


def make_mask(
    T: int,
    S: int | None = None,
    *,
    causal: bool = False,
    window: int | None = None,
    padding: Tensor | None = None,
    start: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Mask:
    """Return the `Mask` of T queries over S keys (default: T), which builds a tensor only where it must.

    `padding` (B, S) is True for real keys; `start` (B,) instead of it counts the padding on the left of each row.
    A single query that stands last sees every key, so causality costs nothing in decoding.
    """
    S = T if S is None else S
    if start is not None:
        padding = padding_mask(start, S)
    if padding is not None:
        device = padding.device
    allowed = None
    if window is not None:
        allowed = window_mask(T, S, window, device)
    elif causal and T > 1 and (T != S or padding is not None):
        allowed = causal_mask(T, S, device)
    if padding is not None:
        real = padding[:, None, None, :]
        allowed = real if allowed is None else real & allowed
    return Mask(T, S, causal or window is not None, window, padding, allowed, start)
