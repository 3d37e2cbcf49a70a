"""Which examples stand before an item: drawn by seed, balanced over classes, interleaved, never what is tested.

    k = 8 of two classes, order 0     no yes no yes no yes no yes
    order 1, 2, ...                   the same eight, each class shuffled and the turns of the classes drawn anew

A model leans towards the answer that was commonest, or last (Zhao et al. 2021): so each class has as many, in turns,
and several orders show what is left of that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from heed.errors import ConfigError
from heed.prompting.items import PromptItem


def draw_demonstrations(
    pool: Sequence[PromptItem], shots: int, classes: Sequence[str], seed: int, draw: int = 0, order: int = 0
) -> tuple[PromptItem, ...]:
    """Return `shots` of the pool, of each class as many (the first ones get one more where that is not even).

    No two are equal or of one group. Equal arguments give equal demonstrations; another `order` gives the same in
    another sequence. Raises `ConfigError` where a class has too few.
    """
    random = np.random.default_rng([seed, draw])
    by_class: list[list[PromptItem]] = []
    keys: set[str] = set()
    groups: set[str] = set()
    for place, name in enumerate(classes):
        wanted = shots // len(classes) + (place < shots % len(classes))
        having = [item for item in pool if item.answer == name]
        taken: list[PromptItem] = []
        for number in random.permutation(len(having)).tolist():
            item = having[number]
            if len(taken) == wanted:
                break
            if item.key not in keys and item.group not in groups:
                taken.append(item)
                keys.add(item.key)
                groups |= {item.group} if item.group is not None else set()
        if len(taken) < wanted:
            raise ConfigError(
                f"{shots} demonstrations need {wanted} of the class {name!r}, and {len(taken)} that are not tested "
                "are there: lower --shots, or give more training texts"
            )
        by_class.append(taken)
    return interleaved(by_class, seed, draw, order)


def interleaved(by_class: Sequence[Sequence[PromptItem]], seed: int, draw: int, order: int) -> tuple[PromptItem, ...]:
    """Return the demonstrations of all classes in turns."""
    turns, several = list(range(len(by_class))), [list(some) for some in by_class]
    if order:
        random = np.random.default_rng([seed, draw, order])
        turns = random.permutation(len(by_class)).tolist()
        several = [[some[place] for place in random.permutation(len(some)).tolist()] for some in several]
    longest = max(map(len, several), default=0)
    return tuple(several[turn][row] for row in range(longest) for turn in turns if row < len(several[turn]))


def reordered(written: Sequence[PromptItem], classes: Sequence[str], seed: int, order: int) -> tuple[PromptItem, ...]:
    """Return demonstrations that a task file itself has: as they stand, or in the sequence of another order."""
    if not order:
        return tuple(written)
    if classes:
        return interleaved([[one for one in written if one.answer == name] for name in classes], seed, 0, order)
    return tuple(written[place] for place in np.random.default_rng([seed, 0, order]).permutation(len(written)).tolist())
