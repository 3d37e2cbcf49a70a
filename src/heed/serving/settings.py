"""What the operator of a server decides: limits, keys, and how it mimics closed APIs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from heed.errors import ConfigError


@dataclass(frozen=True)
class ServerSettings:
    """How a server behaves; the flags of `heed serve` explain each."""

    api_keys: tuple[str, ...] = ()
    """Empty: no key is asked for."""
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    """Names that it answers to where no key is asked for: a page elsewhere must not reach it by a name of its own."""
    rows: int = 32
    queue: int = 256
    max_choices: int = 256
    max_tokens: int | None = None
    max_body: int = 4_000_000
    connections: int = 1000
    time_limit: float = 300.0
    on_overflow: Literal["error", "slide"] = "error"
    top_logprobs: int = 5
    logprobs: Literal["raw", "processed"] = "raw"
    round_logprobs: float | None = None
    bias: Literal["shown", "hidden"] = "shown"
    latency: float = 0.0
    fail_rate: float = 0.0
    access_log: bool = True

    def __post_init__(self) -> None:
        positive = ("rows", "queue", "max_choices", "max_body", "connections", "time_limit")
        problems = [
            f"{name} must be above 0, not {value}" for name in positive if not (value := getattr(self, name)) > 0
        ]
        if self.round_logprobs is not None and not 0 < self.round_logprobs < 100:
            problems.append(f"round_logprobs must be above 0 and below 100, not {self.round_logprobs}")
        if not 0 <= self.fail_rate <= 1:
            problems.append(f"fail_rate must be between 0 and 1, not {self.fail_rate}")
        if not 0 <= self.latency < 3600:
            problems.append(f"latency must be between 0 and 3600 seconds, not {self.latency}")
        if not all(key.isprintable() and key.isascii() and key for key in self.api_keys):
            problems.append("an API key must be printable ASCII and not empty")
        if problems:
            raise ConfigError(*problems)

    @property
    def report(self) -> Literal["raw", "processed", "unbiased"]:
        """Which log-probabilities are reported: see `heed.generation.decoding.Chooser`."""
        if self.logprobs == "raw":
            return "raw"
        return "unbiased" if self.bias == "hidden" else "processed"

    def rounded(self, logprob: float) -> float:
        """Return a log-probability as it is reported; JSON has no -inf, and OpenAI writes -9999 for it."""
        if logprob < -9999:
            return -9999.0
        step = self.round_logprobs
        return logprob if step is None else round(logprob / step) * step
