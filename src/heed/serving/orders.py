"""From a request to a ticket: what the schema can't say is checked here, and tokens are made of texts."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from heed.errors import ConfigError, DataError, did_you_mean
from heed.generation.decoding import DecodingPlan, beginning, prompt_ids
from heed.generation.generate import within_vocabulary
from heed.generation.sampling import Sampling
from heed.generation.stopping import token_texts
from heed.serving.chat import ChatError
from heed.serving.refusals import RefusalError
from heed.serving.schemas import ChatRequest, CompletionBody, SamplingRequest
from heed.serving.served_model import ServedModel
from heed.serving.settings import ServerSettings
from heed.serving.tickets import Heard, Ticket

DEFAULT_TOKENS = 16
"""OpenAI's max_tokens where none is given."""
SMALLEST_P = 1e-12
"""A top_p of 0 means this: the likeliest token alone."""


@dataclass(frozen=True)
class ReadPrompt:
    """One prompt of a request."""

    ids: list[int]
    """What the model reads."""
    text: str
    """What echo shows."""
    shown: int
    """How many of the last `ids` are tokens of `text`; those before begin every text."""


@dataclass(frozen=True)
class Order:
    """A request that can be answered: its ticket, and what its answers show."""

    ticket: Ticket
    prompts: list[ReadPrompt]
    n: int
    echo: bool
    logprobs: bool
    seed: int
    stream: bool
    include_usage: bool
    id: str
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def prompt_tokens(self) -> int:
        """Tokens that were read, each prompt counted once."""
        return sum(len(prompt.ids) for prompt in self.prompts)

    @property
    def completion_tokens(self) -> int:
        """Tokens that were written, those of drafts that best_of throws away included."""
        return sum(len(draft.ids) for draft in self.ticket.drafts)


def find_model(served: dict[str, ServedModel], name: str | None) -> ServedModel:
    """Return the model of that name, or the first. Raises `RefusalError` 404."""
    if name is None:
        return next(iter(served.values()))
    if name not in served:
        advice = did_you_mean(name[:100], served)
        raise RefusalError(
            404, f"no model {name[:100]!r} is served here: {advice}", param="model", code="model_not_found"
        )
    return served[name]


def completion_order(
    request: CompletionBody, served: ServedModel, settings: ServerSettings, send: Callable[[Heard], None]
) -> Order:
    """Return the order of a request for completions. Raises `RefusalError` for what cannot be done."""
    n = request.n or 1
    best_of = request.best_of or n
    if best_of < n:
        raise _wrong("best_of", f"best_of must be at least n ({n}), not {best_of}")
    if request.stream and best_of > n:
        raise _wrong("best_of", "the best of several texts is not known before they end: leave stream or best_of out")
    if request.suffix:
        raise _wrong("suffix", "the models here write after a text, not between two: leave suffix out")
    prompts = _prompts(request.prompt, served, served.context if settings.on_overflow == "error" else None)
    return make_order(
        request, served, settings, send, prompts,
        max_tokens=request.max_tokens, best_of=best_of, logprobs=request.logprobs, echo=bool(request.echo), id="cmpl",
    )  # fmt: skip


def chat_order(
    request: ChatRequest, served: ServedModel, settings: ServerSettings, send: Callable[[Heard], None]
) -> Order:
    """Return the order of a request for the next message of a chat. Raises `RefusalError` for what cannot be done."""
    if served.template is None:
        message = f"{served.name} has no chat template: ask /v1/completions, or serve it with --chat-template FILE"
        raise RefusalError(404, message, param="model", code="no_chat_template")
    if request.top_logprobs is not None and not request.logprobs:
        raise _wrong("top_logprobs", "top_logprobs needs logprobs: set it to true")
    try:
        ids = served.template.ids([{"role": one.role, "content": one.text} for one in request.messages])
    except ChatError as error:
        raise _wrong("messages", str(error)) from None
    wanted = request.max_completion_tokens or request.max_tokens
    return make_order(
        request, served, settings, send, [ReadPrompt(ids or beginning(served.tokenizer), "", 0)],
        max_tokens=wanted, best_of=request.n or 1, logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        echo=False, id="chatcmpl", default=served.context,
    )  # fmt: skip


