"""Completion for bash, zsh and fish."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from heed import __version__
from heed.cli import VERBS
from heed.cli.commands import Option, VerbCommand, shared_settings


def bash(found: Sequence[VerbCommand]) -> str:
    """Return a completion for bash 3.2 and later."""
    verbs = [command for command in found if len(command.words) == 1]
    inner = [f'"{command.name}"' for command in found if len(command.words) == 2]
    shared = shared_settings(found)
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


def zsh(found: Sequence[VerbCommand]) -> str:
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


def fish(found: Sequence[VerbCommand]) -> str:
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


def _split(command: VerbCommand, shared: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """Return the options of a command that are its own, and the sections of settings that it takes whole."""
    own = [option.name for option in command.options]
    sections = [section for section, names in shared.items() if set(names) <= set(own)]
    return [name for name in own if not any(name in shared[section] for section in sections)], sections


def _by_values(found: Sequence[VerbCommand]) -> dict[tuple[str, ...], list[str]]:
    """Return, for each list of values, the patterns of command and option, such as "train --model.kind"."""
    places: dict[tuple[str, ...], list[str]] = {}
    for command in found:
        for option in command.options:
            if option.values:
                places.setdefault(option.values, []).append(f'"{command.name} {option.name}"')
    return places
