import doctest
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.report import figures, numbers, passport, record, samples
from heed.report.numbers import (
    format_count,
    format_loss,
    format_percent,
    format_perplexity,
    format_rate,
    human_bytes,
    human_count,
    human_seconds,
    per_second,
    said_difference,
    said_half,
    said_interval,
    said_p,
    said_shares,
)


@pytest.mark.parametrize("module", [figures, numbers, passport, record, samples], ids=lambda m: m.__name__)
def test_the_examples_in_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.00042, "420 µs"), (0.9996, "1.0 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
        (3599.7, "1 h 00 min"), (86_399, "1 d 00 h"), (-5, "-5.0 s"), (math.inf, "∞"), (math.nan, "NaN"),
    ],
)  # fmt: skip
def test_durations_never_show_sixty(seconds, text):
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1.00 k"),
        (1000, "1.00 k"),
        (9_996, "10.0 k"),
        (999_500, "1.00 M"),
        (-1500, "-1.50 k"),
    ],
)
def test_counts_keep_three_digits_at_the_edges(count, text):
    assert human_count(count) == text


def test_bytes_are_binary():
    assert human_bytes(1013) == "1013 B"
    assert human_bytes(1013 * 2**20) == "1013 MiB"
    assert human_bytes(1023.7) == "1.00 KiB"
    assert human_bytes(2**30) == "1.00 GiB"


@settings(max_examples=100, deadline=None)
@given(st.integers(min_value=1, max_value=10**17))
def test_a_short_count_is_within_half_a_percent(n):
    number, _, unit = human_count(n).partition(" ")
    value = float(number) * 1000 ** ["", "k", "M", "G", "T", "P"].index(unit)
    assert value == pytest.approx(n, rel=0.0051)  # three digits: at worst 1.005 is shown as 1.00 or 1.01


@settings(max_examples=100, deadline=None)
@given(st.floats(min_value=1.0, max_value=1e12))
def test_a_perplexity_keeps_its_order_of_magnitude(p):
    number, _, unit = format_perplexity(p).replace(",", "").partition(" ")
    assert float(number) * 1000 ** ["", "k", "M", "G", "T", "P"].index(unit) == pytest.approx(p, rel=0.0051)


@pytest.mark.parametrize("show", [format_loss, format_perplexity, format_percent, format_rate])
def test_what_is_no_number_is_named(show):
    assert show(None) == "–"
    assert show(math.nan) == "NaN"
    assert show(math.inf) == "∞"


def test_rates_and_amounts():
    assert per_second(100, 0) == "–"  # no time has passed: no rate, and no division by zero
    assert format_rate(0) == "0"
    assert format_rate(6e-4) == "0.0006"
    assert format_rate(0.009999) == "0.01"
    assert format_count(0) == "0"
    assert format_percent(0) == "0 %"
    assert format_percent(1) == "100 %"


bounds = st.floats(-1e4, 1e4).filter(lambda x: x == 0 or abs(x) > 1e-6)


def sign(value):
    return (value > 0) - (value < 0)


def read(text):
    return float(text.replace(",", ""))


@settings(max_examples=400, deadline=None)
@given(bounds, bounds)
def test_rounding_an_interval_changes_no_verdict(one, other):
    low, high = sorted((one, other))
    for signed in (False, True):
        shown = [read(part) for part in said_interval(low, high, signed=signed).split(" to ")]
        width = max(high - low, 1e-300)
        for before, after in zip((low, high), shown, strict=True):
            assert sign(before) == sign(after) or abs(before) <= 1e-9 * width
            assert after == pytest.approx(before, abs=max(0.051 * width, 5.1e-5))


@settings(max_examples=400, deadline=None)
@given(bounds, st.floats(1e-6, 1e3))
def test_rounding_plus_or_minus_changes_no_verdict(mean, half):
    shown, reach = (read(part) for part in said_half(mean, half, signed=True).split(" ± "))
    assert reach > 0
    assert (abs(shown) > reach) == (abs(mean) > half)


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1))
def test_a_p_value_is_shown_on_its_side_of_the_level(p):
    text = said_p(p)
    shown = 0.0 if text.startswith("<") else float(text)
    assert (shown < 0.05) == (p < 0.05)


def test_what_is_zero_has_no_sign_and_what_is_not_is_not_shown_as_zero():
    assert said_difference(-0.0, (-0.0, 0.0)) == "0 (0 to 0)"
    assert said_interval(-0.1, -0.00002, signed=True) == "-0.10000 to -0.00002"
    assert said_interval(1e-18, 0.3) == "0 to 0.30"  # zero but for float64
    assert said_shares(0.99, 0.99997) == "99.000 to 99.997 %"
    assert said_shares(0.2327, 0.3107) == "23.3 to 31.1 %"
    assert said_p(0.0502) == "0.0502"


def test_a_count_beyond_all_names_of_powers_is_short():
    assert human_count(9.991e17) == "999 P"
    assert human_count(9.996e17) == "1.00e+18"
    assert human_count(-4.905e173) == "-4.91e+173"
    assert format_perplexity(4.905e173) == "4.91e+173"