def make_order(
    request: SamplingRequest,
    served: ServedModel,
    settings: ServerSettings,
    send: Callable[[Heard], None],
    prompts: list[ReadPrompt],
    *,
    max_tokens: int | None,
    best_of: int,
    logprobs: int | None,
    echo: bool,
    id: str,
    default: int = DEFAULT_TOKENS,
) -> Order:
    """Return the order of a request whose prompts are known. Raises `RefusalError` for what cannot be done."""
    if len(prompts) * best_of > settings.max_choices:
        raise _wrong(
            "n", f"{len(prompts)} prompts with {best_of} texts each are more than {settings.max_choices} texts"
        )
    if logprobs is not None and logprobs > settings.top_logprobs:
        raise _wrong("logprobs", f"this server shows at most {settings.top_logprobs} tokens, not {logprobs}")
    if request.stream_options is not None and not request.stream:
        raise _wrong("stream_options", "stream_options are for streams only: set stream to true")
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    seed = secrets.randbits(31) if request.seed is None else request.seed
    longest = max(len(prompt.ids) for prompt in prompts)
    plan = DecodingPlan(
        _most_tokens(max_tokens, longest, served, settings, default),
        stop if request.ignore_eos else (*stop, *served.ends),
        None if request.ignore_eos else served.tokenizer.end_id,
        # what best_of goes by is noted anyhow
        logprobs if logprobs is not None else 0 if best_of > (request.n or 1) else None,
        seed % 2**64,
        settings.on_overflow,
    )
    try:
        ticket = Ticket(
            served,
            [prompt.ids for prompt in prompts],
            _sampling(request, served),
            plan,
            send,
            best_of=best_of,
            streams=bool(request.stream),
            scored=logprobs if echo else None,
            report=settings.report,
            time_limit=settings.time_limit,
        )
    except ConfigError:  # of the drafts: the context
        message = f"the model reads {served.context} tokens, and {longest} of prompt with {plan.max_tokens} of answer"
        raise RefusalError(400, f"{message} are more", param="prompt", code="context_length_exceeded") from None
    options = request.stream_options
    return Order(
        ticket, prompts, request.n or 1, echo, logprobs is not None, seed, bool(request.stream),
        options is not None and options.include_usage, f"{id}-{secrets.token_hex(12)}",
    )  # fmt: skip


def _most_tokens(wanted: int | None, longest: int, served: ServedModel, settings: ServerSettings, default: int) -> int:
    """Return how many tokens are written at most: by default `default`, or what fits behind the longest prompt."""
    limit = settings.max_tokens
    if wanted is None:
        room = max(1, served.context - longest + 1) if settings.on_overflow == "error" else default
        return min(default, room, limit or default)
    if limit is not None and wanted > limit:
        raise _wrong("max_tokens", f"this server writes at most {limit} tokens, not {wanted}")
    return wanted


def _sampling(request: SamplingRequest, served: ServedModel) -> Sampling:
    """Return how tokens are drawn."""
    bias = {int(token): value for token, value in (request.logit_bias or {}).items()}
    outside = [token for token in bias if token >= served.model.vocab_size]
    if outside:
        raise _wrong("logit_bias", f"there is no token {outside[0]}: ids go from 0 to {served.model.vocab_size - 1}")
    try:
        sampling = Sampling(
            temperature=1.0 if request.temperature is None else request.temperature,
            top_k=request.top_k,
            top_p=None if request.top_p is None else max(request.top_p, SMALLEST_P),
            min_p=request.min_p,
            repetition_penalty=request.repetition_penalty or 1.0,
            frequency_penalty=request.frequency_penalty or 0.0,
            presence_penalty=request.presence_penalty or 0.0,
            logit_bias=bias,
        )
    except ConfigError as error:
        raise _wrong(error.problems[0].split()[0], str(error)) from None
    return within_vocabulary(sampling, served.model, served.tokenizer)


def _prompts(
    given: str | list[str] | list[int] | list[list[int]] | None, served: ServedModel, most: int | None
) -> list[ReadPrompt]:
    """Return the prompts of a request. Raises `RefusalError` for a text that has no tokens, and for ids outside.

    A text that is sure to have more than `most` tokens is refused before they are made: that would keep others waiting.
    """
    several: list[str | list[int]]
    if given is None or isinstance(given, str):
        several = [given or ""]
    elif all(isinstance(one, int) for one in given):
        several = [[one for one in given if isinstance(one, int)]]
    else:
        several = [one for one in given if not isinstance(one, int)]
    for one in several:
        fewest = served.tokenizer.fewest_tokens(one) if isinstance(one, str) else len(one)
        if most is not None and fewest > most:
            message = f"the model reads {most} tokens, and the prompt has at least {fewest}"
            raise RefusalError(400, message, param="prompt", code="context_length_exceeded")
    return [_prompt(one, served) for one in several]


def _prompt(given: str | list[int], served: ServedModel) -> ReadPrompt:
    tokenizer, size = served.tokenizer, served.model.vocab_size
    if given == "":
        return ReadPrompt(beginning(tokenizer), "", 0)
    try:
        ids = prompt_ids(tokenizer, given, size)
        if isinstance(given, str):
            return ReadPrompt(ids, given, len(ids) - len(tokenizer.start_ids))
        return ReadPrompt(ids, "".join(token_texts(tokenizer.token_bytes(one) for one in ids)), len(ids))
    except (ConfigError, DataError) as error:
        raise _wrong("prompt", str(error)) from None


def _wrong(param: str, message: str) -> RefusalError:
    return RefusalError(400, message, param=param)
