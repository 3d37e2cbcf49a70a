"""Which characters the bytes of a file stand for, decided for each file by itself.

    it begins with a byte-order mark    UTF-8, UTF-16 or UTF-32, as the mark says
    it is UTF-8                         UTF-8
    else                                the encoding that was named

So a folder may hold both, and to name the encoding of some files turns no other one into nonsense. Where none was
named, a few files among many that are UTF-8 are taken for `GUESS`, if they look like it, and that is told.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from heed.errors import DataError, did_you_mean
from heed.text.packing import explained, open_bytes

GUESS = "cp1252"
"""What text in the languages of western Europe is in that is not UTF-8; latin-1 but for a few signs."""
SHOWN = 20
"""Files that are told by name."""
HINT = "name {its} encoding with --data.encoding (often cp1252, latin-1 or utf-16)"

_MARKS = (  # in this order: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HIGH = bytes(range(128, 256))
_CONTROL = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r") + b"\x7f"

Opener = Callable[[], BinaryIO]


def check_encoding(name: str) -> None:
    """Raise `DataError` when this is no encoding of text."""
    try:
        codecs.getincrementaldecoder(name)()
        b"a".decode(name)
    except UnicodeDecodeError:
        return  # an encoding in which one byte is no character
    except (LookupError, ValueError):
        known = ("utf-8", "utf-16", "latin-1", "cp1252", "ascii", "shift_jis", "gb18030", "koi8-r")
        hint = did_you_mean(name, known)
        raise DataError(f"unknown encoding {name[:60]!r} (data.encoding), {hint}") from None


@dataclass(frozen=True)
class Look:
    """What a look at the bytes of a file found."""

    codec: str
    """What it is to be read with."""
    ascii: bool = True
    """Whether no character is beyond ASCII, so that most codecs would read the same."""
    bad: int | None = None
    """The first byte that the codec does not allow."""
    windows: bool = False
    r"""Whether there are line ends of two characters, \r\n."""
    null: bool = False
    """Whether there are characters U+0000, as where two bytes a character are read as one."""


def codec_of(path: Path, encoding: str) -> str:
    """Return what a file is to be read with where `encoding` is named; whether it fits is not looked at."""
    return codec_for(lambda: open_bytes(path), encoding)


def codec_for(opened: Opener, encoding: str) -> str:
    """Return the same for what `opened` opens, any number of times."""
    if marked := _marked(opened):
        return marked
    if _is_utf8(encoding):
        return "utf-8-sig"
    return look(opened, encoding).codec


def look(opened: Opener, encoding: str, limit: int | None = None) -> Look:
    """Look at some bytes, or at the first `limit` of them, of which `encoding` was named."""
    if marked := _marked(opened):
        return _looked(opened, marked, limit)
    found = _looked(opened, "utf-8", limit)
    if _is_utf8(encoding):
        return found
    if found.bad is None and not found.null:
        # of a file in ASCII alone only such encodings must be told apart that do not hold ASCII as it is
        return Look(encoding, windows=found.windows) if found.ascii and _holds_ascii(encoding) else found
    return _looked(opened, encoding, limit)


def _holds_ascii(encoding: str) -> bool:
    try:
        return b"az09 \n".decode(encoding) == "az09 \n"
    except UnicodeError:
        return False


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def _marked(opened: Opener) -> str | None:
    """Return the codec of the byte-order mark, where there is one."""
    with opened() as stream:
        start = stream.read(4)
    return next((codec for mark, codec in _MARKS if start.startswith(mark)), None)


def _chunks(opened: Opener, limit: int | None) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes in pieces, and with each whether it is the (empty) last one."""
    done = 0
    with opened() as stream:
        while limit is None or done < limit:
            chunk = stream.read(1 << 20)
            yield chunk, not chunk
            if not chunk:
                return
            done += len(chunk)


