"""The plan of a study: a base configuration, named variants of it, seeds, and a budget that is the same for all.

    title: Does it matter where the norm stands?
    base: {model: {d_model: 64}, train: {batch_size: 8}}   # or the path of a configuration file
    set: {train.batch_size: 16}                             # changes to the base
    variants:
      pre-norm: {}
      post-norm: {model.norm_order: post}
    axes: {train.optimizer: [adamw, sgd]}                   # crossed with the variants
    seeds: 3                                                # 1, 2, 3; or a list
    budget: {tokens: 2_000_000}                             # exactly one of steps, tokens, flops, seconds

What a study must keep equal for a fair comparison is refused in a variant: the text, the budget, the seeds.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from heed.config import Config, Section, inspect_config, make_config, overlay, read_yaml
from heed.errors import ConfigError, did_you_mean
from heed.report.passport import FIGURES
from heed.report.record import flatten

NO_END = 1_000_000_000
"""`train.steps` of a run that ends by the clock."""
OWN = {"train": ("steps", "seconds"), "run": ("name", "folder", "seed", "initialisation")}
"""Settings that a study gives each cell: from a base they are left out."""
EQUAL = {
    "data": ("source", "validation", "test", "validation_fraction", "test_fraction", "column", "label", "encoding",
             "separator"),
    **OWN,
}  # fmt: skip
"""Settings that no variant may change: the text, the budget and the seeds are the same for all."""


class Budget(Section):
    """What every run may spend: exactly one of these."""

    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps."""
    tokens: int | None = Field(default=None, ge=1)
    """Places of the training windows, padding included: batch size x accumulation x context x steps."""
    flops: float | None = Field(default=None, gt=0)
    """Floating-point operations of training, by the formula of each model."""
    seconds: float | None = Field(default=None, gt=0)
    """Training wall clock, without evaluation."""

    @property
    def kind(self) -> str:
        """Which of them it is."""
        return next(name for name, amount in self if amount is not None)

    @property
    def amount(self) -> float:
        """How much."""
        return next(amount for _, amount in self if amount is not None)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(amount is not None for _, amount in self) != 1:
            raise ValueError("give exactly one of steps, tokens, flops, seconds")
        return self


class Range(Section):
    """The values between `low` and `high`; whole numbers where both are."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether ratios matter, not differences."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("log needs low above 0")
        return self


class SearchPlan(Section):
    """Which settings are searched, how, and how long."""

    parameters: dict[str, list[Any] | Range] = Field(min_length=1)
    """Dotted settings: a list of values, or {low, high, log}."""
    method: Literal["tpe", "random", "grid"] = "tpe"
    """tpe: tree-structured Parzen estimator (Bergstra et al. 2011). grid: every combination of lists."""
    trials: int | None = Field(default=None, ge=1)
    """Trials of each variant, the same for all; default 20, of a grid all combinations."""
    pruner: Literal["hyperband", "none"] = "none"
    """hyperband: stop poor trials early, by the validation figures as they come (Li et al. 2018)."""
    figure: str = "loss"
    """The figure of the validation split that is made best."""
    seeds: list[int] = Field(default=[1], min_length=1)
    """Seeds of each trial; their mean counts."""
    per_variant: bool = True
    """Search for each variant; false: for the baseline alone, and its values are used for all."""


class PlanFile(Section):
    """The file as it is written."""

    title: str = ""
    base: dict[str, Any] | str = Field(default={})
    set: dict[str, Any] = Field(default={})
    variants: dict[str, dict[str, Any] | None] = Field(default={})
    axes: dict[str, list[Any]] = Field(default={})
    baseline: str | None = None
    seeds: list[int] | int = Field(default=1)
    budget: Budget
    figure: str | None = None
    search: SearchPlan | None = None


@dataclass(frozen=True)
class Plan:
    """A study whose settings have been found to be valid."""

    title: str
    base: dict[str, Any]
    """The base as nested values, without what the study itself gives."""
    variants: dict[str, dict[str, Any]]
    """What differs from the base, as nested values, by the name of the variant."""
    baseline: str
    seeds: tuple[int, ...]
    budget: Budget
    figure: str
    search: SearchPlan | None
    text: str
    """The file as given."""

    def values(self, variant: str, steps: int | None = None, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the nested values of a variant's configuration; `extra` are dotted settings on top.

        `steps` are those that the budget comes to; None leaves them open.
        """
        values = overlay(overlay(self.base, self.variants[variant]), nest(extra or {}))
        train: dict[str, Any] = {"steps": self.budget.steps or steps or NO_END}
        if self.budget.seconds is not None:
            train["seconds"] = self.budget.seconds
        return overlay(values, {"train": train})

    def config(self, variant: str, steps: int | None = None, extra: Mapping[str, Any] | None = None) -> Config:
        """Return the checked configuration of a variant; see `values`."""
        return make_config(self.values(variant, steps, extra))


