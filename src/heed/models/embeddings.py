"""Token embeddings that were learned elsewhere: a matrix (V, D) out of a file, or those of a transformers model.

    .safetensors, .npz    the one matrix that it holds
    .npy                  the matrix
    folder, hf:NAME       the token embedding of a transformers model that heed reads (see `hub.py`)

Nothing is unpickled. A model whose vocabulary has one token more than the matrix has rows gives that last token, which
pads, a row of zeros.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from heed.errors import ConfigError, DataError
from heed.models.base import LanguageModel
from heed.models.hub import from_hub


def read_embeddings(source: str) -> Tensor:
    """Return the matrix (V, D) in `source`, float32.

    Raises `ConfigError` when there is no such file or folder, `DataError` when it does not hold exactly one matrix of
    finite numbers, and what `from_hub` raises.
    """
    path = Path(source)
    if source.startswith("hf:") or path.is_dir():
        return from_hub(source)[1]["tokens.weight"]
    if not path.is_file():
        raise ConfigError(
            f"model.embeddings: no file or folder {source}; a model on the Hugging Face hub is written hf:{source}"
        )
    matrices = [tensor for tensor in _tensors(path) if tensor.ndim == 2]
    if len(matrices) != 1:
        raise DataError(f"{source} holds {len(matrices)} matrices: embeddings are one, (tokens, width)")
    matrix = matrices[0]
    if not matrix.is_floating_point() or not matrix.isfinite().all():
        raise DataError(f"{source} must hold finite floating-point numbers: write the embeddings again")
    return matrix.float()


def place_embeddings(model: LanguageModel, matrix: Tensor, source: str = "model.embeddings") -> None:
    """Copy a matrix (V, D) into the token embedding of `model`, one row of zeros added where the model has V + 1 rows.

    Raises `ConfigError` where the shapes do not fit otherwise.
    """
    own = model.get_parameter("tokens.weight")
    rows, width = matrix.shape
    if width != own.shape[1]:
        raise ConfigError(f"{source} has vectors of width {width}: set model.d_model {width}, not {own.shape[1]}")
    if own.shape[0] - rows not in (0, 1):
        raise ConfigError(
            f"{source} has {rows:,} rows, and the model's vocabulary is {own.shape[0]:,}: "
            "take the tokenizer that the embeddings were made for (tokenizer.file)"
        )
    with torch.no_grad():
        own[:rows] = matrix.to(own)
        own[rows:] = 0


def _tensors(path: Path) -> list[Tensor]:
    """Return every array in a file. Raises `DataError` when it cannot be read without unpickling."""
    try:
        if path.suffix == ".safetensors":
            return list(load_file(path).values())
        if path.suffix == ".npy":
            return [torch.from_numpy(np.load(path, allow_pickle=False))]
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return [torch.from_numpy(archive[name]) for name in archive.files]
    except (OSError, ValueError, TypeError, SafetensorError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as embeddings: {error}") from error
    raise DataError(f"{path}: embeddings are read from .safetensors, .npz and .npy files")
