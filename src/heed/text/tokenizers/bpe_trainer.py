"""Byte-pair encoding: learning the merges (Sennrich et al. 2016), with counts that are kept up to date, not made anew.

The most frequent pair of neighbours is joined, again and again. Ties go to the pair with the smallest ids, the left id
first, as in the `BpeTrainer` of `tokenizers`, whose merges and ids these equal: the end-of-text token has id 0, other
special tokens follow, then come the 256 bytes in the order of their printable characters, then the joined tokens as
they are learned. (A merge that gives a token which is there takes its id, as in `tokenizers`; in 6,000 random texts
that never happened.)

    words          distinct pieces of the text, as lists of ids, and how often each occurs; a long one as a `LinkedWord`
    counts         pair -> occurrences in the whole text
    heap           (-count, pair, words that may hold it); a count may be out of date, and is checked when it comes up
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

from heed.errors import ConfigError, DataError
from heed.text.tokenizers.base import END_OF_TEXT
from heed.text.tokenizers.bpe import Bpe, Pair
from heed.text.tokenizers.patterns import BYTE_OF, SPLITS, Pattern, chunks, make_pattern

LONG = 256
"""Symbols in a word from which its places are kept: to look through it for each pair would take n^2 for n symbols."""


def train_bpe(documents: Iterable[str], vocab_size: int, pattern: str = "gpt2", specials: Sequence[str] = ()) -> Bpe:
    """Learn a byte-level vocabulary of `vocab_size` tokens: the end-of-text token, 256 bytes, and what merging adds.

    `specials` are more tokens that no text is encoded to, each longer than a character or none that stands for a byte.
    Where the text has fewer pairs than that, the vocabulary is smaller and `note` says so.
    Raises `DataError` when the vocabulary is too small, or the text is empty or has nothing to merge.

    In "aaabdaaabac" the pair aa is the most frequent. Then (ab) and (aa)a occur twice each: the ids of ab are smaller.

    >>> bpe = train_bpe(["aaabdaaabac"], vocab_size=260)
    >>> [bpe.tokens[left] + "+" + bpe.tokens[right] for left, right in bpe.merge_list]
    ['a+a', 'a+b', 'aa+ab']
    """
    if pattern not in SPLITS:
        raise ConfigError(f"tokenizer.pattern: {pattern!r} cannot be trained, choose one of 'gpt2', 'gpt4'")
    if taken := [special for special in specials if special in BYTE_OF]:
        raise ConfigError(f"the special token {taken[0]!r} is the name of a byte: take another")
    tokens = [END_OF_TEXT, *specials, *BYTE_OF]
    if vocab_size < len(tokens):
        raise DataError(f"a vocabulary of {vocab_size} is too small: byte-level BPE needs at least {len(tokens)}")
    rule = make_pattern(pattern)
    pieces = count_pieces(documents, rule)
    if not pieces:
        raise DataError("there is no text to train a tokenizer on: the documents are empty")
    ids = {token: id for id, token in enumerate(tokens)}
    words = [[ids[symbol] for symbol in rule.symbols(piece)] for piece in pieces]
    merges = learn_merges(words, list(pieces.values()), tokens, vocab_size)
    if not merges and vocab_size > len(tokens):
        raise DataError(
            f"this text has no two symbols side by side, so the largest vocabulary is {len(tokens)}: give more text"
        )
    bpe = Bpe(tokens, merges, pattern, (END_OF_TEXT, *specials))
    if bpe.vocab_size < vocab_size:
        bpe.note = f"the text gives only {bpe.vocab_size} tokens, {vocab_size} were asked for: everything is merged"
    return bpe


def count_pieces(documents: Iterable[str], pattern: Pattern) -> Counter[str]:
    """Return how often each distinct piece occurs; of the text itself only one chunk is in memory.

    >>> count_pieces(["a b", "a c"], make_pattern("gpt2"))
    Counter({'a': 2, ' b': 1, ' c': 1})
    """
    pieces: Counter[str] = Counter()
    for document in documents:
        for chunk in chunks(document):
            pieces.update(pattern.split(chunk))
    return pieces


def learn_merges(words: list[list[int]], occurrences: list[int], tokens: list[str], vocab_size: int) -> list[Pair]:
    """Return the merges that bring `tokens` to `vocab_size`; `tokens` grows, and short `words` end up merged.

    Work is proportional to the words that hold the pair being merged, not to the text; in a long word, to the places.
    """
    linked = {index: LinkedWord(word) for index, word in enumerate(words) if len(word) >= LONG}
    counts: defaultdict[Pair, int] = defaultdict(int)
    holders: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, word in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += occurrences[index]
            holders[pair].add(index)
    heap = [(-counts[pair], pair, indices) for pair, indices in holders.items()]
    heapify(heap)
    ids = {token: id for id, token in enumerate(tokens)}
    merges: list[Pair] = []
    while heap and len(tokens) < vocab_size:
        negative, pair, indices = heappop(heap)
        if counts[pair] != -negative:  # out of date: back with the count of now
            if counts[pair] > 0:
                heappush(heap, (-counts[pair], pair, indices))
            continue
        name = tokens[pair[0]] + tokens[pair[1]]
        new = ids.setdefault(name, len(tokens))
        if new == len(tokens):
            tokens.append(name)
        merges.append(pair)
        holders = defaultdict(set)
        for index in indices:
            if index in linked:
                linked[index].join(pair, new, occurrences[index], index, counts, holders)
            else:
                _join(words[index], pair, new, occurrences[index], index, counts, holders)
        for born, places in holders.items():
            if counts[born] > 0:
                heappush(heap, (-counts[born], born, places))
    return merges


def _join(
    word: list[int],
    pair: Pair,
    new: int,
    times: int,
    index: int,
    counts: defaultdict[Pair, int],
    holders: defaultdict[Pair, set[int]],
) -> None:
    """Replace `pair` by `new` in a word that occurs `times` times; change the counts, note who holds the new pairs."""
    left, right = pair
    at = 0
    while at < len(word) - 1:
        if word[at] == left and word[at + 1] == right:
            word[at : at + 2] = [new]
            if at > 0:
                counts[word[at - 1], left] -= times
                counts[word[at - 1], new] += times
                holders[word[at - 1], new].add(index)
            if at + 1 < len(word):
                counts[right, word[at + 1]] -= times
                counts[new, word[at + 1]] += times
                holders[new, word[at + 1]].add(index)
        at += 1


class LinkedWord:
    """A long word as a linked list of symbols that knows where each pair stands: a merge touches these places alone.

    A place is that of the left symbol; some may be out of date, and are looked at before they are merged.
    """

    def __init__(self, word: Sequence[int]) -> None:
        end = len(word)
        self.symbols = array("q", [*word, -1])  # -1: none any more, and the end
        self.after, self.before = array("q", range(1, end + 2)), array("q", range(-1, end))
        self.places: defaultdict[Pair, list[int]] = defaultdict(list)
        for place, pair in enumerate(pairwise(word)):
            self.places[pair].append(place)

    def join(
        self,
        pair: Pair,
        new: int,
        times: int,
        index: int,
        counts: defaultdict[Pair, int],
        holders: defaultdict[Pair, set[int]],
    ) -> None:
        """Do as `_join`."""
        left, right = pair
        symbols, after, before, places = self.symbols, self.after, self.before, self.places
        for at in sorted(places.pop(pair, ())):
            gone = after[at]
            if symbols[at] != left or symbols[gone] != right:
                continue
            follower, earlier = after[gone], before[at]
            symbols[at], symbols[gone] = new, -1
            after[at], before[follower] = follower, at
            if earlier >= 0:
                counts[symbols[earlier], left] -= times
                counts[symbols[earlier], new] += times
                holders[symbols[earlier], new].add(index)
                places[symbols[earlier], new].append(earlier)
            if symbols[follower] >= 0:
                counts[right, symbols[follower]] -= times
                counts[new, symbols[follower]] += times
                holders[new, symbols[follower]].add(index)
                places[new, symbols[follower]].append(at)
