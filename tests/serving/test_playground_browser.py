"""The playground in a real browser: asks, streams, stops, shows probabilities, keeps its history, and is quiet."""

import json
import subprocess
import sys
from contextlib import chdir, contextmanager

import pytest

from browsing import CONTRAST, chromium
from forked import heed_process
from heed.cli import main

pytestmark = pytest.mark.slow  # a browser takes seconds to start

TEXT = "The cat sat on the mat. 'The \"odd\" dog\u00e9', and the cat ran after it.\n" * 30
TINY = [
    "--tokenizer.kind", "char", "--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "32",
    "--model.context", "256", "--train.steps", "30", "--train.batch-size", "8", "--run.device", "cpu",
    "--run.threads", "1", "--data.workers", "1", "--run.name", "tiny",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("playground")
    (folder / "text.txt").write_text(TEXT)
    with chdir(folder):
        assert main(["train", "text.txt", *TINY]) == 0
    return folder


@contextmanager
def serving(folder, *flags):
    """Run `heed serve`; gives the address that it names."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with heed_process("serve", "runs/tiny", "--port", "0", *flags, cwd=folder, **streams) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert " at http://" in line, line
        yield line.split(" at ")[1].split("/v1")[0] + "/"
        server.terminate()


@pytest.fixture(scope="module")
def address(folder):
    with serving(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, address):
    """A page whose complaints, and requests of other machines, fail the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.wrong = []
    page.on("console", lambda message: page.wrong.append(message.text))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(address) else page.wrong.append(r.url))
    page.goto(address)
    page.wait_for_selector("#model option", state="attached")
    yield page
    assert page.wrong == []
    page.close()


def ask(page, prompt="The cat ", **knobs):
    """Fill in, submit, and wait for the end."""
    page.fill("#prompt", prompt)
    for name, value in knobs.items():
        if name in ("probabilities", "model"):
            page.select_option(f"#{name}", value)
        else:
            page.fill(f"#{name}", str(value))
            page.press(f"#{name}", "Tab")
    page.click("#submit")
    page.wait_for_selector("#submit:visible")


def answer(page):
    """Return the answer without its prompt."""
    spans = page.locator("#text > span:not(.given)")
    return "".join(spans.all_text_contents())


def test_an_answer_is_what_the_api_gives(page, address):
    ask(page, seed=7, max_tokens=30)
    body = {"model": "tiny", "prompt": "The cat ", "max_tokens": 30, "seed": 7}
    given = page.request.post(f"{address}v1/completions", data=body).json()["choices"][0]["text"]
    assert len(given) == 30
    assert answer(page) == given
    assert "30 tokens" in page.text_content("#status")
    page.click("#again")
    page.wait_for_selector("#submit:visible")
    assert answer(page) == given  # the same seed
    page.uncheck("#stream")
    page.click("#submit")
    page.wait_for_selector("#submit:visible")
    assert answer(page) == given  # whole, as in a stream


def test_probabilities_are_shown_and_one_goes_on_from_another(page, address):
    ask(page, seed=1, max_tokens=12, probabilities="on")
    tokens = page.locator("#text .token")
    assert tokens.count() == 12
    body = {"model": "tiny", "prompt": "The cat ", "max_tokens": 12, "seed": 1, "logprobs": 5}
    said = page.request.post(f"{address}v1/completions", data=body).json()["choices"][0]["logprobs"]
    for at in range(12):
        shade = sum(2.718281828459045 ** said["token_logprobs"][at] < bound for bound in (0.5, 0.1, 0.01))
        assert f"p{shade}" in tokens.nth(at).get_attribute("class").split()
    tokens.nth(3).hover()
    box = page.locator("#others")
    box.wait_for(state="visible")
    shown = dict(zip(box.locator("code").all_text_contents(), box.locator(".value").all_text_contents(), strict=True))
    assert len(shown) == len(said["top_logprobs"][3])
    likeliest = max(said["top_logprobs"][3], key=said["top_logprobs"][3].get)
    assert f"{100 * 2.718281828459045 ** said['top_logprobs'][3][likeliest]:.1f} %" in shown.values()
    other = box.locator(".other:not(.drawn)").first
    letter = json.loads(other.locator("code").text_content().replace("“", '"').replace("”", '"'))
    before = "The cat " + "".join(tokens.all_text_contents()[:3])
    other.click()
    page.wait_for_selector("#submit:visible")
    assert page.input_value("#prompt") == before + letter


