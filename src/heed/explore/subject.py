"""A model that is looked into: its attention, its residual stream, and its loss with a head switched off.

runs/NAME              a run of heed whose model has attention           own_model.py
FOLDER or hf:NAME      GPT-1, GPT-2, Llama: as heed's own                own_model.py
                       other causal models and encoders of transformers  hub_model.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from heed.explore.mixing import HeadWeights


@dataclass(frozen=True)
class SwitchedHead:
    """A head that is switched off: what it mixes is taken away, or replaced by a mean."""

    layer: int
    head: int
    value: Tensor | None = None
    """(K,) that stands in the place of what the head mixes; None: zeros."""


@dataclass(frozen=True)
class Trace:
    """What happened inside while one sequence of T tokens was read."""

    layers: Sequence[HeadWeights]
    """One a layer."""
    residuals: Sequence[Tensor]
    """L + 1 tensors (T, D): the embeddings, then the stream after each layer."""


class Subject(Protocol):
    """A model with its tokenizer."""

    name: str
    source: str
    """What it is, for people."""
    kind: str
    """The mechanism, or the architecture in transformers."""
    layers: int
    heads: int
    context: int
    """Longest sequence that it reads."""
    causal: bool
    """Whether a token sees only what stands before it."""
    predicts: bool
    """Whether it tells the next token, so that there is a loss."""
    lenses: bool
    """Whether the residual stream can be read by the last norm and the output matrix."""
    switches: bool
    """Whether a head can be switched off."""
    notes: list[str]
    """What a reader must know of all its figures."""
    plain_ids: np.ndarray
    """Ids of tokens that stand for text: all but the special ones."""
    start_ids: tuple[int, ...]
    """What every text begins with."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, with what the tokenizer puts around it."""
        ...

    def show(self, ids: Sequence[int]) -> list[str]:
        """Return each token as text."""
        ...

    def trace(self, ids: Sequence[int]) -> Trace:
        """Read one sequence and keep what happens inside."""
        ...

    def residuals(self, source: np.ndarray) -> list[Tensor]:
        """Return L + 1 tensors (B, T, D) of `source` (B, T): the embeddings, then the stream after each layer."""
        ...

    def nats(self, source: np.ndarray, target: np.ndarray, off: SwitchedHead | None = None) -> np.ndarray:
        """Return the loss (B, T) of `target` (B, T) after `source` (B, T), with a head switched off."""
        ...

    def head_means(self, source: np.ndarray) -> Tensor:
        """Return the mean (L, H, K) of what each head mixes, over all tokens of `source` (B, T)."""
        ...

    def lens(self, residual: Tensor) -> Tensor:
        """Return the logits (..., V) that the last norm and the output matrix make of a residual stream (..., D)."""
        ...
