"""What a tracker is: it is told numbers and texts by step, and keeps them wherever it does."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class TrackedRun:
    """The run that is shown."""

    folder: Path
    begun: str
    """When it was made, ISO 8601."""
    settings: Mapping[str, Any]
    """By dotted name, as JSON has them."""
    step: int
    """It goes on from here; 0 at first."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.folder.resolve().name

    @property
    def id(self) -> str:
        """The same each time that it goes on, and another one for every other run."""
        seed = f"{self.name} {self.begun} {self.settings.get('run.seed')}"
        return hashlib.sha256(seed.encode()).hexdigest()[:16]

    @property
    def project(self) -> str:
        """The name of the folder from which it was trained."""
        return os.path.basename(os.getcwd()) or "heed"


class Tracker(ABC):
    """Shows a run somewhere. Whatever it raises ends its part in the run, and not the run."""

    needs: ClassVar[tuple[str, str] | None] = None
    """The package that it needs, and the extra of heed that brings it."""
    takes_back: ClassVar[bool] = False
    """Whether it takes back what it was told beyond the step that a run is resumed from, and is to be told it anew."""
    knows: float = -1
    """The last step that it was told by earlier processes; what was logged beyond it, it is told when it begins."""

    @abstractmethod
    def __init__(self, run: TrackedRun) -> None:
        """Begin, or go on from the step of the run."""

    @abstractmethod
    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a step, such as {"train/loss": 2.1, "train/learning_rate": 1e-3}."""

    def text(self, step: int, text: str) -> None:  # noqa: B027 - not every tracker shows texts
        """Take a text that the model wrote at a step."""

    def close(self) -> None:  # noqa: B027 - not every tracker has to
        """End."""
