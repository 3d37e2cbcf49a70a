"""The record of a study: what study.json and the run folders beside it say, in one plain object.

    study folder/
      study.json                     title, figure, baseline, budget, seeds, base, variants, cells, machine, search
      runs/<variant>/seed-<n>/       an ordinary run folder for each cell, with lengths.json where they were asked for

A study may still be running, and some of its cells may have failed. What is missing or broken is named in
`StudyRecord.notes`, and the rest is used. Three kinds of variants are kept out of ranking and statistics, with the
reason: those that leak (they see the tokens that they predict), those whose figures have another passport than the
baseline's, and those of which no cell came to a finite figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from heed import seals
from heed.config import UNREAD, overlay
from heed.errors import CheckpointError, DataError, HeedError
from heed.report.figure_kinds import FIGURES
from heed.report.passport import Passport, differences
from heed.report.record import RunRecord, gather, number, passport_of

STUDY, LENGTHS = "study.json", "lengths.json"
HIGHER_IS_BETTER = ("accuracy",)
SPLITS = ("validation", "test", "train")
"""The order in which splits are shown."""
STATES = ("finished", "failed", "does not fit", "broke down", "leaks", "interrupted")


@dataclass(frozen=True)
class Variant:
    """One of the things that are compared."""

    name: str
    changes: dict[str, Any]
    """Dotted setting -> value, where it differs from the base configuration."""
    parameters: int | None
    flops_per_token: int | None
    steps: int | None
    """Optimizer steps that the budget comes to; None where it is a time, see `Cell.steps`."""
    settings: dict[str, Any]
    """The base configuration with the changes, nested."""

    def setting(self, name: str) -> Any:
        """Return a setting by its dotted name; None when it is not there, or this model does not read it."""
        section, _, rest = name.partition(".")
        model = self.settings.get("model", {}) if section == "model" else {}
        kind = model.get("kind")
        if model.get("start_from") is not None and rest not in ("start_from", "kind"):
            return None  # the shape is that of the run it starts from, whatever the base says
        if rest.split(".")[0] in UNREAD.get(str(kind), ()):
            return None
        value: Any = self.settings
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


@dataclass(frozen=True)
class Cell:
    """One variant with one seed."""

    variant: str
    seed: int
    state: str
    """One of `STATES`."""
    message: str
    """Why it did not finish; empty where it did."""
    folder: str
    """The run folder, relative to the study folder; empty when there is none."""
    figures: dict[str, dict[str, Any]]
    """Final figures by split, each with its passport."""
    seconds: float | None
    tokens: int | None
    tokens_per_second: float | None
    steady: float | None
    """Bytes of memory while it trains steadily."""
    peak: float | None
    """Most bytes at once."""
    leaks: str | None
    """What the audit found, where it found a leak."""
    run: RunRecord | None
    """The run folder as it was read; None when there is none."""
    lengths: dict[int, dict[str, Any]]
    """By context in tokens: the figures of the validation split with their passport, or {"reason": why none}."""

    @property
    def steps(self) -> int | None:
        """Optimizer steps that it took, as far as they were logged."""
        return (self.run.steps or None) if self.run is not None else None

    def figure(self, name: str, split: str) -> float | None:
        """Return a final figure, None where it is missing or not finite."""
        return number(self.figures.get(split, {}).get(name))


@dataclass(frozen=True)
class StudyRecord:
    """A study folder as plain values."""

    folder: Path
    title: str
    figure: str
    """The figure that the variants are compared by: a key of `heed.report.figure_kinds.FIGURES`."""
    baseline: str
    budget: dict[str, Any]
    """kind (tokens, steps, flops or seconds) and amount."""
    seeds: tuple[int, ...]
    lengths: tuple[int, ...]
    """Contexts in tokens, ascending, at which finished cells are measured besides."""
    base: dict[str, Any]
    """The configuration that all have in common, nested."""
    variants: dict[str, Variant]
    cells: tuple[Cell, ...]
    machine: dict[str, Any]
    command: str
    search: dict[str, Any] | None
    notes: tuple[str, ...]
    """What is missing or could not be read."""

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher figure is better."""
        return self.figure in HIGHER_IS_BETTER

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Splits of which some cell has the figure, the one to decide by first."""
        found = {split for cell in self.cells for split in cell.figures if cell.figure(self.figure, split) is not None}
        return tuple(split for split in SPLITS if split in found) + tuple(sorted(found - set(SPLITS)))

    @property
    def split(self) -> str:
        """The split to decide by: validation where there is one."""
        return self.splits[0] if self.splits else SPLITS[0]

    def cells_of(self, variant: str) -> list[Cell]:
        """Return the cells of a variant, by seed."""
        return sorted((cell for cell in self.cells if cell.variant == variant), key=lambda cell: cell.seed)

    def values(self, variant: str, split: str | None = None, figure: str | None = None) -> dict[int, float]:
        """Return the finite figures of a variant's finished cells by seed, whether it may be compared or not."""
        found = {}
        for cell in self.cells_of(variant):
            value = cell.figure(figure or self.figure, split or self.split)
            if cell.state in ("finished", "leaks") and value is not None:
                found[cell.seed] = value
        return found

    def leak(self, variant: str) -> str | None:
        """Return what the audit says of a variant that sees the tokens it predicts; None when it does not."""
        return next((cell.leaks for cell in self.cells_of(variant) if cell.leaks), None)

    def passport(self, variant: str, split: str) -> Passport | None:
        """Return the first passport of a variant's figures on a split."""
        passports = (passport_of(cell.figures.get(split, {})) for cell in self.cells_of(variant))
        return next((passport for passport in passports if passport is not None), None)

    def other_passport(self, variant: str, split: str, figure: str | None = None) -> list[str]:
        """Say in which fields a variant's passports are not the baseline's, where they move the figure."""
        mine, reference = [], self.passport(self.baseline, split)
        for cell in self.cells_of(variant):
            passport = passport_of(cell.figures.get(split, {}))
            if passport is None or reference is None:
                continue
            for name in differences(reference, passport, figure or self.figure):
                line = f"{name} {getattr(passport, name)}, and {getattr(reference, name)} of {self.baseline}"
                # a leak is said as a leak
                if name != "leaks" and line not in mine:
                    mine.append(line)
        return mine

    @cached_property
    def left_out(self) -> dict[str, str]:
        """Why a variant is kept out of ranking and statistics, by name."""
        reasons = {name: self._reason(name) for name in self.variants}
        return {name: reason for name, reason in reasons.items() if reason}

    @cached_property
    def ranked(self) -> tuple[str, ...]:
        """Names of the variants that may be ranked, in the order of the study."""
        return tuple(name for name in self.variants if name not in self.left_out)

    @property
    def missing(self) -> list[tuple[str, int]]:
        """Cells that are not there yet, or were interrupted: (variant, seed)."""
        there = {(cell.variant, cell.seed) for cell in self.cells if cell.state != "interrupted"}
        return [(name, seed) for name in self.variants for seed in self.seeds if (name, seed) not in there]

    def _reason(self, name: str) -> str:
        leak = self.leak(name)
        if leak:
            return f"leaks ({leak}): it sees the tokens that it should predict"
        if not self.values(name):
            cells = self.cells_of(name)
            unfinished = [cell for cell in cells if cell.state not in ("finished", "interrupted")]
            if unfinished:
                return f"{unfinished[0].state}" + (f": {unfinished[0].message}" if unfinished[0].message else "")
            if any(cell.state == "finished" for cell in cells):
                return f"no finite {self.figure.replace('_', ' ')} on the {self.split} split"
            return "not run yet"
        other = self.other_passport(name, self.split)
        if other:
            return f"cannot be compared, its passport differs: {'; '.join(other)}"
        return ""


