"""The steps of an arm of a tune, as a generator: it yields runs that may go on side by side, and takes their outcomes.

    measure ──> search of the rate, on validation, a part of the budget ──> a run for each seed ──> soup
                                                                        └─> at last: runs on parts of the texts

What a run has come to is put into tune.json at once, in the order in which the runs were asked for.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from heed.config.tuning import TuneConfig
from heed.errors import CheckpointError, HeedError
from heed.records.study import Outcome
from heed.records.tune import RESULT, RateTrial, RunResult, SeedRun, SizePoint, TunedArm
from heed.report.gradings import grading_of
from heed.studies.rates import Candidate, at_an_end, candidates, search_rates
from heed.studies.soup import add_soup
from heed.studies.tune_plan import arm_config
from heed.studies.tune_record import LOGS, Pair, begin_arm, keep_runs, pair_of, put_run, put_size
from heed.studies.tune_state import Tuning
from heed.studies.tuned_cells import ArmOutcome, TunedTask, kept_result
from heed.tuning.methods import frozen_features, parts
from heed.tuning.tuned_run import changed, steps_per_epoch

SHARE = 0.25
"""The part of a run that a rate is tried for."""
LEAST_STEPS = 100
"""Steps on a part of the texts, at least, where the whole has so many: few texts need more passes."""

Ask = tuple[TunedTask, str, Callable[[Outcome], None]]
"""A run, what is said when it begins, and who takes its outcome, which raises `ArmError` where the arm cannot go on."""
Steps = Generator[Sequence[Ask], None, None]


class ArmError(HeedError):
    """A run of an arm has no figures; `state` says why."""

    def __init__(self, state: str, message: str) -> None:
        self.state = state
        super().__init__(message)


class ArmSteps:
    """The steps of an arm, its runs handed out one by one."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.over = False
        self.asked: deque[Ask] = deque()
        """Runs that were not begun."""
        self.begun: deque[Ask] = deque()
        """Runs whose outcomes were not put down, in their order."""
        self.found: dict[str, Outcome] = {}
        """Outcomes that were not put down, by run."""
        self.failure: HeedError | None = None

    def next(self) -> tuple[TunedTask, str] | None:
        """Return the next run and what is said of it; None while it has to wait for others, or is over."""
        while not (self.asked or self.begun or self.over):
            failure, self.failure = self.failure, None
            try:
                self.asked.extend(next(self.steps) if failure is None else self.steps.throw(failure))
            except StopIteration:
                self.over = True
        if not self.asked:
            return None
        self.begun.append(self.asked.popleft())
        return self.begun[-1][:2]

    def done(self, task: TunedTask, outcome: Outcome) -> None:
        """Take an outcome; once one is bad nothing more of the same step is begun or put down."""
        self.found[task.name] = outcome
        while self.begun and (first := self.found.get(self.begun[0][0].name)) is not None:
            put_down = self.begun.popleft()[2]
            if self.failure is not None:
                continue
            try:
                put_down(first)
            except ArmError as error:
                self.failure = error
                self.asked.clear()


def steps_of_arm(now: Tuning, pair: Pair) -> Steps:
    """Tune an arm, or put down why it cannot be, and mix its soup."""
    arm, earlier = begin_arm(now.record, pair)
    try:
        yield from _tune_arm(now, arm, earlier)
        arm.status = "done"
    except CheckpointError:  # a full disk is no fault of this arm
        raise
    except HeedError as error:
        arm.status = "does not fit" if isinstance(error, ArmError) and error.state == "does not fit" else "failed"
        arm.reason = str(error)
        now.say(f"{arm.name}: {arm.status}: {arm.reason}")
    now.write()
    add_soup(now, pair)


