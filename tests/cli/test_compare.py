"""`heed compare` from the command line: what it prints, its exit codes, and what it says of mistakes."""

import json
from functools import cache

import pytest
import yaml

from heed.cli.compare import StateLines, describe
from heed.records.kept import write_record
from heed.records.study import Outcome
from heed.studies import compare, estimate
from heed.studies.lengths import measure_lengths
from heed.studies.runner import Done, RunRow, Standing
from heed.studies.worker import run_cell

BASE = {
    "tokenizer": {"kind": "char"},
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 16, "context": 16},
    "train": {"batch_size": 4, "learning_rate": 0.01, "eval_every": 3, "checkpoint_every": 2},
    "run": {"device": "cpu", "threads": 1},
}


@pytest.fixture(scope="module", autouse=True)
def one_start():
    """Time the start of a run, a process of its own, once for all dry runs of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "start_seconds", cache(estimate.start_seconds))
        yield


@pytest.fixture
def file(tmp_path, text):
    """A study of two variants and one seed."""
    base = {**BASE, "data": {"source": str(text), "workers": 1}}
    content = {
        "base": base,
        "variants": {"pre": {}, "post": {"model.norm_order": "post"}},
        "seeds": 1,
        "budget": {"tokens": 320},
    }
    path = tmp_path / "norms.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture
def here(monkeypatch):
    """Make the runs in this process, which spares each of them the seconds that torch takes to import."""
    made = []

    def worker(task, threads):
        made.append(task.name)
        found = run_cell(task.values)
        write_record(task.record, found)
        return Done(found)

    monkeypatch.setattr(compare, "Process", worker)
    return made


def test_a_study_from_the_command_line(heed, file, here, tmp_path):
    out = tmp_path / "out"
    first = heed("compare", file, "--out", out)
    assert first.code == 0, first.err
    assert here == ["pre, seed 1", "post, seed 1"]
    assert "pre, seed 1: finished" in first.err
    assert "which says nothing of noise" in first.out
    assert f"report: {out / 'report.html'}" in first.out
    again = heed("compare", out, "--json")
    assert (again.code, len(here)) == (0, 2)  # nothing was run
    content = json.loads(again.out)
    assert [cell["state"] for cell in content["cells"]] == ["finished", "finished"]
    assert content["variants"]["pre"]["steps"] == 5  # 320 / (4 x 16)
    (out / "report.html").unlink()
    assert heed("compare", out, "--report").code == 0
    assert (out / "report.html").exists()


def test_a_run_that_fails_leaves_the_others_alone_and_the_exit_code_says_it(heed, file, monkeypatch, tmp_path):
    def worker(task, threads):
        return Done(Outcome.of("failed", "no room") if "post" in task.name else run_cell(task.values))

    monkeypatch.setattr(compare, "Process", worker)
    found = heed("compare", file, "--out", tmp_path / "out")
    assert found.code == 1
    assert "post, seed 1: failed: no room" in found.err
    assert "pre, seed 1: finished" in found.err


def test_a_dry_run_says_what_would_run_and_writes_nothing(heed, file, tmp_path):
    out = tmp_path / "out"
    found = heed("compare", file, "--out", out, "--dry-run")
    assert found.code == 0
    assert "2 variants x 1 seeds = 2 runs" in found.out
    variants = json.loads(heed("compare", file, "--out", out, "--dry-run", "--json").out)["variants"]
    assert [(one["variant"], one["steps"], one["tokens"]) for one in variants] == [("pre", 5, 320), ("post", 5, 320)]
    assert variants[0]["seconds"] > 0
    assert not out.exists()


def test_a_dry_run_says_how_much_of_a_budget_of_tokens_is_padding(heed, file, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("the cat\n" * 300)
    text = file.read_text()
    content = yaml.safe_load(text)
    content["base"]["data"] |= {"source": str(lines), "layout": "padded", "separator": "\n"}
    content["budget"] = {"tokens": 6400}
    file.write_text(yaml.safe_dump(content))
    found = heed("compare", file, "--dry-run")
    assert found.code == 0, found.err
    assert "the budget counts places, padding included: " in found.out
    file.write_text(text)
    assert "the budget counts places" not in heed("compare", file, "--dry-run").out


def test_lengths_are_told_beforehand_and_printed_with_what_ends(heed, file, tmp_path, monkeypatch):
    file.write_text(file.read_text().replace("model.norm_order: post", "model.positions: alibi") + "lengths: [8, 48]\n")
    dry = heed("compare", file, "--dry-run").out
    assert "measured on the whole validation split at contexts of 8, 48 tokens as well" in dry
    assert "pre ends before 48: model.positions learned ends at the 16 tokens of training" in dry
    content = json.loads(heed("compare", file, "--dry-run", "--json").out)
    assert content["lengths"] == [8, 48]
    assert [bool(one["ends"]) for one in content["variants"]] == [True, False]

    def worker(task, threads):
        found = run_cell(task.values)
        write_record(task.record, found)
        measure_lengths(task.folder, task.lengths)
        return Done(found)

    monkeypatch.setattr(compare, "Process", worker)
    found = heed("compare", file, "--out", tmp_path / "out")
    assert found.code == 0, found.err
    assert "pre at 48: model.positions learned ends" in found.out
    assert "post at 48 tokens came out" in found.out
    rows = json.loads(heed("compare", tmp_path / "out", "--json").out)["by_length"]
    assert [(row["variant"], row["context"], row["reason"] is None) for row in rows] == [
        ("pre", 8, True), ("pre", 48, False), ("post", 8, True), ("post", 48, True),
    ]  # fmt: skip


def test_mistakes_are_one_line(heed, file, tmp_path):
    file.write_text(file.read_text().replace("norm_order", "norm_ordr"))
    found = heed("compare", file)
    assert (found.code, found.err) == (2, "heed: post: model.norm_ordr: unknown setting, did you mean 'norm_order'?\n")
    assert "holds no study" in heed("compare", tmp_path).err
    assert "holds no study" in heed("compare", tmp_path, "--report").err
    assert "leave out one of the two" in heed("compare", tmp_path, "--out", "x").err
    assert "no such configuration file" in heed("compare", tmp_path / "no.yaml").err
    assert "--jobs" in heed("compare", file, "--jobs", 0).err


def test_a_line_a_run(capsys):
    progress = Standing(40, 2.5, 8.0)
    row = RunRow("pre, seed 1", "running", "", progress, 120, 16.0)
    assert describe(row) == "pre, seed 1: running  step 40/120  loss 2.5000  16 s left"
    show = StateLines()
    show([RunRow("a", "waiting"), RunRow("b", "running")])
    show([RunRow("a", "waiting"), RunRow("b", "finished")])
    assert capsys.readouterr().err == "b: running\nb: finished\n"
