"""How likely a model finds a given text, token by token: what shading, echo and likelihood tests read.

Log-probabilities are natural (nats) and of the model's own distribution. A text longer than the context is read in
windows that overlap by half: every token is scored with at least context // 2 tokens before it, where there are any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from heed.errors import ConfigError
from heed.generation.decoding import Alternatives, Tokens, likeliest, prompt_ids
from heed.generation.reading import device_of
from heed.generation.stopping import token_texts
from heed.models.base import LanguageModel


@dataclass(frozen=True)
class TokenScore:
    """One token of a text, and how likely the model found it after the tokens before it."""

    id: int
    text: str
    """Joined over all tokens, the whole text; a character belongs to the token that completes it."""
    logprob: float | None
    """Natural logarithm of the probability; None for the first token, which nothing stands before."""
    rank: int | None
    """1 when it was the likeliest token; None for the first."""
    alternatives: Alternatives
    """The likeliest tokens at this place, as many as were asked for."""


def score(
    model: LanguageModel, tokenizer: Tokens, texts: Sequence[str | Sequence[int]], *, alternatives: int = 0
) -> list[list[TokenScore]]:
    """Return each token of each text (or list of token ids) with its log-probability, rank and `alternatives` others.

    To score the first token too, put the end-of-text token before it and pass ids; a tokenizer that begins every text
    with a token of its own has that read first, and it is not among the scores. An empty text has no tokens.
    Raises `ConfigError` for ids outside the vocabulary.
    """
    with reading_only(model):
        return [_score(model, tokenizer, text, alternatives) for text in texts]


@contextmanager
def reading_only(model: LanguageModel) -> Iterator[None]:
    """Switch dropout off, and back on afterwards if it was on. Raises `ConfigError` for a model that cannot write."""
    if not model.causal:
        raise ConfigError("an encoder sees both sides of a token and cannot write text: train with model.kind gpt")
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()


@torch.inference_mode()
def _score(model: LanguageModel, tokenizer: Tokens, text: str | Sequence[int], k: int) -> list[TokenScore]:
    """Score one text, window by window."""
    if not text:
        return []
    ids = prompt_ids(tokenizer, text, model.vocab_size)
    texts = token_texts(tokenizer.token_bytes(i) for i in ids)
    scores = [TokenScore(ids[0], texts[0], None, None, [])]
    while len(scores) < len(ids):
        done = len(scores)
        begin = 0 if done < model.context else done - max(1, model.context // 2)
        window = torch.tensor([ids[begin : begin + model.context]], device=device_of(model))
        target = torch.tensor(ids[done : begin + model.context + 1], device=window.device)
        logits = model.logits(model.hidden(window)[0, done - begin - 1 :][: len(target)])
        logprobs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)
        own = logprobs.gather(1, target[:, None])
        ranks = 1 + (logprobs > own).sum(dim=-1)
        for i, p, r, top in zip(
            target.tolist(), own[:, 0].tolist(), ranks.tolist(), likeliest(logprobs, k), strict=True
        ):
            scores.append(TokenScore(i, texts[len(scores)], p, r, top))
    return scores[len(tokenizer.start_ids) :] if isinstance(text, str) else scores
