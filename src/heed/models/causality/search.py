"""Change the future and compare the past: the first witness of the audit, and where a leak begins.

    ids      a b c d e f g h          logits  0 1 2 3 . . . .
    changed  a b c d X Y Z W                  0 1 2 3 . . . .     equal up to rounding and noise, or it leaks

Row 0 is changed; every other row of the batch must not notice either. What moves is asked for again before it counts:
of two calls that drew other random numbers, many are compared (see `draws.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from heed.models.causality.chance import separated
from heed.models.causality.probe import Base, Probe, UnreadableError, difference

LENGTHS = (1, 2, 3, 7, 16, 17, 33, 64, 100, 128)
"""Lengths that are read in evaluation mode, where the context allows: multiples of usual blocks, and others."""
TRAINING_LENGTHS = (2, 7, 16, 33)
"""Lengths that are read in training mode, where each call may renew buffers."""
EVERY_POSITION = (2, 3, 7, 17)
"""At these lengths every position is changed; at others, some."""

CONFIRMATIONS = 3
"""How often a sequence that moved the past is read again."""

Kind = Literal["one", "later", "repeat"]
"""one: a single token. later: it and all that follow. repeat: these all become the token before."""


@dataclass(frozen=True)
class Leak:
    """A change of later tokens that moved an earlier answer."""

    T: int
    training: bool
    start: int
    """First position that was changed."""
    past: int
    """First position whose answer moved."""
    effect: float
    """Largest difference of logits at the moved positions."""
    base: Base
    changed: Tensor
    """The ids after the change (B, T)."""
    rare: bool = False
    """Whether it was seen only when many pairs of tokens were tried."""


@dataclass
class Search:
    """What changing the future has shown, over all lengths and both modes."""

    leaks: list[Leak] = field(default_factory=list)
    """The first at each length and mode."""
    clean: list[tuple[int, bool]] = field(default_factory=list)
    """(length, training) where nothing moved."""
    unread: dict[tuple[int, bool], str] = field(default_factory=dict)
    """(length, training) -> why there is no answer."""
    rows: list[tuple[int, bool, float]] = field(default_factory=list)
    """(length, training, effect) where another row of the batch moved."""
    several_rows: bool = False
    """Whether a batch of several rows was ever read."""
    past: float = 0.0
    """Largest difference that a change of the past or of the token itself made."""
    mixed: float | None = None
    """Largest difference that the first token made at a later position; None where that was not tried."""
    noise: float = 0.0
    threshold: float = 0.0
    effect: float = 0.0
    """Largest difference in the past, and the threshold that belongs to it."""
    sequences: int = 0
    """Random sequences that were read, each with changes of its later tokens."""
    changes: int = 0
    """Changed sequences that were compared with them."""
    pairs: set[tuple[int, int]] = field(default_factory=set)
    """Neighbours (a, b) that were read with other tokens in the place of b, and the logits at a compared."""

    def read(self, ids: Tensor, changed: Tensor, start: int) -> None:
        """Count a comparison of row 0 of two ids (B, T) that are the same before `start`."""
        self.changes += 1
        if start:
            before = int(ids[0, start - 1])
            self.pairs |= {(before, int(ids[0, start])), (before, int(changed[0, start]))}


def search(
    probe: Probe, lengths: Sequence[int], *, training: bool, into: Search, thorough: bool = True, repeats: int = 2
) -> None:
    """Change the future at each length and add what moves to `into`."""
    for T in lengths:
        try:
            # long sequences are dear: one row, and no more repetitions where nothing is random
            again = repeats if T <= 17 or into.noise else min(repeats, int(T <= 256))
            base = probe.base(probe.draw(2 if T <= 64 else 1, T), training=training, repeats=again)
            leak = _changes(probe, base, into, thorough)
        except UnreadableError as error:
            into.unread[T, training] = str(error)
            continue
        if leak is not None:
            into.leaks.append(leak)
        elif T > 1:
            into.clean.append((T, training))


def _changes(probe: Probe, base: Base, into: Search, thorough: bool) -> Leak | None:
    """Try every planned change on one base; return the first that moves the past."""
    T = base.ids.shape[1]
    into.several_rows |= len(base.ids) > 1
    into.sequences += 1
    crossed = 0.0
    found = None
    for start, kind in planned(T, thorough):
        changed = change(probe, base.ids, start, kind)
        into.read(base.ids, changed, start)
        moved = difference(base.logits, probe(changed, training=base.training))
        into.past = max(into.past, moved[0, start:].max().item())
        if start == 0 and T > 1 and base.noise == 0:
            into.mixed = max(into.mixed or 0.0, moved[0, 1:].max().item())
        if len(moved) > 1 and moved[1:].max() > max(base.threshold, crossed):
            across = confirmed(probe, base, changed, slice(1, None), slice(None))
            base, crossed = replace(base, noise=max(base.noise, across.noise)), max(crossed, across.effect)
        if start and moved[0, :start].max() > base.threshold:
            ahead = confirmed(probe, base, changed, slice(0, 1), slice(0, start))
            base = replace(base, noise=max(base.noise, ahead.noise))
            into.effect = max(into.effect, ahead.effect)
            if ahead.first is not None:
                found = Leak(T, base.training, start, ahead.first, ahead.effect, base, changed)
                break
        elif start:
            into.effect = max(into.effect, moved[0, :start].max().item())
    into.noise = max(into.noise, base.noise)
    into.threshold = max(into.threshold, base.threshold)
    if crossed > base.rounding:
        into.rows.append((T, base.training, crossed))
    return found


def planned(T: int, thorough: bool = True) -> list[tuple[int, Kind]]:
    """Return which changes are tried at length T: (first changed position, kind); (0, one) shows what the past does.

    >>> planned(3, thorough=False)
    [(1, 'later'), (2, 'one')]
    >>> planned(2)
    [(0, 'one'), (1, 'later'), (1, 'one'), (1, 'repeat')]
    """
    middle = max(1, T // 2)
    later, one = [1, middle], [T - 1] if T <= 256 else []
    repeat: list[int] = []
    if thorough and T <= 256:
        one = [0, middle, T - 1]
        later = [1, middle, T - 1] if T > 64 else [1, 2, middle, middle + 1, T - 1]
        repeat = [1] if T <= 64 else []
    if thorough and T in EVERY_POSITION:
        later, one = list(range(1, T)), list(range(T))
    kinds: list[tuple[Kind, list[int]]] = [("later", later), ("one", one), ("repeat", repeat)]
    plan: list[tuple[int, Kind]] = [(p, kind) for kind, places in kinds for p in sorted(set(places)) if p < T]
    return sorted(plan, key=lambda place: place[0] != 0)


def change(probe: Probe, ids: Tensor, start: int, kind: Kind, stop: int | None = None) -> Tensor:
    """Return `ids` with row 0 changed from `start` on (up to `stop`, exclusive)."""
    changed = ids.clone()
    stop = start + 1 if kind == "one" else stop
    fresh = probe.other(ids[0, start:stop])
    if kind == "repeat":
        fresh = ids[0, start - 1].expand_as(fresh)
    changed[0, start:stop] = fresh
    return changed


@dataclass(frozen=True)
class Moved:
    """What a change has moved, once chance is left out."""

    first: int | None
    """The first position that moved; None: none did."""
    effect: float
    noise: float
    """How far the answers differ by chance, as far as that was seen here."""


def confirmed(probe: Probe, base: Base, changed: Tensor, rows: slice, span: slice) -> Moved:
    """Say which positions of a span (of those rows) a change moves: exactly, or under noise by many answers."""
    if base.noise == 0:
        before, drew = probe.watch(base.ids, training=base.training)
        after, also = probe.watch(changed, training=base.training)
        same = drew.same_draws(also) and difference(base.logits, before).max() <= base.rounding
        if same and _repeats(probe, changed, after, base):
            moved = difference(before, after)[rows, span].amax(0)
            above = (moved > base.threshold).nonzero()
            first = (span.start or 0) + int(above[0]) if len(above) else None
            return Moved(first, moved.max().item() if len(above) else 0.0, 0.0)
    probe.random = True

    def answer(ids: Tensor) -> Callable[[int], Tensor]:
        return lambda seed: probe(ids, training=base.training, seed=seed)[rows, span].transpose(0, 1).flatten(1)

    marked, effect, noise = separated(answer(base.ids), answer(changed), base.rounding)
    return Moved((span.start or 0) + int(marked.nonzero()[0]) if marked.any() else None, effect, noise)


def _repeats(probe: Probe, ids: Tensor, logits: Tensor, base: Base) -> bool:
    """Whether a function gives the same again and again: what is hidden seldom shows in no single repetition."""
    return all(
        difference(logits, probe(ids, training=base.training)).max() <= base.rounding for _ in range(CONFIRMATIONS)
    )


def first_pair(probe: Probe, leak: Leak) -> tuple[int, int]:
    """Return the earliest position that any later token reaches, and the nearest token that reaches it.

    The first by trying each position up to the one that is known to move, the second by bisection: changing the
    tokens up to p moves the position once p has come to the one that leaks.
    """
    base, T = leak.base, leak.T
    past, changed = leak.past, leak.changed
    for t in range(min(leak.past, 64)):
        tried = change(probe, base.ids, t + 1, "later")
        if _reaches(probe, base, tried, t):
            past, changed = t, tried
            break
    low, high = past + 1, T - 1  # the nearest token that reaches it is among these
    while low < high:
        middle = (low + high) // 2
        tried = torch.cat([changed[:, : middle + 1], base.ids[:, middle + 1 :]], dim=1)
        if _reaches(probe, base, tried, past):
            high = middle
        else:
            low = middle + 1
    return past, low


def _reaches(probe: Probe, base: Base, changed: Tensor, t: int) -> bool:
    """Whether a change moves the answer at position t."""
    moved = difference(base.logits, probe(changed, training=base.training))[0, t]
    return bool(moved > base.threshold) and (
        confirmed(probe, base, changed, slice(0, 1), slice(t, t + 1)).first is not None
    )


def influence(probe: Probe, base: Base, most: int = 64) -> Tensor:
    """Return how far each single token p moves each position t, (T, T) as [t, p].

    Of long sequences only `most` tokens are tried, evenly spread; the others are NaN.
    """
    T = base.ids.shape[1]
    matrix = torch.full((T, T), torch.nan)
    for p in torch.linspace(0, T - 1, min(T, most)).long().unique().tolist():
        answer = probe(change(probe, base.ids, p, "one"), training=base.training)
        matrix[:, p] = difference(base.logits, answer)[0].cpu()
    return matrix
