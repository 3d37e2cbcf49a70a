"""What several tests of this room begin with."""

import threading

import pytest

from browsing import chromium
from heed.explore.cards import make_server


@pytest.fixture(scope="module")
def address():
    with make_server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser
