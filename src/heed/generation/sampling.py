"""From the logits of the next token to the token: penalties, bias, filters and the draw.

The order of the steps, stated here once; `penalise` takes 1 to 4 and `narrow` 5 to 8:

    1. repetition penalty     Keskar et al. 2019 (CTRL), section 4.1; tokens of the prompt and of the answer,
                              or of the answer alone (repetition_penalty_scope)
    2. frequency, presence    l_v - n_v * frequency - [n_v > 0] * presence; tokens of the answer only (OpenAI's formula)
    3. logit bias             added
    4. banned tokens          -inf
    5. temperature            divides; 0 stops here and takes the likeliest token
    6. top-k                  Fan et al. 2018
    7. top-p                  Holtzman et al. 2020 (nucleus)
    8. min-p                  Nguyen et al. 2024, on what 6 and 7 left

Every function takes logits (B, V) and returns new logits (B, V); a token that is out has -inf.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from heed.errors import ConfigError

COLDEST = 1e-6
"""The lowest temperature but 0: a logit of 1e6 divided by it still fits into float32."""
LARGEST = 1e6
"""The most that a penalty or a bias may be: added up over a long answer, it stays finite in float32."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. The defaults draw from the model's own distribution.

    >>> Sampling(temperature=0).greedy
    True
    >>> Sampling(top_p=1.5)
    Traceback (most recent call last):
    heed.errors.ConfigError: top_p must be above 0 and at most 1, not 1.5
    """

    temperature: float = 1.0
    """Divides the logits; 0 always takes the likeliest token (greedy)."""
    top_k: int | None = None
    """Keep the k likeliest tokens, and those that tie with the last of them."""
    top_p: float | None = None
    """Keep the fewest likeliest tokens whose probabilities add up to at least p."""
    min_p: float | None = None
    """Keep tokens at least p times as probable as the likeliest."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens that occurred; 1 is none."""
    frequency_penalty: float = 0.0
    """Taken off a token's logit once for each time it stands in the answer."""
    presence_penalty: float = 0.0
    """Taken off a token's logit if it stands in the answer at all."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logit of a token id; -inf bans it."""
    banned: tuple[int, ...] = ()
    """Token ids that are never chosen."""
    repetition_penalty_scope: Literal["all", "generated"] = "all"
    """Whether the repetition penalty counts the tokens of the prompt too, or those of the answer alone."""

    def __post_init__(self) -> None:
        problems = [text for wrong, text in self._checks() if wrong]
        if problems:
            raise ConfigError(*problems)

    def _checks(self) -> list[tuple[bool, str]]:
        """Return each rule as (broken?, what is wrong). `not a <= x` is also true for NaN."""
        t, k, p, m, r = self.temperature, self.top_k, self.top_p, self.min_p, self.repetition_penalty
        frequency, presence = self.frequency_penalty, self.presence_penalty
        scope = self.repetition_penalty_scope
        bounds = f"from {-LARGEST:g} to {LARGEST:g}"
        return [
            (t != 0 and not COLDEST <= t < math.inf, f"temperature must be 0 (greedy), or {COLDEST} or above, not {t}"),
            (k is not None and (not isinstance(k, int) or k < 1), f"top_k must be a whole number, 1 or more, not {k}"),
            (p is not None and not 0 < p <= 1, f"top_p must be above 0 and at most 1, not {p}"),
            (m is not None and not 0 <= m <= 1, f"min_p must be between 0 and 1, not {m}"),
            (not 1e-3 <= r <= 1e3, f"repetition_penalty must be from 0.001 to 1000 (1 is none), not {r}"),
            (
                scope not in ("all", "generated"),
                f"repetition_penalty_scope must be 'all' or 'generated' (the prompt left out), not {scope!r}",
            ),
            (not abs(frequency) <= LARGEST, f"frequency_penalty must be {bounds}, not {frequency}"),
            (not abs(presence) <= LARGEST, f"presence_penalty must be {bounds}, not {presence}"),
            *(
                (
                    bias != -math.inf and not abs(bias) <= LARGEST,
                    f"logit_bias of token {token} must be -inf, or {bounds}, not {bias}",
                )
                for token, bias in self.logit_bias.items()
            ),
        ]

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken, with nothing left to chance."""
        return self.temperature == 0

    @property
    def counts_answer(self) -> bool:
        """Whether the choice depends on how often each token stands in the answer."""
        return self.frequency_penalty != 0 or self.presence_penalty != 0

    @property
    def looks_back(self) -> bool:
        """Whether the choice depends on which tokens the prompt and the answer hold."""
        return self.repetition_penalty != 1


def offsets(sampling: Sampling, vocab_size: int) -> Tensor | None:
    """Return what steps 3 and 4 add to the logits, (V,) float32, or None when they add nothing.

    Raises `ConfigError` for ids outside the vocabulary, and when every token is banned.
    """
    if not sampling.logit_bias and not sampling.banned:
        return None
    outside = sorted(i for i in {*sampling.logit_bias, *sampling.banned} if not 0 <= i < vocab_size)
    if outside:
        raise ConfigError(f"logit_bias or banned names token {outside[0]}, but ids go from 0 to {vocab_size - 1}")
    bias = torch.zeros(vocab_size)
    for token, value in sampling.logit_bias.items():
        bias[token] = value
    bias[list(sampling.banned)] = -math.inf
    if bool((bias == -math.inf).all()):
        raise ConfigError("every token is banned: leave at least one that can be chosen")
    return bias


def penalise_repetition(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Make tokens that were seen less likely: l / penalty where l > 0, l * penalty where l < 0.

    `seen` (B, V) bool: True where the token stands in the prompt or the answer.
    """
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def penalise_counts(logits: Tensor, counts: Tensor, frequency: float, presence: float) -> Tensor:
    """Return l - counts * frequency - [counts > 0] * presence. `counts` (B, V): times in the answer so far."""
    return logits - counts * frequency - (counts > 0) * presence


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k largest logits of each row; tokens that tie with the smallest of them stay too."""
    if k >= logits.shape[-1]:
        return logits
    smallest = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < smallest, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest largest logits whose probabilities add up to at least p; never fewer than one."""
    if p >= 1:
        return logits
    ordered, ids = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # the mass of all likelier tokens
    out = before >= p
    out[..., 0] = False
    return logits.masked_fill(torch.zeros_like(out).scatter_(-1, ids, out), -math.inf)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """Keep tokens whose probability is at least p times that of the likeliest one."""
    if p <= 0:
        return logits
    # a ratio of probabilities is a difference of logits: no softmax is needed
    least = logits.amax(dim=-1, keepdim=True) + math.log(p)
    return logits.masked_fill(logits < least, -math.inf)


