"""Going on with a run: what is refused, what of other settings is kept, and what a page says of them."""

import json
import re
import shutil
import subprocess
import sys
import time

import pytest

from cli.conftest import TINY
from heed.config import read_yaml
from heed.training.run import read_metrics
from studies.small_studies import write_study


def files_of(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "report.html"
    }


def resumptions(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == "resume"]


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "runs" / "tiny")
    return tmp_path / "runs" / "tiny"


@pytest.mark.parametrize(
    "flags",
    [("--train.learning-rate", "0.5"), ("--train.batch-size", "2"), ("--train.learning-rate", 0.5, "--run.threads", 1)],
)
def test_a_finished_run_keeps_its_recipe(heed, run, flags):
    before = files_of(run)
    answer = heed("train", "--resume", run, *flags)
    assert answer.code == 2
    said = answer.err.splitlines()[-1]
    assert flags[0].removeprefix("--").replace("-", "_") in said
    assert "has no step left that could be made so" in said
    assert files_of(run) == before
    assert heed("train", "--resume", run).code == 0  # without other settings there is nothing against it


def test_where_no_step_remains_another_number_of_threads_is_no_other_run(heed, run):
    (run / "trust.json").write_text("{}")
    assert heed("train", "--resume", run, "--run.threads", 1).code == 0  # two wait for each other on a busy machine
    assert read_yaml(run / "config.yaml")["run"]["threads"] == "auto"  # what it was trained with
    assert (run / "trust.json").exists()  # the weights are the same


def test_both_spans_of_a_setting_are_kept_and_shown(heed, run):
    flags = ("--train.steps", 8, "--train.learning-rate", 0.002, "--train.batch-size", 8)
    answer = heed("train", "--resume", run, *flags)
    assert answer.code == 0
    resumed = resumptions(run)
    assert [event["step"] for event in resumed] == [6]
    assert resumed[0]["changed"] == {
        "train.steps": [6, 8], "train.batch_size": [4, 8], "train.learning_rate": [0.001, 0.002],
    }  # fmt: skip
    assert read_yaml(run / "config.yaml")["train"]["batch_size"] == 8
    page = " ".join(re.sub("<[^>]+>", " ", (run / "report.html").read_text(encoding="utf-8")).split())
    assert "train.learning_rate was 0.001 up to step 6 and 0.002 after it" in page
    assert "train.batch_size 4 6 8" in page  # setting, before, up to step, after
    assert "for 8 steps in" in page  # the steps were not all alike
    # the next resumption says nothing of what was already in force
    assert heed("train", "--resume", run, "--train.steps", 9).code == 0
    assert resumptions(run)[-1]["changed"] == {"train.steps": [8, 9]}


