"""Folders of transformers models with broken parts: each is refused in one line, or read as what it says."""

import json
import random
import shutil
import struct
from collections import Counter

import pytest
import torch

from cli.damaging import cut, cut_out, flip, zero
from heed.config import make_config
from heed.errors import HeedError
from heed.models.gpt import GPT
from heed.models.hub import export_hub, load_hub
from heed.models.hub_keys import HARMLESS
from heed.text.tokenizers import load_tokenizer, train_tokenizer

FAMILIES = {
    "gpt2": {},
    "openai-gpt": {"norm_order": "post", "activation": "relu"},
    "llama": {
        "norm": "rms", "positions": "rotary", "activation": "swiglu", "n_kv_heads": 1, "d_hidden": 24, "bias": False,
    },
}  # fmt: skip
ODD = [
    None, 0, -1, 1, 3, 10**30, 1.5, float("nan"), float("inf"), "x", "", [], [1], {}, {"a": 1}, True, False, "default",
]  # fmt: skip
UNREAD = ("resid_pdrop", "embd_pdrop", "attn_pdrop", "attention_dropout", "n_ctx", "pretraining_tp")
"""Keys besides `HARMLESS` that do not change what a model in evaluation mode computes."""
MORE = {
    "sliding_window": 4, "attention_chunk_size": 8, "layer_types": ["sliding_attention"], "partial_rotary_factor": 0.5,
    "rope_scaling": {"rope_type": "linear", "factor": 2.0}, "attention_bias": True, "mlp_bias": True, "head_dim": 4,
    "scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False, "add_cross_attention": True,
    "pruned_heads": {"0": [1]}, "logit_scale": 0.5, "final_logit_softcapping": 30.0, "hidden_act": "gelu",
    "activation_function": "silu", "afn": "swish", "quantization_config": {"bits": 4},
}  # fmt: skip
"""What would be computed otherwise, whatever heed knows of it."""


def folder_of(place, family):
    torch.manual_seed(0)
    sizes = {"n_layers": 2, "n_heads": 2, "d_model": 16, "context": 12}
    config = make_config({"model": sizes | FAMILIES[family]}).model
    tokenizer = train_tokenizer("word", ["the cat sees a dog\nthe dog sees"], 40)
    tokenizer.save(place / "tokenizer.json")
    return export_hub(GPT(config, tokenizer.vocab_size), config, place / "tokenizer.json", place / family)


def attempt(read, folder):
    """Return what is read, or None where it is refused in one line."""
    try:
        return read(folder)
    except HeedError as error:
        said = str(error)
    assert "\n" not in said, said
    assert str(folder) in said, said
    return None


def write(folder, name, content):
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_with_every_value(tmp_path, family):
    folder, counts = folder_of(tmp_path, family), Counter()
    raw = json.loads((folder / "config.json").read_text())
    model, whole = load_hub(folder)
    ids = (torch.arange(8) % 5)[None]
    expected = model(ids)
    for key in [*raw, "unheard_of"]:
        for value in ["deleted", *ODD]:
            changed = {**raw, key: value} if value != "deleted" else {k: v for k, v in raw.items() if k != key}
            write(folder, "config.json", changed)
            found = attempt(load_hub, folder)
            counts["refused" if found is None else "read"] += 1
            if found is None or key in (*HARMLESS, *UNREAD) or changed.get(key) == raw.get(key):
                continue
            honoured = found[1] != whole  # as another model, which is what the folder says
            assert honoured or torch.equal(found[0](ids), expected), (key, value)
            assert honoured or value == "deleted" or not value, (key, value)
    for key, value in MORE.items():
        other = key in ("activation_function", "afn", "hidden_act") and key not in raw
        if not other and raw.get(key) != value:
            write(folder, "config.json", {**raw, key: value})
            found = attempt(load_hub, folder)
            assert found is None or found[1] != whole, key
            counts["refused" if found is None else "read"] += 1
    print(family, dict(counts))
    assert counts.total() > 250


def test_a_sliding_window_is_refused(tmp_path):
    folder = folder_of(tmp_path, "llama")
    raw = json.loads((folder / "config.json").read_text())
    write(folder, "config.json", {**raw, "sliding_window": 4})
    with pytest.raises(HeedError, match=r"config.json: .*sliding_window is 4, and heed computes None only"):
        load_hub(folder)
    write(folder, "config.json", {**raw, "sliding_window": None})
    load_hub(folder)
    write(folder, "config.json", {**raw, "num_attention_heads": None})
    with pytest.raises(HeedError, match=r"num_attention_heads is None, no number of parts"):
        load_hub(folder)


