"""What is known of a text before anything learns from it: the data report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class LongLine:
    """A line, by where it stands."""

    characters: int
    document: int
    """From 1."""
    line: int
    """Within it, from 1."""
    begin: str


@dataclass(frozen=True)
class SplitSurvey:
    """What one split holds."""

    documents: int
    bytes: int
    """In UTF-8."""
    characters: int
    words: int
    """Parts between white space."""
    lines: int
    """Line ends, and one for each document that does not end in one."""
    shortest: int
    """Characters of a document, as are the next three."""
    median: int
    """Up to 1 %, as the next: lengths are counted in steps of 1 %."""
    p95: int
    longest: int
    lengths: tuple[tuple[int, int], ...]
    """(characters from which on, documents): each ends at twice its beginning; the first holds empty ones too."""
    longest_lines: tuple[LongLine, ...]
    scripts: dict[str, int]
    """Letters of each, the commonest first."""
    languages: dict[str, int]
    """Passages of each, of those that were looked at; "unsure" where two are nearly as likely."""
    odd: dict[str, int]
    """Characters that text seldom holds, by their name."""
    misread: int
    """Places that look like UTF-8 that was read as Windows-1252."""
    duplicates: int
    """Documents equal to an earlier one of the split."""
    near_duplicates: int | None
    """Documents that are not equal to an earlier one of the split, but share most of their words with one; None: not
    looked for."""
    tokens: int | None = None
    """Of the tokenizer that was asked about."""
    unknown_tokens: int | None = None


@dataclass(frozen=True)
class Shared:
    """Documents of a held-out split that stand in training too."""

    split: str
    documents: int
    near: int | None
    """Not equal to one of training, but nearly."""
    places: tuple[int, ...]
    """The numbers, from 1, of the first of them."""


@dataclass(frozen=True)
class Survey:
    """The data report of a corpus."""

    name: str
    source: str
    splits: dict[str, SplitSurvey]
    split_rule: str
    shared: tuple[Shared, ...]
    near: float | None
    """Jaccard similarity of 5-word shingles from which on documents are nearly equal."""
    tokenizer: str | None
    notes: tuple[str, ...] = ()
    passages: int = 0
    """That languages were told of, at most, in each split."""
    seconds: float = field(default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)
