"""Mechanisms and scores out of the copy that a run holds, by the names that its settings have for them.

They come before what is installed, while a model is built: see `heed.training.own_code`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

HELD: ContextVar[Mapping[str, Any]] = ContextVar("held", default={})  # noqa: B039 - it is never changed
"""Classes and functions by name."""


@contextmanager
def holding(found: Mapping[str, Any]) -> Iterator[None]:
    """Let these names mean these objects."""
    token = HELD.set(found)
    try:
        yield
    finally:
        HELD.reset(token)
