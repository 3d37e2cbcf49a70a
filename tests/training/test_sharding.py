"""A model in parts, one for each process, trains as the whole one does: every objective, accumulated, resumed."""

import json
import subprocess
import sys
import time

import pytest
import torch
import torch._dynamo  # FSDP imports both: three seconds, which the ranks that are forked from here need not take
import torch._inductor.config
import torch.distributed.fsdp
from doubles import TinyModel, Windows, events, new_run, plan
from safetensors.torch import load_file
from several import NOISE, assert_same_curve, begin, curve, settings_of, together, trained, weights_of, write_texts
from torch import nn

from heed import experiment
from heed.cli import main
from heed.config import make_config
from heed.errors import CheckpointError, ConfigError
from heed.training.checkpoint import find_damage, latest_step, load_checkpoint, put_together, step_name
from heed.training.fit import fit, follow
from heed.training.optim import make_optimizer
from heed.training.progress import Silent
from heed.training.run import Run, load_run
from heed.training.step import Updater
from heed.training.streams import Streams


class Saying(Silent):
    """Progress that keeps its lines."""

    def __init__(self, lines):
        self.lines = lines

    def say(self, line):
        self.lines.append(line)


# ---------------------------------------------------------------------- in float64, where noise is no excuse

CASES = [
    {}, {"loss": "sequence"}, {"batch_size": 3}, {"accumulation": 1, "clip": 1e-3}, {"optimizer": "adamw"},
    {"optimizer": "muon"}, {"optimizer": "adagrad"}, {"optimizer": "momentum"},
]  # fmt: skip


