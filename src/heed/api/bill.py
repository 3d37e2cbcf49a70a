"""What asking costs: the bill before anything is spent, and a budget that is never passed.

    Prices         dollars a million tokens
    Bill           calls, tokens and dollars of requests that are still to be asked
    SpendingLimit  the most that may be spent, as "200 calls, 50000 tokens, $2"
    Spending       what was spent; before each call it sets aside the most that the call can take

A token is at least a byte, which bounds a prompt that only the server can count. When the answer has come, what the
server counted takes the place of that bound.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from heed.api.completion import CompletionAnswer, CompletionRequest, FailedCallError
from heed.errors import ApiError, ConfigError

BYTES_A_TOKEN = 4
"""Bytes of English that a token has on average: what a bill guesses by where it cannot count."""


class SpentError(ApiError):
    """The next call could pass the budget."""


@dataclass(frozen=True)
class Prices:
    """Dollars for a million tokens."""

    prompt: float
    completion: float

    def dollars(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Return what so many tokens cost.

        >>> round(Prices(1.5, 2.0).dollars(1_000_000, 500_000), 2)
        2.5
        """
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


@dataclass(frozen=True)
class Bill:
    """What is still to be asked."""

    calls: int
    kept: int
    """Requests whose answers are there already, and cost nothing."""
    prompt_tokens: int
    """About; see `guessed`."""
    completion_tokens: int
    """At most."""
    guessed: bool
    """Whether prompts are texts, counted by their bytes."""
    dollars: float | None

    def said(self) -> str:
        """Return the bill as a line."""
        about = "about " if self.guessed else ""
        line = (
            f"{self.calls:,} call{'' if self.calls == 1 else 's'}, {about}{self.prompt_tokens:,} tokens of prompt, "
            f"at most {self.completion_tokens:,} of answer"
        )
        line += f"; {self.kept:,} answers are there already" if self.kept else ""
        return line + ("" if self.dollars is None else f"; {about}${self.dollars:.4f} at most")


def bill_of(requests: Iterable[CompletionRequest], kept: int = 0, prices: Prices | None = None) -> Bill:
    """Return the bill of requests whose answers are not kept."""
    calls, prompt, completion, guessed = 0, 0, 0, False
    for request in requests:
        calls += 1
        completion += request.max_tokens * (request.best_of or request.n)
        exact = not isinstance(request.prompt, str) and not request.chat
        guessed |= not exact
        prompt += request.most_prompt_tokens if exact else math.ceil(request.most_prompt_tokens / BYTES_A_TOKEN)
    return Bill(
        calls, kept, prompt, completion, guessed, None if prices is None else prices.dollars(prompt, completion)
    )


@dataclass(frozen=True)
class SpendingLimit:
    """The most that may be spent; None: no limit of this kind."""

    calls: int | None = None
    tokens: int | None = None
    dollars: float | None = None


def read_limit(text: str) -> SpendingLimit:
    """Return a limit from words. Raises `ConfigError` where they are none.

    >>> read_limit("200 calls, 50k tokens, $2.50")
    SpendingLimit(calls=200, tokens=50000, dollars=2.5)
    """
    found: dict[str, float] = {}
    for part in re.sub(r"(?<=\d),(?=\d{3})", "", text).split(","):
        match = re.fullmatch(r"\s*(\$?)\s*(\d+(?:\.\d+)?)\s*([kM]?)\s*(calls?|tokens?|dollars?|)\s*", part)
        unit = match and ("dollars" if match[1] else match[4].rstrip("s") + "s")
        if not match or not unit or unit == "s" or (match[1] and match[4].strip()):
            raise ConfigError(
                f"a budget is written as '200 calls, 50000 tokens, $2', in any part of it, not {text[:60]!r}"
            )
        if unit in found:
            raise ConfigError(f"the budget names {unit} twice: {text[:60]!r}")
        found[unit] = float(match[2]) * {"": 1, "k": 1e3, "M": 1e6}[match[3]]
    whole = {unit: int(value) for unit, value in found.items() if unit != "dollars"}
    return SpendingLimit(**whole, dollars=found.get("dollars"))


