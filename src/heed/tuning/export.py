"""A tuned run as a folder that transformers loads by itself: `pipeline("text-classification", FOLDER)`.

Adapters are merged into the weights. What no architecture of transformers is (a linear head on the mean of the tokens,
a trained prompt) cannot be written so, and is refused by name; such a run is written as its adapter (`--to peft`), or
tuned again with `--encoder.pooling native`.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import torch

from heed.errors import ConfigError, require
from heed.training.run import write_json
from heed.tuning.adapters import merge, save_adapter
from heed.tuning.model import Tuned
from heed.tuning.predict import choose_run
from heed.tuning.run import load_tuned


def export_transformers(folder: str | Path, out: Path) -> Path:
    """Write a tuned run as config.json, model.safetensors and its tokenizer; return `out`.

    Raises `ConfigError` when it is no architecture of transformers.
    """
    tuned, encoder, run, _ = load_tuned(choose_run(Path(folder)), "cpu")
    tuned = whole(tuned, run.config.method.name)
    out.mkdir(parents=True, exist_ok=True)
    tuned.backbone.save_pretrained(out, safe_serialization=True)
    encoder.tokenizer.model_max_length = run.config.encoder.max_length
    encoder.tokenizer.save_pretrained(out)
    return out


def whole(tuned: Tuned, method: str) -> Tuned:
    """Return the model without adapters. Raises `ConfigError` where no plain model is the same."""
    if tuned.head is not None:
        raise ConfigError(
            f"a run of {method} has a linear head on the mean of the tokens, which no model of transformers has: "
            "tune with --encoder.pooling native, or export --to peft"
        )
    return merge(tuned)


def export_adapter(folder: str | Path, out: Path) -> Path:
    """Write what a tuned run has learned in peft's format, with heed's head beside it; return `out`."""
    tuned, *_ = load_tuned(choose_run(Path(folder)), "cpu")
    out.mkdir(parents=True, exist_ok=True)
    save_adapter(tuned, out)
    return out


class _Logits(torch.nn.Module):
    """What an ONNX graph computes: the inputs that transformers gives its encoders -> logits (B, C)."""

    def __init__(self, tuned: Tuned) -> None:
        super().__init__()
        tuned.always_masks = True  # a graph has no branches
        self.tuned = tuned

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return logits (B, C) of ids (B, T); the mask is 1 at real tokens, the types 1 in the second text."""
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        return self.tuned(torch.stack([input_ids, (types + 1) * attention_mask], dim=1))


def export_onnx(folder: str | Path, out: Path) -> Path:
    """Write a tuned run as model.onnx with its tokenizer; return `out`.

    The graph takes input_ids and attention_mask (B, T) int64, and token_type_ids where the encoder tells the two texts
    of a pair apart, and gives logits (B, C). Raises `MissingPackageError` without onnx.
    """
    require("onnx", "onnx")
    require("onnxscript", "onnx")
    tuned, encoder, run, classes = load_tuned(choose_run(Path(folder)), "cpu")
    if not tuned.skipped and tuned.head is None:
        tuned = merge(tuned)
    out.mkdir(parents=True, exist_ok=True)
    inputs = {name: torch.ones(2, 8, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    if encoder.segments:
        inputs["token_type_ids"] = torch.zeros(2, 8, dtype=torch.int64)
    inputs["attention_mask"][1, 5:] = 0
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=2, max=run.config.encoder.max_length)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # the exporter tells of its own insides
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Logits(tuned).eval(),
            (),
            out / "model.onnx",
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes={name: {0: batch, 1: length} for name in inputs},
            dynamo=True,
            verbose=False,
        )
    write_json(out / "labels.json", {str(number): name for number, name in enumerate(classes)})
    encoder.tokenizer.save_pretrained(out)
    return out
