"""Exponents, verdicts and crossings on figures that a reader can check, and the figure itself."""

import dataclasses
import math
import re
import xml.etree.ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.report.cost import (
    CostCurve,
    Fit,
    Measurement,
    cost_rows,
    cost_sentence,
    crossover,
    fit_exponent,
    judge,
    rounded,
    said_crossing,
)
from heed.report.cost_figure import NAMES, _ticks, draw_costs

LENGTHS = (256, 512, 1024, 2048)


def curve(name, time_power, seconds, memory_power=1, lengths=LENGTHS, declared=None, spread=0.0, **more):
    """Times `seconds` at T = 1,024, growing as a power of T."""
    times = {T: seconds * (T / 1024) ** time_power for T in lengths}
    cells = tuple(
        Measurement(T, y, int(2**20 * (T / 1024) ** memory_power), 9, (y * (1 - spread), y * (1 + spread)))
        for T, y in times.items()
    )
    return CostCurve(name, 64, declared or (time_power, memory_power), cells, **more)


@settings(max_examples=30, deadline=None)
@given(power=st.floats(0.2, 3), scale=st.floats(1e-6, 1e3))
def test_a_power_of_t_is_found(power, scale):
    fit = fit_exponent(LENGTHS, [scale * T**power for T in LENGTHS])
    assert fit.exponent == pytest.approx(power, abs=1e-9)
    assert fit.half_width < 1e-6
    assert fit.points == 3


def test_only_the_upper_half_counts():
    # six lengths: the last three; what is slow at the short ones does not count
    assert fit_exponent([1, 2, 4, 8, 16, 32], [9, 9, 9, 8, 16, 32]).exponent == pytest.approx(1)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    # log y = 1.5 log T + noise of 0.1: 95 % of 2,000 intervals; the binomial's standard deviation is 0.5 %
    draw = np.random.default_rng(0)
    lengths = [2**n for n in range(8, 14)]
    hits = 0
    for _ in range(2000):
        fit = fit_exponent(lengths, [T**1.5 * math.exp(draw.normal(0, 0.1)) for T in lengths])
        hits += abs(fit.exponent - 1.5) < fit.half_width
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)


def test_too_few_lengths_have_no_interval():
    assert fit_exponent([256], [1.0]) is None
    two = fit_exponent([256, 512], [1.0, 2.0])
    assert two == Fit(pytest.approx(1.0), math.inf, 2)
    assert judge(two, 1) == judge(None, 1) == "too few lengths"


def test_crossing_is_interpolated_on_logarithms():
    # ours 1 ms a token, theirs T^2 / 1024: equal at T = 1,024
    ours, theirs = [T * 1.0 for T in LENGTHS], [T**2 / 700 for T in LENGTHS]
    assert crossover(LENGTHS, ours, LENGTHS, theirs) == pytest.approx(700)
    assert crossover(LENGTHS, theirs, LENGTHS, ours) is None
    assert crossover(LENGTHS, [0.5] * 4, LENGTHS, [1.0] * 4) == 256.0
    assert crossover([256], [1.0], [512], [2.0]) is None, "they have no length in common"


def test_a_crossing_must_last():
    # below at 512, above at 1,024, below at 2,048: from between the last two
    found = crossover(LENGTHS, [2, 1, 2, 1], LENGTHS, [1, 2, 1, 2])
    assert 1024 < found < 2048


def test_rows_say_what_grows_faster_than_declared_and_who_is_faster():
    liar = curve("liar", 2, 1e-3, 2, declared=(1, 1))
    rows = {row["mechanism"]: row for row in cost_rows([curve("softmax", 2, 2e-3), liar, curve("linear", 1, 2e-3)])}
    assert rows["liar"]["time"]["verdict"] == rows["liar"]["memory"]["verdict"] == "ABOVE"
    assert rows["linear"]["time"]["verdict"] == "as declared"
    assert said_crossing(rows["softmax"], "time") == "–"
    assert said_crossing(rows["liar"], "time") == "at every T, from 256"
    assert said_crossing(rows["linear"], "time") == "from T = 1,000"
    assert said_crossing(rows["linear"], "memory") == "not up to T = 2,048"
    assert rounded(1024) == 1000


def test_the_title_is_computed_from_the_figures():
    softmax, linear, slow = curve("softmax", 2, 2e-3), curve("linear", 1, 2e-3), curve("slow", 2, 1.0)
    assert cost_sentence([softmax, linear]) == (
        "At T = 2,048 linear takes 0.5000 (0.5000 to 0.5000) of the time of softmax; it is faster from T = 1,000"
    )
    assert "1 of 2 are faster, linear from T = 1,000" in cost_sentence([softmax, linear, slow])
    assert cost_sentence([softmax, slow]) == "Nothing measured here was shown to be faster than softmax up to T = 2,048"
    assert cost_sentence([softmax]) == "Time grows as T^2.0 in softmax"


def test_faster_is_said_where_an_interval_leaves_out_1():
    # at T = 2,048 softmax takes 8 ms and linear 4 ms, each +-20 %: 3.2 / 9.6 to 4.8 / 6.4, below 1
    softmax, linear = curve("softmax", 2, 2e-3, spread=0.2), curve("linear", 1, 2e-3, spread=0.2)
    assert cost_sentence([softmax, linear]).startswith("At T = 2,048 linear takes 0.50 (0.33 to 0.75) of the time")
    # shown from where 1.2 T = 0.8 T^2 / 1,024, later than the medians cross
    assert cost_rows([softmax, linear])[1]["time"]["below_softmax_from"] == pytest.approx(1536)
    # 4 ms +-40 % against 8 ms +-40 %: 5.6 against 4.8, not shown
    softmax, linear = curve("softmax", 2, 2e-3, spread=0.4), curve("linear", 1, 2e-3, spread=0.4)
    rows = cost_rows([softmax, linear])
    assert said_crossing(rows[1], "time") == "not up to T = 2,048"
    assert cost_sentence([softmax, linear]).startswith("Nothing measured here was shown to be faster than softmax")
    # and so it is of passes that were too few for an interval
    alone = [dataclasses.replace(cell, interval=None) for cell in curve("linear", 1, 1e-4).cells]
    few = CostCurve("few", 64, (1, 1), tuple(alone))
    assert cost_rows([curve("softmax", 2, 2e-3), few])[1]["time"]["below_softmax_from"] is None


def test_ticks_are_round_and_enough():
    units = ((1e-3, "ms"), (1.0, "s"))
    assert _ticks(0.002, 3.0, units) == [0.01, 0.1, 1.0]
    assert _ticks(0.015, 0.15, units) == [0.02, 0.05, 0.1]


def test_figure_names_every_line_and_is_the_same_every_time():
    curves = [curve("softmax", 2, 2e-3), curve("linear", 1, 2e-3), curve("short", 2, 0.1, lengths=(256, 512))]
    svg = draw_costs(curves, "forward, causal").decode()
    assert svg == draw_costs(curves, "forward, causal").decode()
    assert xml.etree.ElementTree.fromstring(svg).get("width") == "1080"
    words = re.sub(r"<[^>]+>", " ", svg)
    for name in ("softmax  T^2.00", "linear  T^1.00", "short  T^2.00", "T (tokens)", "forward, causal", "10 ms"):
        assert name in words
    assert draw_costs(curves, "forward, causal", "png").startswith(b"\x89PNG")


def test_names_can_be_read_on_white():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert min(1.05 / (luminance(colour) + 0.05) for colour in NAMES) >= 4.5  # WCAG 2, AA
