"""The server as an ASGI application: routes, and errors in OpenAI's form.

client --> Gate (key, size, time, number of connections) --> route --> order --> engine
                                                               └── answers <──────┘
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from heed import __version__
from heed.serving.engine import Engine
from heed.serving.gate import Gate
from heed.serving.metrics import Metrics
from heed.serving.orders import Order, chat_order, completion_order, find_model
from heed.serving.playground import add_playground
from heed.serving.refusals import RefusalError
from heed.serving.replies import ChatReply, Reply, StreamedReply
from heed.serving.schemas import (
    ChatAnswer,
    ChatRequest,
    CompletionBody,
    CompletionResponse,
    ErrorBody,
    ModelCard,
    ModelList,
)
from heed.serving.served_model import ServedModel
from heed.serving.settings import ServerSettings
from heed.serving.tickets import Ended, Heard

LONG = 4000
"""Characters of a request from which on its tokens are made aside, so that others are not kept waiting."""
ALTERNATIVES = {
    "prompt": "a prompt is a text, a list of texts, a list of token ids, or a list of those, and not empty",
    "stop": "stop is a text or a list of at most 4, none of them empty or longer than 1,000 characters",
}
"""What is said of a value that may be one of several things and is none."""
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": what}
    for status, what in (
        (400, "Something in the request cannot be done"),
        (401, "The key is missing or wrong"),
        (404, "There is no such model"),
        (408, "The body did not come in time"),
        (413, "The body is too large"),
        (429, "The queue is full: see Retry-After"),
        (500, "The server failed"),
        (503, "The server is shutting down, or has too many connections"),
        (504, "The time limit is over"),
    )
}


def make_app(served: Sequence[ServedModel], settings: ServerSettings | None = None) -> FastAPI:
    """Return the application that serves these models; `app.state.engine` is its engine, which runs from now on."""
    server = Server(served, settings or ServerSettings())
    app = FastAPI(
        title="heed", version=__version__, docs_url=None, redoc_url=None, lifespan=server.lifespan,
        description="Trained language models behind OpenAI's completions API.",
    )  # fmt: skip
    app.state.engine, app.state.server = server.engine, server
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _not_here)
    app.add_exception_handler(RefusalError, _refused)
    app.add_api_route("/health", server.health, methods=["GET"], summary="Whether the server answers")
    app.add_api_route("/metrics", server.metrics_text, methods=["GET"], response_class=_Metrics)
    app.add_api_route("/v1/models", server.models, methods=["GET"], response_model=ModelList, responses=_errors(401))
    app.add_api_route(
        "/v1/models/{name:path}", server.model, methods=["GET"], response_model=ModelCard, responses=_errors(401, 404)
    )
    for path, route, answer in (
        ("/v1/completions", server.completions, CompletionResponse),
        ("/v1/chat/completions", server.chat, ChatAnswer),
    ):
        good = {"model": answer, "content": {"text/event-stream": {}}}
        app.add_api_route(path, route, methods=["POST"], response_model=None, responses={200: good, **ERRORS})
    add_playground(app)
    app.add_middleware(Gate, settings=server.settings, metrics=server.metrics)
    openapi = app.openapi
    app.openapi = lambda: _without_422(openapi())  # which FastAPI adds, and is 400 here
    return app


class Server:
    """The routes, with what they share."""

    def __init__(self, served: Sequence[ServedModel], settings: ServerSettings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.served = {one.name: one for one in served}
        self.engine = Engine(served, rows=settings.rows, queue=settings.queue, metrics=self.metrics)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Run while the server does; at its end nothing is left undone in silence."""
        yield
        await run_in_threadpool(self.engine.close)

    async def health(self) -> dict[str, Any]:
        """Say that the server answers."""
        return {"status": "ok", "models": [*self.served]}

    async def metrics_text(self) -> Response:
        """Return the metrics for Prometheus."""
        return _Metrics(self.metrics.text())

    async def models(self) -> dict[str, Any]:
        """List the models."""
        return {"object": "list", "data": [_card(one, self.settings) for one in self.served.values()]}

    async def model(self, name: str) -> dict[str, Any]:
        """Describe a model."""
        return _card(find_model(self.served, name), self.settings)

    async def completions(self, body: CompletionBody, request: Request) -> Response:
        """Write after a text."""
        heard, send = _mailbox()
        served = find_model(self.served, body.model)
        long = int(request.headers.get("content-length") or LONG) >= LONG
        arguments = (body, served, self.settings, send)
        order = await run_in_threadpool(completion_order, *arguments) if long else completion_order(*arguments)
        return await self.answer(Reply(order, self.settings), heard, request)

    async def chat(self, body: ChatRequest, request: Request) -> Response:
        """Write the next message of a chat."""
        heard, send = _mailbox()
        served = find_model(self.served, body.model)
        order = await run_in_threadpool(chat_order, body, served, self.settings, send)
        return await self.answer(ChatReply(order, self.settings), heard, request)

    async def answer(self, reply: Reply, heard: asyncio.Queue[Heard], request: Request) -> Response:
        """Submit an order, and return its answer: whole, or as a stream."""
        order = reply.order
        await self._mimic()
        self.engine.submit(order.ticket)
        if order.stream:
            return _Events(self._stream(reply.stream(), heard))
        leaving = asyncio.create_task(_left(request))
        try:
            getting = asyncio.create_task(heard.get())
            await asyncio.wait((getting, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not getting.done():
                getting.cancel()
                raise RefusalError(499, "the client has left")
            end = getting.result()
            if isinstance(end, RefusalError):
                raise end
            return _Json(reply.whole())
        finally:
            leaving.cancel()
            self._let_go(order)

    async def _stream(self, answer: StreamedReply, heard: asyncio.Queue[Heard]) -> AsyncIterator[bytes]:
        """Yield the events of a stream; whoever leaves it early stops the work on it."""
        try:
            while True:
                news = await heard.get()
                if isinstance(news, RefusalError):
                    yield _event(news.body())
                    return
                for chunk in answer.last() if isinstance(news, Ended) else answer.chunks(news):
                    yield _event(chunk)
                if isinstance(news, Ended):
                    yield b"data: [DONE]\n\n"
                    return
        finally:
            self._let_go(answer.order)

    def _let_go(self, order: Order) -> None:
        if not order.ticket.ended:
            self.metrics.cancelled += 1
            self.engine.cancel(order.ticket)

    async def _mimic(self) -> None:
        """Be as slow and as unreliable as the operator wants it."""
        if self.settings.latency:
            await asyncio.sleep(self.settings.latency)
        if self.settings.fail_rate and random.random() < self.settings.fail_rate:
            raise RefusalError(500, "the server failed, as --fail-rate asks of it", code="asked_to_fail")


class _Json(Response):
    """JSON in UTF-8."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return _dumps(content)


class _Metrics(Response):
    """Prometheus' text format."""

    media_type = "text/plain; version=0.0.4"


class _Events(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        super().__init__(content, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


def _mailbox() -> tuple[asyncio.Queue[Heard], Any]:
    """Return a queue of this loop, and what puts something into it from another thread."""
    loop, heard = asyncio.get_running_loop(), asyncio.Queue[Heard]()

    def send(news: Heard) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody is left to hear it
            loop.call_soon_threadsafe(heard.put_nowait, news)

    return heard, send


async def _left(request: Request) -> None:
    """Return when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _card(one: ServedModel, settings: ServerSettings) -> dict[str, Any]:
    return {
        "id": one.name,
        "object": "model",
        "created": one.created,
        "owned_by": "heed",
        "context": one.context,
        "vocab_size": one.model.vocab_size,
        "chat": one.template is not None,
        "top_logprobs": settings.top_logprobs,
    }


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + _dumps(content) + b"\n\n"


def _dumps(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    return _Json(error.body(), error.status, error.headers)


async def _not_here(request: Request, error: Exception) -> Response:
    """Say what HTTP has against a request: a wrong path or method, a body that cannot be read."""
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code in (404, 405):
        message = f"{request.method} {request.url.path[:200]}: {message}"
    return _Json(RefusalError(error.status_code, message).body(), error.status_code, dict(error.headers or {}))


async def _invalid(request: Request, error: Exception) -> Response:
    """Say what is wrong with a body, its first fault."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    param = place[0] if place and first["type"] != "json_invalid" else None
    said: dict[str, str] = {
        "extra_forbidden": f"unrecognized request argument: {param}",
        "json_invalid": "the body is not JSON",
        "missing": "the body is missing" if param is None else f"{param} is missing",
    }
    message = said.get(first["type"], str(first["msg"]))
    message = message.removeprefix("Value error, ")
    message = ALTERNATIVES.get(param or "", message)
    where = "" if param is None or param in message else f"{param}: "
    return _Json(RefusalError(400, where + message, param=param).body(), 400)


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: ERRORS[status] for status in statuses}


def _without_422(document: dict[str, Any]) -> dict[str, Any]:
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    return document
