"""What an objective is: all that depends on what is being learned, from the text to the figures.

    settings -> Objective -> open -> [tokenizer, with its specials] -> encode -> stream -> (fit) -> evaluate -> figures

What it is called, its unit, its figures and what contradicts it are its `Aim` (`heed.config.aims`), which rooms without
torch read too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from heed.build import Say
from heed.config import Aim, Config
from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.models.longer import with_context
from heed.report.figure_kinds import FigureKind
from heed.report.measured import Figures
from heed.text.corpus import Corpus
from heed.text.stream import Stream
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import Tokenizer

Files = Mapping[str, TokenFile]
"""Token files by split."""
TOKENS_AT_ONCE = 4096
"""Tokens that are evaluated at a time: enough work, little memory."""


@dataclass(frozen=True)
class Window:
    """How much of a split is read, and in what pieces."""

    context: int | None = None
    """Tokens that the model may look back; None: the context of training."""
    stride: int | None = None
    """How far a window moves on; None: by the whole context."""
    device: torch.device | str | None = None
    max_tokens: int | None = None
    """The first so many tokens of the split; None: all."""


class Objective(Protocol):
    """One thing that is learned. Each member raises what is wrong with the settings or the text as a `HeedError`."""

    @property
    def aim(self) -> Aim:
        """Its unit, the names of its figures and what contradicts it."""
        ...

    @property
    def figures(self) -> tuple[FigureKind, ...]:
        """The kinds of its figures, in the order that people read them."""
        ...

    def specials(self, config: Config) -> tuple[str, ...]:
        """Return the tokens that it needs besides those of the text."""
        ...

    def open(self, config: Config, classes: Sequence[str] | None = None) -> list[Corpus]:
        """Open what is learned from, the text first; `classes` are those that a model has learned already."""
        ...

    def encode(
        self, corpora: Sequence[Corpus], tokenizer: Tokenizer, config: Config, say: Say, verify: bool = False
    ) -> dict[str, TokenFile]:
        """Return the token file of each split, and say how many there are and how they were split.

        `verify` checks the whole of large files.
        """
        ...

    def stream(self, files: Files, tokenizer: Tokenizer, config: Config, seed: int, say: Say) -> Stream:
        """Return the training batches; refuse what could not be trained on or measured later."""
        ...

    def training_part(self, files: Files, config: Config) -> tuple[TokenFile, int | None] | None:
        """Return what of the training data is measured beside validation, and on how many tokens; None: nothing."""
        ...

    def evaluate(
        self, model: LanguageModel, tokens: TokenFile, tokenizer: Tokenizer, config: Config, window: Window
    ) -> Figures:
        """Measure a model on a split, deterministically."""
        ...


def rows_in_a_batch(config: Config) -> int:
    """Return `train.batch_size`, which has been settled by now."""
    assert config.train.batch_size != "auto"
    return config.train.batch_size


def placed(
    model: LanguageModel, tokenizer: Tokenizer, config: Config, window: Window, *, labelled: bool = False
) -> tuple[LanguageModel, dict[str, Any]]:
    """Return the model at the window's context, and what every evaluation is told.

    A context beyond that of training is read where the model can (`heed.models.longer`), else a `ConfigError`; so is a
    model that tells classes apart where no texts are `labelled`, or the other way round.
    """
    if labelled != (getattr(model, "classes", None) is not None):
        wrong = "knows no classes: leave data.label out" if labelled else "tells classes apart: set data.label"
        raise ConfigError(f"the model {wrong}")
    context = window.context or config.model.context
    how: dict[str, Any] = {
        "tokenizer_name": f"{tokenizer.kind} {tokenizer.vocab_size} {tokenizer.hash[:8]}",
        "context": context,
        "batch_size": max(1, TOKENS_AT_ONCE // context),
        "device": window.device,
        "max_tokens": window.max_tokens,
    }
    return with_context(model, context), how
