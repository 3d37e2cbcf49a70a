"""Hyper-parameter search of a study: the same number of trials for every variant, through Optuna.

    ask (parameters) ──> a run with the study's budget ──> tell (its figure on the validation split)
                              └─ pruned where its evaluations are poor beside those of other trials

Optuna (Akiba et al. 2019) is asked and told by the study's process alone, and keeps everything in OUT/study.sqlite.
Trial number n draws from a random stream of its own, the same for all variants: what a trial tries depends on its
number and on the trials told before it, not on whether the study was killed in between.
A trial that was cut off goes on with its parameters and from its last checkpoint.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heed.errors import CheckpointError, ConfigError, require
from heed.files import remove
from heed.records.study import Outcome
from heed.studies.plan import StudyPlan
from heed.studies.plan_file import Range, SearchPlan
from heed.studies.runner import Follower, Launch, RunRow, Standing, Task, settled, work
from heed.studies.study import Study
from heed.training.streams import stream_seed

if TYPE_CHECKING:
    import optuna

STORE = "study.sqlite"
TRIALS = 20
"""Trials of a variant when nothing else is asked for."""


@dataclass
class SearchTrial:
    """A trial that is under way."""

    variant: str
    optuna: optuna.Trial
    values: dict[int, float | None] = field(default_factory=dict)
    """Figures by seed; None: it came to none."""
    pruned: bool = False
    seconds: float = 0.0


def run_search(
    study: Study,
    search: SearchPlan,
    jobs: int,
    launch: Launch,
    asked: Callable[[], bool],
    watch: Callable[[list[RunRow]], None],
) -> dict[str, Any]:
    """Run the trials that are left, and return what study.json holds of the search.

    Raises `MissingPackageError` without Optuna, `CheckpointError` where its file cannot be read or written.
    """
    with _explained(study.folder / STORE):
        return _run(Searcher(study, search), jobs, launch, asked, watch)


def _run(
    searcher: Searcher,
    jobs: int,
    launch: Launch,
    asked: Callable[[], bool],
    watch: Callable[[list[RunRow]], None],
) -> dict[str, Any]:
    """Run the trials that are left, and let go of the file."""

    def show(running: Mapping[str, tuple[Task, Standing]]) -> None:
        rows = [RunRow(name, state, message) for name, (state, message) in searcher.ended.items()]
        watch([*rows, *(RunRow(t.name, "running", "", p, t.steps, p.left(t)) for t, p in running.values())])

    try:
        searcher.study.search = searcher.summary()
        searcher.study.write()  # before the first trial: a folder that holds trials says of which study
        work(searcher.tasks(), jobs, launch, done=searcher.done, watch=show, poor=searcher.poor, asked=asked)
        show({})
        return searcher.summary()
    finally:
        searcher.close()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what is raised where the file of the trials cannot be read or written into a `CheckpointError`."""
    require("optuna", "lab")
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DatabaseError

    try:
        yield
    except (StorageInternalError, DatabaseError) as error:
        reason = str(getattr(error, "orig", None) or error.__cause__ or error).partition("\n")[0]
        raise CheckpointError(
            f"{path} cannot be used: {reason}; make room, or bring it back, and give the same command again"
        ) from error


