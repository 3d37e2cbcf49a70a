"""Runs a study: prepares the texts, searches, runs every cell that is left, and writes study.json after each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from heed import files
from heed.build import Say
from heed.config import NO_FIGURE, Config, flatten
from heed.config.slurm import SlurmConfig
from heed.errors import CheckpointError, ConfigError, require, why
from heed.records.kept import DamagedError, read_record, write_record
from heed.records.study import STUDY, TRAINED, Outcome, StudyFile
from heed.studies.lengths import measure_lengths, missing_lengths
from heed.studies.on_slurm import WIDTH, OnSlurm, refuse_queued
from heed.studies.plan import BASE, EXPERIMENT, StudyPlan
from heed.studies.prepare import (
    all_facts,
    check_models,
    facts_of,
    prepare_texts,
)
from heed.studies.runner import Done, Launch, Process, RunRow, Standing, Task, settled, work
from heed.studies.search import run_search
from heed.studies.side_by_side import Jobs, Shares, share
from heed.studies.study import Study, fixed_threads, resolved_base
from heed.training.devices import cores
from heed.training.interrupts import Interrupts


def run_study(
    plan: StudyPlan,
    folder: Path,
    *,
    jobs: Jobs = 1,
    command: str = "",
    say: Say = lambda line: None,
    watch: Callable[[list[RunRow]], None] = lambda rows: None,
    run_cell: Callable[[Task], Outcome] | None = None,
    slurm: SlurmConfig | None = None,
) -> bool:
    """Run every cell that is not settled yet, `jobs` at a time; False when it was interrupted.

    Each cell is a process of its own with an equal share of the cores, or the threads that `run.threads` or
    OMP_NUM_THREADS asks for; auto is what makes the most tokens (`side_by_side.py`). With `run_cell` that function
    makes the run instead, in this process. Ctrl-C and SIGTERM end what runs with a checkpoint. With `slurm` each is a
    task of a job array of a cluster, and goes on when this function ends.
    Raises `ConfigError` for variants that cannot be built and for a folder that holds another study, `CheckpointError`
    when another process is at it, `ClusterError` where the cluster refuses, and what reading the text raises.
    """
    shares = shares_of(plan, jobs)
    threads = shares.threads if slurm is None else slurm.cpus
    launch: Launch = (lambda task: Process(task, _threads_of(task))) if run_cell is None else _at_once(run_cell)
    if plan.search is not None:
        require("optuna", "lab")  # before the work begins
    check_models(plan)
    alone = files.working_in(folder, f"at the study in {folder}", "choose another --out")
    with alone, Interrupts() as interrupts:
        files.sweep(folder)
        refuse_another(plan, folder)
        texts = prepare_texts(plan, folder, say)
        study = Study(plan, folder, texts, all_facts(plan, texts), threads, command, {})
        if slurm is None:
            refuse_queued(folder)
            each = study.threads_of_runs
            of = f"{each} thread{'s' if each != 1 else ''} of the CPU each; {cores()} cores may be used"
            say(f"{shares.jobs} at a time, {of}")
            at_a_time, width = shares.jobs, shares.jobs
        else:
            launch, at_a_time, width = OnSlurm(slurm, folder, say), slurm.array_limit, WIDTH
        _keep(plan, folder)
        if plan.search is not None:
            study.search = run_search(study, plan.search, at_a_time, launch, lambda: interrupts.asked, watch)
            study.facts = {name: facts_of(plan, name, texts[name], study.best(name)) for name in plan.variants}
        if not interrupts.asked:
            room = shares.have_room if slurm is None else lambda running: True
            _run_cells(study, width, launch, lambda: interrupts.asked, watch, room)
        study.write()
        # a run may have been ended by someone else, and is no more done than one that the study ended
        return not interrupts.asked and all(found.state != "interrupted" for found in study.records.values())


def shares_of(plan: StudyPlan, jobs: Jobs) -> Shares:
    """Return how the machine is shared by the runs of a study."""
    alone = plan.budget.seconds is not None or plan.search is not None
    device = plan.base.get("run", {}).get("device", "auto")
    return share(jobs, len(plan.variants) * len(plan.seeds), fixed_threads(plan.base), device, alone=alone)


def _run_cells(
    study: Study,
    jobs: int,
    launch: Launch,
    asked: Callable[[], bool],
    watch: Callable[[list[RunRow]], None],
    room: Callable[[list[Standing]], bool],
) -> None:
    """Run the cells that are not settled."""
    tasks = {cell: study.task(*cell) for cell in study.cells}
    named = {task.name: cell for cell, task in tasks.items()}
    for cell, task in tasks.items():
        if (found := settled(task)) is not None:
            study.records[cell] = found
        elif study.search is not None and not study.best(cell[0]):
            study.records[cell] = Outcome.of("failed", "no trial of the search came to a figure")
    study.write()
    left = [task for cell, task in tasks.items() if cell not in study.records]
    left += [
        replace(task, trained=True)
        for cell, task in tasks.items()
        if study.state(*cell) in TRAINED and missing_lengths(task.folder, task.lengths)
    ]

    def done(task: Task, found: Outcome) -> None:
        study.records[named[task.name]] = found
        study.write()

    def show(running: Mapping[str, tuple[Task, Standing]]) -> None:
        watch([_row(task, study.records.get(cell), running.get(task.name)) for cell, task in tasks.items()])

    work(iter(left), jobs, launch, done=done, watch=show, asked=asked, room=room)
    show({})


def refuse_another(plan: StudyPlan, folder: Path) -> None:
    """Raise `ConfigError` that says what differs when the folder holds a study with other settings.

    Variants, seeds and lengths may be added; the title, the figure and the baseline may change.
    """
    try:
        kept = read_record(StudyFile, folder / STUDY)
    except FileNotFoundError:
        return
    except DamagedError as error:
        raise CheckpointError(f"{folder / STUDY} is no study of this version of heed: choose another --out") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / STUDY} cannot be read: {error}; choose another --out") from error
    try:
        found = _other_settings(plan, kept)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / STUDY} is no study of this version of heed: choose another --out") from error
    if found:
        more = f", and {len(found) - 3} more" if len(found) > 3 else ""
        raise ConfigError(
            f"{folder} holds another study: {'; '.join(found[:3])}{more}. Variants, seeds and lengths may be added; "
            "for anything else choose another --out"
        )


def _other_settings(plan: StudyPlan, kept: StudyFile) -> list[str]:
    """Say what is different in a study.json."""
    steps = kept.base["train"]["steps"]
    usual = dict(flatten(Config().model_dump(mode="json")))  # of settings that came later
    base, mine = (usual | dict(flatten(values)) for values in (kept.base, resolved_base(plan, steps)))
    for values in (base, mine):
        values["run.threads"] = values.get("run.threads") or "auto"  # which was null before it was measured
    found = [f"base {key} is {base.get(key)} there and {mine.get(key)} here" for key in _unequal(base, mine)]
    budget = {"kind": plan.budget.kind, "amount": plan.budget.amount}
    if kept.budget != budget:
        there, here = (f"{b['amount']:,} {b['kind']}" for b in (kept.budget, budget))
        found.append(f"the budget is {there} there and {here} here")
    for name, facts in kept.variants.items():
        if name not in plan.variants:
            found.append(f"variant {name} is missing here")
        elif keys := _unequal(facts.changes, dict(flatten(plan.variants[name]))):
            found.append(f"variant {name} differs in {keys[0]}")
    if gone := [seed for seed in kept.seeds if seed not in plan.seeds]:
        found.append(f"seed {gone[0]} is missing here")
    asked = None if kept.search is None else kept.search["asked"]
    if asked != (None if plan.search is None else plan.search.model_dump(mode="json")):
        found.append("the search differs")
    return found


def _unequal(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return [key for key in {**a, **b} if a.get(key) != b.get(key) and key not in NO_FIGURE]


def _row(task: Task, found: Outcome | None, running: tuple[Task, Standing] | None) -> RunRow:
    if running is not None:
        progress = running[1]
        return RunRow(task.name, "running", "", progress, task.steps, progress.left(task))
    if found is not None:
        return RunRow(task.name, found.state, found.message, steps=task.steps)
    return RunRow(task.name, "waiting", steps=task.steps)


def _at_once(run_cell: Callable[[Task], Outcome]) -> Launch:
    """Return a launch that makes the run in this process."""

    def launch(task: Task) -> Done:
        found = settled(task) if task.trained else None
        if found is None:
            found = run_cell(task)
            if found.state != "interrupted":
                write_record(task.record, found)
        if found.state in TRAINED and task.lengths:
            measure_lengths(task.folder, task.lengths)
        return Done(found)

    return launch


def _threads_of(task: Task) -> int | None:
    return task.values["run"].get("threads")


def _keep(plan: StudyPlan, folder: Path) -> None:
    """Keep the plan as it was given."""
    try:
        if plan.base_text is not None:
            files.write_text(folder / BASE, plan.base_text)
        files.write_text(folder / EXPERIMENT, plan.text)
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be written: {why(error)}; make room, or choose another --out"
        ) from error
