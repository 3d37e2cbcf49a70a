"""Files as streams of bytes, unpacked while they are read, and what is said where that fails."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from heed.errors import DataError, require
from heed.files import advice, shortened

COMPRESSED = (".gz", ".zst")
MOST, RATIO = 1 << 30, 200
"""Bytes from which on what is unpacked may not be more than `RATIO` times what was packed: no text is."""


Span = tuple[int, int | None]
"""From a byte of a file that is not packed to another one, None: to its end."""
WHOLE_FILE: Span = (0, None)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what can go wrong with the bytes of `path` into a `DataError` of one line."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or cut off ({error}): fetch or pack it again") from None
    except OSError as error:
        raise DataError(f"{shortened(path)} cannot be read: {advice(error)}") from None


def open_bytes(path: Path, span: Span = WHOLE_FILE) -> BinaryIO:
    """Open a file for reading bytes, or a span of them, unpacked if its name ends in .gz or .zst."""
    if span != WHOLE_FILE:
        return io.BufferedReader(_Spanned(path, *span), 1 << 17)
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return io.BufferedReader(_Bounded(gzip.GzipFile(path, "rb"), path), 1 << 17)
    if suffix == ".zst":
        return io.BufferedReader(_Bounded(_Zstandard(path), path), 1 << 17)
    return path.open("rb")


class _Spanned(io.RawIOBase):
    """Some bytes of a file."""

    def __init__(self, path: Path, start: int, stop: int | None) -> None:
        self._file = io.FileIO(path)
        self._file.seek(start)
        self._left = path.stat().st_size - start if stop is None else stop - start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(memoryview(buffer)[: self._left]) or 0
        self._left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Bounded(io.RawIOBase):
    """What a file unpacks to; raises `DataError` where that is out of all proportion."""

    def __init__(self, inner: Any, path: Path) -> None:
        self._inner, self._path, self._count = inner, path, 0
        self._most = max(MOST, RATIO * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._inner.readinto(buffer)
        self._count += count
        if self._count > self._most:
            raise DataError(f"{self._path} unpacks to more than {RATIO} times its size: it is no text, leave it out")
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Zstandard(io.RawIOBase):
    """A .zst file, unpacked frame by frame; raises EOFError where the last frame is cut off.

    zstandard's own stream reader takes a cut file for a whole one and says nothing.
    """

    def __init__(self, path: Path) -> None:
        self._package: Any = require("zstandard", "data")
        self._unpack = self._package.ZstdDecompressor(max_window_size=2**31)
        self._file = path.open("rb")
        self._frame: Any = None
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._frame.unused_data if self._frame is not None and self._frame.eof else b""
            packed = packed or self._file.read(1 << 16)
            if not packed:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("the last Zstandard frame is not complete")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._unpack.decompressobj()
            try:
                self._ready = memoryview(self._frame.decompress(packed))
            except self._package.ZstdError as error:
                raise EOFError(str(error)) from None
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
