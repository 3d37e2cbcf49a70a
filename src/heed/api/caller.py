"""Many requests to whoever answers: kept answers first, then the budget, the rate, the call, and other tries.

request -> kept? -> budget -> rate -> call -> failed? wait, again -> kept -> answer, in the order of the requests
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from heed.api.answers import AnswerStore
from heed.api.bill import Bill, Prices, Spending, SpendingLimit, bill_of
from heed.api.client import CompletionClient
from heed.api.completion import Completer, CompletionAnswer, CompletionRequest, FailedCallError, RefusedError
from heed.api.keys import ApiKey
from heed.api.limits import RateLimit, RetryPlan
from heed.errors import ApiError, DataError

A = TypeVar("A")
THREADS = 8
"""Requests under way at a time."""


class Caller:
    """Asks one `Completer`. Safe in threads; equal requests that are under way together are asked once."""

    def __init__(
        self,
        completer: Completer,
        *,
        store: AnswerStore | None = None,
        spending: Spending | None = None,
        rate: RateLimit | None = None,
        retries: RetryPlan | None = None,
        threads: int = THREADS,
        sleep: Callable[[float], object] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.completer, self.store = completer, store
        self.spending, self.rate = spending or Spending(), rate or RateLimit()
        self.retries, self.threads = retries or RetryPlan(), max(1, threads)
        self._say = say
        self._under_way: dict[str, Future[CompletionAnswer]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._sleep = sleep or self._stopped.wait

    @property
    def endpoint(self) -> str:
        """Where it asks."""
        return self.completer.endpoint

    @property
    def model(self) -> str:
        """Whom it asks."""
        return self.completer.model

    def kept(self, request: CompletionRequest) -> CompletionAnswer | None:
        """Return the answer that is kept, None where there is none."""
        return None if self.store is None else self.store.get(self._key(request))

    def bill(self, requests: Iterable[CompletionRequest]) -> Bill:
        """Return what the requests would cost: equal ones once, those with kept answers nothing."""
        different = {self._key(request): request for request in requests}
        new = [request for request in different.values() if self.kept(request) is None]
        return bill_of(new, len(different) - len(new), self.spending.prices)

    def complete(self, request: CompletionRequest) -> CompletionAnswer:
        """Return an answer, kept or new. Raises `ApiError`: `SpentError`, or why the last try failed."""
        key = self._key(request)
        with self._lock:
            if self.store is not None and (answer := self.store.get(key)) is not None:
                return answer
            asked = self._under_way.get(key)
            mine: Future[CompletionAnswer] = asked or self._under_way.setdefault(key, Future())
        if asked is not None:
            return asked.result()
        try:
            answer = self._ask(request)
            if self.store is not None:
                self.store.add(key, request, answer)
            mine.set_result(answer)
        except BaseException as error:
            if isinstance(error, DataError):  # it cannot be kept, nor can what would be asked next
                self._stopped.set()
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._under_way[key]
        return answer

    def complete_all(self, requests: Iterable[CompletionRequest]) -> Iterator[CompletionAnswer]:
        """Yield the answers in the order of the requests, several of which are under way at a time.

        Where one fails no more are begun; what is under way is waited for and kept, and the error is raised.
        """
        yield from self._all(self.complete, requests)

    def complete_each(self, requests: Iterable[CompletionRequest]) -> Iterator[CompletionAnswer | RefusedError]:
        """Yield the same, and for a request that is refused for its own sake the error, in its place."""

        def complete(request: CompletionRequest) -> CompletionAnswer | RefusedError:
            try:
                return self.complete(request)
            except RefusedError as error:
                return error

        yield from self._all(complete, requests)

    def _all(self, complete: Callable[[CompletionRequest], A], requests: Iterable[CompletionRequest]) -> Iterator[A]:
        """Yield what `complete` makes of each request."""
        waiting: deque[Future[A]] = deque()
        self._stopped.clear()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="asking")
        try:
            for request in requests:
                waiting.append(pool.submit(complete, request))
                if failed := next((one for one in waiting if one.done() and one.exception()), None):
                    failed.result()
                if len(waiting) >= 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            self._stopped.set()
            for one in waiting:
                one.cancel()
            pool.shutdown(wait=True, cancel_futures=True)
            self._stopped.clear()

    def close(self) -> None:
        """Close what it asks, where that can be closed."""
        with suppress(AttributeError):
            self.completer.close()  # type: ignore[attr-defined]

    def _key(self, request: CompletionRequest) -> str:
        return request.key(self.endpoint, self.model)

    def _ask(self, request: CompletionRequest) -> CompletionAnswer:
        """Call until there is an answer."""
        failures = 0
        while True:
            try:
                with self.spending.trying(request) as got:
                    self.rate.take(request.most_tokens, self._sleep)
                    self._go_on()
                    got.append(self.completer.complete(request))
                    return got[0]
            except FailedCallError as error:
                failures += 1
                wait = self.retries.wait(failures, error.after) if error.again and not self._stopped.is_set() else None
                if wait is None:
                    tried = f" (tried {failures} times)" if failures > 1 else ""
                    raise (RefusedError if error.refused else ApiError)(f"{error}{tried}") from None
                self._say(f"note: {error}; again in {wait:.1f} s")
                self._sleep(wait)
                self._go_on()

    def _go_on(self) -> None:
        """Raise `FailedCallError` where the others have stopped: nothing is asked any more."""
        if self._stopped.is_set():
            raise FailedCallError("stopped", again=False)


def open_api(
    base_url: str,
    model: str,
    key: ApiKey | None = None,
    *,
    answers: str | Path | None = None,
    limit: SpendingLimit | None = None,
    prices: Prices | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    retries: RetryPlan | None = None,
    timeout: float = 120.0,
    threads: int = THREADS,
    say: Callable[[str], None] = lambda line: None,
) -> Caller:
    """Return a caller of an API over HTTP; `answers` is the file that answers are kept in."""
    store = None if answers is None else AnswerStore(answers)
    for note in store.notes if store is not None else ():
        say(f"note: {note}")
    return Caller(
        CompletionClient(base_url, model, key, timeout=timeout),
        store=store,
        spending=Spending(limit, prices),
        rate=RateLimit(requests_per_minute, tokens_per_minute),
        retries=retries,
        threads=threads,
        say=say,
    )
