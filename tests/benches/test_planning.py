"""`heed doctor --plan`: what it says of a model from steps of one and two layers is what the whole model takes."""

import json

import pytest
import torch

from heed.benches.planning import Activations, make_plan, measure_kept
from heed.benches.training_memory import change, measure_memory
from heed.cli import main
from heed.config import make_config
from heed.errors import ConfigError, HeedError

CPU = torch.device("cpu")


def config_of(model: dict, **train):
    shape = {"n_layers": 5, "n_heads": 2, "d_model": 32, "context": 64, **model}
    return make_config({"model": shape, "train": train, "tokenizer": {"vocab_size": 300}})


@pytest.mark.parametrize(
    ("model", "train"),
    [
        ({}, {}), ({}, {"recompute": True}), ({"dropout": 0.1, "positions": "rotary"}, {"optimizer": "muon"}),
        ({"attention": {"mechanism": "performer"}}, {}), ({"attention": {"path": "reference"}}, {}),
        ({"kind": "lstm", "n_heads": 4}, {"optimizer": "sgd"}),
    ],
)  # fmt: skip
def test_memory_of_the_whole_model(model, train):
    config = config_of(model, **train)
    kept, optimizer = measure_kept(config, CPU)
    real = measure_memory(change(config, 7, 64), CPU)
    assert optimizer == real.optimizer
    said = max(real.all_gradients, kept.bytes(7, 5))
    assert said == pytest.approx(real.gradients + real.activations, rel=0.05)


@pytest.mark.parametrize(("train", "copies"), [({}, True), ({"compile": True}, False), ({"precision": "fp32"}, False)])
def test_weights_that_are_copied_in_bfloat16(monkeypatch, train, copies):
    monkeypatch.setattr("heed.benches.planning.available_memory", lambda device: 40_000_000)
    monkeypatch.setattr("heed.benches.planning._time", lambda *given: (0, None))
    monkeypatch.setattr("heed.benches.planning.measure_kept", lambda *given: (Activations(1, 1, 1, 1), 0))
    plan = make_plan(config_of({}, **{"precision": "bf16", **train}), CPU)
    in_blocks = 5 * (12 * 32 * 32 + 9 * 32)
    assert plan.weights == 4 * plan.parameters + 2 * in_blocks * copies


def test_a_step_in_bfloat16_holds_the_copies():
    whole, half = (measure_memory(change(config_of({}, precision=name), 2, 64), CPU) for name in ("fp32", "bf16"))
    assert half.weights == whole.weights + 2 * 5 * (12 * 32 * 32 + 9 * 32)


def test_a_plan(monkeypatch):
    monkeypatch.setattr("heed.benches.planning.available_memory", lambda device: 40_000_000)
    config = config_of({})
    plan = make_plan(config, CPU, tokens=1_000_000)
    assert plan.parameters == plan.weights // 4 == plan.gradients // 4 == pytest.approx(plan.optimizer / 8, rel=0.01)
    assert plan.free == 32_000_000
    no, yes = plan.fits
    assert (no.recompute, yes.recompute) == (False, True)
    assert 1 < no.largest_batch < yes.largest_batch
    for fit in plan.fits:
        assert fit.bytes <= plan.free < fit.bytes + fit.row_bytes + 10
    assert plan.step_rows <= no.largest_batch
    assert plan.tokens_per_second == pytest.approx(plan.step_rows * 64 / plan.step_seconds)
    assert plan.seconds == pytest.approx(1_000_000 / plan.tokens_per_second)
    assert make_plan(config, CPU).tokens == 20 * plan.parameters


def test_gradients_stay_where_passes_are_added_up(monkeypatch):
    monkeypatch.setattr("heed.benches.planning.available_memory", lambda device: 40_000_000)
    config = config_of({}, accumulation=3)
    fit = make_plan(config, CPU, tokens=1000).fits[0]
    assert fit.bytes == pytest.approx(measure_memory(change(config, fit.largest_batch, 64), CPU).total, rel=0.05)


def test_what_does_not_fit_is_said(monkeypatch, capsys):
    monkeypatch.setattr("heed.benches.planning.available_memory", lambda device: 400_000)
    flags = ["--model.d-model", "32", "--model.context", "32", "--model.n-heads", "2", "--tokenizer.vocab-size", "300"]
    assert main(["doctor", "--plan", "tiny", *flags]) == 0
    said = capsys.readouterr().out
    assert said.count("one does not fit") == 2
    assert "not measured, since no step fits" in said
    assert main(["doctor", "--plan", "tiny", *flags, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["step_rows"] == 0
    assert shown["seconds"] is None
    assert shown["fits"][0]["largest_batch"] == 0


def test_refusals(tmp_path, capsys):
    with pytest.raises(ConfigError, match="needs the shape"):
        make_plan(config_of({}).changed("model", start_from="runs/a"), CPU)
    with pytest.raises(HeedError, match="more parameters than there is memory for"):
        make_plan(config_of({"context": 10**9}), CPU)
    for argv, words in (
        (["--tokens", "5"], "name a preset, a run or a file with --plan"),
        (["--plan", "tinny"], "tinny"),
        (["--plan", "tiny", "--data.source", "x"], "takes no --data settings"),
        (["--plan", "tiny", "--model.kind", "encoder"], "next token"),
        (["--plan", "tiny", "--tokens", "0"], "tokens"),
    ):
        assert main(["doctor", *argv]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert words in error, error
