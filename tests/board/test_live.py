"""No live view: what a page is told when runs begin, go on, end, are damaged and go away."""

import json
import os
import shutil
import threading

import pytest

from heed import files
from heed.board import live
from heed.board.finding import FoundFolder
from heed.board.live import Board, BoardQuestion
from heed.board.progress import progress_of, time_left
from heed.board.summary import summarise
from heed.records.kept import write_record
from heed.records.study import StudyCell, StudyFile, VariantFacts
from report.fake_runs import figures, metrics, write_run


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(live, "PAUSE", 0.0)


class BoardPage:
    """What the page keeps of what it is told."""

    def __init__(self, board):
        self.board, self.rows, self.groups = board, {}, []
        self.said = {"server": "", "version": 0, "order": ""}
        self.known, self.curves = {}, {}

    def ask(self, **more):
        question = BoardQuestion(
            server=self.said["server"], since=self.said["version"], order=self.said["order"], known=self.known, **more
        )
        said = self.said = json.loads(json.dumps(self.board.answer(question), allow_nan=False))
        self.rows |= {row["name"].rpartition("/")[2]: row for row in said["rows"]}
        self.groups = said["groups"] if said["groups"] is not None else self.groups
        for run, curves in said["curves"].items():
            for name, one in curves.items():
                self.known.setdefault(run, {})[name] = one["known"]
                kept = self.curves.setdefault(run, {})
                kept[name] = kept.get(name, [])[: one["from"]] + one["buckets"]
        return said

    @property
    def names(self):
        return [name.rpartition("/")[2] for group in self.groups for name in group["runs"]]


def make(root, name, loss=3.0, end="finished", steps=200, **passport):
    events = [event for event in metrics(steps, 20) if event["event"] != "sample"]
    found = figures(loss)
    evaluation = {"validation": found | {"passport": found["passport"] | passport}}
    return write_run(root / name, events=events, end=end, evaluation=evaluation)


@pytest.fixture
def root(tmp_path):
    make(tmp_path / "runs", "a", 3.1)
    make(tmp_path / "runs", "b", 2.9)
    return tmp_path / "runs"


@pytest.fixture
def page(root):
    return BoardPage(Board([root]))


def test_only_what_has_changed_is_told(root, page):
    assert {row["name"].rpartition("/")[2] for row in page.ask()["rows"]} == {"a", "b"}
    again = page.ask()
    assert again["rows"] == []
    assert again["groups"] is None
    make(root, "c")
    third = page.ask()
    assert [row["name"].rpartition("/")[2] for row in third["rows"]] == ["c"]
    assert sorted(page.names) == ["a", "b", "c"]
    shutil.rmtree(root / "a")
    assert page.ask()["rows"] == []
    assert sorted(page.names) == ["b", "c"]


def test_a_run_that_goes_on_is_told_as_it_goes(root, page):
    folder = root / "a"
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    half = len(lines) // 2
    (folder / "evaluation.json").unlink()
    with files.locked(folder / ".lock", "training"):
        (folder / "metrics.jsonl").write_text("".join(lines[:half]))
        said = page.ask(curves=["train/loss"])
        assert said["running"] == 1
        assert page.rows["a"]["state"].startswith("running, ")
        with (folder / "metrics.jsonl").open("a") as file:
            file.write("".join(lines[half:-1]))
        said = page.ask(curves=["train/loss"])
        assert [row["name"].rpartition("/")[2] for row in said["rows"]] == ["a"]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(lines[-1])
    page.ask(curves=["train/loss"])
    assert page.rows["a"]["state"] == "finished"
    losses = [json.loads(line)["loss"] for line in lines if '"train"' in line and '"epoch"' in line]
    [curve] = [curves["train/loss"] for run, curves in page.curves.items() if run.endswith("/a")]
    assert [bucket[3] for bucket in curve] == pytest.approx(losses, rel=1e-6)


def test_a_run_whose_process_died_is_interrupted(root, page):
    make(root, "dead", end=None)
    page.ask()
    assert page.rows["dead"]["state"] == "interrupted"


def test_a_damaged_run_is_a_row(root, page):
    (root / "a" / "config.yaml").write_text("model: {")
    page.ask()
    assert page.rows["a"]["state"] == "damaged"
    assert "config.yaml" in page.rows["a"]["notes"][0]
    assert page.rows["b"]["state"] == "finished"


def test_no_name_of_a_page_is_a_path(root, page, tmp_path):
    make(tmp_path, "outside")
    page.ask()
    for name in ("../outside", str(tmp_path / "outside"), "/etc", "a", "", "runs/../../outside", "\0"):
        said = page.ask(chosen=[name], curves=["train/loss"])
        assert said["chosen"] == []
        assert said["curves"] == {}
        assert said["samples"] == {}


