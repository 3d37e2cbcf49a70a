"""Several processes train what one trains: the same curve, the same weights on each of them, and an end for all."""

import json
import shutil
import subprocess
import sys
import time

import psutil
import pytest
import torch
import torch.distributed as dist
from doubles import Windows
from several import (
    NOISE,
    assert_same_curve,
    begin,
    curve,
    settings_of,
    together,
    trained,
    wait_for,
    weights_of,
    write_texts,
)

from heed import experiment
from heed.cli import main
from heed.config import make_config
from heed.errors import ClusterError, ConfigError
from heed.training.checkpoint import latest_step
from heed.training.ranks import ALONE, Ranks

# ---------------------------------------------------------------------- in float64, where noise is no excuse


CASES = [{}, {"loss": "sequence"}, {"batch_size": 3}, {"accumulation": 1}]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The weights that every case comes to: `found[ranks][case][rank]`."""
    return weights_of(tmp_path_factory.mktemp("gradients"), CASES, (2, 4))


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_the_gradient_is_that_of_the_whole_batch(found, settings):
    """Unequal parts, and with 3 rows for 4 ranks an empty one; targets that count differ from row to row."""
    noise = 1e-7 if "loss" in settings else 1e-12  # the weights of sequences are float32
    [alone] = found[1][str(settings)]
    for size in (2, 4):
        first, *others = found[size][str(settings)]
        assert others == [first] * (size - 1), "every rank has the same bits"
        for ours, theirs in zip(first, alone, strict=True):
            torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=0, atol=noise)


# ---------------------------------------------------------------------- every objective

QUICK = ("masked", "gru-stream")
OBJECTIVES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in (
        "next-token", "lstm-padded", "gru-stream", "masked", "classes", "single-span", "spans", "mixture", "answers"
    )
]  # fmt: skip


@pytest.mark.parametrize("name", OBJECTIVES)
def test_ranks_give_the_curve_of_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path)
    settings = settings_of(name, tmp_path)
    for size in (1, 2, 4):
        together(tmp_path / "work", size, trained(settings, str(size)))
    alone = curve(tmp_path / "runs/1")
    for size in (2, 4):
        assert_same_curve(curve(tmp_path / f"runs/{size}"), alone)
        environment = json.loads((tmp_path / f"runs/{size}/environment.json").read_text())
        assert environment["ranks"] == size
    assert "ranks" not in json.loads((tmp_path / "runs/1/environment.json").read_text())


# ---------------------------------------------------------------------- going on, and the end of a rank


@pytest.mark.slow
def test_a_run_goes_on_with_other_ranks(tmp_path, monkeypatch):
    """Begun by two, gone on with by four and by one: the curve of one, the state that each row carries with it."""
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path)
    settings = settings_of("gru-stream", tmp_path, schedule="constant", average_fraction=None)
    shorter = settings | {"train": settings["train"] | {"steps": 7}}
    together(tmp_path / "work", 1, trained(settings, "alone"))
    together(tmp_path / "work", 2, trained(shorter, "4"))
    shutil.copytree(tmp_path / "runs/4", tmp_path / "runs/1")

    def gone_on(ranks):
        if ranks.rank:
            experiment.follow_along(ranks)
        else:
            experiment.resume(tmp_path / f"runs/{ranks.size}", {"train": {"steps": 12}}, ranks=ranks)

    alone = curve(tmp_path / "runs/alone")
    for size in (1, 4):
        together(tmp_path / "work", size, gone_on)
        found = curve(tmp_path / f"runs/{size}")
        assert 12 in found["steps"]
        for kind, figures in found.items():  # where the first part ended, at step 7, it logged and measured once more
            shared = alone[kind].keys() & figures.keys()
            assert shared
            assert {step: figures[step] for step in shared - {10}} == {
                step: pytest.approx(alone[kind][step], rel=NOISE) for step in shared - {10}
            }


@pytest.mark.slow
def test_a_rank_that_is_killed_is_named_and_the_run_goes_on(tmp_path):
    first, other = begin(tmp_path)
    other.kill()
    began = time.monotonic()
    _, said = first.communicate(timeout=60)
    assert time.monotonic() - began < 20  # 2 s on a machine with nothing else to do
    assert first.returncode == 2
    assert said.splitlines()[-1] == (
        f"heed: rank 1 of 2 (process {other.pid}) was ended by SIGKILL; go on with: heed train --resume runs/run"
    )
    last = latest_step(tmp_path / "runs/run/checkpoints")
    again = [sys.executable, "-m", "heed", "train", "--resume", "runs/run", "--train.steps", str(last + 20)]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert f"going on from step {last}" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ended", "killed"])
def test_the_others_end_with_the_first(tmp_path, how):
    first, other = begin(tmp_path)
    first.terminate() if how == "ended" else first.kill()
    _, said = first.communicate(timeout=60)
    wait_for(lambda: not other.is_running() or other.status() == psutil.STATUS_ZOMBIE, 20)
    if how == "ended":
        assert first.returncode == 130
        assert "go on with: heed train --resume runs/run" in said


@pytest.mark.slow
def test_torchrun_starts_the_ranks(tmp_path):
    write_texts(tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "heed"]
    command += ["train", "lines.txt", "--run.name", "run", "--tokenizer.kind", "char", "--train.steps", "4", "--json"]
    command += ["--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "16", "--model.context", "48"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 4  # one object: only the first rank talks
    assert done.stderr.count("run: runs/run") == 1
    assert json.loads((tmp_path / "runs/run/environment.json").read_text())["ranks"] == 2


# ---------------------------------------------------------------------- small parts


def test_one_process_exchanges_nothing():
    batch = next(Windows())
    loss = torch.tensor(1.0)
    assert ALONE.part(batch) is batch
    assert ALONE.reduce([], loss) is loss
    assert ALONE.collect([loss], 1) == [loss]
    ALONE.tell({"do": "nothing"})
    assert not dist.is_initialized()


def test_a_rank_takes_every_nth_row():
    batch = next(Windows(batch_size=5, masked=True))
    rows = [Ranks(rank, 3).part(batch).source[:, 0].tolist() for rank in range(3)]
    first = batch.source[:, 0].tolist()
    assert rows == [[first[0], first[3]], [first[1], first[4]], [first[2]]]
    assert Ranks(5, 6).part(batch).mask.shape[0] == 0


def test_weights_that_drift_apart_are_not_saved(tmp_path):
    def work(ranks):
        with pytest.raises(ClusterError, match="rank 1 has other weights than rank 0, so nothing is saved"):
            ranks.refuse_drift([torch.ones(3), torch.tensor([1.0, 2.0 + 1e-6 * ranks.rank])])
        ranks.refuse_drift([torch.ones(3)])

    together(tmp_path / "work", 2, work)


def test_what_cannot_be_shared_is_refused():
    config = make_config({"model": {"kind": "gru", "recurrent": {"carry": True}}, "data": {"layout": "stream"},
                          "train": {"batch_size": 3}})  # fmt: skip
    with pytest.raises(ConfigError, match="each of 4 ranks needs a row"):
        Ranks(0, 4).refuse(config)
    with pytest.raises(ConfigError, match="--processes are of the CPU"):
        Ranks(0, 2, on="cpu").take_device(config.run.model_copy(update={"device": "cuda"}), print)


def test_flags_that_ask_for_too_much(capsys, monkeypatch):
    assert main(["train", "--gpus", "2", "--processes", "2"]) == 2
    assert main(["train", "--gpus", str(torch.cuda.device_count() + 1)]) == 2
    assert main(["train", "--processes", "0"]) == 2
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "--processes", "2"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in said] == [" --gpus has a process for each GPU", " --gpus", " --processes",
                                                     " torchrun has started 2 processes"]  # fmt: skip
