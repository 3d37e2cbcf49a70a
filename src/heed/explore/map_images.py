"""Maps of attention as small pictures: 8 bits a weight, in PNG files that a page holds.

    byte = round(255 sqrt(a))       a in 0 .. 1: small weights keep their differences; a is known to 0.004 sqrt(a)

A long text has a smaller map besides, in which each pixel is the largest weight of its square: a line one token wide
stays a line.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

SMALL = 64
"""Pixels of a small map at most."""
HALVES = np.nan_to_num(np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32))
SHADES = np.rint(255 * np.sqrt(HALVES.clip(0, 1))).astype(np.uint8)
"""The byte of each float16, by its bits: a root for each of a hundred million weights would take a minute."""


def to_bytes(weights: np.ndarray) -> np.ndarray:
    """Return weights (..., T, S) as bytes; what is below 0 or above 1 is 0 and 1.

    >>> to_bytes(np.array([0.0, 0.25, 1.0, -0.5])).tolist()
    [0, 128, 255, 0]
    """
    return SHADES[weights.astype(np.float16).view(np.uint16)]


def shrink(image: np.ndarray, most: int = SMALL) -> np.ndarray:
    """Return an image (T, S) with at most `most` rows and columns, each the largest of those that it stands for.

    >>> shrink(np.arange(16).reshape(4, 4), 2).tolist()
    [[5, 7], [13, 15]]
    """
    T, S = image.shape
    for axis, size in ((0, T), (1, S)):
        if size > most:
            starts = np.linspace(0, size, most, endpoint=False).astype(int)
            image = np.maximum.reduceat(image, starts, axis=axis)
    return image


def png(image: np.ndarray) -> bytes:
    """Return bytes (T, S) as a PNG file in shades of grey (ISO/IEC 15948: no filter, one chunk of data)."""
    T, S = image.shape
    rows = np.concatenate([np.zeros((T, 1), np.uint8), image], axis=1)
    head = struct.pack(">IIBBBBB", S, T, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def address(image: np.ndarray) -> str:
    """Return bytes (T, S) as the address of a picture that a page holds."""
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"
