"""A study runs its cells, keeps what they came to, and is the same study after it was killed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_studies import TINY, made_up, plan_of, variant_of, write_study

from heed.build import build_model
from heed.config import ModelConfig
from heed.errors import CheckpointError, ConfigError, HeedError
from heed.models.first_weights import ByName
from heed.records.study import Outcome
from heed.report.statistics import compare_pairs
from heed.studies import runner
from heed.studies.compare import refuse_another, run_study
from heed.studies.runner import Done, Follower, Task, work
from heed.studies.worker import run_cell
from heed.training.devices import out_of_memory
from heed.training.run import Run, load_run


def content_of(folder):
    return json.loads((folder / "study.json").read_text())


def figures_of(folder, figure="bits_per_byte"):
    """Figures of a study by variant and seed."""
    return {
        (cell["variant"], cell["seed"]): cell["figures"]["validation"][figure] for cell in content_of(folder)["cells"]
    }


# ---------------------------------------------------------------------- pairs


def parameters(seed=1, **settings):
    config = ModelConfig(**({"n_layers": 2, "n_heads": 2, "d_model": 8, "context": 6} | settings))
    return dict(build_model(config, 11, ByName(seed)).named_parameters())


@pytest.mark.parametrize(
    "other",
    [
        {"positions": "none"},
        {"norm_order": "post"},
        {"tied": False},
        {"attention": {"projection": "shared-kv"}},
        {"kind": "window"},
        {"kind": "lstm"},
        {"d_hidden": 12},
    ],
    ids=str,
)
def test_what_two_models_share_begins_with_the_same_values(other):
    a, b = parameters(), parameters(**other)
    shared = [name for name in a if name in b and a[name].shape == b[name].shape]
    assert "tokens.weight" in shared
    assert all(torch.equal(a[name], b[name]) for name in shared)
    assert not torch.equal(a["tokens.weight"], parameters(seed=2)["tokens.weight"])


def test_a_deeper_model_shares_the_numbers_and_scales_them_as_it_does():
    a, b = parameters(n_layers=1), parameters(n_layers=2)
    name = "blocks.0.attention.out.weight"  # divided by sqrt(2 n_layers)
    torch.testing.assert_close(a[name], b[name] * 2**0.5)
    assert not torch.equal(b[name], b["blocks.1.attention.out.weight"])


def test_one_stream_for_all_parameters_would_not_pair_them():
    one, other = (
        build_model(ModelConfig(n_layers=1, positions=p), 11, torch.Generator().manual_seed(1)).state_dict()
        for p in ("learned", "none")
    )
    name = "blocks.0.feedforward.up.weight"
    assert not torch.equal(one[name], other[name])


# ---------------------------------------------------------------------- what is found


@pytest.mark.parametrize("true_difference", [0.0, 0.05])
def test_a_planted_difference_is_found_and_none_where_there_is_none(tmp_path, true_difference):
    """Seeds move both variants by 0.3, each run by 0.01 more: unpaired, 0.05 in 0.3 could not be seen."""

    def toy(task: Task):
        seed, variant = task.values["run"]["seed"], variant_of(task)
        common, own = random.Random(seed).gauss(0, 0.3), random.Random(f"{seed} {variant}").gauss(0, 0.01)
        return made_up(task, 2.0 + common + own + (true_difference if variant == "post" else 0.0))

    assert run_study(plan_of(tmp_path, seeds=8), tmp_path / "out", run_cell=toy)
    figures = figures_of(tmp_path / "out")
    pre, post = ({seed: v for (name, seed), v in figures.items() if name == wanted} for wanted in ("pre", "post"))
    difference = compare_pairs("pre", "post", pre, post)
    low, high = difference.t_interval
    assert low < true_difference < high
    assert (low > 0) == (true_difference > 0)
    assert high - low < 0.05  # 8 pairs of noise 0.014: half a width of 2.36 * 0.014 / sqrt(8)


def test_study_json_says_all_that_the_page_needs(tmp_path):
    assert run_study(plan_of(tmp_path), tmp_path / "out", run_cell=lambda task: made_up(task, 2.0), command="heed x")
    content = content_of(tmp_path / "out")
    assert content["variants"]["post"] == {
        "changes": {"model.norm_order": "post"},
        "parameters": content["variants"]["pre"]["parameters"] - 2 * 16,  # post-norm has no last norm
        "flops_per_token": content["variants"]["pre"]["flops_per_token"],
        "steps": 6,
    }
    assert (content["budget"], content["baseline"], content["seeds"]) == ({"kind": "steps", "amount": 6}, "pre", [1, 2])
    assert (content["base"]["train"]["steps"], content["base"]["model"]["d_model"]) == (6, 16)
    cell = content["cells"][1]
    assert (cell["variant"], cell["seed"], cell["folder"]) == ("post", 1, "runs/post/seed-1")
    assert (content["search"], content["command"]) == (None, "heed x")
    assert (tmp_path / "out" / "experiment.yaml").read_text() == (tmp_path / "study.yaml").read_text()


def test_real_runs_are_ordinary_run_folders_of_the_same_text(tmp_path):
    plan = plan_of(tmp_path, seeds=[3])
    assert run_study(plan, tmp_path / "out", run_cell=lambda task: run_cell(task.values))
    cells = content_of(tmp_path / "out")["cells"]
    assert [cell["state"] for cell in cells] == ["finished", "finished"]
    assert all(cell["tokens"] == 6 * 4 * 16 and cell["memory"]["steady"] > 0 for cell in cells)
    passports = [cell["figures"]["validation"]["passport"] for cell in cells]
    assert passports[0] == passports[1]
    run = Run.open(tmp_path / "out" / "runs" / "post" / "seed-3")
    assert (run.config.run.seed, run.config.run.initialisation, run.config.model.norm_order) == (3, "by-name", "post")
    assert load_run(run.folder)[0].parameter_count() == content_of(tmp_path / "out")["variants"]["post"]["parameters"]
    assert len(list((tmp_path / "out" / "text").glob("tokenizer-*.json"))) == 1


# ---------------------------------------------------------------------- going on


def test_what_is_settled_is_skipped_and_what_failed_is_tried_again(tmp_path):
    made = []

    def toy(task):
        made.append(task.name)
        first = len(made) <= 4
        if task.name == "pre, seed 2" and first:
            return Outcome.of("failed", "no room")
        return Outcome.of("broke down", "NaN") if task.name == "post, seed 2" else made_up(task, 2.0)

    assert run_study(plan_of(tmp_path), tmp_path / "out", run_cell=toy)
    assert made == ["pre, seed 1", "post, seed 1", "pre, seed 2", "post, seed 2"]
    shutil.rmtree(tmp_path / "out" / "runs" / "pre" / "seed-1")  # a folder that was deleted is made again
    assert run_study(plan_of(tmp_path, seeds=[1, 2, 3]), tmp_path / "out", run_cell=toy)
    assert made[4:] == ["pre, seed 1", "pre, seed 2", "pre, seed 3", "post, seed 3"]
    states = {(cell["variant"], cell["seed"]): cell["state"] for cell in content_of(tmp_path / "out")["cells"]}
    assert states["pre", 2] == "finished"
    assert states["post", 2] == "broke down"


def test_another_study_in_the_folder_is_refused_with_what_differs(tmp_path):
    run_study(plan_of(tmp_path), tmp_path / "out", run_cell=lambda task: made_up(task, 2.0))
    base = plan_of(tmp_path).base
    other = {
        "base": {**base, "train": {**base["train"], "clip": 2.0}},
        "variants": {"pre": {}, "post": {"model.norm_order": "post", "model.bias": False}},
        "seeds": [2],
    }
    with pytest.raises(ConfigError) as caught:
        run_study(plan_of(tmp_path, **other), tmp_path / "out", run_cell=lambda task: made_up(task, 2.0))
    assert "base train.clip is 1.0 there and 2.0 here; variant post differs in model.bias; seed 1 is missing here" in (
        str(caught.value)
    )
    for change in (
        {"budget": {"steps": 7}},
        {"variants": {"pre": {}}},
        {"search": {"parameters": {"train.clip": [1]}}},
    ):
        with pytest.raises(ConfigError, match="holds another study"):
            run_study(plan_of(tmp_path, **change), tmp_path / "out", run_cell=lambda task: made_up(task, 2.0))
    variants = {"pre": {}, "post": {"model.norm_order": "post"}, "rms": {"model.norm": "rms"}}
    more = plan_of(tmp_path, variants=variants, title="new", baseline="post")
    assert run_study(more, tmp_path / "out", run_cell=lambda task: made_up(task, 2.0))
    assert len(content_of(tmp_path / "out")["cells"]) == 6


def test_a_study_json_that_holds_no_study_is_refused(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for content in ("{}", "[]", '{"base": 3}'):
        (out / "study.json").write_text(content)
        with pytest.raises(CheckpointError, match="no study of this version of heed"):
            refuse_another(plan_of(tmp_path), out)


def test_a_run_that_somebody_else_ended_is_not_done(tmp_path):
    assert not run_study(plan_of(tmp_path), tmp_path / "out", run_cell=lambda task: Outcome.of("interrupted"))


def test_a_study_of_an_earlier_heed_goes_on(tmp_path):
    """Its study.json lacks settings that came later; one of them that is not as it is by default is another study."""
    out = tmp_path / "out"
    assert run_study(plan_of(tmp_path), out, run_cell=lambda task: made_up(task, 1.0))
    content = content_of(out)
    for name in ("label_smoothing", "least_gain", "eval_train_tokens"):
        del content["base"]["train"][name]
    (out / "study.json").write_text(json.dumps(content))
    (out / "hashes.json").unlink()
    refuse_another(plan_of(tmp_path), out)
    with pytest.raises(ConfigError, match=r"base train.label_smoothing is 0.0 there and 0.1 here"):
        refuse_another(plan_of(tmp_path, set={"train.label_smoothing": 0.1}), out)


def test_two_processes_are_not_at_one_study(tmp_path):
    def toy(task):
        with pytest.raises(
            CheckpointError, match=rf"process {os.getpid()} is at the study in .*out already: wait for it"
        ):
            run_study(plan_of(tmp_path), tmp_path / "out", run_cell=toy)
        return made_up(task, 1.0)

    assert run_study(plan_of(tmp_path, seeds=1, variants={"pre": {}}), tmp_path / "out", run_cell=toy)


def test_an_interruption_starts_nothing_new(tmp_path):
    def toy(task):
        os.kill(os.getpid(), signal.SIGINT)
        return Outcome.of("interrupted", "stopped after step 3")

    assert not run_study(plan_of(tmp_path), tmp_path / "out", run_cell=toy)
    cells = content_of(tmp_path / "out")["cells"]
    assert [(cell["variant"], cell["seed"], cell["state"]) for cell in cells] == [("pre", 1, "interrupted")]
    assert run_study(plan_of(tmp_path), tmp_path / "out", run_cell=lambda task: made_up(task, 2.0))
    assert len(figures_of(tmp_path / "out")) == 4


def test_runs_take_the_threads_that_the_user_set(tmp_path, monkeypatch):
    """OMP_NUM_THREADS is for all of them; `run.threads` in the study comes before it; both are said and kept."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for name, run, expected in (("asked", {"device": "cpu"}, 3), ("base", {"device": "cpu", "threads": 5}, 5)):
        taken, said = [], []

        def toy(task, taken=taken):
            taken.append(task.values["run"]["threads"])
            return made_up(task, 1.0)

        plan = plan_of(tmp_path, base={**TINY, "data": {"source": str(tmp_path / "animals.txt")}, "run": run})
        assert run_study(plan, tmp_path / name, jobs=2, run_cell=toy, say=said.append)
        assert taken == [expected] * 4
        assert any(f"{expected} threads" in line for line in said)
        assert content_of(tmp_path / name)["machine"]["threads"] == expected


