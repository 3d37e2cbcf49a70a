"""transformers as the judge: the same logits in both directions, and a reason wherever a model is refused."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from heed.build import build_model
from heed.config import AttentionConfig, ModelConfig
from heed.errors import CheckpointError, ConfigError
from heed.models.hub import export_hub, from_hub, hub_folder, load_hub

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 5, 8, 9, 7]])
ENDS = {"bos_token_id": 0, "eos_token_id": 0}


def gpt2(**more):
    shape = {"vocab_size": 11, "n_positions": 9, "n_embd": 12, "n_layer": 2, "n_head": 3}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**(shape | ENDS | more)))


def llama(**more):
    shape = {"vocab_size": 11, "max_position_embeddings": 9, "hidden_size": 16, "intermediate_size": 20}
    shape |= {"num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**(shape | ENDS | more)))


def gpt1(**more):
    shape = {"vocab_size": 11, "n_positions": 9, "n_embd": 12, "n_layer": 2, "n_head": 3}
    return transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**(shape | more)))


THEIRS = {
    "gpt2": lambda: gpt2(initializer_range=0.3),
    "gpt2 untied, other width and activation": lambda: gpt2(
        tie_word_embeddings=False, n_inner=20, activation_function="gelu", layer_norm_epsilon=1e-3
    ),
    "llama": lambda: llama(),
    "llama grouped and tied": lambda: llama(num_key_value_heads=2, tie_word_embeddings=True),
    "llama with biases and another base": lambda: llama(
        attention_bias=True, mlp_bias=True, rope_parameters={"rope_type": "default", "rope_theta": 50.0}
    ),
    "gpt1": lambda: gpt1(initializer_range=0.3),
}

OURS = {
    "gpt2": {"activation": "gelu-tanh"},
    "heed's default": {},
    "without biases, as nanoGPT": {"bias": False, "activation": "relu2", "d_hidden": 24},
    "without positions, untied": {"positions": "none", "tied": False},
    "llama": {"norm": "rms", "positions": "rotary", "activation": "swiglu", "bias": False, "tied": False},
    "llama grouped, tied, biases": {
        "norm": "rms", "positions": "rotary", "activation": "swiglu", "n_kv_heads": 2, "rotary_base": 77.0,
    },
    "gpt1": {"norm_order": "post", "activation": "gelu-tanh"},
}  # fmt: skip


def randomise(model):
    """Biases and norms too: a mix-up must show."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.eval()


def assert_same(ours, theirs):
    with torch.no_grad():
        # float32 through two layers; the logits are of size 1 to 30
        torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", THEIRS)
def test_a_model_of_transformers_gives_the_same_logits_here(name, tmp_path):
    torch.manual_seed(0)
    theirs = randomise(THEIRS[name]())
    theirs.save_pretrained(tmp_path)
    ours, config = load_hub(tmp_path)
    assert_same(ours, theirs)
    assert (config.n_layers, ours.vocab_size, ours.context) == (2, 11, 9)


@pytest.mark.parametrize("name", OURS)
def test_a_model_of_heed_gives_the_same_logits_there_and_comes_back(name, tmp_path):
    torch.manual_seed(0)
    config = ModelConfig(n_layers=2, n_heads=4, d_model=16, context=9, **OURS[name])
    ours = randomise(build_model(config, 11))
    export_hub(ours, config, None, tmp_path / "out")
    theirs, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    assert_same(ours, theirs)
    back, _ = load_hub(tmp_path / "out")
    assert_same(back, theirs)


def test_gpt2_names_its_context_as_converters_ask_for_it(tmp_path):
    """llama.cpp's converter reads n_ctx alone."""
    config = ModelConfig(n_layers=1, n_heads=2, d_model=8, context=9, activation="gelu-tanh")
    export_hub(build_model(config, 11), config, None, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["model_type"], written["n_ctx"], written["n_positions"]) == ("gpt2", 9, 9)


def test_shards_and_old_names_without_prefix_are_read(tmp_path):
    theirs = randomise(gpt2())
    theirs.save_pretrained(tmp_path, max_shard_size="3KB")
    assert not (tmp_path / "model.safetensors").exists()
    assert_same(load_hub(tmp_path)[0], theirs)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    whole = {}
    for shard in set(index["weight_map"].values()):
        whole |= load_file(tmp_path / shard)
    # as the first GPT-2 files on the hub are written: no prefix, and the mask saved as a weight
    old = {name.removeprefix("transformer."): weight for name, weight in whole.items()}
    old["h.0.attn.bias"] = torch.ones(1, 1, 9, 9)
    save_file(old, tmp_path / "model.safetensors")
    assert_same(load_hub(tmp_path)[0], theirs)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / min(index["weight_map"].values())).unlink()
    with pytest.raises(CheckpointError, match="which its index names"):
        load_hub(tmp_path)


def test_half_precision_becomes_float32(tmp_path):
    gpt2().half().save_pretrained(tmp_path)
    assert {weight.dtype for weight in from_hub(tmp_path)[1].values()} == {torch.float32}


