"""What the script of a page does, in a real browser: values at a cursor, lines that come and go, logarithms, smoothing,
zoom, tables that sort; and what it must not be able to do."""

import json
import math
import re

import pytest
from fake_runs import metrics, write_run
from fake_studies import write_study_folder
from test_page_browser import browser  # noqa: F401 - a fixture

from heed.report.figures import smoothed
from heed.report.page import write_report
from heed.report.study_page import write_study

pytestmark = pytest.mark.slow  # a browser takes seconds to start

LOSS = "#figure-loss-steps"
SHOWN = """name => {
  const svg = document.querySelector(name + ' .plot > svg'), number = text => Number(text.replaceAll(',', ''));
  const ticks = [...svg.querySelectorAll('.ticks text')].map(each => [each.classList.contains('y'),
    parseFloat(each.getAttribute(each.classList.contains('y') ? 'y' : 'x')), number(each.textContent)]);
  const points = path => {
    const found = [];
    let relative = false, at = [0, 0];
    for (const [, command, x, y] of path.matchAll(/([MLl]?)\\s*(-?\\d+) (-?\\d+)/g)) {
      if (command) relative = command === 'l';
      at = relative ? [at[0] + +x, at[1] + +y] : [+x, +y];
      found.push(at);
    }
    return found;
  };
  const lines = [...svg.querySelectorAll('.marks .line')];
  const of = upright => ticks.filter(each => each[0] === upright).map(each => each.slice(1));
  return { x: of(false), y: of(true),
           lines: Object.fromEntries(lines.map(each => [each.classList[1], points(each.getAttribute('d'))])) };
}"""
"""(place in percent, number) of the ticks, and the points of each line in units of the box, as they are in the page."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("runs") / "run", events=metrics(400, 4, overfit=True))
    return folder, write_report(folder)


@pytest.fixture
def page(browser, run):  # noqa: F811
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.goto(run[1].as_uri())
    yield page
    page.close()
    assert problems == []


def events(run, kind):
    lines = map(json.loads, (run[0] / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if line["event"] == kind}


def heights(shown, series, log=False):
    """The points of a line in the units of its axes."""
    (a, low), (b, high) = shown["y"][0], shown["y"][-1]
    (c, first), (d, last) = shown["x"][0], shown["x"][-1]
    scale = math.log if log else float
    up = lambda y: scale(low) + (y / 100 - a) * (scale(high) - scale(low)) / (b - a)
    across = lambda x: first + (x / 100 - c) * (last - first) / (d - c)
    return [(across(x), math.exp(up(y)) if log else up(y)) for x, y in shown["lines"][series]]


def at(page, name, share, height=0.5):
    """Point at a share of the width of a plot."""
    box = page.locator(f"{name} .plot > svg").bounding_box()
    page.mouse.move(box["x"] + share * box["width"], box["y"] + height * box["height"])


def said(page, name=LOSS):
    """What stands at the cursor, by the name of each line: value and step."""
    box = page.locator(f"{name} .readout")
    assert box.is_visible()
    step = float(re.search(r"step ([\d.]+)", box.locator("strong").inner_text())[1])
    found = {}
    for text in box.locator("span").all_inner_texts():
        value, *other = re.findall(r"(?:: |at )(-?[\d.]+)", text)
        found[text.split(":")[0]] = float(value), float(other[0]) if other else step
    return found


def test_what_is_said_at_the_cursor_is_what_the_record_has(page, run):
    validation, training = events(run, "evaluation"), events(run, "train")
    for share in (0.1, 0.5, 0.87):
        at(page, LOSS, share)
        found = said(page)
        value, step = found["validation"]
        assert value == pytest.approx(validation[step], rel=5e-6)
        value, step = found["training"]
        assert value == pytest.approx(training[step], rel=5e-6)
        assert abs(step - 400 * share) <= 4
    page.mouse.move(0, 0)
    assert not page.locator(f"{LOSS} .readout").is_visible()


def test_keys_move_through_the_values_and_are_read_out(page, run):
    page.locator(f"{LOSS} .plot > svg").focus()
    page.keyboard.press("End")
    assert said(page)["validation"] == (pytest.approx(events(run, "evaluation")[400], rel=5e-6), 400)
    page.keyboard.press("ArrowLeft")
    value, step = said(page)["training"]
    assert (value, step) == (pytest.approx(events(run, "train")[396], rel=5e-6), 396)
    box = page.locator(f"{LOSS} .readout")
    assert box.get_attribute("role") == "status"  # which is read out when it changes
    assert "Arrow keys" in page.locator(f"{LOSS} .plot > svg").get_attribute("aria-label")
    page.keyboard.press("Escape")
    assert not box.is_visible()


def test_the_script_draws_what_heed_drew(page):
    before = page.evaluate(SHOWN, LOSS)
    log = page.locator(f"{LOSS} .tools button", has_text="log")
    log.click()
    log.click()
    after = page.evaluate(SHOWN, LOSS)
    assert after["x"] == [pytest.approx(each, abs=0.01) for each in before["x"]]
    assert after["y"] == [pytest.approx(each, abs=0.01) for each in before["y"]]
    assert before["lines"].keys() == after["lines"].keys()
    for series, points in before["lines"].items():
        assert after["lines"][series] == [pytest.approx(point, abs=2) for point in points]


def test_logarithms_keep_every_value(page, run):
    log = page.locator(f"{LOSS} .tools button", has_text="log")
    assert log.get_attribute("aria-pressed") == "false"
    log.click()
    assert log.get_attribute("aria-pressed") == "true"
    shown = page.evaluate(SHOWN, LOSS)
    steps = [place for place, _ in shown["y"]]
    values = [value for _, value in shown["y"]]
    assert values == sorted(values)
    slopes = [(a - b) / math.log(w / v) for a, b, v, w in zip(steps, steps[1:], values, values[1:], strict=False)]
    assert slopes == [pytest.approx(slopes[0], rel=1e-2)] * len(slopes)
    validation = events(run, "evaluation")
    assert heights(shown, "s2", log=True) == [
        (pytest.approx(step, abs=0.2), pytest.approx(loss, rel=2e-3)) for step, loss in validation.items()
    ]


def test_a_training_curve_is_smoothed_as_the_page_says(page, run):
    page.locator(f"{LOSS} .tools input").evaluate(
        "element => { element.value = 0.9; element.dispatchEvent(new Event('input')) }"
    )
    training = events(run, "train")
    expected = smoothed(list(training.values()), 0.9)
    shown = page.evaluate(SHOWN, LOSS)
    assert [y for _, y in heights(shown, "s1")] == [pytest.approx(y, abs=0.01) for y in expected]
    at(page, LOSS, 0.5)
    assert re.search(r"smoothed ([\d.]+)", page.locator(f"{LOSS} .readout").inner_text())
    # the validation loss is as it was
    assert [y for _, y in heights(shown, "s2")] == [
        pytest.approx(y, abs=0.01) for y in events(run, "evaluation").values()
    ]


def test_a_line_goes_and_comes_back(page):
    before = page.evaluate(SHOWN, LOSS)
    button = page.locator(f"{LOSS} .names button", has_text="training")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    alone = page.evaluate(SHOWN, LOSS)
    assert set(alone["lines"]) == {"s2"}
    assert alone["y"][-1][1] < before["y"][-1][1]  # the axis is that of what is left
    page.locator(f"{LOSS} .names button", has_text="validation").click()
    assert set(page.evaluate(SHOWN, LOSS)["lines"]) == {"s2"}  # one line stays
    button.click()
    assert set(page.evaluate(SHOWN, LOSS)["lines"]) == {"s1", "s2"}


def test_zoom_by_pointer_and_by_key_and_back(page, run):
    before = page.evaluate(SHOWN, LOSS)
    at(page, LOSS, 0.25)
    page.mouse.down()
    at(page, LOSS, 0.4)
    at(page, LOSS, 0.75)
    page.mouse.up()
    shown = page.evaluate(SHOWN, LOSS)
    numbers = [value for _, value in shown["x"]]
    assert 95 <= numbers[0] <= numbers[-1] <= 305
    assert [y for x, y in heights(shown, "s2") if 100 <= x <= 300] == [
        pytest.approx(loss, abs=0.01) for step, loss in events(run, "evaluation").items() if 100 <= step <= 300
    ]
    assert shown["y"][-1][1] < before["y"][-1][1]  # the axis fits what is seen
    page.locator(f"{LOSS} .tools button", has_text="reset").click()
    assert page.evaluate(SHOWN, LOSS)["x"] == [pytest.approx(each, abs=0.01) for each in before["x"]]
    page.locator(f"{LOSS} .plot > svg").focus()
    page.keyboard.press("+")
    assert [value for _, value in page.evaluate(SHOWN, LOSS)["x"]] == [100, 150, 200, 250, 300]
    page.keyboard.press("0")
    assert page.evaluate(SHOWN, LOSS)["x"] == [pytest.approx(each, abs=0.01) for each in before["x"]]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(write_study_folder(tmp_path_factory.mktemp("studies") / "study"))


def test_tables_sort_by_amount_and_by_name(browser, study):  # noqa: F811
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(study.as_uri())
    table = page.locator("table.results", has_text="tokens/s")
    column = lambda n: table.locator(f"tbody tr td:nth-child({n + 1})").all_inner_texts()
    heads = table.locator("thead th").all_inner_texts()
    peak, name = heads.index("peak"), table.locator("thead th").nth(0)
    for direction, order in (("ascending", [366, 382, 398, 414]), ("descending", [414, 398, 382, 366])):
        table.locator("thead th").nth(peak).locator("button").click()
        assert column(peak) == [f"{n} MiB" for n in order]
        assert table.locator("thead th").nth(peak).get_attribute("aria-sort") == direction
    name.locator("button").click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names)
    assert table.locator("thead th").nth(peak).get_attribute("aria-sort") is None
    page.close()


def test_rows_say_their_values(browser, study):  # noqa: F811
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(study.as_uri())
    page.locator("#figure-forest .rows > svg").focus()
    page.keyboard.press("ArrowDown")
    box = page.locator("#figure-forest .readout")
    assert box.locator("strong").inner_text() == "rotary"
    table = page.locator("#figure-forest table tbody tr").first.locator("td").all_text_contents()
    text = box.inner_text()
    assert all(cell.strip() in text for cell in table)
    assert "seed 3" in text
    page.close()


def test_the_policy_refuses_every_other_script(browser, run, tmp_path):  # noqa: F811
    html = (
        run[1]
        .read_text()
        .replace(
            "</main>",
            "<script>window.found = 1</script><img src=x onerror='window.found = 2'>"
            "<p id=own style='color: red' onclick='window.found = 3'>own</p>"
            "<script src='https://example.org/x.js'></script></main>",
        )
    )
    (tmp_path / "page.html").write_text(html)
    page = browser.new_page()
    refused, asked = [], []
    page.on("console", lambda message: refused.append(message.text))
    page.on("requestfinished", lambda request: asked.append(request.url))
    page.goto((tmp_path / "page.html").as_uri())
    page.locator("#own").click()
    assert page.evaluate("() => window.found") is None
    assert page.evaluate("() => getComputedStyle(document.querySelector('#own')).color") != "rgb(255, 0, 0)"
    assert page.locator(f"{LOSS} .tools").count() == 1  # heed's own runs
    assert sum("Content Security Policy" in text for text in refused) >= 4
    assert asked == [(tmp_path / "page.html").as_uri()]
    page.close()


def test_without_a_script_there_are_pictures_and_tables_and_no_controls(browser, run):  # noqa: F811
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(run[1].as_uri())
    assert page.locator(f"{LOSS} .marks .line").count() == 2
    assert page.locator("button").count() == 0
    page.locator(f"{LOSS} summary").click()
    assert page.locator(f"{LOSS} td", has_text="396").first.is_visible()
    context.close()


def test_paper_has_no_controls_and_details_are_open(page):
    page.emulate_media(media="print")
    assert not page.locator(f"{LOSS} .tools").is_visible()
    assert page.locator("details", has_text="Every setting").locator("dt").first.is_visible()


def test_texts_end_with_a_whole_line(page):
    heights_ = page.evaluate(
        "() => [...document.querySelectorAll('.sample .text')].map(each => getComputedStyle(each)).map(style => "
        "parseFloat(style.maxHeight) / parseFloat(style.lineHeight))"
    )
    assert heights_
    assert all(each == pytest.approx(round(each), abs=1e-6) for each in heights_)


def test_nothing_moves_where_motion_is_not_wanted(browser, run):  # noqa: F811
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(run[1].as_uri())
    assert page.evaluate("() => getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    context.close()


def test_a_long_page_has_a_table_of_contents(page):
    links = page.locator("nav.contents a")
    assert links.count() >= 6
    for place in range(links.count()):
        address = links.nth(place).get_attribute("href")
        assert page.locator(address).inner_text() == links.nth(place).inner_text()
