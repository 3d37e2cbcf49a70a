"""Text from a model: `generate` answers a batch of prompts, `stream` one prompt, piece by piece."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from heed.errors import ConfigError, DataError
from heed.generation.decoding import Alternatives, DecodingPlan, Draft, FinishReason, Tokens, decode, prompt_ids
from heed.generation.logprobs import TokenScore, reading_only, score
from heed.generation.sampling import Sampling
from heed.generation.stopping import TextFeed, token_texts
from heed.models.base import LanguageModel

Prompt = str | Sequence[int]
"""A text, or token ids."""


@dataclass(frozen=True)
class Completion:
    """One answer to a prompt. Log-probabilities are in nats and the model's own: before penalties and temperature."""

    text: str
    """The answer alone, without the prompt, the stop string and the end-of-text token."""
    ids: list[int]
    """Tokens of the answer; after a stop string, those that begin before it."""
    tokens: list[str]
    """Text of each token; joined, they are `text`."""
    finish_reason: FinishReason
    """stop: a stop string came. end: the end-of-text token came. length: max_tokens or the context was reached."""
    token_logprobs: list[float] | None
    """Of each token, when log-probabilities were asked for."""
    top_logprobs: list[Alternatives] | None
    """The likeliest tokens in each place, when log-probabilities were asked for."""
    prompt: list[TokenScore] | None
    """With echo: each token of the prompt, with its log-probability."""
    dropped_tokens: int
    """Tokens at the beginning of the prompt that the model could not read, since its context is shorter."""
    slides: int
    """How many times the window moved on, and the older half of it was forgotten."""


def generate(
    model: LanguageModel,
    tokenizer: Tokens,
    prompts: Sequence[Prompt],
    sampling: Sampling | None = None,
    *,
    max_tokens: int,
    n: int = 1,
    best_of: int | None = None,
    stop: Sequence[str] = (),
    echo: bool = False,
    logprobs: int | None = None,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    ignore_end: bool = False,
    on_overflow: Literal["slide", "stop", "error"] = "slide",
    batch_size: int = 16,
    cache: bool = True,
    device: torch.device | str | None = None,
) -> list[list[Completion]]:
    """Return `n` completions of each prompt, which may be a text or token ids.

    An answer ends after `max_tokens` tokens, at a string of `stop`, or at the end-of-text token (not with
    `ignore_end`, which takes it as any other). A prompt that is a text is read after the tokens that the tokenizer
    begins every text with (Llama's `<s>`); an empty one is these, or else an end-of-text token.

    `best_of` draws that many answers and returns the n with the highest mean log-probability a token, best first; the
    mean is over every token drawn, the end-of-text token included. `logprobs` 0 notes the log-probability of each
    token, k also the k likeliest tokens in its place. `echo` scores the prompt as well.

    The model reads at most `model.context` tokens. When a text grows beyond that, `on_overflow` decides: "slide"
    keeps the last half of the window and reads it afresh, "stop" ends the answer, "error" refuses before the first
    token whatever might not fit. Only "slide" takes a prompt longer than the context, by its end; the completion
    says how many tokens it lost.

    Equal arguments give equal text: row c of prompt p draws from its own stream, by (seed, p, c). With `seeds`, one
    a prompt, each prompt draws what it would draw alone with that seed, wherever it stands. `batch_size` rows
    are decoded together, and no row can tell (beyond float rounding). `cache=False` reads everything anew for each
    token: slow, for comparison. `device` moves the model there first. Raises `ConfigError` for what cannot be done.
    """
    best_of = n if best_of is None else best_of
    _check(prompts, n, best_of, batch_size)
    if seeds is not None and (len(seeds) != len(prompts) or min(seeds, default=0) < 0):
        raise ConfigError(f"seeds must be {len(prompts)} numbers, 0 or more, one a prompt, not {list(seeds)[:20]}")
    noted = 0 if logprobs is None and best_of > n else logprobs
    plan = _plan(tokenizer, max_tokens, stop, seed, ignore_end, on_overflow, cache, noted)
    if device is not None:
        model.to(device)
    encoded = [prompt_ids(tokenizer, prompt, model.vocab_size) for prompt in prompts]
    sampling = within_vocabulary(sampling, model, tokenizer)
    own = [None] * len(encoded) if seeds is None else list(seeds)
    rows = [make_draft(model, ids, plan, i, c, own[i]) for i, ids in enumerate(encoded) for c in range(best_of)]
    with reading_only(model):
        for begin in range(0, len(rows), batch_size):
            for _ in decode(model, tokenizer, rows[begin : begin + batch_size], sampling, plan):
                pass  # the rows are the result; only a stream looks in between
    scored = score(model, tokenizer, encoded, alternatives=logprobs or 0) if echo else [None] * len(encoded)
    answers = []
    for i, prompt in enumerate(scored):
        drawn = rows[i * best_of : (i + 1) * best_of]
        if best_of > n:
            drawn = sorted(drawn, key=lambda row: -row.mean_logprob)[:n]  # stable: of equals the first drawn
        answers.append([_completion(model, tokenizer, row, logprobs is not None, prompt) for row in drawn])
    return answers


