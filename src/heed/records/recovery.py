"""The record of a distribution that was recovered from an API: recovery.json."""

from __future__ import annotations

from pydantic import Field

from heed.records.kept import Kept, Whole

RECOVERY = "recovery.json"


class TruthCheck(Kept):
    """How far a recovered distribution is from that of a model at hand."""

    name: str
    worst: float
    """The largest difference of a log-probability, in nats."""
    outside: Whole
    """Tokens whose difference is more than their error bar."""


class RecoveryFile(Kept):
    """recovery.json: what was asked of an API and what came of it; the distribution itself is in distribution.npz."""

    format: int = 1
    command: list[str] = Field(default_factory=list)
    prompt: str = ""
    prompt_ids: list[int] | None = None
    endpoint: str = ""
    model: str = ""
    vocabulary: Whole
    method: str
    shows: str
    """biased, raw or nothing: which probabilities the API shows."""
    top: Whole
    """Likeliest tokens that it shows."""
    bias: float
    """Its largest bias."""
    resolution: str
    """What it rounds to."""
    noise: float = 0.0
    """Nats by which equal questions were answered differently."""
    formula: Whole
    """Calls by the formula of the method."""
    asked: Whole
    """Questions that were asked, those of the probe among them."""
    controls: Whole = 0
    """Calls that looked for a change."""
    spent: dict[str, float | None] = Field(default_factory=dict)
    """calls, prompt_tokens, completion_tokens, dollars of the last time; what was kept from earlier costs nothing."""
    seconds: float = 0.0
    wanted: Whole
    """Tokens that were asked for: all, or those of a nucleus."""
    seen: Whole
    seen_mass: float
    seen_mass_error: float
    unseen_mass: float
    unseen: list[int] = Field(default_factory=list)
    """Tokens that were asked for and never seen."""
    error_median: float | None = None
    error_worst: float | None = None
    facts: dict[str, float] = Field(default_factory=dict)
    truth: TruthCheck | None = None
    notes: list[str] = Field(default_factory=list)