def penalise(
    logits: Tensor,
    sampling: Sampling,
    *,
    seen: Tensor | None = None,
    counts: Tensor | None = None,
    offset: Tensor | None = None,
) -> Tensor:
    """Apply steps 1 to 4 of this module to logits (B, V); what is not asked for costs nothing.

    `seen` and `counts` (B, V) serve the penalties, `offset` (V,) is what `offsets` returned.
    """
    if sampling.looks_back and seen is not None:
        logits = penalise_repetition(logits, seen, sampling.repetition_penalty)
    if sampling.counts_answer and counts is not None:
        logits = penalise_counts(logits, counts, sampling.frequency_penalty, sampling.presence_penalty)
    return logits if offset is None else logits + offset


def narrow(logits: Tensor, sampling: Sampling) -> Tensor:
    """Apply steps 5 to 8 of this module to logits (B, V).

    With temperature 0 they are left out, since none of them moves the maximum.
    """
    if sampling.greedy:
        return logits
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)
    if sampling.min_p is not None:
        logits = keep_min_p(logits, sampling.min_p)
    return logits


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw one token a row from softmax(logits) (B, V) by the inverse of the cumulative distribution: (B,) int64.

    `uniform` (B,) in [0, 1) is all the chance there is, so a row's token depends on its own number alone.
    In float64, since a sum of 50,000 probabilities in float32 is off by more than the rarest of them.

    >>> draw(torch.tensor([[0.0, 0.0, -math.inf, 0.0]] * 3), torch.tensor([0.0, 0.34, 0.99])).tolist()
    [0, 1, 3]
    """
    if logits.device.type == "mps":  # has no float64
        logits = logits.cpu()
    uniform = uniform.to(logits.device)
    cumulative = torch.softmax(logits, dim=-1, dtype=torch.float64).cumsum(dim=-1)
    total = cumulative[:, -1:]
    # rounding may make the product the total itself, which no token lies above
    target = torch.minimum(uniform.double()[:, None] * total, total * (1 - 2**-52))
    return torch.searchsorted(cumulative, target, right=True)[:, 0]
