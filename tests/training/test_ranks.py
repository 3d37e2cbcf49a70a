"""Several processes train what one trains: the same curve, the same weights on each of them, and an end for all."""

import json
import os
import sys
import traceback
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from doubles import TinyModel, Windows, events, new_run, plan

from heed import experiment
from heed.config import make_config
from heed.errors import ClusterError, ConfigError
from heed.training.fit import fit, follow
from heed.training.ranks import ALONE, Ranks
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


# ---------------------------------------------------------------------- in float64, where noise is no excuse


def tiny(folder, **settings):
    """Return the work of a rank: train a tiny model in float64, and give its weights."""
    batch_size, accumulation = settings.pop("batch_size", 5), settings.pop("accumulation", 2)
    how = plan(accumulation=accumulation, clip=0.5, optimizer="sgd", learning_rate=0.5, **settings)

    def work(ranks):
        model, batches = TinyModel().double(), Windows(batch_size=batch_size, masked=True)
        if ranks.rank == 0:
            fit(model, batches, how, new_run(folder / f"run-{ranks.size}"), ranks=ranks, streams=Streams(1))
        else:
            follow(model, batches, how, ranks, streams=Streams(1))
        return [p.flatten().tolist() for p in model.parameters()]

    return work


@pytest.mark.parametrize("settings", [{}, {"loss": "sequence"}, {"batch_size": 3}, {"accumulation": 1}], ids=str)
def test_the_gradient_is_that_of_the_whole_batch(tmp_path, settings):
    """Unequal parts, and with 3 rows for 4 ranks an empty one; targets that count differ from row to row."""
    noise = 1e-7 if "loss" in settings else 1e-12  # the weights of sequences are float32
    [alone] = together(tmp_path / "1", 1, tiny(tmp_path, **settings))
    for size in (2, 4):
        found = together(tmp_path / str(size), size, tiny(tmp_path, **settings))
        assert all(weights == found[0] for weights in found), "every rank has the same bits"
        for ours, theirs in zip(found[0], alone, strict=True):
            torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=0, atol=noise)


# ---------------------------------------------------------------------- every objective

QUICK = ("masked", "gru-stream")
OBJECTIVES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in (
        "next-token", "lstm-padded", "gru-stream", "masked", "classes", "single-span", "spans", "mixture", "answers"
    )
]  # fmt: skip


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
