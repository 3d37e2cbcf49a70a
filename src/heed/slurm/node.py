"""What a job does on its node: it runs one command, sees that this is asked to end in time, and queues again.

    Slurm ── USR1, some minutes before the time limit ──> asks the command to end ──> checkpoint ──> scontrol requeue
          ── TERM, of scancel ────────────────────────────> the same, and it stays ended
          ── TERM, of pre-emption ────────────────────────> the same, and queued again unless Slurm does that itself

When it runs again, a run that this job began goes on by `heed train --resume`; everything else goes on by the command
that it was begun with.
"""

from __future__ import annotations

import itertools
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from heed.errors import ClusterError
from heed.records.kept import DamagedError, read_record
from heed.records.run import ENVIRONMENT, EnvironmentFile
from heed.slurm.queue import own_id, preempted, requeue

INTERRUPTED = 130
"""Exit code of what was asked to end, as that of Ctrl-C."""
LATE = 1.0
"""Seconds by which our TERM may come after the command has died of its own: Slurm sends them in any order."""
KEPT = ("--processes", "--gpus", "--json")
"""Flags of `heed train` that say how it runs, which `--resume` takes too."""


def run_command(
    command: Sequence[str], order: str, run: Path | None, requeues: int, say: Callable[[str], object]
) -> int:
    """Run a command to its end and return its exit code; `order` is what it is told on standard input.

    Where the job's time comes to an end, or it makes room for another one, the command is asked to end and the job is
    queued again, `requeues` times at most.
    """
    job = own_id()
    words = going_on(command, run, job)
    if job is not None:
        say(f"heed: job {job}" + (f", begun {restarts() + 1} times: {shlex.join(words)}" if restarts() else ""))
    asked: list[int] = []
    begun: list[subprocess.Popen[bytes]] = []
    told: list[int] = []

    def pass_on() -> None:
        if begun and not told:  # a second Ctrl-C would end the command without its checkpoint
            told.append(begun[0].pid)
            interrupt(begun[0], job)

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        pass_on()

    before = {one: signal.signal(one, ask) for one in (signal.SIGUSR1, signal.SIGTERM)}
    try:
        process = subprocess.Popen(words, stdin=subprocess.PIPE if order else subprocess.DEVNULL)
        begun.append(process)
        if asked:
            pass_on()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.write(order.encode())
                process.stdin.flush()  # and left open: the process ends when it closes
        code = process.wait()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
        code = code if code >= 0 else 128 - code
        if code in (0, 2) or not _was(asked, 0 if job is None else LATE):  # it was done, or would be wrong again
            return code
        again = "submit it again" if run is None else f"heed train --resume {shlex.quote(str(run))} --on slurm goes on"
        return _queue_again(job, signal.SIGUSR1 in asked, requeues, again, say)  # another TERM may come meanwhile
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _was(asked: Sequence[int], seconds: float) -> bool:
    """Whether a signal has come, or comes soon."""
    end = time.monotonic() + seconds
    while not asked and time.monotonic() < end:
        time.sleep(0.02)
    return bool(asked)


def _queue_again(job: str | None, near: bool, requeues: int, again: str, say: Callable[[str], object]) -> int:
    """Queue a job again whose command has been asked to end, where that is wanted."""
    try:
        if job is None or not (near or preempted(job)):
            say("heed: ended as asked; what was done is kept")
        elif restarts() >= requeues:
            say(f"heed: the job was queued again {restarts()} times, which is --slurm.requeues: {again}")
        else:
            say("heed: the time is up: the job is queued again" if near else "heed: pre-empted: queued again")
            requeue(job)
    except ClusterError as error:
        say(f"heed: the job could not be queued again: {error}; what was done is kept: {again}")
    return INTERRUPTED


def restarts() -> int:
    """Return how often this job was queued again."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def going_on(command: Sequence[str], run: Path | None, job: str | None) -> list[str]:
    """Return the command, or the one that goes on with the run that this job began.

    >>> going_on(["python", "-m", "heed", "train", "a.txt"], Path("no/run"), "12")
    ['python', '-m', 'heed', 'train', 'a.txt']
    """
    words = list(command)
    if run is None or job is None or not (run / ENVIRONMENT).is_file():
        return words
    with suppress(OSError, ValueError, DamagedError):
        if read_record(EnvironmentFile, run / ENVIRONMENT).job == job:
            place = list(itertools.pairwise(words)).index(("-m", "heed"))
            return [*words[: place + 2], "train", "--resume", str(run), *_kept(words[place + 3 :])]
    return words


def _kept(words: Sequence[str]) -> list[str]:
    found = []
    for place, word in enumerate(words):
        if word.partition("=")[0] in KEPT:
            found.append(word)
            if "=" not in word and word != "--json":
                found += words[place + 1 : place + 2]
    return found


def interrupt(process: subprocess.Popen[bytes], job: str | None) -> None:
    """Ask a command to end with a checkpoint, as Ctrl-C does; under torchrun its first rank alone, if it is here.

    torchrun itself gives its processes half a minute, which may be less than an evaluation takes.
    """
    with suppress(psutil.Error, OSError):
        if Path(str(process.args[0])).name != "srun":  # pyright: ignore[reportIndexIssue]
            process.send_signal(signal.SIGINT)
            return
    for one in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            variables = one.environ()
            if variables.get("RANK") == "0" and variables.get("SLURM_JOB_ID") == os.environ.get("SLURM_JOB_ID"):
                one.send_signal(signal.SIGINT)
                return
    process.terminate()