class Searcher:
    """Asks Optuna for trials, makes runs of them, and tells it what they came to."""

    def __init__(self, study: Study, search: SearchPlan) -> None:
        self.study, self.search = study, search
        self.optuna = require("optuna", "lab")
        self.optuna.logging.set_verbosity(self.optuna.logging.WARNING)
        self.storage = self.optuna.storages.RDBStorage(f"sqlite:///{(study.folder / STORE).resolve()}")
        self.combinations = _combinations(search) if search.method == "grid" else []
        self.trials = len(self.combinations) or search.trials or TRIALS
        names = list(study.plan.variants) if search.per_variant else [study.plan.baseline]
        self.studies = {name: self._open(name) for name in names}
        self.under_way: dict[str, SearchTrial] = {}
        self.ended: dict[str, tuple[str, str]] = {}
        """State and message of the runs that have ended, by name."""

    def tasks(self) -> Iterator[Task]:
        """Yield the runs of all trials: those that were cut off first, then the variants in turn."""
        for variant, own in self.studies.items():
            for frozen in own.get_trials(deepcopy=False, states=(self.optuna.trial.TrialState.RUNNING,)):
                self._sample_as(own, frozen.number)
                yield from self._begin(variant, self.optuna.trial.Trial(own, frozen._trial_id))
        for number in range(self.trials):
            for variant, own in self.studies.items():
                # one that waits (of a grid) has a number, but was never begun
                begun = [t for t in own.get_trials(deepcopy=False) if t.state.name != "WAITING"]
                if len(begun) <= number:
                    self._sample_as(own, len(begun))
                    yield from self._begin(variant, own.ask())

    def done(self, task: Task, found: Outcome) -> None:
        """Take the record of a run, and tell Optuna when all seeds of its trial have theirs."""
        trial, seed = self.under_way[task.name], task.values["run"]["seed"]
        if found.state == "interrupted":
            return  # it goes on the next time
        trial.pruned |= found.state == "pruned" or self._prunes(trial, task)
        self.ended[task.name] = ("pruned" if trial.pruned else found.state, found.message)
        value = found.finite_figure("validation", self.search.figure)
        trial.values[seed] = value if found.state == "finished" else None
        trial.seconds += found.seconds or 0.0
        remove(task.folder / "checkpoints")  # the curves stay, the weights need not
        if len(trial.values) == len(self.search.seeds):
            self._tell(trial)

    def poor(self, task: Task, progress: Standing) -> bool:
        """Whether a run is to be ended, by what it has come to so far."""
        return self._report(self.under_way[task.name], progress)

    def summary(self) -> dict[str, Any]:
        """Return what study.json holds: what was asked, the best values, and every trial with what it came to."""
        best: dict[str, dict[str, Any] | None] = {}
        trials: list[dict[str, Any]] = []
        for variant, own in self.studies.items():
            told = own.get_trials(deepcopy=False)
            best[variant] = own.best_trial.params if any(trial.state.name == "COMPLETE" for trial in told) else None
            trials += [
                {
                    "variant": variant,
                    "number": trial.number,
                    "state": trial.state.name.lower(),
                    "values": trial.params,
                    "figure": trial.value if trial.state.name == "COMPLETE" else None,
                    "seconds": trial.user_attrs.get("seconds"),
                }
                for trial in told
            ]
        asked = self.search.model_dump(mode="json")
        own = {name: asked[name] for name in ("method", "parameters", "figure")}
        return {"asked": asked, **own, "best": best, "trials": trials}

    def close(self) -> None:
        """Let go of the file."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _open(self, variant: str) -> optuna.Study:
        """Open or begin the search of one variant."""
        own = self.optuna.create_study(
            storage=self.storage,
            study_name=variant,
            direction="maximize" if self.search.figure == "accuracy" else "minimize",
            load_if_exists=True,
            pruner=self._pruner(variant),
        )
        for values in self.combinations:
            own.enqueue_trial(values, skip_if_exists=True)
        return own

    def _pruner(self, variant: str) -> Any:
        """Return the pruner; its resource is the number of evaluations."""
        if self.search.pruner == "none":
            return self.optuna.pruners.NopPruner()
        most = evaluations(self.study.plan, variant, self.study.facts[variant].steps)
        return self.optuna.pruners.HyperbandPruner(min_resource=1, max_resource=most or "auto", reduction_factor=3)

    def _sample_as(self, own: optuna.Study, number: int) -> None:
        """Let what trial `number` tries come from a random stream of its own."""
        seed = stream_seed(0, f"trial {number}") % 2**32
        samplers = self.optuna.samplers
        own.sampler = samplers.TPESampler(seed=seed) if self.search.method == "tpe" else samplers.RandomSampler(seed)

    def _begin(self, variant: str, asked: optuna.Trial) -> Iterator[Task]:
        """Yield the runs of a trial, one for each seed."""
        extra = {key: _suggest(asked, key, values) for key, values in self.search.parameters.items()}
        trial, place = SearchTrial(variant, asked), f"search/{variant}/trial-{asked.number}"
        for seed in self.search.seeds:
            name = f"{variant}, trial {asked.number}" + (f", seed {seed}" if len(self.search.seeds) > 1 else "")
            root = self.study.folder
            kept = root / "records" / place / f"seed-{seed}.json"
            try:
                task = self.study.make_task(name, variant, seed, root / place / f"seed-{seed}", kept, extra)
            except ConfigError:  # these values do not go together: the trial has failed
                trial.values = dict.fromkeys(self.search.seeds)
                self._tell(trial)
                return
            self.under_way[name] = trial
            if (found := settled(task)) is not None:  # of a trial that was cut off: its weights are gone by now
                self.done(task, found)
            else:
                yield task

    def _report(self, trial: SearchTrial, progress: Standing) -> bool:
        """Tell Optuna of evaluations that are new, in order; True where the trial is poor after one of them."""
        if self.search.pruner == "none":
            return False
        known = set(trial.optuna.storage.get_trial(trial.optuna._trial_id).intermediate_values)
        for count, event in enumerate(progress.evaluations, 1):
            value = event.finite(self.search.figure)
            if count in known or value is None:
                continue
            trial.optuna.report(value, count)
            if trial.optuna.should_prune():
                return True
        return False

    def _prunes(self, trial: SearchTrial, task: Task) -> bool:
        """Look at the evaluations of a run that ended between two looks."""
        return self._report(trial, Follower(task.folder).look())

    def _tell(self, trial: SearchTrial) -> None:
        """Tell Optuna what a trial came to: the mean over its seeds."""
        own, states = self.studies[trial.variant], self.optuna.trial.TrialState
        values = [value for value in trial.values.values() if value is not None and math.isfinite(value)]
        trial.optuna.set_user_attr("seconds", round(trial.seconds, 4))
        if trial.pruned:
            own.tell(trial.optuna.number, state=states.PRUNED)
        elif len(values) < len(self.search.seeds):
            own.tell(trial.optuna.number, state=states.FAIL)
        else:
            own.tell(trial.optuna.number, math.fsum(values) / len(values))


def evaluations(plan: StudyPlan, variant: str, steps: int | None) -> int | None:
    """Return how often a run of a variant is evaluated; None where the clock decides."""
    return None if steps is None else math.ceil(steps / plan.config(variant, steps).train.eval_every)


def _combinations(search: SearchPlan) -> list[dict[str, Any]]:
    """Return every combination of the values of a grid."""
    lists = [list(values) for values in search.parameters.values() if not isinstance(values, Range)]
    return [dict(zip(search.parameters, point, strict=True)) for point in itertools.product(*lists)]


def _suggest(trial: optuna.Trial, key: str, values: list[Any] | Range) -> Any:
    """Return what a trial tries for one setting; what it has been given before stays."""
    if not isinstance(values, Range):
        return trial.suggest_categorical(key, values)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return trial.suggest_int(key, values.low, values.high, log=values.log)
    return trial.suggest_float(key, float(values.low), float(values.high), log=values.log)