@pytest.mark.parametrize(
    ("make", "change", "reason"),
    [
        (gpt2, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        (gpt2, {"scale_attn_weights": False}, "scale_attn_weights is False"),
        (gpt2, {"activation_function": "mish"}, "activation_function is 'mish'"),
        (gpt2, {"quantization_config": {"bits": 4}}, "quantised"),
        (gpt2, {"model_type": "mamba"}, "type 'mamba'; heed reads gpt2, llama, openai-gpt"),
        (gpt2, {"n_head": 5}, "5 heads do not divide"),
        (gpt1, {"afn": "silu"}, "afn is 'silu'"),
        (llama, {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "rope_type is 'llama3'"),
        (llama, {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": None}, "rope_type is 'linear'"),
        (llama, {"attention_bias": True}, "attention_bias and mlp_bias differ"),
        (llama, {"head_dim": 8}, "head_dim is 8"),
        (llama, {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ],
)
def test_what_heed_cannot_compute_is_refused(make, change, reason, tmp_path):
    make().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ConfigError, match=reason):
        load_hub(tmp_path)


@pytest.mark.parametrize(
    ("settings", "reasons"),
    [
        ({"qk_norm": True}, ["GPT2LMHeadModel: qk_norm is True"]),
        ({"n_kv_heads": 2}, ["no grouped key/value heads"]),
        ({"positions": "rotary"}, ["norm is 'layer', and it has 'rms' only", "activation is 'gelu'"]),
        ({"norm_order": "post"}, ["OpenAIGPTLMHeadModel: activation is 'gelu'"]),
        ({"norm_order": "post", "activation": "relu", "d_hidden": 20}, ["always 4 d_model"]),
        *[
            ({"positions": positions}, [f"GPT2LMHeadModel: positions is '{positions}', and it knows 'learned' only"])
            for positions in ("sinusoidal", "alibi", "relative")
        ],
        (
            {"norm": "rms", "activation": "swiglu", "positions": "alibi", "attention": AttentionConfig(score="cosine")},
            ["LlamaForCausalLM: positions is 'alibi'", "attention.score is 'cosine', and it has 'scaled-dot' only"],
        ),
        (
            {"attention": AttentionConfig(mechanism="argmax", score="dot", projection="shared-qk")},
            ["attention.mechanism is 'argmax'", "attention.score is 'dot'", "attention.projection is 'shared-qk'"],
        ),
    ],
)
def test_what_transformers_cannot_express_is_refused_with_every_reason(settings, reasons, tmp_path):
    config = ModelConfig(n_layers=1, n_heads=4, d_model=16, context=9, **settings)
    with pytest.raises(ConfigError) as raised:
        export_hub(build_model(config, 11), config, None, tmp_path / "out")
    assert len(raised.value.problems) == len(reasons)
    for reason, problem in zip(reasons, raised.value.problems, strict=True):
        assert reason in problem
    assert not (tmp_path / "out").exists()


def test_pickled_weights_are_never_opened(tmp_path):
    gpt2().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="can run code"):
        load_hub(tmp_path)


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    theirs = gpt2()
    theirs.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")

    def refuses(changed, reason):
        save_file(changed, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(CheckpointError, match=reason):
            load_hub(tmp_path)

    refuses({name: w for name, w in weights.items() if "ln_f" not in name}, "lacks 2 weights, ln_f.bias")
    refuses(weights | {"transformer.h.0.extra": torch.ones(1)}, "a gpt2 lacks: h.0.extra")
    refuses(weights | {"lm_head.weight": torch.zeros(11, 12)}, "the weights of the two differ")
    refuses(weights | {"transformer.wpe.weight": torch.zeros(5, 12)}, r"\(5, 12\) where config.json asks for \(9, 12\)")
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="fetch it again"):
        load_hub(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        load_hub(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="type None"):
        load_hub(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(CheckpointError, match="not a complete gpt2"):
        load_hub(tmp_path)


def test_no_folder_and_no_network_are_one_line_errors(tmp_path):
    with pytest.raises(CheckpointError, match="is written hf:NAME"):
        hub_folder(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="cannot fetch hf:heed-test/no-such-model"):  # HF_HUB_OFFLINE is set
        hub_folder("hf:heed-test/no-such-model")
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_hub(tmp_path)


@pytest.mark.parametrize("kind", ["bpe", "char", "word"])
def test_the_exported_folder_loads_with_its_tokenizer_and_generates(kind, tmp_path):
    from heed.text.tokenizers import load_tokenizer, train_tokenizer

    text = "the cat sat on the mat. the cat ate the rat."
    tokenizer = train_tokenizer(kind, [text], 300 if kind == "bpe" else 40)
    tokenizer.save(tmp_path / "tokenizer.json")
    config = ModelConfig(n_layers=1, n_heads=2, d_model=8, context=32)
    model = build_model(config, tokenizer.vocab_size).eval()
    folder = export_hub(model, config, tmp_path / "tokenizer.json", tmp_path / "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    pieces = transformers.AutoTokenizer.from_pretrained(folder)
    ids = pieces("the cat sat")["input_ids"]
    assert ids == tokenizer.encode("the cat sat")
    assert pieces.decode(ids).strip() == tokenizer.decode(ids).strip()  # words: the first space differs
    assert pieces.eos_token_id == tokenizer.end_id == theirs.config.eos_token_id
    assert pieces.model_max_length == 32
    mask = torch.ones(1, len(ids), dtype=torch.long)
    made = theirs.generate(torch.tensor([ids]), attention_mask=mask, max_new_tokens=4, do_sample=False)
    expected = torch.tensor([ids])
    for _ in range(made.shape[1] - len(ids)):
        expected = torch.cat([expected, model(expected)[:, -1:].argmax(-1)], 1)
    assert torch.equal(made, expected)
    assert load_tokenizer(folder).hash == tokenizer.hash


def llama_tokenizer(file, template="<s> $A"):
    """A tokenizer.json as Llama's: byte-level, and a post-processor that puts <s> before a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    names = ["<unk>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    rust = Tokenizer(models.BPE({name: id for id, name in enumerate(names)}, []))
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    rust.add_special_tokens(names[:3])
    rust.post_processor = processors.TemplateProcessing(template, special_tokens=[("<s>", 1), ("</s>", 2)])
    rust.save(str(file))


LLAMA = {"norm": "rms", "positions": "rotary", "activation": "swiglu", "bias": False}


@pytest.mark.parametrize(
    ("template", "start"), [("<s> $A", (1,)), ("<s> $A </s>", (1,)), ("$A </s>", ()), ("</s> $A", (2,))]
)
def test_the_tokens_before_a_text_are_those_of_the_post_processor(template, start, tmp_path):
    from heed.text.tokenizers import load_tokenizer

    llama_tokenizer(tmp_path / "tokenizer.json", template)
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.kind, tokenizer.start_ids, tokenizer.end_id) == ("foreign", start, 2)
    assert len(tokenizer.encode("the")) == 3


def test_a_llama_keeps_its_first_token_in_generation_and_export(tmp_path):
    from heed.generation import Sampling, generate
    from heed.text.tokenizers import load_tokenizer

    llama_tokenizer(tmp_path / "tokenizer.json")
    tokenizer = load_tokenizer(tmp_path)
    config = ModelConfig(n_layers=1, n_heads=2, d_model=8, context=32, **LLAMA)
    torch.manual_seed(0)
    model = randomise(build_model(config, tokenizer.vocab_size))
    folder = export_hub(model, config, tmp_path, tmp_path / "out")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    pieces = transformers.AutoTokenizer.from_pretrained(folder)
    assert (pieces.bos_token_id, theirs.config.bos_token_id, theirs.generation_config.bos_token_id) == (1, 1, 1)
    assert (pieces.eos_token_id, theirs.config.eos_token_id) == (2, 2)
    made = theirs.generate(**pieces("the", return_tensors="pt"), max_new_tokens=6, do_sample=False)[0].tolist()
    [[answer]] = generate(model, tokenizer, ["the"], Sampling(temperature=0), max_tokens=6)
    assert made == [1, *tokenizer.encode("the"), *answer.ids] + [2] * (answer.finish_reason == "end")


@pytest.mark.parametrize(("settings", "bos"), [({}, 0), (LLAMA, None)])
def test_without_a_first_token_of_its_own_a_gpt_begins_with_the_end_token_and_a_llama_with_nothing(
    settings, bos, tmp_path
):
    from heed.text.tokenizers import train_tokenizer

    tokenizer = train_tokenizer("bpe", ["the cat sat on the mat"], 260)
    tokenizer.save(tmp_path / "tokenizer.json")
    config = ModelConfig(n_layers=1, n_heads=2, d_model=8, context=32, **settings)
    folder = export_hub(build_model(config, tokenizer.vocab_size), config, tmp_path, tmp_path / "out")
    for name in ("config.json", "generation_config.json"):
        assert json.loads((folder / name).read_text())["bos_token_id"] == bos
    assert transformers.AutoConfig.from_pretrained(folder).bos_token_id == bos
    assert transformers.AutoTokenizer.from_pretrained(folder).bos_token_id == bos


def test_the_merges_come_along_from_the_hub(monkeypatch, tmp_path):
    """A tokenizer of two files, vocab.json and merges.txt, is whole only with both."""

    class Hub:
        @staticmethod
        def snapshot_download(name, allow_patterns):
            assert (name, "merges.txt" in allow_patterns) == ("openai/gpt2", True)
            assert not any(pattern.endswith((".bin", "*")) for pattern in allow_patterns)
            return tmp_path

    monkeypatch.setattr("heed.models.hub.require", lambda package, extra: Hub)
    assert hub_folder("hf:openai/gpt2") == tmp_path
