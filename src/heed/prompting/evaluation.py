"""Asking a model every item after every set of demonstrations, and what came of it.

rounds = draws x orders     each its demonstrations
round x item                its exact prompt, what was answered, whether it is right
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from heed.api import Bill, Caller, ChatTurn, CompletionAnswer, CompletionRequest, RefusedError
from heed.errors import ApiError, ConfigError
from heed.prompting.demonstrations import draw_demonstrations, reordered
from heed.prompting.items import PromptItem, TaskItems
from heed.prompting.scoring import (
    EMPTY,
    How,
    Scored,
    calibrated,
    is_right,
    read_first_token,
    read_text,
    request_of,
    scored_words,
    without_content,
    word_logprob,
)
from heed.prompting.task import PromptTask


@dataclass(frozen=True)
class PromptPlan:
    """How a task is asked."""

    shots: int
    seed: int = 1
    draws: int = 1
    orders: int = 1
    how: How = "text"
    calibrate: bool = False
    chat: bool = False
    top: int = 5
    """Tokens that are looked at in the first place, for first-token."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Temperature and the like, for text."""

    def problems(self, task: PromptTask) -> list[str]:
        """Return what contradicts the task, or itself."""
        found = []
        if task.kind == "text" and self.how != "text":
            found.append(f"--by {self.how} is for classes, and {task.name} asks for texts: leave it out")
        if self.calibrate and self.how == "text":
            found.append("--calibrate needs probabilities: add --by first-token, or --by logprob")
        if self.chat and self.how.startswith("logprob"):
            found.append(f"--by {self.how} echoes a text, and a chat has no echo: take --by first-token or text")
        if task.kind == "text" and self.shots > len(task.demonstrations):
            found.append(
                f"--shots: {task.name} has {len(task.demonstrations)} demonstrations of its own, which are all"
            )
        if task.demonstrations and self.shots > len(task.demonstrations):
            found.append(f"--shots: the task has {len(task.demonstrations)} demonstrations of its own: lower it")
        if task.demonstrations and self.draws > 1:
            found.append("--draws: the task names its demonstrations, so there is one draw: take --orders")
        if self.orders > 1 and self.shots < 2:
            found.append("--orders: with fewer than two demonstrations there is one order")
        if self.draws > 1 and self.shots == 0:
            found.append("--draws: without demonstrations there is nothing to draw")
        return list(dict.fromkeys(found))


@dataclass(frozen=True)
class PromptRound:
    """One set of demonstrations in one order."""

    draw: int
    order: int
    demonstrations: tuple[PromptItem, ...]


@dataclass(frozen=True)
class AskedItem:
    """An item after the demonstrations of a round: what was asked, and what came of it."""

    round: int
    item: PromptItem
    prompt: str | tuple[ChatTurn, ...]
    scored: Scored
    right: bool | None
    """None where no reference says what is right."""


