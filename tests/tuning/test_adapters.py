"""Adapters in the files of peft: what plain peft makes of them, back again, merged, pushed, damaged."""

import itertools
import json
import shutil

import peft
import pytest
import torch
from test_methods import HEADS, LAYERS, P, disturb, make
from tiny_encoders import D, load_tiny, texts

from heed.errors import CheckpointError, ConfigError
from heed.tuning.adapters import load_adapter, merge, save_adapter

METHODS = ("prompt", "prefix", "lora", "dora", "ia3", "lora+bitfit")
POSSIBLE = [
    *itertools.product(("bert-base-uncased", "roberta-base"), METHODS),
    *itertools.product(("distilbert-base-uncased", "deberta-v2"), ("prompt", "lora")),
    *itertools.product(("gpt2",), ("prefix", "lora", "ia3")),
]
PLAIN = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 of transformers 5.23
WITHOUT_TYPES = ("prompt", "prefix")
"""Where plain peft drops the token types of pairs."""


def logits(tuned, source):
    with torch.no_grad():
        return tuned.eval()(source)


def single(encoder, **options):
    """Texts that are no pairs."""
    source = texts(encoder, **options)
    source[:, 1].clamp_(max=1)
    return source


def plain_inputs(source, *, types):
    inputs = {"input_ids": source[:, 0], "attention_mask": (source[:, 1] > 0).long()}
    return inputs | ({"token_type_ids": (source[:, 1] - 1).clamp(min=0)} if types else {})


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_saved_and_loaded(tiny, tmp_path, method, native):
    tuned, encoder, _ = make(tiny("bert-base-uncased"), method, native=native)
    disturb(tuned)
    source = texts(encoder)
    wanted = logits(tuned, source)
    folder = save_adapter(tuned, tmp_path / "adapter")
    names = {"adapter_config.json", "adapter_model.safetensors"} | (set() if native else {"head.safetensors"})
    assert {file.name for file in folder.iterdir()} == names
    again, _, _ = make(tiny("bert-base-uncased"), method, native=native, seed=5)
    assert not torch.allclose(logits(again, source), wanted)
    load_adapter(again, folder)
    assert torch.equal(logits(again, source), wanted)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, tuned.state_dict()[name]), name


@PLAIN
@pytest.mark.parametrize(("name", "method"), POSSIBLE)
def test_plain_peft_gives_the_same_logits(tiny, tmp_path, name, method):
    """The architecture's own head is in the adapter; plain peft needs nothing else, and the padding is in the test."""
    tuned, encoder, _ = make(tiny(name), method, native=True, classes=3)
    disturb(tuned)
    source = texts(encoder)
    folder = save_adapter(tuned, tmp_path)
    plain = peft.AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=3).eval()
    plain.config.pad_token_id = encoder.pad_id
    with torch.no_grad():
        found = plain(**plain_inputs(source, types=encoder.segments)).logits
    torch.testing.assert_close(found, logits(tuned, source), atol=1e-5, rtol=0)


@PLAIN
@pytest.mark.parametrize("method", METHODS)
def test_plain_peft_gives_the_same_states(tiny, tmp_path, method):
    tuned, encoder, _ = make(tiny("bert-base-uncased"), method)
    disturb(tuned)
    source = single(encoder) if method in WITHOUT_TYPES else texts(encoder)
    folder = save_adapter(tuned, tmp_path)
    plain = peft.AutoPeftModelForFeatureExtraction.from_pretrained(folder).eval()
    with torch.no_grad():
        inputs = plain_inputs(source, types=method not in WITHOUT_TYPES)
        found = plain(**inputs).last_hidden_state[:, tuned.skipped :]
        real = source[:, 1] > 0
        torch.testing.assert_close(found[real], tuned.eval().hidden(source)[real], atol=1e-5, rtol=0)


