"""How `heed predict` writes what is said of a text: a row of a table, an object of JSON, a line for people.

    columns of the input that are kept | place text pair [label] predicted probability [abstained] [top...] ... error

A kept column that is called as one of heed's own is written with `input.` before its name.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from heed.errors import ConfigError
from heed.targets import Target
from heed.text.formats import whole_characters
from heed.tuning.predict import Prediction, TextToClassify

RENAMED = "input."
OWN = ("place", "text", "pair", "label", "predicted", "probability", "probabilities", "abstained", "temperature")
"""Names that are never those of kept columns, besides `top`, `error` and those of the classes."""

Said = tuple[TextToClassify, Prediction, str | None]
"""A row, what is said of it, and what is wrong with its label."""


@dataclass
class PredictionRows:
    """Which columns there are, and how a row fills them."""

    target: Target
    top: int = 0
    """Likeliest classes that are named with their probabilities."""
    labelled: bool = False
    """Whether rows have labels."""
    abstains: bool = False
    """Whether a class may be too unsure to be said."""
    temperature: float | None = None
    """That probabilities were calibrated at."""
    kept: Sequence[str] = field(default_factory=list)
    """Columns of the input, as they are called there; set by `keep`."""

    def keep(self, names: Sequence[str]) -> list[str]:
        """Keep columns of the input; return those that get another name. Raises `ConfigError` where that is taken."""
        self.kept = list(names)
        called = self._kept_names()
        if twice := next((name for name in called if called.count(name) > 1), None):
            raise ConfigError(
                f"--keep: two columns would be called {twice!r}: give one of them another name in the file"
            )
        return [name for name, other in zip(names, called, strict=True) if name != other]

    def _kept_names(self) -> list[str]:
        """Return what the kept columns are called in what is written."""
        own = {*OWN, "top", "error", *self._chances(), *self._tops()}
        whole = [str(whole_characters(name, Counter())) for name in self.kept]
        return [f"{RENAMED}{name}" if name in own else name for name in whole]

    def _tops(self) -> list[str]:
        return [name for n in range(1, self.top + 1) for name in (f"top{n}", f"p(top{n})")]

    def _chances(self) -> list[str]:
        return [f"p({name})" for name in self.target.chances]

    @property
    def names(self) -> list[str]:
        """The columns of a table."""
        return [
            *self._kept_names(),
            *("place", "text", "pair"),
            *(["label"] if self.labelled else []),
            *("predicted", "probability"),
            *(["abstained"] if self.abstains else []),
            *self._tops(),
            *self._chances(),
            *(["temperature"] if self.temperature is not None else []),
            "error",
        ]

    def write_names(self, file: IO[str], *, tabs: bool) -> None:
        """Write the line of names. In a .tsv they are quoted, by which readers know that fields may be."""
        quoting = csv.QUOTE_ALL if tabs else csv.QUOTE_MINIMAL
        csv.writer(file, delimiter="\t" if tabs else ",", lineterminator="\n", quoting=quoting).writerow(self.names)

    def write(self, file: IO[str], said: Sequence[Said], suffix: str) -> None:
        """Write a line for each row, as the suffix of the file has it."""
        rows = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
        for one in said:
            if suffix == ".jsonl":
                file.write(json.dumps(self.as_dict(one), ensure_ascii=False, default=str) + "\n")
            else:
                rows.writerow(self.cells(one))
        file.flush()

    def as_dict(self, said: Said) -> dict[str, Any]:
        """Return plain values, those of kept columns first."""
        asked, found, wrong = said
        others = [*asked.others, *[None] * (len(self.kept) - len(asked.others))]
        values = dict(zip(self._kept_names(), others, strict=False))
        for name, value in found.as_dict().items():
            if name == "predicted" and self.labelled:
                values["label"] = asked.label
            if name == "probabilities" and self.top:
                best = found.likeliest(self.top)
                values["top"] = [{self.target.output: name, "probability": chance} for name, chance in best]
            values[name] = value
        if self.temperature is not None:
            values["temperature"] = self.temperature
        return values if wrong is None else values | {"error": wrong}

    def cells(self, said: Said) -> list[str]:
        """Return the cells of a row of a table, in the order of `names`."""
        asked, found, wrong = said
        others = [*asked.others, *[None] * (len(self.kept) - len(asked.others))][: len(self.kept)]
        best: list[tuple[str, float | None]] = [*found.likeliest(self.top)]
        best += [("", None)] * (self.top - len(best))
        chances = [_number((found.probabilities or {}).get(name)) for name in self.target.chances]
        return [
            *map(cell, others),
            *(found.place, found.text, found.pair or ""),
            *([cell(asked.label)] if self.labelled else []),
            "" if found.predicted is None else self.target.cell(found.predicted),
            _number(found.probability),
            *([found.abstained or ""] if self.abstains else []),
            *(part for name, chance in best for part in (name, _number(chance))),
            *chances,
            *([f"{self.temperature:.6g}"] if self.temperature is not None else []),
            found.error or wrong or "",
        ]

    def line(self, said: Said) -> str:
        """Return a line for people."""
        _, found, _ = said
        if found.error is not None:
            return f"-  -  {' '.join(found.error.split())}"
        if found.abstained is not None:
            shown = f"-  {found.abstained} {found.probability:.3f} is too unsure"
        elif self.top:
            shown = "  ".join(f"{name} {chance:.3f}" for name, chance in found.likeliest(self.top))
        else:
            shown = self.target.shown(found.as_dict())
        return f"{shown}  {' '.join(found.text.split())}"


def cell(value: object) -> str:
    """Return a value of the input as a cell of a table: lists and objects as JSON.

    >>> cell(None), cell("a"), cell(1.5), cell(True), cell(["a"])
    ('', 'a', '1.5', 'true', '["a"]')
    """
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool | list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _number(chance: float | None) -> str:
    return "" if chance is None else f"{chance:.6f}"
