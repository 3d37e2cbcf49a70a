"""Runs that are deleted, moved, or freed of what nobody needs: never one that runs, and nothing that is not theirs."""

import contextlib
import io
import json
import os
import subprocess
import sys

import pytest

from heed import files
from heed.board import tidying
from heed.cli import main
from heed.records.checkpoints import hash_state, saved_steps, step_name
from report.fake_runs import metrics, write_run


def ask(capsys, *argv):
    code = main(["runs", *map(str, argv)])
    said = capsys.readouterr()
    return code, said.out, said.err


def make(root, name, steps=(100, 200, 300), best=200, **config):
    folder = write_run(root / name, events=metrics(200, 20), config=config)
    counters = {"best_step": best, "best_loss": 2.0}
    for step in steps:
        content = {"format": 1, "step": step, "state": {"counters": counters}}
        place = folder / "checkpoints" / step_name(step)
        place.mkdir(parents=True)
        (place / "state.json").write_text(json.dumps(content | {"self": hash_state(content)}))
        (place / "model.safetensors").write_bytes(bytes(100_000))
    (folder / "checkpoints" / "best.json").write_text(json.dumps({"step": best, "loss": 2.0}))
    return folder


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "runs", "a")
    make(tmp_path / "runs", "b")
    return tmp_path / "runs"


