"""Everything learns: the whole encoder and the head."""

from __future__ import annotations

from heed.config.tuning import MethodConfig
from heed.tuning.methods.base import Method
from heed.tuning.model import Tuned, count, unfreeze


class MeanFull(Method):
    """All parameters, on the mean of the real tokens' states."""

    name = "mean-full"
    summary = "every parameter, and a linear head on the mean of the real tokens (Reimers & Gurevych 2019)"
    formula = "all of the encoder"
    averages = True
    whole = True
    rates = (5e-5, 1e-4, 2e-4)

    def prepare(self, tuned: Tuned, options: MethodConfig) -> None:
        """Let everything learn."""
        unfreeze(tuned.backbone.parameters())

    def expected(self, tuned: Tuned, options: MethodConfig) -> int:
        """Return the size of the encoder."""
        return count(tuned.backbone.parameters()) - count(tuned.native_head())


class Full(MeanFull):
    """All parameters, with the classification head of the architecture in transformers."""

    name = "full"
    summary = "every parameter, under the architecture's own classification head (Devlin et al. 2019)"
    native = True
