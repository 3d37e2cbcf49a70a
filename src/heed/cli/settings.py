"""From words on the command line to typed values.

A verb declares what it takes as a frozen pydantic model (`Section`); tyro turns that into flags, help and values.
Verbs that configure a run add every setting of `Config` as a dotted flag (`--train.steps 400`). Those go the way a
YAML file goes, through `make_config`, so a mistake reads the same in both and all mistakes are told at once.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Annotated, Any, TypeVar, get_origin

import tyro
from pydantic import BaseModel, ValidationError, create_model
from yaml.constructor import ConstructorError

from heed.config import Config, Section, make_config, overlay, parse_yaml
from heed.errors import ConfigError, did_you_mean

Flags = TypeVar("Flags", bound=BaseModel)
AsJson = Annotated[bool, tyro.conf.arg(name="json", help="Print one JSON object on standard output.")]
"""The flag of every verb that measures."""
COMMAS = "commas"
"""Marks an option, in its annotation, that holds several values with commas between."""
SECTIONS = tuple(Config.model_fields)
_asking: ContextVar[bool] = ContextVar("asking", default=False)


class Taken(BaseException):
    """What a verb takes, raised by `parse` and `act` in the place of what they do while `taken` asks for it."""

    def __init__(
        self,
        flags: type[BaseModel] | None = None,
        sections: Sequence[str] = (),
        config: type[BaseModel] = Config,
        actions: Mapping[str, tuple[Callable[[list[str]], int], str]] | None = None,
    ) -> None:
        super().__init__()
        self.flags, self.sections, self.config, self.actions = flags, sections, config, actions or {}


def taken(main: Callable[[list[str]], int], argv: Sequence[str] = ()) -> Taken:
    """Return what a verb, or an action of one, takes; it does nothing."""
    token = _asking.set(True)
    try:
        main(list(argv))
    except Taken as found:
        return found
    finally:
        _asking.reset(token)
    raise AssertionError("a verb must begin with parse or act")


def parse(
    flags: type[Flags], argv: Sequence[str], verb: str, sections: Sequence[str] = (), config: type[BaseModel] = Config
) -> Flags:
    """Parse a verb's own flags; `--help` prints them with the docstring of `flags` and exits.

    `sections` are those of `config` whose settings the verb takes besides; they are offered where an option is not
    known.
    Raises `ConfigError` with one line where tyro would print a box, and for an option that is given twice.
    """
    if _asking.get():
        raise Taken(flags, sections, config)
    refuse_repeated(argv, flags)
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output):
            asked = _without(flags, _unasked(flags, argv))
            found = tyro.cli(asked, args=list(argv), prog=f"heed {verb}", description=flags.__doc__)
        return found if isinstance(found, flags) else flags(**dict(found))
    except SystemExit as stop:
        if not stop.code:
            raise
        message = _one_line(output.getvalue())
        unknown = re.search(r"Unrecognized options: (.*)", message)
        option = re.match(r"--[\w.-]+", unknown[1]) if unknown else None
        if option:
            message = f"unknown option {option[0]}, {_advice(option[0], flags, sections, config)}"
            if _takes_texts(flags):
                message += "; before texts that begin so write -- by itself"
        elif unknown:
            message = f"unexpected: {unknown[1]}"
        elif message.startswith("Required options"):
            raise ConfigError(_needs(flags, verb)) from None
        elif missing := re.match(r"(--\S+): a value is missing", message):
            message = f"{missing[1]} needs a value; one that begins with -- is written {missing[1]}=--such"
        if not option:
            message = _list_advice(argv, flags, message, settings=bool(sections)) or message
        raise ConfigError(f"{message[:500]} (heed {verb} --help shows all)") from None
    except ValidationError as error:
        details = "; ".join(f"--{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{details} (heed {verb} --help shows all)") from None


def act(verb: str, actions: Mapping[str, tuple[Callable[[list[str]], int], str]], argv: list[str]) -> int:
    """Do the action that is named first, or print what there is; `actions` are functions with a line on each."""
    if _asking.get():
        raise Taken(actions=actions)
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, actions))
        lines = [f"  {name:<{width}}   {about}" for name, (_, about) in actions.items()]
        examples = " and ".join(f"heed {verb} {name} --help" for name in actions)
        shows = "show" if len(actions) > 1 else "shows"
        print(
            "\n".join([f"usage: heed {verb} {{{','.join(actions)}}} ...\n", *lines, f"\n{examples} {shows} examples"])
        )
        return 0
    if argv[0] not in actions:
        raise ConfigError(f"unknown action {argv[0]!r}, {did_you_mean(argv[0], actions)}")
    return actions[argv[0]][0](argv[1:])


def _unasked(flags: type[BaseModel], argv: Sequence[str]) -> tuple[str, ...]:
    """Return the groups of settings among a verb's flags of which no word names one, and no help is asked for."""
    if not {"-h", "--help"}.isdisjoint(argv):
        return ()
    groups = [name for name, field in flags.model_fields.items() if _is_group(field.annotation)]
    named = {word.removeprefix("--").removeprefix("no-").split(".")[0].split("=")[0].replace("-", "_") for word in argv}
    return tuple(name for name in groups if name not in named)


