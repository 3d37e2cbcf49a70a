"""How many runs at a time, on how many threads each, and when another one has room."""

import json

import pytest
from small_studies import TINY, made_up, make_text, plan_of

from heed.errors import ConfigError
from heed.records.study import Outcome
from heed.studies import compare, side_by_side
from heed.studies.runner import Standing, Task, work
from heed.studies.side_by_side import Shares, share
from heed.training import devices


@pytest.mark.parametrize(
    ("asked", "runs", "fixed", "omp", "expected"),
    [
        ("auto", 20, None, None, (8, 1)), ("auto", 3, None, None, (3, 2)), ("auto", 1, None, None, (1, 8)),
        ("auto", 20, 2, None, (4, 2)), ("auto", 20, 16, None, (1, 16)), ("auto", 20, None, "4", (2, 4)),
        ("auto", 20, 1, "4", (8, 1)), (2, 20, None, None, (2, 4)), (2, 20, 3, None, (2, 3)), (2, 20, None, "1", (2, 1)),
    ],
)  # fmt: skip
def test_as_many_runs_as_there_are_cores_for_their_threads(monkeypatch, asked, runs, fixed, omp, expected):
    monkeypatch.setattr(devices, "cores", lambda: 8)
    monkeypatch.setattr(side_by_side, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if omp is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    found = share(asked, runs, fixed, "cpu")
    assert (found.jobs, found.threads, found.measured) == (*expected, asked == "auto")


def test_a_clock_and_a_search_have_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side, "cores", lambda: 8)
    searching = {"parameters": {"train.learning_rate": {"low": 1e-3, "high": 1e-2}}, "trials": 2}
    changes = ({}, {"budget": {"seconds": 5}}, {"search": searching})
    assert [compare.shares_of(plan_of(tmp_path, **more), "auto").jobs for more in changes] == [4, 1, 1]


def test_another_run_begins_where_memory_holds_as_much_as_the_largest_has_taken(monkeypatch):
    monkeypatch.setattr(side_by_side, "available_memory", lambda device: 100)
    shares = Shares(4, 1, measured=True)
    assert shares.have_room([])
    assert not shares.have_room([Standing()])  # nothing is known of it
    assert shares.have_room([Standing(memory=80)])
    assert not shares.have_room([Standing(memory=81)])
    shares = Shares(4, 1, measured=True, largest=40)
    assert shares.have_room([Standing()])  # which will take 40 as well
    assert not shares.have_room([Standing(), Standing()])
    assert Shares(4, 1, measured=False, largest=10**9).have_room([Standing()])


class Slow:
    """A run that has ended at the third look."""

    begun = True

    def __init__(self, task):
        self.looks = 0

    def poll(self):
        self.looks += 1
        return Outcome.of("finished") if self.looks > 2 else None

    def leave(self):
        """Nothing is left to end."""


def test_no_run_begins_without_room_and_all_are_made(tmp_path):
    values = {"run": {"folder": str(tmp_path), "name": "x"}}
    tasks = [Task(str(number), values, tmp_path / f"{number}.json", 1) for number in range(5)]
    made, at_once = [], []

    def watch(running):
        at_once.append(len(running))

    def room(running):
        return len(running) < 2

    work(iter(tasks), 4, Slow, done=lambda task, found: made.append(task.name), watch=watch, room=room)
    assert sorted(made) == ["0", "1", "2", "3", "4"]
    assert max(at_once) == 2


def test_a_study_from_before_threads_were_measured_goes_on(tmp_path):
    plan = plan_of(tmp_path, base={**TINY, "data": {"source": str(make_text(tmp_path / "a.txt"))}, "run": {}})
    compare.run_study(plan, tmp_path / "out", run_cell=lambda task: made_up(task, 1.0))
    path = tmp_path / "out" / "study.json"
    content = json.loads(path.read_text())
    assert content["base"]["run"]["threads"] == "auto"
    for threads in (None, 3):
        content["base"]["run"]["threads"] = threads
        path.write_text(json.dumps(content))
        (tmp_path / "out" / "hashes.json").unlink(missing_ok=True)
        if threads is None:
            compare.refuse_another(plan, tmp_path / "out")
        else:
            with pytest.raises(ConfigError, match="threads is 3 there and auto here"):
                compare.refuse_another(plan, tmp_path / "out")
