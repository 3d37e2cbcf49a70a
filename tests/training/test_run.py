"""The run folder: what is written, what is refused, what is void after a resumption."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from doubles import TinyModel, Windows, new_run, plan

from forked import forked
from heed.config import Config, RunConfig, make_config, read_yaml
from heed.errors import CheckpointError
from heed.records.events import EndEvent, TrainEvent
from heed.training import run as module
from heed.training.fit import fit
from heed.training.run import Run, load_run, load_weights, new_folder, read_metrics


def test_a_new_run_holds_its_config_and_its_environment(tmp_path):
    config = Config(run=RunConfig(seed=5))
    run = Run.create(tmp_path / "a" / "b", config)
    assert make_config(read_yaml(run.folder / "config.yaml")) == config
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert environment["seed"] == 5
    assert set(environment["streams"]) == {"initialisation", "data", "dropout", "sampling", "evaluation"}
    assert {"python", "numpy", "heed", "git_commit", "machine", "command", "time"} <= environment.keys()
    assert {"processor", "cores", "memory_bytes", "gpus", "threads"} <= environment["machine"].keys()
    assert Run.open(run.folder).config == config


def test_an_existing_run_is_refused_or_overwritten_without_touching_strange_files(tmp_path):
    run = new_run(tmp_path / "run")
    fit(TinyModel(), Windows(), plan(), run)
    (run.folder / "notes.txt").write_text("mine")
    for name in ("answers.jsonl", "evaluation-qa.json", "trust.json"):  # of the old weights, as the rest
        (run.folder / name).write_text("{}")
    with pytest.raises(CheckpointError, match=r"holds a run already: go on with --resume.*, or --overwrite it"):
        Run.create(run.folder, Config())
    fresh = Run.create(run.folder, Config(), overwrite=True)
    left = sorted(path.name for path in run.folder.iterdir())
    assert left == ["config.yaml", "environment.json", "hashes.json", "notes.txt"]
    assert fresh.read_metrics() == []


def test_a_folder_that_is_no_run_is_never_overwritten(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("")
    for name in ("thesis", "file"):
        with pytest.raises(CheckpointError, match="is no run folder: choose another name"):
            Run.create(tmp_path / name, Config(), overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").exists()


@pytest.mark.parametrize("left", [[], ["environment.json"], ["environment.json", "tokenizer.json"]])
def test_an_empty_folder_or_what_a_killed_creation_left_is_no_obstacle(tmp_path, left):
    for name in left:
        (tmp_path / name).write_text("{")
    assert Run.open(Run.create(tmp_path, Config()).folder).config == Config()


def test_opening_what_is_no_run(tmp_path):
    with pytest.raises(CheckpointError, match="holds no run"):
        Run.open(tmp_path)
    (tmp_path / "wiki.txt").write_text("text")
    with pytest.raises(CheckpointError, match=r"wiki\.txt is a file: give a folder"):
        Run.open(tmp_path / "wiki.txt")
    with pytest.raises(CheckpointError, match="does not exist: give a folder that `heed train` wrote"):
        Run.open(tmp_path / "none")
    with pytest.raises(CheckpointError, match="no run of heed yet: heed import hf:acme/tiny makes one of it"):
        Run.open(Path("hf:acme/tiny"))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be written.*choose another --run.folder"):
        Run.create(tmp_path / "file" / "run", Config())


# ---------------------------------------------------------------------- metrics


def steps(events):
    return [(event.KIND, event.step) for event in events]


def test_a_resumption_voids_what_lies_beyond_it(tmp_path):
    run = new_run(tmp_path / "run")
    for step in (1, 2, 3, 4):
        run.log(TrainEvent(step=step))
    run.log(EndEvent(step=3, reason="interrupted"))
    run.log_resume(3)
    run.log(TrainEvent.model_validate({"step": 4, "again": True}))
    assert steps(run.read_metrics()) == [("train", 1), ("train", 2), ("train", 3), ("train", 4)]
    assert run.read_metrics()[-1].plain()["again"]
    assert len((run.folder / "metrics.jsonl").read_text().splitlines()) == 7  # append only: nothing is lost


def test_a_cut_last_line_is_forgiven_and_does_not_spoil_the_next_one(tmp_path):
    run = new_run(tmp_path / "run")
    run.log(TrainEvent(step=1))
    path = run.folder / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"event": "tra')
    assert steps(run.read_metrics()) == [("train", 1)]
    run.log_resume(1)
    run.log(TrainEvent(step=2))
    assert steps(run.read_metrics()) == [("train", 1), ("train", 2)]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    path.write_text('{"event": "train", "step": 1}\nrubbish\n{"event": "train", "step": 2}\n')
    with pytest.raises(CheckpointError, match="line 2 is damaged"):
        read_metrics(path)


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    run = new_run(tmp_path / "run")

    def hold():
        with run.locked():
            print("held", flush=True)
            time.sleep(60)

    with subprocess.Popen(sys.executable, stdout=subprocess.PIPE, text=True, **forked(hold)) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        said = f"process {other.pid} is training in .*run already: wait for it"
        with pytest.raises(CheckpointError, match=said), run.locked():
            pass
        other.kill()
    with run.locked(), run.locked():  # free again, and no hindrance to the process that has it
        pass
    assert not (run.folder / ".lock").exists()


def test_final_figures_are_void_once_a_run_goes_on(tmp_path):
    run = new_run(tmp_path / "run")
    names = ("evaluation.json", "answers.jsonl", "evaluation-qa.json", "trust.json")
    for name in names:
        (run.folder / name).write_text("{}")
    run.log_resume(1)
    assert not any((run.folder / name).exists() for name in names)


def test_a_full_disk_is_one_line(tmp_path):
    run = new_run(tmp_path / "run")
    (run.folder / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"No space left on device; make room and go on with --resume"):
        run.log(TrainEvent(step=1))


def test_numbers_that_are_no_json_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        new_run(tmp_path / "run").log(TrainEvent(step=1, loss=float("nan")))


# ---------------------------------------------------------------------- loading


def test_load_run_gives_the_model_of_the_checkpoint(tmp_path, monkeypatch):
    import heed.build
    import heed.text.tokenizers

    run = new_run(tmp_path / "run")
    model = TinyModel()
    fit(model, Windows(), plan(), run)

    class Tokenizer:
        vocab_size = 11

    monkeypatch.setattr(
        heed.build, "build_model", lambda config, vocabulary, classes: TinyModel(torch.Generator().manual_seed(7))
    )
    monkeypatch.setattr(heed.text.tokenizers, "load_tokenizer", lambda folder: Tokenizer())
    loaded, tokenizer, config = load_run(run.folder, "last")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))
    assert loaded.head.weight is loaded.embedding.weight
    assert not loaded.training
    assert tokenizer.vocab_size == 11
    assert config == run.config
    earlier, _, _ = load_run(run.folder, 8)
    assert not torch.equal(earlier.embedding.weight, model.embedding.weight)


def test_weights_that_do_not_fit_are_refused():
    weights = TinyModel(width=4).state_dict()
    with pytest.raises(CheckpointError, match=r"does not fit the model: embedding.weight differs"):
        load_weights(TinyModel(), weights)


def test_a_run_without_a_name_takes_the_next_number(tmp_path):
    with new_folder(tmp_path, "text") as first, new_folder(tmp_path, "text") as second:
        assert (first.name, second.name) == ("text-1", "text-2")
        (second / "x").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["text-2"]  # of the other nothing came


def test_without_git_there_is_no_commit(monkeypatch):
    def no_git(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(module.subprocess, "run", no_git)
    assert module._git_commit() is None


def test_a_run_from_before_line_ends_were_changed_reads_its_text_as_it_was(tmp_path):
    run = Run.create(tmp_path / "run", make_config({}))
    assert Run.open(run.folder).config.data.line_ends == "unix"
    path = run.folder / "config.yaml"
    text = path.read_text(encoding="utf-8")
    assert "line_ends: unix\n" in text
    path.write_text(text.replace("  line_ends: unix\n", ""), encoding="utf-8")
    (run.folder / "hashes.json").unlink()
    assert Run.open(run.folder).config.data.line_ends == "keep"


def test_a_run_from_before_splits_went_by_class_keeps_its_own(tmp_path):
    run = Run.create(tmp_path / "run", make_config({"data": {"label": "verdict"}, "model": {"kind": "encoder"}}))
    path = run.folder / "config.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(": by-class\n") == 2
    data = Run.open(run.folder).config.data
    assert (data.validation, data.test) == ("by-class", "by-class")
    path.write_text(text.replace(": by-class\n", ": null\n"), encoding="utf-8")
    (run.folder / "hashes.json").unlink()
    old = Run.open(run.folder)
    assert (old.config.data.validation, old.config.data.test) == ("by-text", "by-text")
    assert old.changed_since(None) == {}
    assert make_config({}).data.validation is None
