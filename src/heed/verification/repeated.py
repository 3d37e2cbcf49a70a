"""Some steps of a training, made again from a checkpoint, and held against what metrics.jsonl says of them.

    run/checkpoints/step-00000500 ─> a copy that is thrown away ─> steps 501 ... 510 ─> the same losses and norms?

They go through the loop that made the run. Where no checkpoint has logged steps behind it, the first steps are made
again from the first weights.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from heed import seals
from heed.records.checkpoints import CHECKPOINTS, CONFIG
from heed.records.events import METRICS
from heed.records.folder import TOKENIZER
from heed.records.run import ENVIRONMENT
from heed.report.record import RunRecord, gather
from heed.training.checkpoint import saved_steps, step_name
from heed.verification.checks import STEPS, VerifiedFolder

Again = Callable[[Path, int], object]
"""Goes on with the run in a folder, up to a step."""
FAR = 1000
"""Steps from a checkpoint to the next that was logged, at most."""


def repeat(found: VerifiedFolder, folder: Path, least: int, again: Again) -> None:
    """Make at least `least` steps of a run again, up to the next that was logged, and note what they come to."""
    record = gather(folder)
    if record.setting("train.seconds") is not None:
        found.note("training", "not checked", "its learning rate goes by the clock, so no step can be made twice")
        return
    begin, until = choose(record, saved_steps(folder / CHECKPOINTS), least)
    if until == 0:
        found.note("training", "not checked", "no step was logged that could be made again")
        return
    with TemporaryDirectory(prefix="heed-verify-") as place:
        copy = Path(place) / folder.name
        _copy(folder, copy, begin)
        again(copy, until)
        found.compare(
            f"training, steps {begin + 1:,} to {until:,} from {step_name(begin) if begin else 'the first weights'}",
            _logged(record, begin, until),
            _logged(gather(copy), begin, until),
            times=STEPS,
        )


def choose(record: RunRecord, saved: list[int], least: int) -> tuple[int, int]:
    """Return (step to begin from, last step): 0 is the first weights; a last step of 0: there is none.

    Steps before the settings changed for the last time cannot be made from config.yaml, and none go over a change of
    threads, which hangs on the clock.
    """
    logged = [event.step for event in record.train]
    since = max((change.step for change in record.changes), default=0)
    others = [event.step for event in record.threads]
    begins = [step for step in (*reversed(saved), 0) if step >= since]
    for enough in (least, 1):
        for begin in begins:
            last = min((step for step in logged if step >= begin + enough), default=0)
            if 0 < last <= begin + FAR and not any(begin < step < last for step in others):
                return begin, last
    return 0, 0


def _logged(record: RunRecord, begin: int, until: int) -> dict[str, Any]:
    """Return what was logged between two steps, by step."""
    events = (*record.train, *record.evaluations)
    return {f"{event.KIND} {event.step}": event.plain() for event in events if begin < event.step <= until}


def _copy(folder: Path, copy: Path, begin: int) -> None:
    """Make a run folder that goes on from a checkpoint of another; the checkpoint itself is only linked to."""
    (copy / CHECKPOINTS).mkdir(parents=True)
    for name in (CONFIG, ENVIRONMENT, TOKENIZER, METRICS, seals.SEALS):
        if (folder / name).is_file():
            shutil.copy2(folder / name, copy / name)
    if begin:
        source, target = (there / CHECKPOINTS / step_name(begin) for there in (folder.resolve(), copy))
        try:
            os.symlink(source, target, target_is_directory=True)
        except OSError:  # a system without links
            shutil.copytree(source, target)