def read_study(folder: str | Path) -> StudyRecord:
    """Read a study folder.

    Raises `CheckpointError` when there is no study.json, `DataError` when it is no JSON object or names no variant.
    """
    path = Path(folder)
    content = _read(path)
    notes: list[str] = []
    base = _mapping(content, "base", notes)
    variants = _variants(_mapping(content, "variants", notes), base, notes)
    if not variants:
        raise DataError(f"{path / STUDY} names no variant: run the study again with heed compare")
    cells = _cells(content.get("cells"), path, variants, notes)
    figure = str(content.get("figure"))
    if figure not in FIGURES:
        notes.append(f"The figure {figure!r} is not known; bits per byte are taken.")
        figure = "bits_per_byte"
    baseline = str(content.get("baseline"))
    if baseline not in variants:
        notes.append(f"The baseline {baseline!r} is none of the variants; the first one is taken.")
        baseline = next(iter(variants))
    seeds = {seed for seed in _list(content.get("seeds")) if type(seed) is int} | {cell.seed for cell in cells}
    search = content.get("search")
    return StudyRecord(
        folder=path,
        title=str(content.get("title") or path.resolve().name),
        figure=figure,
        baseline=baseline,
        budget=_mapping(content, "budget", notes),
        seeds=tuple(sorted(seeds)),
        lengths=tuple(sorted({n for n in _list(content.get("lengths")) if type(n) is int and n > 0})),
        base=base,
        variants=variants,
        cells=tuple(cells),
        machine=_mapping(content, "machine", notes),
        command=str(content.get("command") or ""),
        search=search if isinstance(search, dict) else None,
        notes=tuple(notes),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = seals.read_json(path / STUDY)
    except FileNotFoundError:
        raise CheckpointError(f"{path} holds no study ({STUDY}): name a folder that heed compare has written") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path / STUDY} cannot be read ({error}): run the study again, what is done is kept") from None
    if not isinstance(content, dict):
        raise DataError(f"{path / STUDY} holds no object: run the study again, what is done is kept")
    return content


