"""The playground and the page of cards: plain modules beside the API, with the look of every page of heed.

They may ask this server and nobody else: the policy that goes with each file allows its own scripts and styles, and
requests to the address that it came from.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heed.explore.cards import page_files
from heed.report.served import HEADERS, KINDS, LOOK

if TYPE_CHECKING:
    from fastapi import FastAPI

STATIC = Path(__file__).with_name("static")
FILES = {
    "/": STATIC / "index.html",
    **{f"/{name}": path for name, path in LOOK.items()},
    **{
        f"/{name}": STATIC / name
        for name in ("playground.css", "playground.js", "completions.js", "code.js", "presets.js")
    },
}
"""What is served, by path: nothing else of the disk can be asked for."""


def add_playground(app: FastAPI) -> None:
    """Serve the playground at `/` and the cards at `/explore/`; they need no key, and hold nothing of the models."""
    from fastapi import Response
    from fastapi.responses import RedirectResponse

    files = {path: (file.read_bytes(), KINDS[file.suffix]) for path, file in FILES.items()}
    files |= {f"/explore/{path}": found for path, found in page_files().items()}
    for path, (content, kind) in files.items():

        async def answer(content: bytes = content, kind: str = kind) -> Response:
            return Response(content, media_type=f"{kind}; charset=utf-8", headers=HEADERS)

        app.add_api_route(path, answer, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route(
        "/explore", lambda: RedirectResponse("/explore/", 308), methods=["GET", "HEAD"], include_in_schema=False
    )
