"""The page in a real browser: no errors, no requests, nothing to scroll sideways, text that can be read."""

import pytest
from fake_runs import metrics, write_classifier, write_run

from browsing import check_page, chromium
from heed.report.page import write_report

pytestmark = pytest.mark.slow  # a browser takes seconds to start


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    finished = write_run(folder / "a-name-that-is-long-and-has-no-space-to-break-it-at-0123456789")
    killed = write_run(folder / "killed", events=metrics()[:90], end=None, evaluation={"LEAKS": "position 3 sees 5"})
    classifier = write_classifier(folder / "reviews")
    return [write_report(run).as_uri() for run in (finished, killed, classifier)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_the_page_is_quiet_fits_and_can_be_read(browser, addresses, scheme, width):
    for address in addresses:
        check_page(browser, address, scheme, width, texts=60)


def test_the_axis_is_chosen_by_keyboard_and_without_script(browser, addresses):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(addresses[0])
    assert page.locator("#panel-steps").is_visible()
    page.locator("#axis-steps").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#panel-tokens").is_visible()
    assert not page.locator("#panel-steps").is_visible()
    page.get_by_text("wall clock", exact=True).click()
    assert page.locator("#panel-time").is_visible()
    context.close()
