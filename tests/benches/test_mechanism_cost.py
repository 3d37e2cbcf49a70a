"""Time and memory are what was asked for: known allocations are found, budgets kept, modes refused."""

import time
from types import SimpleNamespace

import pytest
import torch

from heed.attention import MECHANISMS, Shape, Softmax
from heed.benches import mechanism_cost as cost
from heed.benches.mechanism_cost import Setup, measure, measure_curve
from heed.errors import ConfigError
from heed.report.cost import fit_exponent
from heed.training.peak import peak_bytes

CPU = torch.device("cpu")


def test_peak_memory_is_that_of_the_allocator():
    def one_pass():
        a = torch.empty(1000, dtype=torch.float32)  # 4,000 bytes
        b = torch.empty(500, dtype=torch.float64)  # and 4,000 more at once
        del a
        c = torch.empty(250, dtype=torch.float32)  # 1,000, when 4,000 are gone
        return b, c

    assert peak_bytes(one_pass, CPU) == 8000


def test_written_out_attention_holds_two_squares_and_the_fused_path_none():
    T = 512
    square = 4 * T * T * 4  # heads x T x T in float32
    slow = measure(Softmax, Setup(), T, 64, {"path": "reference"}).memory_bytes
    fast = measure(Softmax, Setup(), T, 64).memory_bytes
    assert 2 * square <= slow <= 6 * square
    assert fast < square / 2


def test_quadratic_memory_is_measured_as_quadratic():
    cells = [measure(Softmax, Setup(backward=True), T, 32, {"path": "reference"}) for T in (128, 256, 512)]
    fit = fit_exponent([cell.length for cell in cells], [cell.memory_bytes for cell in cells])
    assert fit.exponent == pytest.approx(2, abs=0.05)


def test_backward_holds_more_than_forward():
    forward = measure(Softmax, Setup(), 512, 64)
    both = measure(Softmax, Setup(backward=True), 512, 64)
    assert both.memory_bytes > forward.memory_bytes


@pytest.mark.parametrize("name", sorted(MECHANISMS))
@pytest.mark.parametrize("causal", [True, False])
def test_every_mechanism_can_be_measured(name, causal):
    kind, setup = MECHANISMS[name], Setup(causal=causal, backward=True)
    if causal and kind.facts.causal == "never":
        with pytest.raises(ConfigError, match="add --bidirectional"):
            measure_curve(kind, name, setup, [16], 32)
        return
    curve = measure_curve(kind, name, setup, [24, 16], 32)
    assert curve.lengths == [16, 24]
    assert min(curve.values("seconds")) > 0


@pytest.fixture
def clock(monkeypatch):
    """Passes take 5 ms at T = 100 and grow with its square, whatever the machine does."""
    asked = []

    def shape_of(*arguments, **options):
        asked.append(Shape(*arguments, **options))
        return asked[-1]

    monkeypatch.setattr(cost, "Shape", shape_of)
    monkeypatch.setattr(cost, "_timed", lambda one_pass, clock, wait: 0.005 * (asked[-1].context / 100) ** 2)


def test_the_budget_ends_the_curve_and_says_why(clock):
    curve = measure_curve(Softmax, "softmax", Setup(budget=0.05), [800, 100, 400, 200], 32)
    assert curve.values("seconds") == [0.005, 0.02]  # then 80 ms would be more than 50
    assert curve.lengths == [100, 200]
    assert [cell.repeats for cell in curve.cells] == [30, 15], "0.3 s are enough, 30 passes too"
    assert curve.stopped == "T = 400 would take about 80 ms a pass, more than the budget of 0.05 s"


def test_the_median_is_the_time_and_the_first_pass_does_not_count(monkeypatch):
    times = iter([9.0, 0.2, 0.1, 0.4, 0.3, 0.2, 0.15, 0.25])
    monkeypatch.setattr(cost, "_timed", lambda one_pass, clock, wait: next(times))
    assert measure(Softmax, Setup(budget=10), 8, 16).seconds == 0.2


def test_one_thread_counts_cpu_seconds(monkeypatch):
    for threads, clock in ((1, time.process_time), (2, time.perf_counter)):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=threads: count)
        assert Setup().clock is clock


def test_a_length_that_does_not_fit_into_memory_is_not_tried(monkeypatch):
    monkeypatch.setattr(cost, "available_memory", lambda device: 10**6)
    curve = measure_curve(Softmax, "softmax", Setup(), [64, 4096], 32)
    assert curve.lengths == [64]
    assert "more than half of the memory that is free" in curve.stopped


def test_impossible_shapes_are_refused():
    with pytest.raises(ConfigError, match="width 30 does not divide into 4 heads"):
        measure_curve(Softmax, "softmax", Setup(), [16], 30)
    causal_only = SimpleNamespace(facts=SimpleNamespace(masks={"causal"}, causal="exact"))
    with pytest.raises(ConfigError, match="leave --bidirectional out"):
        cost.refuse_mode(causal_only, "x", Setup(causal=False))
