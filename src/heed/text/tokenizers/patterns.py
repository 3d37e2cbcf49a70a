r"""How byte-pair encoding splits text into pieces before it merges: no merge crosses the border of a piece.

Three ways are known:

    gpt2   letters, digits or signs, each with the space before it (Radford et al. 2019)
    gpt4   the same with at most three digits, line ends apart, and one sign before a word (the cl100k vocabulary)
    gpt1   lower-cased words as in BERT, each ending in `</w>` (Radford et al. 2018); for GPT-1's own files

gpt2 and gpt4 write a piece as bytes, and a byte as a printable character: `Ġ` is the space.

Letters and digits are those of Unicode 16, as in `tokenizers` 0.23 and tiktoken 0.14. Each text takes the fastest way
that is exact: ASCII the standard `re`; other text the module `regex`, half as fast; text that holds letters newer than
Unicode 16, which `regex` knows, the same with these taken out. (`re` with all of Unicode spelled out takes three times
as long as `regex`.)
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray
from tokenizers import normalizers, pre_tokenizers

from heed.errors import ConfigError, did_you_mean
from heed.text.tokenizers.base import code_points

SPLITS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "gpt4": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""The regular expressions as they were published: written into tokenizer.json, where others look for them."""

_NEWER = """
558 58b-58c 88f c5c cdc 208f 209d-209f a7ce-a7cf a7d2 a7d4 a7dd a7e2 a7f1 ab6c-ab6d 107bb-107bf 10940-10959 10ec5-10ec7
10ed9-10eee 11b0a 11db0-11ddb 11de0-11de9 11df1 1246f 12475-1247f 12550-12686 16ea0-16eb8 16ebb-16ed3 16ff2-16ff6
187f8-187ff 18cd6-18cda 18d09-18d20 18d80-18df2 18e00-19191 191a0-191d2 1b123-1b128 1b168 1d6a6 1df1f-1df24 1df2b-1df81
1df90-1df96 1dfcd-1dfff 1e6c0-1e6de 1e6e0-1e6e2 1e6e4-1e6e5 1e6e7-1e6ed 1e6f0-1e6f4 1e6fe-1e6ff 2b73a-2b73f 2b81e
2cea2-2cead 323b0-33479 3d000-3fc3f
"""
"""Letters and digits that `regex` knows beyond Unicode 16 (hexadecimal code points); a test compares all of Unicode."""

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in set(_PRINTABLE)]
BYTE_OF = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + n): byte for n, byte in enumerate(_OTHERS)}
"""GPT-2's alphabet, in the order of its characters: a printable byte is itself, the n-th other byte is U+0100 + n."""
_CHARACTERS = "".join(sorted(BYTE_OF, key=BYTE_OF.__getitem__))

# A cut between a letter or digit and a space or line end: no piece of any pattern spans it, and none looks back.
_CUT = re.compile(r"(?<=[^\W_])[ \n]")


def chunks(text: str, size: int = 1 << 10) -> Iterator[str]:
    """Cut a long text where no piece is broken, so that a document of any length needs little memory.

    Short chunks pay, for more of them are ASCII: on WikiText-2, 15 MB/s at 1,024 characters and 10 MB/s at 262,144.

    >>> list(chunks("one two three", size=2))
    ['one', ' two', ' three']
    """
    start = 0
    while len(text) - start > size:
        cut = _CUT.search(text, start + size)
        if cut is None:
            break
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:] if start else text


