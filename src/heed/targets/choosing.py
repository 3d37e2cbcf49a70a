"""Which kind of target some labels are: as it was asked for, or as they look; what was decided is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heed.targets.classes import ClassTarget
from heed.targets.target import Target

AUTO = "auto"


def choose(
    task: str, cells: Sequence[object], kinds: Mapping[str, type[Target]], setting: str
) -> tuple[type[Target], list[str]]:
    """Return the kind that `task` names, or of "auto" the one that the cells of a column look like; and notes.

    What can be classes is: another kind has to claim the cells.
    """
    if task != AUTO:
        return kinds[task], []
    for kind in kinds.values():
        if (reason := kind.claims(cells)) is not None:
            return kind, [f"labels: {reason}, so this is {kind.kind}; {setting} classes takes each as a class"]
    return ClassTarget, [note for kind in kinds.values() if (note := kind.hint(cells)) is not None]
