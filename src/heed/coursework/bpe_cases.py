"""Byte-pair encoding, held against `heed.text.tokenizers`, and the ways in which other tokenizers differ from it.

Ids of an exercise are the bytes 0 to 255, and 256 + i for what merge i joins. Words are of letters alone, whose order
as bytes is that of heed's ids too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from heed.coursework.cases import Case, Cases
from heed.text.tokenizers.bpe import Bpe, Pair
from heed.text.tokenizers.bpe_trainer import train_bpe
from heed.text.tokenizers.patterns import BYTE_OF

SPECIALS = 1
"""The end-of-text token stands before the bytes in heed's vocabulary."""
WORDS = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3
"""The example of Sennrich et al. 2016, section 3.2."""
ONCE = "each distinct word is counted once, not as often as it occurs"
ACROSS = "pairs are counted across the ends of words"
FIRST_MET = "of pairs that are as frequent it takes the one met first; the smallest (left, right) goes first"
LARGEST = "of pairs that are as frequent it takes the largest; the smallest (left, right) goes first"
CHARACTERS = "it begins with characters; the first symbols are the bytes of UTF-8"


def trained(words: Sequence[str], n_merges: int) -> Bpe:
    """Return heed's tokenizer with at most so many merges."""
    return train_bpe(words, vocab_size=SPECIALS + 256 + n_merges)


def exercise_id(bpe: Bpe, id: int) -> int:
    """Return the id of an exercise for one of heed's."""
    return BYTE_OF[bpe.tokens[id]] if id < SPECIALS + 256 else id - SPECIALS


def merges_of(words: Sequence[str], n_merges: int) -> list[Pair]:
    """Return the merges that heed learns, in the ids of an exercise."""
    bpe = trained(words, n_merges)
    return [(exercise_id(bpe, left), exercise_id(bpe, right)) for left, right in bpe.merge_list]


def encoded(text: str, words: Sequence[str], n_merges: int) -> list[int]:
    """Return what heed's tokenizer makes of a text, in the ids of an exercise."""
    bpe = trained(words, n_merges)
    return [exercise_id(bpe, id) for id in bpe.encode(text)]


def joined(ids: Sequence[int], pair: Pair, new: int) -> list[int]:
    """Return ids in which each `pair`, the leftmost first, has become `new`."""
    out: list[int] = []
    for id in ids:
        if out and (out[-1], id) == pair:
            out[-1] = new
        else:
            out.append(id)
    return out


def learned(
    words: Iterable[str],
    n_merges: int,
    best: Callable[[Counter[Pair]], Pair] = lambda counts: min(counts, key=lambda pair: (-counts[pair], pair)),
    symbols: Callable[[str], Iterable[int]] = str.encode,
) -> list[Pair]:
    """Return merges learned slowly, with another choice of the best pair or other first symbols."""
    pieces = [list(symbols(word)) for word in words]
    merges: list[Pair] = []
    while len(merges) < n_merges and (counts := Counter(pair for piece in pieces for pair in pairwise(piece))):
        merges.append(best(counts))
        pieces = [joined(piece, merges[-1], 255 + len(merges)) for piece in pieces]
    return merges


def _met_first(counts: Counter[Pair]) -> Pair:
    return counts.most_common(1)[0][0]


def _largest(counts: Counter[Pair]) -> Pair:
    return max(counts, key=lambda pair: (counts[pair], pair))


def _train_case(about: str, words: list[str], n_merges: int) -> Case:
    wrong = {
        FIRST_MET: learned(words, n_merges, _met_first),
        LARGEST: learned(words, n_merges, _largest),
        ONCE: learned(dict.fromkeys(words), n_merges),
        ACROSS: learned(["".join(words)], n_merges),
        CHARACTERS: learned(words, n_merges, symbols=lambda word: map(ord, word)),
    }
    return Case(about, lambda f: f(list(words), n_merges), merges_of(words, n_merges), wrong)


ABC = [(98, 99), (97, 98), (257, 99)]
"""Merges of b c, of a b, and of (a b) c: of "abc" the first one leaves a and bc, which no merge joins."""
RIGHT_FIRST = [(98, 99), (97, 256), (97, 98)]
"""Merges of b c, of a (b c), and of a b: whoever joins a b first is left with c."""

CASES: Cases = {
    "train": [
        _train_case("low, lower, newest, widest; 8 merges", WORDS, 8),
        _train_case("ties", ["ba", "ab", "cb"], 3),
        _train_case("words of two bytes a letter", ["éé", "éa", "éé"], 3),
        _train_case("fewer pairs than merges", ["ab", "ab"], 9),
    ],
    "encode": [
        Case(
            "a pair that was learned before the one on its left",
            lambda f: f("abc", list(RIGHT_FIRST)),
            [257],
            {
                "it joins whatever pair comes first in the text; the pair that was learned first goes first": [258, 99],
                "each merge is tried once, against the bytes alone": [97, 256],
            },
        ),
        Case(
            "a longer token that merges do not lead to",
            lambda f: f("abc", list(ABC)),
            [97, 256],
            {"it takes the longest token that fits, as WordPiece does; BPE repeats its merges in order": [258]},
        ),
        Case(
            "one pair over itself",
            lambda f: f("aaaaa", [(97, 97)]),
            [256, 256, 97],
            {
                "only the first place of a pair is joined": [256, 97, 97, 97],
                "it goes from the right; the leftmost pair is joined first": [97, 256, 256],
            },
        ),
        Case(
            "a word that training never saw",
            lambda f: f("lowestnewer", merges_of(WORDS, 8)),
            encoded("lowestnewer", WORDS, 8),
        ),
        Case("letters of two bytes", lambda f: f("éa", []), [195, 169, 97], {CHARACTERS: [233, 97]}),
        Case("an empty text", lambda f: f("", list(ABC)), []),
    ],
    "decode": [
        Case("merges of merges", lambda f: f([258, 97, 256], list(ABC)), "abcabc"),
        Case(
            "a letter whose bytes are two tokens",
            lambda f: f([195, 169], []),
            "é",
            {
                "tokens are decoded one by one; join the bytes of all of them first": "\ufffd\ufffd",
                "bytes are taken for characters": "Ã©",
            },
        ),
        Case("half a letter becomes U+FFFD", lambda f: f([97, 195], []), "a\ufffd", {"it is dropped": "a"}),
    ],
}
"""The cases of each function of bpe.py."""
