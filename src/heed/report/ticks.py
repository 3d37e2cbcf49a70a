"""The numbers on an axis: where they stand and how they are written; and names that are shortened but stay apart."""

from __future__ import annotations

import math
from collections.abc import Sequence


def short(value: float) -> str:
    """Return an axis number: no exponent between 0.0001 and a million, thousands apart.

    >>> short(1000), short(0.5), short(1.5234), short(0.00025), short(2.5e6), short(0)
    ('1,000', '0.5', '1.523', '0.00025', '2.5e6', '0')
    """
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    decimals = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain(value: float) -> str:
    """Return a number for a table and for the script of a page: six digits, no thousands apart.

    >>> plain(1200), plain(2.123456789), plain(1e-7), plain(float("nan"))
    ('1200', '2.12346', '1e-07', 'nan')
    """
    return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def even_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` + 1 round numbers between two limits: steps of 1, 2, 2.5 or 5 times a power of ten.

    >>> even_ticks(0, 1000, 4), even_ticks(2.1, 3.4, 6)
    ([0.0, 250.0, 500.0, 750.0, 1000.0], [2.25, 2.5, 2.75, 3.0, 3.25])
    """
    if not high > low:
        return [low]
    power = 10.0 ** (math.floor(math.log10((high - low) / most)))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if (high - low) / (s * power) <= most)
    edge = 1e-9 * step
    first, last = math.ceil((low - edge) / step), math.floor((high + edge) / step)
    return [round(n * step, 12) for n in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1-2-5 ticks between two positive numbers, or only powers of ten when those would be many.

    >>> log_ticks(3, 120)
    [5.0, 10.0, 20.0, 50.0, 100.0]
    >>> log_ticks(3, 30_000)
    [10.0, 100.0, 1000.0, 10000.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
    return [tick for tick in ticks if low <= tick <= high]


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
