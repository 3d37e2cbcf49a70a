"""The errors that a user can cause, and what heed says about them.

    HeedError
    ├── ConfigError      a setting is unknown, impossible or contradicts another
    ├── DataError        a text, table or token file cannot be used as it is
    ├── CheckpointError  a run folder or checkpoint is missing, altered or does not fit
    ├── ApiError         a language-model server did not answer as it should
    ├── ClusterError     a scheduler or a group of processes failed
    └── MissingPackageError   an optional package is needed: the message holds the install line

Every message is one line: what is wrong, then what to do next. The command line prints it and exits with 2.
A traceback is therefore always a bug in heed.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class HeedError(Exception):
    """A mistake that the user can mend; `str(error)` is one line that says how."""


class ConfigError(HeedError):
    """A setting is unknown, impossible, or contradicts another one. `problems` holds each of them."""

    def __init__(self, *problems: str) -> None:
        self.problems: tuple[str, ...] = problems
        super().__init__("; ".join(problems))


class DataError(HeedError):
    """A text, table or token file cannot be used as it is."""


class CheckpointError(HeedError):
    """A run folder or a checkpoint is missing, altered, or does not fit what is asked of it."""


class ApiError(HeedError):
    """A language-model server refused, failed, or answered in an unexpected form."""


class ClusterError(HeedError):
    """A scheduler or a group of processes failed."""


class MissingPackageError(HeedError):
    """An optional package is not installed; the message holds the line that installs it."""


def one_line(text: object, most: int = 4000) -> str:
    r"""Return a message as a line for a terminal: what would end it or steer the terminal is written out.

    >>> one_line("no such file: a\nb\x1b[2J")
    'no such file: a\\nb\\x1b[2J'
    """
    line = "".join(c if c.isprintable() or c == " " else repr(c)[1:-1] for c in str(text))
    return line if len(line) <= most else f"{line[:most]}... ({len(line):,} characters)"


def why(error: BaseException) -> str:
    """Return the reason of a failure in the words of the system, without the number and the file of an `OSError`.

    >>> why(OSError(28, "No space left on device", "a.txt"))
    'No space left on device'
    """
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return a hint that names the nearest choice, or every choice when none is near.

    >>> did_you_mean("sofmax", ["softmax", "linear"])
    "did you mean 'softmax'?"
    >>> did_you_mean("xyz", ["softmax", "linear"])
    "choose one of 'linear', 'softmax'"
    """
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return "choose one of " + ", ".join(repr(choice) for choice in known)


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package, or raise `MissingPackageError` with the line that installs it.

    `extra` is the name of heed's extra that carries the package, for example `"hf"`.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackageError(
            f"this needs the package {package!r}, which is not installed: pip install 'heed-lm[{extra}]'"
        ) from error
