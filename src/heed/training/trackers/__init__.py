"""Where a training is shown besides its own folder: TensorBoard, Weights & Biases, trackio, or a tracker of your own.

    run.log(event) ──> metrics.jsonl, which is the truth ──> trackers, each told the same numbers by the same names

A tracker is told what `heed.records.events.scalars` makes of each event. It never stops a run: one that fails says so
once and is told nothing more. After a resumption nothing is told twice. Packages offer more under the entry point
`heed.trackers`, and `package.module:Class` names one of your own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from heed.attention.imported import load_object
from heed.config import flatten
from heed.errors import ConfigError, did_you_mean, one_line, require, why
from heed.records.events import METRICS, Event, ResumeEvent, SampleEvent, read_event, scalars
from heed.training.trackers.tensorboard import TensorBoard
from heed.training.trackers.tracker import TrackedRun, Tracker
from heed.training.trackers.trackio import Trackio
from heed.training.trackers.wandb import WeightsAndBiases

GROUP = "heed.trackers"
TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "trackio": Trackio}
"""By the name that train.trackers takes."""


def find_trackers(names: Sequence[str]) -> dict[str, type[Tracker]]:
    """Return the class of each tracker. Raises `ConfigError` for one that is none, or whose package is missing."""
    found = {}
    for name in names:
        kind = TRACKERS.get(name) or _offered(name)
        if kind.needs is not None:
            require(*kind.needs)
        found[name] = kind
    return found


def _offered(name: str) -> type[Tracker]:
    offers = {offer.name: offer.value for offer in entry_points(group=GROUP)}
    if name not in offers and ":" not in name:
        raise ConfigError(f"train.trackers: unknown tracker {name!r}, {did_you_mean(name, [*TRACKERS, *offers])}")
    path = offers.get(name, name)
    kind = load_object(path, f"train.trackers {name!r}", "package.module:Class")
    if not (isinstance(kind, type) and issubclass(kind, Tracker)):
        raise ConfigError(f"train.trackers: {path} is not a subclass of heed.training.trackers.tracker.Tracker")
    return kind


@contextmanager
def tracking(names: Sequence[str], run: Any, step: int, say: Callable[[str], object]) -> Iterator[None]:
    """Tell trackers all that a run logs while the block runs; `step` is the one that it goes on from, 0 at first."""
    if not names:
        yield
        return
    told = Trackers(find_trackers(names), run, step, say)
    run.listener = told.tell
    try:
        yield
    finally:
        run.listener = None
        told.close()


class Trackers:
    """The trackers of a run that work."""

    def __init__(self, kinds: dict[str, type[Tracker]], run: Any, step: int, say: Callable[[str], object]) -> None:
        self.say, self.working = say, dict[str, Tracker]()
        events = read_all(run.folder / METRICS)
        self.before = {(event.KIND, event.step) for event in events if not isinstance(event, ResumeEvent)}
        """What earlier processes have logged, and told to those that they told."""
        self.anew = dict[str, bool]()
        """Of each: whether it is told what is logged again."""
        settings = dict(flatten(run.config.model_dump(mode="json")))
        facts = TrackedRun(run.folder, str(run.environment.time or ""), settings, step)
        for name, kind in kinds.items():
            with self.trying(name):
                tracker = kind(facts)
                self.working[name] = tracker
                knows, self.anew[name] = tracker.knows, tracker.takes_back or tracker.knows < 0
                for event in run.read_metrics():
                    if not isinstance(event, ResumeEvent) and event.step > knows:
                        show(tracker, event)

    @contextmanager
    def trying(self, name: str) -> Iterator[None]:
        """Let a tracker do something; where it fails that is said, and it is told nothing more."""
        try:
            with redirect_stdout(sys.stderr):  # standard output is for what was asked of heed
                yield
        except (Exception, SystemExit) as error:  # of somebody else's code, which may raise anything
            self.working.pop(name, None)
            reason = why(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            self.say(
                f"note: train.trackers: {name} fails ({one_line(' '.join(reason.split()), 300)}) and is told nothing "
                f"more; the run goes on, and {METRICS} has everything"
            )

    def tell(self, event: Event) -> None:
        """Show an event to every tracker that has not been shown it."""
        for name, tracker in list(self.working.items()):
            if self.anew[name] or (event.KIND, event.step) not in self.before:
                with self.trying(name):
                    show(tracker, event)

    def close(self) -> None:
        """Let each tracker end."""
        for name, tracker in list(self.working.items()):
            with self.trying(name):
                tracker.close()


def show(tracker: Tracker, event: Event) -> None:
    """Tell a tracker what is in an event: its numbers, or the first text that the model wrote."""
    if numbers := scalars(event.plain()):
        tracker.numbers(event.step, numbers)
    if isinstance(event, SampleEvent) and event.texts:
        first = event.texts[0]
        tracker.text(event.step, str(first.get("text", "")) if isinstance(first, dict) else str(first))


def read_all(path: Path) -> list[Event]:
    """Return every event of a metrics.jsonl, those that a resumption made void too."""
    found = []
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            with suppress(ValueError):
                found.append(read_event(json.loads(line)))
    return [event for event in found if event is not None and isinstance(event.step, int)]
