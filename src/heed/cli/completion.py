"""`heed completion`: what a shell needs to complete `heed`, and its manual page.

Everything is read from what the verbs declare: flags, settings, their values and their words. Nothing is listed here.
"""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tyro
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from heed import __version__
from heed.cli import VERBS
from heed.cli.list import KINDS
from heed.cli.settings import parse, taken
from heed.config import Section

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


class CompletionFlags(Section):
    """Print what a shell needs to complete verbs, flags, settings and their values; or the manual page.

    It takes some seconds, so write it into a file once, and again after an update.

    examples:
      heed completion bash > ~/.local/share/bash-completion/completions/heed
      heed completion zsh > ~/.zfunc/_heed                                 with fpath+=~/.zfunc before compinit
      heed completion fish > ~/.config/fish/completions/heed.fish
      heed completion man > ~/.local/share/man/man1/heed.1                 then: man heed
    """

    shell: Annotated[Literal["bash", "zsh", "fish", "man"], tyro.conf.Positional]
    """bash, zsh, fish, or man for the manual page."""


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
class Completed:
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


def main(argv: list[str]) -> int:
    """Print; 0 when done."""
    flags = parse(CompletionFlags, argv, "completion")
    print(SHELLS[flags.shell](list(commands())), end="")
    return 0


# ---------------------------------------------------------------------- what there is


def commands() -> Iterator[Completed]:
    """Yield every verb, each with its actions behind it."""
    for verb in VERBS:
        module = importlib.import_module(f"heed.cli.{'import_' if verb == 'import' else verb}")
        found = taken(module.main)
        inner = {name: run for name, (run, _) in found.actions.items()} | getattr(module, "ACTIONS", {})
        several = [found, *([taken(module.main, OTHERWISE[verb])] if verb in OTHERWISE else [])]
        options = {one.name: one for some in several for one in _options(some.flags, some.sections, some.config)}
        about = VERBS[verb] if found.flags is None else str(found.flags.__doc__)
        yield Completed((verb,), about, (*options.values(), *EVERYWHERE), _firsts(found.flags), tuple(inner))
        for name, run in inner.items():
            own = taken(run)
            options = _options(own.flags, own.sections, own.config)
            yield Completed((verb, name), str(own.flags and own.flags.__doc__), (*options, *EVERYWHERE))


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


# ---------------------------------------------------------------------- shells


def bash(found: Sequence[Completed]) -> str:
    """Return a completion for bash 3.2 and later."""
    verbs = [command for command in found if len(command.words) == 1]
    inner = [f'"{command.name}"' for command in found if len(command.words) == 2]
    shared = _shared(found)
    lines = [
        f"# bash completion of heed {__version__}: heed completion bash",
        *(f"_heed_{section}='{' '.join(names)}'" for section, names in shared.items()),
        "_heed() {",
        '    local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words= options=',
        '    local command="${COMP_WORDS[1]}"',
        "    COMPREPLY=()",
        '    if [ "$COMP_CWORD" -eq 1 ]; then',
        f'        COMPREPLY=($(compgen -W "{" ".join(command.name for command in verbs)}" -- "$current"))',
        "        return",
        "    fi",
        '    if [ "$COMP_CWORD" -gt 2 ]; then',
        '        case "$command ${COMP_WORDS[2]}" in',
        f'            {"|".join(inner)}) command="$command ${{COMP_WORDS[2]}}" ;;',
        "        esac",
        "    fi",
        '    case "$command $before" in',
    ]
    for values, places in _by_values(found).items():
        lines.append(f"        {'|'.join(places)}) words={shlex.quote(' '.join(values))} ;;")
    lines += ["    esac", '    case "$command" in']
    for command in found:
        own, sections = _split(command, shared)
        words = " ".join([*own, *(f"$_heed_{section}" for section in sections)])
        first = " ".join([*command.actions, *command.firsts])
        more = f'; [ "$COMP_CWORD" -eq 2 ] && words={shlex.quote(first)}' if first else ""
        lines.append(f'        "{command.name}") options="{words}"{more} ;;')
    return (
        "\n".join(
            [
                *lines,
                "    esac",
                '    case "$current" in',
                '        -*) words="$options" ;;',
                "    esac",
                '    [ -n "$words" ] && COMPREPLY=($(compgen -W "$words" -- "$current"))',
                "    return 0",
                "}",
                "complete -o bashdefault -o default -F _heed heed",
            ]
        )
        + "\n"
    )


