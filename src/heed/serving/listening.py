"""The server on a port, from start to a graceful end."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from heed.errors import ConfigError, why

STILL = 30.0
"""Seconds after which a connection on which nothing moves is closed."""


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address.

    >>> is_local("localhost"), is_local("127.0.0.2"), is_local("::1"), is_local("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises `ConfigError` where the port is in use or the address is not ours."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"--host {host}: {why(error)}: give an address of this machine") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigError(f"--port {port} of {host} cannot be used ({why(error)}): give another --port") from None
    return listener


class GracefulServer(uvicorn.Server):
    """uvicorn, whose first signal lets requests that run end within `grace` seconds, and tells the others.

    A connection on which nothing moves, because its client sends no whole request or takes no answer, is closed after
    `STILL` seconds; where there are more than `connections`, those without a request are closed at once, the oldest
    first. So clients that say nothing keep nobody out.
    """

    def __init__(self, app: Starlette, grace: float, connections: int, ending: Callable[[float], object]) -> None:
        config = uvicorn.Config(
            app, http="h11", ws="none", log_config=None, access_log=False, lifespan="on", timeout_keep_alive=30,
            backlog=2048, limit_concurrency=2 * connections, timeout_graceful_shutdown=int(grace) + 5,
            server_header=False,
        )  # fmt: skip
        super().__init__(config)
        self.ending, self.grace, self.most = ending, grace, connections
        self._seen: dict[Any, tuple[Any, float]] = {}
        """Of each connection that waits for its client: how far it was, and since when."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; the second signal ends at once."""
        if self.should_exit:
            self.force_exit = True
        else:
            threading.Thread(target=self.ending, args=(self.grace,), daemon=True).start()
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Close connections that have waited for their clients for too long; uvicorn calls this ten times a second."""
        now, before = time.monotonic(), self._seen
        self._seen = {}
        connections: list[Any] = list(self.server_state.connections)  # of h11: see __init__
        for one in connections:
            resting = one.cycle is None or one.cycle.response_complete
            if resting or one.flow.write_paused:
                far = (id(one.cycle), resting, one.transport.get_write_buffer_size())
                known = before.get(one)
                self._seen[one] = known if known is not None and known[0] == far else (far, now)
        over = len(connections) - self.most
        for one, (far, since) in sorted(self._seen.items(), key=lambda item: item[1][1]):
            if now - since > STILL or (over > 0 and far[1]):
                one.transport.abort()
                over -= 1
        return await super().on_tick(counter)


def raise_limit(connections: int) -> None:
    """Let the process have as many descriptors as its connections take, as far as the system allows."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * connections + 256
        if soft != resource.RLIM_INFINITY and soft < wanted:
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def listen(
    app: Starlette,
    listener: socket.socket,
    *,
    grace: float,
    connections: int,
    ending: Callable[[float], object] = lambda grace: None,
) -> None:
    """Serve until a signal comes; `ending` is then told to let what runs end within so many seconds."""
    raise_limit(connections)
    server = GracefulServer(app, grace, connections, ending)
    with listener:
        asyncio.run(server.serve(sockets=[listener]))
