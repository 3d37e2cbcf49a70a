"""Span corruption of characters, held against `heed.text.spans`; what is drawn is held to its bounds and its mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from heed.coursework.cases import Case, Cases, Function, Property
from heed.text.spans import restore

MASK, PAD = "\u2047", "\u25a1"
TEXT = "Ada Byron was born in London."
DRAWS = 4_000
SIZE = 40
"""Of the texts in which spans are drawn: a mean length of 10."""
NEAR = 0.6
"""How far the mean length of `DRAWS` spans may be from size / 4: six times the deviation of even draws."""
SHORTEST, CONTEXT = 4, 64
MOST = CONTEXT * 7 // 8

ONE_MASK = "the second mask, before the hidden span, is missing"
FIRST = "the span goes to the end of the row, behind suffix and mask"
KEPT = "the span is still in its old place"
NOT_SHIFTED = "the target is the source itself; at each place it is the character after"
WRONG_WAY = "the target is shifted the wrong way, to the character before"
END_PUT = "the span belongs where the first mask stands, between prefix and suffix"


def moved(text: str, start: int, length: int) -> str:
    """Return prefix, mask, suffix, mask, span."""
    prefix, span, suffix = text[:start], text[start : start + length], text[start + length :]
    return f"{prefix}{MASK}{suffix}{MASK}{span}"


def restored(row: str) -> str:
    """Return the text out of a row, by heed's own function."""
    return "".join(map(chr, restore(np.array([ord(letter) for letter in row]), ord(MASK))))


def _move_case(about: str, start: int, length: int) -> Case:
    prefix, span, suffix = TEXT[:start], TEXT[start : start + length], TEXT[start + length :]
    wrong = {
        ONE_MASK: f"{prefix}{MASK}{suffix}{span}",
        FIRST: f"{prefix}{MASK}{span}{MASK}{suffix}",
        KEPT: f"{TEXT}{MASK}{span}",
        "a third mask stands at the end": f"{prefix}{MASK}{suffix}{MASK}{span}{MASK}",
        "length is a length, not the end of the span": moved(TEXT, start, length - start),
    }
    return Case(about, lambda f: f(TEXT, start, length), moved(TEXT, start, length), wrong)


def _restore_case(about: str, row: str) -> Case:
    prefix, suffix, span = row.split(MASK)
    return Case(about, lambda f: f(row), restored(row), {END_PUT: prefix + suffix + span})


def spans_drawn(function: Function, size: int = SIZE) -> list[Any]:
    """Return what a function draws, again and again, with one generator."""
    random = np.random.default_rng(7)
    return [function(size, random) for _ in range(DRAWS)]


def fault_of_spans(drawn: list[Any], size: int = SIZE) -> str:
    """Return what is wrong with spans (start, length) of a text of `size`, or an empty string."""
    for pair in drawn:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            return f"it gives {pair!r}, a pair of start and length is needed"
    starts, lengths = (np.array(column) for column in zip(*drawn, strict=True))
    ends = starts + lengths
    if not (np.issubdtype(starts.dtype, np.integer) and np.issubdtype(lengths.dtype, np.integer)):
        return "start and length must be whole numbers"
    if lengths.min() < 1:
        return f"a span has the length {lengths.min()}, it hides at least one character"
    if starts.min() < 0 or ends.max() > size:
        return f"a span from {starts[ends.argmax()]} to {ends.max()} is not within a text of {size} characters"
    if lengths.min() == lengths.max():
        return f"all {len(drawn):,} spans have the length {lengths[0]}: lengths must vary around size / 4"
    if abs(lengths.mean() - size / 4) > NEAR:
        return f"the mean length is {lengths.mean():.2f}, {size / 4:g} is right, a quarter of the {size} characters"
    if starts.min() > 0:
        return f"no span of {len(drawn):,} begins at 0: the first character is never hidden"
    if ends.max() < size:
        return f"no span of {len(drawn):,} ends at {size}: the last start is size - length, and that one included"
    return ""


LONG = "".join(chr(0x4E00 + i) for i in range(200))
"""No character of it stands twice."""


def sizes_cut(function: Function) -> list[Any]:
    """Return prefixes that a function cuts off a long text."""
    random = np.random.default_rng(11)
    return [function(LONG, CONTEXT, random) for _ in range(DRAWS)]


def fault_of_cuts(cut: list[Any]) -> str:
    """Return what is wrong with prefixes of `LONG`, which have 4 to int(context * 7 / 8) characters."""
    for part in cut:
        if not isinstance(part, str) or not LONG.startswith(part):
            return "it gives something that the text does not begin with"
    sizes = np.array([len(part) for part in cut])
    if sizes.max() > MOST:
        return f"a part has {sizes.max()} characters, {MOST} are the most: int(context * 7 / 8)"
    if sizes.min() < SHORTEST:
        return f"a part has {sizes.min()} characters, {SHORTEST} are the fewest"
    if sizes.min() == sizes.max():
        return f"all {len(cut):,} parts have {sizes[0]} characters: the length must be drawn"
    if sizes.max() < MOST:
        return f"of {len(cut):,} parts none has {MOST} characters: int(context * 7 / 8) is drawn too, it is included"
    if sizes.min() > SHORTEST:
        return f"of {len(cut):,} parts none has {SHORTEST} characters, which is drawn too"
    middle = (SHORTEST + MOST) / 2
    if abs(sizes.mean() - middle) > 1.5:
        return f"the mean length is {sizes.mean():.1f}, {middle:g} is right: each length is as likely as any other"
    return ""


def _pairs(row: str, width: int, target: Callable[[str], str]) -> list[str]:
    padded = row.ljust(width + 1, PAD)
    return [padded[:width], target(padded)]


ROW = moved("Ada was born.", 4, 3)

CASES: Cases = {
    "cut": [
        Property("a text longer than the context", sizes_cut, fault_of_cuts),
        Case("a text shorter than 4 characters", lambda f: f("Ada", CONTEXT, np.random.default_rng(0)), "Ada"),
    ],
    "draw_span": [
        Property(f"{DRAWS:,} spans of {SIZE} characters", spans_drawn, fault_of_spans),
        Case("a text of one character", lambda f: list(f(1, np.random.default_rng(0))), [0, 1]),
    ],
    "move_span": [
        _move_case("a span in the middle", 10, 3),
        _move_case("a span at the beginning", 0, 3),
        _move_case("a span at the end", 22, 7),
    ],
    "restore": [
        _restore_case("a span of the middle", moved(TEXT, 10, 3)),
        _restore_case("a span of the end", moved(TEXT, 22, 7)),
    ],
    "source_and_target": [
        Case(
            "a row shorter than the width",
            lambda f: list(f(ROW, 24)),
            _pairs(ROW, 24, lambda padded: padded[1:]),
            {
                NOT_SHIFTED: _pairs(ROW, 24, lambda padded: padded[:-1]),
                WRONG_WAY: _pairs(ROW, 24, lambda padded: PAD + padded[:-2]),
                "source and target are exchanged": _pairs(ROW, 24, lambda padded: padded[1:])[::-1],
                "they are not padded to the width": [ROW[:-1], ROW[1:]],
            },
        ),
        Case("a row that fills the width", lambda f: list(f("abcde", 4)), ["abcd", "bcde"]),
    ],
}
"""The cases of each function of span_corruption.py."""
