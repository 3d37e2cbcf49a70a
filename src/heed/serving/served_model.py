"""A model that is served, with its name, its tokenizer, and its way to chat.

runs/NAME            a run of heed
FOLDER or hf:NAME    a causal model of transformers: as heed's own where it can be, else by the code of transformers
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from heed.config import read_yaml
from heed.errors import CheckpointError, ConfigError
from heed.models.base import LanguageModel, WeightKind
from heed.models.hub import hub_folder, hub_tokenizer, load_hub
from heed.models.transformers_model import load_transformers
from heed.serving.chat import ChatTemplate, find_template, read_settings, read_template
from heed.text.tokenizers import Tokenizer
from heed.training.devices import choose_device
from heed.training.packing import packed
from heed.training.run import load_run


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A causal language model under the name that requests call it by."""

    name: str
    model: LanguageModel
    tokenizer: Tokenizer
    template: ChatTemplate | None = None
    """How chats are written; None for a model that has no template."""
    ends: tuple[str, ...] = ()
    """Special tokens besides the end-of-text token that end a text."""
    created: int = field(default_factory=lambda: int(time.time()))
    """When it was opened, in seconds since 1970."""

    @property
    def context(self) -> int:
        """Tokens that the model reads at most."""
        return self.model.context


def open_served(
    source: str,
    *,
    name: str | None = None,
    checkpoint: str = "best",
    device: str = "auto",
    template: Path | None = None,
    weights: WeightKind = "fp32",
    say: Callable[[str], object] = print,
) -> ServedModel:
    """Open a model to be served; `template` is a chat template in the place of its own.

    Raises `ConfigError` for a model that can't write, and what `load_run`, `load_hub` and `pack` raise.
    """
    chosen, folder = choose_device(device), Path(source.removeprefix("hf:"))
    refuse_classifier(folder)
    if source.startswith("hf:") or (folder / "config.json").is_file():
        folder = folder if folder.is_dir() else hub_folder(source)
        tokenizer = hub_tokenizer(folder)
        model, ends = _hub_model(folder, chosen), _ends(folder, tokenizer)
    else:
        model, tokenizer, _ = load_run(folder, checkpoint, chosen)
        ends = ()
    if not model.causal:
        raise ConfigError(f"{source} is an encoder, which cannot write: take a run of model.kind gpt")
    if tokenizer.vocab_size > model.vocab_size:
        raise CheckpointError(f"{source}: its tokenizer has more tokens than its model: take both from one checkpoint")
    chat = find_template(folder, tokenizer)
    if template is not None:
        chat = ChatTemplate(read_template(template), tokenizer, {} if chat is None else chat.names)
    return ServedModel(name or name_of(source), packed(model, weights, say), tokenizer, chat, ends)


def refuse_classifier(folder: Path) -> None:
    """Raise `ConfigError` for what `heed tune` made, which tells classes and writes nothing."""
    config = folder / "config.yaml"
    if (folder / "tune.json").is_file() or (config.is_file() and "encoder" in read_yaml(config)):
        raise ConfigError(f"{folder} tells classes and writes no text: heed predict {folder}")


def _hub_model(folder: Path, device: torch.device) -> LanguageModel:
    """Return the model of a folder of transformers, heed's own where heed can compute it."""
    try:
        model, _ = load_hub(folder)
    except ConfigError:  # an architecture that heed has not
        return load_transformers(folder, device)
    return model.to(device)


def _ends(folder: Path, tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the names of tokens that end a text besides the tokenizer's own, as generation_config.json says."""
    ids = read_settings(folder / "generation_config.json").get("eos_token_id")
    others = [one for one in ids if one != tokenizer.end_id] if isinstance(ids, list) else []
    return tuple(tokenizer.decode([one]) for one in others if 0 <= one < tokenizer.vocab_size)


def name_of(source: str) -> str:
    """Return the name that a model is served under.

    >>> name_of("runs/my model/"), name_of("hf:openai-community/gpt2")
    ('my-model', 'openai-community/gpt2')
    """
    inner = source.removeprefix("hf:")
    name = inner if source.startswith("hf:") and not Path(inner).is_dir() else Path(inner).resolve().name
    return re.sub(r"[^\w.:/-]+", "-", name) or "model"