@pytest.mark.slow
@pytest.mark.timeout(900)  # nine processes that import torch
def test_a_study_that_is_killed_and_started_again_gives_the_same_figures(tmp_path):
    rarely = {"train.eval_every": 20, "train.checkpoint_every": 5}
    file = write_study(tmp_path, set=rarely, budget={"steps": 40}, seeds=[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(out: Path) -> subprocess.Popen:
        argv = [sys.executable, "-m", "heed", "compare", str(file), "--out", str(out)]
        return subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait() == 0
    killed = 0
    for variant in ("pre", "post"):  # in the middle of a run of each
        study = start(tmp_path / "cut")
        checkpoints = tmp_path / "cut" / "runs" / variant / "seed-1" / "checkpoints"
        while study.poll() is None and not list(checkpoints.glob("step-0000002*")):
            time.sleep(0.02)
        if study.poll() is None:
            study.kill()
            killed += 1
        study.wait()
    assert killed == 2
    assert start(tmp_path / "cut").wait() == 0
    assert figures_of(tmp_path / "cut", "nats") == figures_of(tmp_path / "whole", "nats")  # bit for bit
    events = Run.open(tmp_path / "cut" / "runs" / "pre" / "seed-1").folder / "metrics.jsonl"
    assert '"resume"' in events.read_text()


# ---------------------------------------------------------------------- what goes wrong


def values_of(tmp_path, **train):
    plan = plan_of(tmp_path, seeds=[1])
    values = plan.values("pre", 6)
    return {**values, "train": {**values["train"], **train}, "run": {"folder": str(tmp_path / "runs"), "name": "a"}}


def test_a_loss_that_is_not_finite_is_a_run_that_broke_down(tmp_path):
    values = values_of(tmp_path, optimizer="sgd", learning_rate=1e30, clip=None, warmup_steps=0)
    found = run_cell(values)
    assert found.state == "broke down"
    assert "NaN" in found.message


def test_running_out_of_memory_is_a_result(tmp_path, monkeypatch):
    def train(*args, **kwargs):
        try:
            raise torch.OutOfMemoryError("CUDA out of memory\nmore")
        except torch.OutOfMemoryError as error:
            raise HeedError("out of memory at step 1") from error

    monkeypatch.setattr("heed.experiment.train", train)
    found = run_cell(values_of(tmp_path))
    assert (found.state, found.message) == ("does not fit", "out of memory at step 1")
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    assert not out_of_memory(ValueError("another"))


def test_any_other_error_is_told_in_a_line_and_kept_whole_in_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr("heed.experiment.train", lambda *args, **kwargs: 1 / 0)
    log = []
    found = run_cell(values_of(tmp_path), log.append)
    assert (found.state, found.message) == ("failed", "ZeroDivisionError: division by zero")
    assert "Traceback" in log[0]


def test_a_process_that_died_is_told(tmp_path, monkeypatch):
    """SIGKILL is how Linux ends what takes too much memory; anything else is a failure."""
    task = Task("a", values_of(tmp_path), tmp_path / "records" / "a.json", 6)
    found = []
    popen = subprocess.Popen
    for code in ("import os; os.kill(os.getpid(), 9)", "import sys; sys.exit(3)"):
        start = lambda argv, code=code, **kwargs: popen([sys.executable, "-c", code], **kwargs)
        monkeypatch.setattr("heed.studies.runner.subprocess.Popen", start)
        work(iter([task]), 1, lambda task: runner.Process(task, 1), done=lambda task, record: found.append(record))
    assert [one.state for one in found] == ["does not fit", "failed"]
    assert "ended with code 3" in found[1].message


def test_n_runs_at_a_time_and_none_stays_behind(tmp_path):
    class Slow(Done):
        def __init__(self):
            super().__init__(Outcome.of("finished"))
            self.looks, self.killed = 0, False

        def poll(self):
            self.looks += 1
            return self.found if self.looks > 2 else None

        def kill(self):
            self.killed = True

    tasks = [Task(f"run {n}", values_of(tmp_path), tmp_path / f"{n}.json", 6) for n in range(5)]
    started, most, ended = [], [], []

    def launch(task):
        started.append(Slow())
        return started[-1]

    done = lambda task, found: ended.append(task.name)
    work(iter(tasks), 2, launch, done=done, watch=lambda running: most.append(len(running)))
    assert len(ended) == 5
    assert max(most) == 2

    def fails(running):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(iter(tasks), 2, launch, done=done, watch=fails)
    assert all(job.killed for job in started[5:])


def test_progress_is_read_from_what_the_run_writes(tmp_path):
    follower = Follower(tmp_path)
    assert follower.look().step == 0
    file = tmp_path / "metrics.jsonl"
    train = {"event": "train", "step": 10, "loss": 2.5, "seconds": 5.0}
    file.write_text(f'{json.dumps(train)}\n{{"event": "evaluation", "step": 10, "loss": 2.0}}\n{{"event": "tr')
    now = follower.look()
    assert (now.step, now.loss, len(now.evaluations)) == (10, 2.5, 1)
    task = Task("a", {"train": {}, "run": {}}, tmp_path / "a.json", 30)
    assert now.left(task) == 10.0
    with file.open("a") as stream:
        stream.write('ain", "step": 20, "loss": 1.5, "seconds": 10.0}\n{"event": "resume", "step": 5}\n')
    assert (follower.look().step, follower.look().evaluations) == (5, [])
    timed = Task("a", {"train": {"seconds": 12.0}, "run": {}}, tmp_path / "a.json", None)
    assert follower.look().left(timed) == 2.0
