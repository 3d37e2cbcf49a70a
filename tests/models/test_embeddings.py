"""Pretrained embeddings: out of every form of file, frozen, tied, padded by a row, and refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from heed.build import build_model
from heed.config import ModelConfig, TrainConfig, make_config
from heed.errors import CheckpointError, ConfigError, DataError
from heed.models.embeddings import Embeddings, place_embeddings, read_embeddings
from heed.models.hub import export_hub
from heed.training.optim import make_optimizer

MATRIX = torch.arange(12.0).reshape(4, 3)


def write(path):
    if path.suffix == ".npy":
        np.save(path, MATRIX.numpy())
    elif path.suffix == ".npz":
        np.savez(path, embeddings=MATRIX.numpy(), counts=np.arange(4))
    else:
        save_file({"wte": MATRIX, "mean": MATRIX.mean(0)}, path)
    return str(path)


@pytest.mark.parametrize("name", ["e.npy", "e.npz", "e.safetensors"])
def test_a_file_gives_its_one_matrix(tmp_path, name):
    found = read_embeddings(write(tmp_path / name))
    assert torch.equal(found.tokens, MATRIX)
    assert found.positions is None


def test_a_folder_of_transformers_gives_its_token_embedding(tmp_path):
    model = build_model(ModelConfig(n_layers=1, n_heads=1, d_model=4), 7)
    export_hub(model, model.config, None, tmp_path)
    found = read_embeddings(str(tmp_path))
    assert torch.equal(found.tokens, model.tokens.weight)
    assert torch.equal(found.positions, model.positions.weight)


def test_what_is_no_matrix_is_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "two.npz", a=MATRIX.numpy(), b=MATRIX.numpy())
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.save(tmp_path / "nan.npy", np.full((2, 2), np.nan))
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    (tmp_path / "e.txt").write_text("1 2 3")
    for name, message in {
        "two.npz": "holds 2 matrices",
        "objects.npy": "cannot be read as embeddings",
        "nan.npy": "finite",
        "cut.safetensors": "cannot be read as embeddings",
        "e.txt": "read from .safetensors, .npz and .npy",
    }.items():
        with pytest.raises(DataError, match=message) as refusal:
            read_embeddings(str(tmp_path / name))
        assert "\n" not in str(refusal.value)
    with pytest.raises(ConfigError, match="hub is written hf:openai-gpt"):
        read_embeddings("openai-gpt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        read_embeddings(str(tmp_path / "empty"))


@pytest.mark.parametrize("kind", ["gpt", "lstm", "window"])
def test_one_row_more_is_padding_and_other_shapes_are_refused(kind):
    model = build_model(ModelConfig(kind=kind, d_model=3, n_heads=1), 5)
    place_embeddings(model, Embeddings("e", MATRIX))
    assert torch.equal(model.tokens.weight[:4], MATRIX)
    assert torch.equal(model.tokens.weight[4], torch.zeros(3))
    assert model.head_weight is model.tokens.weight
    with pytest.raises(ConfigError, match=r"has 4 rows, and the model's vocabulary is 6"):
        place_embeddings(build_model(ModelConfig(kind=kind, d_model=3, n_heads=1), 6), Embeddings("e", MATRIX))
    with pytest.raises(ConfigError, match=r"set model\.d_model 3, not 2"):
        place_embeddings(build_model(ModelConfig(kind=kind, d_model=2, n_heads=1), 4), Embeddings("e", MATRIX))


def test_frozen_embeddings_are_not_trained():
    config = ModelConfig(kind="lstm", d_model=3, embeddings="x.npy", freeze_embeddings=True)
    model = build_model(config, 4)
    names = {name for group in make_optimizer(model, TrainConfig()).groups for name in group.parameters}
    assert "tokens.weight" not in names
    assert "layers.0.weight_hh" in names


ROWS = torch.arange(1.0, 13.0).reshape(4, 3)
PLACES = -torch.arange(1.0, 16.0).reshape(5, 3)


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_two_arrays_are_tokens_and_positions(tmp_path, form):
    path = tmp_path / f"e.{form}"
    if form == "npz":
        np.savez(path, position=PLACES.numpy(), tokens=ROWS.numpy())
    else:
        save_file({"position": PLACES, "tokens": ROWS}, path)
    found = read_embeddings(str(path))
    assert torch.equal(found.tokens, ROWS)
    assert torch.equal(found.positions, PLACES)
    model = build_model(ModelConfig(d_model=3, n_heads=1, context=4), 4)
    assert place_embeddings(model, found) is None
    assert torch.equal(model.tokens.weight, ROWS)
    assert torch.equal(model.positions.weight, PLACES[:4])
    assert "no place" in place_embeddings(build_model(ModelConfig(kind="lstm", d_model=3), 4), found)
    longer = build_model(ModelConfig(d_model=3, n_heads=1, context=6), 4)
    drawn = longer.positions.weight.clone()
    assert "5 positions, too few for model.context 6" in place_embeddings(longer, found)
    assert torch.equal(longer.positions.weight, drawn)
    with pytest.raises(ConfigError, match=r"model\.freeze_positions: .* too few for model\.context 6: shorten it"):
        place_embeddings(longer, found, freeze_positions=True)
    with pytest.raises(ConfigError, match=r"model\.freeze_positions: e holds no positions"):
        place_embeddings(model, Embeddings("e", ROWS), freeze_positions=True)


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_row_of_zeros_too_many_is_padding(place):
    zeros = torch.zeros(1, 3)
    model = build_model(ModelConfig(d_model=3, n_heads=1), 4)
    place_embeddings(model, Embeddings("e", torch.cat([zeros, ROWS] if place == "first" else [ROWS, zeros])))
    assert torch.equal(model.tokens.weight, ROWS)
    with pytest.raises(ConfigError, match="has 5 rows, and the model's vocabulary is 4"):
        place_embeddings(model, Embeddings("e", torch.cat([ROWS, ROWS[:1]])))


def test_frozen_positions_are_not_trained():
    config = ModelConfig(d_model=3, n_heads=1, embeddings="x.npz", freeze_embeddings=True, freeze_positions=True)
    model = build_model(config, 4)
    names = {name for group in make_optimizer(model, TrainConfig()).groups for name in group.parameters}
    assert not names & {"tokens.weight", "positions.weight"}
    assert "blocks.0.attention.qkv.weight" in names
    for wrong in ({"positions": "rotary"}, {"kind": "lstm"}, {"embeddings": None}):
        with pytest.raises(ConfigError, match=r"model\.freeze_positions: is for learned positions"):
            make_config({"model": {"embeddings": "x.npz", "freeze_positions": True} | wrong})
