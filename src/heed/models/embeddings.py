"""Embeddings that were learned elsewhere: of tokens (V, D) and perhaps of positions (T, D), out of a file or a model.

    .safetensors, .npz    the one matrix that it holds; or `tokens` beside `position` (as IFT6135 gives GPT-1's)
    .npy                  the matrix
    folder, hf:NAME       those of a transformers model that heed reads (see `hub.py`)

Nothing is unpickled (see `heed.npz`). A row more or less is padding: a model whose vocabulary has one token more than
the matrix has rows gives that last token a row of zeros, and of a matrix with one row more the first or last is left
out, if it is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from heed.errors import ConfigError, DataError
from heed.models.base import LanguageModel
from heed.models.hub import from_hub
from heed.npz import read_arrays


@dataclass(frozen=True)
class Embeddings:
    """What was learned elsewhere, float32."""

    source: str
    tokens: Tensor
    """(V, D)."""
    positions: Tensor | None = None
    """(T, D), where there are any."""


def read_embeddings(source: str) -> Embeddings:
    """Return the embeddings in `source`.

    Raises `ConfigError` when there is no such file or folder, `DataError` when it holds neither one matrix of finite
    numbers nor `tokens` and `position`, and what `from_hub` raises.
    """
    path = Path(source)
    if source.startswith("hf:") or path.is_dir():
        weights = from_hub(source)[1]
        return Embeddings(source, weights["tokens.weight"], weights.get("positions.weight"))
    if not path.is_file():
        raise ConfigError(
            f"model.embeddings: no file or folder {source}; a model on the Hugging Face hub is written hf:{source}"
        )
    matrices = {name: tensor for name, tensor in _tensors(path).items() if tensor.ndim == 2}
    if len(matrices) != 1 and matrices.keys() != {"tokens", "position"}:
        raise DataError(
            f"{source} holds {len(matrices)} matrices: embeddings are one (tokens, width), or `tokens` and `position`"
        )
    if not all(matrix.is_floating_point() and matrix.isfinite().all() for matrix in matrices.values()):
        raise DataError(f"{source} must hold finite floating-point numbers: write the embeddings again")
    tokens, *others = (matrices[name].float() for name in sorted(matrices, reverse=True))
    return Embeddings(source, tokens, *others)


def place_embeddings(model: LanguageModel, given: Embeddings, freeze_positions: bool = False) -> str | None:
    """Copy embeddings into a model; of positions as many as it has. Return a note on what it has no place for.

    Raises `ConfigError` where the shapes do not fit, and when positions are to be frozen that are not there.
    """
    _copy_tokens(model.get_parameter("tokens.weight"), given.tokens, given.source)
    own = dict(model.named_parameters()).get("positions.weight")
    if given.positions is None:
        if freeze_positions:
            raise ConfigError(f"model.freeze_positions: {given.source} holds no positions: leave it out")
        return None
    if own is None:
        return f"{given.source} holds positions, for which this model has no place: they are left out"
    if given.positions.shape[1] != own.shape[1]:
        raise ConfigError(f"{given.source} has tokens and positions of different widths: write the embeddings again")
    if (rows := len(given.positions)) < len(own):
        few = f"{given.source} holds {rows:,} positions, too few for model.context {len(own):,}"
        if freeze_positions:
            raise ConfigError(f"model.freeze_positions: {few}: shorten it")
        return f"{few}: they are left out"
    with torch.no_grad():
        own.copy_(given.positions[: own.shape[0]])
    return None


def _copy_tokens(own: Tensor, matrix: Tensor, source: str) -> None:
    """Copy a matrix (V, D) into the token embedding `own`, with a row of padding more or less."""
    rows, width = matrix.shape
    if width != own.shape[1]:
        raise ConfigError(f"{source} has vectors of width {width}: set model.d_model {width}, not {own.shape[1]}")
    if rows == own.shape[0] + 1 and not matrix[-1].any():
        matrix = matrix[:-1]
    elif rows == own.shape[0] + 1 and not matrix[0].any():
        matrix = matrix[1:]
    elif own.shape[0] - rows not in (0, 1):
        raise ConfigError(
            f"{source} has {rows:,} rows, and the model's vocabulary is {own.shape[0]:,}: "
            "take the tokenizer that the embeddings were made for (tokenizer.file)"
        )
    with torch.no_grad():
        own[: len(matrix)] = matrix.to(own)
        own[len(matrix) :] = 0


def _tensors(path: Path) -> dict[str, Tensor]:
    """Return every array in a file by its name. Raises `DataError` when it cannot be read without unpickling."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npy":
            return {"tokens": torch.from_numpy(read_arrays(path)["array"])}
        if path.suffix == ".npz":
            return {name: torch.from_numpy(array) for name, array in read_arrays(path).items()}
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read as embeddings: {error}") from error
    raise DataError(f"{path}: embeddings are read from .safetensors, .npz and .npy files")
