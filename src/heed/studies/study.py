"""A study: every variant with every seed, the same budget for all, kept in a folder that can be gone on with.

    OUT/
      experiment.yaml                the plan as given; its base in experiment.base.yaml, where that is a file
      study.json                     plan, variants and cells as plain values; rewritten whole after each cell
      runs/<variant>/seed-<n>/       an ordinary run folder for each cell
      records/                       what each cell came to, and its log
      text/                          tokenizers and token files that all share
      search/, study.sqlite          the trials of a search

Seeds come first, then variants: a study that was stopped early has whole pairs. What a cell has come to is in its
record, so a study that is killed at any moment and begun again skips what is finished, goes on with what was cut off
(bit for bit, see `heed.training.fit`), and gives the same figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heed.config import flatten, inspect_config, make_config, overlay
from heed.records.kept import write_record
from heed.records.study import STUDY, Outcome, StudyCell, StudyFile, VariantFacts
from heed.studies.plan import StudyPlan
from heed.studies.plan_checks import NO_END
from heed.studies.prepare import (
    Text,
    VariantNumbers,
    facts_of,
    text_settings,
    with_text,
)
from heed.studies.runner import Task
from heed.training.devices import machine_facts


@dataclass
class Study:
    """A study that is under way."""

    plan: StudyPlan
    folder: Path
    texts: Mapping[str, Text]
    facts: dict[str, VariantNumbers]
    threads: int | None
    """Threads of each run that does not say it itself."""
    command: str
    records: dict[tuple[str, int], Outcome]
    """By variant and seed."""
    search: dict[str, Any] | None = None
    """What the search has come to, as study.json holds it."""

    @property
    def threads_of_runs(self) -> int | None:
        """Threads that a run takes whose variant says nothing else."""
        return fixed_threads(self.plan.base) or self.threads

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Variant and seed of every cell, in the order in which they run."""
        return [(variant, seed) for seed in self.plan.seeds for variant in self.plan.variants]

    def state(self, variant: str, seed: int) -> str:
        """Return what a cell has come to; empty where that is not known."""
        found = self.records.get((variant, seed))
        return "" if found is None else found.state

    def best(self, variant: str) -> dict[str, Any]:
        """Return the settings that the search has found for a variant."""
        found = (self.search or {}).get("best", {})
        return dict(found.get(variant, found.get(self.plan.baseline)) or {})

    def task(self, variant: str, seed: int) -> Task:
        """Return the run of a cell."""
        folder = self.folder / "runs" / variant / f"seed-{seed}"
        kept = self.folder / "records" / variant / f"seed-{seed}.json"
        task = self.make_task(f"{variant}, seed {seed}", variant, seed, folder, kept, self.best(variant))
        return replace(task, lengths=self.plan.lengths)

    def make_task(self, name: str, variant: str, seed: int, folder: Path, kept: Path, extra: Mapping[str, Any]) -> Task:
        """Return a run of a variant in `folder`; `extra` are dotted settings on top."""
        text = self.texts[variant]
        facts = facts_of(self.plan, variant, text, extra) if extra else self.facts[variant]
        values = self.plan.values(variant, facts.steps, extra)
        run = {"folder": str(folder.parent), "name": folder.name, "seed": seed, "initialisation": "by-name"}
        if self.threads is not None and fixed_threads(values) is None:
            run["threads"] = self.threads
        values = overlay(values, {"run": run})
        values = with_text(values, text_settings(make_config(values), text, self.folder))
        return Task(name, values, kept, facts.steps)

    def write(self) -> None:
        """Write study.json anew."""
        plan, baseline = self.plan, self.facts[self.plan.baseline]
        variants = {
            name: VariantFacts(
                changes=dict(flatten(plan.variants[name])),
                parameters=facts.parameters,
                flops_per_token=facts.flops_per_token,
                steps=facts.steps,
            )
            for name, facts in self.facts.items()
        }
        cells = []
        for variant, seed in self.cells:
            if (variant, seed) in self.records:
                place = Path("runs") / variant / f"seed-{seed}"
                folder = place.as_posix() if (self.folder / place).is_dir() else ""
                found = self.records[variant, seed].plain()
                cells.append(StudyCell(variant=variant, seed=seed, **found, folder=folder))
        content = StudyFile(
            title=plan.title,
            figure=plan.figure,
            baseline=plan.baseline,
            budget={"kind": plan.budget.kind, "amount": plan.budget.amount},
            seeds=list(plan.seeds),
            lengths=list(plan.lengths),
            base=resolved_base(plan, baseline.steps),
            variants=variants,
            cells=cells,
            machine=machine_facts() | {"threads": self.threads_of_runs},
            command=self.command,
            search=self.search,
        )
        write_record(self.folder / STUDY, content)


def fixed_threads(values: Mapping[str, Any]) -> int | None:
    """Return the threads that settings ask for by their number.

    >>> fixed_threads({"run": {"threads": 2}}), fixed_threads({"run": {"threads": "auto"}})
    (2, None)
    """
    asked = values.get("run", {}).get("threads")
    return asked if isinstance(asked, int) else None


def resolved_base(plan: StudyPlan, steps: int | None) -> dict[str, Any]:
    """Return the base with every default written out."""
    train: dict[str, Any] = {"steps": steps or NO_END}
    if plan.budget.seconds is not None:
        train["seconds"] = plan.budget.seconds
    return inspect_config(overlay(plan.base, {"train": train}))[0].model_dump(mode="json")
