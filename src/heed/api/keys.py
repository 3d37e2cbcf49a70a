"""The key of an API: from the environment or a file, and never shown.

A key goes to the one address that it is for: `OPENAI_API_KEY` to api.openai.com only, `HEED_API_KEY` to any address
that is asked.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from heed.errors import ConfigError, DataError
from heed.files import advice, expanded

OPENAI = "api.openai.com"


class ApiKey:
    """A key; `str` and `repr` do not show it."""

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "ApiKey(hidden)"

    def secret(self) -> str:
        """Return the key itself, for the header of a request."""
        return self._value

    def hidden_in(self, text: str) -> str:
        """Return a text without the key, should a server have repeated it."""
        return text.replace(self._value, "[key]") if self._value else text


def read_key(base_url: str, *, variable: str | None = None, file: str | Path | None = None) -> ApiKey | None:
    """Return the key for an address, None where there is none: from `file`, or the environment's `variable`.

    Without either, `HEED_API_KEY` counts, and for OpenAI's own address `OPENAI_API_KEY`. Raises `ConfigError` where
    what is named holds no key.
    """
    if file is not None and variable is not None:
        raise ConfigError("the key is named twice, by a file and a variable: leave one of the two out")
    if file is not None:
        return _from_file(expanded(file))
    if variable is not None:
        if value := os.environ.get(variable, "").strip():
            return _checked(value, f"${variable}")
        raise ConfigError(f"the variable {variable[:60]} of the environment holds no key: export it, or give a file")
    names = ["HEED_API_KEY", *(["OPENAI_API_KEY"] if urlsplit(base_url).hostname == OPENAI else [])]
    found = next(((name, value) for name in names if (value := os.environ.get(name, "").strip())), None)
    return None if found is None else _checked(found[1], f"${found[0]}")


def _from_file(path: Path) -> ApiKey:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise DataError(f"the file of the key, {path}, cannot be read: {advice(error)}") from None
    except UnicodeDecodeError:
        raise DataError(f"the file of the key, {path}, is no text: save the key alone in it") from None
    if not value:
        raise ConfigError(f"the file of the key, {path}, is empty: save the key in it")
    return _checked(value, str(path))


def _checked(value: str, where: str) -> ApiKey:
    """Return the key, or raise `ConfigError`, which does not show it, for what no header can carry."""
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ConfigError(f"{where} holds no key: a key is one word of plain letters, digits and signs")
    return ApiKey(value)
