"""Runs of a tune side by side: the same figures in the same order, and one that dies takes no other with it."""

import json
import os
import signal
import threading
import time

import pytest
from small import make_plan, read_tune, timeless, write_table
from tiny_encoders import SHALLOW

from heed.errors import CheckpointError
from heed.records.study import Outcome
from heed.studies import tune as module
from heed.studies.runner import Done
from heed.studies.tune import tune
from heed.studies.tuned_arms import ArmError, ArmSteps
from heed.studies.tuned_cells import TunedTask, make_alone, task_of

BERT = SHALLOW


def quiet(line):
    """Say nothing."""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("texts") / "films.csv", 40)


def whole_plan(table, tiny, **more):
    grid = {"rates": (1e-3, 5e-3), "search": "grid", "seeds": (1, 2), "sizes": (10,), "soup": True, "memory": True}
    return make_plan(table, tiny(BERT), "head", "mean-full", **grid | more)


def bytes_of(folder):
    """Return what a tune has computed: weights and predictions."""
    names = ("**/model.safetensors", "**/predictions-*.jsonl", "**/config.yaml")
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), b"")
        for name in names
        for path in folder.glob(name)
    }


def same(folder, other):
    found, wanted = timeless(read_tune(folder)), timeless(read_tune(other))
    for arm, as_wanted in zip(found.pop("arms"), wanted.pop("arms"), strict=True):
        for key in as_wanted.keys() - {"memory"}:  # it is measured, and differs by a few hundred bytes
            assert arm[key] == as_wanted[key], (arm["name"], key)
    assert found == wanted
    assert bytes_of(folder) == bytes_of(other)


@pytest.fixture(scope="module")
def one_by_one(table, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one-by-one")
    assert tune(whole_plan(table, tiny), folder, quiet)
    return folder


class Late:
    """A run that was made at once, in this process, and ends after those that were begun later."""

    waiting: list["Late"] = []  # noqa: RUF012 - shared, so that each knows of the others

    def __init__(self, found):
        self.found = found
        self.waiting.append(self)

    def poll(self):
        if self is not self.waiting[-1]:
            return None
        self.waiting.pop()
        return self.found

    def interrupt(self):
        """Nothing is left to end."""

    kill = leave = interrupt
    begun = True


def at_once(task, threads):
    """Make a run as a process of its own does, told in JSON, and end it late."""
    return Late(make_alone(task_of(json.loads(json.dumps(task.order())))))


def test_runs_that_end_in_another_order_are_put_down_in_the_same(tmp_path, table, tiny, one_by_one, monkeypatch):
    monkeypatch.setattr(module, "Process", at_once)
    assert tune(whole_plan(table, tiny), tmp_path, quiet, jobs=3)
    same(tmp_path, one_by_one)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # sixteen processes that import torch
def test_processes_give_the_same_to_the_bit(tmp_path, table, tiny, one_by_one):
    assert tune(whole_plan(table, tiny), tmp_path, quiet, jobs=2)
    same(tmp_path, one_by_one)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ctrl_c_ends_the_runs_with_a_checkpoint(tmp_path, table, tiny):
    plan = lambda: make_plan(table, tiny(BERT), "mean-full", seeds=(1, 2), epochs=(100,))
    undisturbed = tmp_path / "a"
    assert tune(plan(), undisturbed, quiet)

    def strike():
        while len(list((tmp_path / "b" / "runs").glob("*/checkpoints/step-*"))) < 1:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=strike)
    thread.start()
    assert not tune(plan(), tmp_path / "b", quiet, jobs=2)
    thread.join()
    assert read_tune(tmp_path / "b")["arms"][0]["status"] == "running"
    assert tune(plan(), tmp_path / "b", quiet, jobs=2)
    same(tmp_path / "b", undisturbed)


def test_a_process_that_the_system_ends_is_an_arm_that_does_not_fit(tmp_path, table, tiny, monkeypatch):
    def process(task, threads):
        if "mean-full" in task.name and task.kind == "tune":
            return Done(Outcome.of("does not fit", "the system ended the process"))
        return Done(make_alone(task))

    monkeypatch.setattr(module, "Process", process)
    assert tune(make_plan(table, tiny(BERT), "mean-full", "head", seeds=(1, 2)), tmp_path, quiet, jobs=2)
    arms = {arm["name"]: arm for arm in read_tune(tmp_path)["arms"]}
    assert (arms["mean-full"]["status"], arms["mean-full"]["reason"]) == (
        "does not fit",
        "the system ended the process",
    )
    assert [run["seed"] for run in arms["head"]["runs"]] == [1, 2]


def test_a_full_disk_in_a_process_is_no_fault_of_its_arm(tmp_path, table, tiny, monkeypatch):
    full = Outcome.of("failed", "x/model.safetensors cannot be written: No space left on device; make room")
    monkeypatch.setattr(module, "Process", lambda task, threads: Done(full))
    with pytest.raises(CheckpointError, match="No space left"):
        tune(make_plan(table, tiny(BERT), "head"), tmp_path, quiet, jobs=2)
    assert read_tune(tmp_path)["arms"][0]["status"] == "running"


def task(name):
    return TunedTask(name, {}, None, 1)


def line_of(put, names=("a", "b", "c"), then=()):
    def steps():
        yield [(task(name), "", lambda outcome, name=name: put(name, outcome)) for name in names]
        yield [(task(name), "", lambda outcome, name=name: put(name, outcome)) for name in then]

    return ArmSteps(steps())


def test_the_next_step_waits_for_all_of_this_one():
    put = []
    line = line_of(lambda name, outcome: put.append(name), then=("d",))
    begun = [line.next()[0] for _ in range(3)]
    assert line.next() is None
    for one in reversed(begun):
        assert put == []  # until the first of them is done
        line.done(one, Outcome.of("finished"))
    assert put == ["a", "b", "c"]
    assert line.next()[0].name == "d"
    assert not line.over


def test_after_a_bad_one_nothing_more_is_begun_or_put_down():
    put = []

    def take(name, outcome):
        if outcome.state != "finished":
            raise ArmError(outcome.state, name)
        put.append(name)

    caught = []

    def steps():
        try:
            yield [(task(name), "", lambda outcome, name=name: take(name, outcome)) for name in "abcd"]
        except ArmError as error:
            caught.append((error.state, str(error)))

    line = ArmSteps(steps())
    begun = [line.next()[0] for _ in range(3)]
    line.done(begun[0], Outcome.of("finished"))
    line.done(begun[1], Outcome.of("failed"))
    assert line.next() is None  # the third still runs
    line.done(begun[2], Outcome.of("finished"))
    assert line.next() is None
    assert line.over
    assert (put, caught) == (["a"], [("failed", "b")])


def test_a_run_told_in_json_is_the_same_run(table, tiny):
    """What a process is told leaves nothing out."""
    plan = make_plan(table, tiny(BERT), "lora", sections={"method": {"targets": ("query",)}})
    one = TunedTask("x", plan.config.model_dump(mode="json"), table.with_name("x.json"), 3, measured=("test",), size=7)
    assert task_of(json.loads(json.dumps(one.order()))) == one
    assert one.config == plan.config
