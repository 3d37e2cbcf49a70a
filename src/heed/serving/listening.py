"""The server on a port, from start to a graceful end."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from types import FrameType

import uvicorn
from fastapi import FastAPI

from heed.errors import ConfigError, why


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
    """uvicorn, whose first signal lets requests that run end within `grace` seconds, and tells the others."""

    def __init__(self, app: FastAPI, grace: float, connections: int) -> None:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="on", timeout_keep_alive=30, backlog=2048,
            limit_concurrency=2 * connections, timeout_graceful_shutdown=int(grace) + 5, server_header=False,
        )  # fmt: skip
        super().__init__(config)
        self.engine, self.grace = app.state.engine, grace

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; the second signal ends at once."""
        if self.should_exit:
            self.force_exit = True
        else:
            threading.Thread(target=self.engine.close, args=(self.grace,), daemon=True).start()
        self.should_exit = True


def listen(app: FastAPI, listener: socket.socket, *, grace: float, connections: int) -> None:
    """Serve until a signal comes."""
    server = GracefulServer(app, grace, connections)
    with listener:
        asyncio.run(server.serve(sockets=[listener]))
