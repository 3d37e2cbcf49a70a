"""The manual page of heed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from heed import __version__
from heed.cli.commands import VerbCommand, shared_settings


def man(found: Sequence[VerbCommand]) -> str:
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
    settings = {f"--{name}" for names in shared_settings(found).values() for name in (option[2:] for option in names)}
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