def test_tokens_are_walked_by_keyboard(page):
    ask(page, seed=1, max_tokens=6, probabilities="on")
    page.locator("#text .token").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => [...document.querySelectorAll('#text .token')].indexOf(document.activeElement)") == 2
    assert page.locator("#others").is_visible()
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.closest('#others') !== null")
    page.keyboard.press("Escape")
    assert not page.locator("#others").is_visible()
    assert page.evaluate("() => [...document.querySelectorAll('#text .token')].indexOf(document.activeElement)") == 2


def test_stop_sequences_end_a_text(page):
    page.fill("#stop-entry", "t")
    page.press("#stop-entry", "Enter")
    page.fill("#stop-entry", "\\n")
    page.click("#add-stop")
    assert page.locator("#stops button").all_text_contents() == ["t", "\\n"]
    ask(page, seed=2, max_tokens=200)
    assert "t" not in answer(page)
    assert "\n" not in answer(page)
    page.locator("#stops button").first.click()
    page.reload()
    assert page.locator("#stops button").all_text_contents() == ["\\n"]


def test_a_long_answer_is_stopped(page):
    page.fill("#prompt", "The ")
    page.fill("#max_tokens", "250")
    page.press("#max_tokens", "Tab")
    page.click("#submit")
    page.wait_for_selector("#text > span:not(.given)")
    if page.locator("#stop").is_visible():  # a fast machine may be done
        page.keyboard.press("Escape")
        page.wait_for_selector("#submit:visible")
        assert "Stopped" in page.text_content("#status") or "tokens" in page.text_content("#status")
    assert answer(page)


def test_history_and_settings_survive_a_reload(page):
    ask(page, seed=5, max_tokens=9, temperature=0.5)
    written = answer(page)
    page.reload()
    page.wait_for_selector("#model option", state="attached")
    assert page.input_value("#temperature") == "0.5"
    assert page.input_value("#prompt") == "The cat "
    page.fill("#prompt", "something else")
    page.locator("#history button", has_text="Open").first.click()
    assert answer(page) == written
    assert page.input_value("#prompt") == "The cat "
    page.click("#forget")
    page.reload()
    assert page.locator("#history li").count() == 0


def test_the_code_that_is_shown_does_the_same(page, folder):
    ask(page, "The 'odd' \"cat\"\n\u00e9 ", seed=3, max_tokens=10, temperature=0.7)
    written = answer(page)
    page.click("#show-code")
    program = page.text_content("#code-text")
    assert program.startswith("curl ")
    said = subprocess.run(
        ["bash", "-c", program.replace("curl ", "curl -s ", 1)], capture_output=True, text=True
    ).stdout
    parts = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
    assert "".join(part["choices"][0]["text"] for part in parts if part["choices"]) == written
    page.click("[data-language=python]")
    program = page.text_content("#code-text")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.removesuffix("\n") == written.removesuffix("\n"), done.stderr


def test_presets_fill_prompt_and_settings(page):
    for index in range(1, 5):
        page.select_option("#preset", index=index)
        assert len(page.input_value("#prompt")) > 50
    assert page.input_value("#max_tokens") == "3"
    assert page.input_value("#probabilities") == "on"


def test_what_is_wrong_is_said(page):
    ask(page, "e" * 300, max_tokens=10)
    assert page.locator("#trouble").is_visible()
    assert "256 tokens" in page.text_content("#trouble")
    ask(page, "e", max_tokens=10)
    assert not page.locator("#trouble").is_visible()
    page.wrong = [line for line in page.wrong if "400 (Bad Request)" not in line]  # the browser's own report


def test_a_server_that_asks_for_a_key(browser, folder):
    with serving(folder, "--api-key", "secret") as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#trouble:visible")
        assert page.locator("#key").is_visible()
        page.fill("#key", "secret")
        page.press("#key", "Tab")
        page.wait_for_selector("#model option", state="attached")
        ask(page, max_tokens=5)
        assert len(answer(page)) == 5
        stored = page.evaluate("() => JSON.stringify(localStorage) + location.href")
        assert "secret" not in stored
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_read(browser, address, scheme, width):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(address)
    page.wait_for_selector("#model option", state="attached")
    ask(page, seed=1, max_tokens=40, probabilities="on")
    page.locator("#text .token").nth(5).click()
    page.click("#key-box summary")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    measured = page.evaluate(CONTRAST)
    assert len(measured) > 60
    assert [entry for entry in measured if entry[0] < 4.5] == []
    unnamed = page.evaluate(
        "() => [...document.querySelectorAll('input, select, textarea, button')].filter(e => "
        "!e.labels?.length && !e.getAttribute('aria-label') && !e.textContent.trim() && !e.ariaHidden)"
        ".map(e => e.outerHTML)"
    )
    assert unnamed == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))
    page.close()
