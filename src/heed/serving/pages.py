"""The pages of the server: files in `pages/`, sent as they are. They hold nothing secret."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse

FOLDER = Path(__file__).parent / "pages"


def add_pages(app: FastAPI) -> None:
    """Add a route for each file of the folder under its own name, and `/` for index.html."""
    for file in sorted(FOLDER.glob("*.*")):
        app.add_api_route(
            "/" if file.name == "index.html" else f"/{file.name}",
            lambda file=file: FileResponse(file),
            methods=["GET"],
            include_in_schema=False,
        )
