"""Several processes of a test that train one model, and what they come to."""

import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import psutil
import pytest
import torch
import torch.distributed as dist
from doubles import TinyModel, Windows, events, new_run, plan

from heed import experiment
from heed.config import make_config
from heed.training.fit import fit, follow
from heed.training.ranks import Ranks
from heed.training.run import Run
from heed.training.streams import Streams

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from golden_cases import CASES, MODEL, TRAIN, write_texts

NOISE = 1e-5
"""float32 sums in another order: so far two curves may be apart, relative to a loss or norm."""


def together(folder, size, work):
    """Return what `work(ranks)` gives on each of `size` ranks, forked processes that meet over a file in `folder`."""
    folder.mkdir(exist_ok=True)
    meeting = folder / f"meeting-{size}-{len(list(folder.iterdir()))}"
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                torch.set_num_threads(1)
                if size > 1:
                    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
                answer = work(Ranks(rank, size))
                (folder / f"{rank}.json").write_text(json.dumps(answer))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * size
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(size)]


def one_by_one(works):
    """Return the work of a rank that does several with names, and says in which one it fails: one set of processes."""

    def work(ranks):
        found = {}
        for name, one in works.items():
            try:
                found[name] = one(ranks)
            except BaseException as error:
                error.add_note(f"in the case {name}")
                raise
        return found

    return work


def tiny(folder, **settings):
    """Return the work of a rank: train a tiny model in float64, and give its weights."""
    batch_size = settings.pop("batch_size", 5)
    usual = {"accumulation": 2, "clip": 0.5, "optimizer": "sgd", "learning_rate": 0.5}
    how = plan(**usual | settings)

    def work(ranks):
        model, batches = TinyModel().double(), Windows(batch_size=batch_size, masked=True)
        if ranks.rank == 0:
            fit(model, batches, how, new_run(folder / f"run-{ranks.size}"), ranks=ranks, streams=Streams(1))
        else:
            follow(model, batches, how, ranks, streams=Streams(1))
        return [p.flatten().tolist() for p in model.parameters()]  # in parts, those of the first rank alone

    return work


def weights_of(folder, cases, sizes, **settings):
    """Return the weights that a tiny model comes to on each rank, by the number of ranks and `str(case)`.

    Alone it is whole; `settings` are those of several ranks.
    """
    found = {}
    for size in (1, *sizes):
        more = settings if size > 1 else {}
        works = {str(case): tiny(folder / str(number), **more | case) for number, case in enumerate(cases)}
        ranks = together(folder / f"{size} ranks", size, one_by_one(works))
        found[size] = {name: [weights[name] for weights in ranks] for name in works}
    return found


def settings_of(name, folder, **train):
    case = CASES[name]
    model = MODEL | ({} if case.get("model", {}).get("kind") in ("lstm", "gru") else {"n_heads": 2})
    return {
        **case,
        "data": case["data"] | {"workers": 1, "cache": str(folder / "tokens")},
        "model": model | case.get("model", {}),
        "train": TRAIN | case.get("train", {}) | {"batch_size": 5} | train,
        "run": {"folder": str(folder / "runs"), "device": "cpu", "threads": 1},
    }


def trained(settings, name):
    """Return the work of a rank: a whole run, as `heed train` makes it."""

    def work(ranks):
        if ranks.rank:
            experiment.follow_along(ranks)
        else:
            run = settings["run"] | {"name": name}
            experiment.train(make_config(settings | {"run": run}), ranks=ranks)

    return work


def curve(folder):
    """Return every loss and gradient norm of a run by its step, and the final figures."""
    run = Run.open(folder)
    steps = {event["step"]: [event["loss"], event["gradient_norm"]] for event in events(run, "train")}
    held_out = {event["step"]: event["loss"] for event in events(run, "evaluation")}
    final = {split: figures["loss"] for split, figures in json.loads((folder / "evaluation.json").read_text()).items()}
    return {"steps": steps, "held out": held_out, "final": final}


def assert_same_curve(ours, theirs, tolerance=NOISE):
    assert ours.keys() == theirs.keys()
    for name, figures in theirs.items():
        assert figures or name != "steps"
        assert ours[name] == {step: pytest.approx(figure, rel=tolerance) for step, figure in figures.items()}, name


def begin(folder, *more, steps=5000):
    """Begin a training on two ranks, and return its process and that of the second rank once it has saved."""
    write_texts(folder)
    command = [sys.executable, "-m", "heed", "train", "lines.txt", "--run.name", "run", "--processes", "2", *more]
    settings = {
        "tokenizer.kind": "char", "model.n-layers": 1, "model.n-heads": 2, "model.d-model": 16, "model.context": 48,
        "train.steps": steps, "train.batch-size": 5, "train.checkpoint-every": 20, "train.schedule": "constant",
        "train.warmup-steps": 2,
    }  # fmt: skip
    command += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    first = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    wait_for(lambda: list((folder / "runs/run/checkpoints").glob("step-*")) or first.poll() is not None)
    [other] = psutil.Process(first.pid).children()
    return first, other


def wait_for(what, seconds=120):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.1)
