"""Several token files as one: ids that lie in many files are read as if they lay in one array, without a copy.

ids      0 1 2 3 4 | 5 6 | 7 8 9        parts, each a memory map
ids[4:6]           a view of two parts, no copy
ids[[3, 8, 4]]     an array, as of any array
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from heed.text.tokenfile import TokenFile


class JoinedIds:
    """Rows of ids, one after the other, as one of their dtype. Slices are views, what is taken by numbers is a copy."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = list(parts)
        self.dtype = np.result_type(*self.parts)
        self._ends = np.cumsum([len(part) for part in self.parts])
        self._starts = self._ends - [len(part) for part in self.parts]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, key: Any) -> Any:
        """Return an id, a view of a slice (an array where it lies in one part), or an array of some ids."""
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            return self._view(start, stop) if step == 1 else self._take(np.arange(start, stop, step))
        taken = self._take(np.asarray(key))
        return taken if taken.ndim else taken[()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return a copy of all."""
        joined = np.concatenate(self.parts)
        return joined if dtype is None else joined.astype(dtype, copy=False)

    def astype(self, dtype: Any) -> np.ndarray:
        """Return a copy of all as another dtype."""
        return self.__array__(dtype)

    def _view(self, start: int, stop: int) -> Any:
        if stop <= start:
            return self.parts[0][:0]
        first, last = (int(np.searchsorted(self._ends, place, side="right")) for place in (start, stop - 1))
        views = [
            self.parts[number][max(0, start - before) : stop - before]
            for number, before in enumerate(self._starts[first : last + 1].tolist(), first)
        ]
        return views[0] if len(views) == 1 else JoinedIds(views)

    def _take(self, places: np.ndarray) -> np.ndarray:
        """Return the ids at some places (...), which fall into few parts one after the other, as those of windows do.

        Raises `IndexError` for a place beyond the ends.
        """
        at = places.reshape(-1).astype(np.int64)
        at = np.where(at < 0, at + len(self), at)
        if at.size and (at.min() < 0 or at.max() >= len(self)):
            raise IndexError(f"a place is out of bounds for {len(self)} ids")
        part = np.searchsorted(self._ends, at, side="right")
        bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), at.size]
        taken = np.empty(at.size, self.dtype)
        for begin, end in pairwise(bounds):
            if begin < end:
                number = int(part[begin])
                taken[begin:end] = self.parts[number][at[begin:end] - self._starts[number]]
        return taken.reshape(places.shape)


class JoinedTokens(TokenFile):
    """Token files one after the other as one, with the counts of all; their header is what all have in common."""

    def __init__(self, files: Sequence[TokenFile]) -> None:
        headers = [file.header for file in files]
        header = {key: value for key, value in headers[0].items() if all(one.get(key) == value for one in headers)}
        for key in ("tokens", "documents", "bytes", "words", "first_words", "first_bytes"):
            header[key] = sum(one[key] for one in headers)
        object.__setattr__(self, "files", tuple(files))
        object.__setattr__(self, "ids", JoinedIds([file.ids for file in files]))
        object.__setattr__(self, "header", header)

    files: tuple[TokenFile, ...]

    @cached_property
    def ends(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The ends of all documents (documents,) uint64, made when they are first asked for: 8 bytes a document."""
        before = np.cumsum([0, *(len(file.ids) for file in self.files)], dtype=np.uint64)
        return np.concatenate([file.ends + start for file, start in zip(self.files, before, strict=False)])
