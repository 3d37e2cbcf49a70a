"""Which texts to label next: those that a run is least sure of, no two nearly equal (Settles 2009, section 3.1).

    margin     p(1st) - p(2nd)                     classes; the least is the most uncertain
               min over labels of |2 p - 1|        several labels a text
    entropy    -sum p ln p                         classes, nats; the most is the most uncertain
               of a label there and not there, summed over labels

Texts are walked from the most uncertain on; one whose shingles (runs of `SHINGLE` characters) resemble those of a text
that is already chosen is passed over (Broder 1997: |A and B| / |A or B|).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

SHINGLE, ALIKE = 4, 0.6
"""Characters of a shingle, and the resemblance from which two texts are nearly equal."""


def margin(p: np.ndarray, *, exclusive: bool) -> np.ndarray:
    """Return how far the likeliest class is above the next (n,) of probabilities (n, C); or the label nearest to 1/2.

    >>> margin(np.array([[0.5, 0.3, 0.2]]), exclusive=True).round(3), margin(np.array([[0.9, 0.4]]), exclusive=False)
    (array([0.2]), array([0.2]))
    """
    if not exclusive:
        return np.abs(2 * p - 1).min(axis=1)
    best = np.sort(p, axis=1)
    return best[:, -1] - best[:, -2]


def entropy(p: np.ndarray, *, exclusive: bool) -> np.ndarray:
    """Return the entropy (n,) in nats of probabilities (n, C).

    >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]]), exclusive=True).round(4).tolist()
    [0.6931, 0.0]
    """
    of = lambda q: -(q * np.log(np.maximum(q, np.finfo(np.float64).tiny))).sum(axis=1) + 0.0
    return of(p) if exclusive else of(p) + of(1 - p)


MEASURES: dict[str, tuple[Callable[..., np.ndarray], int]] = {"margin": (margin, 1), "entropy": (entropy, -1)}
"""By name: the measure, and 1 where the least of it is the most uncertain."""


def shingles(text: str) -> frozenset[str]:
    """Return the shingles of a text, small letters and single blanks.

    >>> sorted(shingles("A  film"))
    [' fil', 'a fi', 'film']
    """
    plain = " ".join(text.casefold().split())
    return frozenset(plain[at : at + SHINGLE] for at in range(max(1, len(plain) - SHINGLE + 1)))


def resemblance(one: frozenset[str], other: frozenset[str]) -> float:
    """Return the share of the shingles of both that both have."""
    return len(one & other) / len(one | other)


def choose_texts(
    uncertain: np.ndarray, texts: Sequence[str], count: int, known: Iterable[str] = ()
) -> tuple[list[int], int]:
    """Return up to `count` texts, the lowest of `uncertain` (n,) first, and how many were passed over on the way.

    Passed over is what is nearly equal to one that is chosen, or equal to one of `known`.
    """
    chosen: list[int] = []
    seen: list[frozenset[str]] = []
    have, passed = {" ".join(text.split()) for text in known}, 0
    for place in np.argsort(uncertain, kind="stable").tolist():
        if len(chosen) == count:
            break
        text = str(texts[place])
        own = shingles(text)
        if " ".join(text.split()) in have or any(resemblance(own, other) >= ALIKE for other in seen):
            passed += 1
            continue
        chosen.append(place)
        seen.append(own)
    return chosen, passed
