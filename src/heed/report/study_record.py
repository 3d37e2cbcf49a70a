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
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field, PrivateAttr

from heed import seals
from heed.config import UNREAD, overlay
from heed.errors import CheckpointError, DataError, HeedError
from heed.records.figures import KeptFigures, LengthFigures
from heed.records.kept import DamagedError, read_leniently, read_record, unknown
from heed.records.run import LENGTHS, LengthsFile
from heed.records.study import STUDY, StudyCell, StudyFile, VariantFacts
from heed.report.figure_kinds import FIGURES
from heed.report.passport import Passport, differences
from heed.report.record import LEAK, RunRecord, gather, passport_of

NEEDED = ("base", "variants", "budget", "machine")
"""What every study.json has."""
HIGHER_IS_BETTER = ("accuracy",)
SPLITS = ("validation", "test", "train")
"""The order in which splits are shown."""
STATES = ("finished", "failed", "does not fit", "broke down", "leaks", "interrupted")


class Variant(VariantFacts):
    """One of the things that are compared."""

    _name: str = PrivateAttr("")
    _settings: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call it."""
        return self._name

    @property
    def settings(self) -> dict[str, Any]:
        """The base configuration with the changes, nested."""
        return self._settings

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


class StudyRun(StudyCell):
    """One variant with one seed, and what its run folder says."""

    _run: RunRecord | None = PrivateAttr(None)
    _lengths: dict[int, LengthFigures] = PrivateAttr(default_factory=dict)

    @property
    def run(self) -> RunRecord | None:
        """The run folder as it was read; None when there is none."""
        return self._run

    @property
    def lengths(self) -> dict[int, LengthFigures]:
        """By context in tokens: the figures of the validation split, or why there are none."""
        return self._lengths

    @property
    def steady(self) -> float | None:
        """Bytes of memory while it trains steadily."""
        return (self.memory or {}).get("steady")

    @property
    def peak(self) -> float | None:
        """Most bytes at once."""
        return (self.memory or {}).get("peak")

    @property
    def steps(self) -> int | None:
        """Optimizer steps that it took, as far as they were logged."""
        return (self.run.steps or None) if self.run is not None else None

    @property
    def losses(self) -> list[tuple[int, float, float | None]]:
        """Of each evaluation that has a finite loss: its step, the loss, and that of the part of the training data."""
        events = [] if self.run is None else self.run.evaluations
        known = [(event, loss) for event in events if (loss := event.finite("loss")) is not None]
        return [(e.step, loss, None if e.train is None else e.train.finite("loss")) for e, loss in known]


class StudyRecord(StudyFile):
    """study.json as pages want it: `read_study` has put right what it says, and read the run folders beside it."""

    title: str = ""  # pyright: ignore[reportIncompatibleVariableOverride]
    variants: dict[str, Variant] = Field(default_factory=dict)  # pyright: ignore[reportIncompatibleVariableOverride]
    cells: list[StudyRun] = Field(default_factory=list)  # pyright: ignore[reportIncompatibleVariableOverride]
    _folder: Path = PrivateAttr(default_factory=Path)
    _notes: list[str] = PrivateAttr(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._folder

    @property
    def notes(self) -> tuple[str, ...]:
        """What is missing or could not be read."""
        return tuple(self._notes)

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher figure is better."""
        return self.figure in HIGHER_IS_BETTER

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """Splits of which some cell has the figure, the one to decide by first."""
        found = {
            split for cell in self.cells for split in cell.figures if cell.finite_figure(split, self.figure) is not None
        }
        return tuple(split for split in SPLITS if split in found) + tuple(sorted(found - set(SPLITS)))

    @property
    def split(self) -> str:
        """The split to decide by: validation where there is one."""
        return self.splits[0] if self.splits else SPLITS[0]

    def cells_of(self, variant: str) -> list[StudyRun]:
        """Return the cells of a variant, by seed."""
        return sorted((cell for cell in self.cells if cell.variant == variant), key=lambda cell: cell.seed)

    def values(self, variant: str, split: str | None = None, figure: str | None = None) -> dict[int, float]:
        """Return the finite figures of a variant's finished cells by seed, whether it may be compared or not."""
        found = {}
        for cell in self.cells_of(variant):
            value = cell.finite_figure(split or self.split, figure or self.figure)
            if cell.state in ("finished", "leaks") and value is not None:
                found[cell.seed] = value
        return found

    def leak(self, variant: str) -> str | None:
        """Return what the audit says of a variant that sees the tokens it predicts; None when it does not."""
        return next((cell.leaks for cell in self.cells_of(variant) if cell.leaks), None)

    def passport(self, variant: str, split: str) -> Passport | None:
        """Return the first passport of a variant's figures on a split."""
        passports = (passport_of(cell.figures.get(split)) for cell in self.cells_of(variant))
        return next((passport for passport in passports if passport is not None), None)

    def other_passport(self, variant: str, split: str, figure: str | None = None) -> list[str]:
        """Say in which fields a variant's passports are not the baseline's, where they move the figure."""
        mine, reference = [], self.passport(self.baseline, split)
        for cell in self.cells_of(variant):
            passport = passport_of(cell.figures.get(split))
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

    Raises `CheckpointError` when there is no study.json, or one of another version, `DataError` when it is no JSON
    object or names no variant.
    """
    path = Path(folder)
    study, notes = read_leniently(StudyRecord, _read(path), path / STUDY)
    if not study.variants:
        raise DataError(f"{path / STUDY} names no variant: run the study again with heed compare")
    notes += [f"{key} is missing in {STUDY}." for key in NEEDED if key not in study.model_fields_set]
    notes += [f"{STUDY} has {name}, which this heed does not know: a newer one wrote it." for name in unknown(study)]
    study._folder, study._notes = path, notes
    study.title = study.title or path.resolve().name
    _fill_in(study, notes)
    study.cells = _cells(study, path, notes)
    study.seeds = sorted({*study.seeds, *(cell.seed for cell in study.cells)})
    study.lengths = sorted(set(study.lengths))
    return study


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


def _fill_in(study: StudyRecord, notes: list[str]) -> None:
    """Take known names for unknown ones, and give each variant its settings."""
    if study.figure not in FIGURES:
        notes.append(f"The figure {study.figure!r} is not known; bits per byte are taken.")
        study.figure = "bits_per_byte"
    if study.baseline not in study.variants:
        notes.append(f"The baseline {study.baseline!r} is none of the variants; the first one is taken.")
        study.baseline = next(iter(study.variants))
    for name, variant in study.variants.items():
        settings = study.base
        for dotted, value in variant.changes.items():
            top: Any = value
            for key in reversed(dotted.split(".")):
                top = {key: top}
            settings = overlay(settings, top)
        variant._name, variant._settings = name, settings


def _cells(study: StudyRecord, path: Path, notes: list[str]) -> list[StudyRun]:
    """Return the cells of known variants, each with its run; of a cell that is there twice, the last."""
    cells: dict[tuple[str, int], StudyRun] = {}
    for cell in study.cells:
        if cell.variant in study.variants:
            _fill_in_cell(cell, path, notes)
            cells[cell.variant, cell.seed] = cell
        else:
            notes.append(f"A cell of {STUDY} is of {cell.variant!r}, which is no variant, and was left out.")
    return list(cells.values())


def _fill_in_cell(cell: StudyRun, path: Path, notes: list[str]) -> None:
    """Read the run of a cell."""
    who = f"{cell.variant}, seed {cell.seed}"
    if cell.state not in STATES:
        notes.append(f"{who}: the state {cell.state!r} is not known; it counts as failed.")
        cell.state = "failed"
    cell.folder = _inside(cell.folder, who, notes)
    cell._run = _run(path / cell.folder, who, cell.state, notes) if cell.folder else None
    if cell.folder and cell.state in ("finished", "leaks"):
        cell._lengths = _lengths(path / cell.folder, who, notes)
    cell.leaks = cell.leaks or (cell.run.leaks if cell.run else None)
    if not cell.leaks and (cell.state == "leaks" or any(map(_leaks, cell.figures.values()))):
        cell.leaks = cell.message or LEAK


def _leaks(figures: KeptFigures) -> bool:
    passport = passport_of(figures)
    return bool(figures.leaks) or (passport is not None and passport.leaks)


def _inside(folder: str, who: str, notes: list[str]) -> str:
    """Return a folder below the study's; the page links to no other place."""
    if not folder:
        return ""
    path = PurePosixPath(folder)
    if path.is_absolute() or ".." in path.parts:
        notes.append(f"{who}: the run folder lies outside of the study and was not read.")
        return ""
    return str(path)


def _run(folder: Path, who: str, state: str, notes: list[str]) -> RunRecord | None:
    """Read a run folder; one that is missing or broken is noted where the cell has finished."""
    try:
        run = gather(folder)
        notes += [f"{who}: {edited}" for edited in run.edited]
        return run
    except HeedError as error:
        if state == "finished":
            why = f"the run folder is missing or broken, so there are no curves and samples of it ({error})"
            notes.append(f"{who}: {why}.")
        return None


def _lengths(folder: Path, who: str, notes: list[str]) -> dict[int, LengthFigures]:
    """Read what a run came to at other contexts; no file is nothing."""
    try:
        return read_record(LengthsFile, folder / LENGTHS).lengths
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, DamagedError):
        notes.append(f"{who}: {LENGTHS} is broken; run the study again to measure its lengths.")
        return {}
