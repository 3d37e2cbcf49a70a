"""What the algebra is given and gives: arrays that are read with care, softmax, and numbers for a sentence.

A row of `keys` (n, d) is a key, a row of `values` (n, m) a value. Weights are softmax(K q) of the query as it is given:
the division by sqrt(d), where there is one, is part of the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heed.errors import ConfigError

Array = NDArray[np.float64]
MOST = 4_000_000
"""Numbers in an array: more are a mistake, or a matter for a machine with more memory."""
LARGEST_NUMBER = 1e60
"""Products of five numbers as large can be written."""


def matrix_of(name: str, given: ArrayLike, width: int | None = None, rows: int | None = None) -> Array:
    """Return a matrix of floats. Raises `ConfigError` where rows are unequal, empty, no numbers or of other shape."""
    array = _numbers(name, given)
    if array.ndim != 2:
        raise ConfigError(f"{name}: a matrix is needed, rows of equal length; this has {array.ndim} dimensions")
    if width is not None and array.shape[1] != width:
        raise ConfigError(f"{name}: rows have {array.shape[1]} numbers, they must have {width}")
    if rows is not None and array.shape[0] != rows:
        raise ConfigError(f"{name}: there are {array.shape[0]} rows, there must be {rows}")
    return array


def vector_of(name: str, given: ArrayLike, length: int | None = None) -> Array:
    """Return a vector of floats. Raises `ConfigError` where it is empty, holds no numbers or has another length."""
    array = _numbers(name, given)
    if array.ndim != 1:
        raise ConfigError(f"{name}: a list of numbers is needed; this has {array.ndim} dimensions")
    if length is not None and len(array) != length:
        raise ConfigError(f"{name}: there are {len(array)} numbers, there must be {length}")
    return array


def _numbers(name: str, given: ArrayLike) -> Array:
    """Return an array of float64 without NaN and infinity that is not empty."""
    rows = given.tolist() if isinstance(given, np.ndarray) else given
    if isinstance(rows, Sequence) and not isinstance(rows, str | bytes):
        lengths = {len(row) for row in rows if isinstance(row, Sequence) and not isinstance(row, str | bytes)}
        if len(lengths) > 1:
            raise ConfigError(f"{name}: rows have unequal lengths, {' and '.join(map(str, sorted(lengths)))}")
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name}: these are not numbers, or not a rectangle of them") from None
    if array.size == 0:
        raise ConfigError(f"{name}: there is nothing in it, at least one number is needed")
    if array.size > MOST:
        raise ConfigError(f"{name}: {array.size:,} numbers are too many, {MOST:,} at most")
    if not np.isfinite(array).all():
        raise ConfigError(f"{name}: holds NaN or infinity, every number must be finite")
    if np.abs(array).max() > LARGEST_NUMBER:
        raise ConfigError(f"{name}: holds a number beyond {LARGEST_NUMBER:.0e}, whose products overflow")
    return array


def places_of(name: str, given: Sequence[int], count: int) -> list[int]:
    """Return different places from 0 to count - 1, sorted. Raises `ConfigError` for others and for none."""
    try:
        places = [int(place) for place in given]
        whole = all(place == given[i] and not isinstance(given[i], bool) for i, place in enumerate(places))
    except (TypeError, ValueError, OverflowError):
        whole = False
        places = []
    if not whole:
        raise ConfigError(f"{name}: whole numbers are needed, the places of keys from 0 on")
    if not places:
        raise ConfigError(f"{name}: there is nothing in it, name at least one of the {count} keys")
    if outside := [place for place in places if not 0 <= place < count]:
        raise ConfigError(f"{name}: {outside[0]} is none of the {count} keys, which are 0 to {count - 1}")
    if len(set(places)) < len(places):
        raise ConfigError(f"{name}: a key is named twice")
    return sorted(places)


def fraction_of(name: str, given: float) -> float:
    """Return a number strictly between 0 and 1, or raise `ConfigError`."""
    if not isinstance(given, int | float | np.floating) or not 0 < given < 1:
        raise ConfigError(f"{name}: {given!r} must be a number between 0 and 1, such as 0.05")
    return float(given)


def positive_of(name: str, given: float) -> float:
    """Return a finite number above 0, or raise `ConfigError`."""
    if not isinstance(given, int | float | np.floating | np.integer) or not 0 < given < np.inf:
        raise ConfigError(f"{name}: {given!r} must be a finite number above 0")
    return float(given)


def count_of(name: str, given: int, least: int = 1, most: int = 1_000_000) -> int:
    """Return a whole number from `least` to `most`, or raise `ConfigError`."""
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not least <= given <= most:
        raise ConfigError(f"{name}: {given!r} must be a whole number from {least:,} to {most:,}")
    return int(given)


def softmax(scores: ArrayLike) -> Array:
    """Return softmax over the last axis, without overflow; -inf gets weight 0.

    >>> softmax([0.0, 0.0]).tolist()
    [0.5, 0.5]
    """
    scores = np.asarray(scores, dtype=np.float64)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def attend(query: Array, keys: Array, values: Array) -> Array:
    """Return softmax(K q) V (m,) of a query (d,), keys (n, d) and values (n, m)."""
    return softmax(keys @ query) @ values


def said(number: float) -> str:
    """Return a number for a sentence: four digits at most.

    >>> said(0.04996), said(1e-15), said(1234.5), said(-0.0)
    ('0.04996', '1e-15', '1234', '0')
    """
    return f"{number + 0.0:.4g}"


def enumerated(places: Sequence[int]) -> str:
    """Return places for a sentence.

    >>> enumerated([0, 2, 3])
    '0, 2 and 3'
    """
    *first, last = map(str, places)
    return f"{', '.join(first)} and {last}" if first else last


def same(left: Any, right: Any, tolerance: float = 1e-9) -> bool:
    """Return whether two arrays have one shape and differ by no more than this anywhere."""
    left, right = np.asarray(left), np.asarray(right)
    return left.shape == right.shape and bool(np.abs(left - right).max() <= tolerance)
