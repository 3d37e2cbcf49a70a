"""The page of a study: whole, safe, the same twice; and in a real browser."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
import yaml
from fake_studies import cell, lengths_study, study, write_lengths, write_study_folder
from test_page_browser import browser, check_page  # noqa: F401 - a fixture

from heed.config import make_config
from heed.errors import CheckpointError
from heed.report.study_figures import colours, curve_sentence, study_figures
from heed.report.study_findings import Curve, mixed_schedules
from heed.report.study_page import banners, read_study, render, setup, write_study
from heed.report.svg_labels import text_width
from heed.report.svg_sheet import COLOURS

NASTY = '<script>alert("x")</script>'


LONG = {
    "lstm, adamw, 4 layers, dropout 0.2": 0.0,
    "lstm, adamw, 2 layers, dropout 0.2": -0.05,
    "lstm-1-momentum": 0.1,
    "MMMMWWWW-MMMMWWWW-MMMMWWWW-MMMMWWWW": 0.02,
    "模型, 四层": 0.03,
}
"""Names that are long, wide, alike at both ends, or in letters that the fonts here may lack."""


def odd() -> dict:
    """A study with everything: a leak, something that does not fit, missing cells, a search, names that are code."""
    content = study(title=NASTY)
    for name in ("naive-mask", NASTY, "a-name-that-is-long-and-has-no-space-to-break-it-at-0123456789"):
        changes = {"model.attention.mechanism": name}
        content["variants"][name] = {"changes": changes, "parameters": 1, "steps": 3, "flops_per_token": 1}
    for seed in (1, 2, 3):
        content["cells"].append(cell("naive-mask", seed, 0.2, leaks="position 3 sees 5"))
        failed = {"variant": NASTY, "seed": seed, "state": "does not fit", "message": NASTY, "folder": f"runs/x/{seed}"}
        content["cells"].append(failed)
        content["cells"].append(
            cell("a-name-that-is-long-and-has-no-space-to-break-it-at-0123456789", seed, 2.4 + seed / 99)
        )
    trials = [
        {
            "variant": "pre-norm",
            "number": i,
            "values": {"train.learning_rate": 10.0 ** -(i % 4), "train.optimizer": "sgd" if i % 2 else NASTY},
            "figure": 2 + 0.1 * i,
            "state": "pruned" if i == 5 else "finished",
        }
        for i in range(6)
    ]
    content["search"] = {"method": "tpe", "parameters": {"train.learning_rate": [1e-4, 1]}, "trials": trials}
    del content["cells"][7]
    return content


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("studies")
    content = lengths_study()
    write_lengths(write_study_folder(base / "lengths", content), content)
    write_study_folder(base / "long", study(LONG, seeds=(1, 2)))
    return [write_study_folder(base / "plain"), write_study_folder(base / "odd", odd()),
            write_study_folder(base / "one", study(seeds=(1,))), base / "lengths", base / "long"]  # fmt: skip


def test_page_and_tables_are_written(folders):
    page = write_study(folders[0])
    assert page.name == "report.html"
    assert {"table.md", "table.tex", "report.html"} <= {path.name for path in folders[0].iterdir()}
    assert not list(folders[0].glob("*.part"))
    html = page.read_text()
    for heading in ("Setup", "Results", "Interpretation", "What each writes", "Every run", "Do it again"):
        assert f">{heading}</h2>" in html
    assert "Against pre-norm, rotary is better" in html
    assert 'href="./runs/rotary/seed-2/report.html"' in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert "<script" not in html
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', html)


def test_the_setup_is_what_all_variants_have(tmp_path):
    base = make_config({"tokenizer": {"file": "gpt1-bpe"}}).model_dump()
    rows = dict(setup(read_study(write_study_folder(tmp_path, study(base=base), runs=False))))
    assert rows["tokenizer"] == "file gpt1-bpe"  # its kind and size are not those of a tokenizer that is trained
    assert rows["model"] == "kind gpt, n layers 4, n heads 4, d model 128, context 128"  # no positions
    plain = dict(setup(read_study(write_study_folder(tmp_path / "plain", runs=False))))
    assert plain["tokenizer"] == "kind bpe, vocab size 4,096"


def test_equal_records_give_equal_bytes(folders):
    assert render(read_study(folders[0])) == render(read_study(folders[0]))


def test_what_comes_from_a_study_is_escaped(folders):
    html = write_study(folders[1]).read_text()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "Leaks." in html
    assert "Not done yet: rotary with seed 2" in html


def test_one_seed_is_said_first(folders):
    html = write_study(folders[2]).read_text()
    assert "One seed: rotary came out best, and nothing can be said about noise." in html
    assert "Each variant was trained once" in html


def test_figures_are_svg_of_the_page_and_each_variant_keeps_its_colour(folders):
    record = read_study(folders[1])
    figures = study_figures(record)
    assert {"forest", "validation-steps", "validation-epochs", "validation-time", "train-steps", "speed", "memory",
            "search-0", "search-1"} <= set(figures)  # fmt: skip
    for figure in figures.values():
        for image in (figure.wide, figure.narrow):
            ET.fromstring(image.replace("xlink:href", "href"))
            assert set(re.findall(r"var\(--([\w-]+)\)", image)) <= set(COLOURS)
            assert not re.search(r"#[0-9a-f]{6}\b", image)  # no colour that the page does not know
    assert colours(record)["pre-norm"] == (0, 0)
    assert len(set(colours(record).values())) == len(record.variants)
    # the leaking variant is no curve, and the forest says why
    assert "naive-mask" not in figures["validation-steps"].wide.split("aria-label")[0]
    assert "naive-mask" not in figures["validation-steps"].title
    assert "left out: leaks" in figures["forest"].wide
    assert "Not drawn:" in figures["validation-steps"].caption


def test_long_names_stay_inside_their_figures_and_off_the_line_at_zero(folders):
    figures = study_figures(read_study(folders[4]))
    for figure in figures.values():
        for image in (figure.wide, figure.narrow):
            width = float(re.findall(r'viewBox="0 0 ([\d.]+)', image)[0])
            found = re.findall(
                r'font-size: ([\d.]+)px; text-anchor: (\w+)[^>]*? x="([\d.]+)"[^>]*>([^<]*(?:lstm|MMMM|模型)[^<]*)<',
                image,
            )
            assert len(found) >= 4
            for size, anchor, x, text in found:
                left = float(x) - text_width(text, float(size)) * {"start": 0, "middle": 0.5, "end": 1}[anchor]
                assert left >= 0
                assert left + text_width(text, float(size)) <= width
    assert figures["validation-steps"].narrow.count(">lstm, adamw, 4") == 1  # and another for that of 2 layers
    assert figures["validation-steps"].narrow.count(">lstm, adamw, 2") == 1
    # each name and each number has the surface behind it
    assert len(re.findall(r'<path[^>]*style="fill: var\(--surface\)', figures["forest"].narrow)) == 2 * 4


def test_a_folder_that_cannot_be_written_is_one_line(folders, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(CheckpointError, match="No space left"):
        write_study(folders[0])
    assert not list(folders[0].glob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1440])
def test_the_page_is_quiet_fits_and_can_be_read(browser, folders, scheme, width):  # noqa: F811
    for folder in folders:
        address = write_study(folder).as_uri()
        check_page(browser, address, scheme, width)


@pytest.mark.slow
def test_a_long_word_does_not_widen_the_page(browser, tmp_path):  # noqa: F811
    content = study()
    content["cells"][-1] |= {"state": "failed", "message": f"no such file: /{'a' * 200}"}
    page = browser.new_page(viewport={"width": 380, "height": 900})
    page.goto(write_study(write_study_folder(tmp_path, content)).as_uri())
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 380
    page.close()


def test_titles_of_curves_rank_no_ends_of_a_clock_and_name_ties():
    def ends(**known):
        return {name: Curve([1.0], [end], [end], [end], 2) for name, end in known.items()}

    two = ends(pre=1.52, post=1.61)
    assert curve_sentence(two, "evaluation") == "Validation loss ends lowest for pre (1.520), highest for post (1.610)"
    assert curve_sentence(two, "evaluation", "time") == (
        "Validation loss over the wall clock, as far as the fastest seed of each"
    )
    assert curve_sentence(ends(pre=1.52), "train", "time") == "Training loss of pre ends at 1.520"
    assert curve_sentence(ends(pre=1.52001, post=1.52002), "train") == "Training loss ends at 1.520 for all"


def audited(folder, sentences):
    """A study whose runs hold what the audit said, by variant."""
    write_study_folder(folder)
    for name, said in sentences.items():
        for path in folder.glob(f"runs/{name}/*/environment.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"audit": said}))
    return read_study(folder)


def test_what_the_audit_found_is_in_the_setup(tmp_path):
    tried = "in up to 64 tokens: 90 changes of 9 sequences of 3 lengths; 40 of 90 pairs of neighbours"
    causal = f"causal: the past does not depend on the future ({tried}); but something"
    record = audited(tmp_path, {"pre-norm": causal, "rotary": causal, "no-bias": "could not tell: it draws at random"})
    assert dict(setup(record))["audit for leaks"] == (
        f"causal: pre-norm, rotary; could not tell: no-bias; not audited: post-norm. Tried of pre-norm: {tried}."
    )
    assert "audit for leaks" not in dict(setup(read_study(write_study_folder(tmp_path / "plain"))))


def test_a_budget_of_tokens_says_that_it_counts_places(tmp_path):
    content = study(budget={"kind": "tokens", "amount": 2_000_000})
    rows = dict(setup(read_study(write_study_folder(tmp_path / "tokens", content, runs=False))))
    assert rows["budget"].endswith("for each run, counted in places: rows × context, padding included")
    content = study(budget={"kind": "steps", "amount": 20})
    rows = dict(setup(read_study(write_study_folder(tmp_path / "steps", content, runs=False))))
    assert "places" not in rows["budget"]


def test_runs_of_an_older_schedule_among_others_are_told(tmp_path):
    write_study_folder(tmp_path)
    for path in tmp_path.glob("runs/*/*/config.yaml"):
        settings = yaml.safe_load(path.read_text())
        settings["train"] |= {"final_fraction": 0.0, "steps": 3, "schedule": "cosine"}
        path.write_text(yaml.safe_dump(settings))
        (path.parent / "hashes.json").unlink()
        last = 0.0 if path.parent.name == "seed-1" and path.parent.parent.name == "rotary" else 1e-6
        rates = {1: 1e-3, 3: last}
        lines = [{"event": "train", "step": n, "loss": 2.0, "learning_rate": rate} for n, rate in rates.items()]
        (path.parent / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = read_study(tmp_path)
    assert mixed_schedules(record).startswith("An older heed trained rotary with seed 1: the last update there had")
    assert [banner.title for banner in banners(record)].count("Two schedules") == 1
    for path in tmp_path.glob("runs/rotary/seed-1/metrics.jsonl"):
        path.write_text(path.read_text().replace("0.0}", "1e-06}"))
    assert mixed_schedules(read_study(tmp_path)) == ""
