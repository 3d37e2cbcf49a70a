"""A causal model that heed can't compute itself, run by the code of `transformers`.

What is `hidden` elsewhere are logits here already, since some architectures change them after the output matrix. Rows
that are read together must be of one length: `transformers` keeps the cache.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heed.attention import Cache
from heed.errors import CheckpointError, ConfigError, require
from heed.models.base import LanguageModel
from heed.models.hub import refuse_shards_outside

LONGEST = 2048
"""The context of a model whose configuration names none, such as one with a recurrent state."""


class TransformersModel(LanguageModel):
    """A causal model of `transformers`, in evaluation mode."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        settings = inner.config.get_text_config()
        self.vocab_size = int(settings.vocab_size)
        self.context = int(getattr(settings, "max_position_embeddings", None) or LONGEST)

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Return the logits (B, T, V) of ids (B, T) int64; see `LanguageModel.hidden` for the cache."""
        if ids.shape[1] + (0 if cache is None else cache.used) > self.context:
            raise ConfigError(f"{ids.shape[1]} more tokens do not fit into the model's context of {self.context}")
        if cache is None:
            return self.inner(input_ids=ids, use_cache=False).logits
        assert isinstance(cache, TransformersCache)
        cache.room_for(ids.shape[1])
        result = self.inner(input_ids=ids, past_key_values=cache.past, use_cache=True)
        cache.past, cache.count = result.past_key_values, cache.count + ids.shape[1]
        return result.logits

    def logits(self, hidden: Tensor) -> Tensor:
        """Return what is given: logits they are already."""
        return hidden

    @property
    def head_weight(self) -> Tensor:
        """The output matrix (V, D)."""
        return self.inner.get_output_embeddings().weight

    @property
    def caches(self) -> bool:
        """Whether its own code takes keys and values of the past."""
        return "past_key_values" in inspect.signature(self.inner.forward).parameters

    def new_cache(self, batch: int, length: int, start: Tensor | None = None) -> Cache:
        """Return an empty cache for rows of up to `length` tokens, without padding."""
        if start is not None:
            raise ConfigError("rows of a transformers model are read together where they are of one length only")
        return TransformersCache(length)

    def flops_per_token(self) -> int:
        """Return 6 operations for each weight, attention aside."""
        return 6 * self.parameter_count()


class TransformersCache(Cache):
    """What `transformers` keeps of the past of rows of one length."""

    def __init__(self, length: int) -> None:
        super().__init__([], length)
        self.past: Any = None
        self.count = 0

    @property
    def used(self) -> int:
        """Number of positions that are filled."""
        return self.count

    def keep(self, rows: Tensor) -> None:
        """Keep the given rows."""
        self.past.batch_select_indices(rows)


def load_transformers(folder: Path, device: torch.device) -> TransformersModel:
    """Load the causal model in a folder, in float32 on a CPU and as it was saved elsewhere.

    No code of the folder is run, and no pickle is read. Raises `CheckpointError` where `transformers` can't load it.
    """
    transformers = require("transformers", "hf")
    refuse_shards_outside(folder)
    dtype = torch.float32 if device.type == "cpu" else "auto"
    try:
        inner = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # whatever transformers, its files or its classes say
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{folder} holds no causal model that transformers can load: {first:.300}") from error
    return TransformersModel(inner.to(device).eval())
