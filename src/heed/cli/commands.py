"""What every verb and action takes, as plain values: flags, settings, what they may be, and their words.

Everything is read from what the verbs declare; nothing is listed here.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import tyro
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from heed.cli import VERBS
from heed.cli.list import KINDS
from heed.cli.settings import taken

OTHERWISE = {"eval": ["--task=qa"]}
"""Words by which a verb takes other flags besides its own."""
NAMED = {
    "--model.preset": "presets",
    "--model.attention.mechanism": "attention",
    "--model.attention.score": "scores",
    "--model.attention.projection": "projections",
    "--data.source": "corpora",
}
"""Settings whose values are names that `heed list` tells."""


@dataclass(frozen=True)
class Option:
    """A flag of a command."""

    name: str
    """Such as --train.steps."""
    about: str
    """Its first sentence."""
    values: tuple[str, ...] = ()
    """What it may be, where that is a list."""
    switch: bool = False
    """Whether no value follows."""


EVERYWHERE = (
    Option("--help", "Everything that it takes, with examples", switch=True),
    Option("--quiet", "Results and errors alone", switch=True),
    Option("--trust-code", "Use the code that a run holds where the installed one is another", switch=True),
    Option("--verbose", "Every line with the time, more of them, and where an error was raised", switch=True),
)
"""What every verb takes."""


@dataclass(frozen=True)
class VerbCommand:
    """A verb, or an action of one."""

    words: tuple[str, ...]
    about: str
    """What it does, and its examples."""
    options: tuple[Option, ...]
    firsts: tuple[str, ...] = ()
    """What its first word may be, where that is a list."""
    actions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Such as `jobs cancel`."""
        return " ".join(self.words)


def commands() -> Iterator[VerbCommand]:
    """Yield every verb, each with its actions behind it."""
    for verb in VERBS:
        module = importlib.import_module(f"heed.cli.{'import_' if verb == 'import' else verb}")
        found = taken(module.main)
        inner = {name: run for name, (run, _) in found.actions.items()} | getattr(module, "ACTIONS", {})
        several = [found, *([taken(module.main, OTHERWISE[verb])] if verb in OTHERWISE else [])]
        options = {one.name: one for some in several for one in _options(some.flags, some.sections, some.config)}
        about = VERBS[verb] if found.flags is None else str(found.flags.__doc__)
        yield VerbCommand((verb,), about, (*options.values(), *EVERYWHERE), _firsts(found.flags), tuple(inner))
        for name, run in inner.items():
            own = taken(run)
            options = _options(own.flags, own.sections, own.config)
            yield VerbCommand((verb, name), str(own.flags and own.flags.__doc__), (*options, *EVERYWHERE))


def _options(flags: type[BaseModel] | None, sections: Sequence[str], config: type[BaseModel]) -> Iterator[Option]:
    """Yield the flags of a verb, then the settings that it takes."""
    if flags is None:
        return
    for name, field in flags.model_fields.items():
        if tyro.conf.Positional not in field.metadata:
            yield from _option(f"--{name.rstrip('_')}", field)
    for section in sections:
        yield from _option(f"--{section}", config.model_fields[section])


def _option(name: str, field: FieldInfo) -> Iterator[Option]:
    """Yield an option, or those of a section of settings."""
    kind, name = field.annotation, name.replace("_", "-")
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for inner, further in kind.model_fields.items():
            yield from _option(f"{name}.{inner}", further)
        return
    about = _sentence(field.description or "")
    if kind is bool:
        yield Option(name, about, switch=True)
        head, _, last = name.rpartition(".") if "." in name else ("--", "", name[2:])
        if field.default is True:
            yield Option(f"{head}.no-{last}" if "." in name else f"--no-{last}", about, switch=True)
        return
    values = tuple(KINDS[NAMED[name]]()) if name in NAMED else tuple(_choices(kind))
    yield Option(name, about, values)


def _choices(kind: Any) -> Iterator[str]:
    """Yield what a type allows where it is a list of words."""
    if get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
    elif get_origin(kind) in (Union, UnionType, tuple, list):
        for part in get_args(kind):
            yield from _choices(part)


def _firsts(flags: type[BaseModel] | None) -> tuple[str, ...]:
    """Return what the first word behind a verb may be."""
    fields = [] if flags is None else list(flags.model_fields.values())
    first = next((field for field in fields if tyro.conf.Positional in field.metadata), None)
    if flags is not None and flags.__name__ == "ListFlags":
        return tuple(KINDS)
    return () if first is None else tuple(_choices(first.annotation))


def _sentence(text: str) -> str:
    """Return the first sentence, in one line.

    >>> _sentence("Peak learning rate. It is warmed up (e.g. over 10 steps).")
    'Peak learning rate'
    """
    return re.split(r"(?<=[^.])[.;](?:\s|$)", " ".join(text.split()))[0][:110]


def shared_settings(found: Sequence[VerbCommand]) -> dict[str, list[str]]:
    """Return the settings of each section that several commands take all of."""
    names: dict[str, list[str]] = {}
    for command in found:
        if command.words == ("train",):
            for option in command.options:
                if "." in option.name:
                    names.setdefault(option.name[2:].partition(".")[0], []).append(option.name)
    return names
