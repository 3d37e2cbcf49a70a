"""Documents in, token ids out: in this process, or in several when there is much to do."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from heed.errors import DataError
from heed.text.corpus import count_words
from heed.text.tokenizers import Tokenizer

CHUNK = 1 << 20
"""Characters that a process encodes at a time; one document is never divided."""

WORTHWHILE = 8 << 20
"""Characters below which starting processes (half a second each) costs more than it saves."""

_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class EncodedDocuments:
    """Some documents, encoded: ids, and the ends counted from the first of them."""

    ids: np.ndarray
    ends: np.ndarray
    bytes: int
    words: int
    first_words: int
    """Documents with a word: so many words stand first in one."""
    first_bytes: int
    """Bytes of these words."""


@dataclass(frozen=True)
class _Work:
    """The work of one process: encode documents and count."""

    tokenizer: Tokenizer
    word_rule: str
    dtype: str

    def __call__(self, documents: list[str]) -> EncodedDocuments:
        end = self.tokenizer.end_id
        arrays: list[np.ndarray] = []
        lengths: list[int] = []
        for text in documents:
            ids = self.tokenizer.encode_array(text)
            ended = end is None or (len(ids) > 0 and ids[-1] == end)
            arrays += [ids] if ended else [ids, np.array([end], ids.dtype)]
            lengths.append(len(ids) + (not ended))
        joined = np.concatenate(arrays)
        if len(joined) and joined.max() >= self.tokenizer.vocab_size:  # as uint16 it would turn into another token
            raise DataError(
                f"the tokenizer gave the id {joined.max()}, but its vocab_size is {self.tokenizer.vocab_size}: "
                "its file is inconsistent, use another"
            )
        firsts = [found[0] for text in documents if (found := _WORD.search(text)) is not None]
        return EncodedDocuments(
            joined.astype(np.dtype(self.dtype).newbyteorder("<")),
            np.cumsum(lengths, dtype="<u8"),
            sum(len(text.encode()) for text in documents),
            sum(count_words(text, self.word_rule) for text in documents),
            len(firsts),
            sum(len(word.encode()) for word in firsts),
        )


def _chunks(documents: Iterable[str]) -> Iterator[list[str]]:
    """Group documents to about `CHUNK` characters."""
    chunk: list[str] = []
    size = 0
    for text in documents:
        chunk.append(text)
        size += len(text)
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def encoded(
    documents: Iterable[str], tokenizer: Tokenizer, word_rule: str, dtype: str, workers: int = 0
) -> Iterator[EncodedDocuments]:
    """Encode documents chunk by chunk, in order, here or (when there is enough to do) in several processes.

    `workers` 0 takes as many processes as OMP_NUM_THREADS asks for, or else one for each core that may be used. Raises
    `DataError` when a process dies or an id does not fit, and whatever the documents or the tokenizer raise.
    """
    work = _Work(tokenizer, word_rule, dtype)
    workers = workers or asked_threads() or cores()
    chunks = _chunks(documents)
    begun: list[list[str]] = []
    while workers > 1 and sum(len(text) for chunk in begun for text in chunk) < WORTHWHILE:
        chunk = next(chunks, None)
        if chunk is None:
            workers = 1
        else:
            begun.append(chunk)
    chunks = itertools.chain(begun, chunks)
    if workers == 1:
        yield from map(work, chunks)
        return
    # Spawned, not forked: a forked child of a process with threads (torch, tokenizers) can hang.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _take_work, (work,))
    waiting: deque[Future[EncodedDocuments]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_do_work, chunk))
            if len(waiting) > 2 * workers:  # so that reading never runs far ahead of encoding
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            "a process that tokenises died, for want of memory or because the script lacks "
            "`if __name__ == '__main__':`; data.workers 1 goes without such processes"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_WORK: list[_Work] = []


def _take_work(work: _Work) -> None:
    """Keep the tokenizer in this process, so that it is sent once and not with each chunk."""
    end_with_parent()
    _WORK[:] = [work]


def _do_work(documents: list[str]) -> EncodedDocuments:
    return _WORK[0](documents)


def end_with_parent() -> None:
    """Let this process end when the one that began it does, however that dies: a pool's would wait for ever."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:  # nobody began the first process
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def asked_threads() -> int | None:
    """Return what OMP_NUM_THREADS asks for; None where it is not set, or to no number.

    As OpenMP reads it, "2,1" is 2: the second number is for threads within threads.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) else None


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
