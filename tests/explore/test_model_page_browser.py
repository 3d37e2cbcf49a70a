"""The page of an exploration in a real browser: what it says of a place is the weight there, by pointer and by keys."""

import re

import numpy as np
import pytest

from browsing import CONTRAST, check_page, chromium
from explore.small_subjects import TEXT, subject_of
from heed.explore.ablation import cut_windows
from heed.explore.exploration import PromptIds, explore
from heed.explore.exploration_folder import PAGE, write_exploration
from heed.explore.induction import plan_induction
from heed.explore.model_page import render

pytestmark = pytest.mark.slow  # a browser takes seconds to start

LONG = "the cat sees a dog & <b>the</b> dog sees\n\tthe cat. " * 4


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def explorations(tmp_path_factory):
    """By name: a page and its exploration; a causal model on a short and a long text, and an encoder."""
    found = {}
    for name, kind, text, context in (
        ("short", "gpt", TEXT, 64), ("long", "gpt", LONG, 256), ("encoder", "encoder", TEXT, 64),
    ):  # fmt: skip
        subject = subject_of(kind, text=LONG + TEXT, context=context)
        prompt = PromptIds(subject.encode(text), text)
        induction = text_ = None
        if kind == "gpt":
            induction = plan_induction(context, 0, 20, 2, 3, 0)
            text_ = cut_windows(np.array(subject.encode(LONG * 4)), 4, 30, "a text")
        made = explore(subject, prompt, [0, 1], induction, text_)
        made.record.command = ["heed", "explore", name]
        folder = tmp_path_factory.mktemp(name)
        write_exploration(folder, made, render(made))
        found[name] = (folder / PAGE).as_uri(), made
    return found


def says(page, where, text):
    """Wait until a part of the page holds a text; a condition in JavaScript would be refused by the page's policy."""
    for _ in range(400):
        if text in page.locator(where).first.text_content():
            return
        page.wait_for_timeout(25)
    raise AssertionError(page.locator(where).first.text_content())


