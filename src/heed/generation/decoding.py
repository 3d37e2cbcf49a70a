"""The loop that writes: read, choose a token for each row, add it, until every row has ended.

Each row has its own stream of random numbers, by (seed, prompt, completion), so its text depends neither on the rows
beside it nor on how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from heed.errors import CheckpointError, ConfigError, DataError
from heed.generation.reading import Reader, device_of
from heed.generation.sampling import Sampling, draw, narrow, offsets, penalise
from heed.generation.stopping import TextFeed
from heed.models.base import LanguageModel

AHEAD = 1024
"""Random numbers of a row that are drawn at once."""

FinishReason = Literal["stop", "length", "end"]
Report = Literal["raw", "processed", "unbiased"]
"""Which log-probabilities are noted: see `Chooser`."""
Alternatives = list[tuple[int, float]]
"""Token ids with their log-probabilities in nats, the likeliest first."""


class Tokens(Protocol):
    """What decoding needs of a tokenizer; `heed.text.Tokenizer` has it."""

    @property
    def start_ids(self) -> tuple[int, ...]: ...  # noqa: D102 - as in heed.text

    @property
    def end_id(self) -> int | None: ...  # noqa: D102 - as in heed.text

    def encode(self, text: str) -> list[int]: ...  # noqa: D102 - as in heed.text

    def token_bytes(self, id: int) -> bytes: ...  # noqa: D102 - as in heed.text


@dataclass(frozen=True)
class DecodingPlan:
    """When to end, and what to note down on the way; `generate` explains each."""

    max_tokens: int
    stop: tuple[str, ...] = ()
    end_id: int | None = None
    logprobs: int | None = None
    seed: int = 0
    on_overflow: Literal["slide", "stop", "error"] = "slide"
    cache: bool = True


@dataclass
class Draft:
    """One answer in the making."""

    prompt: int
    completion: int
    prompt_ids: list[int]
    feed: TextFeed
    ids: list[int] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    """Text as it became certain; joined, the text of the answer."""
    logprobs: list[float] = field(default_factory=list)
    """Of every token that was drawn, the end-of-text token included."""
    alternatives: list[Alternatives] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    slides: int = 0
    stream: tuple[int, int, int] = (0, 0, 0)
    """What its random numbers are seeded with: seed, prompt, completion."""
    _numbers: Iterator[float] | None = field(default=None, repr=False)

    def number(self) -> float:
        """Return the next random number of this row, in [0, 1): one a token, so a longer answer begins as a shorter."""
        if self._numbers is None:
            self._numbers = _uniform(self.stream)
        return next(self._numbers)

    @property
    def length(self) -> int:
        """Tokens of the prompt and the answer so far."""
        return len(self.prompt_ids) + len(self.ids)

    @property
    def mean_logprob(self) -> float:
        """Mean log-probability of the tokens drawn, the end-of-text token included; what best-of goes by."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else 0.0

    def take(self, token: int, plan: DecodingPlan, tokenizer: Tokens, context: int) -> None:
        """Add a token, and end the row where the plan says so."""
        if token == plan.end_id:
            self.end("end")
            return
        self.ids.append(token)
        self.pieces.append(self.feed.push(tokenizer.token_bytes(token)))
        if self.feed.stopped:
            self.finish_reason = "stop"
        elif len(self.ids) == plan.max_tokens or (plan.on_overflow != "slide" and self.length > context):
            self.end("length")

    def end(self, reason: FinishReason) -> None:
        """Let go of text that was held back, which may still complete a stop string."""
        self.pieces.append(self.feed.finish())
        self.finish_reason = "stop" if self.feed.stopped else reason


