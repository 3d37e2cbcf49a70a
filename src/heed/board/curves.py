"""The curves of a run as they grow: metrics.jsonl is read on from where it was read last, and thinned for a screen.

A curve is sent as buckets of equally many points, a power of two of them, so that a bucket that is full never changes:
mean place, mean, lowest and highest value. Whoever has seen the first `count` points is sent what has come since.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heed import files
from heed.records.events import METRICS, scalars
from heed.records.kept import finite_or_none

MOST = 600
"""Buckets of a curve: a screen shows no more."""
LONGEST_TEXT = 4000
"""Characters of a sample that are shown."""


@dataclass
class Curve:
    """The points of one number of a run, in order."""

    places: list[tuple[float, float, float]] = field(default_factory=list)
    """Steps, training tokens and seconds of training of each."""
    values: list[float] = field(default_factory=list)

    def cut(self, step: float) -> None:
        """Take away the points beyond a step."""
        keep = len(self.places)
        while keep and self.places[keep - 1][0] > step:
            keep -= 1
        del self.places[keep:], self.values[keep:]

    @property
    def size(self) -> int:
        """Points of a bucket."""
        size = 1
        while len(self.values) > size * MOST:
            size *= 2
        return size

    def since(self, count: int) -> tuple[int, list[list[float]]]:
        """Return (number of the first bucket, buckets from the one that held point `count` on).

        A bucket is [step, tokens, seconds, mean], with lowest and highest where it has several points. The last one
        ends where the curve ends.
        """
        size, found = self.size, []
        first = count // size
        for start in range(first * size, len(self.values), size):
            places, values = self.places[start : start + size], self.values[start : start + size]
            last = start + size >= len(self.values)
            place = places[-1] if last or size == 1 else tuple(sum(each) / size for each in zip(*places, strict=True))
            if start == 0 and not last:
                place = places[0]
            mean = sum(values) / len(values)
            spread = [_short(min(values)), _short(max(values))] if size > 1 else []
            found.append([*map(_short, place), _short(mean), *spread])
        return first, found


def _short(value: float) -> float:
    return float(f"{value:.7g}")


class MetricsReader:
    """Reads what a run appends to its metrics.jsonl; a resumption takes back what lies beyond its step."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS
        self._begin()
        self.generation = 0
        """How often points were taken back: what was sent before is void then."""

    def _begin(self) -> None:
        self.place, self.file, self.curves = 0, 0, dict[str, Curve]()
        self.samples: list[tuple[int, int, int]] = []
        """(step, place in the file, bytes) of each event `sample`."""
        self.passport: Mapping[str, Any] | None = None
        """Of the last evaluation."""
        self.damaged = 0
        """Lines that could not be read."""

    def read(self) -> None:
        """Read the lines that are new and whole."""
        try:
            with files.open_plain(self.path) as file:
                now = os.fstat(file.fileno())
                if now.st_size < self.place or (
                    self.file and now.st_ino != self.file
                ):  # a torn line cut off; written over
                    self._begin()
                    self.generation += 1
                self.file = now.st_ino
                file.seek(self.place)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._take(line)
                    self.place += len(line)
        except OSError:
            if self.file:
                self._begin()
                self.generation += 1

    def _take(self, line: bytes) -> None:
        if line.startswith(b'{"event": "sample"'):  # long, and seldom looked at
            step = line[: line.find(b",", 20)].rpartition(b":")[2].strip()
            if step.isdigit():
                self.samples.append((int(step), self.place, len(line)))
            return
        try:
            content = json.loads(line)
            step = finite_or_none(content.get("step"))
        except (ValueError, AttributeError, RecursionError):
            self.damaged += 1
            return
        if step is None:
            return
        if content.get("event") == "resume":
            self._resume(step)
            return
        tokens, seconds = (finite_or_none(content.get(name)) or 0.0 for name in ("tokens", "seconds"))
        place = (step, tokens, seconds)
        for name, value in scalars(content).items():
            curve = self.curves.setdefault(name, Curve())
            curve.places.append(place)
            curve.values.append(value)
        if isinstance(passport := content.get("passport"), dict):
            self.passport = passport

    def _resume(self, step: float) -> None:
        if any(curve.places and curve.places[-1][0] > step for curve in self.curves.values()):
            self.generation += 1
        for curve in self.curves.values():
            curve.cut(step)
        self.samples = [one for one in self.samples if one[0] <= step]

    def last_sample(self) -> dict[str, Any] | None:
        """Return the first text of the last event `sample`, with its step."""
        with suppress(OSError, ValueError, KeyError, IndexError, TypeError, RecursionError):
            step, place, size = self.samples[-1]
            with files.open_plain(self.path) as file:
                file.seek(place)
                return shown_text(json.loads(file.read(size))["texts"][0], step)
        return None


def shown_text(sample: Any, step: int | None) -> dict[str, Any] | None:
    """Return prompt and text of a sample as far as they are shown, and the step that it was written at."""
    if not isinstance(sample, Mapping):
        return None
    prompt, text = str(sample.get("prompt") or ""), str(sample.get("text") or "")
    return {"prompt": prompt[:LONGEST_TEXT], "text": text.removeprefix(prompt)[:LONGEST_TEXT], "step": step}


def news(reader: MetricsReader, names: Sequence[str], known: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Return what is new of some curves to somebody who knows {name: [generation, size of buckets, points]} of them.

    {name: {"known": [generation, size, points], "from": number of the first bucket, "buckets": [...]}}; a curve that
    has not changed is left out.
    """
    found = {}
    for name in names:
        curve = reader.curves.get(name)
        if curve is None:
            if name in known:
                found[name] = {"known": [reader.generation, 1, 0], "from": 0, "buckets": []}
            continue
        state = [reader.generation, curve.size, len(curve.values)]
        had = list(known.get(name, ()))
        if had == state:
            continue
        count = had[2] if len(had) == 3 and had[:2] == state[:2] and 0 <= had[2] <= state[2] else 0
        # the last bucket ended where the curve ended: its place is another one now
        first, buckets = curve.since(max(0, count - 1))
        found[name] = {"known": state, "from": first, "buckets": buckets}
    return found
