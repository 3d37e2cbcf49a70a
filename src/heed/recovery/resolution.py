"""How finely an API prints its log-probabilities, seen from what it printed, and the error that follows.

A value is a whole number of steps (rounded to 1/8, or to four decimals), or a floating-point number of 11, 24 or 53
bits. Behind it stands arithmetic in float32 at least: a bias of 40 is added to a logit before the softmax, and what is
lost there does not show in the digits that are printed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

STEPS = (1.0, 0.5, 0.25, 0.125, 0.1, 0.0625, 0.03125, 0.01, 0.001, 1e-4, 1e-5, 1e-6)
"""Roundings that are looked for, the coarsest first."""
NO_NUMBER = -9000.0
"""APIs write such a value in the place of a probability that is 0, or that they do not tell."""
ENOUGH = 3
"""Values that are not whole by which a rounding is known; below that the digits of floating-point numbers count."""
HIGHEST_LOGIT = 23.0
"""Logits above it make sums with a bias of 40 less exact than is reckoned here."""
SUMMED = 16
"""Units in the last place that the sum of a softmax may be off by."""


@dataclass(frozen=True)
class Resolution:
    """What printed log-probabilities are rounded to."""

    name: str
    """For people: "1/8", "4 decimals", "float32"."""
    step: float = 0.0
    """Distance of neighbouring values; 0 for floating-point numbers."""
    bits: int = 53
    """Digits of floating-point numbers."""
    noise: float = 0.0
    """How far the same question was answered differently."""

    def error(self, value: float | np.ndarray, bias: float = 0.0) -> np.ndarray:
        """Return how far a printed log-probability may be from the exact one, with `bias` on its logit."""
        size = np.abs(np.asarray(value, dtype=np.float64))
        printed = self.step / 2 if self.step else 2.0**-self.bits * size
        unit = 2.0 ** -max(24, 0 if self.step else self.bits)
        added = unit * 2.0 ** math.floor(math.log2(bias + HIGHEST_LOGIT)) if bias > 0 else 0.0
        return printed + added + unit * (size + SUMMED) + self.noise


def resolution_of(values: Iterable[float]) -> Resolution:
    """Return what some printed log-probabilities are rounded to: the coarsest grid that holds all of them.

    >>> resolution_of([-0.125, -2.5, -3.375, -17.25]).name, resolution_of([-0.1234, -2.0001, -3.9876]).name
    ('1/8', '0.0001')
    >>> resolution_of([-0.12345679, -2.3456788, -11.987654]).name, resolution_of([-1 / 3, -2 / 3, -4 / 3]).name
    ('float32', 'float64')
    """
    found = np.unique(np.asarray([value for value in values if value > NO_NUMBER], dtype=np.float64))
    if not found.size:
        return Resolution("nothing")
    telling = found[found != np.round(found)]
    if telling.size >= ENOUGH or (found.size >= ENOUGH and telling.size == 0):
        for step in STEPS:
            if np.all(np.abs(found / step - np.round(found / step)) < 1e-6 * np.maximum(1, np.abs(found))):
                return Resolution(
                    f"1/{round(1 / step)}" if step >= 0.03 and step not in (1.0, 0.1) else f"{step:g}", step
                )
    for name, bits, kind in (("float16", 11, np.float16), ("float32", 24, np.float32)):
        with np.errstate(over="ignore"):
            narrow = found.astype(kind)
        # printed exactly, or with the fewest digits that tell it from its neighbours
        if all(float(one) == value or float(str(one)) == value for one, value in zip(narrow, found, strict=True)):
            return Resolution(name, bits=bits)
    return Resolution("float64")
