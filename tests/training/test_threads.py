"""The number of threads: which is chosen, that measuring leaves no trace, that a run keeps it, and when it changes."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from doubles import Figure, TinyModel, Windows, events, new_run, plan

from heed import experiment
from heed.config import make_config
from heed.records.events import ThreadsEvent, TrainEvent
from heed.report.record import RunRecord
from heed.training import threads
from heed.training.devices import threads_kept
from heed.training.fit import fit
from heed.training.progress import Silent
from heed.training.run import Run
from heed.training.step import Updater
from heed.training.streams import Streams
from heed.training.threads import ThreadChoice, choose, measure_threads, numbers_of_threads, threads_of_record
from heed.verification.repeated import choose as choose_steps
from heed.verification.runs import elsewhere

BASE = {
    "tokenizer": {"kind": "char"},
    "model": {"n_layers": 1, "n_heads": 2, "d_model": 16, "context": 16, "dropout": 0.1},
    "train": {
        "steps": 8, "batch_size": 4, "eval_every": 4, "checkpoint_every": 3, "precision": "fp32", "keep_last": 9
    },
}  # fmt: skip
KINDS = {
    "gpt": {},
    "accumulated": {"train": {"accumulation": 2, "optimizer": "muon"}},
    "padded": {"data": {"separator": "\n", "layout": "padded"}, "train": {"loss": "sequence"}},
    "carried": {
        "data": {"layout": "stream"},
        "model": {"kind": "gru", "n_heads": None, "recurrent": {"carry": True, "weight_drop": 0.2}},
    },
    "redrawn": {"model": {"attention": {"mechanism": "performer", "options": {"redraw": 2}}}},
    "encoder": {"model": {"kind": "encoder"}},
}


@pytest.fixture
def two(monkeypatch):
    """Two threads that nobody has asked for, of a training that is always long enough to be measured."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in {"SHORT": 0.0, "SECONDS": 0.02, "BLOCK": 0.0, "LEAST": 0.0, "PASS": 1e9}.items():
        monkeypatch.setattr(threads, name, value)
    with threads_kept():
        torch.set_num_threads(2)
        yield


def config_of(folder, name, kind="gpt", **run):
    (folder / "text.txt").write_text("the cat sees a dog.\na dog hears the cat.\n" * 40, encoding="utf-8")
    values = {section: dict(of) for section, of in BASE.items()}
    for section, changes in KINDS[kind].items():
        values[section] = {**values.get(section, {}), **changes}
    values["model"] = {key: value for key, value in values["model"].items() if value is not None}
    values["data"] = {"source": str(folder / "text.txt"), "workers": 1, **values.get("data", {})}
    return make_config({**values, "run": {"folder": str(folder), "name": name, "device": "cpu", **run}})


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """`told(kind)` gives a run that was told to take two threads, for all tests to read; it needs `two`."""
    folder = tmp_path_factory.mktemp("told")

    def make(kind):
        if not (folder / kind).exists():
            experiment.train(config_of(folder, kind, kind, threads=2))
        return folder / kind

    return make


