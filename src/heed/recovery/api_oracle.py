"""Questions as calls of an OpenAI-compatible API, and its answers as replies.

Every call asks for one token. Ids are read from the fields that heed serve and vLLM add; other servers write tokens as
text, and then the vocabulary's strings tell which is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from heed.api import Caller, CompletionAnswer, CompletionRequest
from heed.errors import ApiError, ConfigError
from heed.recovery.oracle import BiasQuestion, BiasReply
from heed.recovery.token_names import TokenNames

TOPS: tuple[int | None, ...] = (20, 5, 2, 1, 0, None)
"""Numbers of likeliest tokens that are asked for, the largest first, until an API agrees; 0 shows the token that is
taken, None nothing."""
REFUSALS = (400, 422)
"""Statuses of what an API does not take."""
NO_TOKEN = -1
EXTRA = {"ignore_eos": True}
"""So that an end-of-text token is shown as any other: heed serve and vLLM take it, others may refuse."""


class ApiOracle:
    """Asks a caller about one prompt; `top` likeliest tokens are asked for. See `agree`."""

    def __init__(
        self,
        caller: Caller,
        prompt: str | Sequence[int],
        names: TokenNames | None = None,
        progress: Callable[[int], None] = lambda calls: None,
    ) -> None:
        self.caller, self.names = caller, names
        self.top: int | None = None
        self.prompt = prompt if isinstance(prompt, str) else tuple(prompt)
        self.progress = progress
        self.extra: dict[str, Any] = dict(EXTRA)
        """What is sent besides OpenAI's parameters."""
        self.texts: dict[int, str] = {}
        """How the API wrote the tokens that it told the ids of."""

    def __call__(self, questions: Sequence[BiasQuestion]) -> list[BiasReply]:
        """Return the replies in the order of the questions. Raises `ApiError`."""
        answers = self.caller.complete_all(map(self.request, questions))
        replies = []
        for question, answer in zip(questions, answers, strict=True):
            replies.append(self.reply(question, answer))
            self.progress(1)
        return replies

    def about(self, prompt: str | Sequence[int]) -> ApiOracle:
        """Return the same about another prompt."""
        other = ApiOracle(self.caller, prompt, self.names, self.progress)
        other.top, other.extra, other.texts = self.top, self.extra, self.texts
        return other

    def request(self, question: BiasQuestion) -> CompletionRequest:
        """Return the call that asks a question."""
        return CompletionRequest(
            self.prompt,
            max_tokens=1,
            temperature=0.0 if question.greedy else 1.0,
            top_p=1.0,
            logit_bias=dict(question.bias),
            logprobs=self.top,
            extra=self.extra,
            draw=question.again,
        )

    def reply(self, question: BiasQuestion, answer: CompletionAnswer) -> BiasReply:
        """Return what an answer says. Raises `ApiError` where neither it nor a tokenizer tells which token is meant."""
        choice = answer.choices[0]
        shown = choice.top_logprobs[0] if choice.top_logprobs else ()
        by_id = choice.top_by_id[0] if choice.top_by_id else ()
        if by_id:
            written = {value: text for text, value in reversed(shown)}
            top = by_id
            self.texts |= {i: written[p] for i, p in by_id if i not in self.texts and p in written}
        else:
            ids = choice.top_ids[0] if choice.top_ids else [self._id(text, question) for text, _ in shown]
            if len(ids) != len(shown):
                raise ApiError(f"{self.caller.endpoint} shows {len(shown)} tokens and tells the ids of {len(ids)}")
            told = [(token, *pair) for token, pair in zip(ids, shown, strict=True) if token >= 0]
            told = told[: self.top or 0]  # the token that was taken may stand below the likeliest
            top = tuple((token, value) for token, _, value in told)
            self.texts |= {token: text for token, text, _ in told if token not in self.texts}
        own = choice.token_logprobs[0] if choice.token_logprobs else None
        if choice.token_ids is not None:
            token = choice.token_ids[0] if choice.token_ids else NO_TOKEN
        else:
            token = self._id(choice.tokens[0] if choice.tokens else choice.text, question)
        if token >= 0 and choice.tokens:
            self.texts.setdefault(token, choice.tokens[0])
        return BiasReply(token, own, top)

    def _id(self, written: str, question: BiasQuestion) -> int:
        if self.names is None:
            raise ApiError(
                f"{self.caller.endpoint} writes tokens as text and tells no ids: name its tokenizer with --tokenizer"
            )
        return self.names.meant(written, question)


def agree(oracle: ApiOracle, wanted: int | None) -> None:
    """Find what an API agrees to: the most likeliest tokens (`wanted`, or one of `TOPS`), and to end nowhere.

    A refusal takes no tokens. Raises `ApiError` where it refuses the plainest call as well.
    """
    tops = list(TOPS if wanted is None else (wanted,))
    while True:
        oracle.top = tops[0]
        try:
            oracle.caller.complete(oracle.request(BiasQuestion()))
            return
        except ApiError as error:
            said = str(error)
            if not any(f"answers {status}:" in said for status in REFUSALS):
                raise
            if oracle.extra and any(name in said for name in oracle.extra):
                oracle.extra = {}
            elif len(tops) > 1:
                tops.pop(0)
            elif oracle.extra:
                oracle.extra = {}
            elif wanted is not None:
                raise ConfigError(f"--top {wanted}: {error}") from None
            else:
                raise