def refusal(
    model: LanguageModel,
    tokenizer: Tokens,
    prompt: Prompt,
    *,
    max_tokens: int,
    on_overflow: Literal["slide", "stop", "error"] = "slide",
) -> str | None:
    """Return why `generate` would refuse a prompt, None where it would not: characters or tokens, or its length."""
    try:
        make_draft(
            model,
            prompt_ids(tokenizer, prompt, model.vocab_size),
            DecodingPlan(max_tokens, on_overflow=on_overflow),
            0,
            0,
        )
    except (ConfigError, DataError) as error:
        return str(error)
    return None


def stream(
    model: LanguageModel,
    tokenizer: Tokens,
    prompt: Prompt,
    sampling: Sampling | None = None,
    *,
    max_tokens: int,
    stop: Sequence[str] = (),
    logprobs: int | None = None,
    seed: int = 0,
    ignore_end: bool = False,
    on_overflow: Literal["slide", "stop", "error"] = "slide",
    cache: bool = True,
) -> Generator[str, None, Completion]:
    """Yield the answer to one prompt as text, as soon as each piece is certain, and return the `Completion`.

    Joined, the pieces are the text that `generate` gives for the same arguments. A character whose last bytes are
    still to come is held back, and so is text that may yet turn out to be a string of `stop`.
    `answer = yield from stream(...)` gives the completion. See `generate` for the arguments and errors.
    """
    plan = _plan(tokenizer, max_tokens, stop, seed, ignore_end, on_overflow, cache, logprobs)
    row = make_draft(model, prompt_ids(tokenizer, prompt, model.vocab_size), plan, 0, 0)
    return _pieces(model, tokenizer, row, within_vocabulary(sampling, model, tokenizer), plan)


def _pieces(
    model: LanguageModel, tokenizer: Tokens, row: Draft, sampling: Sampling, plan: DecodingPlan
) -> Generator[str, None, Completion]:
    """Decode one row and yield its text as it becomes certain."""
    shown = 0
    with reading_only(model):
        for _ in decode(model, tokenizer, [row], sampling, plan):
            piece, shown = "".join(row.pieces[shown:]), len(row.pieces)
            if piece:
                yield piece
    return _completion(model, tokenizer, row, plan.logprobs is not None, None)


