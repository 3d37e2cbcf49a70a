"""Answers to questions, each with the probability of the whole of it: greedy, by beam search, or over known answers.

    Where was Grace Hopper born?⁇New York City⁇        p(answer) = product of p(token | question, tokens before it)

An answer ends with the mask, as it was learned (see `text/qa.py`), and the mask counts: "New" and "New York" are two
answers whose probabilities do not overlap, and those of all answers add up to 1. Nothing is divided by the length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heed.attention import Cache
from heed.errors import ConfigError
from heed.generation.beam import Beam, beam_search
from heed.generation.decoding import DecodingPlan, Draft, decode
from heed.generation.logprobs import reading_only
from heed.generation.reading import device_of
from heed.generation.sampling import Sampling
from heed.generation.stopping import TextFeed
from heed.generation.tree import TokenTree, reads_trees, row_logprobs, tree_logprobs
from heed.models.base import LanguageModel
from heed.text.qa import answer_ids, normalise, question_ids
from heed.text.tokenizers import Tokenizer

Item = TypeVar("Item")
LogScores = NDArray[np.float64]
"""Log-probabilities (N, C) in nats of C candidates after N questions."""
ROWS = 256
"""Continuations that are read at a time where a model cannot read a tree of them."""


@dataclass(frozen=True)
class Answer:
    """One answer, without the question, the masks, and the spaces around it."""

    text: str
    logprob: float
    """Log-probability in nats of the whole answer, the closing mask included where it came."""
    finished: bool
    """Whether the mask came; otherwise the answer was cut off."""


def greedy_answers(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    max_tokens: int = 32,
    batch_size: int = 64,
) -> list[Answer]:
    """Return the answer to each question that is written by always taking the likeliest token.

    `max_tokens` counts the closing mask. An answer is cut off where the context ends. Raises `ConfigError` for a
    question as long as the context, and what `question_ids` raises: a character that the vocabulary lacks, no mask.
    """
    _at_least_one(max_tokens=max_tokens, batch_size=batch_size)
    plan = DecodingPlan(max_tokens, end_id=tokenizer.mask_id, logprobs=0, on_overflow="stop")
    sampling = Sampling(temperature=0, banned=_beyond(model, tokenizer))
    rows = [Draft(i, 0, ids, TextFeed()) for i, ids in enumerate(_questions(model, tokenizer, prompts))]
    with reading_only(model):
        for batch in _batches(rows, batch_size):
            for _ in decode(model, tokenizer, batch, sampling, plan):
                pass  # the rows are the result
    return [Answer(normalise("".join(row.pieces)), sum(row.logprobs), row.finish_reason == "end") for row in rows]


def beam_answers(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    beams: int = 4,
    max_tokens: int = 32,
    batch_size: int = 32,
) -> list[list[Answer]]:
    """Return the likeliest answers to each question that a search of this width finds, best first: `beams` at most.

    An answer that is cut off stands behind the others, and only where too few have ended (see `beam.py`). Raises as
    `greedy_answers`.
    """
    _at_least_one(beams=beams, max_tokens=max_tokens, batch_size=batch_size)
    found: list[list[Beam]] = []
    with reading_only(model):
        for batch in _batches(_questions(model, tokenizer, prompts), batch_size):
            banned = _beyond(model, tokenizer)
            found += beam_search(model, batch, tokenizer.mask_id, beams=beams, max_tokens=max_tokens, banned=banned)
    return [_answers(tokenizer, beams) for beams in found]


def _answers(tokenizer: Tokenizer, beams: Sequence[Beam]) -> list[Answer]:
    """Return beams as answers; of one text in two spellings, tokens cut elsewhere, the likelier."""
    answers: dict[str, Answer] = {}
    for beam in beams:
        text = normalise(tokenizer.decode(beam.ids))
        answers.setdefault(text, Answer(text, beam.logprob, beam.ended))
    return list(answers.values())


def score_answers(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    candidates: Sequence[str],
    *,
    batch_size: int = 8,
) -> LogScores:
    """Return the log-probability (N, C) in nats of each whole candidate, closing mask included, after each question.

    Exact: no candidate is left out, and what candidates share is read once a question (see `tree.py`) where the model
    allows it. One with a word that the vocabulary lacks can never be written and gets -inf. `batch_size` questions are
    read together. Raises `ConfigError` without candidates and where a question with a candidate is longer than the
    context, and what `question_ids` and `answer_ids` raise.
    """
    _at_least_one(candidates=len(candidates), batch_size=batch_size)
    answers = [answer_ids(tokenizer, candidate) for candidate in candidates]
    questions = _questions(model, tokenizer, prompts)
    longest = max(range(len(answers)), key=lambda i: len(answers[i]))
    for prompt, ids in zip(prompts, questions, strict=True):
        if len(ids) + len(answers[longest]) - 1 > model.context:
            raise ConfigError(
                f"{prompt!r} with the answer {candidates[longest]!r} is longer than the model's context of "
                f"{model.context} tokens: shorten one of them"
            )
    scores = np.empty((len(prompts), len(candidates)))
    order = sorted(range(len(prompts)), key=lambda i: len(questions[i]))  # alike in length: little padding
    score = _ByTree(model, answers) if reads_trees(model) else _ByRows(model, answers)
    with reading_only(model), torch.inference_mode():
        for batch in _batches(order, batch_size):
            scores[batch] = score([questions[i] for i in batch])
    if tokenizer.unknown_id is not None:  # many texts have these ids: none has their probability
        scores[:, [tokenizer.unknown_id in ids for ids in answers]] = -np.inf
    return scores


class _ByTree:
    """Scores of all answers after a batch of questions, by a model that reads trees."""

    def __init__(self, model: LanguageModel, answers: list[list[int]]) -> None:
        self.model, self.tree = model, TokenTree(answers)
        self.chunks = self.tree.chunks()
        self.room = max((len(chunk.tokens) for chunk in self.chunks), default=0)

    def __call__(self, questions: list[list[int]]) -> NDArray[np.float64]:
        """Return log-probabilities (questions, answers)."""
        cache, _, last = _read(self.model, questions, self.room)
        return tree_logprobs(self.model, cache, last, self.tree, self.chunks).numpy()


class _ByRows:
    """Scores of all answers after a batch of questions, by any model: short answers first, many in a row."""

    def __init__(self, model: LanguageModel, answers: list[list[int]]) -> None:
        self.model, self.answers = model, answers
        self.order = sorted(range(len(answers)), key=lambda i: len(answers[i]))

    def __call__(self, questions: list[list[int]]) -> NDArray[np.float64]:
        """Return log-probabilities (questions, answers)."""
        room = len(self.answers[self.order[-1]])
        if self.model.caches:
            cache, ids, last = _read(self.model, questions, room)
            return self._score(ids, (cache, last))
        device = device_of(self.model)
        return np.concatenate([self._score(torch.tensor([ids], device=device)) for ids in questions])

    def _score(self, ids: Tensor, read: tuple[Cache, Tensor] | None = None) -> NDArray[np.float64]:
        scores = np.empty((len(ids), len(self.answers)))
        for batch in _batches(self.order, max(1, ROWS // len(ids))):
            scores[:, batch] = row_logprobs(self.model, ids, [self.answers[i] for i in batch], read).numpy()
        return scores


def _read(model: LanguageModel, questions: list[list[int]], room: int) -> tuple[Cache, Tensor, Tensor]:
    """Read questions into a cache with `room` for more tokens: return it, the ids (B, P) and the last states (B, D)."""
    width, device = max(map(len, questions)), device_of(model)
    padding = [width - len(ids) for ids in questions]
    start = torch.tensor(padding, device=device) if any(padding) else None
    ids = torch.tensor([[0] * pad + ids for pad, ids in zip(padding, questions, strict=True)], device=device)
    cache = model.new_cache(len(questions), width + room, start)
    return cache, ids, model.hidden(ids, cache)[:, -1]


def _questions(model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each question, or raise `ConfigError` where one leaves no room for an answer."""
    if isinstance(prompts, str):
        raise ConfigError(f"prompts must be a list: write [{prompts[:20]!r}]")
    questions = [question_ids(tokenizer, prompt) for prompt in prompts]
    for prompt, ids in zip(prompts, questions, strict=True):
        if len(ids) >= model.context:
            raise ConfigError(
                f"the question {prompt[:40]!r} has {len(ids)} tokens with its mask, and the model reads "
                f"{model.context}: shorten it"
            )
    return questions


def _beyond(model: LanguageModel, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the ids that only the model has, since its vocabulary was padded."""
    return tuple(range(tokenizer.vocab_size, model.vocab_size))


def _at_least_one(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ConfigError(f"{name} must be 1 or more, not {number}")


def _batches(items: list[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items `size` at a time."""
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
