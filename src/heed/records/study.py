"""The records of a study: study.json, and what each of its runs has come to (records/<variant>/seed-<n>.json)."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field

from heed.records.figures import KeptFigures
from heed.records.kept import Finite, Kept, Whole

STUDY = "study.json"
TRAINED = ("finished", "leaks")
"""States of a run that has its figures."""


class Outcome(Kept):
    """What a run of a study has come to."""

    state: str = ""
    """finished, leaks (finished, with a leak that was allowed), does not fit, broke down (NaN), failed, interrupted;
    pruned of a trial."""
    message: str = ""
    """Why it did not finish; empty where it did."""
    figures: dict[str, KeptFigures] = Field(default_factory=dict)
    """By split, each with its passport."""
    seconds: float | None = None
    """Of training."""
    tokens: Whole | None = None
    tokens_per_second: float | None = None
    memory: dict[str, Finite] | None = None
    """Bytes: steady (the median after updates) and peak."""
    leaks: str | None = None
    """What the audit found, where it found a leak."""

    @classmethod
    def of(cls, state: str, message: str = "", **values: Any) -> Self:
        """Return an outcome that says nothing of what is not given."""
        empty = {"figures": {}, "seconds": None, "tokens": None, "tokens_per_second": None, "memory": None}
        return cls.model_validate({"state": state, "message": message, **empty, "leaks": None, **values})

    def finite_figure(self, split: str, name: str) -> float | None:
        """Return a final figure, None where it is missing or not finite."""
        found = self.figures.get(split)
        return None if found is None else found.finite(name)


class _Placed(Kept):
    variant: str
    seed: int


class StudyCell(Outcome, _Placed):
    """One variant with one seed."""

    folder: str = ""
    """The run folder, relative to the study's; empty when there is none."""


class VariantFacts(Kept):
    """What a variant is, in numbers."""

    changes: dict[str, Any] = Field(default_factory=dict)
    """Dotted setting -> value, where it differs from the base."""
    parameters: Whole | None = None
    flops_per_token: Whole | None = None
    steps: Whole | None = None
    """What the budget comes to; None where it is a time."""


class StudyFile(Kept):
    """study.json."""

    title: str | None = None
    figure: str = ""
    baseline: str = ""
    budget: dict[str, Any] = Field(default_factory=dict)
    """kind (tokens, steps, flops or seconds) and amount."""
    seeds: list[int] = Field(default_factory=list)
    lengths: list[Annotated[int, Field(gt=0)]] = Field(default_factory=list)
    base: dict[str, Any] = Field(default_factory=dict)
    """The configuration that all have in common, nested, every default written out."""
    variants: dict[str, VariantFacts] = Field(default_factory=dict)
    cells: list[StudyCell] = Field(default_factory=list)
    machine: dict[str, Any] = Field(default_factory=dict)
    command: str = ""
    search: dict[str, Any] | None = None
    """What the search was asked for, every trial, and the best values."""
