"""What the C library does with memory that is freed, and in what pages it comes: glibc on Linux. Elsewhere nothing.

Left to itself glibc raises the size from which on memory goes back to the system to the largest piece that was freed,
32 MiB at most. A step takes and frees the same large tensors again and again, and each page that comes back from the
system costs a fault: a fifth of a step's time in bfloat16. In pages of 2 MiB the processor finds its way faster:
another tenth.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
HUGE_PAGES, PAGE = 14, 2 << 20
"""MADV_HUGEPAGE of Linux, and the bytes of such a page."""


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
        _ask_for_huge_pages()


@cache
def _ask_for_huge_pages(pieces: int = 33, size: int = 31 << 20) -> bool:
    """Let the next GiB of the heap come in huge pages; return whether the system took it.

    It is taken in pieces that the heap gives (larger ones would be mapped by themselves), marked, and freed untouched:
    no memory is used by that. It stays at the top of the heap, from where the tensors of the steps will come.
    """
    library = ctypes.CDLL(None)
    if sys.platform != "linux" or not hasattr(library, "madvise"):
        return False
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes, library.madvise.argtypes = (
        [ctypes.c_void_p],
        [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int],
    )
    places = [place for place in (library.malloc(size) for _ in range(pieces)) if place]
    taken = False
    if len(places) == pieces and max(places) - min(places) < pieces * (size + PAGE):  # one after the other
        begin, end = -(-min(places) // PAGE) * PAGE, (max(places) + size) // PAGE * PAGE
        taken = library.madvise(begin, end - begin, HUGE_PAGES) == 0
    for place in reversed(places):
        library.free(place)
    return taken


def _set(option: int, value: int) -> bool:
    """Return whether the library took it. What it takes ends its own adapting of both thresholds."""
    with suppress(OSError, AttributeError):  # another system, another library
        return bool(ctypes.CDLL(None).mallopt(option, value))
    return False
