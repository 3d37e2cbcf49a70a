"""The model that a configuration describes."""

from __future__ import annotations

import torch

from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.models import MODELS, Encoder, LanguageModel
from heed.models.block import make_attention


def build_model(
    config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None, classes: int | None = None
) -> LanguageModel:
    """Return the model that `config` describes, on the CPU, its weights drawn from `generator` (default: seed 0).

    `classes` is the number of classes for an encoder of labelled texts. Raises `ConfigError` that names every part
    which does not go with the others.
    """
    try:
        if config.kind == "encoder":
            return Encoder(config, vocab_size, generator, classes)
        model = MODELS[config.kind](config, vocab_size, generator)
    except RuntimeError as error:
        if not is_too_large(error):
            raise
        raise ConfigError("the model has more parameters than there is memory for: make it smaller") from error
    if config.freeze_embeddings:
        model.get_parameter("tokens.weight").requires_grad_(False)
    if config.freeze_positions:
        model.get_parameter("positions.weight").requires_grad_(False)
    return model


def is_too_large(error: Exception) -> bool:
    """Whether torch found more asked for than there is memory for."""
    return any(words in str(error) for words in ("allocate memory", "Storage size calculation overflowed"))


def check_attention(config: ModelConfig) -> None:
    """Raise `ConfigError` with all that does not go together in a model's attention layers, of which it builds one."""
    if config.kind not in ("gpt", "encoder"):
        return
    try:
        make_attention(config, causal=config.kind == "gpt")
    except RuntimeError as error:
        if not is_too_large(error):
            raise
        raise ConfigError(
            f"attention {config.attention.mechanism!r} at model.context {config.context} has more parameters than there"
            " is memory for: shorten the context, or choose another model.attention.mechanism"
        ) from error
