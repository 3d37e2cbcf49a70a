"""What is asked of a language model, and what it answers: plain typed values, the same over HTTP and without it.

    CompletionRequest -> Completer.complete -> CompletionAnswer

A prompt is a text, token ids, or the turns of a chat; which of the two interfaces of an API is asked (completions or
chat) follows from that. Log-probabilities are in nats.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from heed.errors import ApiError, ConfigError

TURN_TOKENS, TEXT_TOKENS = 16, 8
"""What a server may add at most: around each turn of a chat, and before a text."""


@dataclass(frozen=True)
class ChatTurn:
    """One turn of a chat."""

    role: str
    """system, user or assistant."""
    content: str


@dataclass(frozen=True)
class CompletionRequest:
    """One request. A setting that is None is not sent: the server's own default counts.

    Raises `ConfigError` for what no server takes.
    """

    prompt: str | tuple[int, ...] | tuple[ChatTurn, ...]
    """A text, token ids, or a chat."""
    max_tokens: int = 16
    temperature: float | None = None
    top_p: float | None = None
    n: int = 1
    best_of: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Token ids, and what is added to their logits."""
    logprobs: int | None = None
    """So many of the likeliest tokens in each place, with their log-probabilities."""
    echo: bool = False
    """Whether the prompt comes back before the answer, with its log-probabilities where those are asked for."""
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What only some servers take, sent as it is."""
    draw: int = 0
    """Not sent. Two requests that differ in it alone are asked twice, where a kept answer would serve for both."""

    def __post_init__(self) -> None:
        problems = []
        if isinstance(self.prompt, list):
            object.__setattr__(self, "prompt", tuple(self.prompt))
        if isinstance(self.stop, str):
            problems.append(f"stop must be several strings: write ({self.stop!r},)")
        if not self.prompt and not isinstance(self.prompt, str):
            problems.append("the prompt is empty: give a text, token ids or a turn")
        if self.max_tokens < (0 if self.echo else 1):
            problems.append(f"max_tokens must be 1 or more (0 with echo), not {self.max_tokens}")
        if self.n < 1 or (self.best_of is not None and self.best_of < self.n):
            problems.append(f"n must be 1 or more and at most best_of, not {self.n} of {self.best_of}")
        if self.chat and (self.echo or self.best_of is not None):
            problems.append("a chat takes neither echo nor best_of: give a text")
        if problems:
            raise ConfigError(*problems)

    @property
    def chat(self) -> bool:
        """Whether the prompt is a chat."""
        return not isinstance(self.prompt, str) and any(isinstance(one, ChatTurn) for one in self.prompt)

    @property
    def most_prompt_tokens(self) -> int:
        """Tokens of the prompt: exactly where ids are given, else at most (a token is at least a byte)."""
        if isinstance(self.prompt, str):
            return len(self.prompt.encode("utf-8", "replace")) + TEXT_TOKENS
        sizes = (len(t.content.encode("utf-8", "replace")) + TURN_TOKENS if isinstance(t, ChatTurn) else 1
                 for t in self.prompt)  # fmt: skip
        return sum(sizes) + (TURN_TOKENS if self.chat else 0)

    @property
    def most_tokens(self) -> int:
        """Tokens that the prompt and all answers can take at most: what a budget must have left for it."""
        return self.most_prompt_tokens + self.max_tokens * (self.best_of or self.n)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, without what is not set."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if isinstance(self.prompt, tuple):
            values["prompt"] = [vars(t) if isinstance(t, ChatTurn) else t for t in self.prompt]
        values["logit_bias"] = {str(token): bias for token, bias in sorted(self.logit_bias.items())}
        values["stop"] = list(self.stop)
        values["extra"] = dict(self.extra)
        unset = lambda value: value is None or value is False or value in ([], {})
        return {key: value for key, value in values.items() if key == "prompt" or not unset(value)}

    def key(self, endpoint: str, model: str) -> str:
        """Return the hash by which an answer is found again: SHA-256 of the request and of who was asked.

        >>> a, b = CompletionRequest("Once"), CompletionRequest("Once", max_tokens=16)
        >>> a.key("http://localhost/v1", "m") == b.key("http://localhost/v1", "m") != a.key("http://localhost/v1", "n")
        True
        """
        content = {"endpoint": endpoint, "model": model, **self.as_dict()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class CompletionChoice:
    """One of the answers to a request. Lists of tokens are None where the server does not tell them."""

    text: str
    finish_reason: str | None
    """stop, length, or what else the server says."""
    tokens: tuple[str, ...] | None = None
    """With echo those of the prompt come first."""
    token_logprobs: tuple[float | None, ...] | None = None
    """None for a token that nothing stands before."""
    top_logprobs: tuple[tuple[tuple[str, float], ...], ...] | None = None
    """In each place the likeliest tokens as (token, log-probability), the likeliest first."""
    token_ids: tuple[int, ...] | None = None
    """Where the server gives them in a field of its own."""
    top_ids: tuple[tuple[int, ...], ...] | None = None
    """Ids of `top_logprobs`, in the same order; as above."""
    top_by_id: tuple[tuple[tuple[int, float], ...], ...] | None = None
    """The likeliest tokens as (id, log-probability), where the server gives both in fields of their own: of tokens that
    are written alike all are here, of which `top_logprobs` has one."""
    text_offset: tuple[int, ...] | None = None


@dataclass(frozen=True)
class CompletionAnswer:
    """What came of a request."""

    choices: tuple[CompletionChoice, ...]
    prompt_tokens: int | None
    """As the server counts them; None where it does not."""
    completion_tokens: int | None
    model: str = ""
    """The model that the server says has answered."""

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].text

    @property
    def tokens_used(self) -> int | None:
        """Tokens that are paid for; None where the server does not tell."""
        if self.prompt_tokens is None or self.completion_tokens is None:
            return None
        return self.prompt_tokens + self.completion_tokens

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        choices = [{k: v for k, v in vars(choice).items() if v is not None} for choice in self.choices]
        return {**vars(self), "choices": choices}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CompletionAnswer:
        """Return the answer that `as_dict` wrote. Raises `ValueError`, `TypeError` or `KeyError` where it is none."""
        choices = tuple(CompletionChoice(**{k: _tuples(v) for k, v in one.items()}) for one in values["choices"])
        if not choices or not all(isinstance(choice.text, str) for choice in choices):
            raise ValueError("no choice")
        return cls(**{**values, "choices": choices})


class Completer(Protocol):
    """Who answers: an API over HTTP (`client.py`), or a model on this machine."""

    @property
    def endpoint(self) -> str: ...  # noqa: D102 - where it is: a part of the key of kept answers

    @property
    def model(self) -> str: ...  # noqa: D102 - its name there

    def complete(self, request: CompletionRequest) -> CompletionAnswer:
        """Return the answer, or raise `ApiError`; `FailedCallError` where it may be worth another try."""
        ...


class FailedCallError(ApiError):
    """A call that failed. `again`: whether another try may help; `after`: seconds to wait first, where it is told."""

    def __init__(
        self, message: str, *, again: bool, after: float | None = None, spent: bool = False, refused: bool = False
    ) -> None:
        super().__init__(message)
        self.again, self.after = again, after
        self.spent = spent
        """Whether the server may have worked, and be paid, all the same: an answer that was cut or came too late."""
        self.refused = refused
        """Whether this one request is no good, such as a prompt that is too long, where others may be."""


class RefusedError(ApiError):
    """A request that is no good, such as a prompt longer than the model reads; others may be answered."""


def read_completion(body: Any, chat: bool) -> CompletionAnswer:
    """Return what a server's JSON says. Raises `FailedCallError` where it is no answer in OpenAI's form.

    Token ids are read from fields that servers add to it: `token_ids` of a choice or of its `logprobs`,
    `top_token_ids` (with `top_token_logprobs`), or tokens that are written "token_id:464".
    """
    try:
        choices = sorted(body["choices"], key=lambda one: one.get("index", 0))
        read = tuple(_chat_choice(one) if chat else _choice(one) for one in choices)
        if not read:
            raise ValueError("no choices")
        usage = body.get("usage") or {}
        return CompletionAnswer(
            read, _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), str(body.get("model", ""))
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        shown = json.dumps(body)[:120]
        odd = f"the answer is not in the form of OpenAI's API ({error!r}): {shown}"
        raise FailedCallError(odd, again=False, spent=True) from None


def _choice(one: Mapping[str, Any]) -> CompletionChoice:
    """Return a choice of the completions interface."""
    told = one.get("logprobs") or {}
    if "content" in told:  # llama.cpp
        return _of_places(_string(one["text"]), one)
    tokens = told.get("tokens")
    ids = told.get("token_ids") or one.get("token_ids") or _written_ids(tokens)
    top = told.get("top_logprobs")
    pairs = None if top is None else tuple(_likeliest(place) for place in top)
    top_ids = told.get("top_token_ids")
    if pairs is not None and top_ids is None and any(pairs):
        written = [_written_ids([token for token, _ in place]) for place in pairs]
        top_ids = None if None in written else written
    by_id = _by_id(told)
    if by_id is not None and [[p for _, p in place] for place in by_id] != [[p for _, p in t] for t in pairs or ()]:
        top_ids = None  # they are not of the same tokens
    return CompletionChoice(
        text=_string(one["text"]),
        finish_reason=one.get("finish_reason"),
        tokens=_tuples(tokens),
        token_logprobs=_numbers(told.get("token_logprobs")),
        top_logprobs=pairs,
        token_ids=_tuples(ids),
        top_ids=_tuples(top_ids),
        top_by_id=by_id,
        text_offset=_tuples(told.get("text_offset")),
    )


def _by_id(told: Mapping[str, Any]) -> tuple[tuple[tuple[int, float], ...], ...] | None:
    """Return the likeliest tokens of each place by their ids, as heed serve gives them."""
    ids, values = told.get("top_token_ids"), told.get("top_token_logprobs")
    if ids is None or values is None:
        return None
    places = zip(ids, values, strict=True)
    return tuple(tuple(zip(map(int, i or ()), map(float, v or ()), strict=True)) for i, v in places)


def _chat_choice(one: Mapping[str, Any]) -> CompletionChoice:
    """Return a choice of the chat interface."""
    return _of_places(_string(one["message"].get("content") or ""), one)


def _of_places(text: str, one: Mapping[str, Any]) -> CompletionChoice:
    """Return a choice whose log-probabilities have the form of chats: a list of places under "content"."""
    places = (one.get("logprobs") or {}).get("content")
    if places is None:
        return CompletionChoice(text, one.get("finish_reason"), token_ids=_tuples(one.get("token_ids")))
    tokens, ids = [place["token"] for place in places], [_id(place) for place in places]
    tops = [place.get("top_logprobs") or [] for place in places]
    by_id = tuple(tuple((_id(t), float(t["logprob"])) for t in top) for top in tops)
    known = all(id is not None for top in by_id for id, _ in top)
    return CompletionChoice(
        text=text,
        finish_reason=one.get("finish_reason"),
        tokens=tuple(tokens),
        token_logprobs=_numbers([place["logprob"] for place in places]),
        top_logprobs=tuple(tuple((t["token"], float(t["logprob"])) for t in top) for top in tops),
        token_ids=_tuples(one.get("token_ids") or (_written_ids(tokens) if None in ids else ids)),
        top_ids=tuple(tuple(id for id, _ in top) for top in by_id) if known else None,  # type: ignore[misc]
        top_by_id=by_id if known else None,  # type: ignore[arg-type]
    )


def _id(told: Mapping[str, Any]) -> int | None:
    """Return the id of a token where the server adds it: heed serve as `token_id`, llama.cpp as `id`."""
    found = told.get("token_id", told.get("id"))
    return found if isinstance(found, int) else None


def _likeliest(place: Mapping[str, float] | None) -> tuple[tuple[str, float], ...]:
    """Return the tokens of a place, the likeliest first; servers send them in any order."""
    return tuple(sorted(((t, float(p)) for t, p in (place or {}).items()), key=lambda pair: -pair[1]))


def _written_ids(tokens: Sequence[str] | None) -> list[int] | None:
    """Return the ids of tokens that are written as such.

    >>> _written_ids(["token_id:464", "token_id:2"]), _written_ids([" the"])
    ([464, 2], None)
    """
    if not tokens or not all(token.startswith("token_id:") for token in tokens):
        return None
    return [int(token.removeprefix("token_id:")) for token in tokens]


def _numbers(values: Sequence[float | None] | None) -> tuple[float | None, ...] | None:
    """Return log-probabilities; None stays. Raises `ValueError` for what is no number."""
    if values is None:
        return None
    read = tuple(None if value is None else float(value) for value in values)
    if any(value is not None and math.isnan(value) for value in read):
        raise ValueError("a log-probability is NaN")
    return read


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _tuples(value: Any) -> Any:
    """Return lists, and lists in them, as tuples."""
    return tuple(_tuples(one) for one in value) if isinstance(value, list | tuple) else value
