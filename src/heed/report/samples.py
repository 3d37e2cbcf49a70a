"""Generated texts for a page: each token with its probability, and the tokens that surprised the model most.

A token is shaded by the probability that the model gave it, in four steps, and the two least probable steps are
underlined as well, so that the page can be read without colour. Prompt tokens are shown apart and are not shaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heed.report.numbers import format_count, format_percent
from heed.report.record import number

MOST_STEPS = 8
"""Steps of the training whose texts are shown."""
STEPS = (0.5, 0.1, 0.01)
"""A token at or above the first probability is in step 0 (likely), below the last one in step 3 (improbable)."""


@dataclass(frozen=True)
class Token:
    """One token as it is shown."""

    text: str
    step: int
    """0 (likely) to 3 (improbable)."""
    probability: str
    rank: str
    logprob: float

    @property
    def title(self) -> str:
        """What is said of the token when one points at it."""
        return f"{visible(self.text)} · probability {self.probability} · rank {self.rank}"


@dataclass(frozen=True)
class Sample:
    """One generated text as it is shown."""

    step: int
    prompt: str
    tokens: tuple[Token, ...]
    """Drawn tokens; empty when no probabilities were written, then `text` is shown."""
    text: str
    how: str
    """How it was sampled, in words."""
    surprises: tuple[Token, ...]
    """The least probable tokens, most surprising first."""


def shade(logprob: float) -> int:
    """Return the step of a token with this log-probability (nats).

    >>> [shade(math.log(p)) for p in (0.9, 0.3, 0.05, 0.001)]
    [0, 1, 2, 3]
    """
    return sum(math.exp(min(logprob, 0.0)) < bound for bound in STEPS)


def visible(text: str) -> str:
    r"""Return a token in quotation marks, with its white space and control characters written out.

    >>> visible(" the"), visible("\n")
    ('“ the”', '“\\n”')
    """
    return "“" + "".join(char if char.isprintable() else repr(char)[1:-1] for char in text) + "”"


def read_sample(line: Mapping[str, Any], most_surprises: int = 8) -> Sample:
    """Turn a line of samples.jsonl into what is shown.

    `tokens` may begin with those of the prompt: they do when the first `prompt_tokens` of them spell it.
    """
    prompt, given = str(line.get("prompt", "")), line.get("tokens")
    entries = [entry for entry in given if isinstance(entry, Mapping)] if isinstance(given, list) else []
    count = line.get("prompt_tokens")
    if isinstance(count, int) and "".join(str(entry.get("text", "")) for entry in entries[:count]) == prompt:
        entries = entries[count:]
    tokens = tuple(_read_token(entry) for entry in entries)
    text = str(line.get("text", ""))
    step = line.get("step")
    return Sample(
        step=step if isinstance(step, int) else 0,
        prompt=prompt,
        tokens=tokens,
        text=text.removeprefix(prompt),
        how=describe(line.get("sampling")),
        surprises=tuple(sorted(tokens, key=lambda token: token.logprob)[:most_surprises]),
    )


def texts_to_show(
    final: Sequence[Mapping[str, Any]], drafts: Sequence[Mapping[str, Any]]
) -> tuple[list[Sample], list[Sample]]:
    """Return the texts to show first, and earlier ones by step: at most `MOST_STEPS` steps, evenly spread.

    First come those of the finished model; where there are none, those of the latest step.
    """
    earlier = sorted((read_sample(line) for line in drafts), key=lambda sample: sample.step)
    first = [read_sample(line) for line in final]
    if not first and earlier:
        last = earlier[-1].step
        first = [sample for sample in earlier if sample.step == last]
        earlier = [sample for sample in earlier if sample.step != last]
    steps = sorted({sample.step for sample in earlier})
    if len(steps) > MOST_STEPS:
        steps = {steps[round(place * (len(steps) - 1) / (MOST_STEPS - 1))] for place in range(MOST_STEPS)}
    return first, [sample for sample in earlier if sample.step in steps]


def describe(sampling: Any) -> str:
    """Say how a text was sampled.

    >>> describe({"temperature": 0.8, "top_k": 50, "top_p": None, "seed": 1})
    'temperature 0.8, top k 50, seed 1'
    """
    if not isinstance(sampling, Mapping):
        return ""
    said = {str(name).replace("_", " "): value for name, value in sampling.items()}
    return ", ".join(f"{name} {value}" for name, value in said.items() if value not in (None, "", [], {}, False))


def _read_token(entry: Mapping[str, Any]) -> Token:
    logprob = entry.get("logprob")
    if logprob == -math.inf:
        value = -math.inf
    else:
        value = number(logprob) or 0.0
    rank = entry.get("rank")
    return Token(
        text=str(entry.get("text", "")),
        step=shade(value),
        probability=format_percent(math.exp(min(value, 0.0))) if logprob is not None else "not known",
        rank=format_count(rank) if isinstance(rank, int) else "not known",
        logprob=value,
    )
