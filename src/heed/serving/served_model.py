"""A model that is served, with its name and its tokenizer."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.text.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A causal language model under the name that requests call it by."""

    name: str
    model: LanguageModel
    tokenizer: Tokenizer
    created: int = field(default_factory=lambda: int(time.time()))
    """When it was opened, in seconds since 1970."""

    @property
    def context(self) -> int:
        """Tokens that the model reads at most."""
        return self.model.context


def open_served(source: str, *, name: str | None = None, checkpoint: str = "best", device: str = "auto") -> ServedModel:
    """Open a run folder to be served. Raises `ConfigError` for a model that cannot write, and as `load_run` does."""
    from heed.training.devices import choose_device
    from heed.training.run import load_run

    which = int(checkpoint) if checkpoint.isdecimal() else checkpoint
    model, tokenizer, _ = load_run(source, which, choose_device(device))
    if not model.causal:
        raise ConfigError(f"{source} is an encoder, which cannot write: take a run of model.kind gpt")
    return ServedModel(name or name_of(source), model, tokenizer)


def name_of(source: str) -> str:
    """Return the name that a model is served under.

    >>> name_of("runs/my model/")
    'my-model'
    """
    return re.sub(r"[^\w.:/-]+", "-", Path(source).resolve().name) or "model"
