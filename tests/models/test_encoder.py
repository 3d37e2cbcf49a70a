"""The encoder: padding that changes nothing, order that matters, its two losses by hand, and what it refuses."""

import math

import pytest
import torch

from heed.attention import MECHANISMS
from heed.build import build_model
from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.generation.generate import generate
from heed.models.encoder import Encoder
from heed.models.hub import export_hub
from heed.text.tokenizers.characters import Characters

V = 11
SMALL = {"kind": "encoder", "n_layers": 2, "n_heads": 2, "d_model": 8, "context": 8}


def encoder(classes=None, **settings) -> Encoder:
    model = build_model(ModelConfig(**(SMALL | settings)), V, torch.Generator().manual_seed(3), classes)
    assert isinstance(model, Encoder)
    return model.double().eval()


def padded(rows: list[list[int]], length: int, pad_id: int) -> torch.Tensor:
    return torch.tensor([row + [pad_id] * (length - len(row)) for row in rows])


@pytest.mark.parametrize("norm_order", ["pre", "post"])
@pytest.mark.parametrize("positions", ["learned", "rotary", "alibi", "none"])
def test_a_padded_batch_equals_each_row_alone(positions, norm_order):
    rows = [[1, 2, 3, 4, 5], [6], [7, 8, 9]]
    for classes in (None, 3):
        model = encoder(classes, positions=positions, norm_order=norm_order)
        together = model(padded(rows, 7, model.pad_id))
        for row, logits in zip(rows, together, strict=True):
            alone = model(torch.tensor([row]))[0]
            ours = logits if classes else logits[: len(row)]
            torch.testing.assert_close(ours, alone, rtol=0, atol=1e-12)  # float64: sums in another order


@pytest.mark.parametrize("name", sorted(MECHANISMS.keys() - {"naive-mask"}))  # that one masks too late, on purpose
def test_padding_changes_nothing_whatever_the_mechanism(name):
    facts = MECHANISMS[name].facts
    if "padding" not in facts.masks:
        with pytest.raises(ConfigError):
            encoder(2, attention={"mechanism": name}, positions=sorted(facts.positions)[0])
        return
    model = encoder(2, attention={"mechanism": name}, positions=sorted(facts.positions)[0])
    rows = [[1, 2, 3, 4, 5], [7, 8, 9]]
    together = model(padded(rows, 8, model.pad_id))
    alone = torch.cat([model(torch.tensor([row])) for row in rows])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-9)  # inverses and exponentials in some of them
    together.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_what_stands_in_the_padded_row_is_never_looked_at():
    model = encoder(2)
    ids = padded([[1, 2, 3], [4, 5, 6, 7]], 6, model.pad_id)
    before = model(ids)
    with torch.no_grad():
        model.tokens.weight[model.pad_id] = 1e3
    assert torch.equal(model(ids), before)


def test_both_sides_and_their_order_matter():
    model = encoder()
    ids = torch.tensor([[1, 2, 3, 4]])
    later = model(torch.tensor([[1, 2, 3, 9]]))
    assert (model(ids)[0, 0] - later[0, 0]).abs().max() > 1e-6  # the first token sees the last
    assert (model(ids)[0, 0] - model(torch.tensor([[1, 3, 2, 4]]))[0, 0]).abs().max() > 1e-9
    lost = encoder(2, positions="none")  # a bag of words
    torch.testing.assert_close(lost(ids), lost(torch.tensor([[1, 3, 2, 4]])), rtol=0, atol=1e-12)


@pytest.mark.parametrize("tied", [True, False])
def test_the_loss_of_hidden_tokens_is_the_one_written_out(tied):
    model = encoder(tied=tied)
    source = torch.tensor([[1, model.mask_id, 3], [4, 5, model.mask_id]])
    target = torch.tensor([[1, 2, 3], [4, 5, 6]])
    mask = source == model.mask_id
    logits = model(source)
    assert logits.shape == (2, 3, V)  # neither [MASK] nor [PAD] can be answered
    by_hand = [-logits[0, 1].log_softmax(0)[2].item(), -logits[1, 2].log_softmax(0)[6].item()]
    assert model.loss(source, target, mask).item() == pytest.approx(sum(by_hand) / 2, abs=1e-12)
    assert model.loss(source, target, mask, "sum").item() == pytest.approx(sum(by_hand), abs=1e-12)
    each = model.loss(source, target, mask, "none")
    assert each.tolist() == [[0, pytest.approx(by_hand[0]), 0], [0, 0, pytest.approx(by_hand[1])]]


def test_the_loss_of_classes_is_the_one_written_out():
    model = encoder(3)
    source, target = padded([[1, 2, 3], [4]], 3, model.pad_id), torch.tensor([2, 0])
    hidden = model.hidden(source)
    assert model.classifier is not None
    logits = model.classifier(torch.stack([hidden[0].mean(0), hidden[1, 0]]))  # the mean over real tokens
    torch.testing.assert_close(model(source), logits, rtol=0, atol=1e-12)
    by_hand = [-logits[0].log_softmax(0)[2].item(), -logits[1].log_softmax(0)[0].item()]
    # the loss is computed in float32, as everywhere: 7 digits
    assert model.loss(source, target).item() == pytest.approx(sum(by_hand) / 2, rel=1e-6)
    assert model.loss(source, target, torch.tensor([True, False])).item() == pytest.approx(by_hand[0], rel=1e-6)


def test_a_fresh_model_knows_nothing():
    assert encoder().loss(torch.tensor([[1, 2]]), torch.tensor([[1, 2]])).item() == pytest.approx(math.log(V), rel=0.05)


def test_gradients_reach_every_parameter():
    for classes in (None, 2):
        model = encoder(classes).train()
        source = torch.tensor([[1, model.mask_id, 3]])
        target = torch.tensor([1]) if classes else torch.tensor([[1, 2, 3]])
        model.loss(source, target, None if classes else source == model.mask_id).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            if not name.endswith("qkv.bias"):  # a bias of keys moves all scores alike
                assert parameter.grad.abs().sum() > 0, name


def test_parameters_and_operations_by_hand():
    D, H = 8, 32
    block = 3 * D * D + 3 * D + D * D + D + 2 * D * H + H + D + 4 * D
    model = encoder(2)
    assert model.parameter_count() == (V + 2) * D + 8 * D + 2 * block + 2 * D + 2 * D + 2
    assert model.flops_per_token() == 6 * 2 * (4 * D * D + 2 * D * H) + 3 * 2 * 4 * D * 8
    assert encoder().flops_per_token() == model.flops_per_token() + 6 * V * D


def test_what_an_encoder_cannot_do_is_said(tmp_path):
    model = encoder()
    with pytest.raises(ConfigError, match="9 tokens is longer than the model's context of 8"):
        model(torch.ones(1, 9, dtype=torch.int64))
    with pytest.raises(ConfigError, match="cannot write text"):
        model.new_cache(1, 8)
    with pytest.raises(ConfigError, match="cannot write text"):
        generate(model, Characters("ab"), ["a"], max_tokens=1)
    with pytest.raises(ConfigError, match=r"only a model.kind gpt is exported"):
        export_hub(model, model.config, None, tmp_path)
    with pytest.raises(ConfigError, match="two classes or more"):
        encoder(1)
