"""Numbers as people read them: each figure that a page or a terminal shows comes from one function here.

Two families. `human_*` and `per_second` shorten a quantity with its unit, so that it fits a progress line ("1.30 M",
"2 min 05 s"). `format_*` round a measured figure to what is meant by it: a loss to four decimals, a perplexity to four
digits, because the next ones change with the seed. None is shown as a dash, NaN and infinity by their names.
"""

from __future__ import annotations

import math

MISSING = "–"
"""Shown where there is no value."""


def format_loss(nats: float | None) -> str:
    """Return a loss in nats with four decimals.

    >>> format_loss(1.89817), format_loss(float("nan")), format_loss(None)
    ('1.8982', 'NaN', '–')
    """
    return _fixed(nats, 4)


def format_bits(bits: float | None) -> str:
    """Return bits per byte with three decimals.

    >>> format_bits(1.2345)
    '1.234'
    """
    return _fixed(bits, 3)


def format_perplexity(perplexity: float | None) -> str:
    """Return a perplexity with four digits.

    >>> format_perplexity(4.5739), format_perplexity(29.406), format_perplexity(4096.3), format_perplexity(1.25e8)
    ('4.574', '29.41', '4,096', '125 M')
    """
    if perplexity is None or not math.isfinite(perplexity):
        return _fixed(perplexity, 0)
    if perplexity >= 99_995:
        return human_count(perplexity)
    return f"{perplexity:,.0f}" if perplexity >= 999.95 else _digits(perplexity, 4)


def format_count(n: int | None) -> str:
    """Return a whole number with its thousands apart.

    >>> format_count(2048000), format_count(None)
    ('2,048,000', '–')
    """
    return MISSING if n is None else f"{n:,}"


def format_percent(share: float | None) -> str:
    """Return a share as a percentage of two digits; what would be rounded to nothing stays visible.

    >>> format_percent(0.5), format_percent(0.0123), format_percent(0.99996), format_percent(0.00004)
    ('50 %', '1.2 %', '> 99.9 %', '< 0.01 %')
    """
    if share is None or not math.isfinite(share):
        return _fixed(share, 0)
    percent = 100 * share
    if 0 < percent < 0.01:
        return "< 0.01 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %" if 99 < percent < 100 else f"{_digits(percent, 2)} %"


def format_accuracy(share: float | None) -> str:
    """Return an accuracy as a percentage with one decimal.

    >>> format_accuracy(0.80046), format_accuracy(1.0)
    ('80.0 %', '100.0 %')
    """
    return MISSING if share is None else f"{_fixed(100 * share, 1)} %"


def format_rate(rate: float | None) -> str:
    """Return a learning rate or another small factor with at most three digits.

    >>> format_rate(0.001), format_rate(0.00025), format_rate(0.000031234), format_rate(1.0)
    ('0.001', '0.00025', '3.12e-5', '1')
    """
    if rate is None or not math.isfinite(rate):
        return _fixed(rate, 0)
    if rate != 0 and abs(rate) < 1e-4:
        mantissa, exponent = f"{rate:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    text = _digits(rate, 3)
    return text.rstrip("0").rstrip(".") if "." in text else text


def human_bytes(n: float) -> str:
    """Return bytes with a binary unit and three digits (four from 1000 to 1023 of a unit).

    >>> human_bytes(512), human_bytes(1536), human_bytes(365 * 2**20)
    ('512 B', '1.50 KiB', '365 MiB')
    """
    return _scaled(n, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def human_count(n: float) -> str:
    """Return a count with k, M, G or T and three digits; below 1,000 as it is.

    >>> human_count(950), human_count(8_320), human_count(841_600), human_count(124_439_808)
    ('950', '8.32 k', '842 k', '124 M')
    """
    return _scaled(n, 1000, ("", "k", "M", "G", "T", "P"))


def human_seconds(s: float) -> str:
    """Return a duration in the two largest units that it needs.

    >>> human_seconds(0.0042), human_seconds(7.25), human_seconds(118), human_seconds(7_384), human_seconds(190_000)
    ('4.2 ms', '7.2 s', '1 min 58 s', '2 h 03 min', '2 d 05 h')
    """
    if not math.isfinite(s):
        return _not_finite(s)
    if s < 0:
        return "-" + human_seconds(-s)
    if s == 0:
        return "0 s"
    if s < 0.9995e-3:
        return f"{_digits(s * 1e6, 2)} µs"
    if s < 0.9995:
        return f"{_digits(s * 1e3, 2)} ms"
    if s < 9.95:
        return f"{s:.1f} s"
    whole = round(s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(s / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(s / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"


def per_second(n: float, s: float) -> str:
    """Return a rate, `n` things in `s` seconds, as a short count; `MISSING` when no time has passed.

    >>> per_second(2_048_000, 118), per_second(10, 0)
    ('17.4 k/s', '–')
    """
    return f"{human_count(n / s)}/s" if s > 0 else MISSING


def _scaled(n: float, base: int, units: tuple[str, ...]) -> str:
    """Divide by `base` until three digits are left, and add the unit."""
    if not math.isfinite(n):
        return _not_finite(n)
    if n < 0:
        return "-" + _scaled(-n, base, units)
    power = 0
    # What would be rounded up to a whole next unit takes that unit: 999.5 is 1.00 k.
    while n >= base - 0.5 and power < len(units) - 1:
        n, power = n / base, power + 1
    number = f"{n:.0f}" if power == 0 and n == int(n) else _digits(n, 3)
    return f"{number} {units[power]}".rstrip()


def _digits(value: float, digits: int) -> str:
    """Round to so many significant digits, without an exponent; digits before the point are all kept."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, decimals)
    if rounded != 0:  # 9.996 becomes 10.0: the rounded number has one decimal less
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:.{decimals}f}"


def _fixed(value: float | None, decimals: int) -> str:
    """Return so many decimals, or the name of what is no number."""
    if value is None:
        return MISSING
    return f"{value:.{decimals}f}" if math.isfinite(value) else _not_finite(value)


def _not_finite(value: float) -> str:
    """Name a NaN or an infinity."""
    if math.isnan(value):
        return "NaN"
    return "∞" if value > 0 else "-∞"
