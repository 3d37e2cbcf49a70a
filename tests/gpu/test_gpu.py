"""What a GPU computes, held against the CPU: one rank, in parts or whole, bf16, compiled, muon, decoding.

Each test runs with cpu in the place of cuda too, so that its own code is tried where there is no GPU; that with cuda is
skipped there. Several GPUs are not needed: NCCL is tried with one rank.
"""

import contextlib
import json
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from heed import experiment
from heed.benches.device_speed import measure_devices, prepare
from heed.cli import main
from heed.config import make_config
from heed.generation.generate import generate
from heed.generation.sampling import Sampling
from heed.training import step
from heed.training.ranks import Ranks
from heed.training.run import load_run
from heed.training.sharding import Sharded

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from several import assert_same_curve, curve, settings_of, write_texts

NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA here")
ON = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NO_CUDA)])
ON_SLOWLY = pytest.mark.parametrize(
    "device", [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=NO_CUDA)]
)
pytestmark = pytest.mark.filterwarnings("default")  # NCCL's and torch's of other machines are not heed's
FP32, BF16 = 1e-3, 2e-2
"""So far a figure after 12 updates may be from that of the CPU in float32, relative: other kernels; 8 bits of 24."""


@pytest.fixture(autouse=True)
def _texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_texts(tmp_path)


def trained(name, device, **train):
    """Train the small GPT on a device; return the folder of the run."""
    settings = settings_of("next-token", Path.cwd(), **train)
    run = settings["run"] | {"name": name, "device": device}
    experiment.train(make_config(settings | {"run": run}))
    return Path("runs", name)


@contextlib.contextmanager
def group_of_one(device):
    """Be the one rank of a group."""
    if device == "cuda":
        torch.cuda.set_device(0)
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{Path.cwd() / 'meeting'}", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


@ON_SLOWLY
def test_one_gpu_gives_the_curve_of_the_cpu(device, capsys):
    expected = curve(trained("expected", "cpu"))
    settings = settings_of("next-token", Path.cwd())
    settings["run"] = {"folder": "runs", "name": "found", "threads": 1}
    Path("found.json").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    here = ["--gpus", "1"] if device == "cuda" else ["--processes", "1", "--run.device", "cpu"]
    assert main(["train", "--config", "found.json", *here]) == 0, capsys.readouterr().err
    assert_same_curve(curve(Path("runs/found")), expected, FP32)


@ON_SLOWLY
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_parts_of_one_rank(device, optimizer, monkeypatch):
    """A single rank holds all rows, and everything that several do is done."""
    expected = curve(trained("expected", "cpu", optimizer=optimizer, accumulation=2))
    monkeypatch.setattr(step, "hold", lambda model, shard, ranks, device: Sharded(model, ranks, device))
    with group_of_one(device):
        found = trained("found", device, optimizer=optimizer, accumulation=2, shard=True)
    assert not list(found.glob("checkpoints/*/part-*"))  # put together once the training has ended
    assert_same_curve(curve(found), expected, 0.02 if optimizer == "muon" and device == "cuda" else FP32)


@ON_SLOWLY
@pytest.mark.parametrize("shard", [False, True])
def test_bf16(device, shard, monkeypatch):
    expected = curve(trained("expected", "cpu"))
    if shard:
        monkeypatch.setattr(step, "hold", lambda model, shard, ranks, device: Sharded(model, ranks, device))
    with group_of_one(device):
        found = curve(trained("found", device, precision="bf16", recompute=shard))
    assert found["final"] == pytest.approx(expected["final"], rel=BF16)
    assert {at: loss for at, (loss, _) in found["steps"].items()} == pytest.approx(
        {at: loss for at, (loss, _) in expected["steps"].items()}, rel=BF16
    )


@ON
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns about itself
def test_compiled(device):
    expected = curve(trained("expected", "cpu"))
    assert_same_curve(curve(trained("found", device, compile=True)), expected, FP32)


@ON_SLOWLY
def test_muon(device):
    """Its Newton-Schulz steps are bfloat16 on a GPU, float32 on a CPU."""
    expected = curve(trained("expected", "cpu", optimizer="muon"))
    found = curve(trained("found", device, optimizer="muon"))
    assert found["final"] == pytest.approx(expected["final"], rel=BF16)


@ON_SLOWLY
def test_the_largest_batch_is_found_and_trains(device):
    said = []
    settings = settings_of("next-token", Path.cwd())
    settings["train"] |= {"batch_size": "auto", "steps": 2, "warmup_steps": 0}
    settings["run"] |= {"device": device, "name": "found"}
    done = experiment.train(make_config(settings), say=said.append)
    assert done.fit.step == 2
    assert any(line.startswith("batch size ") for line in said)


@ON
def test_prompts_of_unequal_length_are_continued_as_on_the_cpu(device):
    folder = trained("run", "cpu")
    prompts = ["the", "a dog sees my heron.\none fox", "my heron hears"]
    answers = []
    for where in ("cpu", device):
        model, tokenizer, _ = load_run(folder, "last", where)
        answers.append(generate(model, tokenizer, prompts, Sampling(temperature=0), max_tokens=12, logprobs=0))
    for (expected,), (found,) in zip(*answers, strict=True):
        assert found.ids == expected.ids
        assert found.token_logprobs == pytest.approx(expected.token_logprobs, abs=1e-4)


@ON
def test_fifty_steps(device):
    """The loss after 50 updates of random tokens, which a small model learns by heart, and the speeds of both."""
    config = make_config(
        {
            "model": {"n_layers": 2, "n_heads": 2, "d_model": 32, "context": 32},
            "tokenizer": {"vocab_size": 300},
            "train": {"steps": 50, "batch_size": 4, "warmup_steps": 5, "precision": "fp32", "learning_rate": 3e-3},
        }
    )
    losses = []
    for where in ("cpu", device):
        _, updater, batches = prepare(config, torch.device(where))
        losses.append([float(updater.update(number, batches)[0]) for number in range(1, 51)])
        assert updater.bad_step() is None
    expected, found = losses
    assert expected[-1] < expected[0] - 0.5
    assert found == pytest.approx(expected, rel=FP32)
    kinds = {speed.kind for speed in measure_devices(config, steps=50)}
    assert device in kinds


@NO_CUDA
def test_ranks_of_gpus_are_told_apart():
    assert Ranks(on="cuda").take_device(make_config({}).run, print).type == "cuda"
    assert main(["train", "--gpus", str(torch.cuda.device_count() + 1)]) == 2
