"""The largest batch: the search, the bound by memory that is never reached, and no trace of the tries."""

import pytest
import torch
from doubles import TinyModel, Windows
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.errors import ConfigError
from heed.training import autobatch
from heed.training.autobatch import largest_batch, optimizer_bytes, peak_resident, search_largest, training_step
from heed.training.streams import Streams

CPU = torch.device("cpu")


@given(most=st.integers(0, 3000), start=st.integers(1, 64), limit=st.integers(1, 1024))
@settings(max_examples=100, deadline=None)
def test_the_search_ends_within_an_eighth_of_the_truth(most, start, limit):
    size, tried = search_largest(lambda size: size <= most, start=start, limit=limit)
    assert max(tried) <= limit
    assert len(tried) < 20
    if most >= limit:
        assert size == limit
    elif most >= 1:
        assert size <= most < size + max(1, size // 8) + 1
    else:
        assert size == 0


UNIT = 33 << 20
"""Bytes that a sequence takes here: above 32 MiB glibc gives freed memory back at once, so that growth can be seen."""


def units(count):
    return torch.ones(count * UNIT, dtype=torch.uint8)


def free_units(monkeypatch, count):
    monkeypatch.setattr(autobatch, "available_memory", lambda device: int(count * UNIT / autobatch.SHARE))


def test_main_memory_is_measured_and_never_overrun(monkeypatch):
    """Memory for 12 sequences: nothing that needs more than that may ever be tried."""
    free_units(monkeypatch, 12)
    tried = []
    found = largest_batch(lambda size: tried.append(size) or units(size), device=CPU, limit=1024)
    assert max(tried) <= 14  # a peak of 1 ms can fall between two looks of the thread, 2 ms apart
    assert 6 <= found.size <= 14
    assert "not fit into 396" in found.reason  # tried, or known before: the clock of the thread decides
    assert found.size == max(size for size in found.tried if size <= found.size)


def test_the_state_of_the_optimizer_is_kept_free(monkeypatch):
    free_units(monkeypatch, 12)
    assert largest_batch(units, device=CPU, reserve=8 * UNIT).size <= 5
    with pytest.raises(ConfigError, match="not even one sequence fits"):
        largest_batch(units, device=CPU, reserve=15 * UNIT)


def test_the_limit_and_slow_steps_end_the_search(monkeypatch):
    assert largest_batch(lambda size: None, device=CPU, limit=8).reason == "batch size 8: the limit (tried 1, 2, 4, 8)"
    seconds = iter(range(0, 1000, 6))  # every step seems to take 6 seconds
    monkeypatch.setattr(autobatch.time, "perf_counter", lambda: next(seconds))
    found = largest_batch(lambda size: None, device=CPU)
    assert (found.size, found.reason) == (
        1, "batch size 1: a step of a larger one takes longer than 10 s (tried 1, 2)"
    )  # fmt: skip


def test_running_out_of_gpu_memory_is_caught(monkeypatch):
    def step(size):
        if size > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert search_largest(autobatch._OnGPU(step))[0] == 20


def test_the_tries_leave_no_trace():
    streams = Streams(1)
    model = TinyModel(streams["initialisation"], dropout=0.5)
    model.register_buffer("count", torch.zeros(()))
    model.register_forward_hook(lambda module, args, output: module.count.add_(1) and None)
    model.norm.weight.grad = torch.ones(8)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = streams.state()
    step = training_step(model, lambda size: next(Windows(size)), streams, CPU)
    step(4)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(state, random[name]) for name, state in streams.state().items())
    assert model.norm.weight.grad.tolist() == [1] * 8
    assert model.embedding.weight.grad is None


def test_sizes():
    assert optimizer_bytes(TinyModel()) == 2 * 4 * (11 * 8 + 2 * (8 * 8 + 8) + 2 * 8)
    with peak_resident() as peak:
        block = torch.ones(64 * 2**20, dtype=torch.uint8)
    before_and_block = peak.bytes
    del block
    with peak_resident() as peak:
        pass
    assert before_and_block - peak.bytes > 50 * 2**20