def zsh(found: Sequence[Completed]) -> str:
    """Return a completion for zsh: a function for a folder of fpath, which may be sourced too."""

    def spec(option: Option) -> str:
        said = re.sub(r"([\[\]:\\])", r"\\\1", option.about)
        value = "" if option.switch else f":value:({' '.join(option.values)})" if option.values else ":value:_files"
        return shlex.quote(f"{option.name}[{said}]{value}")

    lines = ["#compdef heed", f"# zsh completion of heed {__version__}: heed completion zsh", "_heed() {"]
    lines += ["    local command=$words[2]", "    local -a verbs actions specs"]
    lines += ["    verbs=("]
    lines += [f"        {shlex.quote(f'{verb}:{about}')}" for verb, about in VERBS.items()]
    lines += ["    )", "    if (( CURRENT == 2 )); then _describe verb verbs; return; fi"]
    lines += ["    shift words; (( CURRENT-- ))", '    case "$command" in']
    for command in found:
        if command.actions:
            lines += [f"        {command.name})", f"            actions=({' '.join(command.actions)})"]
            lines += ["            (( CURRENT == 2 )) && compadd -a actions"]
            lines += [f'            case "$words[2]" in {"|".join(command.actions)})']
            lines += [
                '                command="$command $words[2]"; shift words; (( CURRENT-- )) ;;',
                "            esac ;;",
            ]
    lines += ["    esac", '    case "$command" in']
    for command in found:
        lines += [f'        "{command.name}") specs=(', *(f"            {spec(option)}" for option in command.options)]
        rest = f":word:({' '.join(command.firsts)})" if command.firsts else ""
        lines += [f"            {shlex.quote('1' + rest)}"] if rest else []
        lines += ["            '*:file:_files'", "        ) ;;"]
    lines += ["    esac", "    _arguments -S $specs", "}"]
    lines += ['if [ "$funcstack[1]" = _heed ]; then _heed "$@"; else compdef _heed heed; fi']
    return "\n".join(lines) + "\n"


def fish(found: Sequence[Completed]) -> str:
    """Return a completion for fish."""
    lines = [
        f"# fish completion of heed {__version__}: heed completion fish",
        "function __heed_is",
        "    set -l words (commandline -opc)[2..-1]",
        '    set -l inner "$words[1] $words[2]"',
        f"    if contains -- $inner {' '.join(repr(c.name) for c in found if len(c.words) == 2)}",
        "        contains -- $inner $argv",
        "    else",
        "        contains -- $words[1] $argv",
        "    end",
        "end",
    ]
    for verb, about in VERBS.items():
        lines.append(f"complete -c heed -n 'test (count (commandline -opc)) -eq 1' -f -a {verb} -d {_fish(about)}")
    same: dict[Option, list[str]] = {}
    for command in found:
        if words := [*command.actions, *command.firsts]:
            test = f'__heed_is "{command.name}"; and test (count (commandline -opc)) -eq 2'
            lines.append(f"complete -c heed -n {_fish(test)} -a {_fish(' '.join(words))}")
        for option in command.options:
            same.setdefault(option, []).append(command.name)
    for option, names in same.items():
        test = f"__heed_is {' '.join(shlex.quote(name) for name in names)}"
        value = "" if option.switch else f" -xa {_fish(' '.join(option.values))}" if option.values else " -r"
        lines.append(
            f"complete -c heed -n {_fish(test)} -l {option.name.removeprefix('--')}{value} -d {_fish(option.about)}"
        )
    return "\n".join(lines) + "\n"


