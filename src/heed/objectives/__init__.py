"""The objectives room: what is being learned, a file each.

    next_token    each token from those before             masked    hidden tokens from both sides
    spans         a hidden part of a document at its end   answers   questions with answers
    mixed         text, with questions in between          classes   the label of a text

`objective_of` is the way in. What a room without torch needs to know of an objective is its `heed.config.Aim`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from heed.build import Say
from heed.config import Aim, Config, aim_of
from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.objectives.answers import Answers
from heed.objectives.classes import Classes, classes_of
from heed.objectives.masked import HiddenTokens
from heed.objectives.mixed import TextAndQuestions
from heed.objectives.neural_cache import CacheNumbers, WithNeuralCache, choose_numbers
from heed.objectives.next_token import NextToken
from heed.objectives.objective import Objective, Window
from heed.objectives.spans import HiddenSpans
from heed.report.measured import Figures
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import Tokenizer

OBJECTIVES: dict[str, Callable[[Aim], Objective]] = {
    "next-token": NextToken,
    "masked": HiddenTokens,
    "spans": HiddenSpans,
    "answers": Answers,
    "mixed": TextAndQuestions,
    "classes": Classes,
}
"""By the name of the aim."""


def objective_of(config: Config) -> Objective:
    """Return what a run of this configuration learns."""
    aim = aim_of(config)
    return OBJECTIVES[aim.name](aim)


def open_text(
    config: Config,
    tokenizer: Tokenizer,
    *,
    classes: Sequence[str] | None = None,
    say: Say = lambda line: None,
    verify: bool = False,
) -> dict[str, TokenFile]:
    """Return the token files of a configuration's text under a tokenizer, by split.

    `classes` are those of the run, where its texts have labels; `verify` checks the whole of large files.
    """
    objective = objective_of(config)
    return objective.encode(objective.open(config, classes), tokenizer, config, say, verify)


def measure(
    model: LanguageModel,
    tokenizer: Tokenizer,
    tokens: TokenFile,
    config: Config,
    *,
    context: int | None = None,
    stride: int | None = None,
    device: torch.device | str | None = None,
    max_tokens: int | None = None,
) -> Figures:
    """Measure a model on a split, by what its configuration says it learned; raise what that raises."""
    window = Window(context, stride, device, max_tokens)
    found = objective_of(config).evaluate(model, tokens, tokenizer, config, window)
    said = model.numbers.sentence() if isinstance(model, WithNeuralCache) and model.numbers else ""
    return replace(found, measured_on=replace(found.passport, weights=model.weights, cache=said))


Read = Callable[[LanguageModel], object]
"""Reads a text with a model, from its beginning to its end."""


def with_neural_cache(
    model: LanguageModel, config: Config, size: int, numbers: CacheNumbers | None, read: Read
) -> WithNeuralCache:
    """Return a model beside a memory of `size` places; without `numbers` they are chosen on what `read` reads.

    Raises `ConfigError` for a run that does not predict the next token of joined documents, and for one that leaks.
    """
    joined = config.data.layout != "padded" and config.data.cross_documents
    if objective_of(config).aim.name != "next-token" or not joined:
        raise ConfigError("--neural-cache: is for runs that predict the next token of one long text: leave it out")
    if model.leaks:
        raise ConfigError("--neural-cache: this model sees the tokens that it predicts: leave it out")
    return WithNeuralCache(model, size, numbers or choose_numbers(model, size, read))


def is_another_text(
    config: Config, tokenizer: Tokenizer, files: Mapping[str, TokenFile], state: Mapping[str, Any]
) -> bool:
    """Whether a text is not what the batches in a checkpoint's `state` were of, as far as that is known."""
    before = state.get("batches", {}).get("text")
    if before is None or "train" not in files:
        return False
    now = objective_of(config).stream(files, tokenizer, config, 0, lambda line: None).text
    return now is not None and now != before


__all__ = [
    "OBJECTIVES",
    "Objective",
    "Window",
    "classes_of",
    "is_another_text",
    "measure",
    "objective_of",
    "open_text",
]
