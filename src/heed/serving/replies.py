"""What a request gets: whole answers, and the chunks of a stream, in OpenAI's form.

Both are made of the same two: `Transcript` says which tokens belong to the text that may be shown, and `logprobs_of`
lays them out. So the chunks of a stream, joined, are the whole answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from heed.generation.decoding import Alternatives, Draft, FinishReason
from heed.generation.stopping import TextFeed
from heed.serving.orders import Order
from heed.serving.settings import ServerSettings
from heed.serving.tickets import Written
from heed.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class ShownToken:
    """A token of a text that is shown."""

    id: int
    offset: int
    """Where it begins in the text, in characters."""
    logprob: float | None
    alternatives: Alternatives | None
    """None for the first token of a prompt."""


class Transcript:
    """The tokens of one text as it grows, and which of them belong to what may be shown of it.

    Text is held back while it may be the beginning of a stop string, or part of a character; its tokens are too.
    After a stop string those that begin before it are shown.
    """

    def __init__(self, tokenizer: Tokenizer, offset: int = 0) -> None:
        self._tokenizer, self._feed = tokenizer, TextFeed()
        self._end = self._released = offset
        self._held: list[tuple[ShownToken, int]] = []
        """Tokens that are not shown yet, and where each ends."""

    def add(self, id: int, logprob: float | None, alternatives: Alternatives | None) -> None:
        """Take the next token."""
        begin = self._end
        self._end += len(self._feed.push(self._tokenizer.token_bytes(id)))
        self._held.append((ShownToken(id, begin, logprob, alternatives), self._end))

    def release(self, text: str, reason: FinishReason | None) -> list[ShownToken]:
        """Return the tokens that are shown with `text`, which is now certain; all of them where the text has ended."""
        self._released += len(text)
        shown = len(self._held)
        if reason == "stop":
            shown = sum(token.offset < self._released for token, _ in self._held)
        elif reason is None:
            ended = [token.offset < self._released and end <= self._released for token, end in self._held]
            shown = ended.index(False) if False in ended else shown
        tokens = [token for token, _ in self._held[:shown]]
        del self._held[:shown]
        return tokens


def logprobs_of(tokens: Sequence[ShownToken], tokenizer: Tokenizer, settings: ServerSettings) -> dict[str, Any]:
    """Return OpenAI's `logprobs` of some tokens, with the ids that it has no field for."""
    rounded = settings.rounded
    return {
        "tokens": [token_name(tokenizer, token.id) for token in tokens],
        "token_logprobs": [None if token.logprob is None else rounded(token.logprob) for token in tokens],
        "top_logprobs": [_top(token, tokenizer, settings) for token in tokens],
        "text_offset": [token.offset for token in tokens],
        "token_ids": [token.id for token in tokens],
        "top_token_ids": [_each(token.alternatives, lambda id, _: id) for token in tokens],
        "top_token_logprobs": [_each(token.alternatives, lambda _, p: rounded(p)) for token in tokens],
    }


def _each(alternatives: Alternatives | None, of: Any) -> list[Any] | None:
    return None if alternatives is None else [of(id, logprob) for id, logprob in alternatives]


def _top(token: ShownToken, tokenizer: Tokenizer, settings: ServerSettings) -> dict[str, float] | None:
    """Return the likeliest tokens by name, and the token itself; of two of one name the likelier."""
    if token.alternatives is None or token.logprob is None:
        return None
    found: dict[str, float] = {}
    for id, logprob in [*token.alternatives, (token.id, token.logprob)]:
        found.setdefault(token_name(tokenizer, id), settings.rounded(logprob))
    return found


def token_name(tokenizer: Tokenizer, id: int) -> str:
    """Return the text of one token by itself; its bytes where it is part of a character, written as OpenAI does."""
    piece = token_bytes(tokenizer, id)
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


def token_bytes(tokenizer: Tokenizer, id: int) -> bytes:
    """Return the bytes of a token; none for an id that only the model has, since its vocabulary was padded."""
    return tokenizer.token_bytes(id) if id < tokenizer.vocab_size else b""


