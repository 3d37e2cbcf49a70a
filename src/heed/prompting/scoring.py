"""From what a model answers to a class: by its text, or by how likely it finds the words of each class.

    text               the answer begins with a word of one class (case, quotation marks and blanks apart)
    first-token        the likeliest tokens in the first place of the answer, those that begin a word of one class alone
    logprob            log p(word | prompt), summed over the tokens of each class's first word; the prompt is echoed
    logprob-per-token  the same divided by the number of those tokens, which is kinder to longer words

Contextual calibration (Zhao, Wallace, Feng, Klein and Singh 2021, "Calibrate Before Use", section 4): the class
probabilities of inputs without content, averaged to p_cf, divide those of each item before the largest is taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from heed.api import CompletionAnswer, CompletionChoice, CompletionRequest
from heed.errors import ApiError
from heed.prompting.task import PromptTask

How = Literal["text", "first-token", "logprob", "logprob-per-token"]
EMPTY = ("N/A", "[MASK]", "")
"""Inputs without content, as in the paper."""


@dataclass(frozen=True)
class Scored:
    """What a model says of an item."""

    predicted: str | None
    """The class, or the answer as a text; None where it could not be read, which counts as wrong."""
    text: str = ""
    """What it wrote."""
    scores: Mapping[str, float] | None = None
    """Of each class its score: nats, or for first-token the probability that was seen."""
    probabilities: Mapping[str, float] | None = None
    """Of each class; they sum to 1."""
    problem: str = ""
    """Why it could not be read."""
    refused: bool = False
    """Whether it was never answered, such as a prompt longer than the model reads."""


def read_text(task: PromptTask, text: str) -> Scored:
    """Return the class whose word an answer begins with; the longest where several fit."""
    said = _plain(text)
    if task.kind == "text":
        answer = " ".join(text.split())
        return Scored(answer, text) if answer else Scored(None, text, problem="nothing was answered")
    found = [
        (len(_plain(word)), name)
        for name, words in task.labels.items()
        for word in words
        if re.match(rf"{re.escape(_plain(word))}(?!\w)", said)
    ]
    if found:
        return Scored(max(found)[1], text)
    return Scored(None, text, problem="nothing was answered" if not said else "it begins with no word of a class")


def is_right(task: PromptTask, said: str, reference: str) -> bool:
    """Whether an answer is the reference: of a class its name, of a text the text, compared as the task says."""
    if task.kind == "classes":
        return said == reference
    one, other = (" ".join(text.split()).strip(" \"'“”") for text in (said, reference))
    if task.compare == "loose":
        one, other = (text.casefold().rstrip(".").strip() for text in (one, other))
    return one == other


def read_first_token(task: PromptTask, answer: CompletionAnswer) -> Scored:
    """Return the class with the most probability in the first place, among the tokens that the API shows."""
    choice = answer.choices[0]
    if not choice.top_logprobs or not choice.top_logprobs[0]:
        raise ApiError("the API shows no log-probabilities: score by text, or ask a server that has them")
    seen = dict.fromkeys(task.labels, 0.0)
    for token, logprob in choice.top_logprobs[0]:
        if (name := class_of_token(task, token)) is not None:
            seen[name] += math.exp(logprob)
    total = sum(seen.values())
    if not total:
        shown = ", ".join(repr(token) for token, _ in choice.top_logprobs[0][:3])
        return Scored(None, choice.text, seen, problem=f"no word of a class among the likeliest tokens ({shown}, ...)")
    probabilities = {name: p / total for name, p in seen.items()}
    return Scored(max(probabilities, key=probabilities.__getitem__), choice.text, seen, probabilities)


def class_of_token(task: PromptTask, token: str) -> str | None:
    """Return the one class that has a word which begins with this token; None where there is none, or several."""
    piece = token.strip().casefold()
    if not piece:
        return None
    owners = {
        name for name, words in task.labels.items() for word in words if word.strip().casefold().startswith(piece)
    }
    return owners.pop() if len(owners) == 1 else None


def word_logprob(prompt: str, answer: CompletionAnswer) -> tuple[float, int]:
    """Return (log-probability, tokens) of what stands behind the prompt in an echoed text.

    A token that lies across the border belongs to the word. Raises `ApiError` where the API does not tell them.
    """
    choice = answer.choices[0]
    if choice.tokens is None or choice.token_logprobs is None or not choice.text.startswith(prompt):
        raise ApiError(
            "the API does not echo the prompt with its log-probabilities: score by text or first-token, or ask a "
            "server that does (heed serve, vLLM)"
        )
    begin = offsets(choice)
    place = next((i for i, at in enumerate(begin) if at >= len(prompt)), len(begin))
    if place == len(begin) or begin[place] > len(prompt):
        place = max(0, place - 1)
    values = choice.token_logprobs[place:]
    if not values or any(value is None for value in values):
        raise ApiError("the API gives no log-probability for the word of a class: is the prompt empty?")
    return sum(value for value in values if value is not None), len(values)


def offsets(choice: CompletionChoice) -> list[int]:
    """Return where each token of an echoed text begins, in characters."""
    if choice.text_offset is not None:
        return [at - choice.text_offset[0] for at in choice.text_offset]
    return list(accumulate(map(len, (choice.tokens or ())[:-1]), initial=0))


def scored_words(scores: Mapping[str, float]) -> Scored:
    """Return the class with the highest score (nats), and their probabilities among each other."""
    top = max(scores.values())
    weights = {name: math.exp(score - top) for name, score in scores.items()}
    total = sum(weights.values())
    return Scored(max(scores, key=scores.__getitem__), "", dict(scores), {n: w / total for n, w in weights.items()})


def calibrated(one: Scored, empty: Mapping[str, float]) -> Scored:
    """Return what is said after contextual calibration; `empty` is p_cf.

    >>> before = scored_words({"no": math.log(0.4), "yes": math.log(0.6)})
    >>> after = calibrated(before, {"no": 0.2, "yes": 0.8})
    >>> after.predicted, round((after.probabilities or {})["no"], 3)
    ('no', 0.727)
    """
    if one.probabilities is None:
        return one
    weights = {name: p / empty[name] for name, p in one.probabilities.items()}
    total = sum(weights.values())
    probabilities = {name: weight / total for name, weight in weights.items()}
    return Scored(max(weights, key=weights.__getitem__), one.text, one.scores, probabilities)


def without_content(several: Sequence[Scored], classes: Sequence[str]) -> dict[str, float]:
    """Return p_cf, the mean of what is said of inputs without content.

    Raises `ApiError` where a class has no probability in it: then nothing can be divided by it.
    """
    mean = {name: sum((one.probabilities or {}).get(name, 0.0) for one in several) / len(several) for name in classes}
    if gone := [name for name, p in mean.items() if p <= 0]:
        raise ApiError(
            f"calibration needs a probability of {gone[0]!r} for inputs without content, and the API shows none: raise "
            "--top, or score by logprob"
        )
    return mean


def request_of(how: How, prompt: Any, word: str, common: Mapping[str, Any], top: int) -> CompletionRequest:
    """Return what is asked about a prompt: its answer, its first token, or how likely a word is behind it."""
    if how == "text":
        return CompletionRequest(prompt, **common)
    if how == "first-token":
        return CompletionRequest(prompt, **{**common, "max_tokens": 1, "stop": (), "logprobs": top})
    return CompletionRequest(prompt + word, max_tokens=0, temperature=0.0, echo=True, logprobs=0)


def _plain(text: str) -> str:
    """Return a text as words are compared: without what may stand around them.

    >>> _plain(' "Yes." ')
    'yes."'
    """
    return text.strip().lstrip("\"'“‘*([").strip().casefold()