def _tune_arm(now: Tuning, arm: TunedArm, earlier: TunedArm) -> Steps:
    """Measure memory, search the rate and train every seed of one arm."""
    plan = now.plan
    config = arm_config(plan, pair_of(arm))
    per_epoch = steps_per_epoch(now.materials[arm.encoder], config)
    passes = max(part.passes for part in parts(arm.method)) if frozen_features(arm.method) else 1

    def measured(outcome: Outcome) -> None:
        _refuse(outcome)
        assert isinstance(outcome, ArmOutcome)
        learn, whole = outcome.trained_parameters, outcome.encoder_parameters
        arm.trained_parameters, arm.pooling = learn, outcome.pooling
        arm.formula, arm.options = formula(arm.method), options(config)
        now.say(f"{arm.name}: {learn:,} parameters learn, the encoder has {whole:,}")
        if plan.memory:
            arm.memory = outcome.step

    yield [(_task(now, config, f"{arm.stem}-measure", kind="measure", memory=plan.memory), "", measured)]
    chosen = yield from _search(now, arm, config, passes, per_epoch)
    arm.learning_rate, arm.epochs = chosen.rate, chosen.epochs * passes
    keep_runs(now.record, arm, earlier, plan.seeds)
    steps = arm.steps = chosen.epochs * passes * per_epoch
    now.record.steps = now.record.steps or chosen.epochs * per_epoch
    splits = tuple(split for split in ("validation", "test") if split in now.splits.rows)
    every = per_epoch * passes
    asked: list[Ask] = []
    for seed in plan.seeds:
        own = _with_rate(now, changed(config, run={"seed": seed}), chosen.rate, steps, every, every)
        task = _task(now, own, f"{arm.stem}-{seed}", measured=splits)
        said = f"{arm.name}: seed {seed}, learning rate {chosen.rate:g}, {steps:,} steps"
        asked.append((task, said, lambda outcome, seed=seed, task=task: _put_seed(now, arm, seed, task, outcome)))
    yield asked


def _put_seed(now: Tuning, arm: TunedArm, seed: int, task: TunedTask, outcome: Outcome) -> None:
    _refuse(outcome)
    put_run(arm, SeedRun.model_validate({"seed": seed, **_result(task).plain()}))
    now.write()


def _search(
    now: Tuning, arm: TunedArm, config: TuneConfig, passes: int, per_epoch: int
) -> Generator[Sequence[Ask], None, Candidate]:
    """Try rates for a part of the budget, and return the best."""
    plan = now.plan
    share = SHARE if len(plan.epochs) == 1 else 1.0
    grid = candidates(arm.method, plan.rates, plan.epochs, arm.optimizer)
    search = search_rates(plan.search, grid, plan.trials)

    def ask(candidate: Candidate, number: int) -> Ask:
        steps = max(1, math.ceil(share * candidate.epochs * passes * per_epoch))
        own = _with_rate(now, config, candidate.rate, steps, steps, 10**9)
        task = _task(now, own, f"{arm.stem}-search-{number}", last=True)
        said = f"{arm.name}: trying the learning rate {candidate.rate:g} for {steps:,} steps"
        return task, said, lambda outcome: _put_trial(now, arm, candidate, task, outcome)

    try:
        together = next(search)
        while True:
            begun = len(arm.search)
            yield [ask(candidate, begun + number) for number, candidate in enumerate(together, 1)]
            together = search.send([trial.criterion for trial in arm.search[begun:]])
    except StopIteration as ended:
        chosen: Candidate = ended.value
    if (end := at_an_end(chosen, grid)) is not None:
        now.say(f"note: {arm.name}: the {end} rate that was tried is the best: --rates with others may find a better")
    for trial in arm.search:
        trial.chosen = (trial.learning_rate, trial.epochs) == (chosen.rate, chosen.epochs)
    return chosen


def _put_trial(now: Tuning, arm: TunedArm, candidate: Candidate, task: TunedTask, outcome: Outcome) -> None:
    found: dict[str, Any] = {"learning_rate": candidate.rate, "epochs": candidate.epochs, "steps": task.steps}
    found |= {"seconds": 0.0, "accuracy": None, "loss": None, "refined_loss": None, "chosen": False}
    if outcome.state == "broke down":
        now.say(f"{arm.name}: {outcome.message}")
    else:
        _refuse(outcome)
        result = _result(task)
        assert result.validation is not None
        figures = result.validation.plain()
        found |= {"seconds": result.seconds, "loss": figures["loss"]}
        if "accuracy" in figures:
            found |= {key: figures[key] for key in ("accuracy", "refined_loss")}
        else:
            found["figure"] = figures[grading_of(now.splits.target).figure]
    arm.search.append(RateTrial.model_validate(found))
    now.write()


