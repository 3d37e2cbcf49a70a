"""Continuous batching: one thread owns the models, and requests join and leave while others run.

    submit --> waiting --admit: read the prompt--> running --a token at a time, all rows together--> done
                 │ full: 429                          │ client gone, time is up: the row leaves
                 └────────────────────────────────────┘

A row's text depends on its prompt, its parameters and its seed, not on the company it is decoded in: prompts are read
alone, rows are computed as `heed.generation.rows` says, and each draws from its own stream of random numbers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from heed.errors import HeedError
from heed.generation.decoding import Chooser, Draft
from heed.generation.logprobs import score
from heed.generation.reading import device_of
from heed.generation.rows import make_rows
from heed.generation.sampling import Sampling
from heed.serving.metrics import Metrics
from heed.serving.refusals import RefusalError, busy, closing
from heed.serving.served_model import ServedModel
from heed.serving.tickets import Ended, Ticket, Written

LOG = logging.getLogger("heed.serving")
ADMITTED = 4
"""Prompts that are read between two tokens of those who run."""


class Engine:
    """Answers tickets with the models it owns, in a thread of its own."""

    def __init__(self, served: Sequence[ServedModel], *, rows: int, queue: int, metrics: Metrics) -> None:
        self.queue, self.metrics = queue, metrics
        self.batches = {one.name: ContinuousBatch(one, rows, metrics) for one in served}
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="heed-engine", daemon=True)
        self._thread.start()

    def submit(self, ticket: Ticket) -> None:
        """Take a ticket on. Raises `RefusalError` where the queue is full, or the engine is closing."""
        with self._changed:
            if self._closed:
                raise closing()
            if sum(len(batch.waiting) for batch in self.batches.values()) >= self.queue:
                self.metrics.refused += 1
                raise busy()
            self.batches[ticket.served.name].waiting.append(ticket)
            self._changed.notify()

    def cancel(self, ticket: Ticket) -> None:
        """Stop work on a ticket whose client has left."""
        with self._changed:
            ticket.gone = True
            self._changed.notify()

    @property
    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not any(batch.waiting or batch.running for batch in self.batches.values())

    def refuse_more(self) -> None:
        """Take no more tickets; those that are here are answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def close(self, grace: float = 0.0) -> None:
        """Take no more tickets, give those that are here `grace` seconds, and tell the others that it is over."""
        self.refuse_more()
        end = time.monotonic() + grace
        while not self.idle and time.monotonic() < end:
            time.sleep(0.02)
        with self._changed:
            for batch in self.batches.values():
                batch.over = True
            self._changed.notify()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        with torch.inference_mode():
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or not self.idle)
                    if self._closed and self.idle:
                        return
                for batch in self.batches.values():
                    batch.turn()


