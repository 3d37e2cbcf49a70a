"""What stands in the config.json of `transformers`: each key is honoured, known to change no logit, or refused by name.

A key that nobody here has heard of may change what the model computes (`sliding_window` did, in Llama folders, as soon
as texts were generated), so that is refused too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from heed.errors import ConfigError

OPENAI_KEYS = (
    "n_layer", "n_head", "n_embd", "n_inner", "n_positions", "n_ctx", "layer_norm_epsilon", "afn",
    "activation_function", "resid_pdrop", "embd_pdrop", "attn_pdrop",
)  # fmt: skip
LLAMA_KEYS = (
    "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size", "intermediate_size",
    "max_position_embeddings", "rms_norm_eps", "hidden_act", "rope_theta", "rope_parameters", "rope_scaling",
    "attention_bias", "mlp_bias", "attention_dropout", "pretraining_tp",
)  # fmt: skip
HARMLESS = (
    "architectures", "model_type", "vocab_size", "initializer_range", "tie_word_embeddings", "quantization_config",
    "dtype", "torch_dtype", "transformers_version", "auto_map", "use_cache", "bos_token_id", "eos_token_id",
    "pad_token_id", "sep_token_id", "decoder_start_token_id", "tokenizer_class", "prefix", "finetuning_task",
    "task_specific_params", "problem_type", "id2label", "label2id", "num_labels", "return_dict", "torchscript",
    "output_attentions", "output_hidden_states", "output_past", "gradient_checkpointing", "reorder_and_upcast_attn",
    "chunk_size_feed_forward", "use_bfloat16", "predict_special_tokens", "is_decoder", "tie_encoder_decoder",
    "cross_attention_hidden_size", "do_sample", "temperature", "top_k", "top_p", "typical_p", "max_length",
    "min_length", "num_beams", "num_beam_groups", "num_return_sequences", "repetition_penalty", "length_penalty",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "diversity_penalty", "early_stopping",
    "output_scores", "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens",
    "begin_suppress_tokens", "exponential_decay_length_penalty", "remove_invalid_values", "tf_legacy_loss",
)  # fmt: skip
"""Keys of config.json that no logit depends on, or that are checked elsewhere."""
FIXED = {
    "add_cross_attention": False, "is_encoder_decoder": False, "pruned_heads": {}, "sliding_window": None,
    "use_sliding_window": False, "attention_chunk_size": None, "partial_rotary_factor": 1.0,
}  # fmt: skip
"""Keys that heed reads with one value only."""


def rotary_base(raw: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return the base of Llama's rotary positions, and a line for each thing in which they are not plain ones."""
    found = {key: raw[key] for key in ("rope_parameters", "rope_scaling") if raw.get(key)}
    bases = [raw["rope_theta"]] if "rope_theta" in raw else []
    problems: list[str] = []
    for key, rope in found.items():
        if not isinstance(rope, Mapping):
            problems.append(f"{key} is {rope!r:.40}, and no mapping of settings")
            continue
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            problems.append(f"rope_type is {kind!r}, and heed's rotary positions are not rescaled")
            continue
        odd = {name for name in rope if name not in ("rope_type", "type", "rope_theta", "partial_rotary_factor")}
        problems += [f"{key} has {name!r}, and heed's rotary positions are plain ones" for name in sorted(odd)]
        if rope.get("partial_rotary_factor", 1.0) != 1.0:
            problems.append(f"partial_rotary_factor is {rope['partial_rotary_factor']!r}, and heed turns all of a head")
        bases += [rope["rope_theta"]] if "rope_theta" in rope else []
    if any(base != bases[0] for base in bases):
        problems.append(f"rope_theta is {bases[0]!r} and {bases[-1]!r}: which is meant cannot be told")
    return (bases[0] if bases else 10_000.0), problems


def count(raw: Mapping[str, Any], key: str) -> int:
    """Return a number of parts. Raises `ConfigError` where it is none, `KeyError` where it is missing."""
    if type(raw[key]) is not int or raw[key] < 1:
        raise ConfigError(f"cannot import this {raw.get('model_type')}: {key} is {raw[key]!r:.40}, no number of parts")
    return raw[key]


def refuse_raw(
    raw: Mapping[str, Any],
    keys: Iterable[str],
    required: Mapping[str, Any],
    choices: Mapping[str, Mapping[str, str]],
    problems: Iterable[str] = (),
) -> None:
    """Raise `ConfigError` with `problems` and every key of config.json that has another value than heed computes.

    `keys` are those that the family has beside those of all. One that is none of these may change what is computed.
    """
    every = list(problems)
    required = {**FIXED, **required}
    for key, value in required.items():
        if key in raw and raw[key] != value and (value or raw[key] is not None):  # null is as good as false
            every.append(f"{key} is {raw[key]!r}, and heed computes {value!r} only")
    known = {*keys, *HARMLESS, *required, *choices}
    every += [
        f"{key} is {value!r:.40}, which heed does not know: take it out where no figure depends on it"
        for key, value in raw.items()
        if key not in known and value is not None and not key.startswith(("_", "summary_"))
    ]
    for key, known in choices.items():
        if str(raw.get(key, next(iter(known)))) not in known:
            every.append(f"{key} is {raw[key]!r}, and heed computes {', '.join(known)}")
    if raw.get("quantization_config"):
        every.append("the weights are quantised: save them in full precision first")
    if every:
        raise ConfigError(*(f"cannot import this {raw.get('model_type')}: {problem}" for problem in every))
