"""The data report: what a corpus holds, read once, in memory that does not grow with the text.

    documents ──> characters ──bincount──> scripts, odd characters
              ──> lengths in steps of 1 %, longest lines, words, bytes
              ──> a sample of passages ──> languages (py3langid)
              ──> 8 bytes of a hash each ──> duplicates, documents of held-out splits that stand in training
              ──> MinHash of 5-word shingles, on request ──> near-duplicates (datasketch)

Only the hashes grow: 8 bytes a document, and 0.6 kB besides where near-duplicates are looked for.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import random
import time
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import regex

from heed.errors import DataError, MissingPackageError, require
from heed.records.survey import LongLine, Shared, SplitSurvey, Survey
from heed.text.corpus import Corpus
from heed.text.tokenizers import Tokenizer

CHUNK = 1 << 20
"""Characters that are counted at once."""
LONG_LINES, BEGIN = 5, 60
"""The longest lines that are named, and the characters of each that are shown."""
PASSAGES, PASSAGE, LETTERS = 1000, 400, 40
"""Passages that are looked at for their language, their characters, and the letters that one must have."""
MARGIN = 5.0
"""Nats by which the likeliest language must be ahead of the second."""
STEP = 1.01
"""Lengths in the same step are not told apart."""
SHINGLE, PERMUTATIONS = 5, 128
"""Words of a shingle, and numbers of a MinHash (Broder 1997): the error of the similarity is 1 / sqrt(128)."""
RECALL = (0.02, 0.98)
"""What false and missed candidates cost: a false one is only compared in vain."""
MOST_NEAR = 2_000_000
"""Documents whose MinHashes are kept: 1.2 GB."""
PLACES = 5
"""Documents that are named where they stand in training too."""
SCRIPTS = (
    "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Telugu", "Thai", "Han",
    "Hiragana", "Katakana", "Hangul", "Armenian", "Georgian", "Ethiopic", "Khmer", "Lao", "Myanmar", "Sinhala",
    "Gujarati", "Gurmukhi", "Kannada", "Malayalam", "Tibetan", "Mongolian", "Cherokee", "Syriac", "Thaana",
)  # fmt: skip
"""Writing systems by their Unicode names; letters of all others are "other"."""
MISREAD = regex.compile(r"[ÂÃ][\u0080-\u00bf\u0152-\u2122]|â(?:€|‚)[\u0080-\u2122]")
"""What two or three bytes of UTF-8 look like in Windows-1252."""
Progress = Callable[[int], object]
"""Is told the bytes of text that are done."""


def survey(
    corpus: Corpus,
    source: str,
    *,
    tokenizer: Tokenizer | None = None,
    near: float | None = None,
    seed: int = 0,
    progress: Progress = lambda done: None,
) -> Survey:
    """Read every split of a corpus once and return what it holds; `near` from 0 to 1 looks for near-duplicates.

    Without py3langid a note says that languages are not told. Raises `DataError` for what cannot be read, for more
    documents than near-duplicates are looked for in, and `MissingPackageError` where these need datasketch.
    """
    begin, done, notes = time.perf_counter(), 0, list[str]()
    try:
        require("py3langid", "data")
    except MissingPackageError as error:
        notes.append(f"languages were not told: {error}")
    alike, splits = Alike(near), {}
    counters: dict[str, Counting] = {}
    for split in corpus.splits:
        counting = counters[split] = Counting(tokenizer, seed)
        for number, text in enumerate(corpus.documents(split), 1):
            counting.add(number, text)
            alike.add(split, text, ("train",) if split != "train" else ())
            if counting.bytes - done > CHUNK:
                progress(sum(one.bytes for one in counters.values()))
                done = counting.bytes
        done = 0
    shared = []
    for split, counting in counters.items():
        equal = alike.repeated(split)
        close = None if near is None else int((alike.close(split, split) & ~equal).sum())
        splits[split] = counting.found(int(equal.sum()), close, languages=not notes)
        if split == "train":
            continue
        equal = alike.shared(split, "train")
        close = None if near is None else int((alike.close(split, "train") & ~equal).sum())
        if equal.any() or close:
            shared.append(Shared(split, int(equal.sum()), close, tuple((np.flatnonzero(equal)[:PLACES] + 1).tolist())))
    return Survey(
        name=corpus.name,
        source=source,
        splits=splits,
        split_rule=corpus.split_rule,
        shared=tuple(shared),
        near=near,
        tokenizer=None if tokenizer is None else f"{tokenizer.kind} {tokenizer.vocab_size:,}",
        notes=(*corpus.notes, *notes),
        passages=PASSAGES,
        seconds=time.perf_counter() - begin,
    )


class Counting:
    """Counts one split, document by document."""

    def __init__(self, tokenizer: Tokenizer | None, seed: int) -> None:
        self.tokenizer, self.random = tokenizer, random.Random(seed)
        self.documents = self.bytes = self.characters = self.words = self.lines = self.misread = 0
        self.tokens = self.unknown = 0
        self.steps: Counter[int] = Counter()
        self.octaves: Counter[int] = Counter()
        self.edges = (math.inf, 0)
        self.long: list[tuple[int, int, int, str]] = []
        self.passages: list[str] = []
        self.seen = 0
        self.codes = np.zeros(0x110000, np.int64)
        self._waiting: list[str] = []
        self._size = 0

    def add(self, number: int, text: str) -> None:
        """Count a document."""
        length = len(text)
        self.documents += 1
        self.characters += length
        self.bytes += length if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        self.words += len(text.split())
        self.lines += text.count("\n") + (not text.endswith("\n"))
        self.steps[round(math.log(max(1, length), STEP))] += 1
        self.octaves[max(1, length).bit_length() - 1] += 1
        self.edges = (min(self.edges[0], length), max(self.edges[1], length))
        self._lines(number, text)
        self._sample(text)
        if not text.isascii():
            self.misread += sum(1 for _ in MISREAD.finditer(text))
        if self.tokenizer is not None:
            ids = self.tokenizer.encode_array(text)
            self.tokens += len(ids)
            if self.tokenizer.unknown_id is not None:
                self.unknown += int((ids == self.tokenizer.unknown_id).sum())
        self._waiting.append(text)
        self._size += length
        if self._size >= CHUNK:
            self._count()

    def _lines(self, number: int, text: str) -> None:
        """Keep the longest lines."""
        shortest = self.long[0][0] if len(self.long) == LONG_LINES else 0
        if len(text) <= shortest:
            return
        for place, line in enumerate(text.split("\n"), 1):
            if len(line) > shortest:
                keep = heapq.heappush if len(self.long) < LONG_LINES else heapq.heappushpop
                keep(self.long, (len(line), -number, -place, line[:BEGIN]))
                shortest = self.long[0][0] if len(self.long) == LONG_LINES else 0

    def _sample(self, text: str) -> None:
        """Keep passages of all so far with the same chance each (reservoir sampling, Vitter 1985)."""
        for start in range(0, len(text), 64 * PASSAGE):
            self.seen += 1
            place = len(self.passages) if self.seen <= PASSAGES else self.random.randrange(self.seen)
            if place < PASSAGES:
                passage = text[start : start + PASSAGE]
                self.passages[place : place + 1] = [passage]

    def _count(self) -> None:
        """Count the characters that wait."""
        codes = np.frombuffer("".join(self._waiting).encode("utf-32-le", "surrogatepass"), "<u4")
        found = np.bincount(codes)
        self.codes[: len(found)] += found
        self._waiting, self._size = [], 0

    def found(self, duplicates: int, near: int | None, *, languages: bool = True) -> SplitSurvey:
        """Return what was counted; `languages` tells those of the passages too."""
        self._count()
        octaves = range(max(self.octaves, default=0) + 1)
        return SplitSurvey(
            documents=self.documents,
            bytes=self.bytes,
            characters=self.characters,
            words=self.words,
            lines=self.lines,
            shortest=int(self.edges[0]) if self.documents else 0,
            median=self._quantile(0.5),
            p95=self._quantile(0.95),
            longest=self.edges[1],
            lengths=tuple((2**octave if octave else 0, self.octaves[octave]) for octave in octaves),
            longest_lines=tuple(
                LongLine(length, -number, -place, begin) for length, number, place, begin in sorted(self.long)[::-1]
            ),
            scripts=scripts_of(self.codes),
            languages=languages_of(self.passages) if languages else {},
            odd=odd_of(self.codes),
            misread=self.misread,
            duplicates=duplicates,
            near_duplicates=near,
            tokens=None if self.tokenizer is None else self.tokens,
            unknown_tokens=None if self.tokenizer is None else self.unknown,
        )

    def _quantile(self, share: float) -> int:
        """Return the length that this share of the documents does not exceed, up to a step."""
        below = 0
        for step, count in sorted(self.steps.items()):
            below += count
            if below >= share * self.documents:
                return min(max(round(STEP**step), int(self.edges[0])), self.edges[1])
        return 0


def scripts_of(codes: np.ndarray) -> dict[str, int]:
    """Return the letters of each writing system, the commonest first; `codes` (0x110000,) counts characters.

    >>> codes = np.bincount([ord(c) for c in "abc дом 1!"], minlength=0x110000)
    >>> scripts_of(codes)
    {'Latin': 3, 'Cyrillic': 3}
    """
    letters = "".join(chr(code) for code in np.flatnonzero(codes) if unicodedata.category(chr(code))[0] == "L")
    found, left = {}, set(letters)
    for script in SCRIPTS:
        own = set(regex.findall(rf"\p{{Script={script}}}", letters))
        found[script] = int(sum(codes[ord(letter)] for letter in own))
        left -= own
    found["other"] = int(sum(codes[ord(letter)] for letter in left))
    return {script: count for script, count in sorted(found.items(), key=lambda item: -item[1]) if count}


def odd_of(codes: np.ndarray) -> dict[str, int]:
    """Return characters that text seldom holds, by name: control, format, private, unassigned, the replacement.

    >>> odd_of(np.bincount([0, 0xFFFD, 0x200B, 10, 65], minlength=0x110000))
    {'U+0000 (control)': 1, 'U+200B ZERO WIDTH SPACE': 1, 'U+FFFD REPLACEMENT CHARACTER': 1}
    """
    kinds = {"Cc": "control", "Cf": "format", "Co": "private use", "Cn": "not assigned", "Cs": "half a character"}
    found = {}
    for code in np.flatnonzero(codes).tolist():
        kind = unicodedata.category(chr(code))
        if (kind in kinds and chr(code) not in "\t\n\r") or code == 0xFFFD:
            name = unicodedata.name(chr(code), f"({kinds.get(kind, '')})")
            found[f"U+{code:04X} {name}"] = int(codes[code])
    return found


def languages_of(passages: Iterable[str]) -> dict[str, int]:
    """Return how many passages are of each language, by its ISO 639 code, the commonest first.

    "unsure" are those of which two languages are nearly as likely, "few letters" those with less than `LETTERS`.
    """
    langid: Any = require("py3langid", "data")
    counts: Counter[str] = Counter()
    for passage in passages:
        if sum(map(str.isalpha, passage)) < LETTERS:
            counts["few letters"] += 1
            continue
        (first, chance), (_, second) = langid.rank(passage)[:2]
        counts[first if chance - second >= MARGIN else "unsure"] += 1
    return dict(counts.most_common())


class Alike:
    """Which documents are equal, or nearly, to earlier ones of their split or of others."""

    def __init__(self, near: float | None) -> None:
        if near is not None and not 0.3 <= near < 1:
            raise DataError(f"near-duplicates are looked for from a similarity of 0.3 to below 1, not {near}")
        self.near = near
        self._sketches: Any = None if near is None else require("datasketch", "data")
        self._hashes: dict[str, array[int]] = {}
        self._known: dict[str, list[np.ndarray]] = {}
        self._index: dict[str, Any] = {}
        self._close: dict[tuple[str, str], list[bool]] = {}

    def add(self, split: str, text: str, others: Sequence[str] = ()) -> None:
        """Take a document; near-duplicates are looked for in what has been read of its split and of `others`."""
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._hashes.setdefault(split, array("Q")).append(int.from_bytes(digest, "little"))
        if self.near is None:
            return
        if sum(map(len, self._known.values())) >= MOST_NEAR:
            raise DataError(f"near-duplicates are looked for among {MOST_NEAR:,} documents at most: leave --near out")
        sketch = self._sketches.MinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update_batch(list(shingles(text)))
        values = sketch.hashvalues.astype(np.uint32)
        known = self._known.setdefault(split, [])
        if split not in self._index:
            self._index[split] = self._sketches.MinHashLSH(self.near, PERMUTATIONS, params=_bands(self.near))
        for other in (split, *others):
            if other in self._index:
                candidates = (self._known[other][number] for number in self._index[other].query(sketch))
                close = any(float((one == values).mean()) >= self.near for one in candidates)
                self._close.setdefault((split, other), []).append(close)
        self._index[split].insert(len(known), sketch)
        known.append(values)

    def repeated(self, split: str) -> np.ndarray:
        """Return which documents (n,) bool are equal to an earlier one of their split."""
        hashes = self._of(split)
        again = np.ones(len(hashes), bool)
        again[np.unique(hashes, return_index=True)[1]] = False
        return again

    def shared(self, split: str, other: str) -> np.ndarray:
        """Return which documents (n,) bool of a split stand in another one too."""
        return np.isin(self._of(split), self._of(other))

    def close(self, split: str, other: str) -> np.ndarray:
        """Return which documents (n,) bool of a split are nearly equal to an earlier one of `other`, or equal."""
        return np.array(self._close.get((split, other), [False] * len(self._of(split))), bool)

    def _of(self, split: str) -> np.ndarray:
        return np.array(self._hashes.get(split, ()), np.uint64)


@cache
def _bands(near: float) -> tuple[int, int]:
    """Return how many bands of how many hashes find what is that similar; to weigh them takes a thousand integrals."""
    made = require("datasketch", "data").MinHashLSH(near, PERMUTATIONS, weights=RECALL)
    return made.b, made.r


def shingles(text: str) -> set[bytes]:
    """Return the runs of five words of a text, without regard to capitals; of a shorter one the whole.

    >>> sorted(shingles("To be or not to be"))
    [b'be or not to be', b'to be or not to']
    """
    words = text.casefold().split()
    ends = range(SHINGLE, max(SHINGLE, len(words)) + 1)
    return {" ".join(words[end - SHINGLE : end]).encode("utf-8", "surrogatepass") for end in ends}


def clean(corpus: Corpus, near: float | None) -> tuple[Iterator[str], dict[str, int]]:
    """Return the training documents that are left, and how many are not, by the reason.

    Left out are those equal to an earlier one, those that a held-out split holds too, and with `near` those that are
    nearly so. The text is read twice.
    """
    alike = Alike(near)
    held_out = [split for split in corpus.splits if split != "train"]
    for split in (*held_out, "train"):
        for text in corpus.documents(split):
            alike.add(split, text, held_out if split == "train" else ())
    reasons = {"equal to an earlier one": alike.repeated("train")}
    reasons |= {f"in the {split} split too": alike.shared("train", split) for split in held_out}
    if near is not None:
        reasons["nearly equal to an earlier one"] = alike.close("train", "train")
        reasons |= {f"nearly equal to one of the {split} split": alike.close("train", split) for split in held_out}
    left = np.ones(len(reasons["equal to an earlier one"]), bool)
    counts = {}
    for reason, found in reasons.items():  # the first reason counts
        counts[reason] = int((left & found).sum())
        left &= ~found
    return (text for text, keep in zip(corpus.documents("train"), left.tolist(), strict=True) if keep), counts
