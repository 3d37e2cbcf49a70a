"""A study's file becomes a plan, or every problem of it at once."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from heed.config import aim_of, flatten, inspect_config, overlay, read_yaml
from heed.errors import ConfigError, did_you_mean
from heed.report.figure_kinds import FIGURES
from heed.studies.plan import BASE, EXPERIMENT, OWN, StudyPlan, nest
from heed.studies.plan_checks import find_problems, incomparable
from heed.studies.plan_file import PlanFile, parse_file

MOST = 1000
"""Variants of a study at most, and seeds."""
LONGEST = 200
"""Bytes of the name of a variant: a folder may have 255, and files beside it have longer names."""


def read_plan(path: str | Path) -> StudyPlan:
    """Read the file of a study. Raises `ConfigError` that holds every problem of every variant at once."""
    content = read_yaml(path)
    file = parse_file(content)
    base, base_text = _base(file, Path(path))
    variants = _variants(file)
    if (file.seeds if isinstance(file.seeds, int) else len(file.seeds)) > MOST:
        raise ConfigError(f"seeds: a study has at most {MOST:,}: give fewer")
    seeds = tuple(range(1, file.seeds + 1)) if isinstance(file.seeds, int) else tuple(file.seeds)
    plan = StudyPlan(
        title=file.title or Path(path).stem,
        base=base,
        variants=variants,
        baseline=file.baseline or next(iter(variants)),
        seeds=seeds,
        budget=file.budget,
        lengths=tuple(sorted(file.lengths)),
        figure="",
        search=file.search,
        text=Path(path).read_text(encoding="utf-8"),
        base_text=base_text,
    )
    problems = list(find_problems(plan))
    aims = [aim_of(inspect_config(plan.values(name))[0]) for name in variants]
    kinds = {aim.both_sides for aim in aims}
    if len(kinds) > 1:
        problems.append("variants: encoders and models that predict the next token have no figure in common")
    units = list(dict.fromkeys(aim.unit for aim in aims))
    if len(kinds) == 1 and len(units) > 1:
        problems.append(
            f"variants: one is measured by the {units[0]}, another by the {units[1]}: give data.questions in the base, "
            "and all are measured by their answers"
        )
    figure = file.figure or aims[0].study_figure
    if figure not in FIGURES:
        problems.append(f"figure: unknown value {figure!r}, {did_you_mean(figure, FIGURES)}")
    elif not problems:
        problems += incomparable(plan, figure)
    if problems:
        raise ConfigError(*problems)
    return StudyPlan(**{**vars(plan), "figure": figure})


def _base(file: PlanFile, path: Path) -> tuple[dict[str, Any], str | None]:
    """Return the base as nested values, without what the study gives, and the text of its file where it has one.

    A path is looked up here, then beside the file; of a study that was begun its folder has a copy, which comes first.
    Raises `ConfigError` when the file is missing.
    """
    text = None
    if isinstance(file.base, str):
        places = [Path(file.base), path.parent / file.base]
        if path.name == EXPERIMENT:
            places.insert(0, path.with_name(BASE))
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise ConfigError(f"base: no such configuration file: {file.base}")
        base, text = nest(read_yaml(found)), found.read_text(encoding="utf-8")
    else:
        base = nest(file.base)
    base = overlay(base, nest(file.set))
    for section, names in OWN.items():
        if isinstance(base.get(section), Mapping):
            base[section] = {name: value for name, value in base[section].items() if name not in names}
    return base, text


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
        for name, changes in named.items():
            if any(f"{known}.".startswith(f"{key}.") for known, _ in flatten(changes)):
                problems.append(f"axes: {key} is what the variant {name} sets as well: leave it out of one of the two")
    if not named and not file.axes:
        problems.append("variants: there is nothing to compare: name variants, or give axes")
    if problems:
        raise ConfigError(*problems)
    count = math.prod(len(values) for values in file.axes.values()) * max(1, len(named))
    if count > MOST:
        raise ConfigError(
            f"axes: they come to {_counted(count)} variants, and a study has at most {MOST:,}: leave some out"
        )
    crossed: dict[str, dict[str, Any]] = {}
    for name, changes in (named or {"": {}}).items():
        for point in itertools.product(*file.axes.values()):
            settings = dict(zip(file.axes, point, strict=True))
            full = "-".join(filter(None, [name, *(_value_name(key, value) for key, value in settings.items())]))
            if full in crossed:
                raise ConfigError(f"axes: two variants would be called {full!r}: leave out one of them")
            if not 0 < len(full.encode()) <= LONGEST:
                raise ConfigError(f"variants: {full!r} becomes a folder: take 1 to {LONGEST} letters")
            crossed[full] = overlay(changes, nest(settings))
    return crossed


def _counted(number: int) -> str:
    return f"{number:,}" if number < 10**15 else "countless"


def _value_name(key: str, value: Any) -> str:
    """Return what a value of an axis is called.

    >>> _value_name("train.optimizer", "sgd"), _value_name("model.n_layers", 2)
    ('sgd', 'n_layers=2')
    """
    name = value if isinstance(value, str) else f"{key.rpartition('.')[2]}={str(value).lower()}"
    return re.sub(r"[^\w.=+-]+", "_", name).lstrip(".")
