"""Numbers as people read them: each figure that a page or a terminal shows comes from one function here.

Three families. `human_*` and `per_second` shorten a quantity with its unit, so that it fits a progress line ("1.30 M",
"2 min 05 s"). `format_*` round a measured figure to what is meant by it: a loss to four decimals, a perplexity to four
digits, because the next ones change with the seed. `said_*` say what is known of a figure: intervals, differences,
p-values. None is shown as a dash, NaN and infinity by their names.

One rule rounds every interval (`places`): two digits of its width, four decimals at most, and as many more as it needs
so that rounding changes no verdict. A bound that is not 0 is never shown as 0, and what is exactly 0 has no sign.
"""

from __future__ import annotations

import math

MISSING = "–"
"""Shown where there is no value."""
LEVEL = 0.95
"""Of every interval; a p-value below 1 - LEVEL is a finding."""
MOST_PLACES = 4
"""Decimals at most, where no verdict needs more: with few seeds an interval may be narrow by chance."""
DUST = 1e-9
"""What is smaller than this share of an interval's width is 0 but for float64."""


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


def places(low: float, high: float, at: tuple[float, ...] = (0.0,), least: int = 0) -> int:
    """Return how many decimals an interval is shown with: two digits of its width, at least `least`.

    A bound that is none of the values `at` is not rounded onto one of them: more decimals are taken instead.

    >>> places(0.012, 0.050), places(1.0, 21.0), places(0.00001, 0.2), places(97.2, 99.998, at=(0, 100), least=1)
    (3, 0, 5, 3)
    """
    width = high - low
    if not math.isfinite(width):
        return MOST_PLACES
    enough = max(least, min(MOST_PLACES, max(0, 1 - math.floor(math.log10(width)))) if width > 0 else MOST_PLACES)
    for bound in (low, high):
        for value in at:
            while abs(bound - value) > DUST * width and round(bound, enough) == value:
                enough += 1
    return enough


def said_interval(low: float, high: float, *, signed: bool = False) -> str:
    """Return an interval as every page and terminal shows it; `signed` for differences.

    >>> said_interval(0.2163, 0.3141), said_interval(0.2163, 0.3141, signed=True), said_interval(-0.0, 0.2)
    ('0.216 to 0.314', '+0.216 to +0.314', '0 to 0.20')
    >>> said_interval(0.00001, 0.2, signed=True)
    '+0.00001 to +0.20000'
    """
    decimals = places(low, high)
    return " to ".join(said_number(bound, decimals, signed=signed, dust=DUST * (high - low)) for bound in (low, high))


def said_difference(mean: float, interval: tuple[float, float] | None) -> str:
    """Return a difference with its interval, all with as many decimals and a sign.

    >>> said_difference(0.265, (0.2163, 0.3141)), said_difference(0.0, (-0.1, 0.1)), said_difference(-0.25, None)
    ('+0.265 (+0.216 to +0.314)', '0 (-0.10 to +0.10)', '-0.250')
    """
    if interval is None:
        return said_number(mean, _places_of(mean), signed=True)
    shown = said_number(mean, places(*interval), signed=True, dust=DUST * (interval[1] - interval[0]))
    return f"{shown} ({said_interval(*interval, signed=True)})"


def said_half(mean: float, half: float | None, *, signed: bool = False) -> str:
    """Return mean ± half of an interval, rounded as the interval is, for tables that have no room for both bounds.

    More decimals are taken where the shown half would reach 0, or no longer reach it, other than the interval does.

    >>> said_half(1.23456, 0.0123), said_half(68.7, 3.0), said_half(2.400386, 0.00003), said_half(1.5, 0.0)
    ('1.235 ± 0.012', '68.7 ± 3.0', '2.40039 ± 0.00003', '1.5000 ± 0')
    >>> said_half(1.23456, None), said_half(0.01243, 0.01239, signed=True)
    ('1.235', '+0.01243 ± 0.01239')
    """
    if half is None:
        return said_number(mean, _places_of(mean), signed=signed)
    decimals = places(mean - half, mean + half) if half else MOST_PLACES
    while half and not _holds(mean, half, decimals):
        decimals += 1
    return f"{said_number(mean, decimals, signed=signed)} ± {said_number(half, decimals)}"


def said_shares(low: float, high: float) -> str:
    """Return an interval of shares in percent, with one decimal at least; only 0 and 1 are shown as 0 and 100.

    >>> said_shares(0.6644, 0.9266), said_shares(0.0, 0.0370), said_shares(0.99964, 1.0), said_shares(0.00004, 0.01)
    ('66.4 to 92.7 %', '0 to 3.7 %', '99.964 to 100 %', '0.004 to 1.000 %')
    """
    low, high = 100 * low, 100 * high
    decimals = places(low, high, at=(0.0, 100.0), least=1)
    return " to ".join("100" if bound == 100 else said_number(bound, decimals) for bound in (low, high)) + " %"