def decode(
    model: LanguageModel, tokenizer: Tokens, rows: list[Draft], sampling: Sampling, plan: DecodingPlan
) -> Iterator[None]:
    """Extend every row until it has ended; yields after each token, so that a stream can show it.

    Rows that have ended are left out as soon as they are a quarter of the batch; until then they idle.
    """
    if plan.max_tokens == 0:
        for row in rows:
            row.finish_reason = "length"
        return
    device = device_of(model)
    with torch.inference_mode():
        chooser = Chooser(sampling, model.vocab_size, device, logprobs=plan.logprobs)
        chooser.add(rows)
        reader, logits = _read(model, rows, plan, device)
    while True:
        with torch.inference_mode():
            tokens = chooser.choose(logits)
            for row, token in zip(rows, tokens, strict=True):
                if row.finish_reason is None:
                    row.take(token, plan, tokenizer, model.context)
        yield
        going = [i for i, row in enumerate(rows) if row.finish_reason is None]
        if not going:
            return
        with torch.inference_mode():
            if 4 * len(going) <= 3 * len(rows):
                rows, tokens = [rows[i] for i in going], [tokens[i] for i in going]
                reader.keep(going)
                chooser.keep(going)
            logits = reader.push(tokens)
            for row, slides in zip(rows, reader.slides, strict=True):
                row.slides = slides if row.finish_reason is None else row.slides


def _read(model: LanguageModel, rows: list[Draft], plan: DecodingPlan, device: torch.device) -> tuple[Reader, Tensor]:
    """Read each prompt once, and hand it to all the rows that answer it."""
    prompts = {row.prompt: row.prompt_ids[-model.context :] for row in rows}
    longest = max(len(ids) for ids in prompts.values())
    reader = Reader(model, list(prompts.values()), longest + plan.max_tokens - 1, device=device, cached=plan.cache)
    logits = reader.read()
    if len(prompts) < len(rows):
        place = {prompt: i for i, prompt in enumerate(prompts)}
        copies = [place[row.prompt] for row in rows]
        reader.keep(copies)
        logits = logits[copies]
    return reader, logits


