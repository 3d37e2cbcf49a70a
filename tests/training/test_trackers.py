"""Trackers: TensorBoard reads what metrics.jsonl says, nothing is told twice, and none of them ever stops a run."""

import contextlib
import json
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.conftest import TINY, settled, write_text
from heed.cli import main
from heed.config import make_config
from heed.errors import ConfigError, MissingPackageError
from heed.records.checkpoints import saved_steps, step_name
from heed.records.events import scalars
from heed.training import trackers
from heed.training.run import Run
from heed.training.trackers import TRACKERS, find_trackers
from heed.training.trackers.tensorboard import EVENTS, read_records
from heed.training.trackers.tracker import Tracker

pytest.importorskip("tensorboard")


class Told(Tracker):
    """Keeps what it is told in a file."""

    def __init__(self, run):
        self.path = run.folder / "told.jsonl"
        self.knows = float("inf") if self.path.exists() else -1
        self.keep("begin", run.step)

    def keep(self, *what):
        with self.path.open("a") as file:
            file.write(json.dumps(what) + "\n")

    def numbers(self, step, values):
        self.keep(step, values)

    def text(self, step, text):
        self.keep(step, text)

    def close(self):
        self.keep("close", 0)


class Failing(Tracker):
    """Fails at the second thing that it is told, as when a disk is full."""

    calls = 0

    def __init__(self, run):
        type(self).calls = 0

    def numbers(self, step, values):
        type(self).calls += 1
        if self.calls > 1:
            raise OSError(28, "No space left on device")


class Printing(Told):
    """Says something on standard output."""

    def numbers(self, step, values):
        print("look at me")


class Broken(Tracker):
    """Cannot even begin."""

    def __init__(self, run):
        sys.exit(3)

    def numbers(self, step, values):
        raise AssertionError


@pytest.fixture
def text(tmp_path):
    return write_text(tmp_path / "animals.txt")


def train(text, name, *more):
    folder = text.parent / "runs"
    argv = ["train", str(text), "--run.folder", str(folder), "--run.name", name, *TINY,
            "--train.steps", "12", "--train.keep-last", "20", *more]  # fmt: skip
    assert main(settled(argv)) == 0
    return folder / name


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """`ended(*flags)` gives a run that was trained with them, for all tests to read."""
    text = write_text(tmp_path_factory.mktemp("ended") / "animals.txt")
    runs = {}

    def make(*flags):
        if flags not in runs:
            runs[flags] = train(text, f"run-{len(runs)}", *flags)
        return runs[flags]

    return make


@pytest.fixture
def own(ended, tmp_path):
    """`own(*flags)` gives a copy of such a run."""
    return lambda *flags: shutil.copytree(ended(*flags), tmp_path / "runs" / "a")


BOARD = ("--train.trackers", "tensorboard")


def go_back(folder, step):
    """Leave the folder as a process does that is killed after it has made more than this step."""
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(line for line in lines if '"event": "end"' not in line))
    for saved in saved_steps(folder / "checkpoints"):
        if saved > step:
            shutil.rmtree(folder / "checkpoints" / step_name(saved))
    (folder / "checkpoints" / "best.json").unlink(missing_ok=True)
    for name in ("evaluation.json", "samples.jsonl", "hashes.json"):
        (folder / name).unlink(missing_ok=True)


