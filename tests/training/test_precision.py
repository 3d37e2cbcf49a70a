"""`train.precision: auto`: what is taken where, and that a run keeps it."""

from pathlib import Path

import pytest
import torch

from heed import experiment
from heed.config import make_config
from heed.models.gpt import GPT
from heed.studies.worker import run_cell
from heed.training import precision
from heed.training.precision import settle_precision
from heed.training.run import Run, load_run

CPU = torch.device("cpu")
TEXT = "the cat sat on the mat and the dog sat on the log. " * 200
WIDE = {"n_layers": 1, "n_heads": 4, "d_model": 256, "context": 16, "dropout": 0.1}
STEPS = {"steps": 6, "batch_size": 16, "eval_every": 3, "checkpoint_every": 3, "warmup_steps": 1, "final_tokens": 200}


@pytest.fixture
def tiles(monkeypatch):
    monkeypatch.setattr(precision, "has_amx", lambda: True)


def settings(folder: Path, **model):
    (folder / "cats.txt").write_text(TEXT, encoding="utf-8")
    return {
        "data": {"source": str(folder / "cats.txt")}, "tokenizer": {"kind": "char"}, "model": WIDE | model,
        "train": STEPS, "run": {"folder": str(folder), "name": "run", "device": "cpu"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, "bf16"),
        ({"model": {"kind": "encoder"}}, "bf16"),
        ({"model": {"d_model": 64}}, "fp32"),
        ({"train": {"batch_size": 1}}, "fp32"),  # too few rows for the products to count
        ({"model": {"kind": "lstm"}}, "fp32"),
        ({"model": {"attention": {"mechanism": "performer"}}}, "fp32"),
        ({"model": {"attention": {"path": "reference"}}}, "fp32"),
        ({"train": {"compile": True}}, "fp32"),
        ({"train": {"precision": "fp32"}}, "fp32"),
        ({"model": {"d_model": 8}, "train": {"precision": "bf16"}}, "bf16"),
    ],
)
def test_what_auto_comes_to_with_tiles(tiles, change, taken):
    values = {"model": {"d_model": 256, "context": 64} | change.get("model", {}), "train": change.get("train", {})}
    said: list[str] = []
    asked = make_config(values)
    assert settle_precision(asked, CPU, said.append).train.precision == taken
    assert len(said) == (asked.train.precision == "auto" and taken == "bf16")


def test_without_tiles_a_cpu_takes_float32(monkeypatch):
    monkeypatch.setattr(precision, "has_amx", lambda: False)
    config = make_config({"model": {"d_model": 1024, "context": 512}})
    assert settle_precision(config, CPU).train.precision == "fp32"


def test_a_run_keeps_it_and_goes_on_with_the_same_bits(tmp_path, tiles, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    experiment.train(make_config(settings(whole)))
    assert Run.open(whole / "run").config.train.precision == "bf16"
    with monkeypatch.context() as stopping:
        stopping.setattr("heed.experiment.fit", _stopping_after(3))
        experiment.train(make_config(settings(cut)))
    monkeypatch.setattr(precision, "has_amx", lambda: False)  # as on another machine
    experiment.resume(cut / "run")
    one, other = (load_run(folder / "run")[0].state_dict() for folder in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)


def _stopping_after(step):
    original = experiment.fit
    return lambda *args, **more: original(*args, **more | {"until": step})


def test_figures_are_measured_in_float32(tmp_path, tiles, monkeypatch):
    seen = set()
    original = GPT.hidden

    def watching(self, ids, cache=None):
        found = original(self, ids, cache)
        seen.add((self.training, found.dtype))
        return found

    monkeypatch.setattr(GPT, "hidden", watching)
    experiment.train(make_config(settings(tmp_path)))
    assert (True, torch.bfloat16) in seen
    assert (False, torch.float32) in seen
    assert (False, torch.bfloat16) not in seen


def test_a_study_on_a_cpu_keeps_to_float32(tmp_path, tiles):
    values = make_config(settings(tmp_path)).model_dump()
    assert run_cell(values).state == "finished"
    assert Run.open(tmp_path / "run").config.train.precision == "fp32"


def test_muon_multiplies_in_the_precision_of_the_run(tmp_path, monkeypatch):
    import heed.training.optim as optim

    seen, original = [], optim.update_matrices
    monkeypatch.setattr(optim, "update_matrices", lambda *args: seen.append(args[-1]) or original(*args))
    for name in ("fp32", "bf16"):
        folder = tmp_path / name
        folder.mkdir()
        values = settings(folder, d_model=32)
        values["train"] = STEPS | {"optimizer": "muon", "precision": name, "steps": 1}
        experiment.train(make_config(values))
    assert seen == [torch.float32, torch.bfloat16]
