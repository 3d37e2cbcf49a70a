"""What a live page is told: the rows that changed, the order that was asked for, and what is new of some curves.

One `Board` serves any number of pages. It looks at the disk at most every `PAUSE` seconds, whoever asks; a run whose
files are as they were is not read again. A page asks by name for what the board has found, and by nothing else: no path
that a page writes is ever opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from heed import files
from heed.board.curves import MetricsReader, news, shown_text
from heed.board.finding import FoundFolder, Skipped, find_folders
from heed.board.progress import progress_of
from heed.board.selecting import Condition, arrange, choose, short_passport
from heed.board.summary import READ, RunSummary, summarise
from heed.board.table import letters, shown_cells
from heed.errors import HeedError
from heed.records.figures import KeptFigures
from heed.records.folder import SAMPLES
from heed.report.figure_kinds import FIGURES, LOSS
from heed.report.numbers import human_seconds
from heed.report.record import passport_of

PAUSE = 0.3
"""Seconds between two looks at the disk, at least."""
MOST_CHOSEN = 24
"""Runs whose curves are drawn together: six colours in four dashes."""
MOST_READ = 100
"""Runs whose curves are kept in memory, some megabytes each, beside those that are shown."""
NO_SETTINGS = ("run.name", "run.folder", "data.cache")
"""Settings in which runs differ that are not told: where a run lies changes no figure."""
LONGEST_LINE = 1 << 20
"""Bytes of a line of samples.jsonl that are read."""


class BoardQuestion(BaseModel):
    """What a page asks, and what it knows already."""

    model_config = ConfigDict(extra="forbid", strict=True)
    server: str = Field(default="", max_length=40)
    """Of which board it knows something."""
    since: int = Field(default=0, ge=0)
    """The version of the rows that it has."""
    order: str = Field(default="", max_length=40)
    """The order that it has."""
    where: list[str] = Field(default_factory=list, max_length=20)
    sort: str | None = Field(default=None, max_length=200)
    reverse: bool = False
    chosen: list[str] | None = Field(default=None, max_length=MOST_CHOSEN)
    """The runs whose curves it shows; None: let the board choose."""
    curves: list[str] = Field(default_factory=list, max_length=12)
    known: dict[str, dict[str, list[int]]] = Field(default_factory=dict, max_length=MOST_CHOSEN)
    """By run and curve: what it was told last."""


@dataclass
class _Watched:
    """A run that is known."""

    summary: RunSummary
    stamp: tuple[Any, ...]
    cells: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    reader: MetricsReader | None = None
    sample: tuple[tuple[Any, ...], dict[str, Any] | None] | None = None


class Board:
    """What is known of all runs below some folders."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots, self.server = list(roots), secrets.token_hex(8)
        self.version = 0
        self._lock, self._looked = threading.Lock(), -1e9
        self._runs: dict[str, _Watched] = {}
        self._many: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._found: list[FoundFolder] = []
        self._notes: list[str] = []

    def answer(self, asked: BoardQuestion) -> dict[str, Any]:
        """Return what is new to a page, ready for JSON."""
        with self._lock:
            self._look()
            anew = asked.server != self.server
            since = 0 if anew else asked.since
            problem, groups = self._ordered(asked)
            self._forget(asked.chosen or ())
            order = hashlib.sha256(json.dumps(groups).encode()).hexdigest()[:16]
            chosen = self._chosen(asked, groups)
            known = {} if anew else asked.known
            rows = [{"name": name, **one.cells} for name, one in self._runs.items() if one.version > since]
            return {
                "server": self.server,
                "version": self.version,
                "rows": rows,
                "count": len(self._runs),
                "running": sum(one.summary.state == "running" for one in self._runs.values()),
                "order": order,
                "groups": None if order == asked.order and not anew else groups,
                "problem": problem,
                "notes": self._notes,
                "many": self._progress(),
                "chosen": chosen,
                "curves": self._curves(chosen, asked.curves, known),
                "names": sorted({key for name in chosen for key in self._reader(name).curves}),
                "alike": self._alike(chosen),
                "best": self._best(chosen),
                "differ": self._differ(chosen),
                "samples": self._samples(chosen),
            }

    # ------------------------------------------------------------------ looking

    def _look(self) -> None:
        """Bring what is known up to date, unless that was done a moment ago."""
        if time.monotonic() - self._looked < PAUSE:
            return
        skipped = Skipped()
        try:
            self._found = find_folders(self.roots, skipped)
            self._notes = skipped.notes()
        except HeedError as error:
            self._found, self._notes = [], [str(error)]
        there = {found.name: found for found in self._found if found.kind == "run"}
        changed = bool(self._runs.keys() - there.keys())
        for name in self._runs.keys() - there.keys():
            del self._runs[name]
        for name, found in there.items():
            stamp = _stamp(found.path)
            known = self._runs.get(name)
            if known is not None and known.stamp == stamp:
                continue
            summary, changed = summarise(found.path, name), True
            if known is None:
                self._runs[name] = _Watched(summary, stamp)
            else:
                known.summary, known.stamp = summary, stamp
        if changed:
            self.version += 1
            runs = {name: one.summary for name, one in self._runs.items()}
            named = letters(sorted(runs.values(), key=lambda run: run.begun))
            for one in self._runs.values():
                cells = shown_cells(one.summary, named)
                if cells != one.cells:
                    one.cells, one.version = cells, self.version
        self._looked = time.monotonic()

    def _ordered(self, asked: BoardQuestion) -> tuple[str, list[dict[str, Any]]]:
        """Return what is wrong with the question, and the names of runs in the order that it asks for, in groups."""
        runs = [one.summary for one in self._runs.values()]
        problem, notes = "", []
        try:
            chosen, notes = choose(runs, [Condition.read(text) for text in asked.where if text.strip()])
            groups = arrange(chosen, asked.sort and asked.sort.replace("-", "_"), reverse=asked.reverse)
        except HeedError as error:
            problem, groups = str(error), arrange(runs, None)
        found = [{"about": group.about, "runs": [run.name for run in group.runs]} for group in groups]
        return problem or "; ".join(notes), found

    def _chosen(self, asked: BoardQuestion, groups: list[dict[str, Any]]) -> list[str]:
        """Return the runs whose curves are shown: those asked for, or the running ones and the first of the table."""
        if asked.chosen is not None:
            return [name for name in dict.fromkeys(asked.chosen) if name in self._runs]
        order = [name for group in groups for name in group["runs"]]
        first = [name for name in order if self._runs[name].summary.state == "running"]
        return list(dict.fromkeys([*first, *order]))[:6]

    def _progress(self) -> list[dict[str, Any]]:
        found, runs = [], {name: one.summary for name, one in self._runs.items()}
        for one in self._found:
            if one.kind != "run":
                far = progress_of(one, runs)
                found.append(far.plain() | {"left_said": "" if far.left is None else human_seconds(far.left)})
        return found

    def _forget(self, chosen: Sequence[str]) -> None:
        """Let go of curves that nobody has asked for of late, where there are many."""
        having = [one for name, one in self._runs.items() if one.reader is not None and name not in chosen]
        for one in having[: max(0, len(having) - MOST_READ)]:
            one.reader = None

    # ------------------------------------------------------------------ of the chosen runs

    def _reader(self, name: str) -> MetricsReader:
        one = self._runs[name]
        if one.reader is None:
            one.reader = MetricsReader(self._path(name))
            one.reader.read()
        return one.reader

    def _path(self, name: str) -> Path:
        return next(found.path for found in self._found if found.name == name and found.kind == "run")

    def _curves(
        self, chosen: Sequence[str], names: Sequence[str], known: Mapping[str, Mapping[str, list[int]]]
    ) -> dict[str, Any]:
        found = {}
        for name in chosen:
            reader = self._reader(name)
            reader.read()
            if new := news(reader, names, known.get(name, {})):
                found[name] = new
        return found

    def _alike(self, chosen: Sequence[str]) -> dict[str, str]:
        """Return what the evaluations of each run were measured on, as far as that moves the loss."""
        found = {}
        for name in chosen:
            passport = passport_of(KeptFigures.model_validate({"passport": self._reader(name).passport}))
            if passport is not None:
                found[name] = short_passport(passport, LOSS.moved_by)
            elif texts := self._runs[name].summary.of_tune:
                found[name] = f"validation of {' '.join(texts)}"
            elif "validation/loss" in self._reader(name).curves:
                found[name] = f"no passport: {name}"
        return found

    def _best(self, chosen: Sequence[str]) -> dict[str, str]:
        """Return which of the chosen runs is the best by each figure, where all are measured alike."""
        alike = set(self._alike(chosen).values())
        found: dict[str, str] = {}
        for kind in FIGURES.values() if len(alike) == 1 else ():
            best: tuple[float, float, str] | None = None
            for name in chosen:
                curve = self._reader(name).curves.get(f"validation/{kind.name}")
                for (step, _, _), value in zip(curve.places, curve.values, strict=True) if curve else ():
                    signed = value if kind.better == "lower" else -value
                    if best is None or signed < best[0]:
                        best = signed, step, name
            if best is not None:
                value = kind.written(abs(best[0]) if kind.better == "lower" else -best[0])
                found[f"validation/{kind.name}"] = f"{best[2]} is best: {value} at step {best[1]:,.0f}"
        return found

    def _differ(self, chosen: Sequence[str]) -> dict[str, Any]:
        """Return the settings in which the chosen runs differ: their names, and the values of each run as text."""
        settings = {name: self._runs[name].summary.settings for name in chosen}
        names = dict.fromkeys(key for values in settings.values() for key in values if key not in NO_SETTINGS)
        shown = {name: {key: _said(values.get(key, _MISSING)) for key in names} for name, values in settings.items()}
        differ = [key for key in names if len({values[key] for values in shown.values()}) > 1]
        return {"names": differ, "values": {name: [values[key] for key in differ] for name, values in shown.items()}}

    def _samples(self, chosen: Sequence[str]) -> dict[str, Any]:
        """Return a text of each run: that of its end, or else the last one on the way."""
        found = {}
        for name in chosen:
            one = self._runs[name]
            if one.sample is None or one.sample[0] != one.stamp:
                one.sample = one.stamp, final_text(self._path(name)) or self._reader(name).last_sample()
            if one.sample[1] is not None:
                found[name] = one.sample[1]
        return found


def final_text(folder: Path) -> dict[str, Any] | None:
    """Return the first text of samples.jsonl, as it is shown; None where there is none that can be read."""
    with suppress(OSError, ValueError, RecursionError), files.open_plain(folder / SAMPLES) as file:
        return shown_text(json.loads(file.readline(LONGEST_LINE)), None)
    return None


def _stamp(folder: Path) -> tuple[Any, ...]:
    """Return what is another value once a run has changed: sizes and times of its files, and whether it runs."""
    found: list[Any] = [files.is_held(folder / files.LOCK)]
    for name in READ:
        try:
            now = os.stat(folder / name)
            found.append((now.st_mtime_ns, now.st_size, now.st_ino))
        except OSError:
            found.append(None)
    return tuple(found)


_MISSING = object()


def _said(value: Any) -> str:
    """Return a setting as YAML has it.

    >>> _said(None), _said(True), _said(0.001), _said(["a"])
    ('null', 'true', '0.001', '["a"]')
    """
    if value is _MISSING:
        return "not known"
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
