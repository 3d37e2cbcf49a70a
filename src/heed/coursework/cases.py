"""A case: a call of a student's function, what it should give, and what the usual mistakes give instead.

given ── equal to `right` ──> nothing to say
  └────  equal to one of `mistakes` ──> the first number that differs, and the sentence of that mistake
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from heed.coursework.values import kind_of

Function = Callable[..., Any]
SHOWN = 60
"""Characters of a value that are shown."""


class Tried(Protocol):
    """What a function is held to."""

    @property
    def about(self) -> str:
        """In a few words, such as `3 heads of width 4`."""
        ...

    @property
    def call(self) -> Callable[[Function], Any]:
        """Calls a function with arguments of its own: it may write into what it gets."""
        ...

    @property
    def fault(self) -> Callable[[Any], str]:
        """What is wrong with what the call gave, or an empty string."""
        ...


@dataclass(frozen=True)
class Case:
    """One call, compared with the right answer."""

    about: str
    call: Callable[[Function], Any]
    right: Any
    """A tensor, a number, a text, or a list of such."""
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    """From a sentence that names a mistake to what it gives here."""
    tolerance: float = 1e-5
    """Of numbers: absolute, and relative to the right one."""

    def fault(self, given: Any) -> str:
        """Return the first difference and the mistake that it comes from, or an empty string."""
        difference = first_difference(given, self.right, self.tolerance)
        if not difference:
            return ""
        for sentence, wrong in self.mistakes.items():
            if not first_difference(given, wrong, self.tolerance):
                return f"{difference}; {sentence}"
        return difference


@dataclass(frozen=True)
class Property:
    """Something that must hold of what a function gives, where many answers are right."""

    about: str
    call: Callable[[Function], Any]
    fault: Callable[[Any], str]


Cases = Mapping[str, Sequence[Tried]]
"""The cases of each function of an exercise."""


def first_difference(given: Any, right: Any, tolerance: float = 1e-5) -> str:
    """Return where two values differ first, in reading order, or an empty string where they are equal.

    >>> first_difference([1, 2, 4], [1, 2, 3])
    '[2] is 4, 3 is right'
    >>> first_difference(torch.zeros(2, 2), torch.eye(2))
    '[0, 0] is 0, 1 is right'
    """
    if isinstance(right, Tensor):
        return _tensors(given, right, tolerance)
    if isinstance(right, list | tuple):
        return _lists(given, right, tolerance)
    if isinstance(right, int | float) and isinstance(given, int | float) and not isinstance(right, bool):
        near = abs(given - right) <= tolerance * max(1.0, abs(right))
        return "" if near else f"it gives {_shown(given)}, {_shown(right)} is right"
    if type(given) is not type(right):
        return f"it gives {kind_of(given)}, {kind_of(right)} is needed"
    return "" if given == right else f"it gives {_shown(given)}, {_shown(right)} is right"


def _tensors(given: Any, right: Tensor, tolerance: float) -> str:
    if not isinstance(given, Tensor):
        return f"it gives {kind_of(given)}, {kind_of(right)} is needed"
    if (given.dtype == torch.bool) != (right.dtype == torch.bool):
        return f"it gives {kind_of(given)}, {kind_of(right)} is needed"
    if given.shape != right.shape:
        return f"its shape is {tuple(given.shape)}, {tuple(right.shape)} is right"
    left, wanted = given.detach().to(torch.float64), right.to(torch.float64)
    near = (left - wanted).abs() <= tolerance * wanted.abs().clamp(min=1.0)
    apart = ~(near | (left.isnan() & wanted.isnan()))  # a mistake may give NaN, what is right never does
    if not apart.any():
        return ""
    place = tuple(torch.nonzero(apart)[0].tolist())
    return f"{list(place)} is {_shown(given[place].item())}, {_shown(right[place].item())} is right"


def _lists(given: Any, right: Sequence[Any], tolerance: float) -> str:
    if not isinstance(given, list | tuple):
        return f"it gives {kind_of(given)}, {kind_of(right)} is needed"
    for place, (one, other) in enumerate(zip(given, right, strict=False)):
        if said := first_difference(one, other, tolerance):
            flat = said.startswith("it gives ") and said.endswith(" is right")
            return f"[{place}] is {said.removeprefix('it gives ')}" if flat else f"[{place}]: {said}"
    if len(given) != len(right):
        return f"it has {len(given)} entries, {len(right)} is right"
    return ""


def _shown(value: Any) -> str:
    """Return a value for a sentence: numbers with six digits.

    >>> _shown(1.0), _shown(0.123456789), _shown(True), _shown("é")
    ('1', '0.123457', 'True', "'é'")
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Return a tensor of normal numbers of this shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