def tree(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_deleted_only_when_that_was_agreed(root, capsys, monkeypatch):
    before = tree(root)
    code, out, _ = ask(capsys, "rm", root / "a", "--dry-run")
    assert code == 0
    assert "nothing was deleted" in out
    code, _, err = ask(capsys, "rm", root / "a")
    assert code == 2
    assert "give --yes" in err
    terminal = io.StringIO("no\n")
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    assert ask(capsys, "rm", root / "a")[0] == 1
    assert tree(root) == before
    assert ask(capsys, "rm", root / "a", "--yes")[0] == 0
    assert not (root / "a").exists()
    assert tree(root / "b") == {name.removeprefix("b/") for name in before if name.startswith("b/")}


def test_it_says_what_it_frees(root, capsys):
    _, out, _ = ask(capsys, "rm", root / "a", "--dry-run")
    size = sum(path.stat().st_size for path in (root / "a").rglob("*") if path.is_file())
    assert f"{size / 2**10:.3g} KiB" in out


def test_what_is_not_heeds_stays(root, capsys):
    (root / "a" / "notes.txt").write_text("mine")
    (root / "a" / "more").mkdir()
    (root / "a" / "more" / "model.safetensors").write_text("mine")
    (root / "a" / "hf").symlink_to(root / "b", target_is_directory=True)
    code, out, _ = ask(capsys, "rm", root / "a", "--yes")
    assert code == 0
    assert "what is not heed's stays: more, notes.txt" in out
    assert tree(root / "a") == {"notes.txt", "more/model.safetensors"}
    assert (root / "b" / "config.yaml").is_file()  # of a link the link alone goes


@pytest.mark.parametrize("action", ["rm", "mv", "gc"])
def test_a_run_that_runs_is_left_alone(root, capsys, action):
    before = tree(root / "a")
    with files.locked(root / "a" / ".lock", "training"):
        more = {"rm": [root / "a", "--yes"], "mv": [root / "a", root / "c"], "gc": ["--yes"]}[action]
        code, _, err = ask(capsys, action, *more)
        assert tree(root / "a") - {".lock"} == before
    if action != "gc":
        assert code == 2
        assert "is running" in err


def test_a_run_of_a_study_is_not_taken_out_of_it(root, capsys):
    (root.parent / "studies" / "s").mkdir(parents=True)
    (root.parent / "studies" / "s" / "study.json").write_text("{}")
    cell = make(root.parent / "studies" / "s" / "runs" / "v", "seed-1")
    for more in (["rm", cell, "--yes"], ["mv", cell, root / "c"]):
        code, _, err = ask(capsys, *more)
        assert code == 2
        assert "as a whole" in err
    assert (cell / "config.yaml").is_file()


def test_a_run_that_others_began_with_is_named(root, capsys):
    make(root, "child", model={"start_from": "runs/a"})
    code, _, err = ask(capsys, "rm", root / "a", "--dry-run")
    assert code == 0
    assert "began with the weights of" in err
    assert "child" in err
    code, _, err = ask(capsys, "mv", root / "a", root / "c")
    assert code == 2
    assert "child" in err


def test_a_run_is_moved_at_once_and_is_whole(root, capsys):
    before = tree(root / "a")
    assert ask(capsys, "mv", root / "a", root / "new" / "c")[0] == 0
    assert tree(root / "new" / "c") == before
    assert not (root / "a").exists()
    assert ask(capsys, "mv", root / "b", root / "new")[0] == 0  # into a folder that is there
    assert (root / "new" / "b" / "config.yaml").is_file()
    code, _, err = ask(capsys, "mv", root / "new" / "b", root / "new" / "c" / "config.yaml")
    assert code == 2
    assert "is there already" in err
    assert ask(capsys, "mv", root / "new" / "b", root / "new" / "b" / "inner")[0] == 2
    assert ask(capsys, "mv", root / "none", root / "x")[0] == 2
    assert ask(capsys, "rm", root, "--yes")[0] == 2


def test_checkpoints_beyond_the_best_and_the_last_are_freed(root, capsys):
    make(root, "unsure", steps=(1, 2, 3, 4), best=9)
    (make(root, "unmarked", steps=(1, 2, 3, 4), best=2) / "checkpoints" / "best.json").unlink()
    code, out, _ = ask(capsys, "gc", "--dry-run")
    assert code == 0
    assert saved_steps(root / "a" / "checkpoints") == [100, 200, 300]
    assert ask(capsys, "gc", "--yes")[0] == 0
    for name in ("a", "b"):
        assert saved_steps(root / name / "checkpoints") == [200, 300]
        assert f"{name}: " in out
    for name in ("unsure", "unmarked"):
        assert saved_steps(root / name / "checkpoints") == [1, 2, 3, 4]  # which is the best is not known
    assert "there is nothing to free" in ask(capsys, "gc", "--yes")[1]


def test_what_dead_processes_left_is_freed_and_what_live_ones_hold_is_not(root, capsys):
    (root / "a" / ".evaluation.json.writing").write_text("half")
    (root / ".old.removing").mkdir()
    (root / ".old.removing" / "x").write_text("x")
    (root / ".new.writing").mkdir()
    (root / ".stale.writing").mkdir()
    os.utime(root / ".stale.writing", (1, 1))
    held = root / "b" / ".evaluation.json.writing"
    with files.locked(held, "writing"):
        assert ask(capsys, "gc", "--yes")[0] == 0
        assert held.exists()
    assert not (root / "a" / ".evaluation.json.writing").exists()
    assert not (root / ".old.removing").exists()
    assert not (root / ".stale.writing").exists()
    assert (root / ".new.writing").exists()  # somebody may be at it


def test_token_files_that_no_run_names_are_freed(root, capsys):
    from heed.text.tokenfile import write_token_file
    from heed.text.tokenizers import train_tokenizer

    mine, other = (train_tokenizer("char", [text], 100) for text in ("abc", "xyz"))
    (root / ".tokens").mkdir()
    write_token_file(root / ".tokens" / "mine.bin", ["abc"], mine, header={})
    write_token_file(root / ".tokens" / "other.bin", ["xyz"], other, header={})
    (root / ".tokens" / "notes.txt").write_text("mine")
    mine.save(root / "a" / "tokenizer.json")
    with files.locked(root / "b" / ".lock", "training"):  # it may be about to name it
        ask(capsys, "gc", "--yes")
        assert len(list((root / ".tokens").iterdir())) == 3
    (root / "b" / "tokenizer.json").write_text("{")
    ask(capsys, "gc", "--yes")
    assert len(list((root / ".tokens").iterdir())) == 3  # that of b is not known
    (root / "b" / "tokenizer.json").unlink()
    assert ask(capsys, "gc", "--yes")[0] == 0
    assert {path.name for path in (root / ".tokens").iterdir()} == {"mine.bin", "notes.txt"}


def test_a_removal_that_is_stopped_can_be_done_again(root, capsys, monkeypatch):
    """At every file: what is left is a run that is listed, and that goes the next time; or nothing is left."""
    remove, count = files.remove, len(tidying._planned(tidying.named_runs([str(root / "a")])[0]))
    for stop in range(count):
        make(root, f"x{stop}")
        calls = [0]

        def stopping(path, calls=calls, stop=stop):
            calls[0] += 1
            if calls[0] > stop:
                raise KeyboardInterrupt
            remove(path)

        monkeypatch.setattr(files, "remove", stopping)
        with contextlib.suppress(KeyboardInterrupt):
            main(["runs", "rm", str(root / f"x{stop}"), "--yes"])
        monkeypatch.setattr(files, "remove", remove)
        assert ask(capsys, root)[0] == 0
        assert ask(capsys, "rm", root / f"x{stop}", "--yes")[0] == 0
        assert not (root / f"x{stop}").exists()


def test_two_that_delete_the_same_run_at_once(root):
    argv = [sys.executable, "-m", "heed", "runs", "rm", str(root / "a"), "--yes"]
    both = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate()[1] for one in both]
    assert 0 in [one.returncode for one in both]
    assert all("Traceback" not in text for text in said)
    assert not (root / "a").exists()