@pytest.mark.slow
def test_damaged_weights_and_tokenizers(tmp_path):
    folder, counts = folder_of(tmp_path, "gpt2"), Counter()
    whole = {name: (folder / name).read_bytes() for name in ("model.safetensors", "tokenizer.json", "config.json")}
    ids = (torch.arange(8) % 5)[None]
    expected, text = load_hub(folder)[0](ids), load_tokenizer(folder).encode("the cat sees a dog\n")
    length = struct.unpack("<Q", whole["model.safetensors"][:8])[0]
    headers = [
        b"", b"\0" * 8, struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 10**15), struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", length) + b"[" * length, whole["model.safetensors"][: 8 + length],
        struct.pack("<Q", 4) + b"null",
    ]  # fmt: skip
    for header in headers:
        (folder / "model.safetensors").write_bytes(header)
        assert attempt(load_hub, folder) is None
    draw = random.Random(13)
    for _ in range(400):
        name = draw.choice(list(whole))
        damaged = draw.choice([flip, cut, cut_out, zero])(whole[name], draw)
        (folder / name).write_bytes(damaged)
        found, tokenizer = attempt(load_hub, folder), attempt(load_tokenizer, folder)
        if name == "model.safetensors":
            assert (
                found is None or damaged[: 8 + length] != whole[name][: 8 + length] or len(damaged) == len(whole[name])
            )
        if tokenizer is not None:  # it must be usable, whatever it says
            attempt(lambda _, one=tokenizer: one.decode(one.encode("the cat sees a dog\n")), "")
        counts[f"{name}: {'refused' if found is None or tokenizer is None else 'read'}"] += 1
        (folder / name).write_bytes(whole[name])
    assert torch.equal(load_hub(folder)[0](ids), expected)
    assert load_tokenizer(folder).encode("the cat sees a dog\n") == text
    print(dict(counts))


GAPS = {
    "a gap": {"<unk>": 0, "<eos>": 1, "the": 2, "cat": 5},
    "twice": {"<unk>": 0, "<eos>": 1, "the": 2, "cat": 2},
    "below 0": {"<unk>": 0, "<eos>": 1, "the": -2},
    "huge": {"<unk>": 0, "<eos>": 1, "the": 10**30},
    "larger than memory": {"<unk>": 0, "<eos>": 1, "the": 2**32 - 1},
    "words": {"<unk>": 0, "<eos>": 1, "the": "x"},
    "null": {"<unk>": 0, "<eos>": 1, "the": None},
    "empty": {},
}


@pytest.mark.parametrize("how", GAPS)
def test_vocabularies_with_gaps(tmp_path, how):
    folder_of(tmp_path, "gpt2")
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    data["model"]["vocab"] = GAPS[how]
    write(tmp_path, "tokenizer.json", data)
    tokenizer = attempt(load_tokenizer, tmp_path / "tokenizer.json")
    if tokenizer is not None:
        ids = attempt(lambda _: tokenizer.encode("the cat"), "")
        assert ids is None or max(ids) < tokenizer.vocab_size


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_an_exported_tokenizer_decodes_as_heed_does(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    texts = ["the cat sees\na dog . <unk>\n", "été 日本 it 's new\n\n and\u3000x\ty\n", "a  b\x1cc\nthe cat\n"]
    tokenizer = train_tokenizer(kind, texts, 320)
    tokenizer.save(tmp_path / "tokenizer.json")
    config = make_config({"model": {"n_layers": 1, "n_heads": 2, "d_model": 8, "context": 8}}).model
    export_hub(GPT(config, tokenizer.vocab_size), config, tmp_path / "tokenizer.json", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    draw = random.Random(0)
    for ids in [
        *map(tokenizer.encode, texts),
        *([n] for n in range(tokenizer.vocab_size)),
        list(range(tokenizer.vocab_size)),
    ]:
        draw.shuffle(ids)
        assert theirs.decode(ids, skip_special_tokens=False) == tokenizer.decode(ids)
    again = load_tokenizer(tmp_path / "out")
    assert (again.kind, again.hash) == (kind, tokenizer.hash)
    shutil.rmtree(tmp_path / "out")
