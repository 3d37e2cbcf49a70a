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


def window_mask(T: int, S: int, window: int, device: torch.device | str | None = None) -> Tensor:
    """Return the boolean (T, S) mask of a causal sliding window: each query sees itself and `window` - 1 before it.

    >>> window_mask(3, 3, 2).int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    near = torch.ones(T, S, dtype=torch.bool, device=device).triu(diagonal=S - T - window + 1)
    return near & causal_mask(T, S, device)


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
