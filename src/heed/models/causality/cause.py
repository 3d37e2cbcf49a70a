"""What kind of mistake makes a leak: rules over which later tokens reach which earlier positions.

no mask        off by one     blocks of 2    normaliser      (row t: position; column p: the token that is changed)
# # # #        # #            # #            # . . .
# # # #        # # #          # #            # # . .         # moves it, . moves it a little
# # # #          # # #            # #        # # # .
# # # #            # #            # #        # # # #
"""

from __future__ import annotations

import torch
from torch import Tensor

from heed.models.causality.probe import Base, Probe, difference
from heed.models.causality.search import Search, influence

CAUSES = {
    "no mask": "every later token reaches every earlier position: the causal mask is missing, or a layer reads both "
    "ways",
    "off by one": "each position sees a little way ahead: the mask is off by one, or a convolution is not padded on "
    "the left alone",
    "blocks": "positions see the later tokens of their own block: the mask is one of blocks",
    "normaliser": "every later token moves every earlier position a little: a denominator or a maximum runs over the "
    "whole sequence, as when a mask is applied after the softmax",
    "global statistic": "later tokens move earlier positions, in whatever order they stand: a mean or a maximum over "
    "the whole sequence",
    "stabiliser": "only a huge later activation moves earlier positions: a stabiliser, such as a maximum of the keys, "
    "runs over the whole sequence",
    "batch": "a row moves when another row of the batch changes: statistics over the batch, as in batch "
    "normalisation, or places that its rows compete for, as experts of limited capacity",
    "training mode": "only in training mode: something there runs over time, as statistics of the batch do",
    "padding": "only at lengths that are no multiple of {}: the padding to a block is not masked",
    "long": "not in {} tokens or fewer, but in {}: another path takes long sequences, and its mask is wrong",
    "length": "not which tokens follow but how many moves earlier positions: positions are counted from the end, or "
    "something is divided by the length",
    "unknown": "some later tokens reach some earlier positions, in no pattern that the audit knows",
}
"""Every cause that the audit can name, and what it means."""

SMALL = 0.1
"""A later token that moves a position by less than this share of what an earlier one does is no ordinary neighbour."""


def name_cause(probe: Probe, search: Search) -> tuple[str, str]:
    """Return (key of `CAUSES`, sentence) of the leaks that a search has found."""
    # at 33 tokens blocks of up to 16 show, and a call for each token is not yet dear
    leak = min(search.leaks, key=lambda leak: (leak.training, leak.T < 16, abs(leak.T - 33)))
    if any(training == leak.training for _, training, _ in search.rows):
        only = "only in training mode: " if leak.training else ""
        return "batch", only + CAUSES["batch"]
    leaking = {found.T for found in search.leaks if found.training == leak.training}
    clean = {T for T, training in search.clean if training == leak.training} - leaking
    if leak.training:
        return "training mode", CAUSES["training mode"]
    for block in (64, 32, 16, 8, 4, 2):
        if len(clean) > 1 and not any(T % block for T in clean) and all(T % block for T in leaking):
            return "padding", CAUSES["padding"].format(block)
    if len(clean) > 2 and max(clean) < min(leaking):
        return "long", CAUSES["long"].format(max(clean), min(leaking))
    matrix = influence(probe, leak.base)
    name = pattern(matrix, leak.base.threshold, symmetric=_is_symmetric(probe, leak.base, matrix))
    return name, CAUSES[name]


def pattern(matrix: Tensor, threshold: float, *, symmetric: bool) -> str:
    """Return the cause that a matrix of influence [t, p] shows; `symmetric`: later tokens count in any order alike."""
    T = len(matrix)
    t, p = torch.triu_indices(T, T, 1)
    tried = matrix[t, p].isfinite()
    t, p = t[tried], p[tried]
    size = matrix[t, p]
    leaks = size > threshold
    if not leaks.any():
        return "unknown"
    near = leaks[p - t <= (p - t)[leaks].max()].float().mean() > 0.8  # a band above the diagonal, all of it
    banded = near and (p - t)[leaks].max() <= T // 2
    if T > 2 and leaks[p - t == 1].float().mean() > 0.8 and (banded or _falls_off(size, p - t, leaks)):
        return "off by one"
    for block in range(2, T // 2 + 1):
        inside = t // block == p // block
        if not leaks[~inside].any() and leaks[inside].float().mean() > 0.8:
            return "blocks"
    dense = leaks.float().mean() > 0.5
    s, earlier = torch.tril_indices(T, T, -1)
    before = matrix[s, earlier]
    if dense and size[leaks].median() < SMALL * before[before.isfinite()].median():
        return "normaliser"
    if symmetric:
        return "global statistic"
    return "no mask" if dense else "unknown"


def _falls_off(size: Tensor, ahead: Tensor, leaks: Tensor) -> bool:
    """Whether the next token moves a position, and those further ahead ever less: a step for each layer, if any.

    The farthest then move most positions by nothing at all; a denominator over everything lets each of them through.
    """
    near, second, far = (size[where].median() for where in (ahead == 1, ahead == 2, ahead > ahead.max() // 2))
    return bool(second < near / 3 and far < near / 100 and leaks[ahead > ahead.max() // 2].float().mean() < 0.1)


def _is_symmetric(probe: Probe, base: Base, matrix: Tensor) -> bool:
    """Whether position 0, which later tokens move, does not care for their order."""
    moved = matrix[0, 1:].nan_to_num().max().item()
    turned = torch.cat([base.ids[:, :1], base.ids[:, 1:].flip(1)], dim=1)
    apart = difference(base.logits, probe(turned, training=base.training))[0, 0].item()
    return moved > base.threshold and apart <= max(base.threshold, 1e-3 * moved)
