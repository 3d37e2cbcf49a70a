"""What a method of tuning is: which parameters learn, and how many they are by a formula of its paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from heed.config.tuning import MethodConfig
from heed.errors import ConfigError
from heed.tuning.model import Tuned


class Method(ABC):
    """One way of tuning; a file of this folder each, and a line of `METHODS`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for people: what is trained, and the source."""
    formula: ClassVar[str]
    """The number of trained parameters beside the head, as it is written on the page."""
    frozen_features: ClassVar[bool] = False
    """Whether a text's pooled vector never changes, so that it is computed once."""
    native: ClassVar[bool] = False
    """Whether `encoder.pooling auto` means the architecture's own head."""
    whole: ClassVar[bool] = False
    """Whether everything learns, so that no other method can add to it."""
    wraps: ClassVar[bool] = False
    """Whether peft puts something into the encoder; it can do so once."""
    averages: ClassVar[bool] = False
    """Whether the mean of several seeds' weights is a model of the same kind: none of them begins at random."""
    rates: ClassVar[tuple[float, ...]] = (1e-4, 5e-4, 1e-3)
    """Learning rates that a search tries."""

    passes: ClassVar[int] = 1
    """Passes over the texts for each one that is asked for: more where a pass costs next to nothing."""
    reads: ClassVar[tuple[str, ...]] = ()
    """The settings of `MethodConfig` that it reads."""

    @abstractmethod
    def prepare(self, tuned: Tuned, options: MethodConfig) -> None:
        """Put in what is trained and set `requires_grad`; everything in `tuned` but its head is frozen before.

        Raises `ConfigError` when this encoder cannot be tuned so, or nothing was adapted.
        """

    @abstractmethod
    def expected(self, tuned: Tuned, options: MethodConfig) -> int:
        """Return by formula how many parameters learn beside the head; asked before `prepare`."""

    def check(self, tuned: Tuned, options: MethodConfig, max_length: int) -> None:  # noqa: B027 - most have no limit
        """Raise `ConfigError` where the encoder or the length of the texts is not fit for it; by default all are."""

    @staticmethod
    def refuse(problem: str) -> ConfigError:
        """Return the error of a method that cannot be."""
        return ConfigError(problem)
