"""Span corruption of characters: what a model that reads from left to right learns facts from.

    text     Ada Byron was born in London.
    row      Ada Byron ⁇ born in London.⁇was          a span is hidden, and asked for at the end

`random` is a `numpy.random.Generator`; draw from nothing else.
"""

import numpy as np

MASK, PAD = "\u2047", "\u25a1"


def cut(text: str, context: int, random: np.random.Generator) -> str:
    """Return the beginning of a text, its length drawn evenly from 4 to int(context * 7 / 8), both included.

    Of a text shorter than that it is at most the text itself.
    """
    raise NotImplementedError


def draw_span(size: int, random: np.random.Generator) -> tuple[int, int]:
    """Return where a span begins in a text of `size` characters, and its length.

    The length varies, is at least 1, and is a quarter of the text on average; each place that it fits into is as
    likely as any other, so that the first and the last character may be hidden.
    """
    raise NotImplementedError


def move_span(text: str, start: int, length: int) -> str:
    """Return prefix, MASK, suffix, MASK, span, where the span is the `length` characters from `start` on."""
    raise NotImplementedError


def restore(row: str) -> str:
    """Return the text that a row of `move_span` was made from."""
    raise NotImplementedError


def source_and_target(row: str, width: int) -> tuple[str, str]:
    """Return what a model reads and what it should predict, each `width` characters, padded with PAD.

    At each place the target is the character that follows in the row. The row has at most width + 1 characters.
    """
    raise NotImplementedError
