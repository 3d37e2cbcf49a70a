"""The page of cards opened in a browser, for the tests of all that is on it."""

from contextlib import contextmanager


@contextmanager
def opened(browser, address, link="", **options):
    """A page whose complaints, and requests of other machines, fail the test."""
    page = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | options))
    wrong = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else wrong.append(r.url))
    page.goto(address + link)
    page.wait_for_function("globalThis.heed")
    yield page
    page.close()
    assert wrong == []
