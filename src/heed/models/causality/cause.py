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
from heed.models.causality.search import search as search_lengths

CAUSES = {
    "no mask": "later tokens reach earlier positions near and far: the causal mask is missing, or a layer reads both "
    "ways",
    "off by one": "each position sees a little way ahead: the mask is off by one, or a convolution is not padded on "
    "the left alone",
    "blocks": "positions see the later tokens of their own block: the mask is one of blocks",
    "normaliser": "every later token moves every earlier position, but ten times less than an earlier one does, as "
    "when a mask is applied after the softmax and the denominator runs over the whole sequence (or a faint path goes "
    "past the mask: the audit does not tell these apart)",
    "global statistic": "later tokens move earlier positions, in whatever order they stand: something is taken over "
    "the whole sequence (a mean, a maximum, a choice)",
    "batch": "a row moves when another row of the batch changes, as with statistics over the batch, or with places "
    "that its rows compete for",
    "training mode": "only in training mode: something there runs over time, as statistics of the batch do",
    "padding": "only at lengths that are no multiple of {}: the padding to a block is not masked",
    "long": "not in {} tokens or fewer, but in {}: another path takes long sequences, and its mask is wrong",
    "length": "not which tokens follow but how many moves earlier positions, as when positions are counted from the "
    "end, or something is divided or shared out by the length",
    "tokens": "only behind particular tokens, as at the neighbours {}: why is not known",
    "unknown": "some later tokens reach some earlier positions, in no pattern that the audit knows: why is not known "
    "({} of {} other sequences of {} tokens leak)",
}
"""Every cause that the audit can name, and what was seen of it; what only resembles it comes behind "as"."""

SMALL = 0.1
"""A later token that moves a position by less than this share of what an earlier one does is no ordinary neighbour."""
OTHERS = 8
"""How many other sequences are read of a leak without a pattern."""


def name_cause(probe: Probe, search: Search) -> tuple[str, str]:
    """Return (key of `CAUSES`, sentence) of the leaks that a search has found."""
    # at 33 tokens blocks of up to 16 show, and a call for each token is not yet dear
    leak = min(search.leaks, key=lambda leak: (leak.training, leak.T < 16, abs(leak.T - 33)))
    if any(training == leak.training for _, training, _ in search.rows):
        only = "only in training mode: " if leak.training else ""
        return "batch", only + CAUSES["batch"]
    if leak.rare:
        a, b = leak.changed[0, leak.start - 1 : leak.start + 1].tolist()
        return "tokens", CAUSES["tokens"].format(f"{a} {b}")
    if leak.training:
        return "training mode", CAUSES["training mode"]
    leaking = {found.T for found in search.leaks if not found.training}
    clean = {T for T, training in search.clean if not training} - leaking
    for block in (64, 32, 16, 8, 4, 2):
        if len(clean) > 1 and not any(T % block for T in clean) and all(T % block for T in leaking):
            others = leaking | {T + 1 for T in clean}
            if _leaks_exactly_at(probe, others, clean | {2 * min(clean)}):
                return "padding", CAUSES["padding"].format(block)
            break
    if len(clean) > 2 and max(clean) < min(leaking):
        return _by_length(probe, max(clean), min(leaking))
    matrix = influence(probe, leak.base)
    name = pattern(matrix, leak.base.threshold, symmetric=_is_symmetric(probe, leak.base, matrix))
    if name != "unknown":
        return name, CAUSES[name]
    others = sum(_leaks(probe, leak.T) for _ in range(OTHERS))
    return name, CAUSES[name].format(others, OTHERS, leak.T)


def _by_length(probe: Probe, clean: int, leaking: int) -> tuple[str, str]:
    """Return the cause of a leak in long sequences alone: another path, if from one length on all leak.

    Where places run out, as those of an expert do, some sequences leak before others: then the cause is not known.
    """
    while leaking - clean > 1:
        middle = (clean + leaking) // 2
        if _leaks(probe, middle):
            leaking = middle
        else:
            clean = middle
    if _leaks_exactly_at(probe, {leaking}, {clean}):
        return "long", CAUSES["long"].format(clean, leaking)
    return "unknown", f"not in short sequences, and not in all of {leaking} tokens or more: why is not known"


def _leaks_exactly_at(probe: Probe, leaking: set[int], clean: set[int], draws: int = 4) -> bool:
    """Whether every one of several random sequences leaks at some lengths, and none at others."""
    every = all(_leaks(probe, T) for T in sorted(leaking)[:3] for _ in range(draws))
    return every and not any(_leaks(probe, T) for T in sorted(clean)[-3:] for _ in range(draws))


def _leaks(probe: Probe, T: int) -> bool:
    """Whether one random sequence of T tokens leaks; one that cannot be read does not."""
    found = Search()
    search_lengths(probe, [T], training=False, into=found, thorough=False, repeats=0)
    return bool(found.leaks)


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
    return "no mask" if dense and leaks[p - t == 1].float().mean() > 0.95 else "unknown"


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