def _variants(values: Mapping[str, Any], base: dict[str, Any], notes: list[str]) -> dict[str, Variant]:
    """Return the variants in the order of the file."""
    variants = {}
    for name, facts in values.items():
        if not isinstance(facts, Mapping):
            notes.append(f"Variant {name} is no object and was left out.")
            continue
        changes = facts.get("changes")
        changes = dict(changes) if isinstance(changes, Mapping) else {}
        settings = base
        for dotted, value in changes.items():
            top: Any = value
            for key in reversed(str(dotted).split(".")):
                top = {key: top}
            settings = overlay(settings, top)
        parameters, flops, steps = (_whole(facts.get(key)) for key in ("parameters", "flops_per_token", "steps"))
        variants[str(name)] = Variant(str(name), changes, parameters, flops, steps, settings)
    return variants


def _cells(values: Any, path: Path, variants: Mapping[str, Variant], notes: list[str]) -> list[Cell]:
    """Return the cells of known variants; of a cell that is there twice, the last."""
    cells: dict[tuple[str, int], Cell] = {}
    for index, facts in enumerate(_list(values), 1):
        known = isinstance(facts, Mapping) and facts.get("variant") in variants and type(facts.get("seed")) is int
        if not known:
            notes.append(f"Cell {index} of {STUDY} has no known variant and seed and was left out.")
            continue
        cell = _cell(facts, path, notes)
        cells[cell.variant, cell.seed] = cell
    return list(cells.values())


def _cell(facts: Mapping[str, Any], path: Path, notes: list[str]) -> Cell:
    who = f"{facts['variant']}, seed {facts['seed']}"
    state = str(facts.get("state"))
    if state not in STATES:
        notes.append(f"{who}: the state {state!r} is not known; it counts as failed.")
        state = "failed"
    folder = _inside(facts.get("folder"), who, notes)
    run = _run(path / folder, who, state, notes) if folder else None
    values = facts.get("figures")
    figures = {str(k): dict(v) for k, v in values.items() if isinstance(v, Mapping)} if isinstance(values, dict) else {}
    memory = facts.get("memory")
    memory = memory if isinstance(memory, Mapping) else {}
    leaks = facts.get("leaks") or (run.leaks if run else None)
    if not leaks and (state == "leaks" or any(_leaks(values) for values in figures.values())):
        leaks = str(facts.get("message") or "") or "a change of later tokens moves earlier predictions"
    return Cell(
        variant=facts["variant"],
        seed=facts["seed"],
        state=state,
        message=str(facts.get("message") or ""),
        folder=folder,
        figures=figures,
        seconds=number(facts.get("seconds")),
        tokens=_whole(facts.get("tokens")),
        tokens_per_second=number(facts.get("tokens_per_second")),
        steady=number(memory.get("steady")),
        peak=number(memory.get("peak")),
        leaks=str(leaks) if leaks else None,
        run=run,
        lengths=_lengths(path / folder, who, notes) if folder and state in ("finished", "leaks") else {},
    )


def _leaks(figures: Mapping[str, Any]) -> bool:
    passport = passport_of(figures)
    return bool(figures.get("leaks")) or (passport is not None and passport.leaks)


def _inside(folder: Any, who: str, notes: list[str]) -> str:
    """Return a folder below the study's; the page links to no other place."""
    if not folder:
        return ""
    path = PurePosixPath(str(folder))
    if path.is_absolute() or ".." in path.parts:
        notes.append(f"{who}: the run folder lies outside of the study and was not read.")
        return ""
    return str(path)


def _run(folder: Path, who: str, state: str, notes: list[str]) -> RunRecord | None:
    """Read a run folder; one that is missing or broken is noted where the cell has finished."""
    try:
        return gather(folder)
    except HeedError as error:
        if state == "finished":
            why = f"the run folder is missing or broken, so there are no curves and samples of it ({error})"
            notes.append(f"{who}: {why}.")
        return None


def _lengths(folder: Path, who: str, notes: list[str]) -> dict[int, dict[str, Any]]:
    """Read what a run came to at other contexts; no file is nothing."""
    try:
        values = seals.read_json(folder / LENGTHS)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        values = None
    if not isinstance(values, dict):
        notes.append(f"{who}: {LENGTHS} is broken; run the study again to measure its lengths.")
        return {}
    return {int(key): dict(v) for key, v in values.items() if key.isdecimal() and isinstance(v, Mapping)}


def _mapping(content: Mapping[str, Any], key: str, notes: list[str]) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        notes.append(f"{key} is missing in {STUDY}.")
        return {}
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(value: Any) -> int | None:
    return int(found) if (found := number(value)) is not None else None
