"""Begin where another run ended (`model.start_from`): its weights, its shape and its tokenizer.

What is given beside it may say how the training goes on (`FREE`), and how long the sequences are. A shorter context
keeps the learned positions up to there: both models give the same numbers. A longer one is for models in which no
parameter belongs to a position (see `models/longer.py`). Mechanisms whose weights belong to positions keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from heed.config import Config, ModelConfig, RunConfig, Section, TrainConfig, aim_of, contradictions
from heed.errors import CheckpointError, ConfigError
from heed.models.base import LanguageModel
from heed.models.embeddings import place_embeddings, read_embeddings
from heed.models.first_weights import ByName
from heed.models.longer import with_context
from heed.models.sampled import SampledSoftmax
from heed.text.tokenfile import TokenFile, counts_of
from heed.text.tokenizers import load_tokenizer
from heed.training.checkpoint import find_checkpoint, load_checkpoint, weight_digest
from heed.training.run import Run, load_run
from heed.training.streams import Streams, stream_seed

FREE = (
    "context", "dropout", "freeze_embeddings", "freeze_positions", "allow_leak", "attention.path",
    "recurrent.carry", "recurrent.weight_drop", "recurrent.embedding_dropout", "recurrent.input_dropout",
    "recurrent.hidden_dropout", "recurrent.output_dropout", "recurrent.activation_penalty", "recurrent.change_penalty",
)  # fmt: skip
"""Settings of the model that may differ from those of the run it begins with: no weight depends on them."""


def settle(config: Config) -> Config:
    """Return `config` with the shape and the tokenizer of the run that it starts from; without one, as it is.

    Raises `CheckpointError` where there is no such run, `ConfigError` with every setting that goes against it, each
    with both values, and for a run that would be written over.
    """
    asked = config.model
    if asked.start_from is None:
        return config
    source, name = Run.open(asked.start_from).config, asked.start_from
    if aim_of(source).both_sides:
        raise ConfigError(f"model.start_from: {name} is an encoder: give a run that predicts the next token")
    if config.run.name and (Path(config.run.folder) / config.run.name).resolve() == Path(name).resolve():
        raise ConfigError(f"run.name: {config.run.name} is the run that this one starts from: choose another name")
    own = dict(_leaves("", source.model))
    given = {key: value for key, value in _given("", asked) if key in own}
    problems = [
        f"model.{key}: {value} is asked for, but {name} has {own[key]}: leave one of them out"
        for key, value in given.items()
        if key not in FREE and value != own[key]
    ]
    problems += _about_tokenizer(config, name)
    if given.get("context", 0) > source.model.context:
        problems += _about_context(name, source.model.context, given["context"])
    if problems:
        raise ConfigError(*problems)
    shape = source.model.model_dump() | {"preset": None, "embeddings": None, "start_from": name}
    for key in FREE:
        if key in given:
            section, _, last = key.rpartition(".")
            (shape[section] if section else shape)[last] = given[key]
    tokenizer = config.tokenizer.model_copy(update={"file": config.tokenizer.file or name})
    config = config.model_copy(update={"model": ModelConfig(**shape), "tokenizer": tokenizer})
    if problems := contradictions(config):
        raise ConfigError(*problems)
    return config


def start_vocabulary(model: ModelConfig) -> int | None:
    """Return the vocabulary of the model that this one starts from, which may exceed its tokenizer's; None: no run."""
    return None if model.start_from is None else Run.open(model.start_from).config.tokenizer.vocab_size


def first_weights(run: RunConfig, streams: Streams) -> torch.Generator:
    """Return the generator that a model's first weights are drawn from, as `run.initialisation` says."""
    if run.initialisation == "by-name":
        return ByName(stream_seed(run.seed, "initialisation"))
    return streams["initialisation"]


