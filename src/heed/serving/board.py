"""The board as an ASGI application: its page, and one route that tells what is new, behind the gate of every server."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import heed.board
from heed.board.live import Board, BoardQuestion
from heed.report.parts import places
from heed.report.served import HEADERS, KINDS, LOOK, TEMPLATES
from heed.serving.gate import Gate
from heed.serving.metrics import Metrics
from heed.serving.refusals import RefusalError
from heed.serving.settings import ServerSettings

STATIC = Path(heed.board.__file__).with_name("static")
FILES = {
    "/": STATIC / "index.html",
    **{f"/{name}": path for name, path in LOOK.items()},
    "/page.js": TEMPLATES / "page.js",
    **{f"/{name}": STATIC / name for name in ("board.css", "board.js", "curves.js", "asking.js")},
}
"""What is served, by path: nothing else of the disk can be asked for."""


def make_board_app(board: Board, settings: ServerSettings) -> Starlette:
    """Return the application that shows what a board knows."""

    async def answer(request: Request) -> Response:
        try:
            asked = BoardQuestion.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise RefusalError(400, f"{place}: {first['msg']}".removeprefix(": ")) from None
        found = await run_in_threadpool(board.answer, asked)
        text = json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return Response(text.encode("utf-8", "replace"), media_type="application/json", headers=HEADERS)

    routes = [Route("/v1/board", answer, methods=["POST"])]
    files = {path: (file.read_bytes(), KINDS[file.suffix]) for path, file in FILES.items()}
    files["/places.css"] = places().encode(), KINDS[".css"]
    routes += [Route(path, _giving(*file), methods=["GET"]) for path, file in files.items()]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Gate, settings=settings, metrics=Metrics())],
        exception_handlers={RefusalError: _refused, HTTPException: _refused},
    )


def _giving(content: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def give(request: Request) -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=HEADERS)

    return give


async def _refused(request: Request, error: Any) -> Response:
    if isinstance(error, HTTPException):
        error = RefusalError(error.status_code, f"{request.method} {request.url.path[:200]}: {error.detail}")
    return Response(json.dumps(error.body()), error.status, error.headers | HEADERS, "application/json")
