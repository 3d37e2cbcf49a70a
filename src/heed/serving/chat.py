"""Chats as text: the model's own template turns messages into tokens.

A template is written in Jinja by whoever made the model, and is run in a sandbox. Its special tokens become the tokens
they name; those that a message writes out are refused, since a template can't tell them from its own.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from heed.errors import CheckpointError, DataError, why
from heed.text.tokenizer import Tokenizer

Message = dict[str, str]
"""A message: its role and its content."""


class ChatError(Exception):
    """A chat that the template, or the vocabulary, has no form for."""


class ChatTemplate:
    """A chat template with the tokenizer it is for. Raises `CheckpointError` for one that is no Jinja."""

    def __init__(self, source: str, tokenizer: Tokenizer, names: dict[str, str | None]) -> None:
        self.tokenizer, self.names = tokenizer, names
        """`names` are the special tokens that a template may use, such as bos_token."""
        self.specials = specials_of(tokenizer)
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
        environment.filters["tojson"] = lambda value, **given: json.dumps(value, ensure_ascii=False, **given)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise CheckpointError(f"the chat template cannot be read: {error}") from error

    def text(self, messages: Sequence[Message]) -> str:
        """Return the text of a chat, up to where the answer begins. Raises `ChatError`."""
        for message in messages:
            for name in self.specials:
                if name in message["content"]:
                    raise ChatError(f"a message holds the special token {name}: write it otherwise")
        try:
            return self._template.render(messages=list(messages), add_generation_prompt=True, **self.names)
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ChatError(f"the chat template of this model refuses these messages: {error}") from error

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of a chat. Raises `ChatError`."""
        text = self.text(messages)
        pattern = "|".join(re.escape(name) for name in sorted(self.specials, key=len, reverse=True))
        ids: list[int] = []
        try:
            for part in re.split(f"({pattern})", text) if pattern else [text]:
                ids += [self.specials[part]] if part in self.specials else self.tokenizer.encode(part)
        except DataError as error:
            raise ChatError(str(error)) from error
        return ids


def specials_of(tokenizer: Tokenizer) -> dict[str, int]:
    """Return the special tokens of a vocabulary by their names."""
    added = tokenizer.to_json().get("added_tokens", [])
    return {entry["content"]: entry["id"] for entry in added if entry.get("special")}


def find_template(folder: Path, tokenizer: Tokenizer) -> ChatTemplate | None:
    """Return the chat template of a folder, as `transformers` saves it; None where there is none."""
    settings = read_settings(folder / "tokenizer_config.json")
    source = settings.get("chat_template")
    if isinstance(source, list):  # several, by name
        source = next((one["template"] for one in source if one.get("name") == "default"), None)
    file = folder / "chat_template.jinja"
    if file.is_file():
        source = read_template(file)
    if not isinstance(source, str):
        return None
    return ChatTemplate(source, tokenizer, _names(settings))


def read_template(file: Path) -> str:
    """Return the text of a template. Raises `CheckpointError`."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the chat template {file} cannot be read: {why(error)}") from error


def read_settings(file: Path) -> dict[str, Any]:
    """Return what a JSON file of `transformers` says, nothing where there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _names(settings: dict[str, Any]) -> dict[str, str | None]:
    """Return the special tokens that templates use by their part."""
    found = {name: settings.get(name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    return {name: value.get("content") if isinstance(value, dict) else value for name, value in found.items()}


def _refuse(message: str) -> None:
    raise ChatError(message)


def _now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)
