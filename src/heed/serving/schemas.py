"""What a request may hold: OpenAI's names and bounds. What is not known here is refused, never ignored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr, StringConstraints


def _a_number(value: object) -> object:
    """Refuse what pydantic would take for a number."""
    if isinstance(value, bool | str):
        raise ValueError("a number is needed")
    return value


NUMBER = BeforeValidator(_a_number)
"""Stands behind the bounds of a number."""
Token = Annotated[int, Field(ge=0, le=2**31), NUMBER]
TokenId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]
"""A token id as a key of JSON."""
Bias = Annotated[float, Field(ge=-100, le=100), NUMBER]
Stop = Annotated[StrictStr, Field(min_length=1, max_length=1000)]
Penalty = Annotated[float, Field(ge=-2, le=2), NUMBER]
MOST_PROMPTS = 2048


class _Known(BaseModel):
    """An object of a request: unknown names and numbers that are none are mistakes."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class StreamOptions(_Known):
    """What a stream tells besides."""

    include_usage: StrictBool = False
    """A last chunk without choices that counts the tokens."""
    include_obfuscation: StrictBool = False
    """Accepted and without effect: chunks are not padded."""


class SamplingRequest(_Known):
    """What completions and chats have in common."""

    model: StrictStr | None = None
    """Default: the first model that is served."""
    temperature: Annotated[float, Field(ge=0, le=2), NUMBER] | None = None
    top_p: Annotated[float, Field(ge=0, le=1), NUMBER] | None = None
    n: Annotated[int, Field(ge=1, le=128), NUMBER] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[TokenId, Bias] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63), NUMBER] | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    user: StrictStr | None = None
    """Accepted, and written down nowhere."""
    top_k: Annotated[int, Field(ge=1, le=2**31), NUMBER] | None = None
    """Not OpenAI's: as in heed sample, and in vLLM."""
    min_p: Annotated[float, Field(ge=0, le=1), NUMBER] | None = None
    """As top_k."""
    repetition_penalty: Annotated[float, Field(ge=0.001, le=1000), NUMBER] | None = None
    """As top_k."""
    ignore_eos: StrictBool | None = None
    """As top_k: go on after an end-of-text token."""


class TextPart(_Known):
    """A piece of a message."""

    type: Literal["text"]
    text: StrictStr


class CompletionBody(SamplingRequest):
    """The body of /v1/completions."""

    prompt: (
        StrictStr
        | Annotated[list[StrictStr], Field(min_length=1, max_length=MOST_PROMPTS)]
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1, max_length=MOST_PROMPTS)]
        | None
    ) = None
    """A text, token ids, or a list of either. Nothing, or an empty text: a text from its beginning."""
    max_tokens: Annotated[int, Field(ge=0, le=2**31), NUMBER] | None = None
    """Default: 16."""
    best_of: Annotated[int, Field(ge=1, le=128), NUMBER] | None = None
    logprobs: Annotated[int, Field(ge=0), NUMBER] | None = None
    echo: StrictBool | None = None
    suffix: StrictStr | None = None
    """Refused unless it is null or empty: the models here do not write between texts."""


class ChatMessage(_Known):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: StrictStr | Annotated[list[TextPart], Field(min_length=1)]
    name: StrictStr | None = None
    """Accepted; templates do not show it."""

    @property
    def text(self) -> str:
        """The content as one text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatRequest(SamplingRequest):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_PROMPTS)]
    max_tokens: Annotated[int, Field(ge=1, le=2**31), NUMBER] | None = None
    """Default: as many as fit."""
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31), NUMBER] | None = None
    """The newer name of max_tokens, which it goes before."""
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[int, Field(ge=0), NUMBER] | None = None


class Usage(BaseModel):
    """Tokens that were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TokenLogprobs(BaseModel):
    """Each token of a text with its log-probability in nats."""

    tokens: list[str]
    """The text of each token by itself; `bytes:\\\\x..` where it is part of a character."""
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    """The likeliest tokens in each place, and the token that stands there."""
    text_offset: list[int]
    """Where each token begins, in characters of `text`."""
    token_ids: list[int]
    """Not OpenAI's: the id of each token."""
    top_token_ids: list[list[int] | None]
    """Not OpenAI's: ids of the likeliest tokens in each place, the likeliest first."""
    top_token_logprobs: list[list[float] | None]
    """Not OpenAI's: their log-probabilities. Two ids of one text are two here, and one in `top_logprobs`."""


class ResponseChoice(BaseModel):
    """One text."""

    text: str
    index: int
    logprobs: TokenLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    """Null in a chunk of a stream that goes on."""
    token_ids: list[int]
    """Not OpenAI's: the ids of the tokens of `text`; with echo, those of the prompt first."""


class CompletionResponse(BaseModel):
    """The answer of /v1/completions, and a chunk of its stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[ResponseChoice]
    usage: Usage | None = None
    seed: int
    """Not OpenAI's: what the texts were drawn with; the same seed gives the same texts."""


class ChatTop(BaseModel):
    """A token that might have stood in a place, and its log-probability in nats."""

    token: str
    logprob: float
    bytes: list[int]
    token_id: int
    """Not OpenAI's."""


class ChatToken(ChatTop):
    """A token with the likeliest ones in its place."""

    top_logprobs: list[ChatTop]


class ChatLogprobs(BaseModel):
    """The tokens of a message."""

    content: list[ChatToken]
    refusal: None = None


class ChatAnswerMessage(BaseModel):
    """What the model says."""

    role: Literal["assistant"]
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One message."""

    index: int
    message: ChatAnswerMessage
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"]
    token_ids: list[int]
    """Not OpenAI's: the ids of its tokens."""


class ChatAnswer(BaseModel):
    """The answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    seed: int
    """Not OpenAI's: what the messages were drawn with; the same seed gives the same messages."""


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's form of an error."""

    error: ErrorDetail


class ModelCard(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context: int
    """Not OpenAI's: tokens that it reads at most."""
    vocab_size: int
    """Not OpenAI's: token ids go from 0 to one less."""
    chat: bool
    """Not OpenAI's: whether it has a chat template."""
    top_logprobs: int
    """Not OpenAI's: how many of the likeliest tokens a request may ask to see."""


class ModelList(BaseModel):
    """The models that are served."""

    object: Literal["list"]
    data: list[ModelCard]
