"""The record of how wide the model behind an API is: hidden_size.json."""

from __future__ import annotations

from pydantic import Field

from heed.records.kept import Kept, Whole

HIDDEN_SIZE = "hidden_size.json"


class HiddenSizeFile(Kept):
    """hidden_size.json: the rank of what an API said after many prompts."""

    format: int = 1
    command: list[str] = Field(default_factory=list)
    endpoint: str = ""
    model: str = ""
    vocabulary: Whole
    prompts: Whole
    tokens: Whole
    """Tokens that were read after every prompt."""
    rank: Whole
    bounded: bool
    """Whether there were too few prompts or tokens to tell: the model may be wider."""
    gap: float
    """How many times larger the last singular value that counts is than the next one."""
    floor: float
    """Where the singular values of noise end."""
    singular: list[float]
    error_median: float
    """Of the log-probabilities, in nats."""
    formula: Whole
    asked: Whole
    spent: dict[str, float | None] = Field(default_factory=dict)
    seconds: float = 0.0