def read_plan(path: str | Path) -> Plan:
    """Read the file of a study. Raises `ConfigError` that holds every problem of every variant at once."""
    content = read_yaml(path)
    file = _parse(content)
    base, variants = _base(file, Path(path)), _variants(file)
    seeds = tuple(range(1, file.seeds + 1)) if isinstance(file.seeds, int) else tuple(file.seeds)
    plan = Plan(
        title=file.title or Path(path).stem,
        base=base,
        variants=variants,
        baseline=file.baseline or next(iter(variants)),
        seeds=seeds,
        budget=file.budget,
        figure="",
        search=file.search,
        text=Path(path).read_text(encoding="utf-8"),
    )
    problems = list(_problems(plan))
    kinds = {config.model.kind == "encoder" for config in (inspect_config(plan.values(name))[0] for name in variants)}
    if len(kinds) > 1:
        problems.append("variants: encoders and models that predict the next token have no figure in common")
    figure = file.figure or ("loss" if True in kinds else "bits_per_byte")
    if figure not in FIGURES:
        problems.append(f"figure: unknown value {figure!r}, {did_you_mean(figure, FIGURES)}")
    elif not problems:
        problems += _incomparable(plan, figure)
    if problems:
        raise ConfigError(*problems)
    return Plan(**{**vars(plan), "figure": figure})