def last(folder):
    """The last checkpoint, byte by byte."""
    path = sorted((folder / "checkpoints").glob("step-*"))[-1]
    return [(path / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")]


def watch_threads(monkeypatch):
    """Return a list that grows by the threads of each update."""
    seen, update = [], Updater.update

    def watched(self, *args):
        seen.append(torch.get_num_threads())
        return update(self, *args)

    monkeypatch.setattr(Updater, "update", watched)
    return seen


def chosen(folder):
    return [(event.step, event.threads) for event in Run.open(folder).read_metrics() if isinstance(event, ThreadsEvent)]


# ---------------------------------------------------------------------- which number


@pytest.mark.parametrize(
    ("speeds", "now", "expected"),
    [
        ({1: 10.0}, None, 1), ({2: 10.9, 1: 10.0}, None, 1), ({2: 11.1, 1: 10.0}, None, 2), ({2: 5.0, 1: 9.0}, None, 1),
        ({8: 30.0, 4: 29.0, 2: 20.0, 1: 11.0}, None, 4), ({2: 11.9, 1: 10.0}, 1, 1), ({2: 12.1, 1: 10.0}, 1, 2),
        ({2: 10.0, 1: 11.9}, 2, 2), ({2: 10.0, 1: 12.1}, 2, 1), ({4: 10.0, 2: 9.2}, 1, 2),
    ],
)  # fmt: skip
def test_the_fewest_that_are_about_as_fast_as_any_and_no_change_for_little(speeds, now, expected):
    assert choose(speeds, now) == expected


@pytest.mark.parametrize(("most", "expected"), [(1, [1]), (2, [2, 1]), (3, [3, 2, 1]), (8, [8, 4, 2, 1])])
def test_all_and_the_powers_of_two_below_are_tried(most, expected):
    assert numbers_of_threads(most) == expected


@pytest.fixture
def passes(monkeypatch):
    """Return a function that gives passes of so many seconds by threads, on a clock of their own, and notes these."""
    now, seen = [0.0], []
    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def make(seconds):
        def one_pass():
            seen.append(torch.get_num_threads())
            now[0] += seconds(torch.get_num_threads())

        return one_pass, seen

    return make


def test_numbers_are_measured_in_turns_and_torch_has_its_threads_back(passes):
    one_pass, seen = passes(lambda number: {4: 0.05, 2: 0.04, 1: 0.2}[number])
    before = torch.get_num_threads()
    found = measure_threads(one_pass, 4, 2.25)
    assert torch.get_num_threads() == before
    assert found == pytest.approx({4: 20, 2: 25, 1: 5})
    assert seen[:6] == [4, 4, 2, 2, 1, 1]
    assert seen[6:] == [4, 2, 1] * 4 + [4, 2] * 6  # one thread takes more than twice as long, which is known by then


def test_where_fewer_are_slower_still_they_are_not_tried(passes):
    one_pass, _ = passes(lambda number: 10 / number**1.5)
    assert measure_threads(one_pass, 8, 0.5).keys() == {8, 4}


def test_a_pass_that_had_to_wait_decides_nothing(passes):
    waits = iter([0.0, 0.0, 0.0, 1.0])
    one_pass, _ = passes(lambda number: 0.05 / number + next(waits, 0.0))
    assert choose(measure_threads(one_pass, 2, 60.0)) == 2
    waits = iter([0.0, 0.9])
    one_pass, _ = passes(lambda number: 0.05 + next(waits, 0.0))
    assert choose(measure_threads(one_pass, 2, 60.0)) == 1


def test_short_passes_are_timed_together_and_long_ones_need_no_warming_up(passes):
    one_pass, seen = passes(lambda number: 1 / 64)
    assert measure_threads(one_pass, 2, 0.0) == {2: 64, 1: 64}
    assert seen == [2] * 4 + [1] * 4  # one, and as many as take BLOCK
    seen.clear()
    one_pass, _ = passes(lambda number: 9.0)
    measure_threads(one_pass, 2, 1.0)
    assert seen == [2, 1]


# ---------------------------------------------------------------------- no trace, and kept


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_chose_two_has_the_bits_of_one_that_was_told_two(tmp_path, two, told, monkeypatch, kind):
    monkeypatch.setattr(threads, "choose", lambda speeds, now=None: 2)
    experiment.train(config_of(tmp_path, "chosen", kind))
    assert chosen(tmp_path / "chosen") == [(0, 2)]
    assert chosen(told(kind)) == []
    assert last(tmp_path / "chosen") == last(told(kind))
    lines = [(folder / "samples.jsonl").read_bytes() for folder in (tmp_path / "chosen", told(kind))]
    assert lines[0] == lines[1]
    assert torch.get_num_threads() == 2


def test_a_run_keeps_its_number_when_it_goes_on_whatever_is_faster_then(tmp_path, two, monkeypatch):
    seen, lines = watch_threads(monkeypatch), []
    monkeypatch.setattr(threads, "choose", lambda speeds, now=None: 1)
    experiment.train(config_of(tmp_path, "run"))
    assert {*seen} == {1}
    monkeypatch.setattr(threads, "choose", lambda speeds, now=None: 2)
    said = Silent()
    said.say = lines.append
    experiment.resume(tmp_path / "run", {"train": {"steps": 10}}, progress=lambda steps: said)
    assert "threads: 1 of 2, as the run had before" in lines
    assert {*seen} == {1}
    assert len(seen) == 10
    assert chosen(tmp_path / "run") == [(0, 1)]
    assert threads_of_record(Run.open(tmp_path / "run")) == 1
    experiment.resume(tmp_path / "run", {"train": {"steps": 11}, "run": {"threads": 2}})
    assert seen[10:] == [2]


def test_a_run_that_was_killed_before_its_first_checkpoint_keeps_it_too(tmp_path, two, monkeypatch):
    monkeypatch.setattr(threads, "choose", lambda speeds, now=None: 1)
    run = new_run(tmp_path / "run")
    run.log(ThreadsEvent(step=0, threads=2, tokens_per_second={"2": 3.0}))
    seen = watch_threads(monkeypatch)
    fit(TinyModel(), Windows(), plan(), run, resume=True)
    assert {*seen} == {2}


@pytest.mark.parametrize(("asked", "run"), [("2", {}), (None, {"threads": 1}), (None, {"threads": None})])
def test_what_was_asked_for_is_taken_and_nothing_is_measured(tmp_path, two, monkeypatch, asked, run):
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(threads, "measure_threads", None)
    seen = watch_threads(monkeypatch)
    experiment.train(config_of(tmp_path, "run", **run))
    assert {*seen} == {run.get("threads") or 2}
    assert chosen(tmp_path / "run") == []


def test_a_training_of_a_moment_is_not_measured(tmp_path, two, monkeypatch):
    monkeypatch.setattr(threads, "SHORT", 1e6)
    monkeypatch.setattr(threads, "measure_threads", None)
    fit(TinyModel(), Windows(), plan(), run := new_run(tmp_path / "run"))
    assert events(run, "threads") == []


def test_where_a_pass_cannot_be_made_the_step_says_why(tmp_path, two):
    model = TinyModel()
    model.loss = lambda *arguments: (_ for _ in ()).throw(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        fit(model, Windows(), plan(), run := new_run(tmp_path / "run"))
    assert events(run, "threads") == []


def test_the_choice_is_said_and_written_down(tmp_path, two, monkeypatch):
    monkeypatch.setattr(threads, "measure_threads", lambda one_pass, most, seconds: {2: 10.0, 1: 20.0})
    said = []
    progress = Silent()
    progress.say = said.append
    experiment.train(config_of(tmp_path, "run"), progress=lambda steps: progress)
    assert "threads: 1 of 2; it would be 0.50 times as fast with 2" in said
    (event,) = (one for one in Run.open(tmp_path / "run").read_metrics() if isinstance(one, ThreadsEvent))
    assert event.tokens_per_second == {"1": 1280.0, "2": 640.0}  # 4 x 16 targets a pass


# ---------------------------------------------------------------------- another look


def choice_of(tmp_path, **run):
    return ThreadChoice(new_run(tmp_path / "run"), TinyModel(), Windows(), Streams(1), "fp32", lambda line: None)


def test_it_looks_again_when_the_training_became_slower_but_not_all_the_time(tmp_path, two):
    it = choice_of(tmp_path)
    assert [it.is_due(1000 * at, 10.0 * at) for at in range(1, 10)] == [False] * 9  # 100 a second
    assert not it.is_due(9700, 100.0)  # 70 a second
    assert it.is_due(10300, 110.0)  # 60
    it.since = 100.0
    assert not it.is_due(10800, 120.0)  # 50, too soon
    it.since, it.cost = 0.0, 2.0
    assert not it.is_due(11300, 130.0)  # a look takes two seconds: one in 200
    assert it.is_due(14000, 220.0)


def test_fewer_than_all_are_looked_at_soon_and_then_less_often(tmp_path, two):
    it, looks = choice_of(tmp_path), []
    assert not it.is_due(400_000, 400.0)
    it.now, it.since = 1, 400.0
    for at in range(405, 2400, 5):
        if it.is_due(1000 * at, float(at)):
            looks.append(at)
            it.since = float(at)
    assert looks == [430, 490, 610, 850, 1150, 1450, 1750, 2050, 2350]
    it.cost = 40.0
    assert not it.is_due(2_700_000, 2700.0)  # such a look: one in 400
    assert it.is_due(2_750_000, 2750.0)


def test_a_change_comes_with_a_checkpoint_and_is_kept(tmp_path, two, monkeypatch):
    """Killed after it and resumed, the run is the one that was not killed; a change that was cut off is void."""
    monkeypatch.setattr(threads, "PATIENCE", 0.0)
    monkeypatch.setattr(threads, "COST", 0)
    seen = watch_threads(monkeypatch)

    def train(name, resume=False):
        run = Run.open(tmp_path / name) if resume else new_run(tmp_path / name)
        settings = plan(steps=12, eval_every=5, checkpoint_every=50, optimizer="muon")
        torch.set_num_threads(2)
        figures = iter([1.0, 2.0, 3.0, 4.0])
        model = TinyModel(torch.Generator().manual_seed(3), dropout=0.2)
        fit(model, Windows(masked=True), settings, run, validation=lambda: Figure(next(figures)), resume=resume)
        return run

    monkeypatch.setattr(threads, "choose", lambda speeds, now=None: 2 if now is None else 1)
    due = iter([False, True])  # of the evaluations of step 5 and 10
    monkeypatch.setattr(ThreadChoice, "is_due", lambda self, tokens, seconds: next(due))
    whole = train("whole")
    assert seen == [2] * 10 + [1] * 2
    assert chosen(whole.folder) == [(0, 2), (10, 1)]
    assert [event["step"] for event in events(whole, "checkpoint")] == [5, 10, 12]  # 10 is not better than 5
    assert [threads_of_record(whole, step) for step in (0, 9, 10, None)] == [2, 2, 1, 1]
    seen.clear()
    before = last(whole.folder)
    shutil.rmtree(whole.checkpoints / "step-00000012")
    train("whole", resume=True)
    assert seen == [1] * 2
    assert before == last(whole.folder)
    seen.clear()
    for step in (10, 12):
        shutil.rmtree(whole.checkpoints / f"step-{step:08d}")
    monkeypatch.setattr(ThreadChoice, "is_due", lambda self, tokens, seconds: False)
    train("whole", resume=True)
    assert seen == [2] * 7  # the event of step 10 is void
    assert chosen(whole.folder) == [(0, 2)]


@pytest.mark.parametrize("kind", ["gpt", "carried", "redrawn"])
def test_the_same_bits_with_a_look_that_changes_nothing(tmp_path, two, told, monkeypatch, kind):
    monkeypatch.setattr(threads, "choose", lambda speeds, now=None: 2)
    monkeypatch.setattr(ThreadChoice, "is_due", lambda self, tokens, seconds: True)
    looked, look = [], ThreadChoice.look

    def watched(self, step, *rest):
        looked.append(step)
        return look(self, step, *rest)

    monkeypatch.setattr(ThreadChoice, "look", watched)
    experiment.train(config_of(tmp_path, "looks", kind))
    wanted = last(told(kind))
    assert looked == [0, 3, 4, 6]
    assert last(tmp_path / "looks") == wanted


# ---------------------------------------------------------------------- verified


def test_verification_takes_the_threads_that_the_run_had(tmp_path, two, monkeypatch):
    monkeypatch.setattr(threads, "choose", lambda speeds, now=None: 1)
    experiment.train(config_of(tmp_path, "run"))
    run = Run.open(tmp_path / "run")
    assert run.environment.machine.threads == 2  # that it could have
    with threads_kept():
        assert elsewhere(run) == []
        assert torch.get_num_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # tried on other threads
    with threads_kept():
        assert elsewhere(run) == ["threads 1 then, 2 now"]


def test_no_steps_are_repeated_over_a_change_of_threads():
    record = RunRecord(
        "x", {}, None, train=tuple(TrainEvent(step=step) for step in range(10, 101, 10)),
        threads=(ThreadsEvent(step=0, threads=2), ThreadsEvent(step=45, threads=1)),
    )  # fmt: skip
    assert choose_steps(record, [40], 3) == (0, 10)
    assert choose_steps(record, [45], 3) == (45, 50)


# ---------------------------------------------------------------------- waiting


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "3000"), ({"OMP_WAIT_POLICY": "active"}, "None"), ({"GOMP_SPINCOUNT": "100"}, "100"),
     ({"KMP_BLOCKTIME": "0"}, "None")],
)  # fmt: skip
def test_threads_soon_sleep_unless_the_user_says_otherwise(given, expected):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    rest = {name: value for name, value in os.environ.items() if name not in names}
    code = "import heed, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    found = subprocess.run([sys.executable, "-c", code], env=rest | given, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == expected