def steps_of_curves(now: Tuning) -> Steps:
    """Train every finished arm on parts of the texts, with the first seed and the rate that was chosen."""
    done = [arm for arm in now.record.arms if arm.status == "done" and pair_of(arm) in now.plan.pairs]
    yield [_point(now, arm, size) for arm in done for size in now.plan.sizes]


def _point(now: Tuning, arm: TunedArm, size: int) -> Ask:
    """Ask for the training of an arm on so many texts."""
    assert arm.epochs is not None
    assert arm.learning_rate is not None
    config = arm_config(now.plan, pair_of(arm))
    whole = now.materials[arm.encoder]
    full = steps_per_epoch(whole, config) * arm.epochs
    splits = tuple(split for split in ("validation", "test") if split in whole.encoded)
    steps = max(steps_per_epoch(whole.first(size), config) * arm.epochs, min(full, LEAST_STEPS))
    own = _with_rate(now, config, arm.learning_rate, steps, steps, steps)
    task = _task(now, own, f"{arm.stem}-of-{size}", measured=splits, size=size)
    said = f"{arm.name}: {size:,} training texts, {steps:,} steps"
    return task, said, lambda outcome: _put_size(now, arm, task, outcome)


def _put_size(now: Tuning, arm: TunedArm, task: TunedTask, outcome: Outcome) -> None:
    """Put down a point of a learning curve; one that cannot be learned leaves the others as they are."""
    assert task.size is not None
    try:
        _refuse(outcome)
    except ArmError as error:
        now.say(f"{arm.name}: {task.size:,} training texts could not be learned: {error}")
        return
    result = _result(task)
    figures = {split: getattr(result, split) for split in ("validation", "test")}
    put_size(now.record, SizePoint(arm=arm.name, examples=task.size, seed=now.plan.seeds[0], **figures))
    now.write()


def _refuse(outcome: Outcome) -> None:
    """Raise `ArmError` for a run without figures, `CheckpointError` where the disk is full: no fault of the arm."""
    if outcome.state == "finished":
        return
    if "not be written" in outcome.message:
        raise CheckpointError(outcome.message)
    raise ArmError(outcome.state, outcome.message)


def _result(task: TunedTask) -> RunResult:
    """Return what a run that has finished has kept."""
    found = kept_result(task.folder / RESULT)
    if found is None:
        raise CheckpointError(f"{task.folder / RESULT} is gone: give the same command again")
    return found


def _task(now: Tuning, config: TuneConfig, name: str, **more: Any) -> TunedTask:
    """Return a run of a configuration in the folder of the tune."""
    run: dict[str, Any] = {"name": name, "folder": str(now.folder / "runs")}
    if now.threads is not None and config.run.fixed_threads is None:
        run["threads"] = now.threads
    values = changed(config, run=run).model_dump(mode="json")
    return TunedTask(name, values, now.folder / LOGS / f"{name}.json", config.train.steps, **more)


def _with_rate(now: Tuning, config: TuneConfig, rate: float, steps: int, every: int, kept: int) -> TuneConfig:
    """Return a configuration with a learning rate and so many steps, measured and kept every so many."""
    warmup = config.train.warmup_steps if "warmup_steps" in now.plan.config.train.model_fields_set else steps // 20
    settings = {"steps": steps, "learning_rate": rate, "warmup_steps": warmup}
    settings |= {"eval_every": every, "checkpoint_every": kept}
    if config.train.optimizer == "muon":
        settings["muon_learning_rate"] = rate * config.train.muon_learning_rate / config.train.learning_rate
    return changed(config, train=settings)


def formula(name: str) -> str:
    """Return how the trained parameters of a method are counted.

    >>> formula("bitfit+head")
    'the lengths of all biases + head'
    """
    found = [part.formula for part in parts(name) if part.formula != "nothing"]
    return " + ".join([*found, "head"])


def options(config: TuneConfig) -> dict[str, Any]:
    """Return the settings that the methods of a run read."""
    read = {setting for part in parts(config.method.name) for setting in part.reads}
    return {name: value for name, value in config.method.model_dump().items() if name in read}