def begin_weights(model: LanguageModel, config: ModelConfig, say: Callable[[str], object]) -> dict[str, Any]:
    """Put the weights that a new model begins with in the place of those that were drawn; return where from."""
    if config.embeddings is not None:
        note = place_embeddings(model, read_embeddings(config.embeddings), config.freeze_positions)
        if note is not None:
            say(f"note: {note}")
    if config.start_from is None:
        return {}
    started = place_start(model, config)
    say(f"starting from {started['run']}, {started['checkpoint']}")
    return {"started_from": started}


def part_of_vocabulary(train: TrainConfig, tokens: TokenFile, vocabulary: int) -> SampledSoftmax | None:
    """Return what draws the tokens that a step's loss is over, by their counts in the training text; None: all."""
    if train.sampled_softmax is None:
        return None
    return SampledSoftmax(torch.from_numpy(counts_of(tokens.ids, vocabulary)), train.sampled_softmax)


def facts_of(model: LanguageModel, classes: Sequence[str] | None) -> dict[str, Any]:
    """Return what environment.json says of a new model: its size, and what the audit found."""
    facts = {"parameters": model.parameter_count(), "flops_per_token": model.flops_per_token()}
    found = {"audit": model.audited, "classes": None if classes is None else list(classes), "leaks": model.leaks}
    return facts | {name: fact for name, fact in found.items() if fact is not None}


def place_start(model: nn.Module, config: ModelConfig) -> dict[str, Any]:
    """Copy the weights of the run that `config` starts from into `model`, and return what they are.

    They are those of its best checkpoint, of its last where nothing was held out. Raises `CheckpointError` where they
    do not fit.
    """
    assert config.start_from is not None
    run = Run.open(config.start_from)
    path = find_checkpoint(run.checkpoints, "best")
    weights, own = dict(load_checkpoint(path).model), model.state_dict()
    for name in own.keys() & weights.keys():
        if name.startswith("positions."):
            weights[name] = weights[name][: len(own[name])]
    odd = sorted(own.keys() ^ weights.keys())
    odd += [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if odd:
        has, asked = (tuple(some[odd[0]].shape) if odd[0] in some else "none" for some in (weights, own))
        raise CheckpointError(
            f"{config.start_from} does not fit the model: {odd[0]} is {has} there and {asked} here "
            f"(context {run.config.model.context} and {config.context}): leave model.context out"
        )
    model.load_state_dict(weights)
    return {"run": config.start_from, "checkpoint": path.name, "weights": weight_digest(path)}


def _about_tokenizer(config: Config, name: str) -> list[str]:
    """Return a line where a tokenizer file is given that is not the tokenizer of the run."""
    if config.tokenizer.file is None:
        return []
    asked, own = load_tokenizer(config.tokenizer.file), load_tokenizer(name)
    if asked.hash == own.hash:
        return []
    facts = [f"{t.kind} {t.vocab_size} ({t.hash[:8]})" for t in (asked, own)]
    return [f"tokenizer.file: {facts[0]} is asked for, but {name} has {facts[1]}: leave tokenizer.file out"]


def _about_context(name: str, has: int, asked: int) -> list[str]:
    """Return why a model cannot be given a longer context."""
    model, _, _ = load_run(name)
    try:
        with_context(model, asked)
    except ConfigError as error:
        return [f"model.context: {asked} is asked for, but {name} has {has}: {line}" for line in error.problems]
    return []


def _leaves(prefix: str, section: Section) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a section and of those below it, by their dotted names."""
    for key, value in section:
        if isinstance(value, Section):
            yield from _leaves(f"{prefix}{key}.", value)
        elif key not in ("start_from", "preset", "embeddings"):
            yield prefix + key, value


def _given(prefix: str, section: Section) -> Iterator[tuple[str, Any]]:
    """Yield the settings that were given, by their dotted names."""
    for key, value in section:
        if key not in section.model_fields_set:
            continue
        if isinstance(value, Section):
            yield from _given(f"{prefix}{key}.", value)
        else:
            yield prefix + key, value
