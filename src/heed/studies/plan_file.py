"""The file of a study as it is written: its keys, their types, and what is said of a mistake in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from heed.config import Section
from heed.errors import ConfigError, did_you_mean


class Budget(Section):
    """What every run may spend: exactly one of these."""

    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps."""
    tokens: int | None = Field(default=None, ge=1)
    """Places of the training windows, padding included: batch size x accumulation x context x steps."""
    flops: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Floating-point operations of training, by the formula of each model."""
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
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
        if not -math.inf < self.low < self.high < math.inf:
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
    lengths: list[int] = Field(default=[])
    figure: str | None = None
    search: SearchPlan | None = None


def parse_file(content: Mapping[str, Any]) -> PlanFile:
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
    "search.parameters": "give a list of values, or {low, high, log} low below high, both finite, for log above 0",
    "lengths": "give a list of contexts in tokens, such as [50, 100, 200]",
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
    said = item["msg"].removeprefix("Value error, ")
    return f"{where}: {advice or said[0].lower() + said[1:]}"
