"""How fast an API is asked: at most so many requests and tokens a minute, and longer waits after each failure."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from heed.errors import ConfigError

MINUTE = 60.0


@dataclass(frozen=True)
class RetryPlan:
    """How often and how fast to try again: waits of `first`, 2 `first`, 4 `first` ... seconds, at most `longest`.

    Each is drawn between half and all of that, so that many who failed together do not come back together. What the
    server asks for by Retry-After counts instead; where it asks for more than `patience`, that is the end.
    """

    tries: int = 6
    first: float = 0.5
    longest: float = 30.0
    patience: float = 120.0

    def wait(self, failures: int, after: float | None, random_number: float | None = None) -> float | None:
        """Return the seconds to wait after so many failures, None to give up.

        >>> plan = RetryPlan()
        >>> plan.wait(1, None, 1.0), plan.wait(3, None, 0.0), plan.wait(1, 7.0), plan.wait(6, 1.0)
        (0.5, 1.0, 7.0, None)
        """
        if failures >= self.tries or (after is not None and after > self.patience):
            return None
        if after is not None:
            return after
        share = random.random() if random_number is None else random_number
        return min(self.longest, self.first * 2 ** (failures - 1)) * (0.5 + 0.5 * share)


class RateLimit:
    """Requests and tokens a minute, None without limit: each is a bucket that fills evenly, and holds a minute's worth.

    What a call may take at most is taken out of both; whoever comes when there is too little waits for its turn. A call
    that takes more tokens than a minute has waits for a full bucket.
    """

    def __init__(
        self,
        requests: float | None = None,
        tokens: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if (requests is not None and requests <= 0) or (tokens is not None and tokens <= 0):
            raise ConfigError("requests and tokens a minute must be more than 0")
        self._most = (requests, tokens)
        self._left = [requests or 0.0, tokens or 0.0]
        self._clock = clock
        self._then = clock()
        self._lock = threading.Lock()

    def take(self, tokens: int, sleep: Callable[[float], object] = time.sleep) -> None:
        """Count a call of so many tokens, and `sleep` until it may be made."""
        with self._lock:
            now = self._clock()
            wait = 0.0
            for kind, (most, amount) in enumerate(zip(self._most, (1.0, float(tokens)), strict=True)):
                if most is None:
                    continue
                self._left[kind] = min(most, self._left[kind] + (now - self._then) * most / MINUTE)
                amount = min(amount, most)
                wait = max(wait, (amount - self._left[kind]) * MINUTE / most)
                self._left[kind] -= amount  # below 0: what those who come next wait for as well
            self._then = now
        if wait > 0:
            sleep(wait)
