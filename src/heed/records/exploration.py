"""The record of a look into a model: explore.json."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from heed.records.kept import Finite, Kept, Whole

EXPLORATION = "explore.json"


class ExploredHead(Kept):
    """What one head of a model does; None where a figure does not exist."""

    layer: Whole
    """Counted from 0."""
    head: Whole
    reading: str
    """weights, effective, channels, pooled or none: see `heed.explore.mixing`."""
    entropy: Finite = None
    """Nats."""
    share: Finite = None
    """Of the largest entropy that the keys allow."""
    distance: Finite = None
    """Tokens."""
    previous: Finite = None
    first: Finite = None
    gate: Finite = None
    """What the query's gate lets through, of mechanisms that have one: the mean over tokens and channels."""
    induction: Finite = None
    induction_interval: list[float] | None = None
    """95 %, over sequences."""
    zero: Finite = None
    """Nats a token that the loss rises by when what the head mixes is set to zero."""
    zero_interval: list[float] | None = None
    """95 %, over windows."""
    mean: Finite = None
    """The same with the mean in its place."""
    mean_interval: list[float] | None = None
    role: str = ""
    """What it looks at for half of its weight or more."""


class ExplorationFile(Kept):
    """explore.json: the attention of a model on a prompt, and what its heads are good for; maps are in explore.npz."""

    format: int = 1
    command: list[str] = Field(default_factory=list)
    model: str
    source: str = ""
    kind: str
    """The mechanism, or the architecture in transformers."""
    causal: bool
    layers: Whole
    heads_per_layer: Whole
    context: Whole
    prompt: str
    prompt_from: str = ""
    """Where the prompt comes from, where it was not given."""
    tokens: list[str]
    shown: list[int]
    """Layers that were looked at."""
    map_error: Finite = None
    """How far A v is from what a layer made, at most, as a share of its length."""
    heads: list[ExploredHead]
    induction: dict[str, Any] | None = None
    """length, repeats, sequences, seed, chance, and the loss of the first copy and the later ones with its interval."""
    loss: dict[str, Any] | None = None
    """text, windows, window (tokens), nats, interval: of the whole model, on the text that heads are judged by."""
    lens: list[float | None] = Field(default_factory=list)
    """Loss of the prompt by layer, the embeddings first, nats a token."""
    lens_text: list[dict[str, Any]] = Field(default_factory=list)
    """The same on the text that heads are judged by: nats, interval, and over_last, over_last_interval (paired)."""
    notes: list[str] = Field(default_factory=list)
