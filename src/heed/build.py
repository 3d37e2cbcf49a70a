"""Names in a configuration become objects, here and nowhere else."""

from __future__ import annotations

import torch

from heed.config import ModelConfig
from heed.models import MODELS, LanguageModel


def build_model(config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None) -> LanguageModel:
    """Return the model that `config` describes, on the CPU, its weights drawn from `generator` (default: seed 0).

    Raises `ConfigError` that names every part which does not go with the others.
    """
    return MODELS[config.kind](config, vocab_size, generator)
