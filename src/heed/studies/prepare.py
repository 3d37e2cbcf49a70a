"""What a study does once for all of its runs: text, tokenizers and token files, and what the budget comes to.

Each way of tokenising that the variants ask for is trained once and kept in the study folder, so that many processes
do not do the same work, and all seeds have the same tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from heed.build import Say, build_model, build_tokenizer
from heed.config import Config, aim_of, overlay
from heed.errors import ConfigError, HeedError
from heed.models.sampled import sample_softmax
from heed.objectives import objective_of
from heed.studies.plan import StudyPlan
from heed.studies.plan_checks import NO_END
from heed.text.labelled import LabelledCorpus
from heed.text.sources import digest
from heed.text.tokenizers import load_tokenizer

NOMINAL_CLASSES = 2
"""Classes of an encoder before the text has been read."""


@dataclass(frozen=True)
class Text:
    """The text of some variants, ready to train on."""

    vocabulary: int
    classes: int | None
    file: str | None
    """Where the tokenizer is kept; None: nothing was written."""


@dataclass(frozen=True)
class VariantNumbers:
    """What a variant is, in numbers."""

    parameters: int
    flops_per_token: int
    tokens_per_step: int
    """Places of the windows in a step."""
    steps: int | None
    """What the budget comes to; None: it is time."""


def check_models(plan: StudyPlan) -> None:
    """Build every variant without memory, and raise `ConfigError` with all that does not go together."""
    problems: list[str] = []
    for name in plan.variants:
        config = plan.config(name)
        classes = NOMINAL_CLASSES if aim_of(config).labelled else None
        try:
            measure_model(config, config.tokenizer.vocab_size, classes)
        except ConfigError as error:
            problems += [f"{name}: {problem}" for problem in error.problems]
        except HeedError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ConfigError(*problems)


def prepare_texts(plan: StudyPlan, folder: Path | None, say: Say) -> dict[str, Text]:
    """Return the text of each variant: tokenizers and token files are kept in `folder`, with None nowhere.

    Raises what opening a corpus and training a tokenizer raise.
    """
    ready: dict[str, Text] = {}
    texts: dict[str, Text] = {}
    for name in plan.variants:
        config = plan.config(name)
        sentinels = config.model.context if aim_of(config).sentinels else None  # longer rows need more of them
        key = digest(config.data.model_dump_json(), config.tokenizer.model_dump_json(), sentinels)[:16]
        if key not in ready:
            ready[key] = _prepare(config, key, folder, say)
        texts[name] = ready[key]
    return texts


def text_settings(config: Config, text: Text, folder: Path) -> dict[str, Any]:
    """Return the settings by which a run finds what was prepared."""
    settings: dict[str, Any] = {"data": {"cache": config.data.cache or str(folder / "text")}}
    if text.file is not None and config.tokenizer.file is None:
        settings["tokenizer"] = {"file": text.file}
    return settings


def with_text(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's values with those of the prepared text; a tokenizer that is there takes no further settings."""
    if "tokenizer" in settings:
        values = {name: section for name, section in values.items() if name != "tokenizer"}
    return overlay(values, settings)


def facts_of(plan: StudyPlan, variant: str, text: Text, extra: Mapping[str, Any] | None = None) -> VariantNumbers:
    """Return a variant's numbers under the plan's budget; `extra` are dotted settings on top.

    Raises `ConfigError` when the budget is less than one step, or the settings do not go with the steps.
    """
    config = plan.config(variant, NO_END, extra)
    parameters, flops = measure_model(config, text.vocabulary, text.classes)
    assert config.train.batch_size != "auto"
    tokens = config.train.batch_size * config.train.accumulation * config.model.context
    budget, amount = plan.budget.kind, plan.budget.amount
    if budget == "seconds":
        return VariantNumbers(parameters, flops, tokens, None)
    price = {"steps": 1, "tokens": tokens, "flops": tokens * flops}[budget]
    steps = int(amount // price)  # rounded down: nobody gets more than the others
    if steps < 1:
        raise ConfigError(f"budget: {variant}: {amount:,.0f} {budget} are less than one step, which takes {price:,}")
    plan.config(variant, steps, extra)  # a warm-up may be longer than that
    return VariantNumbers(parameters, flops, tokens, steps)


def all_facts(plan: StudyPlan, texts: Mapping[str, Text]) -> dict[str, VariantNumbers]:
    """Return the numbers of every variant. Raises `ConfigError` with the problems of all of them."""
    facts: dict[str, VariantNumbers] = {}
    problems: list[str] = []
    for name in plan.variants:
        try:
            facts[name] = facts_of(plan, name, texts[name])
        except ConfigError as error:
            problems += [line if line.startswith("budget") else f"{name}: {line}" for line in error.problems]
    if problems:
        raise ConfigError(*problems)
    return facts


def measure_model(config: Config, vocabulary: int, classes: int | None) -> tuple[int, int]:
    """Return the parameters and the floating-point operations a token of a model, which is built without memory."""
    with torch.device("meta"):
        model = build_model(config.model, vocabulary, classes=classes)
    sample_softmax(model, config.train.sampled_softmax)
    return model.parameter_count(), model.flops_per_token()


def _prepare(config: Config, key: str, folder: Path | None, say: Say) -> Text:
    """Open a corpus, train or load its tokenizer, and encode it."""
    objective = objective_of(config)
    corpora = objective.open(config)
    corpus = corpora[0]
    classes = len(corpus.classes) if isinstance(corpus, LabelledCorpus) else None
    kept = None if folder is None else folder / "text" / f"tokenizer-{digest(key, corpus.fingerprint)[:16]}.json"
    if kept is not None and kept.exists():
        tokenizer = load_tokenizer(kept)
    else:
        tokenizer = build_tokenizer(config, corpora, objective.specials(config), say)
        if kept is not None:
            tokenizer.save(kept)
    if folder is not None and kept is not None:
        text = Text(tokenizer.vocab_size, classes, str(kept))
        objective.encode(corpora, tokenizer, _with_cache(config, text, folder), say)
        return text
    return Text(tokenizer.vocab_size, classes, None)


def _with_cache(config: Config, text: Text, folder: Path) -> Config:
    cache = text_settings(config, text, folder)["data"]["cache"]
    return config.model_copy(update={"data": config.data.model_copy(update={"cache": cache})})
