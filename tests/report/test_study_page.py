"""The page of a study: whole, safe, the same twice; and in a real browser."""

import json
import re

import pytest
import yaml
from fake_studies import cell, lengths_study, study, write_lengths, write_study_folder
from test_page_browser import browser, check_page  # noqa: F401 - a fixture

from heed.config import make_config
from heed.errors import CheckpointError
from heed.report.drawing import draw
from heed.report.study_figures import colours, curve_sentence, study_figures
from heed.report.study_findings import MeanCurve, mixed_schedules
from heed.report.study_page import banners, render, setup, write_study
from heed.report.study_record import read_study

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
    assert html.count("<script") == 1  # the one that heed wrote
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
    assert html.count("<script") == 1
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
    assert colours(record)["pre-norm"] == (0, 0)
    assert len(set(colours(record).values())) == len(record.variants)
    # the leaking variant is no curve, and the forest says why
    assert "naive-mask" not in {line.label for line in figures["validation-steps"].lines}
    assert "naive-mask" not in figures["validation-steps"].title
    assert "left out: leaks" in draw(figures["forest"])
    assert "Not drawn:" in figures["validation-steps"].caption


def test_long_names_are_shortened_and_stay_apart(folders):
    figures = study_figures(read_study(folders[4]))
    html = draw(figures["validation-steps"])
    names = re.findall(r"<span>([^<]*) <b>", html)
    assert len(set(names)) == len(LONG)
    assert max(map(len, names)) < 34
    assert sum(name.startswith("lstm, adamw, 4") for name in names) == 1  # and another for that of 2 layers
    assert sum(name.startswith("lstm, adamw, 2") for name in names) == 1
    assert 'title="lstm, adamw, 4 layers, dropout 0.2"' in html


def test_rows_are_drawn_where_their_values_lie(folders):
    figure = study_figures(read_study(folders[0]))["forest"]
    html = draw(figure)
    ticks = [
        (float(x), float(text.replace("+", "")))
        for x, text in re.findall(r'<text x="([\d.]+)%" y="100%" dy="1.5em">([^<]*)<', html)
    ]
    (a, low), (b, high) = ticks[0], ticks[-1]
    across = lambda x: low + (float(x) - a) * (high - low) / (b - a)
    assert [across(x) for x in re.findall(r'<circle class="[^"]*" cx="([\d.]+)%"', html)] == [
        pytest.approx(row.value, abs=1e-4) for row in figure.rows
    ]
    assert [
        (across(x), across(y)) for x, y in re.findall(r'class="interval s\d" x1="([\d.]+)%" x2="([\d.]+)%"', html)
    ] == [tuple(pytest.approx(edge, abs=1e-4) for edge in row.interval) for row in figure.rows]
    seeds = [across(x) for x in re.findall(r'<rect class="seed s\d" x="([\d.]+)%"', html)]
    assert seeds == [pytest.approx(dot, abs=1e-4) for row in figure.rows for dot in row.dots]
    assert html.count(' open"') == sum(not row.filled for row in figure.rows)
    rows = re.findall(r"<tr><th scope=row>([^<]*)((?:<td>[^<\n]*)+)", html)
    for (name, cells), row in zip(rows, figure.rows, strict=True):
        numbers = [float(cell) for cell in cells.split("<td>")[1:]]
        assert (name, numbers) == (row.label, pytest.approx([row.value, *row.interval, *row.dots], rel=1e-5))


def test_bars_are_as_long_as_their_values(folders):
    figure = study_figures(read_study(folders[0]))["memory"]
    html = draw(figure)
    (_, zero), *_, (b, high) = [
        (float(x), float(text.replace(",", "")))
        for x, text in re.findall(r'<text x="([\d.]+)%" y="100%" dy="1.5em">([^<]*)<', html)
    ]
    assert zero == 0
    assert [
        float(wide) * high / b for wide in re.findall(r'<rect class="bar s\d" x="0%" y="[^"]*" width="([\d.]+)%"', html)
    ] == [pytest.approx(row.value, rel=1e-3) for row in figure.rows]


def test_a_large_study_is_no_large_page(tmp_path):
    folder = write_study_folder(tmp_path, study({f"variant {n:02d}": n / 50 for n in range(24)}))
    assert write_study(folder).stat().st_size < 2**20


def test_a_folder_that_cannot_be_written_is_one_line(folders, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(CheckpointError, match="No space left"):
        write_study(folders[0])
    assert not list(folders[0].glob("*.part"))


@pytest.fixture(scope="module")
def addresses(folders):
    return [write_study(folder).as_uri() for folder in folders]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_the_page_is_quiet_fits_and_can_be_read(browser, addresses, scheme, width):  # noqa: F811
    for address in addresses:
        check_page(browser, address, scheme, width)


@pytest.mark.slow
def test_a_long_word_does_not_widen_the_page(browser, tmp_path):  # noqa: F811
    content = study()
    content["cells"][-1] |= {"state": "failed", "message": f"no such file: /{'a' * 200}"}
    page = browser.new_page(viewport={"width": 360, "height": 900})
    page.goto(write_study(write_study_folder(tmp_path, content)).as_uri())
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    page.close()


def test_titles_of_curves_rank_no_ends_of_a_clock_and_name_ties():
    def ends(**known):
        return {name: MeanCurve([1.0], [end], [end], [end], 2) for name, end in known.items()}

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
