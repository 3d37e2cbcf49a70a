"""The kinds of figures: what each is called, its unit, which way is better, how it is written, and what moves it.

figure              the same text    the same unit
loss                corpus, split    unit, tokenizer, tokens
token_perplexity    corpus, split    unit, tokenizer, tokens
word_perplexity     corpus, split    words, word_rule
bits_per_byte       corpus, split    bytes
sequence_mean_loss  corpus, split    unit, tokenizer, tokens
accuracy            corpus, split    unit, tokens

and all of them by the same view: context, stride, documents, partial, leaks, weights, cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from heed.report.numbers import format_accuracy, format_loss, format_perplexity

_TEXT = ("corpus", "split")
_VIEW = ("context", "stride", "documents", "partial", "leaks", "weights", "cache")
_TOKENS = (*_TEXT, "unit", "tokenizer", "tokens", *_VIEW)


@dataclass(frozen=True)
class FigureKind:
    """What a figure is, whatever its value."""

    name: str
    """Its key in every file."""
    label: str
    """Its name for people; may hold other values of the same evaluation, as {commonest[answer]}."""
    better: Literal["lower", "higher"]
    written: Callable[[float], str]
    unit: str = ""
    """Said behind the value."""
    moved_by: tuple[str, ...] = ()
    """The fields of a passport that must be equal before two of them may be compared; none: they are not compared."""
    counts: tuple[str, str] | None = None
    """Of a share: what is said before it, the names of the part and of the whole."""
    one_pass: bool = True
    """Whether it is read off one pass over a known text, so that it is false of a model that leaks."""


LOSS = FigureKind("loss", "loss", "lower", format_loss, "nats a token", _TOKENS)
TOKEN_PERPLEXITY = FigureKind("token_perplexity", "token perplexity", "lower", format_perplexity, moved_by=_TOKENS)
WORD_PERPLEXITY = FigureKind(
    "word_perplexity", "word perplexity", "lower", format_perplexity, moved_by=(*_TEXT, "words", "word_rule", *_VIEW)
)
BITS_PER_BYTE = FigureKind("bits_per_byte", "bits per byte", "lower", format_loss, moved_by=(*_TEXT, "bytes", *_VIEW))
SEQUENCE_MEAN_LOSS = FigureKind(
    "sequence_mean_loss", "sequence mean loss", "lower", format_loss, "nats a token", _TOKENS
)
ACCURACY = FigureKind(
    "accuracy", "accuracy", "higher", format_accuracy, moved_by=(*_TEXT, "unit", "tokens", *_VIEW), one_pass=False
)
MAJORITY = FigureKind("majority", "majority class", "higher", format_accuracy, one_pass=False)

FIGURES: dict[str, FigureKind] = {
    kind.name: kind for kind in (LOSS, TOKEN_PERPLEXITY, WORD_PERPLEXITY, BITS_PER_BYTE, SEQUENCE_MEAN_LOSS, ACCURACY)
}
"""The figures that can be compared, by name."""
