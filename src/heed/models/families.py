"""The architectures of Hugging Face `transformers` that a heed GPT can be, and how their names answer to each other.

    architecture               norm, order    positions         feed-forward
    GPT2LMHeadModel            layer, pre     learned, none     gelu, gelu-tanh, relu, relu2
    LlamaForCausalLM           rms, pre       rotary            swiglu
    OpenAIGPTLMHeadModel       layer, post    learned, none     gelu-tanh, relu

Only what both compute exactly alike is let through. GPT-2 and GPT-1 get zeros for biases or
positions that heed is without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from heed.config import ModelConfig, make_config
from heed.models.feedforward import default_width
from heed.models.hub_keys import LLAMA_KEYS, OPENAI_KEYS, count, refuse_raw, rotary_base

Names = dict[str, tuple[str, ...]]
"""heed's name of each weight, and the weights of transformers that it is made of, one on top of the other."""


@dataclass(frozen=True)
class Family:
    """One architecture of transformers: its settings and weights in heed's terms, and back."""

    architecture: str
    model_type: str
    prefix: str
    """What some folders put before the names of the weights, and others leave out."""
    read: Callable[[Mapping[str, Any]], ModelConfig]
    """config.json to heed's settings; raises `ConfigError` with everything that cannot be honoured."""
    write: Callable[[ModelConfig], dict[str, Any]]
    """heed's settings to those of config.json."""
    refuse: Callable[[ModelConfig], list[str]]
    """What the architecture cannot express of these settings, a line each."""
    names: Callable[[ModelConfig], Names]
    """Which weights are which."""
    transposed: tuple[str, ...] = ()
    """Endings of weights that are stored (in, out), as GPT-2's `Conv1D` does."""


GPT2_ACTIVATIONS = {
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "gelu": "gelu",
    "relu": "relu",
    "relu2": "relu2",
}
"""transformers' name to heed's; written back by the first that fits."""

GPT1_ACTIVATIONS = {"gelu": "gelu-tanh", "relu": "relu"}
"""In OpenAIGPT "gelu" is the tanh approximation."""


def _read_gpt2(raw: Mapping[str, Any]) -> ModelConfig:
    refused = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False}
    refuse_raw(raw, OPENAI_KEYS, refused, {"activation_function": GPT2_ACTIVATIONS})
    return _make(raw, _openai_settings(raw), activation=GPT2_ACTIVATIONS[raw.get("activation_function", "gelu_new")])


def _write_gpt2(config: ModelConfig) -> dict[str, Any]:
    return _openai_keys(config) | {
        "activation_function": _key_of(GPT2_ACTIVATIONS, config.activation),
        "n_inner": config.d_hidden,
    }


def _refuse_gpt2(config: ModelConfig) -> list[str]:
    return [*_refuse_openai(config, GPT2_ACTIVATIONS.values()), *_unless(config, norm_order="pre")]


def _read_gpt1(raw: Mapping[str, Any]) -> ModelConfig:
    refuse_raw(raw, OPENAI_KEYS, {}, {"afn": GPT1_ACTIVATIONS})
    return _make(raw, _openai_settings(raw), activation=GPT1_ACTIVATIONS[raw.get("afn", "gelu")], norm_order="post")


def _write_gpt1(config: ModelConfig) -> dict[str, Any]:
    return _openai_keys(config) | {"afn": _key_of(GPT1_ACTIVATIONS, config.activation)}


def _refuse_gpt1(config: ModelConfig) -> list[str]:
    problems = [*_refuse_openai(config, GPT1_ACTIVATIONS.values()), *_unless(config, norm_order="post")]
    if config.d_hidden not in (None, 4 * config.d_model):
        problems.append(f"its d_hidden is always 4 d_model, not {config.d_hidden}")
    return problems


