"""The names in a figure: how wide they are, how they are shortened, and where those of points stand. In pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

HALF_HEIGHT, MARK = 7.5, 6.0
"""Of a name at 12 pixels, and from the middle of a mark to where a name may begin."""
NEAR, STEP, RINGS = 10.0, 14.0, 9
"""A name stands so far from its point, or so many steps further out where there is no room."""
DIRECTIONS = ((1, 0), (1, 1), (1, -1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1))
"""From a point to its name, the easiest to read first; up is positive."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


class Place(NamedTuple):
    """Where a name stands."""

    left: float
    middle: float
    near: bool
    """Whether it stands at its point; a name further off needs a stroke that leads to it."""


def text_width(text: str, size: float = 12.0) -> float:
    """Return the width of a text in DejaVu Sans, the widest of system fonts.

    >>> text_width("WWW") > 3 * text_width("iii"), text_width("ab", 24) == 2 * text_width("ab", 12)
    (True, True)
    """
    return size * sum(map(_advance, text))


def shorten(text: str, letters: int, head: int | None = None) -> str:
    """Return text of at most so many letters, both of its ends kept: the first `head` letters, or half.

    >>> shorten("gpt-4-layers-adamw", 12), shorten("short", 12)
    ('gpt-4-…adamw', 'short')
    """
    if len(text) <= letters:
        return text
    head = letters // 2 if head is None else head
    return f"{text[:head]}…{text[len(text) - letters + head + 1 :]}"


def shorten_all(texts: Sequence[str], letters: int) -> list[str]:
    """Return texts shortened so that different ones stay different, which may take more letters than that.

    >>> shorten_all(["gpt, 4 layers, adamw", "gpt, 2 layers, adamw"], 12)
    ['gpt, 4…adamw', 'gpt, 2…adamw']
    """
    for most in range(letters, max(map(len, texts), default=0)):
        for head in sorted(range(1, most), key=lambda head: abs(head - most // 2)):
            found = [shorten(text, most, head) for text in texts]
            if len(set(found)) == len(set(texts)):
                return found
    return list(texts)


def beside(
    points: Sequence[tuple[float, float]], widths: Sequence[float], strokes: Sequence[Box], area: Box
) -> list[Place]:
    """Return where the name of each point stands: inside `area`, off all points and other names, off strokes if it can.

    Greedy, from the top down: each name takes the cheapest place that is left. To cover a name or a point costs more
    than any distance, to cross a stroke as much as a few steps further out.
    """
    taken: list[Box] = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in points]
    found: dict[int, Place] = {}
    for index in sorted(range(len(points)), key=lambda index: -points[index][1]):
        best, least = Place(*points[index], near=True), float("inf")
        for cost, place in _around(points[index], widths[index]):
            box = (place.left, place.middle - HALF_HEIGHT, place.left + widths[index], place.middle + HALF_HEIGHT)
            out = area[0] > box[0] or area[1] > box[1] or area[2] < box[2] or area[3] < box[3]
            cost += 1e6 * out + 1e3 * _covered(box, taken) + 2 * _covered(box, strokes)
            if cost < least:
                best, least = place, cost
        found[index] = best
        taken.append((best.left, best.middle - HALF_HEIGHT, best.left + widths[index], best.middle + HALF_HEIGHT))
    return [found[index] for index in range(len(points))]


def _around(point: tuple[float, float], width: float) -> Iterator[tuple[float, Place]]:
    """Yield places for a name around a point, each with what its distance costs."""
    for ring in range(RINGS):
        far = NEAR + STEP * ring
        for order, (right, up) in enumerate(DIRECTIONS):
            across = far if not up else 0.7 * far
            left = point[0] + {1: across, 0: -width / 2, -1: -across - width}[right]
            yield far + order, Place(left, point[1] + up * (far if right else far + 5), near=ring == 0)


def _covered(box: Box, others: Sequence[Box]) -> float:
    """Return how much of a box lies under others, in square pixels."""
    across = ((min(box[2], one[2]) - max(box[0], one[0]), min(box[3], one[3]) - max(box[1], one[1])) for one in others)
    return sum(wide * high for wide, high in across if wide > 0 and high > 0)


@cache
def _advance(letter: str) -> float:
    """Return the width of a letter of size 1; one that the font lacks counts as wide as it is high."""
    from matplotlib.ft2font import LoadFlags

    font = _font()
    if not font.get_char_index(ord(letter)):
        return 1.0
    return font.load_char(ord(letter), flags=LoadFlags.NO_HINTING).linearHoriAdvance / 65536 / 100


@cache
def _font() -> FT2Font:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    font = FT2Font(findfont("DejaVu Sans"))
    font.set_size(100, 72)  # 100 pixels
    return font
