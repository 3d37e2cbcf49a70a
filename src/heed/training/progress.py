"""What a person sees while a model trains: a live line on a terminal, a plain line now and then elsewhere.

Everything goes to standard error, so that standard output stays free for results.

    training ━━━━━━━━╸━━━━━━━━━━━ 812/2,000  loss 1.9042  23.4 k tokens/s  365 MiB  1 min 58 s left
"""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from heed.report.numbers import human_bytes, human_count, human_seconds


@dataclass(frozen=True)
class Pace:
    """What is shown of a step: loss in nats, training tokens a second, peak bytes, what is left."""

    loss: float
    tokens_per_second: float
    memory_bytes: int
    seconds_left: float
    """To the end of the run, as far as it is known."""
    whole: bool = True
    """Whether evaluations are in it: nobody knows how long they take before the first one."""
    unit: str = "token"
    """What is counted: tokens, masked tokens or examples."""
    leaks: bool = False
    """Whether the model sees the tokens that it predicts, so that the loss is none."""


def describe(pace: Pace) -> str:
    """Return the figures as one short text.

    >>> describe(Pace(1.90421, 23_400, 365 * 2**20, 118))
    'loss 1.9042  23.4 k tokens/s  365 MiB  1 min 58 s left'
    """
    leaking = "LEAKING " if pace.leaks else ""
    return (
        f"{leaking}loss {pace.loss:.4f}  {human_count(pace.tokens_per_second)} {pace.unit}s/s  "
        f"{human_bytes(pace.memory_bytes)}  {human_seconds(pace.seconds_left)} "
        f"{'left' if pace.whole else 'and evaluations left'}"
    )


class Progress(AbstractContextManager["Progress"], Protocol):
    """Where a training says how it is going."""

    def update(self, step: int, pace: Pace) -> None:
        """Show that `step` is done."""
        ...

    def phase(self, name: str) -> None:
        """Show what is being done: training, evaluating, saving."""
        ...

    def say(self, text: str) -> None:
        """Show a line that stays."""
        ...


class Silent(Progress):
    """Shows nothing: for library use and tests."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, step: int, pace: Pace) -> None:
        """Show nothing."""

    def phase(self, name: str) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""


class ProgressLines(Progress):
    """A line at the first step and then every `every` seconds: for log files and pipes."""

    def __init__(self, total: int, stream: TextIO, every: float = 10.0) -> None:
        self.total, self.stream, self.every = total, stream, every
        self._next = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, step: int, pace: Pace) -> None:
        """Write a line when it is time for one; the last step always has one."""
        now = time.monotonic()
        if now >= self._next or step >= self.total:
            self._next = now + self.every
            self.say(f"step {step:,}/{self.total:,}  {describe(pace)}")

    def phase(self, name: str) -> None:
        """Show nothing: a log needs no moments."""

    def say(self, text: str) -> None:
        """Write a line."""
        self.stream.write(text + "\n")
        self.stream.flush()


class Live(Progress):
    """A bar that stays in place at the bottom of a terminal."""

    def __init__(self, total: int, console: Console) -> None:
        self._bar = Bar(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[figures]}"),
            console=console,
            refresh_per_second=4,  # drawing costs about 1 ms: 4 a second cannot be felt
        )
        self._task = self._bar.add_task("training", total=total, figures="")

    def __enter__(self) -> Live:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, step: int, pace: Pace) -> None:
        """Move the bar and renew the pace."""
        self._bar.update(self._task, completed=step, figures=describe(pace))

    def phase(self, name: str) -> None:
        """Change the word before the bar."""
        self._bar.update(self._task, description=name)

    def say(self, text: str) -> None:
        """Write a line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False)


def make_progress(total: int, stream: TextIO | None = None) -> Progress:
    """Return a live bar when `stream` (default: standard error) is a terminal, else lines now and then."""
    out = stream if stream is not None else sys.stderr
    return Live(total, Console(file=out)) if out.isatty() else ProgressLines(total, out, getattr(out, "every", 10.0))
