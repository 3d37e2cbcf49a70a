"""What a request passes before a route sees it: number of connections, host, key, size and time of its body.

It also counts and logs, path and status alone: prompts are written down nowhere.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from heed.serving.metrics import Metrics
from heed.serving.refusals import RefusalError
from heed.serving.settings import ServerSettings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ACCESS = logging.getLogger("heed.access")
KEYED = ("/v1/", "/metrics")
"""What needs the key, where there is one; the pages and their files hold nothing secret, and ask for it."""
BODY_SECONDS = 30.0
"""Time for a body to come in."""


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(self, app: Callable[..., Awaitable[None]], settings: ServerSettings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self._keys = [key.encode() for key in settings.api_keys]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.metrics.open_requests += 1
        try:
            await self._pass(scope, receive, noting)
        finally:
            self.metrics.open_requests -= 1
            seconds = time.perf_counter() - begin
            route = scope.get("route")
            path = getattr(route, "path", "other")
            self.metrics.answered(path, status, seconds)
            if self.settings.access_log:
                client = (scope.get("client") or ("-",))[0]
                ACCESS.info("%s %s %s %d %.0f ms", client, scope["method"], path, status, 1000 * seconds)

    async def _pass(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        try:
            if self.metrics.open_requests > self.settings.connections:
                raise RefusalError(503, "too many requests at once", code="too_many", headers={"Retry-After": "1"})
            self._check_host(headers)
            if scope["path"].startswith(KEYED):
                self._check_key(headers)
            if scope["method"] == "POST":
                receive = await self._read(headers, receive)
        except RefusalError as refusal:
            await _say(refusal, send)
            return
        await self.app(scope, receive, send)

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        """Raise `RefusalError` for a name that is not ours, where no key keeps strangers out."""
        if self._keys:
            return
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if name not in self.settings.hosts:
            raise RefusalError(403, f"this server does not answer to the name {name[:100]!r}", code="unknown_host")

    def _check_key(self, headers: dict[bytes, bytes]) -> None:
        """Raise `RefusalError` where a key is wanted and not given."""
        if not self._keys:
            return
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        right = [hmac.compare_digest(given.strip(), key) for key in self._keys]
        if kind.lower() != b"bearer" or not any(right):
            what = "the API key is wrong" if given else "an API key is needed: Authorization: Bearer KEY"
            raise RefusalError(401, what, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """Read the body, as long as it is not too large and does not take too long; return what gives it again."""
        most = self.settings.max_body
        too_large = RefusalError(413, f"the body is larger than {most:,} bytes", code="too_large")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            raise too_large
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusalError(499, "the client has left")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    more = message.get("more_body", False)
                    if size > most:
                        raise too_large
        except TimeoutError:
            raise RefusalError(408, f"the body did not come within {BODY_SECONDS:g} s", code="timeout") from None
        body = b"".join(parts)
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RefusalError(400, f"the body is no UTF-8 (byte {error.start})") from None
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        return again


async def _say(refusal: RefusalError, send: Send) -> None:
    body = json.dumps(refusal.body()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
