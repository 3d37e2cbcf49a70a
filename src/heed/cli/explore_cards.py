"""The page of cards of `heed explore`: served to this machine, or written into one file."""

from __future__ import annotations

import signal
import webbrowser
from pathlib import Path

from heed.errors import DataError, why
from heed.files import write_text


def serve_cards(port: int, card: str, opened: bool) -> int:
    """Serve the page until a signal comes, and say where, with a card of it if one is meant; 0 then."""
    from heed.explore.cards import make_server

    with make_server(port) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/{f'#{card}' if card else ''}"
        print(f"cards at {address} (Ctrl-C ends it)", flush=True)
        if opened:
            webbrowser.open(address)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(flush=True)
    return 0


def write_cards(path: Path) -> int:
    """Write the page into one file; 0 when done. Raises `DataError` where that cannot be."""
    from heed.explore.cards import single_file

    try:
        write_text(path, single_file())
    except OSError as error:
        raise DataError(f"{path} cannot be written: {why(error)}") from None
    print(f"cards: {path}")
    return 0
