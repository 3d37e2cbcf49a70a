"""What the server says when it does not do what it is asked: OpenAI's form of an error.

{"error": {"message": "...", "type": "invalid_request_error", "param": "n", "code": null}}
"""

from __future__ import annotations

from typing import Any

from heed.errors import one_line

TYPES = {400: "invalid_request_error", 408: "timeout", 429: "rate_limit_error"}
"""The type of an error by its status, where it is not that of its class: a mistake of the client, or the server's."""


class RefusalError(Exception):
    """A request that is not answered: the status of HTTP, and what is said."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code, self.headers = status, param, code, headers or {}

    def body(self) -> dict[str, Any]:
        """Return the error as OpenAI writes it; nothing in it can steer a terminal or break JSON."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        message = one_line(str(self), 1000)
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}


def busy() -> RefusalError:
    """Return the refusal of a server whose queue is full."""
    return RefusalError(429, "the queue is full: try again in 1 s", code="queue_full", headers={"Retry-After": "1"})


def closing() -> RefusalError:
    """Return the refusal of a server that is being shut down."""
    return RefusalError(503, "the server is shutting down", code="shutting_down", headers={"Retry-After": "5"})
