"""From YAML files and nested dictionaries to a checked `Config`, and what is said of a mistake in them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import yaml
from pydantic import BaseModel, ValidationError
from yaml.nodes import ScalarNode

from heed.config.checks import contradictions
from heed.config.sections import PRESETS, Config
from heed.config.strict_yaml import parse_yaml
from heed.errors import ConfigError, did_you_mean
from heed.seals import write_text

MOST_OWN = 1 << 16
"""Bytes of a configuration that heed writes, at most."""
_SCALARS = yaml.SafeLoader("")
_NOT_OWN = re.compile(rb"[&*!]|<<|\?[ \n]")


class Dumped(Protocol):
    """A configuration, of whatever kind of run."""

    def model_dump(self) -> dict[str, Any]:
        """Return everything as plain values."""
        ...


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML configuration as nested dictionaries.

    Raises `ConfigError` when the file is missing, is no YAML, or is no mapping.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"no such configuration file: {file}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 at byte {error.start:,}: save it as UTF-8") from None
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        raise ConfigError(f"{str(file)[:200]} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    content = parse_yaml(text, str(file))
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ConfigError(f"{file} must hold sections (data, tokenizer, model, train, run), not a {kind}")
    return content


def read_own_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML configuration that is as heed wrote it, which needs no strict reading: many times as fast.

    What heed writes has no aliases, tags or merges; a file that may have some is read by `read_yaml`. Raises what that
    raises.
    """
    with suppress(OSError, yaml.YAMLError, ValueError, RecursionError):
        text = Path(path).read_bytes()
        if len(text) < MOST_OWN and not _NOT_OWN.search(text):
            events = iter(yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
            begin = next(event for event in events if isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent))
            if isinstance(begin, yaml.MappingStartEvent):
                return _built(begin, events)
    return read_yaml(path)


def _built(event: Any, events: Iterator[Any]) -> Any:
    """Return the value that begins with an event of a YAML parser."""
    if isinstance(event, yaml.MappingStartEvent):
        found = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            found[_built(event, events)] = _built(next(events), events)
        return found
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_built(event, events))
        return items
    return _plain_scalar(event.value) if event.implicit[0] else event.value


@lru_cache(4096)
def _plain_scalar(text: str) -> Any:
    """Return the value of a scalar without quotation marks, as the safe loader does."""
    return _SCALARS.construct_object(ScalarNode(_SCALARS.resolve(ScalarNode, text, (True, False)), text))


def make_config(values: Mapping[str, Any]) -> Config:
    """Check nested dictionaries and return the `Config`, with `model.preset` filled in beneath them.

    Raises `ConfigError` that holds every problem at once, each a line such as
    `model.n_layer: unknown setting, did you mean 'n_layers'?`.
    """
    config, problems = inspect_config(values)
    if problems:
        raise ConfigError(*problems)
    return config


def inspect_config(values: Mapping[str, Any]) -> tuple[Config, list[str]]:
    """Return the configuration without the settings that are no good, and every problem, one line each."""
    model = values.get("model")
    if isinstance(model, Mapping) and isinstance(preset := model.get("preset"), str):
        values = {**values, "model": {**PRESETS.get(preset, {}), **model}}
    try:
        config = Config.model_validate(values)
        return config, contradictions(config)
    except ValidationError as error:
        bad: dict[tuple[str, ...], list[Any]] = {}
        for item in error.errors():
            bad.setdefault(_setting(item["loc"]), []).append(item)
    problems = [_explain(where, items) for where, items in bad.items()]
    config = Config.model_validate(_without(values, bad))
    names = [".".join(where) for where, items in bad.items() if items[0]["type"] != "extra_forbidden"]
    # A default stands where a value was bad, and what goes against that default was not asked for.
    return config, problems + [line for line in contradictions(config) if not any(name in line for name in names)]


def overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested dictionaries with the values of `top` over those of `base`.

    >>> overlay({"train": {"steps": 1, "clip": 2}}, {"train": {"steps": 3}})
    {'train': {'steps': 3, 'clip': 2}}
    """
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = overlay(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings by dotted name.

    >>> list(flatten({"train": {"steps": 3}, "seed": 1}))
    [('train.steps', 3), ('seed', 1)]
    """
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def write_yaml(config: Dumped, path: str | Path) -> None:
    """Write the resolved configuration whole or not at all, every default spelled out, and keep its hash."""
    write_text(path, yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True))


def _explain(keys: Sequence[str], items: Sequence[Any]) -> str:
    """Turn what pydantic says of one setting into a line that names it and the remedy."""
    where, item = ".".join(keys), items[0]
    if len(items) > 1:  # one a branch of the type, as in `int | Literal["auto"]`
        branches = (i["ctx"]["expected"] if i["type"] == "literal_error" else "a whole number" for i in items)
        return f"{where}: {_short(item['input'])} is neither {' nor '.join(branches)}"
    if item["type"] == "extra_forbidden" and where in ("variants", "axes", "budget", "base"):
        return f"{where}: is for the file of a study: run that with heed compare"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown setting, {did_you_mean(keys[-1], _siblings(keys[:-1]))}"
    if item["type"] == "literal_error":
        choices = [part.strip().strip("'") for part in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"{where}: unknown value {_short(item['input'])}, {did_you_mean(str(item['input']), choices)}"
    if item["type"] in ("dict_type", "model_type"):
        return f"{where}: must hold settings by name, as {{name: value}}, not {_short(item['input'])}"
    said = item["msg"].removeprefix("Value error, ")
    return f"{where}: {said[0].lower()}{said[1:]}, not {_short(item['input'])}"


def _short(value: Any) -> str:
    """Return a value as it is written in YAML, as far as a line can hold it."""
    try:
        shown = repr(value)
    except ValueError:  # a number of more than 4,300 digits
        return "a number that long"
    return shown if len(shown) <= 100 else f"{shown[:97]}..."


def _setting(location: Sequence[int | str]) -> tuple[str, ...]:
    """Return the setting at pydantic's location, which may go on into the branches of a type."""
    keys = tuple(map(str, location))
    for depth in range(1, len(keys)):
        if not _siblings(keys[:depth]):
            return keys[:depth]
    return keys


def _without(values: Mapping[Any, Any], bad: Collection[tuple[str, ...]]) -> dict[str, Any]:
    """Return nested dictionaries without these settings.

    >>> _without({"train": {"steps": "x", "clip": 1}, "run": 3}, {("train", "steps"), ("run",)})
    {'train': {'clip': 1}}
    """
    kept = {str(key): value for key, value in values.items() if (str(key),) not in bad}
    below = {key: {where[1:] for where in bad if where[0] == key} for key in kept}
    return {key: _without(value, below[key]) if below[key] else value for key, value in kept.items()}


def _siblings(keys: Sequence[str]) -> list[str]:
    """Return the names of the settings in the section that `keys` lead to."""
    section: Any = Config
    for key in keys:
        field = section.model_fields.get(key)
        section = field.annotation if field is not None else None
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
    return list(section.model_fields)