class Reply:
    """What an order gets."""

    def __init__(self, order: Order, settings: ServerSettings) -> None:
        self.order, self.settings, self.tokenizer = order, settings, order.ticket.served.tokenizer

    def whole(self) -> dict[str, Any]:
        """Return the answer of an order whose ticket is done."""
        order, best_of = self.order, self.order.ticket.best_of
        choices: list[dict[str, Any]] = []
        for number in range(len(order.prompts)):
            drafts = order.ticket.drafts[number * best_of : (number + 1) * best_of]
            if best_of > order.n:
                drafts = sorted(drafts, key=lambda draft: -draft.mean_logprob)[: order.n]  # stable, as in `generate`
            choices += [self._choice(draft, len(choices) + i) for i, draft in enumerate(drafts)]
        return self.frame(choices) | {"usage": self.usage()}

    def _choice(self, draft: Draft, index: int) -> dict[str, Any]:
        text, tokens = self.echoed(draft.prompt)
        transcript = Transcript(self.tokenizer, len(text))
        for place, id in enumerate(draft.ids):
            noted = (draft.logprobs[place], draft.alternatives[place]) if draft.logprobs else (None, None)
            transcript.add(id, *noted)
        new = "".join(draft.pieces)
        tokens += transcript.release(new, draft.finish_reason)
        return self._as_choice(index, text + new, tokens, draft.finish_reason)

    def echoed(self, prompt: int) -> tuple[str, list[ShownToken]]:
        """Return what echo shows of a prompt: its text, and its tokens."""
        if not self.order.echo:
            return "", []
        asked, scores = self.order.prompts[prompt], self.order.ticket.scores.get(prompt)
        ids = asked.ids[len(asked.ids) - asked.shown :]
        transcript = Transcript(self.tokenizer)
        for place, id in enumerate(ids, len(asked.ids) - len(ids)):
            score = None if scores is None else scores[place]
            known = score is not None and score.logprob is not None
            transcript.add(id, *((score.logprob, score.alternatives) if known and score is not None else (None, None)))
        return asked.text, transcript.release(asked.text, "end")

    def _as_choice(
        self, index: int, text: str, tokens: list[ShownToken], reason: FinishReason | None
    ) -> dict[str, Any]:
        return {
            "text": text,
            "index": index,
            "logprobs": logprobs_of(tokens, self.tokenizer, self.settings) if self.order.logprobs else None,
            "finish_reason": "stop" if reason == "end" else reason,
            "token_ids": [token.id for token in tokens],
        }

    def as_part(self, index: int, text: str, tokens: list[ShownToken], reason: FinishReason | None) -> dict[str, Any]:
        """Return a piece of a choice of a stream."""
        return self._as_choice(index, text, tokens, reason)

    def begin(self, draft: int) -> dict[str, Any] | None:
        """Return the first piece of a choice, where there is one: the prompt, if it is to be shown."""
        if not self.order.echo:
            return None
        return self.as_part(draft, *self.echoed(draft // self.order.ticket.best_of), None)

    def frame(self, choices: list[dict[str, Any]], kind: str = "text_completion") -> dict[str, Any]:
        """Return what stands around choices."""
        order = self.order
        return {
            "id": order.id,
            "object": kind,
            "created": order.created,
            "model": order.ticket.served.name,
            "choices": choices,
            "seed": order.seed,
        }

    def part_frame(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what stands around pieces of choices."""
        return self.frame(choices)

    def usage(self) -> dict[str, int]:
        """Return how many tokens were read and written."""
        read, written = self.order.prompt_tokens, self.order.completion_tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def stream(self) -> StreamedReply:
        """Return the same, piece by piece."""
        return StreamedReply(self)


class ChatReply(Reply):
    """What an order of a chat gets."""

    def _as_choice(
        self, index: int, text: str, tokens: list[ShownToken], reason: FinishReason | None
    ) -> dict[str, Any]:
        return {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": self._logprobs(tokens),
            "finish_reason": "stop" if reason == "end" else reason,
            "token_ids": [token.id for token in tokens],
        }

    def as_part(self, index: int, text: str, tokens: list[ShownToken], reason: FinishReason | None) -> dict[str, Any]:
        """Return a piece of a choice of a stream."""
        choice = self._as_choice(index, text, tokens, reason)
        del choice["message"]
        return choice | {"delta": {"content": text} if text or reason is None else {}}

    def begin(self, draft: int) -> dict[str, Any] | None:
        """Return the first piece of a choice: whose message it is."""
        choice = self.as_part(draft, "", [], None)
        return choice | {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def frame(self, choices: list[dict[str, Any]], kind: str | None = None) -> dict[str, Any]:
        """Return what stands around choices."""
        return super().frame(choices, kind or "chat.completion")

    def part_frame(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what stands around pieces of choices."""
        return self.frame(choices, "chat.completion.chunk")

    def _logprobs(self, tokens: list[ShownToken]) -> dict[str, Any] | None:
        if not self.order.logprobs:
            return None
        content = [
            self._token(token.id, token.logprob or 0.0)
            | {"top_logprobs": [self._token(*one) for one in token.alternatives or []]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}

    def _token(self, id: int, logprob: float) -> dict[str, Any]:
        return {
            "token": token_name(self.tokenizer, id),
            "logprob": self.settings.rounded(logprob),
            "bytes": list(token_bytes(self.tokenizer, id)),
            "token_id": id,
        }


class StreamedReply:
    """What an order gets piece by piece."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.order = reply, reply.order
        self._transcripts: dict[int, Transcript] = {}

    def chunks(self, steps: Iterable[Written]) -> Iterator[dict[str, Any]]:
        """Yield what may be shown after these steps."""
        for step in steps:
            yield from self._begun(step.draft)
            transcript = self._transcripts[step.draft]
            if step.token is not None:
                transcript.add(step.token, step.logprob, step.alternatives)
            tokens = transcript.release(step.text, step.finish_reason)
            if step.text or tokens or step.finish_reason is not None:
                yield self._chunk([self.reply.as_part(step.draft, step.text, tokens, step.finish_reason)])

    def last(self) -> Iterator[dict[str, Any]]:
        """Yield what comes when all has ended."""
        for number, draft in enumerate(self.order.ticket.drafts):
            if number not in self._transcripts:  # nothing was to be written
                yield from self._begun(number)
                yield self._chunk([self.reply.as_part(number, "", [], draft.finish_reason)])
        if self.order.include_usage:
            yield self.reply.part_frame([]) | {"usage": self.reply.usage()}

    def _begun(self, draft: int) -> Iterator[dict[str, Any]]:
        """Yield the prompt of a draft that begins, where it is to be shown."""
        if draft in self._transcripts:
            return
        text, _ = self.reply.echoed(draft // self.order.ticket.best_of)
        self._transcripts[draft] = Transcript(self.reply.tokenizer, len(text))
        first = self.reply.begin(draft)
        if first is not None:
            yield self._chunk([first])

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self.reply.part_frame(choices) | ({"usage": None} if self.order.include_usage else {})
