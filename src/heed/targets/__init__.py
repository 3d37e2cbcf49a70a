"""What is predicted from a text, a file each: the class that it is of, and what else can be learned of it.

    classes       one of several classes
    regression    a number
    labels        several labels, or none

`choose` says which one some labels are, `target_of` reads what a run or a record says of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heed.targets.choosing import AUTO, choose
from heed.targets.classes import ClassTarget
from heed.targets.labels import LabelsTarget
from heed.targets.regression import ScoreTarget
from heed.targets.target import Label, Target

TARGETS: dict[str, type[Target]] = {kind.kind: kind for kind in (ClassTarget, ScoreTarget, LabelsTarget)}
"""By the name of the kind."""


def target_of(facts: Mapping[str, Any]) -> Target:
    """Return the target that `Target.facts` was written of. Raises `KeyError` or `ValueError` where it is none."""
    kind = (facts.get("target") or {}).get("kind", ClassTarget.kind)
    return TARGETS[kind].of(facts)


__all__ = ["AUTO", "TARGETS", "Label", "Target", "choose", "target_of"]
