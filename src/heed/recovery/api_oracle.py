"""Questions as calls of an OpenAI-compatible API, and its answers as replies.

Every call asks for one token. Ids are read from the fields that heed serve and vLLM add; other servers write tokens as
text, and then the vocabulary's strings tell which is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heed.api import Caller, CompletionAnswer, CompletionRequest, FailedCallError
from heed.errors import ApiError, ConfigError
from heed.recovery.oracle import BiasQuestion, Reply
from heed.recovery.token_names import TokenNames

TOPS = (20, 5, 2, 1)
"""Numbers of likeliest tokens that are asked for, the largest first, until an API agrees."""


class ApiOracle:
    """Asks a caller about one prompt; `top` likeliest tokens are asked for, none where it is 0."""

    def __init__(
        self,
        caller: Caller,
        prompt: str | Sequence[int],
        top: int,
        names: TokenNames | None = None,
        progress: Callable[[int], None] = lambda calls: None,
    ) -> None:
        self.caller, self.top, self.names = caller, top, names
        self.prompt = prompt if isinstance(prompt, str) else tuple(prompt)
        self.progress = progress
        self.texts: dict[int, str] = {}
        """How the API wrote the tokens that it told the ids of."""

    def __call__(self, questions: Sequence[BiasQuestion]) -> list[Reply]:
        """Return the replies in the order of the questions. Raises `ApiError`."""
        answers = self.caller.complete_all(map(self.request, questions))
        replies = []
        for question, answer in zip(questions, answers, strict=True):
            replies.append(self.reply(question, answer))
            self.progress(1)
        return replies

    def request(self, question: BiasQuestion) -> CompletionRequest:
        """Return the call that asks a question."""
        return CompletionRequest(
            self.prompt,
            max_tokens=1,
            temperature=0.0 if question.greedy else 1.0,
            top_p=1.0,
            logit_bias=dict(question.bias),
            logprobs=self.top or None,
            draw=question.again,
        )

    def reply(self, question: BiasQuestion, answer: CompletionAnswer) -> Reply:
        """Return what an answer says. Raises `ApiError` where neither it nor a tokenizer tells which token is meant."""
        choice = answer.choices[0]
        shown = choice.top_logprobs[0] if choice.top_logprobs else ()
        ids = choice.top_ids[0] if choice.top_ids and shown else None
        if ids is not None and len(ids) != len(shown):
            raise ApiError(f"{self.caller.endpoint} shows {len(shown)} tokens and tells the ids of {len(ids)}")
        told = zip(ids, shown, strict=True) if ids is not None else ((self._id(t, question), (t, p)) for t, p in shown)
        top = []
        for token, (text, value) in told:
            if token >= 0:
                self.texts.setdefault(token, text)
                top.append((token, value))
        own = choice.token_logprobs[0] if choice.token_logprobs else None
        written = choice.tokens[0] if choice.tokens else choice.text
        if choice.token_ids:
            token = choice.token_ids[0]
            self.texts.setdefault(token, written)
        else:
            token = self._id(written, question)
        return Reply(token, own, tuple(top))

    def _id(self, written: str, question: BiasQuestion) -> int:
        if self.names is None:
            raise ApiError(
                f"{self.caller.endpoint} writes tokens as text and tells no ids: name its tokenizer with --tokenizer"
            )
        return self.names.meant(written, question)


def agreed_top(caller: Caller, prompt: str | Sequence[int], wanted: int | None) -> int:
    """Return how many likeliest tokens an API agrees to show: `wanted`, or the most of `TOPS`, or 0.

    A refusal costs nothing. Raises `ApiError` for one that has another reason.
    """
    for top in TOPS if wanted is None else (wanted,):
        request = ApiOracle(caller, prompt, top).request(BiasQuestion())
        try:
            caller.complete(request)
            return top
        except FailedCallError:
            raise
        except ApiError as error:
            if "logprobs" not in str(error).lower():
                raise
            if wanted is not None:
                raise ConfigError(f"--top {wanted}: {error}") from None
    return 0
