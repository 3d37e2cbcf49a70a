"""The passport of a figure: all that must be equal before two figures may be compared.

The same model scores 29 or 37 on WikiText-2 by the choice of denominator and context. So a loss, a perplexity or
a number of bits per byte never travels alone: its `Passport` says what was predicted, from how much context, over
which text, and what was counted. `check_comparable` refuses to put two figures side by side whose passports differ
in a field that moves the figure (see `heed.report.figure_kinds`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from heed.errors import ConfigError, DataError, did_you_mean
from heed.report.figure_kinds import FIGURES
from heed.report.units import counted_unit


@dataclass(frozen=True)
class Passport:
    """What a figure was measured on, and how."""

    unit: str
    """What the model predicts one at a time: one of `heed.report.units.COUNTED_UNITS`."""
    tokenizer: str
    """Kind, vocabulary and short hash, such as "bpe 4096 1f3a9c20"."""
    context: int
    """Longest context of a prediction, in tokens."""
    stride: int
    """Tokens by which the window moves on; equal to `context`: windows do not overlap."""
    documents: str
    """joined: a window may run over the end of a document. separate: each document starts without context."""
    split: str
    """The split of the corpus: "train", "validation" or "test"."""
    tokens: int
    """Predictions that count: so many units."""
    words: int
    """Words of the same text: the denominator of word perplexity; 0 when they were not counted."""
    bytes: int
    """UTF-8 bytes of the same text: the denominator of bits per byte; 0 when they were not counted."""
    word_rule: str
    """How words are counted, such as "words" or "words + line ends"."""
    partial: bool
    """Whether only the beginning of the split was evaluated; of labelled training texts, a fixed part."""
    corpus: str
    """Name and short fingerprint of the corpus."""
    leaks: bool = False
    """Whether the model sees the tokens that it predicts: its figures are then no figures of a language model."""
    weights: str = "fp32"
    """What the matrices of the model were kept in while it was measured."""
    cache: str = ""
    """The neural cache that the model was mixed with, in words; empty: it was measured alone."""

    def __post_init__(self) -> None:
        problems = []
        if self.documents not in ("joined", "separate"):
            problems.append(f"passport: documents is 'joined' or 'separate', not {self.documents!r}")
        if self.context < 1 or not 1 <= self.stride <= self.context:
            problems.append(f"passport: stride {self.stride} must be between 1 and the context {self.context}")
        if min(self.tokens, self.words, self.bytes) < 0:
            problems.append("passport: tokens, words and bytes cannot be negative")
        if problems:
            raise ConfigError(*problems)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, in order, ready for JSON; of the last two those that are not as usual."""
        usual = {field.name: field.default for field in fields(self) if field.name in ("weights", "cache")}
        return {name: value for name, value in asdict(self).items() if name not in usual or value != usual[name]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Passport:
        """Read what `as_dict` wrote. Raises `DataError` that names a missing, unknown or ill-typed field."""
        kinds = {"str": str, "int": int, "bool": bool}
        wanted = {field.name: kinds[str(field.type)] for field in fields(cls)}
        given = {field.name for field in fields(cls) if field.default is MISSING}
        problems = [f"{name} is missing" for name in wanted if name in given and name not in values]
        problems += [f"{name} is unknown, {did_you_mean(name, wanted)}" for name in values if name not in wanted]
        for name, kind in wanted.items():
            if name in values and type(values[name]) is not kind:  # exact: True is an int to isinstance
                problems.append(f"{name} must be {kind.__name__}, not {values[name]!r}")
        if problems:
            raise DataError(f"this is no passport: {'; '.join(problems)}; evaluate the run again to write a new one")
        return cls(**values)

    def sentence(self) -> str:
        """Say for people what the figure was measured on.

        >>> Passport("token", "bpe 4096 1f3a9c20", 128, 64, "joined", "validation", 18_000, 11_000, 70_000,
        ...          "words", False, "python-reference").sentence()
        'Measured on the whole validation split of python-reference: 18,000 tokens (bpe 4096 1f3a9c20), 11,000 words \
and 70,000 bytes, with up to 128 tokens of context in windows that move on by 64, documents joined.'
        """
        some = "a fixed part of the" if self.split == "train" else "the beginning of the"
        part = some if self.partial else "the whole"
        windows = (
            "windows that do not overlap" if self.stride == self.context else f"windows that move on by {self.stride}"
        )
        view = counted_unit(self.unit).view.format(context=self.context, windows=windows, documents=self.documents)
        rule = "words" if self.word_rule == "words" else f"words (counted as {self.word_rule})"
        known = [f"{count:,} {what}" for count, what in ((self.words, rule), (self.bytes, "bytes")) if count]
        counts = f", {' and '.join(known)}" if known else ""
        leaks = "LEAKS. " if self.leaks else ""
        kept = "" if self.weights == "fp32" else f", the model's weights in {self.weights}"
        beside = f", beside {self.cache}" if self.cache else ""
        return (
            f"{leaks}Measured on {part} {self.split} split of {self.corpus}: "
            f"{self.tokens:,} {self.unit}s ({self.tokenizer}){counts}, {view}{kept}{beside}."
        )


def differences(a: Passport, b: Passport, figure: str) -> list[str]:
    """Return the fields that differ between two passports and move `figure`, in the order of its kind.

    Raises `ConfigError` when there is no such figure.
    """
    if figure not in FIGURES:
        raise ConfigError(f"no figure is called {figure!r}, {did_you_mean(figure, FIGURES)}")
    return [name for name in FIGURES[figure].moved_by if getattr(a, name) != getattr(b, name)]


def check_comparable(a: Passport, b: Passport, figure: str, *, allow: Collection[str] = ()) -> None:
    """Return in peace when `figure` means the same under both passports.

    `allow` names fields whose difference is meant, for example `{"context"}` in a study of the context length.
    Raises `ConfigError` that names each other field that differs, with both values.
    """
    names = [field.name for field in fields(Passport)]
    unknown = [name for name in allow if name not in names]
    if unknown:
        raise ConfigError(
            *(f"allow: a passport has no field {name!r}, {did_you_mean(name, names)}" for name in unknown)
        )
    refused = [name for name in differences(a, b, figure) if name not in allow]
    if refused:
        what = ", ".join(f"{name} ({getattr(a, name)} and {getattr(b, name)})" for name in refused)
        raise ConfigError(
            f"{figure} cannot be compared, the passports differ in {what}: "
            f"evaluate both in the same way, or allow the difference by name (--allow {refused[0]})"
        )