def opened(browser, explorations, name, **how):
    page = browser.new_page(viewport={"width": 1280, "height": 1000}, **how)
    page.goto(explorations[name][0])
    says(page, ".map h3", "Head")
    return page, explorations[name][1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_the_lines_are_quiet_fit_and_can_be_read(browser, explorations, scheme, width):
    page, _ = opened(browser, explorations, "encoder", color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.get_by_role("button", name="Lines").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [entry for entry in page.evaluate(CONTRAST) if entry[0] < 4.5] == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("name", ["short", "long", "encoder"])
def test_the_page_is_quiet_fits_and_can_be_read(browser, explorations, name, scheme, width):
    check_page(browser, explorations[name][0], scheme, width, texts=60)


def weight_of(page, t, s):
    """Point at a place of the map and return (token that looks, share, token looked at) of what is said."""
    box = page.locator(".plate canvas").bounding_box()
    T = page.evaluate("document.querySelectorAll('.map .text span').length")
    page.mouse.move(box["x"] + (s + 0.5) / T * box["width"], box["y"] + (t + 0.5) / T * box["height"])
    says(page, ".said", f"(token {t})")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    said = page.locator(".said").text_content()
    found = re.search(r"looks at “(.*?)” \(token (\d+)\) with ([\d.]+) % of its weight", said, re.DOTALL)
    assert found, said
    return float(found[3]) / 100, found[1], int(found[2])


@pytest.mark.parametrize("name", ["short", "long", "encoder"])
def test_what_is_said_of_a_place_is_its_weight(browser, explorations, name):
    page, made = opened(browser, explorations, name)
    weights = made.arrays["weights"].astype(float)
    T = weights.shape[-1]
    for layer, head in ((0, 1), (1, 0)):
        page.locator(f"[data-head='{layer}.{head}'] button").click()
        says(page, ".map h3", f"Head {layer}.{head}:")
        page.locator(".plate").scroll_into_view_if_needed()
        for t, s in ((T - 1, T - 2), (T // 2, 3), (T - 2, 0), (5, 5)):
            said, _, place = weight_of(page, t, s)
            real = weights[layer, head, t, s]
            assert place == s
            assert abs(said - real) <= np.sqrt(real) / 255 + 0.005 + 1e-4
    assert page.evaluate("document.querySelector('.map canvas').width") == T
    page.close()


def test_the_map_goes_by_keys(browser, explorations):
    page, made = opened(browser, explorations, "short")
    T = made.arrays["weights"].shape[-1]
    first = page.locator(".heads button[aria-pressed=true]")
    assert first.count() == 1
    page.locator("[data-head='0.0'] button").click()
    page.keyboard.press("ArrowRight")
    says(page, ".map h3", "Head 0.1:")
    page.keyboard.press("ArrowDown")
    says(page, ".map h3", "Head 1.1:")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    assert page.locator(".heads button[tabindex='0']").count() == 1  # one stop of the Tab key
    page.locator(".plate").focus()
    for key in ("Home", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    says(page, ".said", "(token 2) looks at")
    page.locator(".map .text").focus()
    page.keyboard.press("End")
    says(page, ".said", f"(token {T - 1})")
    page.keyboard.press("ArrowLeft")
    says(page, ".said", f"(token {T - 2})")
    assert page.locator(".map .text .here").count() == 1
    page.close()


def test_a_token_that_is_pointed_at_shades_what_it_looks_at(browser, explorations):
    page, made = opened(browser, explorations, "short")
    page.locator("[data-head='1.0'] button").click()
    says(page, ".map h3", "Head 1.0:")
    page.locator(".map .text span").nth(20).hover()
    says(page, ".said", "(token 20)")
    row = ((np.rint(255 * np.sqrt(made.arrays["weights"][1, 0, 20].astype(float)))) / 255) ** 2
    levels = [sum(a >= bound for bound in (0.01, 0.05, 0.2, 0.5)) for a in row[:21]]
    found = page.evaluate(
        "[...document.querySelectorAll('.map .text span')].map(s => +(s.className.match(/look(\\d)/) || [0, 0])[1])"
    )
    assert found[:21] == levels
    assert not any(found[21:])
    assert max(levels) > 1
    page.close()


def test_weights_are_lines_too(browser, explorations):
    """As many lines as weights of 2 % and more; those of the chosen token over them, by pointer and by keys."""
    page, made = opened(browser, explorations, "short")
    weights = (np.rint(255 * np.sqrt(made.arrays["weights"][1, 0].astype(float))) / 255) ** 2
    page.locator("[data-head='1.0'] button").click()
    says(page, ".map h3", "Head 1.0:")
    page.get_by_role("button", name="Lines").click()
    assert page.locator(".plate").is_hidden()
    assert page.locator(".ties g").first.locator("line").count() == (weights >= 0.02).sum()
    assert page.locator(".ties .here").is_visible()
    inside = "(() => { const [a, b] = ['.here', ''].map(css => document.querySelector(`.ties ${css}`.trim())"
    assert page.evaluate(f"{inside}.getBoundingClientRect()); return a.bottom <= b.bottom && a.top >= b.top; }})()")
    page.locator(".ties").focus()
    page.keyboard.press("Home")
    for _ in range(9):
        page.keyboard.press("ArrowDown")
    says(page, ".said", "(token 9) looks most at")
    drawn = page.evaluate(
        "[...document.querySelectorAll('.ties .own line')]"
        ".map(line => ['y1', 'y2', 'stroke-opacity'].map(name => +line.getAttribute(name)))"
    )
    assert [(t - 0.5, s - 0.5) for t, s, _ in drawn] == [(9, s) for s in np.flatnonzero(weights[9] >= 0.02)]
    np.testing.assert_allclose([a for *_, a in drawn], weights[9][weights[9] >= 0.02], atol=6e-4)
    page.locator(".ties > div span").nth(15).hover()
    says(page, ".said", "(token 15)")
    page.locator("[data-head='0.1'] button").click()
    says(page, ".map h3", "Head 0.1:")
    assert page.locator(".ties").is_visible()
    page.get_by_role("button", name="Map").click()
    assert page.locator(".ties").is_hidden()
    assert page.locator(".plate canvas").is_visible()
    page.close()


def test_of_a_long_text_the_lines_of_one_token_are_drawn(browser, explorations):
    page, _ = opened(browser, explorations, "long")
    page.get_by_role("button", name="Lines").click()
    assert page.locator(".ties g").first.locator("line").count() == 0
    assert page.locator(".ties .own line").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.close()


def test_the_gate_of_a_token_is_said(browser, tmp_path):
    subject = subject_of(mechanism="aft-simple")
    made = explore(subject, PromptIds(subject.encode(TEXT), TEXT), [0, 1], None, None)
    made.record.command = ["heed", "explore", "aft"]
    write_exploration(tmp_path, made, render(made))
    page, _ = opened(browser, {"aft": ((tmp_path / PAGE).as_uri(), made)}, "aft")
    page.locator("[data-head='1.1'] button").click()
    says(page, ".map h3", "Head 1.1:")
    page.locator(".map .text").focus()
    page.keyboard.press("End")
    gate = made.arrays["gate"][1, 1, -1]
    says(page, ".said", f"Its gate lets {100 * gate:.0f} % through.")
    assert "gate" in page.locator("[aria-labelledby=heads] thead").first.text_content()
    page.close()


def test_the_page_is_readable_without_scripts(browser, explorations):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(explorations["short"][0])
    assert page.locator(".heads img").count() == 4
    assert page.locator(".heads img").first.is_visible()
    assert page.locator(".heads img").first.get_attribute("alt").startswith("Head 0.0: ")
    assert page.get_by_role("table").count() >= 3
    assert page.locator(".map").count() == 0
    context.close()


def test_markup_in_a_text_stays_text(browser, explorations):
    page, made = opened(browser, explorations, "long")
    assert page.locator(".map .text").text_content() == "".join(made.record.tokens)
    assert page.locator(".map .text b").count() == 0
    page.close()