def test_runs_that_are_not_measured_alike_are_never_in_one_order_and_have_no_best(root, page):
    make(root, "other", 2.0, context=64, stride=64)
    page.ask(sort="loss")
    assert page.names == ["b", "a", "other"]
    assert len(page.groups) == 2
    events = [json.loads(line) for line in (root / "other" / "metrics.jsonl").read_text().splitlines()]
    for event in events:
        if event["event"] == "evaluation":
            event["passport"]["context"] = event["passport"]["stride"] = 64
    (root / "other" / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    said = page.ask()
    assert len(set(said["alike"].values())) == 2
    assert said["best"] == {}
    both = page.ask(chosen=[name for name in said["chosen"] if not name.endswith("other")])
    assert set(both["best"]) >= {"validation/loss", "validation/bits_per_byte"}
    lowest = min(event["loss"] for event in metrics(200, 20) if event["event"] == "evaluation")
    assert f" {lowest:.4f} at step " in both["best"]["validation/loss"]


def test_settings_that_differ(root, page):
    said = page.ask()
    assert said["differ"]["names"] == []
    write_run(root / "c", events=[], config={"model": {"positions": "alibi"}, "run": {"name": "c"}})
    differ = page.ask()["differ"]
    assert differ["names"] == ["model.positions"]
    assert sorted(value for [value] in differ["values"].values()) == ["alibi", "learned", "learned"]


def test_a_condition_that_is_none_is_said_and_all_runs_stay(page):
    said = page.ask(where=["positions=3"])
    assert "did you mean 'model.positions'" in said["problem"]
    assert sorted(page.names) == ["a", "b"]
    assert page.ask(where=["loss<3"])["problem"] == ""
    assert page.names == ["b"]


RECORDS = (
    "config.yaml", "environment.json", "evaluation.json", "metrics.jsonl", "samples.jsonl", "hashes.json", "study.json",
    "checkpoints/step-00000001/state.json",
)  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_what_is_no_file_is_not_read(root, page, tmp_path, name, kind):
    """A pipe would be waited for, and a link leads out of the folder."""
    (tmp_path / "secret").write_text('{"text": "SECRET", "step": 1, "title": "SECRET"}\n')
    path = root / name if name == "study.json" else root / "a" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    {"pipe": os.mkfifo, "link": lambda p: p.symlink_to(tmp_path / "secret"), "folder": os.mkdir}[kind](path)
    said = page.ask(curves=["train/loss"])
    assert "SECRET" not in json.dumps(said)
    assert page.rows["b"]["state"] == "finished"
    if "/" not in name and name != "study.json":
        assert page.rows["a"]["state"] == "damaged"
        assert name in page.rows["a"]["notes"][0]


def test_another_board_tells_all_anew(root, page):
    page.ask()
    page.board = Board([root])
    assert len(page.ask()["rows"]) == 2


def test_many_pages_ask_at_once(root):
    board, wrong = Board([root]), []

    def look():
        page = BoardPage(board)
        for _ in range(20):
            page.ask(curves=["train/loss", "validation/loss"])
        if sorted(page.rows) != ["a", "b"]:
            wrong.append(page.rows)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_study_says_how_far_it_is(tmp_path):
    folder, found = tmp_path / "study", FoundFolder("study", tmp_path / "study", "study")
    cells = [
        StudyCell(variant="one", seed=1, state="finished", seconds=100.0),
        StudyCell(variant="two", seed=1, state="leaks", seconds=140.0),
        StudyCell(variant="one", seed=2, state="failed"),
        StudyCell(variant="two", seed=2, state="interrupted"),
    ]
    study = StudyFile(
        title="norms", seeds=[1, 2, 3], variants={"one": VariantFacts(), "two": VariantFacts()}, cells=cells
    )
    write_record(folder / "study.json", study)
    whole = progress_of(found, {})
    assert (whole.state, whole.total, whole.done, whole.failed) == ("interrupted", 6, 2, 1)
    run = make(folder / "runs" / "two", "seed-2", end=None, steps=200)
    with files.locked(folder / ".lock", "at the study"), files.locked(run / ".lock", "training"):
        running = summarise(run, "study/runs/two/seed-2")
        now = progress_of(found, {running.name: running})
    assert (now.state, now.running) == ("running", 1)
    left = 0.118 * 800  # of the one that runs; two wait, which take as long as those that are known
    assert now.left == pytest.approx(left + 2 * (100 + 140 + 0.118 * 1000) / 3)
    write_record(folder / "study.json", study.but(seeds=[1], cells=cells[:2]))
    assert progress_of(found, {}).state == "finished"
    (folder / "study.json").write_text("{")
    assert progress_of(found, {}).state == "damaged"


def test_time_left_counts_runs_that_go_on_side_by_side(root):
    with files.locked(root / "a" / ".lock", "training"):
        run = summarise(root / "a", "a")
    assert run.left == pytest.approx(0.118 * 800)
    # two run with 94.4 s left each of 118 s, four wait of which each takes as long: (2 x 94.4 + 4 x 118) / 2
    assert time_left([118.0], [run, run], 4) == pytest.approx((2 * 94.4 + 4 * 118) / 2)
