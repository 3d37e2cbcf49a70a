"""A tuned run as a folder that transformers loads by itself: `pipeline("text-classification", FOLDER)`.

Adapters are merged into the weights. A linear head on the mean of the tokens becomes the architecture's own where that
can express it (`heed.tuning.mean_heads`). What no architecture of transformers is (such a head of others, a trained
prompt) cannot be written so, and is refused by name; such a run is written as its adapter (`--to peft`) or as a graph
(`--to onnx`), or tuned again with `--encoder.pooling native`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch

from heed.errors import ConfigError, require
from heed.models.hub import exporting
from heed.report.export_formats import formats
from heed.tuning.adapters import merge, save_adapter
from heed.tuning.cards import ADAPTER, HEAD, ONNX, TRANSFORMERS, save_labels, save_reading
from heed.tuning.mean_heads import can_have_mean_head, with_own_head
from heed.tuning.methods.virtual import Virtual
from heed.tuning.model import Tuned
from heed.tuning.predict import choose_run
from heed.tuning.pretrained import Pretrained
from heed.tuning.tuned_run import load_tuned


def export_transformers(folder: str | Path, out: Path) -> Path:
    """Write a tuned run as config.json, model.safetensors and its tokenizer; return `out`.

    Raises `ConfigError` when it is no architecture of transformers.
    """
    tuned, encoder, run, target = load_tuned(choose_run(Path(folder)), "cpu")
    tuned = whole(tuned, run.config.method.name)
    tuned.put_units_into_head()
    model = tuned.backbone if tuned.head is None else with_own_head(tuned, encoder.pad_id)
    with exporting(out, "config.json") as new:
        model.save_pretrained(new)
        save_reading(encoder, run, target, new, TRANSFORMERS)
    return out


def whole(tuned: Tuned, method: str) -> Tuned:
    """Return the model without adapters. Raises `ConfigError` where no plain model is the same."""
    virtual = isinstance(tuned.backbone, Virtual)
    if tuned.head is not None and (virtual or not can_have_mean_head(tuned)):
        ways = [f"export --to {kind}" for kind in formats(method, native=False)]
        ways += [] if virtual or "head" in method.split("+") else ["tune with --encoder.pooling native"]
        raise ConfigError(
            f"a run of {method} has a linear head on the mean of the tokens, which no model of transformers has for "
            f"{tuned.shape.model_type}: {' or '.join(ways)}"
        )
    return merge(tuned)


def export_adapter(folder: str | Path, out: Path) -> Path:
    """Write what a tuned run has learned in peft's format, with heed's head, labels and tokenizer; return `out`."""
    tuned, encoder, run, target = load_tuned(choose_run(Path(folder)), "cpu")
    tuned.put_units_into_head()

    def beside(place: Path) -> None:
        save_labels(target, place)
        save_reading(encoder, run, target, place, ADAPTER if tuned.head is None else HEAD)

    return save_adapter(tuned, out, beside)


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
    of a pair apart, and gives logits (B, C). Raises `MissingPackageError` without onnx, `ConfigError` where the graph
    would take one number of texts alone.
    """
    require("onnx", "onnx")
    require("onnxscript", "onnx")
    passes = require("onnx_ir.passes.common", "onnx")
    tuned, encoder, run, target = load_tuned(choose_run(Path(folder)), "cpu")
    if not tuned.skipped and tuned.head is None:
        tuned = merge(tuned)
    program = _graph(tuned, encoder, run.config.encoder.max_length)
    if any(isinstance(size, int) for size in program.model.graph.inputs[0].shape):
        raise ConfigError(
            f"--to onnx: the graph of method {run.config.method.name} would be for texts of one number and length: "
            "keep the run, or choose a method without trained tokens"
        )
    passes.ClearMetadataAndDocStringPass()(program.model)  # where on this machine the code lies, line by line
    with exporting(out, "model.onnx") as new:
        program.save(new / "model.onnx", external_data=True)
        save_labels(target, new)
        save_reading(encoder, run, target, new, ONNX)
    return out


def _graph(tuned: Tuned, encoder: Pretrained, longest: int) -> Any:
    """Return the ONNX program of a model for any number of texts of up to `longest` tokens."""
    inputs = {name: torch.ones(2, 8, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    if encoder.segments:
        inputs["token_type_ids"] = torch.zeros(2, 8, dtype=torch.int64)
    inputs["attention_mask"][1, 5:] = 0
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", min=2, max=longest)
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # it tells of its own insides
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                _Logits(tuned).eval(),
                (),
                kwargs=inputs,
                input_names=list(inputs),
                output_names=["logits"],
                dynamic_shapes={name: {0: batch, 1: length} for name in inputs},
                dynamo=True,
                verbose=False,
            )
    finally:
        logger.setLevel(before)
