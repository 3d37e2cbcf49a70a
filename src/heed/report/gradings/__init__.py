"""How answers are marked and said, a file for each kind of target in `heed.targets`."""

from __future__ import annotations

from heed.report.gradings.classes import ClassGrading
from heed.report.gradings.grading import Grading, RunAnswers
from heed.report.gradings.labels import LabelsGrading
from heed.report.gradings.regression import ScoreGrading
from heed.targets import Target

GRADINGS: dict[str, type[Grading]] = {
    "classes": ClassGrading,
    "regression": ScoreGrading,
    "labels": LabelsGrading,
}
"""By the kind of the target."""


def grading_of(target: Target) -> Grading:
    """Return how what is said of such texts is marked."""
    return GRADINGS[target.kind](target)


__all__ = ["GRADINGS", "Grading", "RunAnswers", "grading_of"]
