"""The figures of one split as they are kept: in metrics.jsonl, evaluation.json, lengths.json and study.json."""

from __future__ import annotations

from typing import Any

from heed.records.kept import Number, Ordered, PlainList, PlainObject


class KeptFigures(Ordered):
    """What `heed.report.measured.Figures` measured, by name and in its order; which names there are is its to say.

    Of the names here several places read the value; `finite` gives any other.
    """

    loss: Number = None
    """Nats a unit."""
    token_perplexity: Number = None
    word_perplexity: Number = None
    bits_per_byte: Number = None
    accuracy: Number = None
    accuracy_interval: PlainList = None
    majority: Number = None
    """What always the same answer gets."""
    commonest: PlainObject = None
    """The commonest answer to a question, and how often it is right."""
    recall: PlainObject = None
    """By class; None where the split has no text of one."""
    confusion: PlainList = None
    """Rows: the class, columns: what it is taken for."""
    leaks: Any = None
    """What the audit found, of a model that leaks."""
    honest: PlainObject = None
    """The losses of such a model on prefixes alone, and of the same tokens in one pass."""
    passport: PlainObject = None
    """See `heed.report.passport`."""


class LengthFigures(KeptFigures):
    """The figures at another context than that of the training, or the reason why there are none."""

    reason: str | None = None
