"""A pretrained encoder before anything is done to it: its model, its tokenizer, and what must be known of its shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn


@dataclass(frozen=True)
class EncoderShape:
    """What the formulas of the methods and the messages need of an encoder."""

    model_type: str
    layers: int
    d_model: int
    heads: int
    positions: int | None
    """Longest sequence that the model can read; None: any."""
    parameters: int = 0


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model with its tokenizer, before anything is done to it."""

    name: str
    folder: Path
    source: str
    """What it is, for people: the package and version, the folder, the name on the hub."""
    model: nn.Module
    """Without a head (`AutoModel`), or with the architecture's own (`AutoModelForSequenceClassification`)."""
    native: bool
    """Whether the model has its own head."""
    tokenizer: Any
    """A fast tokenizer of transformers."""
    shape: EncoderShape
    pad_id: int
    segments: bool
    """Whether the model tells the two texts of a pair apart by token types."""
