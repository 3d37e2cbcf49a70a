"""The output matrix of a model from its files: a heed run, or a folder of Hugging Face; safetensors and numpy only.

    logits = W h + b          W (V, d) by one of the names below, b (V,) where there is one

Where no file has an output matrix of its own it is tied to the token embedding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heed.errors import CheckpointError, why
from heed.files import expanded

HEADS = ("head.weight", "lm_head.weight", "embed_out.weight")
EMBEDDINGS = ("tokens.weight", "wte.weight", "embed_tokens.weight", "embed_in.weight", "tokens_embed.weight",
              "word_embeddings.weight")  # fmt: skip
BIASES = ("bias", "lm_head.bias", "embed_out.bias")
KINDS: dict[str, Any] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""Numbers in safetensors, as numpy calls them; BF16 is the upper half of a float32."""


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in a file."""

    path: Path
    kind: str
    shape: tuple[int, ...]
    start: int
    """Bytes from the beginning of the file."""

    def read(self) -> np.ndarray:
        """Return it as float32, or float64 where it is stored so."""
        count = int(np.prod(self.shape))
        raw = np.fromfile(self.path, dtype=KINDS[self.kind], count=count, offset=self.start).reshape(self.shape)
        if self.kind == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw if self.kind == "F64" else raw.astype(np.float32)


def read_output_matrix(folder: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (W (V, d), b (V,) or None) of a run's best checkpoint, or of a folder with safetensors.

    Raises `CheckpointError` where there is none.
    """
    folder = expanded(folder)
    try:
        tensors = {name: one for path in weight_files(folder) for name, one in tensors_of(path).items()}
        matrix = _find(tensors, HEADS) or _find(tensors, EMBEDDINGS)
        if matrix is None:
            raise CheckpointError(
                f"{folder} holds no output matrix by a known name: {', '.join([*HEADS, *EMBEDDINGS])}"
            )
        bias = _find(tensors, BIASES, lambda one: one.shape == matrix.shape[:1], whole=True)
        return matrix.read(), None if bias is None else bias.read()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the weights in {folder} cannot be read: {why(error)}") from error


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model. Raises `CheckpointError` where there are none."""
    checkpoints = folder / "checkpoints"
    if checkpoints.is_dir():
        steps = sorted(path for path in checkpoints.glob("step-*") if path.is_dir())
        if not steps:
            raise CheckpointError(f"{folder} has no checkpoint yet: train it first")
        best, mark = steps[-1], checkpoints / "best.json"
        if mark.is_file():
            step = json.loads(mark.read_text(encoding="utf-8"))["step"]
            best = next((path for path in steps if int(path.name.removeprefix("step-")) == step), best)
        if any(best.glob("part-*.safetensors")):
            raise CheckpointError(f"{best} is in parts until its training has ended: end that first (--resume)")
        return [best / "model.safetensors"]
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise CheckpointError(f"{folder} holds no safetensors: give a run folder, or one of Hugging Face")
    return found


def tensors_of(path: Path) -> dict[str, StoredTensor]:
    """Return where each tensor of a safetensors file lies: 8 bytes with the length of a JSON header, then the data."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= 100_000_000:
            raise ValueError(f"{path.name} is no safetensors file")
        header = json.loads(file.read(length))
    return {
        name: StoredTensor(path, one["dtype"], tuple(one["shape"]), 8 + length + one["data_offsets"][0])
        for name, one in header.items()
        if name != "__metadata__"
    }


def _find(
    tensors: dict[str, StoredTensor],
    names: Iterable[str],
    fits: Callable[[StoredTensor], bool] = lambda one: len(one.shape) == 2,
    whole: bool = False,
) -> StoredTensor | None:
    """Return the first tensor of one of some names; unless `whole`, with parts before it."""
    for wanted in names:
        for name, one in tensors.items():
            if (name == wanted or (not whole and name.endswith(f".{wanted}"))) and one.kind in KINDS and fits(one):
                return one
    return None
