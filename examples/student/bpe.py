"""Byte-pair encoding from scratch: learn the merges, encode, decode. Plain Python is enough.

A token is a number: 0 to 255 are the bytes of UTF-8, and 256 + i is what merge number i has joined.
A merge is a pair of ids, (left, right).
"""


def train(words: list[str], n_merges: int) -> list[tuple[int, int]]:
    """Return the merges that are learned from words, in order, `n_merges` of them or as many as there are.

    Each time the most frequent pair of neighbours becomes one token, everywhere. Pairs are counted within words, never
    across the end of one; a word that occurs five times counts five times, and in "aaa" the pair (a, a) occurs twice.
    Of pairs that are as frequent the smallest goes first, as Python compares tuples.
    """
    raise NotImplementedError


def encode(text: str, merges: list[tuple[int, int]]) -> list[int]:
    """Return the tokens of a text that is one word: its bytes, and then each merge in the order of learning.

    One merge is made at all its places, the leftmost first, before the next merge is looked at.
    """
    raise NotImplementedError


def decode(ids: list[int], merges: list[tuple[int, int]]) -> str:
    """Return the text of some tokens; bytes that are no UTF-8 become U+FFFD, the replacement character."""
    raise NotImplementedError