def _openai_settings(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return what GPT-1 and GPT-2 write alike. heed has one dropout; of transformers' three it takes the residuals'."""
    return {
        "n_layers": raw["n_layer"],
        "n_heads": raw["n_head"],
        "d_model": raw["n_embd"],
        "d_hidden": raw.get("n_inner"),
        "context": raw["n_positions"],
        "norm_epsilon": raw.get("layer_norm_epsilon", 1e-5),
        "dropout": raw.get("resid_pdrop", 0.1),
        "tied": raw.get("tie_word_embeddings", True),
    }


def _openai_keys(config: ModelConfig) -> dict[str, Any]:
    """Return the settings of `config` by the keys that GPT-1 and GPT-2 share."""
    dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), config.dropout)
    return dropouts | {
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_embd": config.d_model,
        "n_positions": config.context,
        "n_ctx": config.context,
        "layer_norm_epsilon": config.norm_epsilon,
    }


def _refuse_openai(config: ModelConfig, activations: Iterable[str]) -> list[str]:
    problems = _unless(config, norm="layer", qk_norm=False)
    if config.positions not in ("learned", "none"):
        problems.append(f"positions is {config.positions!r}, and it knows 'learned' only")
    if config.activation not in activations:
        problems.append(f"activation is {config.activation!r}, and it knows {', '.join(sorted(set(activations)))}")
    if config.n_kv_heads not in (None, config.n_heads):
        problems.append(f"it has no grouped key/value heads (n_kv_heads is {config.n_kv_heads})")
    return [*problems, *_refuse_attention(config)]


def _openai_names(config: ModelConfig, tokens: str, positions: str) -> Names:
    """Return the names of GPT-1 and GPT-2, which differ in the embeddings and in the last norm."""
    parts = {
        "attention_norm": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "feedforward_norm": "ln_2",
        "feedforward.up": "mlp.c_fc",
        "feedforward.down": "mlp.c_proj",
    }
    names: Names = {"tokens.weight": (tokens,), "positions.weight": (positions,)}
    for layer in range(config.n_layers):
        for ours, theirs in parts.items():
            for kind in ("weight", "bias"):
                names[f"blocks.{layer}.{ours}.{kind}"] = (f"h.{layer}.{theirs}.{kind}",)
    if config.norm_order == "pre":
        names |= {"norm.weight": ("ln_f.weight",), "norm.bias": ("ln_f.bias",)}
    return names if config.tied else names | {"head.weight": ("lm_head.weight",)}


def _read_llama(raw: Mapping[str, Any]) -> ModelConfig:
    heads, size = (count(raw, key) for key in ("num_attention_heads", "hidden_size"))
    base, problems = rotary_base(raw)
    width = size // heads if raw.get("head_dim") is None else raw["head_dim"]
    if width * heads != size:
        problems.append(f"head_dim is {width}, and heed's is hidden_size / num_attention_heads")
    bias = raw.get("attention_bias", False)
    if raw.get("mlp_bias", False) != bias:
        problems.append("attention_bias and mlp_bias differ, and heed has biases everywhere or nowhere")
    refuse_raw(raw, LLAMA_KEYS, {}, {"hidden_act": {"silu": "swiglu"}}, problems)
    settings = {
        "n_layers": raw["num_hidden_layers"],
        "n_heads": heads,
        "n_kv_heads": raw.get("num_key_value_heads"),
        "d_model": size,
        "d_hidden": raw["intermediate_size"],
        "context": raw["max_position_embeddings"],
        "norm_epsilon": raw.get("rms_norm_eps", 1e-6),
        "rotary_base": base,
        "tied": raw.get("tie_word_embeddings", False),
        "bias": bias,
    }
    return _make(raw, settings, norm="rms", positions="rotary", activation="swiglu")


def _write_llama(config: ModelConfig) -> dict[str, Any]:
    return {
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads or config.n_heads,
        "head_dim": config.d_model // config.n_heads,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_hidden or default_width(config.d_model, config.activation),
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_epsilon,
        "hidden_act": "silu",
        "rope_theta": config.rotary_base,  # where transformers 4, vLLM and llama.cpp look for it
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rotary_base},
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
    }


def _refuse_llama(config: ModelConfig) -> list[str]:
    fixed = {"norm": "rms", "norm_order": "pre", "positions": "rotary", "activation": "swiglu", "qk_norm": False}
    return [*_unless(config, **fixed), *_refuse_attention(config)]


def _llama_names(config: ModelConfig) -> Names:
    joined = {
        "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attention.out": ("self_attn.o_proj",),
        "feedforward.up": ("mlp.gate_proj", "mlp.up_proj"),
        "feedforward.down": ("mlp.down_proj",),
    }
    names: Names = {"tokens.weight": ("embed_tokens.weight",), "norm.weight": ("norm.weight",)}
    for layer in range(config.n_layers):
        ours, theirs = f"blocks.{layer}.", f"layers.{layer}."
        names[ours + "attention_norm.weight"] = (theirs + "input_layernorm.weight",)
        names[ours + "feedforward_norm.weight"] = (theirs + "post_attention_layernorm.weight",)
        for name, parts in joined.items():
            for kind in ("weight", "bias") if config.bias else ("weight",):
                names[f"{ours}{name}.{kind}"] = tuple(f"{theirs}{part}.{kind}" for part in parts)
    return names if config.tied else names | {"head.weight": ("lm_head.weight",)}


def _make(raw: Mapping[str, Any], settings: Mapping[str, Any], **fixed: Any) -> ModelConfig:
    """Return the settings as a `ModelConfig`, checked."""
    return make_config({"model": {**settings, **fixed, "init_std": raw.get("initializer_range", 0.02)}}).model


def _unless(config: ModelConfig, **wanted: Any) -> list[str]:
    """Return a line for each setting that is not what the architecture always has."""
    return [
        f"{key} is {getattr(config, key)!r}, and it has {value!r} only"
        for key, value in wanted.items()
        if getattr(config, key) != value
    ]


def _refuse_attention(config: ModelConfig) -> list[str]:
    """Return a line for each part of the attention that is not the plain one, which all of them have."""
    plain = {"mechanism": "softmax", "score": "scaled-dot", "projection": "separate"}
    return [
        f"attention.{key} is {getattr(config.attention, key)!r}, and it has {value!r} only"
        for key, value in plain.items()
        if getattr(config.attention, key) != value
    ]


def _key_of(table: Mapping[str, str], value: str) -> str:
    return next(key for key, entry in table.items() if entry == value)


CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")

FAMILIES: dict[str, Family] = {
    "gpt2": Family(
        architecture="GPT2LMHeadModel",
        model_type="gpt2",
        prefix="transformer.",
        read=_read_gpt2,
        write=_write_gpt2,
        refuse=_refuse_gpt2,
        names=lambda config: _openai_names(config, "wte.weight", "wpe.weight"),
        transposed=CONV1D,
    ),
    "llama": Family(
        architecture="LlamaForCausalLM",
        model_type="llama",
        prefix="model.",
        read=_read_llama,
        write=_write_llama,
        refuse=_refuse_llama,
        names=_llama_names,
    ),
    "openai-gpt": Family(
        architecture="OpenAIGPTLMHeadModel",
        model_type="openai-gpt",
        prefix="transformer.",
        read=_read_gpt1,
        write=_write_gpt1,
        refuse=_refuse_gpt1,
        names=lambda config: _openai_names(config, "tokens_embed.weight", "positions_embed.weight"),
        transposed=CONV1D,
    ),
}
"""Architectures by the `model_type` of config.json."""


def nearest_family(config: ModelConfig) -> Family:
    """Return the architecture that is nearest to these settings."""
    if config.norm == "rms" or config.positions == "rotary" or config.activation == "swiglu":
        return FAMILIES["llama"]
    return FAMILIES["gpt2" if config.norm_order == "pre" else "openai-gpt"]
