"""A real browser for the tests of pages, and what is measured in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
CONTRAST = """() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = channels(getComputedStyle(element).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    throw Error('no background');
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(channels(ink)), light(behind(element))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    found.push([ratio, element.tagName, element.getAttribute('class'), element.textContent.slice(0, 30)]);
  }
  return found;
}"""
OUTSIDE = """() => [...document.querySelectorAll('figure svg text, .names li, .rows li')].filter(text => {
  const a = text.getBoundingClientRect(), b = text.closest('figure').getBoundingClientRect();
  const across = a.left < b.left - 1 || a.right > b.right + 14;  // half a number under the last tick
  const cut = text.closest('.rows') && text.tagName === 'LI' && text.scrollWidth > text.clientWidth + 1;
  return a.width && (cut || across || a.top < b.top - 1 || a.bottom > b.bottom + 1);
}).map(text => text.textContent).concat([...document.querySelectorAll('figure .plot > svg')].filter(drawing =>
  drawing.getBoundingClientRect().right > drawing.closest('figure').getBoundingClientRect().right + 1
).map(drawing => drawing.ariaLabel))"""
"""The words of figures that lie outside them, or are cut; and the names of drawings that do."""


@contextmanager
def chromium() -> Iterator:
    """Start Chromium; a test is left out where there is none, but never in CI.

    Debian's chromium-headless-shell is the same engine without windows: a page takes a third of the processor's time.
    """
    from playwright import sync_api

    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        assert "CI" not in os.environ, "CI installs Chromium: these tests are not left out there"
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS.split())
        yield browser
        browser.close()


def check_page(browser, address, scheme, width, texts=0):
    """A page is quiet, asks the network for nothing, fits, can be read, and keeps the texts of figures inside them."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints, requests = [], []
    page.on("console", lambda message, seen=complaints: seen.append(message.text))
    page.on("pageerror", lambda error, seen=complaints: seen.append(str(error)))
    page.on("request", lambda request, seen=requests: seen.append(request.url))
    page.goto(address)
    page.evaluate("() => { for (const details of document.querySelectorAll('details')) details.open = true }")
    assert complaints == []
    assert requests == [address]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    measured = page.evaluate(CONTRAST)
    assert len(measured) > texts
    # 4.5 is what WCAG 2 asks of body text (AA)
    assert [entry for entry in measured if entry[0] < 4.5] == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))
    outside = page.evaluate(OUTSIDE)
    assert outside == []
    page.close()
