"""What is wrong with a study, beyond its spelling: settings that are no good, comparisons that would not be fair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from heed.config import Config, aim_of, flatten, inspect_config, overlay
from heed.errors import did_you_mean
from heed.report.figure_kinds import FIGURES
from heed.studies.plan import NO_END, OWN, StudyPlan
from heed.studies.plan_file import Range, SearchPlan

EQUAL = {
    "data": ("source", "validation", "test", "validation_fraction", "test_fraction", "column", "label", "encoding",
             "line_ends", "separator", "questions"),
    **OWN,
}  # fmt: skip
"""Settings that no variant may change: the text, the budget and the seeds are the same for all."""


def find_problems(plan: StudyPlan) -> Iterator[str]:
    """Yield what is wrong with the settings of the base, of each variant, and of the study itself."""
    of_base = inspect_config(overlay(plan.base, {"train": {"steps": plan.budget.steps or NO_END}}))[1]
    yield from (f"base: {line}" for line in of_base)
    yield from _no_settings("base", plan.base)
    for name in plan.variants:
        for section, keys in EQUAL.items():
            given = plan.variants[name].get(section)
            for key in keys:
                if isinstance(given, Mapping) and key in given:
                    remedy = "the study sets it" if key in OWN.get(section, ()) else "set it in the base"
                    yield f"{name}: {section}.{key}: is the same for all variants of a study: {remedy}"
        yield from _no_settings(name, plan.variants[name])
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
    yield from (f"seeds: {seed} is too large: take numbers below 2^63" for seed in plan.seeds if seed >= 1 << 63)
    if len(set(plan.lengths)) < len(plan.lengths) or (plan.lengths and min(plan.lengths) < 1):
        yield f"lengths: give different contexts from 1 token on, not {list(plan.lengths)}"
    if plan.search is not None:
        yield from _search_problems(plan, plan.search)


def _search_problems(plan: StudyPlan, search: SearchPlan) -> Iterator[str]:
    """Yield what is wrong with the search."""
    for key, values in search.parameters.items():
        section, _, name = key.partition(".")
        if not name and section in Config.model_fields:
            yield f"search.parameters: {key} is no setting: name one of it, such as train.learning_rate"
            continue
        if name in EQUAL.get(section, ()):
            yield f"search.parameters: {key} is the study's to set: leave it out"
        if search.method == "grid" and isinstance(values, Range):
            yield f"search.parameters: {key}: a grid needs a list of values"
        if isinstance(values, list) and (not values or any(isinstance(value, list | Mapping) for value in values)):
            yield f"search.parameters: {key}: give a list of single values"
        elif isinstance(values, list) and len(values) > len(set(values)):
            yield f"search.parameters: {key}: give each value once"
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
    if len(set(search.seeds)) < len(search.seeds) or min(search.seeds) < 0:
        yield f"search.seeds: give different numbers from 0, not {search.seeds}"
    if search.figure not in FIGURES:
        yield f"search.figure: unknown value {search.figure!r}, {did_you_mean(search.figure, FIGURES)}"
    else:
        yield from (f"search.{line}" for line in not_measured(plan, search.figure))


def not_measured(plan: StudyPlan, figure: str) -> Iterator[str]:
    """Yield why there will be no such figure of one of the variants; nothing where all have it."""
    for name in plan.variants:
        aim = aim_of(inspect_config(plan.values(name))[0])
        if figure not in aim.figures:
            known = " or ".join(aim.figures)
            yield f"figure: {name} is measured by the {aim.unit}, which has no {figure}: take {known}"
            return


def _no_settings(where: str, given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line where the section that the study writes into holds no settings: its value would be dropped."""
    if "train" in given and not isinstance(given["train"], Mapping):
        yield f"{where}: train: must hold settings by name, as {{name: value}}, not {given['train']!r}"


def _pruning_problems(plan: StudyPlan, search: SearchPlan) -> Iterator[str]:
    """Yield why trials could not be told from one another while they run."""
    if len(search.seeds) > 1:
        yield "search.pruner: hyperband looks at the evaluations of one run: give one of search.seeds"
    for name in plan.variants:
        train = inspect_config(plan.values(name))[0].train
        if train.eval_tokens is not None and search.figure in ("bits_per_byte", "word_perplexity"):
            yield f"{name}: train.eval_tokens: {search.figure} needs the whole split: leave it out to prune by it"
        if plan.budget.steps is not None and plan.budget.steps <= train.eval_every:
            yield f"{name}: train.eval_every: must be below the budget of steps, or there is nothing to prune by"


def incomparable(plan: StudyPlan, figure: str) -> Iterator[str]:
    """Yield why a figure would not mean the same for all variants, as far as the settings tell."""
    for name in plan.variants:
        if figure in ("bits_per_byte", "word_perplexity") and plan.config(name).train.final_tokens is not None:
            yield f"{name}: train.final_tokens: {figure} needs the whole split: leave it out, or take loss"
    problems = list(not_measured(plan, figure))
    if problems:
        yield from problems
        return
    if "tokenizer" not in FIGURES[figure].moved_by:
        return
    tokenizers = {plan.config(name).tokenizer.model_dump_json() for name in plan.variants}
    if len(tokenizers) > 1:
        yield f"figure: {figure} of different tokenizers cannot be compared: take bits_per_byte"
