import base64
import hashlib
import json
import re
import shutil

import pytest
import yaml
from fake_runs import figures, metrics, samples, write_run

from heed.errors import CheckpointError
from heed.report.page import (
    banners,
    changed_settings,
    command,
    headline,
    lead,
    passport_table,
    render,
    splits_table,
    write_report,
)
from heed.report.record import gather

ATTACK = "<script>alert(1)</script>"


def test_the_page_of_a_finished_run(tmp_path):
    path = write_report(write_run(tmp_path / "my-run"))
    page = path.read_text(encoding="utf-8")
    assert path == tmp_path / "my-run" / "report.html"
    assert page.startswith("<!doctype html>")
    assert page.count("<h1>") == 1
    for text in ("my-run", "Token perplexity", "Bits per byte", "What it writes", "Passport", "Do it again"):
        assert text in page
    assert not list(path.parent.glob("*.part"))


def test_equal_runs_give_equal_bytes(tmp_path):
    one, two = (write_report(write_run(tmp_path / place / "run")) for place in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()


def test_nothing_is_loaded_from_anywhere(tmp_path):
    page = render(gather(write_run(tmp_path / "run")))
    assert not re.findall(r'(?:src|href)="(?!#|data:,)[^"]*"', page)
    assert page.count("<script") == 1  # heed's own, known by its hash
    assert "style=" not in page
    assert "@import" not in page
    assert "url(http" not in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_whatever_comes_from_a_run_is_escaped(tmp_path):
    sample = samples(prompt=ATTACK)
    sample["tokens"].append({"text": ATTACK, "logprob": -20.0, "rank": 4000})
    sample["sampling"] = {"stop": ATTACK}
    evaluation = {ATTACK: figures(2.0), "validation": figures(2.0)}
    evaluation["validation"]["passport"]["corpus"] = ATTACK
    evaluation["LEAKS"] = ATTACK
    folder = write_run(
        tmp_path / "x<img src=a onerror=alert(1)>", texts=[sample], evaluation=evaluation, end=ATTACK,
        config={"data": {"source": ATTACK}},
    )  # fmt: skip
    (folder / "environment.json").write_text(
        json.dumps({"git_commit": ATTACK, "command": [ATTACK], ATTACK: 1}), encoding="utf-8"
    )
    page = render(gather(folder))
    assert page.count("<script") == 1
    assert "<img" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 8


def test_the_lead_says_what_the_run_is(tmp_path):
    assert lead(gather(write_run(tmp_path / "run"))) == (
        "A GPT of 842 k parameters, trained on python-reference for 1,000 steps of 16\u00a0×\u00a0128 tokens "
        "in 1 min 58 s on 2 cores."
    )


def test_the_lead_makes_do_with_what_there_is(tmp_path):
    folder = write_run(tmp_path / "run", events=[], end=None)
    (folder / "environment.json").unlink()
    assert lead(gather(folder)) == "A GPT of 4 layers, 128 wide, trained on python-reference for 0 steps."


def test_an_unfinished_run_says_so_and_shows_its_best_evaluation(tmp_path):
    folder = write_run(tmp_path / "run", events=metrics(overfit=True)[:150], end=None)
    (folder / "evaluation.json").unlink()
    record = gather(folder)
    assert [banner.title for banner in banners(record)] == ["Unfinished", "About the files"]
    best = record.best()
    assert best is not None
    assert headline(record)[0].value == f"{best.loss:.4f}"
    assert "Best validation so far, at step 625" in render(record)


@pytest.mark.parametrize(
    "missing", ["config.yaml", "environment.json", "metrics.jsonl", "evaluation.json", "samples.jsonl"]
)
def test_any_file_may_be_missing(tmp_path, missing):
    folder = write_run(tmp_path / "run")
    (folder / missing).unlink()
    assert "</html>" in render(gather(folder))


def test_a_folder_with_a_configuration_alone_makes_a_page(tmp_path):
    folder = write_run(tmp_path / "run", events=[], end=None, texts=[], evaluation={})
    page = render(gather(folder))
    assert "The run has not been evaluated." in page
    assert "No figures yet" in page


def test_banners_come_gravest_first(tmp_path):
    events = [*metrics(steps=80), {"event": "resume", "step": 40}]
    record = gather(write_run(tmp_path / "run", events=events, end="loss is NaN", evaluation={"LEAKS": True}))
    assert [(banner.level, banner.title) for banner in banners(record)] == [
        ("error", "Leaks"),
        ("error", "Broke down"),
        ("note", "Resumed"),
    ]


@pytest.mark.parametrize(("end", "title"), [("interrupted", "Interrupted"), ("patience", "Stopped early")])
def test_an_early_end_is_explained(tmp_path, end, title):
    assert [banner.title for banner in banners(gather(write_run(tmp_path / "run", end=end)))] == [title]


def test_a_figure_that_is_no_number_is_shown(tmp_path):
    evaluation = {"validation": {**figures(2.0), "loss": float("nan"), "word_perplexity": None}}
    shown = headline(gather(write_run(tmp_path / "run", evaluation=evaluation)))
    assert [item.value for item in shown] == ["NaN", "7.389", "–", "0.730"]  # e^2; 2 * 17,920 / (ln 2 * 70,811)


def test_a_figure_without_a_passport_is_said_to_have_none(tmp_path):
    page = render(gather(write_run(tmp_path / "run", evaluation={"validation": {"loss": 2.0}})))
    assert "These figures have no passport: compare them with nothing." in page


def test_settings_that_differ_come_with_their_default(tmp_path):
    folder = write_run(tmp_path / "run", config={"train": {"learning_rate": 0.002}, "model": {"bias": False}})
    assert changed_settings(gather(folder)) == [
        ("model.bias", "no", "yes"),
        ("train.learning_rate", "0.002", "0.001"),
    ]
    content = yaml.safe_load((folder / "config.yaml").read_text())
    content["model"]["from_the_future"] = 1
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    (folder / "hashes.json").unlink()
    assert ("model.from_the_future", "1", "none") in changed_settings(gather(folder))


def test_the_command_is_quoted(tmp_path):
    folder = write_run(tmp_path / "my run")
    assert command(gather(folder)) == "heed train --config 'my run/config.yaml' --run.name 'my run-again'"


def test_the_spaces_of_a_sample_are_kept(tmp_path):
    line = samples(prompt="a")
    line["tokens"] = [{"text": "  b", "logprob": -0.1, "rank": 1}, {"text": "\n", "logprob": -6.0, "rank": 50}]
    page = render(gather(write_run(tmp_path / "run", texts=[line])))
    text = page[page.index('<p class="text"') :]
    assert re.sub(r"<[^>]*>", "", text[: text.index("</p>")]) == "a  b\n"
    assert 'title="“\\n” · probability 0.25 % · rank 50"' in text


def test_a_page_that_cannot_be_written_is_one_line(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "report.html").mkdir()  # even root cannot put a file in its place
    with pytest.raises(CheckpointError, match=r"report\.html cannot be written"):
        write_report(folder)
    assert not (folder / "report.html.part").exists()
    shutil.rmtree(folder)


def test_the_passport_does_not_repeat_the_figures(tmp_path):
    record = gather(write_run(tmp_path / "run"))
    page = render(record)
    shown = page[page.index('<h2 id="passport"') :].split("</section>")[0]
    for item in headline(record):
        assert item.value not in shown
    assert passport_table(record).head == ("", "validation", "test")


def test_one_split_has_no_table_of_splits(tmp_path):
    record = gather(write_run(tmp_path / "run", evaluation={"validation": figures(2.0)}))
    assert splits_table(record) is None
    assert "Every split" not in render(record)


def test_what_is_looked_at_first_stands_first(tmp_path):
    page = render(gather(write_run(tmp_path / "run")))
    places = [
        page.index(f'id="{name}"')
        for name in ("figures", "figure-loss-steps", "splits", "samples", "passport", "settings")
    ]
    assert places == sorted(places)


def test_the_policy_names_the_hashes_of_what_is_there(tmp_path):
    page = render(gather(write_run(tmp_path / "run")))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    for kind in ("style", "script"):
        text = re.search(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none';")
