"""One run of a study or a tune, in a process of its own: `python -m heed.studies.worker`, told what on standard input.

A process for each run keeps their memory apart: its peak is the run's own, and running out of it ends nothing else.
The process ends with its study: when standard input closes, at whatever moment, the run stops at once, and what it has
kept is enough to go on bit for bit.
"""

from __future__ import annotations

import json
import math
import os
import signal
import statistics
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from heed.errors import HeedError
from heed.records.kept import write_record
from heed.records.study import TRAINED, Outcome
from heed.studies.runner import INTERRUPTED


def run_cell(values: Mapping[str, Any], say: Callable[[str], object] = lambda line: None) -> Outcome:
    """Train the run that `values` describe, or go on with it, and return what it came to; no error leaves it.

    States: finished; leaks (finished, with a leak that was allowed); does not fit; broke down (NaN); interrupted;
    failed.
    """
    from heed import experiment
    from heed.config import make_config
    from heed.records.folder import is_run
    from heed.report.record import gather
    from heed.training.devices import choose_device, choose_precision, out_of_memory

    folder = Path(values["run"]["folder"]) / values["run"]["name"]
    try:
        config = make_config(values)
        meter = _meter(config.run.device)
        make = lambda steps: meter
        if is_run(folder):
            threads = config.run.fixed_threads  # as many as the study has now, which may be others than when it began
            settings = {} if threads is None else {"run": {"threads": threads}}
            outcome = experiment.resume(folder, settings, say=say, progress=make)
        else:
            if config.train.precision == "auto":  # the same for all arms, whatever their shapes
                found = choose_precision("auto", choose_device(config.run.device))[0]
                config = config.changed("train", precision=found)
            outcome = experiment.train(config, say=say, progress=make)
    except KeyboardInterrupt:
        return Outcome.of("interrupted")
    except Exception as error:  # a failing run is a result of the study, whatever it is
        say(traceback.format_exc())
        nan = is_run(folder) and isinstance(error, HeedError) and gather(folder).state == "nan"
        return Outcome.of("broke down", str(error)) if nan and not out_of_memory(error) else outcome_of(error)
    if outcome.fit.reason == "interrupted":
        return Outcome.of("interrupted", f"stopped after step {outcome.fit.step:,}")
    fit, leaks = outcome.fit, outcome.model.leaks
    return Outcome.of(
        "finished" if leaks is None else "leaks",
        figures={split: _finite(found.as_dict()) for split, found in outcome.figures.items()},
        seconds=round(fit.seconds, 4),
        tokens=fit.tokens,
        tokens_per_second=round(fit.tokens / fit.seconds, 1) if fit.seconds else None,
        memory=meter.memory,
        leaks=leaks,
    )


def outcome_of(error: Exception) -> Outcome:
    """Return what a run has come to that an error ended."""
    line = str(error).partition("\n")[0]
    from heed.training.devices import out_of_memory

    if out_of_memory(error):
        return Outcome.of("does not fit", line)
    return Outcome.of("failed", line if isinstance(error, HeedError) else f"{type(error).__name__}: {line}")


def main() -> int:
    """Read what `Task.order` says from standard input, make the run, and write what it came to.

    The record comes before the lengths, so that a process that ends while it measures them has trained for good.
    """
    with suppress(OSError):  # where memory runs out, Linux shall end this process, not the study
        Path("/proc/self/oom_score_adj").write_text("500")
    task = json.loads(_first_line())
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    with suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    say = lambda line: print(line, flush=True)  # standard output is the cell's log
    if task.get("kind", "train") != "train":
        return _make_tuned(task, say)
    if not task["trained"]:
        found = run_cell(task["values"], say)
        if found.state != "interrupted":
            write_record(Path(task["record"]), found)
        if found.state not in TRAINED:
            return INTERRUPTED if found.state == "interrupted" else 0
    if task["lengths"]:
        from heed.studies.lengths import measure_lengths

        try:
            measure_lengths(Path(task["values"]["run"]["folder"]) / task["values"]["run"]["name"], task["lengths"], say)
        except KeyboardInterrupt:  # what is missing is measured the next time
            return INTERRUPTED
    return 0


def _make_tuned(order: Mapping[str, Any], say: Callable[[str], object]) -> int:
    from heed.studies.tuned_cells import make_alone, task_of

    task = task_of(order)
    try:
        found = make_alone(task)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        say(traceback.format_exc())
        found = outcome_of(error)
    if found.state == "interrupted":
        return INTERRUPTED
    write_record(task.record, found)
    return 0


def _first_line() -> bytes:
    """Read up to the first line end, byte by byte from the system: Python's buffer would hold a lock at the end."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"\n", b""):
        line += byte
    return line


def _end_with_the_study() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)  # at once: what the run has kept is whole at any moment


def _finite(values: Any) -> Any:
    """Return plain values with null for numbers that JSON has not."""
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _meter(device_name: str) -> Any:
    """Return a progress that shows nothing, and measures memory after updates."""
    import psutil
    import torch

    from heed.training.devices import choose_device, peak_memory
    from heed.training.progress import Pace, Silent

    device = choose_device(device_name)

    class Meter(Silent):
        """Bytes after updates (steady: the median) and at most (peak): resident, on a GPU those of tensors."""

        def __init__(self) -> None:
            self.seen: list[int] = []
            self.peak = 0

        def update(self, step: int, pace: Pace) -> None:
            gpu = device.type == "cuda"
            self.seen.append(torch.cuda.memory_allocated(device) if gpu else psutil.Process().memory_info().rss)
            self.peak = peak_memory(device)

        @property
        def memory(self) -> dict[str, int] | None:
            return {"steady": int(statistics.median(self.seen)), "peak": self.peak} if self.seen else None

    return Meter()


if __name__ == "__main__":
    sys.exit(main())
