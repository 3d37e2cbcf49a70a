"""The three streams of a process: there, able to print any character, and as loud as was asked."""

from __future__ import annotations

import io
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from heed.errors import ConfigError
from heed.seals import TRUST_CODE


class NamedStream:
    """Standard output, whose errors name it as those of a file do."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text; an `OSError` says where."""
        with self._named():
            return self._stream.write(text)

    def flush(self) -> None:
        """Write out what waits; an `OSError` says where."""
        with self._named():
            self._stream.flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            silence(self._stream)
            raise OSError(error.errno, error.strerror, "standard output") from None


def silence(stream: TextIO) -> None:
    """Point a stream that cannot be written away, so that Python's own flush at the end stays quiet."""
    with suppress(OSError, ValueError):  # a stream of a test has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def open_streams() -> None:
    """See to it that the three streams of a process are there, and that any character can be printed.

    Where one is closed the next file that is opened would get its number, and whatever a library prints would be
    written into it. Raises `ConfigError` where standard output is closed, since results would be lost.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)  # the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - open as long as the process is
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        raise ConfigError("standard output is closed: send it to a file, or to /dev/null")
    if type(sys.stdout) is io.TextIOWrapper:  # not that of a test
        sys.stdout.reconfigure(errors="backslashreplace")
        sys.stdout = cast(TextIO, NamedStream(sys.stdout))


def terminal_width() -> int | None:
    """Return the columns of the terminal that standard output is, at least 60; None where it is none."""
    return max(60, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def show(lines: Sequence[str]) -> None:
    """Print lines; those that are wider than the terminal are wrapped, and go on below their own beginning."""
    width = terminal_width()
    for line in lines:
        begin = line[: len(line) - len(line.lstrip())]
        print(line if width is None or len(line) <= width else textwrap.fill(line, width, subsequent_indent=begin))


class Filtered:
    """Standard error, line by line; it is no terminal, so that nobody draws bars on it."""

    every = 10.0
    """Seconds between lines of progress."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.begun = stream, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """No."""
        return False

    def write(self, text: str) -> int:
        """Write what is whole lines by now."""
        *lines, self.begun = (self.begun + text).split("\n")
        for line in lines:
            if (shown := self.shown(line.rpartition("\r")[2])) is not None:
                self._stream.write(shown + "\n")
        return len(text)

    def shown(self, line: str) -> str | None:
        """Return what is written of a line; None: nothing."""
        raise NotImplementedError


class ErrorsAlone(Filtered):
    """What --quiet leaves of standard error: lines that say what is wrong, as `heed: ...`."""

    def shown(self, line: str) -> str | None:
        """Return the line if it is an error."""
        return line if line.startswith("heed: ") else None


class Stamped(Filtered):
    """What --verbose makes of standard error: each line with the time, and more lines of progress."""

    every = 1.0

    def shown(self, line: str) -> str | None:
        """Return the line behind the time."""
        return f"{time.strftime('%H:%M:%S')}  {line}"


LOUDNESS: dict[str, type[Filtered]] = {"--quiet": ErrorsAlone, "--verbose": Stamped}
"""The words that every verb takes."""


@contextmanager
def trusting(words: Sequence[str]) -> Iterator[list[str]]:
    """Take --trust-code out of a command line: code that a run holds may be used, here and in processes begun here."""
    end = words.index("--") if "--" in words else len(words)
    rest = [word for word in words[:end] if word != "--trust-code"] + list(words[end:])
    before = os.environ.get(TRUST_CODE)
    if len(rest) < len(words):
        os.environ[TRUST_CODE] = "1"
    try:
        yield rest
    finally:
        os.environ.pop(TRUST_CODE, None)
        if before is not None:
            os.environ[TRUST_CODE] = before


@contextmanager
def as_loud(words: Sequence[str]) -> Iterator[tuple[list[str], bool]]:
    """Take --quiet and --verbose out of a command line, and be so; give the other words, and whether it is verbose.

    What stands behind -- is left alone. Raises `ConfigError` for both at once.
    """
    end = words.index("--") if "--" in words else len(words)
    asked = sorted({word for word in words[:end] if word in LOUDNESS})
    if len(asked) > 1:
        raise ConfigError("--quiet and --verbose at once: leave one of the two out")
    rest = [word for word in words[:end] if word not in LOUDNESS] + list(words[end:])
    if not asked:
        yield rest, False
        return
    before, filtered = sys.stderr, LOUDNESS[asked[0]](sys.stderr)
    sys.stderr = cast(TextIO, filtered)
    try:
        yield rest, asked == ["--verbose"]
    finally:
        sys.stderr = before
        if filtered.begun:
            with suppress(OSError, ValueError):
                filtered.write("\n")