def test_what_the_files_say(tiny, tmp_path):
    tuned, _, _ = make(tiny("bert-base-uncased"), "lora")
    tuned.name = "minilm"
    config = json.loads((save_adapter(tuned, tmp_path) / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert (config["peft_type"], config["r"], config["task_type"]) == ("LORA", 2, "FEATURE_EXTRACTION")
    assert sorted(config["target_modules"]) == ["query", "value"]
    tuned.name = "hf:some/encoder"
    text = (save_adapter(tuned, tmp_path) / "adapter_config.json").read_text()
    assert json.loads(text)["base_model_name_or_path"] == "some/encoder"
    assert str(tiny("bert-base-uncased")) not in text  # no path of this machine


def test_own_heads_are_modules_that_peft_trains_whole(tiny, tmp_path):
    for name, modules in (
        ("distilbert-base-uncased", ["pre_classifier", "classifier"]),
        ("deberta-v2", ["pooler", "classifier"]),
        ("gpt2", ["score"]),
    ):
        folder = save_adapter(make(tiny(name), "lora", native=True)[0], tmp_path / name)
        config = json.loads((folder / "adapter_config.json").read_text())
        assert (config["modules_to_save"], config["task_type"]) == (modules, "SEQ_CLS")


@PLAIN
def test_ia3_of_many_layers_is_read_by_plain_peft(tiny, tmp_path):
    """The targets of ia3 are whole names, 24 here, and the attention's own output is none of them."""
    from transformers import BertConfig, BertModel

    folder = shutil.copytree(tiny("bert-base-uncased"), tmp_path / "deep")
    sizes = {"num_hidden_layers": 8, "hidden_size": D, "num_attention_heads": HEADS, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=40, max_position_embeddings=20, **sizes)).save_pretrained(folder)
    tuned, encoder, _ = make(folder, "ia3")
    disturb(tuned)
    source = single(encoder, padded=False)
    plain = peft.AutoPeftModelForFeatureExtraction.from_pretrained(save_adapter(tuned, tmp_path / "adapter")).eval()
    with torch.no_grad():
        found = plain(input_ids=source[:, 0]).last_hidden_state
        torch.testing.assert_close(found, tuned.eval().hidden(source), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["bert-base-uncased", "gpt2", "modernbert"])
@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_merged_is_unmerged(tiny, name, method):
    tuned, encoder, _ = make(tiny(name), method)
    disturb(tuned)
    source = texts(encoder)
    wanted = logits(tuned, source)
    merged = merge(tuned)
    torch.testing.assert_close(logits(merged, source), wanted, atol=1e-5, rtol=0)
    assert not any("lora" in label or "ia3" in label for label, _ in merged.named_parameters())
    assert merged.state_dict().keys() == {f"backbone.{k}" for k in encoder_names(tiny(name))} | {
        "head.weight",
        "head.bias",
    }
    assert torch.equal(logits(tuned, source), wanted)  # the one that was given is as it was


def encoder_names(place):
    return dict(load_tiny(place).model.named_parameters()).keys()


def test_merged_under_its_own_head_is_a_model_of_transformers(tiny, tmp_path):
    from transformers import AutoModelForSequenceClassification

    tuned, encoder, _ = make(tiny("roberta-base"), "lora+bitfit", native=True, classes=3)
    disturb(tuned)
    source = texts(encoder)
    merge(tuned).backbone.save_pretrained(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        found = plain(**plain_inputs(source, types=False)).logits
    torch.testing.assert_close(found, logits(tuned, source), atol=1e-5, rtol=0)


def test_merging_what_has_no_adapter_changes_nothing(tiny):
    tuned, encoder, _ = make(tiny("bert-base-uncased"), "bitfit")
    assert torch.equal(logits(merge(tuned), texts(encoder)), logits(tuned, texts(encoder)))


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_trained_tokens_cannot_be_merged(tiny, method):
    with pytest.raises(ConfigError, match="cannot be merged into the encoder: keep them as an adapter"):
        merge(make(tiny("bert-base-uncased"), method)[0])


@pytest.mark.parametrize("method", ["full", "head", "bitfit"])
def test_methods_without_an_adapter_say_so(tiny, tmp_path, method):
    with pytest.raises(ConfigError, match="this method has no adapter"):
        save_adapter(make(tiny("bert-base-uncased"), method)[0], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_damage_and_strangers(tiny, tmp_path):
    tuned, _, _ = make(tiny("bert-base-uncased"), "lora")
    whole = save_adapter(tuned, tmp_path / "whole")
    before = {name: tensor.clone() for name, tensor in tuned.state_dict().items()}

    def refused(match, file=None, content=None, *, into=tuned):
        folder = shutil.copytree(whole, tmp_path / "broken", dirs_exist_ok=True)
        if file is not None and content is None:
            (folder / file).unlink()
        elif file is not None:
            (folder / file).write_bytes(content((folder / file).read_bytes()))
        with pytest.raises(CheckpointError, match=match) as error:
            load_adapter(into, folder)
        assert "\n" not in str(error.value)
        shutil.rmtree(folder)

    refused("holds no adapter", "adapter_config.json")
    refused("cannot be read", "adapter_config.json", lambda text: text[:40])
    refused("must hold a JSON object", "adapter_config.json", lambda text: b"[]")
    refused("cut off or no safetensors", "adapter_model.safetensors", lambda text: text[:-20])
    refused("cut off or no safetensors", "head.safetensors", lambda text: text[:30])
    refused("lacks head.safetensors", "head.safetensors")
    refused("lacks adapter_model.safetensors", "adapter_model.safetensors")
    refused("lora_alpha 16.0, and here it is 4.0", into=make(tiny("bert-base-uncased"), "lora", alpha=4.0)[0])
    refused("r 2, and here it is 3", into=make(tiny("bert-base-uncased"), "lora", rank=3)[0])
    refused("use_dora False, and here it is True", into=make(tiny("bert-base-uncased"), "dora")[0])
    refused("peft_type 'LORA', and here it is 'IA3'", into=make(tiny("bert-base-uncased"), "ia3")[0])
    refused("does not fit this encoder", into=make(tiny("bert-base-uncased"), "lora", targets=("key",))[0])
    refused("does not fit this encoder", into=make(tiny("bert-large-cased"), "lora")[0])
    refused("does not fit this encoder", into=make(tiny("bert-base-uncased"), "lora", classes=3)[0])
    refused("does not fit this encoder", into=make(tiny("bert-base-uncased"), "lora+bitfit")[0])
    for name, tensor in tuned.state_dict().items():
        assert torch.equal(tensor, before[name]), name  # nothing was half loaded


def test_an_adapter_of_another_encoder(tiny, tmp_path):
    tuned, _, _ = make(tiny("bert-base-uncased"), "prefix")
    tuned.name = "bert-base-uncased"
    folder = save_adapter(tuned, tmp_path)
    tuned.name = "bert-base-cased"
    with pytest.raises(
        CheckpointError, match="was trained on bert-base-uncased, and the encoder here is bert-base-cased"
    ):
        load_adapter(tuned, folder)
    tuned.name = str(tiny("bert-base-uncased"))  # the same one, brought as a folder
    load_adapter(tuned, folder)


def test_shapes_of_a_prefix(tiny, tmp_path):
    from safetensors.torch import load_file

    tuned, _, _ = make(tiny("bert-base-uncased"), "prefix")
    saved = load_file(save_adapter(tuned, tmp_path) / "adapter_model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in saved.items()} == {"prompt_embeddings": (P, 2 * LAYERS * D)}
