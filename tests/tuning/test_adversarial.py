"""Adversarial training: a step learns from words that are moved against it."""

import pytest
import torch
from small import make_config, make_plan, read_tune, write_table
from torch import nn

from heed.studies.tune import tune
from heed.studies.tune_plan import open_labelled_splits
from heed.training.step import Updater
from heed.training.streams import Streams
from heed.tuning.adversarial import Adversary
from heed.tuning.tuned_run import Material, build

BERT, GPT2 = "bert-base-uncased", "gpt2"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("texts") / "films.csv", 40)


def quiet(line):
    """Say nothing."""


class Words(nn.Module):
    """Three words of two numbers, a loss that is no quadratic one, and an adversary."""

    def __init__(self, strength):
        super().__init__()
        torch.manual_seed(1)
        self.words = nn.Embedding(3, 2, dtype=torch.float64)
        self.out = nn.Linear(2, 1, dtype=torch.float64)
        self.adversary = Adversary(self.words, strength)

    def loss(self, ids):
        return self.of(self.words(ids))

    def of(self, vectors):
        return torch.tanh(self.out(vectors)).pow(2).sum()


@pytest.mark.parametrize("learning", [True, False])
def test_the_gradient_is_that_at_the_moved_words(learning):
    model, ids = Words(0.3), torch.tensor([[0, 1], [2, 2]])
    model.words.weight.requires_grad_(learning)
    loss = model.adversary.loss(lambda: model.loss(ids))
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert ("words.weight" in found) == learning

    vectors = model.words.weight[ids].detach().requires_grad_()
    (g,) = torch.autograd.grad(model.of(vectors), vectors)
    r = 0.3 * 2**0.5 * g.float() / g.float().norm()
    assert r.pow(2).flatten(1).sum(1).mean().sqrt().item() == pytest.approx(0.3)
    model.zero_grad()
    moved = model.of(model.words.weight[ids] + r)
    assert moved.item() == pytest.approx(loss.item(), rel=1e-6)  # the shift is float32
    assert loss.item() > 1.1 * model.loss(ids).item()
    moved.backward()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, dict(model.named_parameters())[name].grad, rtol=1e-6, atol=1e-7)


def test_a_gradient_of_nothing_moves_nothing():
    model = Words(0.3)
    nn.init.zeros_(model.out.weight)
    ids = torch.tensor([[0, 1]])
    assert model.adversary.loss(lambda: model.loss(ids)).item() == model.loss(ids).item()


@pytest.mark.parametrize("method", ["mean-full", "lora", "prefix", "prompt", "head", "bitfit", "full"])
def test_every_method_learns_at_the_moved_words(table, tiny, method):
    found = {}
    for strength in (0.0, 0.5):
        config = make_config(table, tiny(BERT), method={"name": method, "tokens": 4}, adversarial=strength)
        splits = open_labelled_splits(config)
        tuned, encoder, _ = build(config, splits.target)
        material = Material.of(splits, encoder, 16)
        material.compute(config, tuned)
        batch = material.encoded["train"].batch(torch.arange(8).numpy())
        source = torch.from_numpy(material.features["train"][:8] if method == "head" else batch.source)
        tuned.eval()
        tuned.training = True  # without dropout, and yet in training
        tuned.dropout = 0
        loss = tuned.loss(source, torch.from_numpy(batch.target))
        loss.backward()
        assert all(p.grad is None for p in tuned.parameters() if not p.requires_grad)
        tuned.eval()
        clean = tuned.loss(source, torch.from_numpy(batch.target)).item()  # nothing is moved where nothing learns
        found[strength] = loss.item(), clean, {name: p.grad for name, p in tuned.trained().items()}
    assert found[0.0][0] == pytest.approx(found[0.0][1]) == pytest.approx(found[0.5][1])
    assert found[0.5][0] > 1.001 * found[0.5][1]
    assert all(gradient is not None for gradient in found[0.5][2].values())
    assert any(gradient.any() for gradient in found[0.5][2].values())


def test_in_bfloat16_both_passes_are(table, tiny):
    config = make_config(table, tiny(BERT), method={"name": "mean-full"}, train={"precision": "bf16"}, adversarial=0.2)
    splits = open_labelled_splits(config)
    tuned, encoder, _ = build(config, splits.target)
    seen = []
    tuned.backbone.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    updater = Updater(tuned.train(), config.train, torch.device("cpu"), Streams(1), quiet)
    updater.update(1, [Material.of(splits, encoder, 16).encoded["train"].batch(torch.arange(8).numpy())])
    assert seen == [True, True]


def test_a_tune_with_it(tmp_path, table, tiny):
    for strength in (0.0, 0.5):
        plan = make_plan(table, tiny(BERT), "mean-full", "head", memory=True, sections={"adversarial": strength})
        assert tune(plan, tmp_path / str(strength), quiet)
    records = [read_tune(tmp_path / str(strength)) for strength in (0.0, 0.5)]
    assert records[1]["settings"]["adversarial"] == 0.5
    for one, other in zip(*(record["arms"] for record in records), strict=True):
        assert one["runs"][0]["validation"]["loss"] != other["runs"][0]["validation"]["loss"]
        assert other["memory"]["activations"] <= 1.2 * one["memory"]["activations"] + 100_000
