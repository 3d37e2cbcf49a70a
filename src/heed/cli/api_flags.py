"""The flags of the verbs that ask an API: what may be spent, the key, and how fast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from heed.config import Section

if TYPE_CHECKING:
    from heed.api import Caller, Prices


class ApiFlags(Section):
    """How an API is asked."""

    budget: str | None = None
    """What may be spent at most: "2000 calls, 50000 tokens, $2". It is never passed; heed recover asks for it where the
    API is not on this machine."""
    prices: tuple[float, float] | None = None
    """Dollars for a million tokens of prompt, and of answer: --prices 0.5 1.5."""
    key_env: str | None = None
    """The variable of the environment that holds the key. Default: HEED_API_KEY."""
    key_file: Path | None = None
    """The file that holds the key."""
    threads: int = Field(default=8, ge=1, le=256)
    """Requests under way at a time."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """At most so many requests a minute."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """At most so many tokens a minute."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds that an answer may take."""
    tries: int = Field(default=6, ge=1, le=100)
    """Times that a request is tried."""

    def known_prices(self) -> Prices | None:
        """Return what tokens cost, None where nobody said it."""
        from heed.api import Prices

        return None if self.prices is None else Prices(*self.prices)

    def open_caller(self, api: str, model: str, folder: Path, say: Callable[[str], None]) -> Caller:
        """Return who asks the API; its answers are kept in the folder."""
        from heed.api import ANSWERS, RetryPlan, open_api, read_key, read_limit

        return open_api(
            api,
            model,
            read_key(api, variable=self.key_env, file=self.key_file),
            answers=folder / ANSWERS,
            limit=None if self.budget is None else read_limit(self.budget),
            prices=self.known_prices(),
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            retries=RetryPlan(tries=self.tries),
            timeout=self.timeout,
            threads=self.threads,
            say=say,
        )
