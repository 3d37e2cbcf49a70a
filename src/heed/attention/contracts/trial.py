"""What a contract needs to try a mechanism: small layers, signed inputs, masks, and how far two answers may differ.

Everything is float64, where rounding is 1e-16 and a difference of 1e-9 is a bug and no noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from heed.attention.facts import Facts
from heed.attention.masks import Mask, make_mask
from heed.attention.mechanism import Mechanism, Path
from heed.attention.scores import SCORES
from heed.attention.shape import Shape

HEADS, WIDTH, CONTEXT = 4, 4, 9
"""Query heads, width per head, and the longest sequence of most trials."""
LONG = 261
"""A length that is odd and goes beyond one block of every fast path."""
TOLERANCE = 1e-9
"""Of float64 sums in another order, relative to the largest number: they differ by 1e-13 or so."""

Leaves = dict[str, Tensor]
"""What the mechanism reads, by the names q (B, H, T, K), k and v (B, Hkv, T, K)."""
Reference = Callable[[Mechanism, Tensor, Tensor, Tensor, list[list[bool]]], Tensor]
"""A loop written from the paper: mechanism, q (H, T, K), k and v (Hkv, S, K), allowed T x S, to y (H, T, K)."""


class BrokenContractError(Exception):
    """A mechanism does not do what its facts, or every mechanism's contract, say."""


def demand(holds: bool, sentence: str) -> None:
    """Raise `BrokenContractError` with `sentence`, which says what is wrong, unless it `holds`."""
    if not holds:
        raise BrokenContractError(sentence)


@dataclass(frozen=True)
class Trial:
    """One mechanism with the options to try it with, and the loop that judges it, where there is one."""

    kind: type[Mechanism]
    name: str
    reference: Reference | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> Facts:
        """What the mechanism declares."""
        return self.kind.facts

    @property
    def modes(self) -> list[bool]:
        """Whether it is tried as causal (True), in an encoder (False), or both."""
        modes = [True] if self.facts.causal != "never" else []
        return [*modes, False] if not modes or "padding" in self.facts.masks else modes

    def make(
        self,
        causal: bool | None = None,
        *,
        context: int = CONTEXT,
        path: Path = "auto",
        kv_heads: int = HEADS,
        dropout: float = 0.0,
        score: str = "scaled-dot",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> Mechanism:
        """Return the mechanism for evaluation, its parameters filled from `seed`; causal by default if it can be."""
        causal = self.modes[0] if causal is None else causal
        shape = Shape(HEADS * WIDTH, HEADS, context, kv_heads, causal)
        scored = None if score == "scaled-dot" else SCORES[score](shape)
        mechanism = self.kind(shape, path=path, dropout=dropout, score=scored, **self.options)
        mechanism.initialise(torch.Generator().manual_seed(seed))
        return mechanism.to(dtype).eval()

    def draw(self, T: int = CONTEXT, *, batch: int = 2, kv_heads: int = HEADS, seed: int = 0) -> Leaves:
        """Return normal inputs of both signs for what the mechanism reads, with gradients."""
        generator = torch.Generator().manual_seed(seed)
        leaves = {}
        for part in "qkv":
            size = (batch, HEADS if part == "q" else kv_heads, T, WIDTH)
            drawn = torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_()
            if part in self.facts.inputs:
                leaves[part] = drawn
        return leaves

    def masks(self, T: int, causal: bool) -> dict[str, Mask]:
        """Return the masks that the mechanism names, for 2 rows of T tokens, by what they are."""
        masks = {"no padding": make_mask(T, causal=causal)}
        if "padding" in self.facts.masks:
            right = torch.arange(T) < torch.tensor([T, T - T // 3])[:, None]
            masks["padding on the left"] = make_mask(T, causal=causal, start=torch.tensor([0, T // 3]))
            masks["padding on the right"] = make_mask(T, causal=causal, padding=right)
            masks["a row of nothing but padding"] = make_mask(T, causal=causal, start=torch.tensor([T, 0]))
        if "window" in self.facts.masks and causal:
            masks["a window"] = make_mask(T, causal=True, window=3)
        return masks


def qkv(leaves: Leaves) -> tuple[Tensor, Tensor, Tensor]:
    """Return q, k and v as the layer hands them over: v stands in place of what the mechanism does not read."""
    v = leaves["v"]
    return leaves.get("q", v), leaves.get("k", v), v


def mix(mechanism: Mechanism, leaves: Leaves, mask: Mask) -> Tensor:
    """Return y (B, H, T, K) of the whole sequence."""
    q, k, v = qkv(leaves)
    y = mechanism(q, k, v, mask)
    shape = (v.shape[0], HEADS, mask.T, WIDTH)
    demand(y.shape == shape, f"y has the shape {tuple(y.shape)}, not (B, H, T, K) = {shape}")
    return y


def cut(leaves: Leaves, begin: int, end: int) -> Leaves:
    """Return the tokens `begin` to `end` of every input."""
    return {part: x[:, :, begin:end] for part, x in leaves.items()}


def rows(leaves: Leaves, which: list[int]) -> Leaves:
    """Return some rows of the batch."""
    return {part: x[which] for part, x in leaves.items()}


def replace(leaves: Leaves, where: Tensor, fresh: Leaves, factor: float) -> Leaves:
    """Return the inputs with `factor` times those of `fresh` at the tokens `where` (T,) or (B, T) is True."""
    where = where.expand(leaves["v"].shape[0], -1)[:, None, :, None]
    return {part: torch.where(where, factor * fresh[part].detach(), x) for part, x in leaves.items()}


def gradients(y: Tensor, inputs: Iterable[Tensor], seed: int = 3) -> list[Tensor]:
    """Return the gradients of a random weighted sum of y; zeros where none flows."""
    inputs = list(inputs)
    if not inputs or not y.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = torch.autograd.grad((y * weights.to(y.dtype)).sum(), inputs, allow_unused=True)
    return [torch.zeros_like(x) if grad is None else grad for grad, x in zip(found, inputs, strict=True)]


def distance(a: Tensor, b: Tensor) -> float:
    """Return the largest difference, relative to the largest number of b if that is above 1; NaN counts as infinite."""
    if a.shape != b.shape:
        return torch.inf
    if not a.numel():
        return 0.0
    a, b = a.detach(), b.detach()
    gap = (a - b).abs().max() / max(1.0, float(b.abs().max()))
    return float(gap) if gap.isfinite() else torch.inf