def _looked(opened: Opener, codec: str, limit: int | None) -> Look:
    """Decode and forget."""
    decoder = codecs.getincrementaldecoder(codec)()
    done, ascii_, windows, null, last = 0, True, False, False, ""
    for chunk, final in _chunks(opened, limit):
        pending = len(decoder.getstate()[0])  # bytes of a character that the chunk before began
        try:
            text = decoder.decode(chunk, final)
        except UnicodeError as error:  # UTF-16 without a mark is no UnicodeDecodeError
            # the three bytes of the mark are not counted by the codec that leaves them out
            skipped = 3 if codec == "utf-8-sig" and done == 0 else 0
            return Look(codec, False, max(0, done - pending + skipped + getattr(error, "start", 0)), windows, null)
        ascii_ = ascii_ and text.isascii()
        null = null or "\0" in text
        windows = windows or "\r\n" in text or (last == "\r" and text.startswith("\n"))
        last = text[-1:] or last
        done += len(chunk)
    return Look("utf-8-sig" if codec == "utf-8" else codec, ascii_, None, windows, null)


def bad_byte(path: Path, codec: str) -> int:
    """Return the offset (in the unpacked file) of the first byte that `codec` does not allow."""
    return _looked(lambda: open_bytes(path), codec, None).bad or 0


def look_at_all(paths: Sequence[Path], encoding: str, limit: int | None = None) -> tuple[list[Look], list[str]]:
    """Look at some files; return what was found of each, and what is to be told.

    Raises `DataError` that names every file which cannot be read or is in another encoding than was named.
    """
    looks, problems = [], []
    for path in paths:
        try:
            with explained(path):
                looks.append(look(lambda path=path: open_bytes(path), encoding, limit))
        except DataError as error:
            problems.append(str(error))
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        raise DataError(f"{len(problems):,} files cannot be read: {_listed(problems)}")
    bad = [place for place, seen in enumerate(looks) if seen.bad is not None]
    if not bad:
        others = [path for path, seen in zip(paths, looks, strict=True) if not seen.ascii and seen.codec == encoding]
        mixed = not _is_utf8(encoding) and 0 < len(others) < len(paths)
        note = f"read as {encoding} (data.encoding), being no UTF-8: {_files(others, paths)}"
        return looks, [note] if mixed else []
    guessed = _is_utf8(encoding) and 2 * len(bad) < len(paths) and all(_like_guess(paths[place]) for place in bad)
    if not guessed:
        raise DataError(_refusal(paths, looks, bad, encoding))
    for place in bad:
        looks[place] = _looked(lambda path=paths[place]: open_bytes(path), GUESS, limit)
    odd = _files([paths[place] for place in bad], paths)
    return looks, [f"read as {GUESS}, being no UTF-8: {odd}; --data.encoding names another encoding for such files"]


def _refusal(paths: Sequence[Path], looks: Sequence[Look], bad: Sequence[int], encoding: str) -> str:
    """Say which files are in another encoding."""
    where = [f"{paths[place]} is not {_shown(looks[place].codec)} at byte {looks[place].bad or 0:,}" for place in bad]
    if len(bad) == 1:
        return f"{where[0]}: {HINT.format(its='its')}"
    beside = "; what is UTF-8 stays so" if len(bad) < len(paths) else ""
    return f"{len(bad):,} of {len(paths):,} files: {_listed(where)}: {HINT.format(its='their')}{beside}"


def _shown(codec: str) -> str:
    return codec.removesuffix("-sig")


def _files(some: Sequence[Path], all_: Sequence[Path]) -> str:
    return f"{len(some):,} of {len(all_):,} files ({_listed([path.name for path in some])})"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _like_guess(path: Path) -> bool:
    """Whether a file can be text in `GUESS`: its bytes are allowed, no controls, most letters of the Latin alphabet."""
    size = high = 0
    for chunk, _ in _chunks(lambda: open_bytes(path), None):
        if len(chunk.translate(None, _CONTROL)) < len(chunk):
            return False
        size += len(chunk)
        high += len(chunk) - len(chunk.translate(None, _HIGH))
    return 4 * high < size and _looked(lambda: open_bytes(path), GUESS, None).bad is None
