"""The flags of what listens at a port: where, and which keys its requests must bring."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from heed.config import Section
from heed.errors import ConfigError, why


class ListenFlags(Section):
    """Where a server listens, and who may ask it."""

    host: str = "127.0.0.1"
    """The address to listen at; one that others can reach needs an API key."""
    port: int = Field(default=8000, ge=0, le=65535)
    """0 takes a free one."""
    api_key: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A key that requests must bring; others on this machine can read it in the list of processes."""
    api_key_file: Path | None = None
    """A file with such keys, one a line."""
    api_key_env: str = "HEED_API_KEY"
    """The environment variable that may hold a key."""


def keys_of(flags: ListenFlags) -> tuple[str, ...]:
    """Return the keys that are given, in whichever way.

    Raises `ConfigError` for a file that holds none, and where others could reach the server and no key is given.
    """
    keys = [*flags.api_key, *filter(None, [os.environ.get(flags.api_key_env)])]
    if flags.api_key_file is not None:
        try:
            found = flags.api_key_file.read_text(encoding="utf-8").split()
        except (OSError, ValueError) as error:
            raise ConfigError(f"--api-key-file {flags.api_key_file} cannot be read: {why(error)}") from None
        if not found:
            raise ConfigError(f"--api-key-file {flags.api_key_file} holds no key: write one a line")
        keys += found
    from heed.serving.listening import is_local

    if not keys and not is_local(flags.host):
        raise ConfigError(
            f"--host {flags.host} can be reached from elsewhere: set {flags.api_key_env}, or give --api-key-file"
        )
    return tuple(keys)


def hosts_of(flags: ListenFlags) -> tuple[str, ...]:
    """Return the names that the server answers to."""
    from heed.serving.settings import ServerSettings

    return tuple({*ServerSettings().hosts, flags.host.lower(), f"[{flags.host.lower()}]"})


def address_of(flags: ListenFlags, listener: socket.socket) -> str:
    """Return the address of the server, for people."""
    host = f"[{flags.host}]" if ":" in flags.host else flags.host
    return f"http://{host}:{listener.getsockname()[1]}"