class ContinuousBatch:
    """The rows of one model, and those that wait for a place among them."""

    def __init__(self, served: ServedModel, room: int, metrics: Metrics) -> None:
        self.served, self.room, self.metrics = served, room, metrics
        self.waiting: deque[Ticket] = deque()
        self.over = False
        self._reset()

    def _reset(self) -> None:
        self.rows = make_rows(self.served.model)
        self.running: list[tuple[Ticket, int, Draft]] = []
        """Of each row its ticket, the number of its draft there, and the draft."""
        self.tokens: list[int] = []
        """What each row is to read next."""
        self.choosers: list[Chooser] = []

    def turn(self) -> None:
        """Let every row read its newest token, and some new ones their prompt; choose the next token of each."""
        begin = time.perf_counter()
        try:
            self._sweep()
            logits = [self.rows.push(self.tokens)] if self.running else []
            logits += self._admit()
            if logits:
                self._choose(torch.cat(logits))
        except Exception as error:
            self._fail(error)
        self.metrics.turn(self.served.name, len(self.running), len(self.waiting), time.perf_counter() - begin)

    def _sweep(self) -> None:
        """Take out what nobody waits for any more."""
        waiting = list(self.waiting)  # at once: others may add to it meanwhile
        for ticket in {*waiting, *(ticket for ticket, _, _ in self.running)}:
            if ticket.gone:
                ticket.end(RefusalError(499, "the client has left"))
            elif ticket.late:
                ticket.end(RefusalError(504, f"the time limit of {ticket.time_limit:g} s is over", code="timeout"))
            elif self.over:
                ticket.end(closing())
        for ticket in waiting:
            if ticket.ended:
                self.waiting.remove(ticket)
        self._leave([row for row, (ticket, _, _) in enumerate(self.running) if ticket.ended])

    def _admit(self) -> list[Tensor]:
        """Read the prompts of new rows as long as there is room; return the logits (1, V) after each."""
        logits: list[Tensor] = []
        most = ADMITTED if self.running else self.room
        while self.waiting and len(self.running) < self.room and len(logits) < most:
            ticket = self.waiting[0]
            try:
                logits += self._begin(ticket)
            except Exception as error:
                ticket.end(self._said_of(error))
            if not ticket.waiting:
                self.waiting.popleft()
        return logits

    def _begin(self, ticket: Ticket) -> list[Tensor]:
        """Let drafts of one prompt begin, as many as there is room for."""
        prompt, drafts = ticket.take(self.room - len(self.running))
        model, ids = self.served.model, ticket.prompts[prompt]
        if ticket.scored is not None and prompt not in ticket.scores:
            [ticket.scores[prompt]] = score(model, self.served.tokenizer, [ids], alternatives=ticket.scored)
        self.metrics.prompt_tokens += len(ids)
        if ticket.plan.max_tokens == 0:
            for number in drafts:
                ticket.drafts[number].finish_reason = "length"
            self._ended(ticket, len(drafts))
            return []
        chooser = self._chooser(ticket)
        logits = self.rows.add(ids[-model.context :], len(drafts))
        chooser.add([ticket.drafts[number] for number in drafts])
        self.running += [(ticket, number, ticket.drafts[number]) for number in drafts]
        return [logits] * len(drafts)

    def _chooser(self, ticket: Ticket) -> Chooser:
        """Return what chooses for drafts that are sampled and noted like this."""
        sampling: Sampling = ticket.sampling
        for chooser in self.choosers:
            if (chooser.logprobs, chooser.report, chooser.sampling) == (ticket.plan.logprobs, ticket.report, sampling):
                return chooser
        model = self.served.model
        chooser = Chooser(
            sampling, model.vocab_size, device_of(model), logprobs=ticket.plan.logprobs, report=ticket.report
        )
        self.choosers.append(chooser)
        return chooser

    def _choose(self, logits: Tensor) -> None:
        """Choose a token for each row, after logits (rows, V), and let those that end leave."""
        place = {id(draft): row for row, (_, _, draft) in enumerate(self.running)}
        self.tokens = [0] * len(self.running)
        for chooser in filter(lambda chooser: chooser.rows, self.choosers):
            rows = [place[id(draft)] for draft in chooser.rows]
            whole = rows == list(range(len(logits)))
            for row, token in zip(rows, chooser.choose(logits if whole else logits[rows]), strict=True):
                self.tokens[row] = token
        told: dict[Ticket, list[Written]] = {}
        done: list[int] = []
        for row, (ticket, number, draft) in enumerate(self.running):
            size, pieces = len(draft.ids), len(draft.pieces)
            draft.take(self.tokens[row], ticket.plan, self.served.tokenizer, self.served.context)
            if ticket.streams:
                told.setdefault(ticket, []).append(_written(draft, number, size, pieces))
            if draft.finish_reason is not None:
                done.append(row)
        self.metrics.completion_tokens += len(self.running)
        for ticket, steps in told.items():
            ticket.send(steps)
        for row in done:
            self._ended(self.running[row][0], 1)
        self._leave(done)

    def _ended(self, ticket: Ticket, drafts: int) -> None:
        ticket.left -= drafts
        if ticket.left == 0:
            ticket.end(Ended())

    def _leave(self, rows: list[int]) -> None:
        """Take rows away; the last row takes the place of each, as in `Rows.remove`."""
        if not rows:
            return
        gone = {id(self.running[row][2]) for row in rows}
        for row in reversed(rows):
            self.rows.remove(row)
            _swap_out(self.running, row)
            _swap_out(self.tokens, row)
        for chooser in self.choosers:
            kept = [i for i, draft in enumerate(chooser.rows) if id(draft) not in gone]
            if len(kept) < len(chooser.rows):
                chooser.keep(kept)
        self.choosers = [chooser for chooser in self.choosers if chooser.rows]

    def _fail(self, error: Exception) -> None:
        """End all that run, since nobody knows what they have read."""
        said = self._said_of(error)
        for ticket in {ticket for ticket, _, _ in self.running}:
            ticket.end(said)
        self._reset()

    def _said_of(self, error: Exception) -> RefusalError:
        """Return what a client hears of a failure: heed's own words, or none of what is inside."""
        if isinstance(error, RefusalError):
            return error
        if not isinstance(error, HeedError):
            LOG.exception("%s: a request failed", self.served.name)
        self.metrics.failed += 1
        words = str(error) if isinstance(error, HeedError) else "the server had an error; its log says more"
        return RefusalError(500, words, code="internal_error")


def _swap_out(several: list[Any], row: int) -> None:
    """Take one away; the last takes its place."""
    last = several.pop()
    if row < len(several):
        several[row] = last


def _written(draft: Draft, number: int, size: int, pieces: int) -> Written:
    """Return the step that a draft has just made; it had so many tokens and pieces of text before."""
    grown = len(draft.ids) > size
    return Written(
        draft=number,
        token=draft.ids[-1] if grown else None,
        text="".join(draft.pieces[pieces:]),
        logprob=draft.logprobs[-1] if grown and draft.logprobs else None,
        alternatives=draft.alternatives[-1] if grown and draft.alternatives else [],
        finish_reason=draft.finish_reason,
    )