class Chooser:
    """Chooses the next token of rows that are sampled alike, and keeps what the penalties count.

    Rows come with `add` and go with `keep`, at any time: a row's token depends on its own logits and numbers alone.
    What is not asked for is not computed. `report` says which log-probabilities are noted: those of the model itself
    ("raw"), those after penalties and bias ("processed"), or after penalties alone ("unbiased"); never those after
    temperature and filters.
    """

    def __init__(
        self,
        sampling: Sampling,
        vocab_size: int,
        device: torch.device,
        *,
        logprobs: int | None = None,
        report: Report = "raw",
    ) -> None:
        self.rows: list[Draft] = []
        self.sampling, self.logprobs, self.report = sampling, logprobs, report
        offset = offsets(sampling, vocab_size)
        self.offset = None if offset is None else offset.to(device)
        self.seen = self.counts = None
        if sampling.looks_back:
            self.seen = torch.zeros(0, vocab_size, dtype=torch.bool, device=device)
        if sampling.counts_answer:
            self.counts = torch.zeros(0, vocab_size, device=device)

    def add(self, rows: list[Draft]) -> None:
        """Choose for these rows too, behind those that are there."""
        self.rows = [*self.rows, *rows]
        if self.seen is not None:
            new = self.seen.new_zeros(len(rows), self.seen.shape[1])
            if self.sampling.repetition_penalty_scope == "all":
                for seen, row in zip(new, rows, strict=True):
                    seen[row.prompt_ids] = True
            self.seen = torch.cat([self.seen, new])
        if self.counts is not None:
            self.counts = torch.cat([self.counts, self.counts.new_zeros(len(rows), self.counts.shape[1])])

    def choose(self, logits: Tensor) -> list[int]:
        """Return the next token of each row, after logits (B, V)."""
        if logits.dtype not in (torch.float32, torch.float64):
            logits = logits.float()
        if torch.isnan(logits.sum()):  # inside the sum: NaN stays, and -inf or a large logit does not make one
            raise CheckpointError("the model gives NaN for a logit: its weights are damaged, or training diverged")
        penalised = penalise(logits, self.sampling, seen=self.seen, counts=self.counts, offset=self.offset)
        changed = narrow(penalised, self.sampling)
        if self.sampling.greedy:
            ids = changed.argmax(dim=-1)
        else:
            uniform = torch.tensor([row.number() for row in self.rows], dtype=torch.float64)
            ids = draw(changed, uniform).to(logits.device)
        if self.logprobs is not None:
            self._note(self._reported(logits, penalised), ids, self.logprobs)
        if self.seen is not None:
            self.seen.scatter_(1, ids[:, None], True)
        if self.counts is not None:
            self.counts.scatter_add_(1, ids[:, None], torch.ones_like(ids[:, None], dtype=self.counts.dtype))
        return ids.tolist()

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows only."""
        self.rows = [self.rows[i] for i in rows]
        self.seen = None if self.seen is None else self.seen[rows]
        self.counts = None if self.counts is None else self.counts[rows]

    def _reported(self, logits: Tensor, penalised: Tensor) -> Tensor:
        """Return the logits (B, V) whose log-probabilities are noted."""
        if self.report == "raw":
            return logits
        if self.report == "unbiased" and self.offset is not None:
            return penalise(logits, self.sampling, seen=self.seen, counts=self.counts)
        return penalised

    def _note(self, logits: Tensor, ids: Tensor, k: int) -> None:
        """Write down the log-probabilities of the tokens chosen, and of the k likeliest."""
        logprobs = logits.log_softmax(dim=-1)
        chosen = logprobs.gather(1, ids[:, None])[:, 0].tolist()
        top = likeliest(logprobs, k)
        for row, logprob, alternatives in zip(self.rows, chosen, top, strict=True):
            if row.finish_reason is None:
                row.logprobs.append(logprob)
                row.alternatives.append(alternatives)


def _uniform(stream: tuple[int, int, int]) -> Iterator[float]:
    """Yield random numbers in [0, 1) without end."""
    generator = np.random.default_rng(stream)
    while True:
        yield from generator.random(AHEAD).tolist()


def likeliest(logprobs: Tensor, k: int) -> list[Alternatives]:
    """Return the k likeliest tokens of each row of log-probabilities (N, V)."""
    if k == 0:
        return [[] for _ in range(len(logprobs))]
    values, ids = logprobs.topk(min(k, logprobs.shape[-1]), dim=-1)
    return [list(zip(i, v, strict=True)) for i, v in zip(ids.tolist(), values.tolist(), strict=True)]


def beginning(tokenizer: Tokens) -> list[int]:
    """Return the ids that a text from nothing begins after.

    They are what the tokenizer begins every text with, or the end-of-text token; where it has neither (characters of
    a single document), a line end, and where even that is unknown, token 0.
    """
    if tokenizer.start_ids or tokenizer.end_id is not None:
        return prompt_ids(tokenizer, "", 1 << 62)
    try:
        return tokenizer.encode("\n") or [0]
    except DataError:
        return [0]


def prompt_ids(tokenizer: Tokens, prompt: str | Sequence[int], vocab_size: int) -> list[int]:
    """Return the token ids of a prompt. Before a text stands what the tokenizer begins every text with, if anything.

    An empty prompt is that alone, or else the end-of-text token, after which a document begins. Raises `ConfigError`
    for an empty prompt where the tokenizer has neither, and for ids outside the vocabulary.
    """
    ids = [*tokenizer.start_ids, *tokenizer.encode(prompt)] if isinstance(prompt, str) else list(prompt)
    ids = ids or list(tokenizer.start_ids)
    if not ids:
        if tokenizer.end_id is None:
            raise ConfigError(
                "the prompt is empty, and this tokenizer has no end-of-text token to begin with: give one"
            )
        ids = [tokenizer.end_id]
    outside = [i for i in ids if not 0 <= i < vocab_size]
    if outside:
        raise ConfigError(f"the prompt holds token {outside[0]}, but the model's ids go from 0 to {vocab_size - 1}")
    return ids