class Evaluation:
    """A task, its items and a plan: what will be asked, and, after asking, what came of it.

    Raises `ConfigError` with everything that contradicts itself, and where demonstrations are too few.
    """

    def __init__(self, task: PromptTask, items: TaskItems, plan: PromptPlan) -> None:
        if problems := plan.problems(task):
            raise ConfigError(*problems)
        self.task, self.items, self.plan = task, items, plan
        self.rounds = tuple(
            PromptRound(draw, order, self._demonstrations(draw, order))
            for draw in range(plan.draws)
            for order in range(plan.orders)
        )
        tested = {item.key for item in items.tested}
        if leaks := [one.place for r in self.rounds for one in r.demonstrations if one.key in tested]:
            raise ConfigError(f"the demonstration {leaks[0]} is also tested: take it out of the one or the other")
        self.empty: list[dict[str, float]] = []
        """Of each round p_cf, once it was asked with calibration."""

    def prompts(self) -> Iterator[tuple[int, PromptItem, str | tuple[ChatTurn, ...]]]:
        """Yield the exact prompt of each item of each round."""
        for number, one in enumerate(self.rounds):
            for item in self.items.tested:
                yield number, item, self._prompt(one, item.text, item.pair)

    def requests(self) -> Iterator[CompletionRequest]:
        """Yield everything that will be asked, in the order in which it is."""
        for one in self.rounds:
            if self.plan.calibrate:
                for text in EMPTY:
                    yield from self._about(self._prompt(one, text, text))
            for item in self.items.tested:
                yield from self._about(self._prompt(one, item.text, item.pair))

    def bill(self, caller: Caller) -> Bill:
        """Return what it would cost."""
        return caller.bill(self.requests())

    def ask(self, caller: Caller, told: Callable[[int, int], None] = lambda done, of: None) -> list[AskedItem]:
        """Ask everything, and return what came of each item of each round, in their order.

        `told` is called with the items that are done, and all of them. Raises `ApiError` as `Caller` does.
        """
        answers = caller.complete_each(self.requests())
        found: list[AskedItem] = []
        total = len(self.rounds) * len(self.items.tested)
        for number, one in enumerate(self.rounds):
            empty = None
            if self.plan.calibrate:
                several = [self._read(self._prompt(one, text, text), answers) for text in EMPTY]
                if refused := next((other.problem for other in several if other.probabilities is None), None):
                    raise ApiError(f"{refused}: calibration needs an answer to inputs without content")
                empty = without_content(several, list(self.task.labels))
                self.empty.append(empty)
            own = []
            for item in self.items.tested:
                prompt = self._prompt(one, item.text, item.pair)
                scored = self._read(prompt, answers)
                scored = scored if empty is None else calibrated(scored, empty)
                own.append(AskedItem(number, item, prompt, scored, self._right(scored, item)))
                told(len(found) + len(own), total)
            if all(asked.scored.refused for asked in own):
                raise ApiError(f"every item is refused ({own[0].scored.problem}): lower --shots, or take shorter texts")
            found += own
        return found

    def _right(self, scored: Scored, item: PromptItem) -> bool | None:
        if item.answer is None:
            return None
        return scored.predicted is not None and is_right(self.task, scored.predicted, item.answer)

    def _demonstrations(self, draw: int, order: int) -> tuple[PromptItem, ...]:
        task, plan = self.task, self.plan
        if task.demonstrations or task.kind == "text":
            written = [
                PromptItem(f"demonstration {number}", one.text, one.pair, one.answer)
                for number, one in enumerate(task.demonstrations, 1)
            ]
            return reordered(written[: plan.shots], list(task.labels), plan.seed, order)
        return draw_demonstrations(self.items.pool, plan.shots, list(task.labels), plan.seed, draw, order)

    def _prompt(self, one: PromptRound, text: str, pair: str | None) -> str | tuple[ChatTurn, ...]:
        shots = [(d.text, d.pair, d.answer or "") for d in one.demonstrations]
        return self.task.chat(shots, text, pair) if self.plan.chat else self.task.prompt(shots, text, pair)

    def _about(self, prompt: str | tuple[ChatTurn, ...]) -> Iterator[CompletionRequest]:
        """Yield what is asked about one prompt."""
        plan, task = self.plan, self.task
        common = {"max_tokens": task.max_tokens, "stop": task.stop, **plan.sampling}
        words = [task.written(name) for name in task.labels] if plan.how.startswith("logprob") else [""]
        for word in words:
            yield request_of(plan.how, prompt, word, common, plan.top)

    def _read(self, prompt: str | tuple[ChatTurn, ...], answers: Iterator[CompletionAnswer | RefusedError]) -> Scored:
        """Return what the next answers say, those about one prompt; what was refused could not be read."""
        several = list(islice(answers, len(self.task.labels) if self.plan.how.startswith("logprob") else 1))
        if refused := next((one for one in several if isinstance(one, RefusedError)), None):
            return Scored(None, problem=str(refused), refused=True)
        got = [one for one in several if isinstance(one, CompletionAnswer)]
        if self.plan.how == "text":
            return read_text(self.task, got[0].text)
        if self.plan.how == "first-token":
            return read_first_token(self.task, got[0])
        assert isinstance(prompt, str)
        scores = {}
        for name, answer in zip(self.task.labels, got, strict=True):
            total, tokens = word_logprob(prompt, answer)
            scores[name] = total / tokens if self.plan.how == "logprob-per-token" else total
        return scored_words(scores)


def as_rows(asked: Iterable[AskedItem], rounds: Sequence[PromptRound]) -> Iterator[dict[str, Any]]:
    """Yield what items.jsonl keeps of each item of each round."""
    for one in asked:
        turns = [vars(turn) for turn in one.prompt] if isinstance(one.prompt, tuple) else one.prompt
        yield {
            "draw": rounds[one.round].draw,
            "order": rounds[one.round].order,
            "place": one.item.place,
            "text": one.item.text,
            "pair": one.item.pair,
            "group": one.item.group,
            "label": one.item.answer,
            "predicted": one.scored.predicted,
            "right": one.right,
            "answer": one.scored.text,
            "problem": one.scored.problem or None,
            "scores": None if one.scored.scores is None else dict(one.scored.scores),
            "probabilities": None if one.scored.probabilities is None else dict(one.scored.probabilities),
            "prompt": turns,
        }