@functools.cache
def _without(flags: type[BaseModel], groups: tuple[str, ...]) -> type[BaseModel]:
    """Return flags without groups of settings, which are nine tenths of tyro's work: 0.3 s the first time."""
    if not groups:
        return flags
    rest: Any = {
        name: (Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation, field)
        for name, field in flags.model_fields.items()
        if name not in groups
    }
    return create_model(flags.__name__, __base__=Section, __doc__=flags.__doc__, **rest)


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def refuse_repeated(argv: Sequence[str], flags: type[BaseModel]) -> None:
    """Raise `ConfigError` for an option that is given twice, of which all but the last would be dropped.

    >>> refuse_repeated(["--n", "2", "--", "--n", "3"], BaseModel)
    """
    several = {name for name, field in flags.model_fields.items() if tyro.conf.UseAppendAction in field.metadata}
    seen: set[str] = set()
    for word in itertools.takewhile(lambda word: word != "--", argv):
        if match := re.match(r"--(?:no-)?([A-Za-z_][\w.-]*)", word):
            name = match[1].replace("-", "_")
            if name in seen - several:
                raise ConfigError(f"--{match[1]} is given twice: leave one of the two out")
            seen.add(name)


def _takes_texts(flags: type[BaseModel]) -> bool:
    """Whether a verb takes any number of words, so that one of them may begin as an option does."""
    fields = flags.model_fields.values()
    return any(tyro.conf.Positional in field.metadata and get_origin(field.annotation) is tuple for field in fields)


def _needs(flags: type[BaseModel], verb: str) -> str:
    """Say what a verb cannot do without, with its first example."""
    needed = [
        name.rstrip("_").replace("_", "-").upper()
        if tyro.conf.Positional in field.metadata
        else f"--{name.replace('_', '-')}"
        for name, field in flags.model_fields.items()
        if field.is_required()
    ]
    example = re.search(rf"^ *(heed {verb} .*?)(?:   .*)?$", flags.__doc__ or "", re.MULTILINE)
    such = f", such as: {example[1]}" if example else ""
    return f"heed {verb} needs {' and '.join(needed)}{such} (heed {verb} --help shows all)"


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

    What comes after -- by itself is no setting, and what begins with --slurm is none of a run. Raises `ConfigError` for
    a setting that is given twice.
    """
    values: dict[str, Any] = {}
    rest: list[str] = []
    given: set[tuple[str, ...]] = set()
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--":
            return values, [*rest, word, *words]
        match = re.fullmatch(r"--([A-Za-z_][\w-]*(?:\.[\w-]+)+)(?:=(.*))?", word, re.DOTALL)
        if match is None or match[1].startswith("slurm."):
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
        plain = {(): None if value in ("None", "null") else value}
        for inner, part in (plain if written is None else {(str(key),): part for key, part in written.items()}).items():
            setting = (*keys, *inner)
            if setting in given:
                raise ConfigError(f"--{'.'.join(setting).replace('_', '-')} is given twice: leave one of the two out")
            given.add(setting)
            place(values, setting, part)
    return values, rest


def _mapping(keys: Sequence[str], value: Any) -> dict[Any, Any] | None:
    """Return the settings that `value` writes as one mapping, where `keys` name what has settings below it."""
    kind: Any = Config
    for key in keys:
        if not _is_group(kind) or key not in kind.model_fields:
            return None
        kind = kind.model_fields[key].annotation
    if get_origin(kind) is not dict and not _is_group(kind):
        return None
    try:
        written = parse_yaml(value, f"--{'.'.join(keys).replace('_', '-')}") if isinstance(value, str) else value
    except ConfigError as error:
        if isinstance(error.__cause__, ConstructorError):  # YAML it is, but for one thing, which the line names
            raise
        return None
    return written if isinstance(written, dict) else None


def _advice(option: str, flags: type[BaseModel], sections: Sequence[str], config: type[BaseModel]) -> str:
    """Return a hint that names the flags and settings nearest to `option`; positionals are none."""
    own: dict[str, Any] = {}
    for name, field in flags.model_fields.items():
        if name in SECTIONS and field.annotation is Config.model_fields[name].annotation:
            sections = [*sections, name]  # the verb is a configuration itself
        elif tyro.conf.Positional not in field.metadata:
            own |= {f"--{setting}": field for setting in _settings(name.rstrip("_"), field.annotation)}
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
    if not _is_group(kind):
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
    reason = r"validation errors? for \w+ (\w+)(?:\.constrained-int)? (.+?) \[type=\w+, input_value=(.*?), input_type="
    found = re.search(reason, message)
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
