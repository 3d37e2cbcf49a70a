"""Judges of answers to puzzles: each holds the arrays that it measures with, and says right or wrong with the reason.

A judge measures what attention does with an answer (weights softmax(K q), as everywhere in this room), or whether the
equation holds; never how near the answer is to a stored one, since many are right. The page of cards has the same
judges (`static/judges.js`), by their `kind`, with their fields.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from heed.explore.arrays import Array, attend, said, softmax
from heed.explore.kqv import outcome

TOLERANCE = 0.05
EXACT = 1e-3
"""Of equations, and of the length of a key."""


@dataclass(frozen=True)
class PuzzleVerdict:
    """Whether an answer is right."""

    right: bool
    reason: str
    numbers: Mapping[str, float]
    """What was measured: the error, norms, weights."""


@dataclass(frozen=True)
class Judge(ABC):
    """What judges answers of the shape that its puzzle asks for; its fields are plain values and arrays."""

    kind: ClassVar[str]

    @abstractmethod
    def verdict(self, answer: Array) -> PuzzleVerdict:
        """Return whether the answer is right, and why not."""


@dataclass(frozen=True)
class OutputJudge(Judge):
    """Of a query (d,), or of several (heads, d) whose outputs are averaged."""

    kind: ClassVar[str] = "output"
    K: Array
    V: Array
    wanted: Array
    said_wanted: str
    tolerance: float = TOLERANCE

    def verdict(self, answer: Array) -> PuzzleVerdict:
        """Return whether the output is what is wanted."""
        weights = softmax(np.atleast_2d(answer) @ self.K.T).mean(0)
        error = float(np.abs(weights @ self.V - self.wanted).max())
        numbers = {"error": error, "tolerance": self.tolerance}
        numbers |= {f"weight {i}": float(w) for i, w in enumerate(weights)}
        if error <= self.tolerance:
            return PuzzleVerdict(True, f"The output is {self.said_wanted}, within {said(error)}.", numbers)
        heaviest = int(weights.argmax())
        return PuzzleVerdict(
            False,
            f"The output is off by {said(error)}, more than {self.tolerance}: key {heaviest} has the most weight, "
            f"{said(float(weights[heaviest]))}.",
            numbers,
        )


@dataclass(frozen=True)
class KeyJudge(Judge):
    """Of a key (d,) in the place of one, the query staying."""

    kind: ClassVar[str] = "key"
    K: Array
    V: Array
    q: Array
    which: int
    wanted: Array
    unit: bool = False
    """Whether the key must have length 1."""

    def verdict(self, answer: Array) -> PuzzleVerdict:
        """Return whether the same query gives what is wanted."""
        length = float(np.linalg.norm(answer))
        if self.unit and abs(length - 1) > EXACT:
            return PuzzleVerdict(False, f"The key has length {said(length)}, it must be 1.", {"length": length})
        keys, score = self.K.copy(), float(answer @ self.q)
        keys[self.which] = answer
        error = float(np.abs(attend(self.q, keys, self.V) - self.wanted).max())
        numbers = {"error": error, "length": length, "score": score}
        if error <= TOLERANCE:
            return PuzzleVerdict(True, f"The same query now gives what is wanted, within {said(error)}.", numbers)
        direction = "raise" if softmax(keys @ self.q)[self.which] < 0.3 else "lower"
        return PuzzleVerdict(
            False,
            f"The output is off by {said(error)}: the new key has the score {said(score)}, {direction} it.",
            numbers,
        )


@dataclass(frozen=True)
class NumberJudge(Judge):
    """Of numbers that have one right value each."""

    kind: ClassVar[str] = "number"
    wanted: Array
    why: str
    tolerance: float = EXACT
    """A share of the largest wanted number, or of 1 if that is smaller."""

    def verdict(self, answer: Array) -> PuzzleVerdict:
        """Return whether each number is right, and which is furthest off."""
        differences = np.abs(answer - self.wanted)
        error = float(differences.max())
        if error <= self.tolerance * max(1.0, float(np.abs(self.wanted).max())):
            return PuzzleVerdict(True, self.why, {"error": error})
        place = np.unravel_index(int(differences.argmax()), self.wanted.shape)
        where = ", ".join(map(str, place))
        return PuzzleVerdict(False, f"The number at [{where}] is off by {said(error)}. {self.why}", {"error": error})


@dataclass(frozen=True)
class IdentityJudge(Judge):
    """Of queries (n, d), one for each value in its order."""

    kind: ClassVar[str] = "identity"
    K: Array
    V: Array

    def verdict(self, answer: Array) -> PuzzleVerdict:
        """Return whether each row returns its value."""
        errors = np.abs(softmax(answer @ self.K.T) @ self.V - self.V).max(1)
        worst = int(errors.argmax())
        numbers = {f"error of row {i}": float(error) for i, error in enumerate(errors)}
        if errors[worst] <= TOLERANCE:
            return PuzzleVerdict(True, f"Each row returns its value, within {said(float(errors[worst]))}.", numbers)
        return PuzzleVerdict(False, f"Row {worst} is off by {said(float(errors[worst]))}.", numbers)


@dataclass(frozen=True)
class ExtractionJudge(Judge):
    """Of a matrix that takes v_a out of (v_a + v_b) / 2: A and B hold the columns that the two are made of."""

    kind: ClassVar[str] = "extraction"
    A: Array
    B: Array

    def verdict(self, answer: Array) -> PuzzleVerdict:
        """Return whether every v_a is kept and every v_b dropped."""
        kept = float(np.abs(answer @ self.A / 2 - self.A).max())
        left = float(np.abs(answer @ self.B / 2).max())
        numbers = {"error of v_a": kept, "left of v_b": left}
        if max(kept, left) <= EXACT:
            return PuzzleVerdict(True, "It keeps every v_a and drops every v_b.", numbers)
        if kept > EXACT and float(np.abs(answer @ self.A - self.A).max()) < EXACT:
            return PuzzleVerdict(False, "It gives half of v_a: the average has halved it, so double.", numbers)
        reason = f"v_a is off by {said(kept)}" if kept > EXACT else f"{said(left)} of v_b is left"
        return PuzzleVerdict(False, f"{reason[0].upper()}{reason[1:]}.", numbers)


@dataclass(frozen=True)
class ProjectionJudge(Judge):
    """Of C (k, n) on top of D (k, n) with P V = Q (C K)^T (D V)."""

    kind: ClassVar[str] = "projection"
    Q: Array
    K: Array
    V: Array
    k: int

    def verdict(self, answer: Array) -> PuzzleVerdict:
        """Return whether both sides are equal."""
        C, D = answer[: self.k], answer[self.k :]
        exact = self.Q @ self.K.T / math.sqrt(self.Q.shape[1]) @ self.V
        error = float(np.abs(self.Q @ (C @ self.K).T @ (D @ self.V) - exact).max())
        if error <= EXACT:
            return PuzzleVerdict(True, "Both sides are equal, for the rows of C span those of P.", {"error": error})
        return PuzzleVerdict(False, f"The two sides differ by {said(error)}.", {"error": error})


@dataclass(frozen=True)
class MatricesJudge(Judge):
    """Of Q (d, d) on top of V (d, d), with K the identity, under inputs X (n, d)."""

    kind: ClassVar[str] = "matrices"
    X: Array
    wanted: Mapping[int, ArrayLike]
    """The output (d,) that each of some places is to have."""

    def verdict(self, answer: Array) -> PuzzleVerdict:
        """Return whether each of these places gets what it should."""
        d = self.X.shape[1]
        found = outcome(self.X, np.eye(d), answer[:d], answer[d:], self.wanted)
        errors = {i: float(np.abs(found.outputs[i] - np.asarray(c)).max()) for i, c in self.wanted.items()}
        numbers = {f"error of c{i + 1}": error for i, error in errors.items()}
        worst = max(errors, key=lambda i: errors[i])
        if errors[worst] <= TOLERANCE:
            return PuzzleVerdict(True, "Each input looks where it should and gets what it should.", numbers)
        most = int(found.weights[worst].argmax())
        reason = f"c{worst + 1} is off by {said(errors[worst])}: x{worst + 1} looks at x{most + 1} most."
        return PuzzleVerdict(False, reason, numbers)
