"""The playground: one page of plain modules beside the API, with the look of every page of heed.

It may ask this server and nobody else: the policy that goes with each file allows its own scripts and styles, and
requests to the address that it came from.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import heed.report

if TYPE_CHECKING:
    from fastapi import FastAPI

STATIC = Path(__file__).with_name("static")
LOOK = Path(heed.report.__file__).with_name("templates") / "style.css"
FILES = {
    "/": (STATIC / "index.html", "text/html"),
    "/style.css": (LOOK, "text/css"),
    "/playground.css": (STATIC / "playground.css", "text/css"),
    "/playground.js": (STATIC / "playground.js", "text/javascript"),
    "/completions.js": (STATIC / "completions.js", "text/javascript"),
    "/code.js": (STATIC / "code.js", "text/javascript"),
    "/presets.js": (STATIC / "presets.js", "text/javascript"),
}
"""What is served, by path: nothing else of the disk can be asked for."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def add_playground(app: FastAPI) -> None:
    """Serve the page at `/`, and its files; they need no key, and hold nothing of the models."""
    from fastapi import Response

    for path, (file, kind) in FILES.items():
        content = file.read_bytes()

        async def answer(content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=f"{kind}; charset=utf-8", headers=HEADERS)

        app.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)
