"""What the C library does with memory that is freed: glibc's `mallopt`. Elsewhere these do nothing.

Left to itself glibc raises the size from which on memory goes back to the system to the largest piece that was freed,
32 MiB at most. A step takes and frees the same large tensors again and again, and each page that comes back from the
system costs a fault: a fifth of a step's time in bfloat16.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3


def give_back_at_once() -> None:
    """Return what is freed to the system, from a mebibyte on.

    For a training in parts, which keeps the weights of blocks that were let go otherwise: a gigabyte where a quarter of
    one was held. And where memory is to be seen growing: what an earlier training has left is given back first.
    """
    _set(MMAP_THRESHOLD, 1 << 20)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_what_is_freed() -> None:
    """Keep what is freed for the next step."""
    if _set(MMAP_THRESHOLD, 1 << 30) or _set(MMAP_THRESHOLD, 1 << 25):  # before 2.35 glibc takes 32 MiB at most
        _set(TRIM_THRESHOLD, (1 << 31) - 1)


def _set(option: int, value: int) -> bool:
    """Return whether the library took it. What it takes ends its own adapting of both thresholds."""
    with suppress(OSError, AttributeError):  # another system, another library
        return bool(ctypes.CDLL(None).mallopt(option, value))
    return False
