"""`heed board`: all runs on a live page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from heed.board.finding import usual_folders
from heed.cli.listening_flags import ListenFlags, address_of, hosts_of, keys_of
from heed.cli.settings import parse
from heed.errors import require


class BoardFlags(ListenFlags):
    """Show runs on a page that refreshes by itself: their table, curves, settings and samples; studies as they run.

    It reads the folders and changes nothing in them. It listens to this machine alone, unless it has an API key, and
    asks nothing of any other machine.

    examples:
      heed board                        those in runs/, studies/ and tunes/
      heed board studies/norms --open   and open a browser
      heed board runs --port 8001
      ssh -L 8002:localhost:8002 NODE   from elsewhere: then http://localhost:8002
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders that hold runs, at any depth. Default: runs, studies and tunes here."""
    port: int = Field(default=8002, ge=0, le=65535)
    """0 takes a free one."""
    open: bool = False
    """Open the page in a browser."""


def main(argv: list[str]) -> int:
    """Serve the page until a signal comes; 0 then."""
    flags = parse(BoardFlags, argv, "board")
    roots = usual_folders(flags.folders)
    require("starlette", "serve")
    require("uvicorn", "serve")
    from heed.board.live import Board
    from heed.serving.board import make_board_app
    from heed.serving.listening import bind, listen
    from heed.serving.settings import ServerSettings

    settings = ServerSettings(api_keys=keys_of(flags), hosts=hosts_of(flags), connections=100, access_log=False)
    with bind(flags.host, flags.port) as listener:
        app, address = make_board_app(Board(roots), settings), address_of(flags, listener)
        print(f"board of {', '.join(map(str, roots))} at {address}/ (Ctrl-C ends it)", flush=True)
        if flags.open:
            webbrowser.open(address)
        listen(app, listener, grace=1.0, connections=100)
    return 0
