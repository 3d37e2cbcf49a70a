"""Memory of a training step, against sizes computed on paper."""

import doctest
import xml.etree.ElementTree as ET

import pytest
import torch

from heed.benches import training_memory as memory
from heed.benches.training_memory import Memory, measure_all, measure_memory
from heed.config import make_config
from heed.report import memory_figure

CPU = torch.device("cpu")
TINY = {
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 8, "context": 16, "bias": False, "positions": "none"},
    "tokenizer": {"kind": "char", "vocab_size": 10},
    "train": {"batch_size": 2, "precision": "fp32"},
}
# embedding 10 x 8 (tied with the head); q, k, v, output 4 x 8 x 8; feed-forward 2 x 8 x 32; gains of three norms 3 x 8
PARAMETERS = 80 + 256 + 512 + 24
TENSORS = 1 + 4 + 2 + 3


def config(**train):
    return make_config({**TINY, "train": {**TINY["train"], **train}})


def test_examples():
    assert doctest.testmod(memory_figure).failed == 0


@pytest.mark.parametrize(
    ("optimizer", "state"),
    # Adam keeps mean, square and a float32 count a tensor; momentum one tensor; plain gradient descent nothing
    [("sgd", 0), ("momentum", 4 * PARAMETERS), ("adamw", 8 * PARAMETERS)],
)
def test_weights_gradients_and_optimizer_as_on_paper(optimizer, state):
    found = measure_memory(config(optimizer=optimizer), CPU)
    assert found.problem == ""
    assert found.weights == found.all_gradients == 4 * PARAMETERS
    assert 0 <= found.gradients <= found.all_gradients  # at the moment of the peak
    counts = found.optimizer - state
    # q, k and v may be one tensor or three
    assert counts in ({4 * (TENSORS - 2), 4 * TENSORS} if optimizer == "adamw" else {0})
    assert found.total == found.weights + found.gradients + found.optimizer + found.activations


def test_activations_grow_with_the_tokens():
    few, many = measure_all(config(optimizer="sgd"), CPU, [32, 16], [16])
    assert (few.batch_size, many.batch_size) == (16, 32)
    # gradients are small beside them here, and each sequence keeps the same
    assert many.activations == pytest.approx(2 * few.activations, rel=0.1)
    # the residual stream alone: 16 x 16 tokens x 8 x 4 bytes
    assert few.activations > 16 * 16 * 8 * 4


def test_out_of_memory_is_an_answer(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(memory, "prepare", full)
    assert measure_memory(config(), CPU).problem == "does not fit"


def test_a_step_that_may_not_fit_is_not_tried_on_a_cpu(monkeypatch):
    monkeypatch.setattr(memory, "measure_memory", lambda changed, device: Memory(1, 16, 1, 1, 1, 100))
    monkeypatch.setattr(memory, "available_memory", lambda device: 1000)
    found = measure_all(config(), CPU, [1, 2, 100], [16])
    assert [bool(memory.problem) for memory in found] == [False, False, True]
    assert "may need" in found[2].problem


def test_the_figure_holds_every_part(tmp_path):
    row = {"batch_size": 8, "context": 128, "weights": 100, "gradients": 100, "optimizer": 200, "activations": 600,
           "total": 1000, "problem": ""}  # fmt: skip
    failed = {**dict.fromkeys(row, 0), "batch_size": 64, "context": 128, "problem": "does not fit"}
    svg = memory_figure.draw_memory([row, failed], "measured").decode()
    ET.fromstring(svg)
    for words in ("activations take 60 % of 1000 B", "does not fit", "64 × 128", "optimizer"):
        assert words in svg
    assert memory_figure.draw_memory([row], "measured", "png").startswith(b"\x89PNG")
    assert memory_figure.memory_sentence([failed]) == "No step fits into memory"
