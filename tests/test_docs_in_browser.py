"""The site as it is built, over HTTP: it fetches nothing from elsewhere, is searched, and fits a phone."""

import os
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from browsing import chromium
from test_docs import ROOT

pytestmark = pytest.mark.slow
LOOKED_AT = ("", "attention/", "attention/naive-mask/", "attention/performer/", "attention/bigbird/", "comparison/")
FIRST_SCREEN = """() => {
  const figure = document.querySelector('svg.influence');
  return figure === null ? null : figure.getBoundingClientRect().top < innerHeight - 200;
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the site, built as `make check` builds it, is served."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(site)]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_site_in_a_browser(address):
    with chromium() as browser:
        for width in (1280, 390):
            page = browser.new_page(viewport={"width": width, "height": 844})
            asked, mistakes = [], []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("pageerror", lambda error, mistakes=mistakes: mistakes.append(str(error)))
            for path in LOOKED_AT:
                page.goto(address + path)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, path
                assert page.evaluate(FIRST_SCREEN) in ([None] if path == "comparison/" else [True]), path
                assert page.evaluate("[...document.querySelectorAll('.equations math')].every(m => m.clientHeight > 8)")
            assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
            assert mistakes == []
        page.set_viewport_size({"width": 1280, "height": 844})
        page.goto(address)
        assert page.locator("nav.md-nav--primary > ul > li").count() <= 12
        page.keyboard.press("/")
        page.keyboard.type("passport")
        found = page.locator(".md-search-result__item a").first
        found.wait_for()
        assert "passports" in found.inner_text()
        browser.close()