class Spending:
    """What was spent of a limit; several threads may ask at once."""

    def __init__(self, limit: SpendingLimit | None = None, prices: Prices | None = None) -> None:
        self.limit, self.prices = limit or SpendingLimit(), prices
        if self.limit.dollars is not None and prices is None:
            raise ConfigError(
                "a budget in dollars needs the prices: dollars for a million tokens of prompt and of answer"
            )
        self.calls = 0
        """Tries, those that failed among them."""
        self.prompt_tokens = self.completion_tokens = 0
        self.bounded = 0
        """Calls that are counted by their bound, since the server told no count, or may have worked unseen."""
        self._aside = {"calls": 0.0, "tokens": 0.0, "dollars": 0.0}
        self._lock = threading.Condition()

    @property
    def dollars(self) -> float | None:
        """What the tokens cost so far; None without prices."""
        return None if self.prices is None else self.prices.dollars(self.prompt_tokens, self.completion_tokens)

    @contextmanager
    def trying(self, request: CompletionRequest) -> Iterator[list[CompletionAnswer]]:
        """Set aside what a call can take at most, while the block makes it and puts the answer into the list.

        Where that could pass the limit it waits for calls that are under way, which may take less than they could;
        raises `SpentError` before the call where it could pass the limit all the same.
        """
        prompt = request.most_prompt_tokens
        answers = request.most_tokens - prompt
        most = {"calls": 1.0, "tokens": float(prompt + answers), "dollars": self._cost(prompt, answers)}
        with self._lock:
            while self._aside["calls"] and self._passed(most):
                self._lock.wait()
            if unit := self._passed(most):
                raise SpentError(self._too_much(unit, most[unit]))
            self._add(most, 1)
        got: list[CompletionAnswer] = []
        unseen = False
        try:
            yield got
        except FailedCallError as error:
            unseen = error.spent
            raise
        except BaseException:
            unseen = True
            raise
        finally:
            with self._lock:
                self._lock.notify_all()
                self._add(most, -1)
                self.calls += 1
                told = got[0] if got and got[0].tokens_used is not None else None
                if told is not None:
                    self.prompt_tokens += told.prompt_tokens or 0
                    self.completion_tokens += told.completion_tokens or 0
                elif got or unseen:
                    self.bounded += 1
                    self.prompt_tokens += prompt
                    self.completion_tokens += answers

    def said(self) -> str:
        """Return what was spent, as a line."""
        line = f"{self.calls:,} calls, {self.prompt_tokens:,} tokens of prompt, {self.completion_tokens:,} of answer"
        line += "" if self.dollars is None else f", ${self.dollars:.4f}"
        return line + (f" ({self.bounded:,} calls by the most they can take)" if self.bounded else "")

    def _cost(self, prompt: float, answers: float) -> float:
        return 0.0 if self.prices is None else self.prices.dollars(prompt, answers)

    def _add(self, most: dict[str, float], sign: int) -> None:
        for unit, amount in most.items():
            self._aside[unit] += sign * amount

    def _spent(self) -> dict[str, float]:
        return {
            "calls": self.calls,
            "tokens": self.prompt_tokens + self.completion_tokens,
            "dollars": self.dollars or 0.0,
        }

    def _passed(self, most: dict[str, float]) -> str | None:
        """Return the unit whose limit a call that takes so much could pass, None where there is none."""
        for unit, so_far in self._spent().items():
            limit = getattr(self.limit, unit)
            if limit is not None and so_far + self._aside[unit] + most[unit] > limit * (1 + 1e-12):
                return unit
        return None

    def _too_much(self, unit: str, most: float) -> str:
        limit, so_far = getattr(self.limit, unit), self._spent()[unit]
        return (
            f"the budget of {limit:,} {unit} could be passed by the next call ({so_far:,.10g} spent, the next takes up "
            f"to {most:,.10g}): raise it to go on; what was answered is kept"
        )