def _fish(text: str) -> str:
    """Return a text as a word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _shared(found: Sequence[Completed]) -> dict[str, list[str]]:
    """Return the settings of each section that several commands take all of."""
    names: dict[str, list[str]] = {}
    for command in found:
        if command.words == ("train",):
            for option in command.options:
                if "." in option.name:
                    names.setdefault(option.name[2:].partition(".")[0], []).append(option.name)
    return names


def _split(command: Completed, shared: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """Return the options of a command that are its own, and the sections of settings that it takes whole."""
    own = [option.name for option in command.options]
    sections = [section for section, names in shared.items() if set(names) <= set(own)]
    return [name for name in own if not any(name in shared[section] for section in sections)], sections


def _by_values(found: Sequence[Completed]) -> dict[tuple[str, ...], list[str]]:
    """Return, for each list of values, the patterns of command and option, such as "train --model.kind"."""
    places: dict[tuple[str, ...], list[str]] = {}
    for command in found:
        for option in command.options:
            if option.values:
                places.setdefault(option.values, []).append(f'"{command.name} {option.name}"')
    return places


# ---------------------------------------------------------------------- the manual page


def man(found: Sequence[Completed]) -> str:
    """Return the manual page, heed(1), in the macros of man(7)."""
    lines = [
        f'.TH HEED 1 "" "heed {__version__}" "User Commands"',
        ".SH NAME",
        r"heed \- a laboratory for attention and transformer language models",
        ".SH SYNOPSIS",
        r".B heed",
        r".I VERB",
        r"\&...",
        ".SH DESCRIPTION",
        "A run is a folder. Settings are layered: defaults, then a preset, then a file, then flags, of which later",
        "ones win. Results go to standard output, everything else to standard error.",
        ".SH VERBS",
    ]
    settings = {f"--{name}" for names in _shared(found).values() for name in (option[2:] for option in names)}
    for command in found:
        lines += [f".SS {_roff(f'heed {command.name}')}"]
        about, _, examples = command.about.partition("examples:")
        for paragraph in re.split(r"\n\s*\n", about):
            lines += [".PP", _roff(" ".join(paragraph.split()))] if paragraph.strip() else []
        for option in command.options:
            if option.name not in settings or command.words == ("train",):
                choice = f": {', '.join(option.values)}" if option.values else ""
                lines += [".TP", rf"\fB{_roff(option.name)}\fR", _roff(option.about + choice) or r"\&"]
        if any(option.name in settings for option in command.options) and command.words != ("train",):
            lines += [".PP", "Settings as of heed train."]
        if examples.strip():
            lines += [
                ".PP",
                "Examples:",
                ".nf",
                *(_roff(line.strip()) for line in examples.strip().splitlines()),
                ".fi",
            ]
    lines += [".SH EXIT STATUS"]
    for code, meaning in EXITS.items():
        lines += [".TP", str(code), _roff(meaning)]
    lines += [".SH ENVIRONMENT"]
    for name, meaning in VARIABLES.items():
        lines += [".TP", rf"\fB{_roff(name)}\fR", _roff(meaning)]
    return "\n".join(lines) + "\n"


EXITS = {
    0: "Done.",
    1: "The answer is no: a comparison or a check failed.",
    2: "A mistake that can be mended, told in one line.",
    130: "Interrupted.",
}
"""What the exit codes of `heed` mean."""
VARIABLES = {
    "HEED_DATA": "Folders of data sets that are found by name.",
    "HF_HUB_OFFLINE": "1: nothing is fetched from the Hugging Face hub.",
    "OMP_NUM_THREADS": "Threads of the CPU.",
    "NO_COLOR": "Set: no colours on a terminal.",
}
"""What of the environment is read."""


def _roff(text: str) -> str:
    """Return text as man prints it.

    >>> print(_roff(".a-b"))
    \\&.a\\-b
    """
    plain = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{plain}" if plain.startswith((".", "'")) else plain


SHELLS: dict[str, Callable[[Sequence[Completed]], str]] = {"bash": bash, "zsh": zsh, "fish": fish, "man": man}
"""What can be printed."""
