"""A file of prompts: plain text, one a line, or JSON lines with "prompt" and, if wanted, "seed".

A line that cannot be read is kept with what is wrong with it, so that one bad line does not lose the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from heed.errors import DataError

KEYS = ("prompt", "seed")


@dataclass(frozen=True)
class PromptLine:
    """One prompt of a file."""

    number: int
    """Counted from 1."""
    prompt: str = ""
    seed: int | None = None
    """Its own seed, where it names one."""
    error: str | None = None
    """What is wrong with it; then it has no prompt."""


def read_prompts(name: str, say: Callable[[str], object]) -> list[PromptLine]:
    """Return the prompts of a file, or of standard input for "-"; empty lines are none, and `say` hears how many.

    They are JSON lines where the file is called so (.jsonl) or the first of them is an object.
    Raises `DataError` when nothing can be read, or no line holds a prompt.
    """
    try:
        if name == "-":
            content = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
        else:
            with open(name, "rb") as file:
                content = file.read()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise DataError(f"{name[:200]} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    every = content.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
    filled = [(i, line) for i, line in enumerate(every, 1) if line.strip()]
    if not filled:
        raise DataError(f'{name} holds no prompts: write one a line, or JSON lines with "prompt"')
    as_json = name.endswith(".jsonl") or filled[0][1].lstrip().startswith(b"{")
    if empty := len(every) - len(filled):
        one = empty == 1
        say(
            f"note: {empty:,} empty line{'' if one else 's'} of {name} {'is' if one else 'are'} skipped; among JSON "
            'lines a prompt without text is {"prompt": ""}'
        )
    return list(_lines(filled, as_json=as_json))


def _lines(filled: list[tuple[int, bytes]], *, as_json: bool) -> Iterator[PromptLine]:
    """Read each line by itself."""
    for number, raw in filled:
        try:
            text = raw.rstrip(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            yield PromptLine(number, error=f"is no UTF-8 (byte {error.start})")
            continue
        yield _json_line(number, text) if as_json else PromptLine(number, text)


def _json_line(number: int, text: str) -> PromptLine:
    """Read one JSON line."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return PromptLine(number, error=f"is no JSON ({getattr(error, 'msg', 'nested too deeply')})")
    if not isinstance(value, dict) or not isinstance(value.get("prompt"), str):
        return PromptLine(number, error='has no text "prompt"')
    unknown = sorted(value.keys() - KEYS)
    if unknown:
        return PromptLine(number, error=f"has {unknown[0]!r}, which is not known: it may hold {' and '.join(KEYS)}")
    seed = value.get("seed")
    if seed is not None and (type(seed) is not int or seed < 0):
        return PromptLine(number, error=f"has the seed {seed!r}: it is a whole number, 0 or more")
    if not value["prompt"].isprintable() and any("\ud800" <= letter <= "\udfff" for letter in value["prompt"]):
        return PromptLine(number, error="holds half a character (a lone surrogate)")
    return PromptLine(number, value["prompt"], seed)
