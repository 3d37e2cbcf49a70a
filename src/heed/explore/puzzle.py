"""A puzzle of attention as data: what is given, what the answer is, and the judge that says why an answer is wrong.

An answer is an array: a query (d,), queries (heads, d), a key (d,), keys (n, d), a matrix, or numbers. "Impossible" is
an answer too, given as None: it is right where the linear program has a certificate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from numpy.typing import ArrayLike

from heed.errors import ConfigError
from heed.explore.arrays import Array, matrix_of, vector_of
from heed.explore.certificates import Certificate
from heed.explore.judges import Judge, PuzzleVerdict


@dataclass(frozen=True)
class Puzzle:
    """A question whose answers are checked."""

    id: str
    text: str
    kind: str
    """What is asked for: query, queries, key, matrix, numbers."""
    given: Mapping[str, Array]
    answer: Array | None
    """One that is right; None where there is none."""
    judge: Judge
    shape: tuple[int, ...]
    """Of an answer."""
    certificate: Certificate | None = None
    """Why there is no answer, where there is none."""
    hint: str = ""

    def check(self, answer: ArrayLike | None) -> PuzzleVerdict:
        """Return whether an answer is right, and why not. None says that there is none.

        An answer of another shape, or with NaN, is wrong with the reason; nothing is raised.
        """
        if answer is None:
            if self.certificate is not None:
                return PuzzleVerdict(True, f"There is none: {self.hint}", {})
            return PuzzleVerdict(False, "There is an answer: the linear program finds one.", {})
        try:
            given = self._shaped(answer)
        except ConfigError as error:
            return PuzzleVerdict(False, str(error), {})
        return self.judge.verdict(given)

    def _shaped(self, answer: ArrayLike) -> Array:
        if len(self.shape) == 1:
            return vector_of("answer", answer, self.shape[0])
        return matrix_of("answer", answer, self.shape[1], self.shape[0])
