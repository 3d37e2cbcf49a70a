"""Only the head learns: logistic regression on frozen vectors, which are computed once."""

from __future__ import annotations

from heed.config.tuning import MethodConfig
from heed.tuning.methods.base import Method
from heed.tuning.model import Tuned


class Head(Method):
    """Nothing beside the head: D x C + C numbers."""

    name = "head"
    summary = "a linear head on the frozen mean state (Alain & Bengio 2016); the states are computed once"
    formula = "nothing"
    averages = True
    frozen_features = True
    passes = 10
    rates = (1e-3, 5e-3, 2e-2)

    def prepare(self, tuned: Tuned, options: MethodConfig) -> None:
        """Change nothing: the head learns in every method."""

    def expected(self, tuned: Tuned, options: MethodConfig) -> int:
        """Return 0."""
        return 0