def nest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries of settings whose names may be dotted.

    >>> nest({"model.norm_order": "post", "train": {"steps": 3}})
    {'model': {'norm_order': 'post'}, 'train': {'steps': 3}}
    """
    values: dict[str, Any] = {}
    for name, value in settings.items():
        inner: Any = nest(value) if isinstance(value, Mapping) and not name.endswith("options") else value
        for key in reversed(str(name).split(".")):
            inner = {key: inner}
        values = overlay(values, inner)
    return values


def _parse(content: Mapping[str, Any]) -> PlanFile:
    """Return the file in its types, or raise `ConfigError` with a line for each mistake."""
    variants = content.get("variants")
    if isinstance(variants, Mapping):  # YAML reads a name such as 1 or 0.1 as a number
        content = {**content, "variants": {str(name): changes for name, changes in variants.items()}}
    try:
        return PlanFile.model_validate(content)
    except ValidationError as error:
        lines = [_line([str(key) for key in item["loc"]], item) for item in error.errors()]
        raise ConfigError(*dict.fromkeys(lines)) from None


EITHER = {
    "base": "give settings, or the path of a configuration file",
    "seeds": "give a number of seeds, or a list of whole numbers",
    "search.parameters": "give a list of values, or {low, high, log} with low below high, and above 0 for log",
    "budget": "give exactly one of steps, tokens, flops, seconds; it is the same for all",
}
"""What to write where the file allows one of several things."""


def _line(keys: list[str], item: Any) -> str:
    """Return a line that names a key of the file and the remedy."""
    known: type[BaseModel] | None = {"budget": Budget, "search": SearchPlan}.get(keys[0]) if keys[1:] else PlanFile
    where = ".".join(keys[: 3 if keys[:2] == ["search", "parameters"] else 2 if known and keys[1:] else 1])
    if item["type"] == "extra_forbidden" and known is not None and len(keys) < 3:
        return f"{where}: unknown key, {did_you_mean(keys[-1], known.model_fields)}"
    advice = EITHER.get(".".join(keys[:2]), EITHER.get(keys[0]) if where == keys[0] else None)
    return f"{where}: {advice or item['msg'][0].lower() + item['msg'][1:]}"


def _base(file: PlanFile, path: Path) -> dict[str, Any]:
    """Return the base as nested values, without what the study gives; a path is looked up here, then beside the file.

    Raises `ConfigError` when the file is missing.
    """
    if isinstance(file.base, str):
        found = next((place for place in (Path(file.base), path.parent / file.base) if place.is_file()), None)
        if found is None:
            raise ConfigError(f"base: no such configuration file: {file.base}")
        base = nest(read_yaml(found))
    else:
        base = nest(file.base)
    base = overlay(base, nest(file.set))
    for section, names in OWN.items():
        if isinstance(base.get(section), Mapping):
            base[section] = {name: value for name, value in base[section].items() if name not in names}
    return base


def _variants(file: PlanFile) -> dict[str, dict[str, Any]]:
    """Return the variants crossed with the axes. Raises `ConfigError` for names that are no good."""
    named = {name: nest(changes or {}) for name, changes in file.variants.items()}
    problems = [
        f"variants: {name!r} becomes a folder: take letters, digits and - _ . = + alone"
        for name in named
        if not re.fullmatch(r"[\w=+-][\w.=+-]*", name)
    ]
    for key, values in file.axes.items():
        if not values or any(isinstance(value, list | Mapping) for value in values):
            problems.append(f"axes: {key} needs a list of single values; write variants for anything else")
    if not named and not file.axes:
        problems.append("variants: there is nothing to compare: name variants, or give axes")
    if problems:
        raise ConfigError(*problems)
    crossed: dict[str, dict[str, Any]] = {}
    for name, changes in (named or {"": {}}).items():
        for point in itertools.product(*file.axes.values()):
            settings = dict(zip(file.axes, point, strict=True))
            full = "-".join(filter(None, [name, *(_value_name(key, value) for key, value in settings.items())]))
            if full in crossed:
                raise ConfigError(f"axes: two variants would be called {full!r}: leave out one of them")
            crossed[full] = overlay(changes, nest(settings))
    return crossed


def _value_name(key: str, value: Any) -> str:
    """Return what a value of an axis is called.

    >>> _value_name("train.optimizer", "sgd"), _value_name("model.n_layers", 2)
    ('sgd', 'n_layers=2')
    """
    name = value if isinstance(value, str) else f"{key.rpartition('.')[2]}={str(value).lower()}"
    return re.sub(r"[^\w.=+-]+", "_", name).lstrip(".")


def _problems(plan: Plan) -> Iterator[str]:
    """Yield what is wrong with the settings of the base, of each variant, and of the study itself."""
    of_base = inspect_config(overlay(plan.base, {"train": {"steps": plan.budget.steps or NO_END}}))[1]
    yield from (f"base: {line}" for line in of_base)
    for name in plan.variants:
        for section, keys in EQUAL.items():
            given = plan.variants[name].get(section)
            for key in keys:
                if isinstance(given, Mapping) and key in given:
                    remedy = "the study sets it" if key in OWN.get(section, ()) else "set it in the base"
                    yield f"{name}: {section}.{key}: is the same for all variants of a study: {remedy}"
        config, found = inspect_config(plan.values(name))
        yield from (f"{name}: {line}" for line in found if line not in of_base)
        if config.train.patience is not None:
            yield f"{name}: train.patience: would end a run before its budget: leave it out"
        if config.train.batch_size == "auto":
            yield f"{name}: train.batch_size: auto may differ from run to run: give a number"
    if plan.baseline not in plan.variants:
        yield f"baseline: no variant is called {plan.baseline!r}, {did_you_mean(plan.baseline, plan.variants)}"
    if not plan.seeds or len(set(plan.seeds)) < len(plan.seeds) or min(plan.seeds) < 0:
        yield f"seeds: give a number of seeds, or different numbers from 0, not {list(plan.seeds)}"
    if plan.search is not None:
        yield from _search_problems(plan, plan.search)


def _search_problems(plan: Plan, search: SearchPlan) -> Iterator[str]:
    """Yield what is wrong with the search."""
    for key, values in search.parameters.items():
        section, _, name = key.partition(".")
        if name in EQUAL.get(section, ()):
            yield f"search.parameters: {key} is the study's to set: leave it out"
        if search.method == "grid" and isinstance(values, Range):
            yield f"search.parameters: {key}: a grid needs a list of values"
        if isinstance(values, list) and (not values or any(isinstance(value, list | Mapping) for value in values)):
            yield f"search.parameters: {key}: give a list of single values"
        changed = [variant for variant in plan.variants if key in dict(flatten(plan.variants[variant]))]
        if changed:
            yield f"search.parameters: {key} is what {changed[0]} changes: search something else"
        for value in values if isinstance(values, list) else (values.low, values.high):
            problems = inspect_config(plan.values(next(iter(plan.variants)), extra={key: value}))[1]
            yield from (f"search.parameters: {line}" for line in problems if line.startswith(key))
    if search.method == "grid" and search.trials is not None:
        yield "search.trials: a grid takes every combination: leave it out"
    if search.pruner == "hyperband":
        yield from _pruning_problems(plan, search)
    if search.figure not in FIGURES:
        yield f"search.figure: unknown value {search.figure!r}, {did_you_mean(search.figure, FIGURES)}"


def _pruning_problems(plan: Plan, search: SearchPlan) -> Iterator[str]:
    """Yield why trials could not be told from one another while they run."""
    if len(search.seeds) > 1:
        yield "search.pruner: hyperband looks at the evaluations of one run: give one of search.seeds"
    for name in plan.variants:
        train = inspect_config(plan.values(name))[0].train
        if train.eval_tokens is not None and search.figure in ("bits_per_byte", "word_perplexity"):
            yield f"{name}: train.eval_tokens: {search.figure} needs the whole split: leave it out to prune by it"
        if plan.budget.steps is not None and plan.budget.steps <= train.eval_every:
            yield f"{name}: train.eval_every: must be below the budget of steps, or there is nothing to prune by"


def _incomparable(plan: Plan, figure: str) -> Iterator[str]:
    """Yield why a figure would not mean the same for all variants, as far as the settings tell."""
    if "tokenizer" not in FIGURES[figure]:
        return
    tokenizers = {plan.config(name).tokenizer.model_dump_json() for name in plan.variants}
    if len(tokenizers) > 1:
        yield f"figure: {figure} of different tokenizers cannot be compared: take bits_per_byte"
