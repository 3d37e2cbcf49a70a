"""No live view: the board in a real browser, while runs begin, go on and die; and runs that mean harm."""

import json
import subprocess
from contextlib import contextmanager

import pytest

from browsing import CONTRAST, OUTSIDE, chromium
from forked import heed_process
from heed import files
from report.fake_runs import metrics, write_run

pytestmark = pytest.mark.slow  # a browser takes seconds to start
ATTACK = (
    "</script><script>window.harmed=1</script><img src=x onerror='window.harmed=2'><svg/onload=window.harmed=3>"
    '"><style>*{background:url(http://127.0.0.1:9/x)}</style><iframe src=http://127.0.0.1:9/f></iframe>'
)
ROWS = "() => [...document.querySelectorAll('#rows tr')].map(row => row.innerText.replace(/\\s+/g, ' ').trim())"


@contextmanager
def board(folder, *flags):
    """Run `heed board`; gives its address."""
    with heed_process("board", "runs", "--port", "0", *flags, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("board of runs at http://127.0.0.1:"), line
        try:
            yield line.split(" at ")[1].split(" ")[0]
        finally:
            server.terminate()
            code = server.wait(20)
        assert code == 0


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@contextmanager
def opened(browser, address, width=1280, scheme="light"):
    """A page that complains of nothing and asks no other machine."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    wrong = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda r: None if r.url.startswith((address, "data:")) else wrong.append(r.url))
    page.goto(address)
    page.wait_for_selector("#rows tr")
    yield page
    assert wrong == []
    page.close()


def make(root, name, **more):
    events = more.pop("events", metrics(200, 20))
    return write_run(root / "runs" / name, events=events, **more)


def test_a_page_follows_runs_as_they_begin_go_on_and_end(tmp_path, browser):
    make(tmp_path, "done")
    events = metrics(200, 2)
    with board(tmp_path) as address, opened(browser, address) as page:
        assert page.evaluate(ROWS)[0].startswith("runs/done")
        page.wait_for_selector("figure .marks path")
        folder = make(tmp_path, "new", events=events[:20], end=None, evaluation={})
        with files.locked(folder / ".lock", "training"):
            page.wait_for_function("() => document.querySelectorAll('#rows tr').length === 2")
            page.wait_for_function(
                "() => document.querySelector('#rows .running')?.textContent.startsWith('running, ')"
            )
            for n in range(20, len(events), 30):
                with (folder / "metrics.jsonl").open("a") as file:
                    file.write("".join(json.dumps(event) + "\n" for event in events[n : n + 30]))
                last = [event for event in events[: n + 30] if event["event"] == "train"][-1]
                page.wait_for_function(
                    "([step, loss]) => [...document.querySelectorAll('figure')].some(figure => "
                    "figure.querySelector('h3').textContent.startsWith('Training loss') && "
                    "[...figure.querySelectorAll('.values tbody tr')].some(row => row.cells[0].textContent === step && "
                    "Math.abs(row.cells[1].textContent - loss) < 0.001))",
                    arg=[f"{last['step']:,}", last["loss"]],
                )
        page.wait_for_function("() => !document.querySelector('#rows .running')")
        assert any(row.startswith("runs/new") and row.endswith("interrupted") for row in page.evaluate(ROWS))


def test_choosing_filtering_sorting_and_going_back(tmp_path, browser):
    for n in range(12):
        model = {"positions": "alibi" if n % 2 else "learned"}
        make(tmp_path, f"run-{n:02d}", config={"model": model, "run": {"seed": n + 1}}, texts=[])
    with board(tmp_path) as address, opened(browser, address) as page:
        page.wait_for_selector("figure")
        assert len(page.query_selector_all("#rows input:checked")) == 6
        page.fill("#where", "model.positions=alibi, run.seed>4")
        page.click("#apply")
        page.wait_for_function("() => document.querySelectorAll('#rows tr').length === 4")
        page.fill("#where", "positions=alibi")
        page.click("#apply")
        page.wait_for_function("() => document.querySelector('#problem').textContent.includes('model.positions')")
        page.fill("#where", "")
        page.select_option("#sort", "name")
        page.wait_for_function("() => document.querySelectorAll('#rows tr')[0]?.innerText.includes('run-00')")
        for box in page.query_selector_all("#rows input:checked"):
            run = box.get_attribute("data-run")
            page.uncheck(f'#rows input[data-run="{run}"]')
            page.wait_for_function("run => !document.querySelector(`#rows input[data-run='${run}']`).checked", arg=run)
        page.wait_for_function("() => !document.querySelector('#none').hidden")
        for n in range(10):
            page.check(f'#rows input[data-run="runs/run-{n:02d}"]')
            page.wait_for_function("n => document.querySelectorAll('#rows input:checked').length === n", arg=n + 1)
        page.wait_for_selector("figure .names.above")
        assert page.evaluate("() => document.querySelectorAll('#differ tr').length") == 10
        page.select_option("#axis", "2")
        page.wait_for_function("() => document.querySelector('.unit.x').textContent.startsWith('wall clock')")
        page.reload()
        page.wait_for_selector("figure")
        assert len(page.query_selector_all("#rows input:checked")) == 10
        assert page.evaluate("() => document.querySelector('.unit.x').textContent").startswith("wall clock")
        page.focus("figure .plot > svg")
        page.keyboard.press("End")
        assert "runs/run-00" in "runs/" + page.inner_text(".readout") or "run-00" in page.inner_text(".readout")


def test_a_pause_is_one_and_a_server_that_is_gone_is_said(tmp_path, browser):
    make(tmp_path, "a")
    with board(tmp_path) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#rows tr")
        page.click("#pause")
        make(tmp_path, "b")
        page.wait_for_timeout(4000)
        assert len(page.query_selector_all("#rows tr")) == 1
        page.click("#pause")
        page.wait_for_function("() => document.querySelectorAll('#rows tr').length === 2")
    page.wait_for_function("() => document.querySelector('#trouble').textContent.includes('does not answer')")
    page.close()


def test_a_key_is_asked_for(tmp_path, browser):
    make(tmp_path, "a")
    with board(tmp_path, "--api-key", "secret") as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_function("() => !document.querySelector('#key-box').hidden")
        page.fill("#key", "secret")
        page.click("#key-box button")
        page.wait_for_selector("#rows tr")
        page.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_can_be_read(tmp_path, browser, width, scheme):
    make(tmp_path, "a/" + "long-name-" * 12 + "1")
    make(tmp_path, "b", end=None)
    (make(tmp_path, "damaged") / "config.yaml").write_text("[")
    with board(tmp_path) as address, opened(browser, address, width, scheme) as page:
        page.wait_for_selector("figure .marks path")
        page.wait_for_timeout(300)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert [entry for entry in page.evaluate(CONTRAST) if entry[0] < 4.5] == []
        assert page.evaluate(OUTSIDE) == []
        ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(element => element.id)")
        assert len(ids) == len(set(ids))


def attacked(value):
    if isinstance(value, dict):
        return {key + ("" if key in KEYS else ATTACK): attacked(one) for key, one in value.items()}
    if isinstance(value, list):
        return [attacked(one) for one in value]
    return value + ATTACK if isinstance(value, str) and value not in ("train", "evaluation", "sample", "end") else value


KEYS = {
    "event", "step", "loss", "texts", "text", "prompt", "tokens", "seconds", "validation", "test", "passport", "reason",
    "time", "command", "word_perplexity", "unit", "tokenizer", "context", "stride", "documents", "split", "words",
    "bytes", "word_rule", "partial", "corpus", "leaks", "learning_rate",
}  # fmt: skip


def test_runs_that_mean_harm_do_none(tmp_path, browser):
    folder = make(tmp_path, 'x"><img src=x onerror=window.harmed=5>')
    whole = make(tmp_path, "whole")
    for run in (folder, whole):
        for path in (run / "environment.json", run / "evaluation.json", run / "metrics.jsonl", run / "samples.jsonl"):
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            path.write_text("\n".join(json.dumps(attacked(json.loads(line))) for line in lines) + "\n")
        (run / "hashes.json").unlink()
    with (whole / "config.yaml").open("a") as file:
        file.write(f"{json.dumps(ATTACK)}: {json.dumps(ATTACK)}\nrun.x: {json.dumps(ATTACK)}\n")
    with (whole / "config.yaml").open() as file:
        text = file.read()
    (whole / "config.yaml").write_text(text.replace("kind: gpt", f"kind: {json.dumps(ATTACK)}"))
    with board(tmp_path) as address, opened(browser, address) as page:
        page.wait_for_timeout(2500)
        assert page.evaluate("() => window.harmed") is None
        assert "onerror" in page.inner_text("body")
        assert page.evaluate("() => document.querySelectorAll('img, iframe, script:not([src])').length") == 0
        assert page.evaluate("() => document.querySelectorAll('style').length") == 0
