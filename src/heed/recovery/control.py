"""Whether an API is still the one that was probed: one call in a hundred is asked again, plainly.

A plain call must say what the first one said. Where no probabilities are shown, a change shows in the argmax alone: a
token is bisected first, and then the two biases beside its threshold must go on to lose and to win.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from heed.errors import ApiError
from heed.recovery.bisection import rounds
from heed.recovery.oracle import Ask, BiasQuestion, BiasReply
from heed.recovery.probe import shown_top
from heed.recovery.resolution import resolution_of

EVERY = 100
"""Questions between two controls."""
DRIFT = 0.01
"""Nats that a plain answer may move by itself: servers add up in another order as their batches change."""
SENTINEL = 0.02
"""Nats that the threshold is known to, where a change shows in the argmax alone."""


def control_calls(calls: int) -> int:
    """Return how many controls so many calls bring with them, the one at the end included.

    >>> control_calls(1_999), control_calls(5)
    (20, 1)
    """
    return calls // EVERY + 1


class Controlled:
    """Asks, and asks again what it knows. Raises `ApiError` once the API has changed."""

    def __init__(self, ask: Ask, drift: float = DRIFT, bias: float = 100.0) -> None:
        self._ask, self.drift, self.bias = ask, drift, bias
        self.asked = self.controls = 0
        self.noise = 0.0
        """Nats by which plain answers moved, within what is allowed."""
        self._reference: dict[BiasQuestion, BiasReply] = {}

    def __call__(self, questions: Sequence[BiasQuestion]) -> list[BiasReply]:
        """Return the replies; every hundred calls the controls are among them."""
        replies: list[BiasReply] = []
        while len(replies) < len(questions):
            room = EVERY - self.asked % EVERY
            part = list(questions[len(replies) : len(replies) + room])
            ends = len(part) == room and bool(self._reference)
            again = self._again() if ends else []
            came = self._ask([*part, *again])
            self._learn(part, came)
            self.asked += len(part)
            for question, reply in zip(again, came[len(part) :], strict=True):
                self._compare(question, reply)
            replies += came[: len(part)]
        return replies

    def finish(self) -> None:
        """Control once more, for the calls since the last time."""
        again = self._again()
        for question, reply in zip(again, self._ask(again), strict=True):
            self._compare(question, reply)

    def _learn(self, questions: Sequence[BiasQuestion], replies: Sequence[BiasReply]) -> None:
        """Take the first plain reply as the reference, or a threshold where it shows no probabilities."""
        for question, reply in zip(questions, replies, strict=False):
            if not self._reference and not question.bias and (reply.top or question.greedy):
                self._reference = {question: reply}
            if len(self._reference) == 1 and question.greedy and len(question.bias) == 1 and not reply.top:
                self._reference |= self._threshold(question, reply)

    def _threshold(self, question: BiasQuestion, reply: BiasReply) -> dict[BiasQuestion, BiasReply]:
        """Bisect a token, and return the last questions that it lost and won."""
        token, bias = question.bias[0]
        if reply.token != token and bias < 0:
            return {}
        low, high, kept = 0.0, self.bias, {}
        for _ in range(rounds(high, SENTINEL)):
            middle = BiasQuestion(((token, (low + high) / 2),), greedy=True)
            answer = self._ask([middle])[0]
            low, high = (low, middle.bias[0][1]) if answer.token == token else (middle.bias[0][1], high)
            kept[answer.token == token] = (middle, answer)
        return dict(kept.values())

    def _again(self) -> list[BiasQuestion]:
        self.controls += 1
        return [replace(question, again=self.controls) for question in self._reference]

    def _compare(self, question: BiasQuestion, reply: BiasReply) -> None:
        """Hold a reply against the reference; raises `ApiError` where they differ by more than is allowed."""
        known = self._reference[replace(question, again=0)]
        where = f"before call {self.asked + 1:,}, after call {max(0, self.asked - EVERY):,}"
        end = "answers of two models make no distribution: begin again with another --out"
        if not known.top:
            if reply.token != known.token:
                raise ApiError(f"the model behind the API has changed ({where}, it takes another token): {end}")
            return
        before, now = shown_top(known), shown_top(reply)
        moved = distance(before, now)
        step = resolution_of([*before.values(), *now.values()]).step
        if moved > self.drift + step:
            said = "it shows no probabilities any more" if not now else f"a plain answer moved by {moved:.2g} nats"
            raise ApiError(f"the model behind the API has changed ({where}, {said}): {end}")
        if moved > 1.01 * step:
            self.noise = max(self.noise, moved)


def distance(before: dict[int, float], now: dict[int, float]) -> float:
    """Return how far two lists of likeliest tokens are apart, in nats.

    A token of one list alone is held against the least of the other, below which it lies there.

    >>> distance({1: -0.5, 2: -2.0}, {1: -0.75, 3: -1.75})
    0.25
    """
    if not before or not now:
        return float("inf")
    both = [abs(before[token] - now[token]) for token in before.keys() & now.keys()]
    gone = [value - min(now.values()) for token, value in before.items() if token not in now]
    come = [value - min(before.values()) for token, value in now.items() if token not in before]
    return max([0.0, *both, *gone, *come])
