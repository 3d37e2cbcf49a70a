"""From words on the command line to typed values.

A verb declares what it takes as a frozen pydantic model (`Section`); tyro turns that into flags, help and values.
Verbs that configure a run add every setting of `Config` as a dotted flag (`--train.steps 400`). Those go the way a
YAML file goes, through `make_config`, so a mistake reads the same in both and all mistakes are told at once.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

import tyro
import yaml
from pydantic import BaseModel, ValidationError

from heed.config import Config, make_config, overlay
from heed.errors import ConfigError, did_you_mean

Flags = TypeVar("Flags", bound=BaseModel)
COMMAS = "commas"
"""Marks an option, in its annotation, that holds several values with commas between."""
SECTIONS = tuple(Config.model_fields)


def parse(
    flags: type[Flags], argv: Sequence[str], verb: str, sections: Sequence[str] = (), config: type[BaseModel] = Config
) -> Flags:
    """Parse a verb's own flags; `--help` prints them with the docstring of `flags` and exits.

    `sections` are those of `config` whose settings the verb takes besides; they are offered where an option is not
    known.
    Raises `ConfigError` with one line where tyro would print a box.
    """
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            return tyro.cli(flags, args=list(argv), prog=f"heed {verb}", description=flags.__doc__)
    except SystemExit as stop:
        if not stop.code:
            raise
        message = _one_line(output.getvalue())
        unknown = re.search(r"Unrecognized options: (.*)", message)
        option = re.match(r"--[\w.-]+", unknown[1]) if unknown else None
        if option:
            message = f"unknown option {option[0]}, {_advice(option[0], flags, sections, config)}"
        elif unknown:
            message = f"unexpected: {unknown[1]}"
        if not option:
            message = _list_advice(argv, flags, message, settings=bool(sections)) or message
        if unknown or "value is missing" in message:
            message += _dash_advice(message, argv, flags)
        raise ConfigError(f"{message} (heed {verb} --help shows all)") from None
    except ValidationError as error:
        details = "; ".join(f"--{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{details} (heed {verb} --help shows all)") from None


def _list_advice(argv: Sequence[str], flags: type[BaseModel], message: str, *, settings: bool) -> str | None:
    """Return what to write in the place of several values that the command line has blanks between, or commas."""
    fields = {_option(name): field for name, field in flags.model_fields.items()}
    for place, word in enumerate(argv):
        if word not in fields:
            continue
        values = list(itertools.takewhile(lambda value: not re.match(r"--?[A-Za-z]", value), argv[place + 1 :]))
        if COMMAS in fields[word].metadata and len(values) > 1 and message.startswith("unexpected"):
            return f"{word}: several values have commas between them and no blanks: {word} {','.join(values[:2])}"
        if get_origin(fields[word].annotation) is tuple and word in message and "," in "".join(values[:1]):
            return f"{word}: several values have blanks between them: {word} {' '.join(values[0].split(','))}"
    if settings and message.startswith("unexpected"):
        return f"{message}; several values of a setting have commas between them and no blanks"
    return None


def _dash_advice(message: str, argv: Sequence[str], flags: type[BaseModel]) -> str:
    """Return how a value is written that begins with a dash, for options, and for verbs that take texts."""
    option = re.match(r"(--[\w-]+): a value is missing", message)
    ways = [f"a value that begins with a dash is written {option[1]}=VALUE"] if option else []
    texts = [field.annotation for field in flags.model_fields.values() if tyro.conf.Positional in field.metadata]
    takes = any(get_origin(kind) is tuple and str in get_args(kind) for kind in texts)
    if takes and any(word.startswith("-") for word in argv):
        ways.append('a text that begins with a dash stands behind two: -- "--text"')
    return "".join(f"; {way}" for way in ways)


def _option(name: str) -> str:
    return "--" + name.rstrip("_").replace("_", "-")


def split_settings(argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Take the dotted settings out of a command line: nested values, and the words that remain.

    A setting without a value is a switch; `no-` before its name switches it off.

    >>> split_settings(["text/", "--train.steps", "400", "--model.no-bias", "--resume", "runs/a"])
    ({'train': {'steps': '400'}, 'model': {'bias': False}}, ['text/', '--resume', 'runs/a'])
    >>> split_settings(["--model.attention.path=reference"])
    ({'model': {'attention': {'path': 'reference'}}}, [])

    What has settings below it may be written as one YAML or JSON mapping.

    >>> split_settings(["--model.attention.options", "{block: 8}", "--model.attention.options.window_blocks", "5"])
    ({'model': {'attention': {'options': {'block': 8, 'window_blocks': '5'}}}}, [])
    """
    values: dict[str, Any] = {}
    rest: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        match = re.fullmatch(r"--([A-Za-z_][\w-]*(?:\.[\w-]+)+)(?:=(.*))?", word, re.DOTALL)
        if match is None:
            rest.append(word)
            continue
        keys = [key.replace("-", "_") for key in match[1].split(".")]
        value: Any = match[2]
        if value is None:
            if words and not re.match(r"--[A-Za-z]", words[0]):
                value = words.pop(0)
            else:
                value = not keys[-1].startswith("no_")
                keys[-1] = keys[-1].removeprefix("no_")
        written = _mapping(keys, value)
        if written is None:
            place(values, keys, None if value in ("None", "null") else value)
        else:
            for inner, part in written.items():
                place(values, [*keys, str(inner)], part)
    return values, rest


