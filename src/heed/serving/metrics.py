"""What the server has done so far, as Prometheus reads it (text format 0.0.4)."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Seconds that requests are counted by."""


@dataclass
class Metrics:
    """Counts since the start. Written by one thread each, so nothing is locked."""

    started: float = field(default_factory=time.monotonic)
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By path and status."""
    seconds: Counter[float] = field(default_factory=Counter)
    """Requests by the bound that their time stays within."""
    total_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    turns: int = 0
    turn_seconds: float = 0.0
    refused: int = 0
    failed: int = 0
    cancelled: int = 0
    open_requests: int = 0
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Rows that run and requests that wait, by model."""

    def turn(self, model: str, running: int, waiting: int, seconds: float) -> None:
        """Note a turn of the engine."""
        self.turns += 1
        self.turn_seconds += seconds
        self.rows[model] = (running, waiting)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Note a request of HTTP that was answered."""
        self.requests[path, status] += 1
        self.total_seconds += seconds
        for bound in BOUNDS:
            if seconds <= bound:
                self.seconds[bound] += 1

    def text(self) -> str:
        """Return all of it in Prometheus' text format."""
        count = sum(self.requests.values())
        lines = [
            "# TYPE heed_uptime_seconds gauge",
            f"heed_uptime_seconds {time.monotonic() - self.started:.3f}",
            "# TYPE heed_requests_total counter",
            *(f'heed_requests_total{{path="{path}",status="{n}"}} {v}' for (path, n), v in self.requests.items()),
            "# TYPE heed_request_seconds histogram",
            *(f'heed_request_seconds_bucket{{le="{bound:g}"}} {self.seconds[bound]}' for bound in BOUNDS),
            f'heed_request_seconds_bucket{{le="+Inf"}} {count}',
            f"heed_request_seconds_sum {self.total_seconds:.6f}",
            f"heed_request_seconds_count {count}",
        ]
        for name, value in (
            ("prompt_tokens", self.prompt_tokens),
            ("completion_tokens", self.completion_tokens),
            ("turns", self.turns),
            ("turn_seconds", f"{self.turn_seconds:.6f}"),
            ("refused", self.refused),
            ("failed", self.failed),
            ("cancelled", self.cancelled),
        ):
            lines += [f"# TYPE heed_{name}_total counter", f"heed_{name}_total {value}"]
        lines += ["# TYPE heed_open_requests gauge", f"heed_open_requests {self.open_requests}"]
        for place, name in enumerate(("running_rows", "waiting_requests")):
            lines.append(f"# TYPE heed_{name} gauge")
            lines += [f'heed_{name}{{model="{model}"}} {counts[place]}' for model, counts in self.rows.items()]
        return "\n".join(lines) + "\n"