def curves_of(folder):
    """Return {tag: [(step, value), ...]} as TensorBoard itself reads it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}, found


def logged(folder):
    """Return the same out of metrics.jsonl, in single precision as TensorBoard has it."""
    made: dict[str, list] = {}
    for event in Run.open(folder).read_metrics():
        for name, value in scalars(event.plain()).items():
            made.setdefault(name, []).append((event.step, struct.unpack("f", struct.pack("f", value))[0]))
    return made


def test_tensorboard_reads_what_was_logged(ended):
    folder = ended(*BOARD)
    curves, found = curves_of(folder)
    assert curves == logged(folder)
    assert {"train/loss", "train/learning_rate", "validation/loss", "validation/word_perplexity"} <= curves.keys()
    sample = [event for event in Run.open(folder).read_metrics() if event.KIND == "sample"][-1]
    [shown] = found.Tensors("samples")[-1].tensor_proto.string_val
    assert shown.decode().split("\n")[0] == "    " + sample.texts[0]["text"].split("\n")[0]
    [settings] = found.Tensors("settings")[0].tensor_proto.string_val
    assert "| model.n_layers | 1 |" in settings.decode()


@pytest.mark.parametrize("torn", [0, 11])
def test_a_run_that_goes_on_has_no_point_twice(ended, own, torn):
    whole, folder = ended(*BOARD), own(*BOARD)
    go_back(folder, 10)
    content = (folder / EVENTS).read_bytes()
    (folder / EVENTS).write_bytes(content[: len(content) - torn])  # it died while it wrote
    assert main(["train", "--resume", str(folder)]) == 0
    curves, _ = curves_of(folder)
    assert curves == logged(folder)
    exact = {name: points for name, points in curves_of(whole)[0].items() if "second" not in name and "mem" not in name}
    assert exact == {name: points for name, points in curves.items() if name in exact}


def test_a_tracker_that_comes_later_is_told_all(own):
    folder = own()
    before = json.loads(json.dumps(Run.open(folder).config.model_dump()))
    go_back(folder, 8)
    assert main(["train", "--resume", str(folder), "--train.trackers", "tensorboard"]) == 0
    assert curves_of(folder)[0] == logged(folder)
    resumed = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines() if "resume" in line]
    assert "changed" not in resumed[-1]  # it is the run that was begun
    assert before["train"]["trackers"] in ((), [])


def test_a_tracker_that_cannot_take_back_is_told_nothing_twice(text):
    name = f"{__name__}:Told"
    folder = train(text, "a", "--train.trackers", name)
    told = lambda: [json.loads(line) for line in (folder / "told.jsonl").read_text().splitlines()]
    first = [one for one in told() if isinstance(one[0], int)]
    assert told()[0] == ["begin", 0]
    assert told()[-1] == ["close", 0]
    go_back(folder, 6)
    assert main(["train", "--resume", str(folder), "--train.steps", "14"]) == 0
    again = [one for one in told() if isinstance(one[0], int)]
    assert again[: len(first)] == first
    assert {one[0] for one in again[len(first) :]} == {14}
    assert ["begin", 6] in told()


@pytest.mark.parametrize(("kind", "said"), [("Failing", "No space left on device"), ("Broken", "SystemExit: 3")])
def test_a_tracker_that_fails_says_so_once_and_the_run_goes_on(text, ended, capsys, kind, said):
    plain = ended()
    capsys.readouterr()
    folder = train(text, "a", "--train.trackers", f"tensorboard,{__name__}:{kind}")
    lines = [line for line in capsys.readouterr().err.splitlines() if "train.trackers" in line]
    assert len(lines) == 1
    assert said in lines[0]
    assert curves_of(folder)[0] == logged(folder)  # the other one goes on
    losses = lambda run: [event.loss for event in Run.open(run).read_metrics() if event.KIND == "train"]
    assert losses(folder) == losses(plain)


def test_a_full_disk_stops_the_event_file_and_not_the_run(text, capsys, monkeypatch):
    from heed.training.trackers import tensorboard

    append, count = tensorboard.files.append, [0]

    def full(path, content):
        if Path(path).name == EVENTS:
            count[0] += 1
            if count[0] > 5:
                raise OSError(28, "No space left on device")
        append(path, content)

    monkeypatch.setattr(tensorboard.files, "append", full)
    folder = train(text, "a", "--train.trackers", "tensorboard")
    assert capsys.readouterr().err.count("tensorboard fails (No space left on device)") == 1
    monkeypatch.undo()
    go_back(folder, 8)
    assert main(["train", "--resume", str(folder)]) == 0  # there is room again
    assert curves_of(folder)[0] == logged(folder)


def test_standard_output_is_not_a_trackers(text, capsys):
    capsys.readouterr()
    train(text, "a", "--train.trackers", f"{__name__}:Printing", "--json")
    json.loads(capsys.readouterr().out)


def test_what_is_no_tracker_is_refused_before_anything_is_made(text, capsys):
    for name, said in (
        ("tensorbord", "did you mean 'tensorboard'?"),
        ("json:loads", "is not a subclass of"),
        ("nowhere:Class", "cannot import nowhere"),
    ):
        argv = ["train", str(text), "--run.folder", str(text.parent / "runs"), *TINY, "--train.trackers", name]
        assert main(argv) == 2
        assert said in capsys.readouterr().err
    assert not (text.parent / "runs").exists()


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    for name, kind in TRACKERS.items():
        monkeypatch.setattr(kind, "needs", ("no_such_package", kind.needs[1]))
        with pytest.raises(MissingPackageError, match=rf"heed-lm\[{name}\]"):
            find_trackers([name])


def test_packages_offer_trackers(monkeypatch):
    class Offer:
        name, value = "mine", f"{__name__}:Told"

    monkeypatch.setattr(trackers, "entry_points", lambda group: [Offer] if group == "heed.trackers" else [])
    assert find_trackers(["mine"])["mine"].__name__ == "Told"
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        find_trackers(["mien"])


def test_names_may_have_commas_between():
    assert make_config({"train": {"trackers": "tensorboard, wandb"}}).train.trackers == ("tensorboard", "wandb")
    assert make_config({"train": {"trackers": ["trackio"]}}).train.trackers == ("trackio",)


def test_records_of_an_event_file_are_cut_where_they_are_whole(own):
    folder = own(*BOARD)
    content = (folder / EVENTS).read_bytes()
    records = read_records(folder / EVENTS)
    assert sum(16 + len(record) for record in records) == len(content)
    for cut in (0, 1, 7, 12, len(content) // 2, len(content) - 1):
        (folder / EVENTS).write_bytes(content[:cut])
        found = read_records(folder / EVENTS)
        assert found == records[: len(found)]
        assert sum(16 + len(record) for record in found) <= cut


@pytest.mark.slow
def test_killed_again_and_again(text):
    """HEED_KILLS kills (8 as it comes) at any moment after the event file is there, each followed by a resumption."""
    folder, noise = text.parent / "runs" / "a", random.Random(4)
    heed = [sys.executable, "-m", "heed", "train"]
    begin = [*heed, *settled([str(text), "--run.folder", str(folder.parent), "--run.name", "a", *TINY, "--train.steps",
             "3000", "--train.checkpoint-every", "50", "--train.eval-every", "100", "--train.trackers",
             "tensorboard"])]  # fmt: skip
    for number in range(int(os.environ.get("HEED_KILLS", "8"))):
        argv = [*heed, "--resume", str(folder)] if number else begin
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and not (folder / EVENTS).exists():
                time.sleep(0.02)
            time.sleep(3 * noise.random())
            process.kill()
    assert main(["train", "--resume", str(folder)]) == 0
    assert curves_of(folder)[0] == logged(folder)


@pytest.mark.slow  # each starts processes and databases of its own
@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_wandb_and_trackio_work_without_a_network(text, tmp_path, name):
    pytest.importorskip(name)
    folder, place = tmp_path / "runs" / "a", tmp_path / "trackio"
    alone = {**os.environ, "WANDB_MODE": "offline", "TRACKIO_DIR": str(place)}  # trackio looks when it is imported
    heed = lambda *argv: subprocess.run([sys.executable, "-m", "heed", *map(str, argv)], check=True, env=alone)
    heed(*settled(["train", text, "--run.folder", folder.parent, "--run.name", "a", *TINY, "--train.steps", "12",
                   "--train.keep-last", "20", "--train.trackers", name]))  # fmt: skip
    go_back(folder, 8)
    heed("train", "--resume", folder)
    events = [event for event in Run.open(folder).read_metrics() if event.KIND == "train"]
    if name == "wandb":
        assert len([path for path in (folder / "wandb").iterdir() if path.name.startswith("offline-run")]) == 2
        assert len(list((folder / "wandb").rglob("*.wandb"))) == 2
    else:
        [database] = place.rglob("*.db")
        with contextlib.closing(sqlite3.connect(database)) as opened:
            rows = opened.execute("select step, metrics from metrics order by step").fetchall()
        told = [(step, json.loads(values)) for step, values in rows]
        found = [(step, values["train/loss"]) for step, values in told if "train/loss" in values]
        assert found == [(event.step, event.loss) for event in events]
