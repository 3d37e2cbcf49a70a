"""Blocks that are computed again in the backward pass: the same bits, in less memory."""

import pytest
import torch

from heed.benches.training_memory import measure_memory
from heed.build import build_model
from heed.config import Config, make_config
from heed.errors import ConfigError
from heed.text.batches import Batch
from heed.training.step import Updater
from heed.training.streams import Streams

SIZES = {"n_layers": 3, "n_heads": 2, "d_model": 16, "context": 12, "dropout": 0.3}


def updated(recompute: bool, precision: str = "fp32", **model) -> dict[str, torch.Tensor]:
    """The weights after three updates."""
    plan = {"recompute": recompute, "precision": precision, "steps": 3}
    config = make_config({"model": {**SIZES, **model}, "train": plan})
    torch.manual_seed(5)
    net = build_model(config.model, 30).train()
    updater = Updater(net, config.train, torch.device("cpu"), Streams(1), print)
    for step in (1, 2, 3):
        ids = torch.randint(0, 30, (4, 12), generator=torch.Generator().manual_seed(step)).numpy()
        mask = ids > 5 if model.get("kind") == "encoder" else None
        updater.update(step, [Batch(ids, (ids + 1) % 30, mask)])
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize(
    "model",
    [
        {}, {"kind": "encoder"}, {"norm_order": "post", "activation": "gelu-tanh"},
        {"positions": "rotary", "n_kv_heads": 1, "qk_norm": True}, {"positions": "alibi"},
        *({"attention": {"mechanism": name}} for name in ("performer", "bigbird", "aft-full", "sliding-window")),
    ],
)  # fmt: skip
def test_the_same_bits(model):
    plain, again = updated(False, **model), updated(True, **model)
    assert plain.keys() == again.keys()
    for name, tensor in plain.items():
        assert torch.equal(tensor, again[name]), name


@pytest.mark.parametrize("model", [{}, {"kind": "encoder", "norm": "rms"}, {"norm_order": "post", "qk_norm": True}])
def test_the_same_bits_in_bfloat16(model):
    plain, again, whole = updated(False, "bf16", **model), updated(True, "bf16", **model), updated(False, **model)
    for name, tensor in plain.items():
        assert torch.equal(tensor, again[name]), name
    assert any(not torch.equal(tensor, whole[name]) for name, tensor in plain.items())


def test_the_activations_of_one_block():
    def activations(recompute: bool, layers: int) -> int:
        model = {"n_layers": layers, "d_model": 64, "context": 128}
        train = {"batch_size": 4, "recompute": recompute}
        config = make_config({"model": model, "tokenizer": {"vocab_size": 300}, "train": train})
        return measure_memory(config, torch.device("cpu")).activations

    (few, many), (few_again, many_again) = ([activations(way, layers) for layers in (2, 8)] for way in (False, True))
    assert many_again - few_again < 0.1 * (many - few)  # the inputs of six blocks alone
    assert many_again < 0.4 * many


def test_models_without_blocks_are_refused():
    with pytest.raises(ConfigError, match=r"train\.recompute: is for models of blocks, and model\.kind lstm"):
        make_config({"model": {"kind": "lstm"}, "train": {"recompute": True}})
    assert Config().train.recompute is False