class Pattern:
    """Byte-level pre-tokenisation: `split` cuts text into pieces, `symbols` writes a piece in the alphabet of 256."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._all = regex.compile(SPLITS[name]).findall
        ascii_ = (
            SPLITS[name].replace(r"\p{L}\p{N}]", "a-zA-Z0-9]").replace(r"\p{L}", "[a-zA-Z]").replace(r"\p{N}", "[0-9]")
        )
        self._ascii = re.compile(ascii_, re.ASCII).findall

    def split(self, text: str) -> list[str]:
        """Cut text into pieces; joined, they are the text again. Raises `DataError` at a lone surrogate.

        >>> make_pattern("gpt2").split("It's 2026,  yes")
        ['It', "'s", ' 2026', ',', ' ', ' yes']
        """
        if text.isascii():
            return self._ascii(text)
        return self._exact(text) if _newer_table()[code_points(text)].any() else self._all(text)

    def symbols(self, piece: str) -> Sequence[str]:
        """Return the first symbols of a piece, one for each byte of its UTF-8 form.

        >>> make_pattern("gpt2").symbols(" né")
        'ĠnÃ©'
        """
        # str.translate takes twice as long for a word, and 8 to 38 times for a long piece
        return codecs.charmap_decode(piece.encode(), "strict", _CHARACTERS)[0]  # pyright: ignore[reportArgumentType]

    def to_bytes(self, token: str) -> bytes:
        """Return the bytes that a token stands for; raises `KeyError` for a character outside the alphabet."""
        return bytes([BYTE_OF[character] for character in token])

    @cached_property
    def parts(self) -> dict[str, Any]:
        """The parts of tokenizer.json that say all this to `tokenizers`."""
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": self.name == "gpt2"}
        split = {"type": "Split", "pattern": {"Regex": SPLITS[self.name]}, "behavior": "Isolated", "invert": False}
        before = level if self.name == "gpt2" else {"type": "Sequence", "pretokenizers": [split, level]}
        decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
        return {"normalizer": None, "pre_tokenizer": before, "decoder": decoder}

    @cached_property
    def _exact(self) -> Any:
        """The same split, with letters and digits of Unicode 16 only."""
        newer = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in _newer_ranges())
        split = SPLITS[self.name]
        for known in (r"\p{L}", r"\p{N}"):
            split = split.replace(known, f"[{known}--[{newer}]]")
        return regex.compile(split, regex.VERSION1).findall


class Gpt1Pattern(Pattern):
    """GPT-1's pre-tokenisation: BERT's lower-casing and splitting, then characters, the last one marked by `</w>`.

    It loses case, accents and white space. The normaliser is that of `tokenizers`, whose tables of characters decide.
    """

    def __init__(self) -> None:
        self.name = "gpt1"
        self._normalise = normalizers.BertNormalizer(lowercase=True).normalize_str
        self._words = pre_tokenizers.BertPreTokenizer().pre_tokenize_str

    def split(self, text: str) -> list[str]:
        """Cut text into lower-case words and single punctuation marks, without white space."""
        code_points(text)
        return [word for word, _ in self._words(self._normalise(text))]

    def symbols(self, piece: str) -> Sequence[str]:
        """Return the characters of a word, the last one with `</w>`."""
        return [*piece[:-1], piece[-1] + "</w>"]

    def to_bytes(self, token: str) -> bytes:
        """Return a token as UTF-8, its `</w>` as a space."""
        return token.replace("</w>", " ").encode("utf-8")

    @cached_property
    def parts(self) -> dict[str, Any]:
        """The parts of tokenizer.json that say all this to `tokenizers`."""
        flags = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
        return {
            "normalizer": {"type": "BertNormalizer", **flags},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
        }


@cache
def make_pattern(name: str) -> Pattern:
    """Return the pattern of this name; raises `ConfigError` for an unknown one."""
    if name == "gpt1":
        return Gpt1Pattern()
    if name in SPLITS:
        return Pattern(name)
    raise ConfigError(f"tokenizer.pattern: unknown value {name!r}, {did_you_mean(name, SPLITS)}")


@cache
def _newer_ranges() -> list[tuple[int, int]]:
    """Return `_NEWER` as numbers, first and last of each range."""
    ranges = [item.partition("-") for item in _NEWER.split()]
    return [(int(first, 16), int(last or first, 16)) for first, _, last in ranges]


@cache
def _newer_table() -> NDArray[np.bool_]:
    """Return for every code point whether it is one of `_NEWER`; a look-up in it costs 3 ns a character."""
    table = np.zeros(0x110000, dtype=bool)
    for first, last in _newer_ranges():
        table[first : last + 1] = True
    return table