def _plan(
    tokenizer: Tokens,
    max_tokens: int,
    stop: Sequence[str],
    seed: int,
    ignore_end: bool,
    on_overflow: Literal["slide", "stop", "error"],
    cache: bool,
    logprobs: int | None,
) -> DecodingPlan:
    """Check what `generate` and `stream` share."""
    problems = []
    if max_tokens < 0:
        problems.append(f"max_tokens must be 0 or more, not {max_tokens}")
    if seed < 0:
        problems.append(f"seed must be 0 or more, not {seed}")
    if logprobs is not None and logprobs < 0:
        problems.append(f"logprobs must be 0 or more, not {logprobs}")
    if on_overflow not in ("slide", "stop", "error"):
        problems.append(f"on_overflow must be 'slide', 'stop' or 'error', not {on_overflow!r}")
    if isinstance(stop, str):
        problems.append(f"stop must be a list of strings: write [{stop!r}]")
    if problems:
        raise ConfigError(*problems)
    end_id = None if ignore_end else tokenizer.end_id
    return DecodingPlan(max_tokens, tuple(stop), end_id, logprobs, seed, on_overflow, cache)


def within_vocabulary(sampling: Sampling | None, model: LanguageModel, tokenizer: Tokens) -> Sampling:
    """Return how to sample, without ids that only the model has: imported ones may be padded to a round number."""
    sampling = sampling or Sampling()
    known = getattr(tokenizer, "vocab_size", model.vocab_size)
    if known >= model.vocab_size:
        return sampling
    return replace(sampling, banned=(*sampling.banned, *range(known, model.vocab_size)))


def _check(prompts: Sequence[Prompt], n: int, best_of: int, batch_size: int) -> None:
    """Check what only `generate` takes."""
    problems = []
    if isinstance(prompts, str):
        problems.append(f"prompts must be a list: write [{prompts[:20]!r}]")
    if n < 1:
        problems.append(f"n must be 1 or more, not {n}")
    if best_of < n:
        problems.append(f"best_of must be at least n ({n}), not {best_of}")
    if batch_size < 1:
        problems.append(f"batch_size must be 1 or more, not {batch_size}")
    if problems:
        raise ConfigError(*problems)


def make_draft(
    model: LanguageModel, ids: list[int], plan: DecodingPlan, prompt: int, completion: int, seed: int | None = None
) -> Draft:
    """Return a row that has not begun, or raise `ConfigError` where the context is too short for it."""
    context = model.context
    if plan.on_overflow != "slide" and len(ids) > context:
        raise ConfigError(
            f"the prompt has {len(ids)} tokens, and the model reads {context}: shorten it, or let the window slide"
        )
    if plan.on_overflow == "error" and len(ids) + plan.max_tokens - 1 > context:
        raise ConfigError(
            f"{len(ids)} tokens of prompt and {plan.max_tokens} of answer are more than the model's context of "
            f"{context}: ask for at most {context - len(ids) + 1}, or let the window slide"
        )
    stream = (plan.seed, prompt, completion) if seed is None else (seed, 0, completion)
    return Draft(prompt, completion, ids, TextFeed(plan.stop), stream=stream)


def _completion(
    model: LanguageModel, tokenizer: Tokens, row: Draft, logprobs: bool, prompt: list[TokenScore] | None
) -> Completion:
    """Return what is shown of a finished row: after a stop string, tokens that begin behind the text are left out."""
    assert row.finish_reason is not None
    text, size, at = "".join(row.pieces), len(row.ids), 0
    tokens = token_texts(tokenizer.token_bytes(i) for i in row.ids)
    if row.finish_reason == "stop":
        size = 0
        while size < len(tokens) and at < len(text):
            tokens[size] = tokens[size][: len(text) - at]
            at += len(tokens[size])
            size += 1
    return Completion(
        text=text,
        ids=row.ids[:size],
        tokens=tokens[:size],
        finish_reason=row.finish_reason,
        token_logprobs=row.logprobs[:size] if logprobs else None,
        top_logprobs=row.alternatives[:size] if logprobs else None,
        prompt=prompt,
        dropped_tokens=max(0, len(row.prompt_ids) - model.context),
        slides=row.slides,
    )
