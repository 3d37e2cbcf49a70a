"""How far studies and tunes are: runs that are done, that run and that wait, and the time that is left."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heed import files
from heed.board.finding import FoundFolder
from heed.board.summary import RunSummary
from heed.errors import HeedError, one_line, why
from heed.records.kept import read_record
from heed.records.study import STUDY, TRAINED, StudyFile
from heed.records.tune import TUNE, TuneFile


@dataclass(frozen=True)
class ManyRuns:
    """A study or a tune."""

    name: str
    kind: str
    """study or tune."""
    title: str
    state: str
    """running, finished, interrupted or damaged."""
    total: int = 0
    """Runs that it is made of, those of a search not counted."""
    done: int = 0
    failed: int = 0
    running: int = 0
    left: float | None = None
    """Seconds, if as many run at once as now and each takes as long as those before; searches not counted."""
    note: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return dict(vars(self))


@dataclass(frozen=True)
class _Counts:
    title: str
    total: int
    seconds: tuple[float, ...]
    """Of the runs that are done."""
    failed: int = 0
    note: str = ""


def progress_of(found: FoundFolder, runs: Mapping[str, RunSummary]) -> ManyRuns:
    """Return how far a study or a tune is; `runs` are all that are known, by name."""
    held = files.is_held(found.path / files.LOCK)
    try:
        counts = _study(found) if found.kind == "study" else _tune(found)
    except HeedError as error:
        return ManyRuns(found.name, found.kind, "", "running" if held else "damaged", note=one_line(error, 500))
    except (OSError, ValueError) as error:
        note = f"{found.name} cannot be read: {one_line(why(error), 300)}"
        return ManyRuns(found.name, found.kind, "", "running" if held else "damaged", note=note)
    own = [run for name, run in runs.items() if name.startswith(f"{found.name}/runs/") and run.state == "running"]
    done, waiting = len(counts.seconds), counts.total - len(counts.seconds) - counts.failed
    # a run goes on for a moment after its last step, and is then both
    running = min(len(own), waiting)
    settled = "finished" if waiting <= 0 else "interrupted"
    state = "running" if held else settled
    left = time_left(counts.seconds, own[:running], waiting - running) if state == "running" else None
    return ManyRuns(
        found.name, found.kind, counts.title, state, counts.total, done, counts.failed, running, left, counts.note
    )


def time_left(done: Sequence[float], running: Sequence[RunSummary], waiting: int) -> float | None:
    """Return the seconds until all is done, None where nothing is known to go by.

    >>> time_left([10.0, 20.0], [], 3), time_left([], [], 2)
    (45.0, None)
    """
    left = [run.left for run in running if run.left is not None]
    whole = [*done, *(run.seconds + run.left for run in running if run.seconds is not None and run.left is not None)]
    if not whole:
        return None
    each = statistics.mean(whole)
    unknown = len(running) - len(left)
    return (sum(left) + each * (waiting + unknown)) / max(1, len(running))


def _study(found: FoundFolder) -> _Counts:
    study = read_record(StudyFile, found.path / STUDY)
    settled = [cell for cell in study.cells if cell.state]
    good = [cell for cell in settled if cell.state in TRAINED]
    failed = len([cell for cell in settled if cell.state not in (*TRAINED, "interrupted")])
    trials = len((study.search or {}).get("trials") or ())
    return _Counts(
        title=study.title or "",
        total=len(study.variants) * len(study.seeds),
        seconds=tuple(cell.seconds or 0.0 for cell in good),
        failed=failed,
        note=f"{trials} trials of the search" if trials else "",
    )


def _tune(found: FoundFolder) -> _Counts:
    tune = read_record(TuneFile, found.path / TUNE)
    arms = [arm for arm in tune.arms if not arm.soup]
    bad = [arm for arm in arms if arm.status not in ("running", "done")]
    good = [arm for arm in arms if arm not in bad]
    each = len(tune.seeds)
    searched = sum(len(arm.search) for arm in arms)
    return _Counts(
        title=f"{tune.data.name}: {', '.join(dict.fromkeys(arm.method for arm in arms))}",
        total=each * len(arms),
        seconds=tuple(run.seconds for arm in good for run in arm.runs),
        failed=each * len(bad),
        note=f"{searched} trials of searches" if searched else "",
    )
