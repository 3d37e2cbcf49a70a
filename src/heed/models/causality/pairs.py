"""Leaks that need particular tokens: as many pairs of neighbours as a budget allows, one behind another.

    x y a b . . .        rows of one call that share all up to a: a causal model gives them the same logits there,
    x y a c . . .        whatever stands behind; a leak that needs "a b" moves one of them
    x y a d . . .

Of a small vocabulary every pair (a, b) is met; of a large one as many as are asked for. What follows b is random, so
each row brings further neighbours that may move the positions before them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from heed.models.causality.probe import Probe, UnreadableError, difference, largest
from heed.models.causality.search import Leak, Search, confirmed

LENGTH = 7
"""Tokens of a row, where so many can be read."""
PAIRS = 4096
"""Pairs that are tried of a model of up to a million parameters: all of a vocabulary of up to 64."""
FEWEST = 256
"""Pairs that are tried of the largest model."""
WEIGHTS = 4_000_000_000
"""Parameters times pairs that larger models get."""
ROWS, NUMBERS = 256, 20_000_000
"""Rows, and logits, of one call at most."""
ASKED = 3
"""How many rows that seem to move are asked for again; others of the same call are not."""


def affordable(probe: Probe) -> int:
    """Return how many pairs are tried unless more are asked for.

    A model that draws random numbers draws others for each row: it is asked for one row at a time, and for fewer.
    """
    weights = 0 if probe.module is None else sum(p.numel() for p in probe.module.parameters())
    wanted = min(PAIRS, max(FEWEST, WEIGHTS // max(1, weights)))
    return min(wanted, FEWEST) if probe.random else wanted


def search_pairs(probe: Probe, T: int, most: int, into: Search) -> None:
    """Try up to `most` pairs of neighbours in sequences of T tokens, and add what moves to `into`."""
    V, place = probe.vocab_size, max(0, T // 2 - 1)
    each = min(V, max(2, most if most >= V * V else min(16, most)))  # the tokens tried behind each first one
    firsts = _some(probe, max(1, most // each))
    random_rows = probe.random or not into.several_rows
    rows = 1 if random_rows else max(2, min(ROWS, NUMBERS // (T * V)))
    groups = _groups(probe, firsts, each, T, place, rows=max(2, rows))
    for group, logits in _answered(probe, groups, rows, apart=random_rows or bool(into.rows)):
        into.sequences += 1
        into.changes += len(group) - 1
        into.pairs |= {(int(row[place]), int(row[place + 1])) for row in group.tolist()}
        leak = _leaking_row(probe, group, logits, place)
        if leak is not None:
            into.leaks.append(leak)
            into.effect = max(into.effect, leak.effect)
            return


def _some(probe: Probe, count: int) -> Tensor:
    """Return about `count` different tokens at random, or all there are."""
    if 2 * count >= probe.vocab_size:
        return torch.randperm(probe.vocab_size, generator=probe.generator)[:count]
    return probe.draw(1, count)[0].unique()


def _groups(probe: Probe, firsts: Tensor, each: int, T: int, place: int, rows: int) -> list[Tensor]:
    """Return groups of rows (n, T) that are the same up to `place`, and then differ."""
    groups = []
    for first in firsts.tolist():
        behind = _some(probe, each)
        for part in behind.split(rows):
            if len(part) == 1:  # nothing to compare it with: any other token
                part = torch.cat([part, probe.other(part)])
            ids = probe.draw(len(part), T)
            ids[:, : place + 1] = probe.draw(1, place + 1)
            ids[:, place], ids[:, place + 1] = first, part
            groups.append(ids)
    return groups


def _answered(probe: Probe, groups: list[Tensor], rows: int, *, apart: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each group with its logits, until the model cannot read one; several are read in a call of up to `rows`.

    `apart` reads each group by itself, for the rows of a call may move one another.
    """
    done, at_once = 0, 1 if apart or not groups else max(1, rows // len(groups[0]))
    while done < len(groups):
        some = groups[done : done + at_once]
        try:
            logits = torch.cat([probe(part) for part in torch.cat(some).split(rows)])
        except UnreadableError:
            if len(some) == 1:
                return
            at_once = 1  # they may be too many
            continue
        done += len(some)
        yield from zip(some, logits.split([len(group) for group in some]), strict=True)


def _leaking_row(probe: Probe, group: Tensor, logits: Tensor, place: int) -> Leak | None:
    """Return the leak that makes a row differ from the others where all are the same, once it is seen by itself."""
    span = slice(0, place + 1)
    if torch.equal(logits[:, span], logits[:1, span].expand_as(logits[:, span])):
        return None
    usual = logits[:, span].median(0, keepdim=True).values
    apart = difference(usual.expand_as(logits[:, span]), logits[:, span]).amax(1)
    allowed = probe.rounding(logits) * largest(logits)
    if apart.max() <= allowed or logits.isnan().any():
        return None
    like = int(apart.argmin())
    for row in apart.topk(min(ASKED, len(apart))).indices.tolist():
        base = probe.base(group[like : like + 1], repeats=1)
        moved = confirmed(probe, base, group[row : row + 1], slice(0, 1), span)
        if row != like and moved.first is not None:
            rare = not probe.random and int((apart > allowed).sum()) <= max(1, len(group) // 10)
            T, changed = group.shape[1], group[row : row + 1]
            return Leak(T, False, place + 1, moved.first, moved.effect, base, changed, rare=rare)
    return None
