"""The output matrix of a model out of its files, without torch's help in what is tested."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from heed.errors import CheckpointError
from heed.recovery.output_matrix import read_output_matrix
from heed.training.run import load_run


def test_of_a_run(small_run):
    model, _, _ = load_run(small_run)
    matrix, bias = read_output_matrix(small_run)
    assert np.array_equal(matrix, model.head_weight.detach().numpy())
    assert bias is None
    assert model.head_bias is None


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_of_every_kind_of_number(tmp_path, kind):
    weight = torch.randn(20, 4, generator=torch.Generator().manual_seed(1)).to(kind)
    save_file({"model.norm.weight": torch.ones(4), "lm_head.weight": weight}, tmp_path / "model.safetensors")
    matrix, bias = read_output_matrix(tmp_path)
    assert np.array_equal(matrix, weight.to((matrix.dtype is np.float64 and torch.float64) or torch.float32).numpy())
    assert bias is None


def test_of_several_files_an_own_head_before_an_embedding_and_its_bias(tmp_path):
    head, embedding, bias = torch.randn(20, 4), torch.randn(20, 4), torch.randn(20)
    save_file({"model.embed_tokens.weight": embedding}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"lm_head.weight": head, "lm_head.bias": bias}, tmp_path / "model-00002-of-00002.safetensors")
    matrix, found = read_output_matrix(tmp_path)
    assert np.array_equal(matrix, head.numpy())
    assert found is not None
    assert np.array_equal(found, bias.numpy())


def test_tied_to_the_embedding(tmp_path):
    embedding = torch.randn(20, 4)
    save_file(
        {"transformer.wte.weight": embedding, "transformer.wpe.weight": torch.randn(9, 4)}, tmp_path / "a.safetensors"
    )
    assert np.array_equal(read_output_matrix(tmp_path)[0], embedding.numpy())


def test_the_best_checkpoint_counts(tmp_path):
    for step in (2, 4):
        folder = tmp_path / "checkpoints" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        save_file({"tokens.weight": torch.full((5, 2), float(step))}, folder / "model.safetensors")
    assert read_output_matrix(tmp_path)[0][0, 0] == 4
    (tmp_path / "checkpoints" / "best.json").write_text(json.dumps({"step": 2, "loss": 1.0}))
    assert read_output_matrix(tmp_path)[0][0, 0] == 2


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x10\0\0\0\0\0\0\0{not json here}}"])
def test_damaged_files_are_an_error(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError):
        read_output_matrix(tmp_path)


def test_a_folder_without_weights_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="holds no safetensors"):
        read_output_matrix(tmp_path)
    save_file({"something": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="no output matrix by a known name"):
        read_output_matrix(tmp_path)
