"""What a student's function gave, as JSON: so that who judges it is another process than the one that it runs in.

plain(value) ── JSON ──> rebuilt(...)      equal values; of what JSON has no words for, only what it is called
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST = 100_000
"""Numbers of a tensor or an array that are sent: no right answer has a tenth of them."""
LONGEST = 4096
"""Bits of a whole number that is sent."""
DTYPES = {
    name: getattr(torch, name)
    for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
}
"""Of the tensors that are sent."""


@dataclass(frozen=True)
class NoAnswer:
    """A value that is no right answer, whatever it holds."""

    kind: str
    """As in `it gives a dict`."""

    def __repr__(self) -> str:
        return self.kind


def kind_of(value: Any) -> str:
    """Return what a value is, in words.

    >>> kind_of(None), kind_of([1]), kind_of(torch.ones(1))
    ('nothing (None)', 'a list', 'a tensor of float32')
    """
    if isinstance(value, NoAnswer):
        return value.kind
    if isinstance(value, Tensor):
        return f"a tensor of {_name(value.dtype)}"
    return "nothing (None)" if value is None else f"a {type(value).__name__}"


def plain(value: Any) -> Any:
    """Return a value as JSON has it; the numbers of a tensor in reading order.

    >>> plain((1, "a", None)), plain(np.int64(3)), plain({1: 2})
    ({'tuple': [1, 'a', None]}, {'numpy': 3, 'dtype': 'int64'}, {'no answer': 'a dict'})
    >>> plain(torch.eye(2))
    {'tensor': [1.0, 0.0, 0.0, 1.0], 'shape': [2, 2], 'dtype': 'float32'}
    """
    if value is None or type(value) in (str, bool):
        return value
    if isinstance(value, np.generic | np.ndarray):
        fits = value.dtype.kind in "biuf" and value.size <= MOST
        return {"numpy": value.tolist(), "dtype": str(value.dtype)} if fits else {"no answer": kind_of(value)}
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() < LONGEST):
        return float(value) if isinstance(value, float) else int(value)
    if isinstance(value, list | tuple):
        some = [plain(one) for one in value]
        return some if isinstance(value, list) else {"tuple": some}
    if isinstance(value, Tensor) and (name := _name(value.dtype)) in DTYPES and value.layout == torch.strided:
        if value.numel() > MOST:
            return {"no answer": f"a tensor of the shape {tuple(value.shape)}"}
        return {"tensor": value.detach().flatten().tolist(), "shape": list(value.shape), "dtype": name}
    return {"no answer": kind_of(value)}


def rebuilt(made: Any) -> Any:
    """Return the value that `plain` was made of. Raises `ValueError` or `TypeError` for what it never makes.

    >>> rebuilt(plain([torch.ones(0, 2), (True, 1.5)]))
    [tensor([], size=(0, 2)), (True, 1.5)]
    """
    if isinstance(made, list):
        return [rebuilt(one) for one in made]
    if not isinstance(made, dict):
        return made
    match made:
        case {"tuple": list(some)}:
            return tuple(map(rebuilt, some))
        case {"no answer": str(kind)}:
            return NoAnswer(kind)
        case {"tensor": list(some), "shape": list(shape), "dtype": str(name)} if name in DTYPES:
            if math.prod(shape) != len(some):
                raise ValueError("a shape that is not that of its numbers")
            return torch.tensor(some, dtype=DTYPES[name]).reshape(shape)
        case {"numpy": some, "dtype": str(name)} if np.dtype(name).kind in "biuf":
            return np.array(some, dtype=name)[()]
    raise ValueError("no value of a student's function")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
