"""The verification room: whether what heed wrote is still what it wrote, and comes out again.

hashes ─> text ─> final figures ─> some steps of the training           `verify(folder)` is the way in
"""

from __future__ import annotations

from pathlib import Path

from heed.errors import CheckpointError
from heed.records.checkpoints import CONFIG
from heed.verification.checks import VerifiedFolder, VerifiedPart
from heed.verification.runs import Say

STEPS = 3
"""Steps of a training that are made again, at least."""


def verify(folder: str | Path, steps: int = STEPS, say: Say = lambda line: None) -> VerifiedFolder:
    """Verify whatever heed wrote into a folder.

    A run, a tuned run: hashes, text, final figures, `steps` steps of the training. A tune, a study, a prompt, a
    recovery, an exploration: hashes, and its figures from the records beside it. Nothing in the folder is changed.
    Raises `CheckpointError` where it is none of these.
    """
    from heed.config import read_yaml
    from heed.verification.other_folders import kind_of, verify_collection
    from heed.verification.runs import verify_run
    from heed.verification.tuned import verify_tuned

    folder = Path(folder)
    if (folder / CONFIG).is_file():
        tuned = "encoder" in read_yaml(folder / CONFIG)
        return verify_tuned(folder, steps, say) if tuned else verify_run(folder, steps, say)
    kind = kind_of(folder)
    if kind is None:
        what = "holds nothing that heed knows" if folder.is_dir() else "is no folder"
        raise CheckpointError(f"{folder} {what}: give the folder of a run, a tune, a study, a prompt or a recovery")
    return verify_collection(folder, kind)


__all__ = ["STEPS", "VerifiedFolder", "VerifiedPart", "verify"]
