"""The page of a tune: whole, safe, the same twice, while it goes on; in a browser it fits and can be read."""

import json
import re

import pytest
from test_page_browser import browser, check_page  # noqa: F401 - a fixture

from fake_tuning import write_tune
from heed.errors import CheckpointError
from heed.report.tuning_advice import gaps_of
from heed.report.tuning_page import banners, commonest, confusions, design, render, write_tuning
from heed.report.tuning_record import read_tuning

NASTY = '<script>alert("x")</script>'
LONG = "a-name-that-is-long-and-has-no-space-to-break-it-at-0123456789"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("tunes")
    plain = write_tune(base / "plain", methods=("full", "lora"), seeds=(1, 2), n=120, sizes=True)
    return [plain, write_odd(base / "odd"), write_tune(base / "begun", methods=("lora",), n=20, waiting=("lora",))]


def write_odd(folder):
    """Names and texts that are code, a long encoder, arms that broke down or wait, no test split, a lost file."""
    encoders, broken = ("minilm", LONG), {f"{LONG} / full": ("does not fit", NASTY)}
    write_tune(
        folder, methods=("full", "head"), encoders=encoders, classes=("joy", NASTY, "anger"), seeds=(1,), n=80,
        test=False, broken=broken, waiting=("minilm / head",),
    )  # fmt: skip
    file = folder / "runs/minilm-full-1/predictions-validation.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        line |= {"text": NASTY * 20, "pair": NASTY}
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = json.loads((folder / "tune.json").read_text())
    content["data"]["notes"] = [NASTY]
    (folder / "tune.json").write_text(json.dumps(content))
    return folder


def test_the_page_is_written(folders):
    page = write_tuning(folders[0])
    assert page.name == "report.html"
    assert {file.name for file in folders[0].iterdir() if file.is_file()} == {
        "tune.json", "report.html", "table.md", "table.tex",
    }  # fmt: skip
    html = page.read_text()
    for heading in ("Results", "Do they differ?", "What accuracy costs", "Which examples, and why", "Training", "Data",
                    "Which classes are taken for which", "Does 70 % mean 70 %?", "Setup", "Do it again"):  # fmt: skip
        assert f">{heading}</h2>" in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', html)
    assert render(read_tuning(folders[0])) == html


def test_what_comes_from_files_is_escaped_and_cut(folders):
    html = write_tuning(folders[1]).read_text()
    assert html.count("<script") == 1
    assert "&lt;script&gt;" in html
    longest = max(re.findall(r"<p>((?:&lt;script).*?)</p>", html), key=len)
    assert longest.endswith("…")


def test_a_tune_that_has_just_begun_has_a_page(folders):
    html = write_tuning(folders[2]).read_text()
    assert "No arm has been measured yet." in html
    assert "not run yet" in html


def test_banners(folders):
    record = read_tuning(folders[1])
    said = {banner.title: banner for banner in banners(record, gaps_of(record))}
    assert said["Does not fit"].level == "error"
    assert NASTY in said["Does not fit"].text
    assert {"No test split", "Few examples", "One seed", "Still running, or cut off"} <= set(said)
    record = read_tuning(folders[0])
    assert {banner.title for banner in banners(record, gaps_of(record))} == {
        "The same examples in two splits", "Few examples",
    }  # fmt: skip
    assert "Not all can be paired" in {banner.title for banner in banners(record, {})}
    assert design(record).startswith("2 arms × 2 seeds of 3 epochs at batch size 32; 6,920 train, 60 validation")


def test_an_arm_that_failed_after_a_seed_is_shown_by_it(tmp_path):
    folder = write_tune(tmp_path, methods=("full", "lora"), seeds=(1, 2), n=40)
    content = json.loads((folder / "tune.json").read_text())
    content["arms"][1] |= {"status": "failed", "reason": "no number", "runs": content["arms"][1]["runs"][:1]}
    (folder / "tune.json").write_text(json.dumps(content))
    record = read_tuning(folder)
    assert record.unfinished == []
    said = {banner.title: banner.text for banner in banners(record, gaps_of(record))}
    assert said["Failed"] == "lora is shown by 1 of 2 seeds: no number."
    assert "3 of 4 runs have finished" in design(record)


def test_confusions(folders, tmp_path):
    record = read_tuning(folders[0])
    figure = confusions(record, record.ran[0])
    assert [list(row.counts) for row in figure.marks] == record.confusion(record.ran[0]).tolist()
    assert [row.own for row in figure.marks] == [0, 1]
    assert re.fullmatch(r"\w+: most often takes \w+ for \w+, \d+ times", figure.title)
    many = write_tune(tmp_path, methods=("head",), classes=tuple("abcdefghij"), seeds=(1,), n=300)
    record = read_tuning(many)
    found = commonest(record, record.ran[0])
    assert len(found.rows) == 8
    times = [int(count) for _, _, count, _ in found.rows]
    assert times == sorted(times, reverse=True)
    assert "taken for" in write_tuning(many).read_text()


def test_a_page_without_predictions(tmp_path):
    folder = write_tune(tmp_path, methods=("full", "lora"), seeds=(1,), n=40)
    for file in folder.rglob("predictions-*.jsonl"):
        file.unlink()
    html = write_tuning(folder).read_text()
    assert "predictions-test.jsonl is missing" in html
    assert "Which examples, and why" not in html
    assert "nothing can be paired" in html


def test_a_folder_that_cannot_be_written_is_one_line(folders, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(CheckpointError, match="No space left"):
        write_tuning(folders[2])
    assert not list(folders[2].glob("*.part"))


@pytest.fixture(scope="module")
def addresses(folders):
    return [write_tuning(folder).as_uri() for folder in folders]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_the_page_is_quiet_fits_and_can_be_read(browser, addresses, scheme, width):  # noqa: F811
    for address in addresses:
        check_page(browser, address, scheme, width)
