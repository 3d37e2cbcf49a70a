"""Which runs are shown, and in what order: conditions on what they are, and groups whose figures may be compared."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heed.board.summary import RunSummary
from heed.config import Config, flatten, parse_yaml
from heed.errors import ConfigError, did_you_mean
from heed.report.figure_kinds import FIGURES
from heed.report.passport import Passport

COLUMNS: dict[str, Callable[[RunSummary], Any]] = {
    "name": lambda run: run.name,
    "state": lambda run: run.state,
    "leaks": lambda run: run.leaks,
    "corpus": lambda run: run.corpus,
    "model": lambda run: run.model,
    "steps": lambda run: run.step,
    "seconds": lambda run: run.seconds,
    "tokens": lambda run: run.tokens,
    "begun": lambda run: run.begun,
}
"""What can be asked of a run beside its figures (`FIGURES`) and its settings."""
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_CONDITION = re.compile(r"\s*([\w.-]+?)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """What is asked of a run: `model.positions=rotary`, `steps>=1000`, `name~shakespeare`."""

    name: str
    sign: str
    """= != < <= > >=, or ~: the text is in it."""
    value: str

    @classmethod
    def read(cls, text: str) -> Condition:
        """Read one as it is written on a command line. Raises `ConfigError`.

        >>> Condition.read("train.steps >= 100")
        Condition(name='train.steps', sign='>=', value='100')
        """
        found = _CONDITION.fullmatch(text)
        if found is None:
            raise ConfigError(f"--where {text[:100]!r}: write a name, one of = != < <= > >= ~, and a value")
        return cls(found[1].replace("-", "_"), found[2], found[3])

    def holds(self, value: Any) -> bool:
        """Whether it holds of a value; numbers are compared as such, and order is one of numbers alone.

        >>> Condition("a", "=", "1e-3").holds(0.001), Condition("a", "=", "null").holds(None)
        (True, True)
        >>> Condition("a", ">", "2").holds("many"), Condition("a", "~", "ota").holds("rotary")
        (False, True)
        """
        if self.sign == "~":
            return self.value.casefold() in str(value).casefold()
        asked = _scalar(self.value)
        if self.sign in _ORDERS:
            return _is_number(value) and _is_number(asked) and _ORDERS[self.sign](value, asked)
        same = value == asked if type(value) is type(asked) or (_is_number(value) and _is_number(asked)) else False
        return (same or str(value) == self.value) == (self.sign == "=")


def _scalar(text: str) -> Any:
    """Return the value that a text is in YAML, where a number such as 1e-3 is one."""
    try:
        found = parse_yaml(text, "--where")
    except ConfigError:
        return text
    if isinstance(found, str):
        try:
            return float(found)
        except ValueError:
            return found
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_value(run: RunSummary, name: str) -> tuple[bool, Any]:
    """Return whether a run has something of this name, and what."""
    if name in COLUMNS:
        return True, COLUMNS[name](run)
    if name in FIGURES:
        return name in run.figures, run.figures.get(name)
    return name in run.settings, run.settings.get(name)


def check_names(runs: Iterable[RunSummary], names: Iterable[str], flag: str) -> None:
    """Raise `ConfigError` for a name that is no column, figure or setting."""
    wanted = list(names)
    if not wanted:
        return
    known = {*COLUMNS, *FIGURES, *dict(flatten(Config().model_dump())), *(key for run in runs for key in run.settings)}
    for name in wanted:
        if name not in known:
            raise ConfigError(f"{flag}: runs have nothing called {name[:60]!r}, {_hint(name[:60], known)}")


def _hint(name: str, known: set[str]) -> str:
    """Return what to write instead: the nearest name, or the setting whose last part it is."""
    last = sorted(one for one in known if one.rpartition(".")[2] == name)
    if last:
        return f"did you mean {' or '.join(map(repr, last[:3]))}?"
    near = did_you_mean(name, known)
    return near if near.startswith("did") else f"choose a setting, or one of {', '.join((*COLUMNS, *FIGURES))}"


def choose(runs: Sequence[RunSummary], conditions: Sequence[Condition]) -> tuple[list[RunSummary], list[str]]:
    """Return the runs of which all conditions hold, and a line about those that lack what is asked for.

    Raises `ConfigError` for a name that is none.
    """
    check_names(runs, [one.name for one in conditions], "--where")
    left, notes = list(runs), []
    for one in conditions:
        having = [run for run in left if read_value(run, one.name)[0]]
        if lacking := len(left) - len(having):
            notes.append(f"left out, since they have no {one.name}: {lacking:,} of {len(left):,}")
        left = [run for run in having if one.holds(read_value(run, one.name)[1])]
    return left, notes


@dataclass(frozen=True)
class RunGroup:
    """Runs in order; figures of different groups are not to be compared."""

    runs: tuple[RunSummary, ...]
    about: str = ""
    """What its figures are measured on, where it is not the only group."""


def arrange(runs: Sequence[RunSummary], by: str | None, *, reverse: bool = False) -> list[RunGroup]:
    """Return runs in order: the newest first, or by what is named; by a figure the best first, in groups.

    By a figure only runs are put in order whose passports agree in all that moves it; each kind is a group, the
    largest first, and those that have no such figure, or one without a passport, come last and in no order of it.
    Raises `ConfigError` for a name that is none.
    """
    if by is None:
        return [RunGroup(tuple(sorted(runs, key=lambda run: run.begun, reverse=not reverse)))]
    check_names(runs, [by], "--sort")
    if by not in FIGURES:
        having = [run for run in runs if read_value(run, by)[1] is not None]
        keys = {id(run): _order(read_value(run, by)[1]) for run in having}
        found = sorted(having, key=lambda run: keys[id(run)], reverse=reverse)
        lacking = [run for run in runs if read_value(run, by)[1] is None]
        return [RunGroup((*found, *lacking))]
    return _by_figure(runs, by, reverse)


def _by_figure(runs: Sequence[RunSummary], name: str, reverse: bool) -> list[RunGroup]:
    """Return a group for each kind of measurement, the largest first."""
    groups: dict[tuple[Any, ...], list[RunSummary]] = {}
    rest: list[RunSummary] = []
    for run in runs:
        key = run.alike(name)
        (groups.setdefault(key, []) if key and name in run.figures else rest).append(run)
    down = (FIGURES[name].better == "higher") != reverse
    ordered = sorted(groups.values(), key=len, reverse=True)
    made = [
        RunGroup(tuple(sorted(some, key=lambda run: run.figures[name], reverse=down)), measured_on(some[0], name))
        for some in ordered
    ]
    if rest:
        made.append(RunGroup(tuple(rest), f"no {FIGURES[name].label} that could be compared"))
    return made


def _order(value: Any) -> tuple[int, Any]:
    return (0, value) if _is_number(value) else (1, str(value))


def measured_on(run: RunSummary, figure: str | None = None) -> str:
    """Return in short what the figures of a run are measured on, as far as that moves `figure`."""
    if run.passport is not None:
        return short_passport(run.passport, FIGURES[figure].moved_by if figure else None)
    return f"{run.split} of {' '.join(run.of_tune)}" if run.of_tune else ""


def short_passport(passport: Passport, fields: Sequence[str] | None = None) -> str:
    """Return a passport in short; with `fields` only what those say.

    >>> short_passport(Passport("token", "bpe 4096 1f3a9c20", 128, 64, "joined", "validation", 18_000, 11_000, 70_000,
    ...                         "words", True, "book 88c1d2e0"))
    'beginning of validation of book 88c1d2e0, 18,000 tokens (bpe 4096 1f3a9c20), 11,000 words, 70,000 bytes, \
context 128, stride 64, documents joined'
    """
    said: Mapping[str, str] = {
        "corpus": f"{'beginning of ' if passport.partial else ''}{passport.split} of {passport.corpus}",
        "tokenizer": f"{passport.tokens:,} {passport.unit}s ({passport.tokenizer})",
        "words": f"{passport.words:,} {passport.word_rule}" if passport.words else "",
        "bytes": f"{passport.bytes:,} bytes" if passport.bytes else "",
        "context": f"context {passport.context:,}",
        "stride": f"stride {passport.stride:,}" if passport.stride != passport.context else "",
        "documents": f"documents {passport.documents}",
        "leaks": "LEAKS" if passport.leaks else "",
    }
    asked = said if fields is None else {name: text for name, text in said.items() if name in fields}
    if fields is not None and "tokens" in fields and "tokenizer" not in fields:
        asked = {**asked, "tokens": f"{passport.tokens:,} {passport.unit}s"}
    return ", ".join(text for text in asked.values() if text)