def test_a_run_killed_before_its_settings_were_kept_says_so_once(heed, run, monkeypatch):
    from heed.training import run as module

    def die(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_yaml", die)
        assert heed("train", "--resume", run, "--train.steps", 8, "--train.clip", 0.5).code == 130
    assert read_yaml(run / "config.yaml")["train"]["clip"] == 1.0
    assert heed("train", "--resume", run, "--train.steps", 8).code == 0  # with the clip of before
    assert [sorted(event["changed"]) for event in resumptions(run)] == [["train.clip", "train.steps"], ["train.steps"]]
    assert "train.clip was" not in (run / "report.html").read_text(encoding="utf-8")


def test_settings_that_older_versions_did_not_keep_are_those_of_config_yaml(heed, run, monkeypatch):
    from heed.training import fit

    real = fit.files.load_checkpoint

    def load(path):
        found = real(path)
        found.state.pop("settings", None)
        return found

    monkeypatch.setattr(fit.files, "load_checkpoint", load)
    assert heed("train", "--resume", run, "--train.learning-rate", 0.5).code == 2
    assert heed("train", "--resume", run).code == 0
    assert heed("train", "--resume", run, "--train.steps", 8).code == 0
    assert read_metrics(run / "metrics.jsonl")[-1].step == 8


def test_an_empty_or_cut_configuration_is_no_other_run(heed, run):
    path = run / "config.yaml"
    whole = path.read_text()
    for content in ("", whole[: len(whole) // 2], "{}\n"):
        path.write_text(content)
        answer = heed("train", "--resume", run)
        assert answer.code == 2
        assert "config.yaml" in answer.err.splitlines()[-1]


HOLD = (
    "import sys, time; from pathlib import Path; from heed.files import working_in\n"
    "with working_in(sys.argv[1], 'busy in ' + sys.argv[1], ''):\n    print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def hold():
    """Another process that is at a folder: `hold(folder)` gives its number."""
    others = []

    def take(folder):
        other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
        others.append(other)
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        return other.pid

    yield take
    for other in others:
        other.kill()
        other.wait()
        other.stdout.close()


def test_a_folder_that_another_process_is_at_stays_as_it_is(heed, run, text, tmp_path, hold):
    pid = hold(run)
    before = files_of(run)
    place = ("--run.folder", run.parent, "--run.name", run.name)
    for argv in (("--resume", run), ("--resume", run, "--train.steps", 9), (text, *TINY, *place, "--overwrite")):
        answer = heed("train", *argv)
        assert answer.code == 2
        assert f"process {pid} is busy in {run} already: wait for it, or end it" in answer.err.splitlines()[-1]
        assert files_of(run) == before
    new = tmp_path / "runs" / "new"
    pid = hold(new)
    answer = heed("train", text, *TINY, "--run.folder", new.parent, "--run.name", "new")
    assert answer.code == 2
    assert f"process {pid}" in answer.err
    assert [path.name for path in new.iterdir()] == [".lock"]


def test_every_folder_has_one_process(heed, run, text, tmp_path, hold):
    write_study(tmp_path)
    table = tmp_path / "a.csv"
    table.write_text("text,label\nfine,1\ndull,0\n")
    verbs = {
        "study": ("compare", tmp_path / "study.yaml", "--out", tmp_path / "study"),
        "tune": ("tune", table, "--methods", "head", "--out", tmp_path / "tune"),
        "again": ("tune", table, "--methods", "head", "--overwrite", "--out", tmp_path / "again"),
        "hf": ("export", run, "--out", tmp_path / "hf"),
        "people": ("data", "biographies", "--people", 5, "--out", tmp_path / "people"),
    }
    for name, argv in verbs.items():
        pid = hold(tmp_path / name)
        answer = heed(*argv)
        assert answer.code == 2, name
        assert f"process {pid} is busy in" in answer.err.splitlines()[-1]
        assert [path.name for path in (tmp_path / name).iterdir()] == [".lock"], name


@pytest.mark.slow
def test_of_two_at_once_one_gets_the_name(text, tmp_path):
    argv = [sys.executable, "-m", "heed", "train", str(text), *TINY, "--tokenizer.kind", "char"]
    argv += ["--run.folder", str(tmp_path), "--run.name", "a"]
    both = [
        subprocess.Popen([*argv, "--run.seed", seed], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed in ("1", "2")
    ]
    said = [process.communicate(timeout=300)[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 2], said
    winner = codes.index(0)
    assert "Traceback" not in said[1 - winner]
    assert said[1 - winner].splitlines()[-1].startswith("heed: ")
    assert read_yaml(tmp_path / "a" / "config.yaml")["run"]["seed"] == winner + 1
    assert json.loads((tmp_path / "a" / "environment.json").read_text())["seed"] == winner + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tokens", "a"]
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".") and path.name != ".tokens"]


def test_a_lock_of_the_dead_blocks_nobody(heed, run):
    (run / ".lock").write_text("process 1 is training in it")
    (run / ".evaluation.json.writing").write_text("half")
    (run / ".removing").mkdir()
    begin = time.monotonic()
    assert heed("train", "--resume", run).code == 0
    assert time.monotonic() - begin < 60
    assert not list(run.rglob(".*"))


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "..", ".", ""])
def test_a_run_stays_in_its_folder(heed, text, tmp_path, name):
    answer = heed("train", text, *TINY, "--run.folder", tmp_path / "runs", "--run.name", name)
    assert answer.code == 2
    assert "run.name" in answer.err
    assert not (tmp_path / "x").exists()