def _mapping(keys: Sequence[str], value: Any) -> dict[Any, Any] | None:
    """Return the settings that `value` writes as one mapping, where `keys` name what has settings below it."""
    kind: Any = Config
    for key in keys:
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)) or key not in kind.model_fields:
            return None
        kind = kind.model_fields[key].annotation
    if get_origin(kind) is not dict and not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return None
    with contextlib.suppress(yaml.YAMLError):
        written = yaml.safe_load(value) if isinstance(value, str) else value
        return written if isinstance(written, dict) else None
    return None


def _advice(option: str, flags: type[BaseModel], sections: Sequence[str], config: type[BaseModel]) -> str:
    """Return a hint that names the flags and settings nearest to `option`; positionals are none."""
    own: dict[str, Any] = {}
    for name, field in flags.model_fields.items():
        if name in SECTIONS and field.annotation is Config.model_fields[name].annotation:
            sections = [*sections, name]  # the verb is a configuration itself
        elif tyro.conf.Positional not in field.metadata:
            own[_option(name)] = field
    meant: dict[str, list[str]] = {name: [name] for name in own}
    for section in sections:
        for setting in _settings(section, config.model_fields[section].annotation):
            full = f"--{setting}"
            meant.setdefault(full, []).append(full)
            meant.setdefault(f"--{setting.split('.')[-1]}", []).append(full)
    near = difflib.get_close_matches(option.replace("_", "-"), meant, 1)
    if not near:
        return did_you_mean(option, own)
    return f"did you mean {' or '.join(map(repr, meant[near[0]]))}?"


def _settings(name: str, kind: Any) -> list[str]:
    """Return the dotted names of a section's settings, as flags write them."""
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return [name.replace("_", "-")]
    return [
        dotted for key, field in kind.model_fields.items() for dotted in _settings(f"{name}.{key}", field.annotation)
    ]


def place(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set `values[k0][k1]... = value`, making the dictionaries on the way."""
    for key in keys[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{'.'.join(keys)}: {key!r} is a value, it has no settings below it")
        values = inner
    values[keys[-1]] = value


def data_settings(settings: Mapping[str, Any], source: str, verb: str) -> dict[str, Any]:
    """Return the `--data` settings of a verb that takes no others, with the source that it names by itself.

    Raises `ConfigError` for a setting of another section, and for a second source.
    """
    for section, values in settings.items():
        if section != "data":
            setting = f"{section}.{next(iter(values))}".replace("_", "-") if isinstance(values, Mapping) else section
            raise ConfigError(f"heed {verb} takes no --{setting}, only --data settings (heed {verb} --help)")
    data = dict(settings.get("data", {}))
    if "source" in data:
        raise ConfigError(f"the text is named twice, as {source} and by --data.source: leave out the latter")
    return {**data, "source": source}


def layered(file: Mapping[str, Any], flags: Mapping[str, Any]) -> Config:
    """Return the configuration of defaults < preset < file < flags."""
    return make_config(overlay(file, flags))


def _one_line(box: str) -> str:
    """Return the message inside tyro's box without frame and footer; some terminals get dashes for lines."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", box)
    lines = [re.sub(r"[╭╮╰╯│─]|^-+|-+$|^\||(?<!\S)-{2,}(?!\S)", "", line).strip() for line in plain.splitlines()]
    kept = [line for line in lines if line and not line.startswith("For full helptext")]
    message = " ".join(kept) or "the command line cannot be understood"
    # a value that pydantic refuses comes with the name of its class and an address; a person needs flag and reason
    found = re.search(r"validation errors? for \w+ (\w+) (.+?) \[type=\w+, input_value=(.*?), input_type=", message)
    if found:
        return f"--{found[1].strip('_').replace('_', '-')}: {found[2]}, not {found[3]}"
    found = re.search(r"[Ii]nvalid choice '(.*?)' for argument '(--\S+?)'. Expected one of \((.*?)\)", message)
    if found:
        return f"{found[2]}: {found[1]!r} is none of {found[3].replace(chr(39), '')}"
    found = re.search(r"Error parsing (--\S+): no type matching (\S+) could be instantiated from \[(.*?)\]", message)
    if found:
        return f"{found[1]}: {found[3]} is no {found[2].removeprefix('{None}|')}"
    found = re.match(r"Missing argument Missing value for argument '(--\S+)'", message)
    return f"{found[1]}: a value is missing" if found else message
