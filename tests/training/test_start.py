"""Beginning with another run: its numbers, a shorter context, and what goes against it."""

import pytest
import torch

from heed.build import build_model
from heed.config import Config, ModelConfig, TokenizerConfig, make_config, overlay
from heed.errors import CheckpointError, ConfigError
from heed.text.tokenizers import train_tokenizer
from heed.training.checkpoint import save_checkpoint
from heed.training.run import Run
from heed.training.start import place_start, settle, start_vocabulary

SHAPE = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context": 12}


def save(folder, letters="abcd", padded=0, **model):
    """Write a run folder with one checkpoint of drawn weights; return its path and the model."""
    tokenizer = train_tokenizer("char", [letters], 20)
    vocabulary = tokenizer.vocab_size + padded
    config = Config(
        model=ModelConfig(**{**SHAPE, **model}), tokenizer=TokenizerConfig(kind="char", vocab_size=vocabulary)
    )
    run = Run.create(folder, config, tokenizer=tokenizer)
    built = build_model(config.model, vocabulary, torch.Generator().manual_seed(3)).eval()
    save_checkpoint(run.checkpoints, 5, built, {}, {})
    return str(folder), built


def begun(start, vocabulary=4, **model):
    """Settle a configuration that starts from `start`, build its model and place the weights."""
    config = settle(make_config({"model": {"start_from": start, **model}}))
    built = build_model(config.model, vocabulary, torch.Generator().manual_seed(9)).eval()
    return config, built, place_start(built, config.model)


def told(start, **sections) -> str:
    with pytest.raises(ConfigError) as refusal:
        settle(make_config(overlay({"model": {"start_from": start}}, sections)))
    return str(refusal.value)


def test_weights_shape_and_tokenizer_are_those_of_the_run(tmp_path):
    start, model = save(tmp_path / "a", positions="rotary", preset=None)
    config, again, started = begun(start, dropout=0.3)
    assert config.model.model_dump() == {
        **Run.open(start).config.model.model_dump(), "start_from": start, "dropout": 0.3
    }  # fmt: skip
    assert config.tokenizer.file == start
    assert started["run"] == start
    assert (started["checkpoint"], len(started["weights"])) == ("step-00000005", 64)
    ids = torch.tensor([[0, 1, 2, 3, 2]])
    assert torch.equal(model(ids), again(ids))
    # what is settled may be settled again, as when a run's own config.yaml is trained anew
    assert settle(make_config(config.model_dump())).model == config.model


@pytest.mark.parametrize("mechanism", ["softmax", "linear", "aft-simple", "sliding-window"])
def test_a_shorter_context_gives_the_same_numbers(tmp_path, mechanism):
    start, model = save(tmp_path / "a", attention={"mechanism": mechanism})
    config, again, _ = begun(start, context=6)
    assert (config.model.context, again.context) == (6, 6)
    ids = torch.tensor([[0, 1, 2, 3, 2, 1]])
    # the same sums over as many terms; 1e-5 allows for kernels that add in another order
    assert torch.allclose(model(ids), again(ids), atol=1e-5)


@pytest.mark.parametrize("mechanism", ["aft-full", "aft-local", "synthesizer-dense"])
def test_weights_of_positions_are_not_cut(tmp_path, mechanism):
    start, _ = save(tmp_path / "a", attention={"mechanism": mechanism})
    with pytest.raises(CheckpointError, match=r"\(context 12 and 6\): leave model.context out"):
        begun(start, context=6)


def test_a_longer_context_where_no_weight_ends(tmp_path):
    start, _ = save(tmp_path / "a", positions="rotary")
    _, again, _ = begun(start, context=30)
    assert again(torch.zeros(1, 30, dtype=torch.long)).shape == (1, 30, 4)
    learned, _ = save(tmp_path / "b")
    line = told(learned, model={"context": 30})
    assert f"model.context: 30 is asked for, but {learned} has 12: model.positions learned ends" in line
    fixed, _ = save(tmp_path / "c", positions="none", attention={"mechanism": "aft-full"})
    assert "model.context: 30 is asked for" in told(fixed, model={"context": 30})


def test_what_goes_against_the_run_is_told_with_both_values(tmp_path):
    start, _ = save(tmp_path / "a", attention={"mechanism": "sliding-window", "options": {"window": 4}})
    told_all = told(start, model={"n_layers": 2, "attention": {"options": {"window": 5}}})
    assert f"model.n_layers: 2 is asked for, but {start} has 1: leave one of them out" in told_all
    assert "{'window': 5} is asked for" in told_all
    assert "reference" not in told_all
    assert settle(make_config({"model": {"start_from": start, "n_layers": 1, "attention": {"path": "reference"}}}))
    train_tokenizer("char", ["wxyz"], 20).save(tmp_path / "other.json")
    line = told(start, tokenizer={"file": str(tmp_path / "other.json")})
    assert line.startswith("tokenizer.file: char 4 (")
    assert f"but {start} has char 4 (" in line
    assert settle(make_config({"model": {"start_from": start}, "tokenizer": {"file": start}}))


def test_runs_that_cannot_be_begun_with(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        settle(make_config({"model": {"start_from": str(tmp_path / "none")}}))
    start, _ = save(tmp_path / "runs" / "a")
    assert "a is the run that this one starts from" in told(start, run={"folder": str(tmp_path / "runs"), "name": "a"})
    encoder, _ = save(tmp_path / "e", kind="encoder")
    assert "is an encoder" in told(encoder)


def test_a_padded_vocabulary_stays(tmp_path):
    start, _ = save(tmp_path / "a", padded=3)
    config, model, _ = begun(start, vocabulary=7)
    assert start_vocabulary(config.model) == 7
    assert model.vocab_size == 7
    assert start_vocabulary(ModelConfig()) is None
    with pytest.raises(CheckpointError, match=r"tokens.weight is \(7, 16\) there and \(9, 16\) here"):
        begun(start, vocabulary=9)
