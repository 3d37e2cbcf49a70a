"""Arrays out of .npz and .npy files that anybody may have written: no object is made, and no size is believed.

numpy makes room for whatever a header claims, and unpacks whatever a few bytes multiply to. Here a header must fit the
bytes that are there, and what is packed may be `MOST` bytes, or as many as `RATIO` times the file where that is more.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

MOST, RATIO = 256 << 20, 100
"""Bytes that packed arrays may come to, and how many times the file."""


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz by name, or that of an .npy as `array`.

    Raises `OSError` where the file cannot be read, and `ValueError` of one line where it is damaged, holds objects, or
    claims what it does not hold.
    """
    path = Path(path)
    size = path.stat().st_size
    try:
        if path.suffix == ".npy":
            with path.open("rb") as stream:
                _check(stream, size, path.name)
            return {"array": np.load(path, allow_pickle=False)}
        with zipfile.ZipFile(path) as packed:
            whole = sum(entry.file_size for entry in packed.infolist())
            if whole > max(MOST, RATIO * size):
                raise ValueError(f"it would unpack to {whole:,} bytes, {whole // size:,} times its size")
            for entry in packed.infolist():
                with packed.open(entry) as stream:
                    _check(stream, entry.file_size, entry.filename)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, KeyError, TypeError, MemoryError) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _check(stream: IO[bytes], size: int, name: str) -> None:
    """Raise `ValueError` where an array's header claims objects, or more or fewer bytes than follow it."""
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(
            f"{name} holds Python objects, which can run code and are never read: save numbers or texts alone, such as "
            "numpy.savez(file, name=array.astype(float))"
        )
    claimed, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if claimed != there:
        raise ValueError(f"{name} claims {claimed:,} bytes and holds {there:,}")
