"""The same weights with a longer context: a model is read beyond the length that it was trained on (Press et al. 2022).

    sinusoidal, rotary                        go on: their angles are a formula of the position
    alibi, relative, none                     go on: a bias of the distance, or nothing
    recurrent models, window                  go on: their context is only that of training
    learned                                   end: there is no vector for a further position
    mechanisms whose lengths are "fixed"      end: AFT's w and synthesizers' weights belong to positions (`Facts`)

That a model can be read further does not say that it reads well there: measure it.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TypeVar

from torch import nn

from heed.attention import MECHANISMS, Mechanism, NoPositions
from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.models.block import make_positions
from heed.models.encoder import Encoder
from heed.models.gpt import GPT
from heed.models.recurrent import Recurrent
from heed.models.window import WindowModel

Model = TypeVar("Model", bound=LanguageModel)


def with_context(model: Model, context: int) -> Model:
    """Return a model that reads `context` tokens with the parameters of `model`, which it shares and does not copy.

    Up to the context of `model` both give the same numbers; where that is long enough, `model` itself is returned.
    Raises `ConfigError` where parameters belong to positions and end, with what would go on.
    """
    if context <= model.context:
        return model
    if not isinstance(model, GPT | Encoder | Recurrent | WindowModel):
        raise ConfigError(f"{type(model).__name__} cannot be given another context than its {model.context}")
    config = model.config.model_copy(update={"context": context})
    positions = None
    if isinstance(model, GPT | Encoder):
        positions = _positions(model, config)
        if problems := _ends(model, positions):
            raise ConfigError(*problems)
    longer = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    longer.config, longer.context = config, context
    if isinstance(longer, GPT | Encoder) and positions is not None:
        for name, parameter in longer.positions.named_parameters():
            setattr(positions, name, parameter)
        longer.positions = positions
        for part in _mechanisms(longer):
            part.shape = replace(part.shape, context=context)
    return longer


def _positions(model: GPT | Encoder, config: ModelConfig) -> NoPositions:
    """Return the scheme of positions for the longer context, its parameters unset."""
    like = model.tokens.weight
    positions = make_positions(config, causal=model.causal).to(like.device, like.dtype)
    return positions.train(model.positions.training)


def _ends(model: GPT | Encoder, positions: NoPositions) -> list[str]:
    """Return a line for each part of a model whose parameters end at its context."""
    config, shapes = model.config, {name: own.shape for name, own in model.positions.named_parameters()}
    mechanisms = _mechanisms(model)
    problems: list[str] = []
    if shapes != {name: new.shape for name, new in positions.named_parameters()}:
        others = set.intersection(*(set(part.facts.positions) for part in mechanisms)) - {config.positions}
        problems.append(
            f"model.positions {config.positions} ends at the {model.context} tokens of training, beyond them there is "
            f"nothing to add: train with {_either(others)} to read further"
        )
    if any(part.facts.lengths == "fixed" for part in mechanisms):
        kinds = ("exact",) if model.causal else ("exact", "never")
        any_length = {name: kind for name, kind in MECHANISMS.items() if kind.facts.lengths == "any"}
        others = {name for name, kind in any_length.items() if kind.facts.causal in kinds}
        problems.append(
            f"attention {config.attention.mechanism!r} has weights for {model.context} positions, those of training: "
            f"train with {_either(others)} to read further"
        )
    return problems


def _mechanisms(model: nn.Module) -> list[Mechanism]:
    return [part for part in model.modules() if isinstance(part, Mechanism)]


def _either(names: set[str]) -> str:
    """Join names as in a sentence.

    >>> _either({"rotary", "alibi", "none"})
    'alibi, none or rotary'
    """
    *first, last = sorted(names)
    return f"{', '.join(first)} or {last}" if first else last
