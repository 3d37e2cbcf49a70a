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
    lengths: [64, 128, 512]                                 # contexts that each run is measured at besides

What a study must keep equal for a fair comparison is refused in a variant: the text, the budget, the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heed.config import Config, make_config, overlay
from heed.errors import ConfigError
from heed.studies.plan_file import Budget, SearchPlan
from heed.training.start import settle

EXPERIMENT, BASE = "experiment.yaml", "experiment.base.yaml"
"""What the folder of a study calls its file, and that of its base."""
NO_END = 1_000_000_000
"""`train.steps` of a run that ends by the clock."""
OWN = {"train": ("steps", "seconds"), "run": ("name", "folder", "seed", "initialisation")}
"""Settings that a study gives each cell: from a base they are left out."""


@dataclass(frozen=True)
class StudyPlan:
    """A study whose settings have been found to be valid."""

    title: str
    base: dict[str, Any]
    """The base as nested values, without what the study itself gives."""
    variants: dict[str, dict[str, Any]]
    """What differs from the base, as nested values, by the name of the variant."""
    baseline: str
    seeds: tuple[int, ...]
    budget: Budget
    lengths: tuple[int, ...]
    """Contexts, in tokens, at which every finished run is measured besides."""
    figure: str
    search: SearchPlan | None
    text: str
    """The file as given."""
    base_text: str | None = None
    """The file of the base as given; None where the base stands in the study's own file."""

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
        return settle(make_config(self.values(variant, steps, extra)))


def nest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries of settings whose names may be dotted.

    >>> nest({"model.norm_order": "post", "train": {"steps": 3}})
    {'model': {'norm_order': 'post'}, 'train': {'steps': 3}}

    Raises `ConfigError` for a setting that is named twice, once dotted and once not.
    """
    values: dict[str, Any] = {}
    for name, value in settings.items():
        name = str(name)
        inner: Any = nest(value) if isinstance(value, Mapping) and not name.endswith("options") else value
        for key in reversed(name.split(".")):
            inner = {key: inner}
        if twice := _both(values, inner):
            raise ConfigError(f"{twice}: is given twice, once with dots and once without: leave one of the two out")
        values = overlay(values, inner)
    return values


def _both(some: Any, others: Any) -> str | None:
    """Return the dotted name of a value that stands in both of two nested dictionaries, of which one would win."""
    if not (isinstance(some, Mapping) and isinstance(others, Mapping)):
        return ""
    for key in some.keys() & others.keys():
        if (below := _both(some[key], others[key])) is not None:
            return f"{key}.{below}".rstrip(".")
    return None
