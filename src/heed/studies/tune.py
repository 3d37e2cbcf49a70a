"""Which fine-tuning for these texts? Every method at its own rate, over seeds, on the same texts and the same budget.

    arm = encoder x method ──search of the rate, on validation, a part of the budget──> seeds ──best weights──> test

What is known is written to `tune.json` after every run, and a finished run is never made again: the same command goes
on where it was stopped. An arm that fails or does not fit is a result, and the others go on. The test split is read
once a run, by the best weights of the chosen rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from heed.config.slurm import SlurmConfig
from heed.errors import HeedError
from heed.files import working_in
from heed.records.study import Outcome
from heed.records.tune import TunedTexts, TuneFile
from heed.studies.largest_batch import settle_batch
from heed.studies.on_slurm import WIDTH, OnSlurm, refuse_queued
from heed.studies.runner import Done, Launch, Process, Standing, Task, work
from heed.studies.side_by_side import Jobs, share
from heed.studies.soup import soups
from heed.studies.tune_plan import Say, TunePlan, arm_config, check_methods, open_labelled_splits
from heed.studies.tune_record import (
    Pair,
    clear,
    is_half_cleared,
    join,
    name_arms,
    new_arm,
    pair_of,
    read_tune,
    settings_of,
)
from heed.studies.tune_state import Tuning
from heed.studies.tuned_arms import SHARE, ArmSteps, steps_of_arm, steps_of_curves
from heed.studies.tuned_cells import TunedTask, make
from heed.text.splits import Splits
from heed.text.splits_report import describe, describe_lines
from heed.training.devices import (
    choose_device,
    describe_device,
    machine_facts,
    take_threads,
    threads_kept,
)
from heed.training.interrupts import Interrupts
from heed.training.progress import Progress
from heed.tuning.encoders import load_encoder
from heed.tuning.methods import parts
from heed.tuning.reading import describe_reading, reading_lines
from heed.tuning.tuned_run import Material, build


@threads_kept()
def tune(
    plan: TunePlan,
    folder: Path,
    say: Say,
    progress: Callable[[int], Progress] | None = None,
    *,
    jobs: Jobs | None = None,
    overwrite: bool = False,
    slurm: SlurmConfig | None = None,
) -> bool:
    """Tune every arm and keep everything in `folder`; False when it was interrupted.

    With `jobs` so many runs at a time, each in a process of its own with an equal share of the cores, or the threads
    that `run.threads` or OMP_NUM_THREADS asks for (auto: see `side_by_side.py`); without, one after another in this
    process. With `slurm` each is a task of a job array of a cluster, and goes on when this function ends.
    With `overwrite` what an earlier tune left there is deleted, once nothing is left to complain of. Raises
    `DataError`, `ConfigError` and `CheckpointError` for what no arm could use; what goes wrong in one arm is written
    down.
    """
    take_threads(plan.config.run.threads)
    check_methods(plan)
    with working_in(folder, f"tuning in {folder}", "choose another --out"):
        if slurm is None or overwrite:
            refuse_queued(folder)
        now = _begin(plan, folder, say, progress, overwrite or is_half_cleared(folder))
        if slurm is not None:
            now.threads = plan.config.run.fixed_threads or slurm.cpus
            with Interrupts() as interrupts:
                return Arms(now).run(WIDTH, interrupts, OnSlurm(slurm, folder, say))
        if jobs is not None:
            run = plan.config.run
            shares = share(jobs, len(plan.pairs) * len(plan.seeds), run.fixed_threads, run.device)
            now.threads = shares.threads
            say(f"{shares.jobs} at a time, {now.threads} thread{'s' if now.threads != 1 else ''} of the CPU each")
            with Interrupts() as interrupts:
                return Arms(now).run(shares.jobs, interrupts, room=shares.have_room)
        return Arms(now).run(None, None)


class Arms:
    """Hands out the runs of all arms, then those of their learning curves, and takes what they have come to."""

    def __init__(self, now: Tuning) -> None:
        self.now = now
        self.lines = [ArmSteps(steps_of_arm(now, pair)) for pair in now.plan.pairs]
        self.of: dict[str, ArmSteps] = {}
        """The line of each run that is under way, by its name."""

    def run(
        self,
        jobs: int | None,
        interrupts: Interrupts | None,
        launch: Launch | None = None,
        room: Callable[[list[Standing]], bool] = lambda running: True,
    ) -> bool:
        """Make all runs, by `launch` where it is given; False when that was interrupted."""
        now = self.now
        asked = lambda: now.stopped or (interrupts is not None and interrupts.asked)
        launch = launch or (self._here if jobs is None else lambda task: Process(task, now.threads))
        work(self.tasks(), jobs or 1, launch, done=self.done, asked=asked, room=room)
        if asked():
            now.write()
        return not asked()

    def tasks(self) -> Iterator[Task | None]:
        """Yield the runs; None where the next has to wait for others."""
        yield from self._those_of(self.lines)
        arms = [arm for arm in self.now.record.arms if pair_of(arm) in self.now.plan.pairs]
        if not any(arm.status == "done" for arm in arms):
            reasons = [arm.reason for arm in self.now.record.arms if arm.reason]
            raise HeedError(f"no method could be tuned; {reasons[0]}")
        yield from self._those_of([ArmSteps(steps_of_curves(self.now))])

    def _those_of(self, lines: list[ArmSteps]) -> Iterator[Task | None]:
        while True:
            line, found = next(((line, task) for line in lines if (task := line.next()) is not None), (None, None))
            if line is None or found is None:
                if all(line.over for line in lines):
                    return
                yield None
                continue
            task, said = found
            self.of[task.name] = line
            if said:
                self.now.say(said)
            yield task

    def done(self, task: Task, outcome: Outcome) -> None:
        """Take what a run has come to."""
        assert isinstance(task, TunedTask)
        line = self.of.pop(task.name)
        if outcome.state == "interrupted":
            self.now.stopped = True
        else:
            line.done(task, outcome)

    def _here(self, task: Task) -> Done:
        """Make a run in this process."""
        assert isinstance(task, TunedTask)
        return Done(make(task, self.now.materials[task.config.encoder.name], self.now.progress))


def _begin(
    plan: TunePlan, folder: Path, say: Say, progress: Callable[[int], Progress] | None, overwrite: bool
) -> Tuning:
    """Return a tune whose texts have been read, in a folder that no other process is at; its record is written."""
    splits = open_labelled_splits(plan.config)
    earlier = None if overwrite else read_tune(folder)
    plan, largest = settle_batch(plan, splits, earlier, say)
    now = Tuning(plan, folder, splits, join(earlier, _new_record(plan, splits), folder), say, progress)
    if largest:
        now.record.largest_batches = largest
    for encoder in plan.encoders:  # what cannot be had, or cannot read these texts, is told before hours of training
        now.materials[encoder] = _read(now, Pair(encoder, plan.methods[0]))
        for size in plan.sizes:
            now.materials[encoder].first(size)
    for pair in plan.pairs if plan.config.method.targets else ():  # one that matches nothing is a mistake
        if any("targets" in part.reads for part in parts(pair.method)):
            build(arm_config(plan, pair), splits.target)
    if overwrite:
        clear(folder)
    for line in describe_lines(now.record.data.plain()):
        say(line)
    for encoder in plan.encoders:
        facts = now.record.encoders[encoder]
        for line in reading_lines(encoder, facts["read"], facts["max_length"]):
            say(line)
    say(f"device: {plan.elsewhere or describe_device(choose_device(plan.config.run.device))}")
    now.write()
    return now


def _new_record(plan: TunePlan, splits: Splits) -> TuneFile:
    """Return the record of a tune of which nothing is done."""
    device = plan.device
    return TuneFile(
        format=TuneFile.FORMAT,
        command=list(plan.command),
        machine=machine_facts() | {"device": device},
        data=TunedTexts.model_validate(describe(splits) | {"cut": {}}),
        encoders={},
        seeds=list(plan.seeds),
        epochs=plan.epochs[0] if len(plan.epochs) == 1 else list(plan.epochs),
        batch_size=plan.config.train.batch_size,
        steps=None,
        search={"kind": plan.search, "share": SHARE, "seed": plan.seeds[0]},
        settings=settings_of(plan.config, plan.epochs, device),
        arms=[new_arm(pair, name) for pair, name in name_arms([*plan.pairs, *soups(plan)]).items()],
        sizes=[],
    )


def _read(now: Tuning, pair: Pair) -> Material:
    """Return the texts as an encoder reads them, once for all its methods, and note what it is."""
    config, splits = arm_config(now.plan, pair), now.splits
    encoder = load_encoder(config.encoder, splits.target, native=False)
    material = Material.of(splits, encoder, config.encoder.max_length)
    shape = encoder.shape
    facts: dict[str, Any] = {
        "parameters": shape.parameters, "layers": shape.layers, "d_model": shape.d_model, "heads": shape.heads,
        "source": encoder.source, "max_length": config.encoder.max_length,
    }  # fmt: skip
    given = {split: figures["duplicates"] for split, figures in now.record.data.splits.items()}
    read = {split: describe_reading(texts, encoder, given[split]) for split, texts in material.encoded.items()}
    now.record.encoders[config.encoder.name] = facts | {"read": read}
    now.record.data.cut = {split: one["cut"] for split, one in read.items()}
    return material