def said_ratio(ratio: float, interval: tuple[float, float] | None) -> str:
    """Return a ratio with its interval, which is held against 1.

    >>> said_ratio(1.4567, (1.21, 1.79)), said_ratio(1.46, (0.21, 9.8)), said_ratio(1.002, (1.0004, 1.0036))
    ('1.46 (1.21 to 1.79)', '1.5 (0.2 to 9.8)', '1.0020 (1.0004 to 1.0036)')
    >>> said_ratio(1.4567, None), said_ratio(2.0, (1e-9, 1e40))
    ('1.46', '2.00 (below 0.001 to over 1,000)')
    """
    if interval is None:
        return said_number(ratio, 2)
    low, high = max(interval[0], 1e-3), min(interval[1], 1e3)
    decimals = places(low, high, at=(0.0, 1.0))
    begin = "below 0.001" if low > interval[0] else said_number(low, decimals)
    end = "over 1,000" if high < interval[1] else said_number(high, decimals)
    return f"{said_number(ratio, 2 if low > interval[0] else decimals)} ({begin} to {end})"


def said_p(p: float) -> str:
    """Return a p-value, with as many digits as show on which side of 0.05 it lies.

    >>> said_p(0.03125), said_p(1.0), said_p(4e-9), said_p(0.0499), said_p(0.050004), said_p(0.125)
    ('0.031', '1', '< 0.0001', '0.0499', '0.050004', '0.12')
    """
    if p < 1e-4:
        return "< 0.0001"
    digits, found = 2, round(1 - LEVEL, 9)
    while p != found and float(f"{p:.{digits}g}") == found:
        digits += 1
    return f"{p:.{digits}g}"


def said_effect(size: float, unit: str = "") -> str:
    """Say what a design could have found: the effect that is found with power 0.8, with two digits.

    >>> said_effect(0.01764, "nats")
    'an effect of 0.018 nats would have been found four times in five'
    """
    return f"an effect of {said_size(size)}{f' {unit}' if unit else ''} would have been found four times in five"


def said_size(size: float) -> str:
    """Return an amount that is known roughly, with two digits.

    >>> said_size(0.01764), said_size(-3.21), said_size(0)
    ('0.018', '3.2', '0')
    """
    return _digits(abs(size), 2) if math.isfinite(size) else _not_finite(size)


def said_number(value: float, decimals: int, *, signed: bool = False, dust: float = 0.0) -> str:
    """Return a number with so many decimals. What is 0, within `dust`, is "0"; what is rounded to 0 has no sign.

    >>> said_number(0.25, 1), said_number(-0.04, 1, signed=True), said_number(-0.0, 4), said_number(1234.5, 0)
    ('0.2', '0.0', '0', '1,234')
    """
    if not math.isfinite(value):
        return _not_finite(value)
    if abs(value) <= dust:
        return "0"
    rounded = round(value, decimals)
    return f"{rounded:{'+' if signed and rounded else ''},.{decimals}f}" if rounded else f"{0:.{decimals}f}"


def human_bytes(n: float | None) -> str:
    """Return bytes with a binary unit and three digits (four from 1000 to 1023 of a unit).

    >>> human_bytes(512), human_bytes(1536), human_bytes(365 * 2**20), human_bytes(None)
    ('512 B', '1.50 KiB', '365 MiB', '–')
    """
    return _scaled(n, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def human_count(n: float | None) -> str:
    """Return a count with k, M, G, T or P and three digits; below 1,000 as it is, beyond 1e18 with its power of ten.

    >>> human_count(950), human_count(8_320), human_count(841_600), human_count(124_439_808), human_count(4.9e173)
    ('950', '8.32 k', '842 k', '124 M', '4.90e+173')
    """
    if n is not None and math.isfinite(n) and abs(n) >= 999.5e15:
        return f"{n:.2e}"
    return _scaled(n, 1000, ("", "k", "M", "G", "T", "P"))


def human_seconds(s: float | None) -> str:
    """Return a duration in the two largest units that it needs.

    >>> human_seconds(0.0042), human_seconds(7.25), human_seconds(118), human_seconds(7_384), human_seconds(190_000)
    ('4.2 ms', '7.2 s', '1 min 58 s', '2 h 03 min', '2 d 05 h')
    """
    if s is None or not math.isfinite(s):
        return _fixed(s, 0)
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


def clock_unit(top: float) -> tuple[float, str]:
    """Return (seconds of it, name) of the unit for an axis that reaches `top` seconds: at least two of it are shown.

    >>> clock_unit(119), clock_unit(144), clock_unit(7_300)
    ((1, 'seconds'), (60, 'minutes'), (3600, 'hours'))
    """
    units = ((3600, "hours"), (60, "minutes"))
    return next(((size, name) for size, name in units if top >= 2 * size), (1, "seconds"))


def per_second(n: float, s: float) -> str:
    """Return a rate, `n` things in `s` seconds, as a short count; `MISSING` when no time has passed.

    >>> per_second(2_048_000, 118), per_second(10, 0)
    ('17.4 k/s', '–')
    """
    return f"{human_count(n / s)}/s" if s > 0 else MISSING


def _places_of(mean: float) -> int:
    """Return the decimals of a figure that has no interval: three, from 100 on one, and two digits of a small one."""
    if mean == 0 or not math.isfinite(mean):
        return 3
    return 1 if abs(mean) >= 100 else max(3, 1 - math.floor(math.log10(abs(mean))))


def _holds(mean: float, half: float, decimals: int) -> bool:
    """Whether mean ± half excludes 0 after rounding if it does before, and half is not rounded to 0."""
    shown = round(half, decimals)
    return shown != 0 and (abs(round(mean, decimals)) > shown) == (abs(mean) > half)


def _scaled(n: float | None, base: int, units: tuple[str, ...]) -> str:
    """Divide by `base` until three digits are left, and add the unit."""
    if n is None or not math.isfinite(n):
        return _fixed(n, 0)
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
