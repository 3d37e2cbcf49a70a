"""What the C library is told to do with memory that is freed."""

import subprocess
import sys

import psutil
import pytest

from forked import forked
from heed.training import heap


class Library:
    """A C library that takes a threshold of `most` bytes at most, as glibc before 2.35 does."""

    def __init__(self, most):
        self.most, self.kept = most, {}

    def mallopt(self, option, value):
        if option == heap.MMAP_THRESHOLD and value > self.most:
            return 0
        self.kept[option] = value
        return 1


@pytest.mark.parametrize(("most", "kept"), [(1 << 40, 1 << 30), (1 << 25, 1 << 25)])
def test_the_largest_threshold_that_the_library_takes(monkeypatch, most, kept):
    library = Library(most)
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: library)
    heap.keep_what_is_freed()
    assert library.kept == {heap.MMAP_THRESHOLD: kept, heap.TRIM_THRESHOLD: (1 << 31) - 1}


def test_a_library_that_takes_none_keeps_its_own(monkeypatch):
    library = Library(0)
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: library)
    heap.keep_what_is_freed()
    assert library.kept == {}


def test_a_library_without_it(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    heap.keep_what_is_freed()
    heap.give_back_at_once()


def test_asking_for_huge_pages_takes_no_memory():
    def work():  # in a process of its own, where no other thread takes some meanwhile
        before = psutil.Process().memory_info().rss
        taken = heap._ask_for_huge_pages.__wrapped__(pieces=9)
        assert psutil.Process().memory_info().rss - before < 16 << 20  # 279 MiB were marked
        assert isinstance(taken, bool)

    assert subprocess.Popen([sys.executable], **forked(work)).wait(60) == 0
    assert not heap._ask_for_huge_pages.__wrapped__(pieces=2, size=1 << 62)  # there is no such room