NO_ROW = [
    {"optimizer": optimizer, "batch_size": 7, "learning_rate": 0.02} for optimizer in ("adamw", "muon", "adagrad")
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The weights that every case comes to: `found[ranks][case][rank]`."""
    return weights_of(tmp_path_factory.mktemp("updates"), CASES, (2, 4), shard=True)


@pytest.fixture(scope="module")
def found_by_five(tmp_path_factory):
    return weights_of(tmp_path_factory.mktemp("five"), NO_ROW, (5,), shard=True)


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_the_update_is_that_of_the_whole_model(found, settings):
    """11 rows of the tied embedding, 8 of the matrices: 4 ranks have unequal parts, and of 3 rows one has none."""
    noise = 1e-5 if settings.get("optimizer") == "muon" else 1e-7 if "loss" in settings else 1e-12  # float32 in them
    [alone] = found[1][str(settings)]
    for size in (2, 4):
        first, *others = found[size][str(settings)]
        assert others == [[[]] * len(alone)] * (size - 1), "only the first rank ever holds the whole"
        for ours, theirs in zip(first, alone, strict=True):
            torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=0, atol=noise)


@pytest.mark.parametrize("settings", NO_ROW, ids=lambda settings: settings["optimizer"])
def test_a_rank_without_a_row_of_a_matrix(found_by_five, settings):
    """8 rows dealt to 5 ranks, 2 each: the last one has none, and takes part in what the others exchange."""
    [alone] = found_by_five[1][str(settings)]
    for ours, theirs in zip(found_by_five[5][str(settings)][0], alone, strict=True):
        torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=0, atol=1e-5)


# ---------------------------------------------------------------------- every objective

QUICK = ("masked",)
OBJECTIVES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in (
        "next-token", "lstm-padded", "gru-stream", "masked", "classes", "single-span", "spans", "mixture", "answers"
    )
]  # fmt: skip


def begin_sharded(name, folder, **train):
    """Return the settings of an objective in parts; the mean of weights is refused there."""
    return settings_of(name, folder, average_fraction=None, shard=True, **train)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_parts_give_the_curve_of_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path)
    settings = begin_sharded(name, tmp_path)
    for size in (1, 2, 4):
        together(tmp_path / "work", size, trained(settings, str(size)))
    alone = curve(tmp_path / "runs/1")
    for size in (2, 4):
        assert_same_curve(curve(tmp_path / f"runs/{size}"), alone)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns about itself
@pytest.mark.parametrize("compiler", ["that works", "that fails"])
def test_blocks_are_compiled_or_not_and_it_is_said(tmp_path, monkeypatch, compiler):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    if compiler == "that fails":
        monkeypatch.setenv("CXX", "/bin/false")
        monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("/bin/false",))
    write_texts(tmp_path)
    settings = begin_sharded("next-token", tmp_path, steps=4)
    compiled = settings | {"train": settings["train"] | {"compile": True}}
    together(tmp_path / "work", 1, trained(settings, "1"))

    def work(ranks):
        said = []
        if ranks.rank:
            experiment.follow_along(ranks)
        else:
            config = make_config(compiled | {"run": settings["run"] | {"name": "2"}})
            experiment.train(config, ranks=ranks, say=said.append, progress=lambda steps: Saying(said))
        return said

    said, _ = together(tmp_path / "work", 2, work)
    assert_same_curve(curve(tmp_path / "runs/2"), curve(tmp_path / "runs/1"))
    fails = [line for line in said if "torch.compile failed, going on without it: " in line]
    assert len(fails) == (compiler == "that fails")


@pytest.mark.slow
def test_recomputed_blocks_and_bf16(tmp_path, monkeypatch):
    """Recomputed it is the same; bfloat16 rounds the gradient of each part by itself, 1 in 256 of each product."""
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path)
    for name, more, noise in (("recomputed", {"recompute": True}, NOISE), ("half", {"precision": "bf16"}, 5e-3)):
        settings = begin_sharded("masked", tmp_path, accumulation=2, **more)
        for size in (1, 2):
            together(tmp_path / "work", size, trained(settings, f"{name}-{size}"))
        assert_same_curve(curve(tmp_path / f"runs/{name}-2"), curve(tmp_path / f"runs/{name}-1"), noise)


# ---------------------------------------------------------------------- memory

SIZES = {"embedding": 11 * 8, "blocks": 2 * (8 * 8 + 8), "norm": 2 * 8}
"""Parameters of `TinyModel`: its head is tied."""


def held_bytes(ranks):
    """Return the bytes of weights and of Adam's two means that a rank holds between two updates."""
    model = TinyModel()
    updater = Updater(model, plan(shard=True), torch.device("cpu"), Streams(1), print, None, ranks)
    updater.held.meet(updater.optimizer)
    updater.held.let_go()
    updater.update(1, [next(Windows(batch_size=4))])
    stays = {tensor.data_ptr(): tensor.nbytes for tensor in updater.optimizer.state().values() if tensor.ndim}
    own = [tensor for piece in updater.held.learner.parameters() for tensor in [piece.to_local()]]
    assert all(parameter.numel() == 0 for parameter in model.parameters()), "the whole model is gone"
    assert all(piece.grad is None for piece in updater.held.learner.parameters())
    return [sum(tensor.nbytes for tensor in own), sum(stays.values())]


@pytest.mark.parametrize("size", [2, 4])
def test_a_rank_holds_its_rows_and_no_more(tmp_path, size):
    """ceil(rows / ranks) rows of each tensor, counted by hand; rank 3 of 4 has 2 of the embedding's 11."""
    found = together(tmp_path, size, held_bytes)
    embedding = {2: [6, 5], 4: [3, 3, 3, 2]}[size]
    weights = [4 * (8 * rows + (SIZES["blocks"] + SIZES["norm"]) // size) for rows in embedding]
    assert found == [[one, 2 * one] for one in weights]
    assert sum(weights) == 4 * sum(SIZES.values())


@pytest.mark.parametrize("optimizer", ["adamw", "momentum", "adagrad"])
def test_a_tensor_of_which_a_rank_has_no_row_is_passed_over(optimizer):
    """A classifier's two rows on four ranks: two of them have none, and a gradient of none."""
    net = nn.ParameterDict({"none": torch.ones(0, 3), "some": torch.ones(2, 3)})
    made = make_optimizer(net, plan(optimizer=optimizer))
    for parameter in net.values():
        parameter.grad = torch.ones_like(parameter)
    made.step(1.0)
    assert (net["some"] < 1).all()


# ---------------------------------------------------------------------- checkpoints


def stopped_at_8(folder, size, shard=True):
    """Train 8 of 12 updates on `size` ranks and end as if interrupted; return the run."""

    def work(ranks):
        model, batches, how = TinyModel(), Windows(batch_size=5, masked=True), plan(shard=shard, checkpoint_every=8)
        if ranks.rank == 0:
            fit(model, batches, how, new_run(folder / "run"), ranks=ranks, streams=Streams(1), until=8)
        else:
            follow(model, batches, how, ranks, streams=Streams(1))

    together(folder, size, work)
    return Run.open(folder / "run")


def test_each_rank_writes_its_rows_and_one_process_reads_them(tmp_path):
    run, alone = stopped_at_8(tmp_path / "4", 4), stopped_at_8(tmp_path / "1", 1)
    path = run.checkpoints / "step-00000008"
    names = [f"part-{rank:05d}-of-00004.safetensors" for rank in range(4)]
    assert sorted(file.name for file in path.iterdir()) == [*names, "state.json"]
    rows = [len(load_file(path / name)["model/embedding.weight"]) for name in names]
    assert rows == [3, 3, 3, 2]
    ours, theirs = load_checkpoint(path), load_checkpoint(alone.checkpoints / path.name)
    for mine, other in ((ours.model, theirs.model), (ours.tensors, theirs.tensors)):
        assert mine.keys() == other.keys()
        for name, tensor in other.items():
            torch.testing.assert_close(mine[name], tensor, rtol=NOISE, atol=NOISE, msg=name)
    put_together(path)
    assert sorted(file.name for file in path.iterdir()) == sorted(
        file.name for file in (alone.checkpoints / path.name).iterdir()
    )
    again = load_checkpoint(path)
    assert again.state == ours.state
    assert all(torch.equal(again.model[name], tensor) for name, tensor in ours.model.items())
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in ours.tensors.items())


def test_a_damaged_part_is_named(tmp_path):
    path = stopped_at_8(tmp_path, 2).checkpoints / "step-00000008"
    second = path / "part-00001-of-00002.safetensors"
    whole, state = second.read_bytes(), (path / "state.json").read_bytes()
    second.write_bytes(whole[:-4])
    assert "part-00001-of-00002.safetensors is cut off or has been altered" in str(find_damage(path))
    second.unlink()
    assert find_damage(path) == "part-00001-of-00002.safetensors is missing"
    second.write_bytes((path / "part-00000-of-00002.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"step-00000008 cannot be used: part-00001-of-00002"):
        load_checkpoint(path)
    second.write_bytes(whole)
    assert find_damage(path) is None
    for parts in (1, 3, 0, -1, "2", None, 10**9):
        (path / "state.json").write_text(json.dumps(json.loads(state) | {"parts": parts}))
        assert find_damage(path) == "state.json has been altered"


@pytest.mark.slow
def test_a_run_goes_on_with_other_ranks(tmp_path, monkeypatch):
    """4 -> 2 -> 1 -> 3 processes, stopped in between: the curve of one. What is left at the end is in one piece."""
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path)
    settings = begin_sharded("next-token", tmp_path, schedule="constant", steps=12, checkpoint_every=2)
    together(tmp_path / "work", 1, trained(settings, "alone"))
    together(tmp_path / "work", 4, trained(settings | {"train": settings["train"] | {"steps": 2}}, "other"))
    folder = tmp_path / "runs/other"

    def go_on(until):
        def work(ranks):
            if ranks.rank:
                experiment.follow_along(ranks)
            else:
                experiment.resume(folder, {"train": {"steps": 12}}, ranks=ranks, until=until)

        return work

    for size, until in ((4, 4), (2, 6), (1, 8), (3, None)):
        together(tmp_path / "work", size, go_on(until))
        last = folder / "checkpoints" / step_name(until or 12)
        assert len(list(last.glob("part-*"))) == (size if until and size > 1 else 0)
        assert load_run(folder, "last")[0].parameter_count() > 0
    assert not list((folder / "checkpoints").glob("*/part-*"))
    ours, theirs = curve(folder), curve(tmp_path / "runs/alone")
    assert ours["final"] == pytest.approx(theirs["final"], rel=NOISE)
    assert ours["held out"][12] == pytest.approx(theirs["held out"][12], rel=NOISE)
    assert ours["steps"][12][1] == pytest.approx(theirs["steps"][12][1], rel=NOISE)  # a loss there is a mean since 10


@pytest.mark.slow
def test_a_run_in_parts_that_was_stopped_is_read_by_every_verb(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path)
    settings = begin_sharded("next-token", tmp_path, steps=2)
    together(tmp_path / "work", 2, trained(settings, "run"))

    def work(ranks):
        if ranks.rank:
            experiment.follow_along(ranks)
        else:
            experiment.resume(tmp_path / "runs/run", {"train": {"steps": 12}}, ranks=ranks, until=6)

    together(tmp_path / "work", 2, work)
    assert list((tmp_path / "runs/run/checkpoints/step-00000006").glob("part-*"))
    assert main(["eval", "runs/run", "--checkpoint", "last"]) == 0
    assert main(["sample", "runs/run", "--checkpoint", "last", "--max-tokens", "4"]) == 0
    assert main(["export", "runs/run", "--to", "hf", "--checkpoint", "last", "--out", "hf"]) == 0
    assert (tmp_path / "hf/model.safetensors").is_file()
    assert main(["verify", "runs/run"]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err


# ---------------------------------------------------------------------- the end of a rank


@pytest.mark.slow
def test_a_rank_that_is_killed_is_named_and_the_run_goes_on(tmp_path):
    first, other = begin(tmp_path, "--train.shard", "true")
    other.kill()
    began = time.monotonic()
    _, said = first.communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert first.returncode == 2
    assert said.splitlines()[-1] == (
        f"heed: rank 1 of 2 (process {other.pid}) was ended by SIGKILL; go on with: heed train --resume runs/run"
    )
    last = latest_step(tmp_path / "runs/run/checkpoints")
    again = [sys.executable, "-m", "heed", "train", "--resume", "runs/run", "--train.steps", str(last + 20)]
    done = subprocess.run([*again, "--processes", "2"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"going on from step {last}" in done.stderr
    assert "shard: each of 2 ranks holds a part" in done.stderr


# ---------------------------------------------------------------------- what does not go together


def test_what_cannot_be_in_parts_is_refused():
    with pytest.raises(ConfigError, match=r"train.compile: with train.shard .* model.kind lstm has none"):
        make_config({"model": {"kind": "lstm"}, "train": {"shard": True, "compile": True}})
    for train in ({"batch_size": "auto"}, {"average_fraction": 0.5}, {"average_patience": 2}):
        with pytest.raises(ConfigError, match=rf"train.{next(iter(train))}: .*train.shard"):
            make_config({"train": {"shard": True} | train})


def test_one_process_holds_the_whole(tmp_path):
    run = new_run(tmp_path / "run")
    how = plan(shard=True)
    fit(TinyModel(), Windows(), how, run)
    fit(TinyModel(), Windows(), plan(), new_run(tmp_path / "other"))
    assert events(run, "train")[-1]["loss"] == events(Run.open(tmp_path / "other"), "train")[-1]["loss"]
