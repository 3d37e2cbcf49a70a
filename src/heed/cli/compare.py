"""`heed compare`: does this part matter? Variants at the same budget, paired over seeds, with intervals."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from pydantic import Field

from heed import seals
from heed.cli.place import PlaceFlags, cluster_of, left, show_array
from heed.cli.settings import AsJson, parse
from heed.cli.streams import show, terminal_width
from heed.errors import ConfigError

if TYPE_CHECKING:
    from heed.studies.estimate import Estimate
    from heed.studies.plan import StudyPlan
    from heed.studies.runner import RunRow


class CompareFlags(PlaceFlags):
    """Run every variant of a study with every seed at the same budget, and say with intervals what differs.

    What is finished is skipped and what was cut off goes on, so the same command is for the first and every later
    time. A run that fails, breaks down or does not fit into memory is a result, and the others go on.

    examples:
      heed compare configs/studies/norm-order.yaml
      heed compare study.yaml --out studies/mine --jobs 1
      heed compare study.yaml --dry-run             what would run, and how long
      heed compare studies/mine                     go on with the study in this folder
      heed compare studies/mine --report            the page alone, from what is there
      heed compare study.yaml --on slurm --slurm.time 1:00:00 --slurm.array-limit 4
    """

    study: Annotated[Path, tyro.conf.Positional]
    """The YAML file of a study, or the folder of one that was begun."""
    out: Path | None = None
    """Folder of the study; default: studies/ and the name of the file."""
    jobs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Runs at a time, each in a process of its own with its share of the cores. auto: one for each core, as far as
    memory goes; of a search, of a budget in seconds and on a GPU one."""
    dry_run: bool = False
    """Print what would run: steps, parameters, tokens, operations, and an estimate of the time. With --on slurm: print
    the script of the jobs."""
    report: bool = False
    """Write the page of what is there, and run nothing."""
    json_: AsJson = False


def main(argv: list[str]) -> int:
    """Compare; 0 when done, 1 when a run failed, 130 when interrupted."""
    flags = parse(CompareFlags, argv, "compare")
    begun, slurm = flags.study.is_dir(), cluster_of(flags)
    if begun and flags.out is not None:
        raise ConfigError(f"--out: {flags.study} is the folder of a study already: leave out one of the two")
    folder = flags.study if begun else flags.out or Path("studies") / flags.study.stem
    if flags.report:
        return conclude(folder, flags.json_)
    if begun and not (folder / "experiment.yaml").is_file():
        raise ConfigError(f"{folder} holds no study (no experiment.yaml): give the YAML file of one")

    from heed.cli import tell
    from heed.studies.plan_reading import read_plan

    plan = read_plan(folder / "experiment.yaml" if begun else flags.study)
    if slurm is not None and flags.dry_run:
        return show_array(slurm, folder, len(plan.variants) * len(plan.seeds))
    if flags.dry_run:
        return dry_run(plan, flags)

    from heed.studies.compare import run_study

    with board() as show:
        command = shlex.join(["heed", "compare", *argv])
        whole = run_study(plan, folder, jobs=flags.jobs, command=command, say=tell, watch=show, slurm=slurm)
    if not whole and slurm is not None:
        tell(left(folder, shlex.join(["heed", "compare", *argv])))
        return 130
    if not whole:
        tell(f"interrupted, and what was done is kept; go on with: heed compare {shlex.quote(str(folder))}")
        return 130
    return conclude(folder, flags.json_)


def conclude(folder: Path, as_json: bool) -> int:
    """Write the page, print what was found, and return 1 when a run failed, else 0."""
    from heed.report.study_findings import mixed_schedules, sentences
    from heed.report.study_lengths import length_rows, length_sentences
    from heed.report.study_page import write_study
    from heed.report.study_record import read_study
    from heed.report.study_tables import terminal

    record = read_study(folder)
    page, found = write_study(folder, record), [*sentences(record), *length_sentences(record)]
    if old := mixed_schedules(record):
        print(f"note: {old}", file=sys.stderr)
    if as_json:
        content = seals.read_json(folder / "study.json")
        content |= {"by_length": length_rows(record), "sentences": found, "page": str(page)}
        print(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        show([*terminal(record, terminal_width()), "", *found, f"report: {page}"])
    return 1 if any(cell.state == "failed" for cell in record.cells) else 0


def dry_run(plan: StudyPlan, flags: CompareFlags) -> int:
    """Print what would run."""
    from heed.cli import tell
    from heed.studies.compare import shares_of
    from heed.studies.estimate import estimate
    from heed.studies.overhead import wall_seconds

    shares = shares_of(plan, flags.jobs)
    found = estimate(plan, tell, shares.threads)
    runs = [one.seconds + one.besides for one in found if one.seconds is not None]
    total = wall_seconds(runs, len(plan.seeds), shares.jobs) if len(runs) == len(found) else None
    training = sum(one.seconds or 0.0 for one in found) * len(plan.seeds) / shares.jobs
    if flags.json_:
        variants = [one.as_dict() for one in found]
        content = {"seeds": list(plan.seeds), "lengths": list(plan.lengths), "variants": variants}
        content |= {"training_seconds": None if total is None else training, "total_seconds": total}
        print(json.dumps(content, indent=2))
        return 0
    said = said_cost(plan, shares.jobs, total, training, sum(not one.timed for one in found))
    show([*cost_table(found), "", *said, *said_places(plan, found), *said_lengths(plan, found)])
    return 0


def cost_table(found: Sequence[Estimate]) -> list[str]:
    """Return the table of a dry run."""
    from heed.cli.list import columns
    from heed.report.numbers import format_percent, human_count, human_seconds

    rows = [["variant", "steps", "parameters", "tokens", "padding", "operations", "training", "besides"]]
    for one in found:
        rows.append([
            one.variant,
            "–" if one.facts.steps is None else f"{one.facts.steps:,}",
            human_count(one.facts.parameters),
            "–" if one.tokens is None else human_count(one.tokens),
            "–" if not one.places else format_percent(1 - (one.tokens or 0) / one.places),
            "–" if one.flops is None else f"{one.flops:.2e}",
            "a step fails" if one.seconds is None else human_seconds(one.seconds),
            human_seconds(one.besides),
        ])  # fmt: skip
    return columns(rows, shrink=(0,))


def said_cost(plan: StudyPlan, jobs: int, total: float | None, training: float = 0.0, untimed: int = 0) -> list[str]:
    """Say how much there is to run."""
    from heed.report.numbers import human_seconds

    cells = len(plan.variants) * len(plan.seeds)
    lines = [f"{len(plan.variants)} variants x {len(plan.seeds)} seeds = {cells} runs, each with the same budget"]
    if total is not None:
        lines.append(
            f"about {human_seconds(total)} with {jobs} at a time: {human_seconds(training)} of training; besides: each "
            "run's process, its evaluations, texts and page"
        )
    if untimed:
        lines.append(
            f"{untimed} of these times go by operations, at the speed of a variant with the same kind of model"
        )
    if plan.search is not None:
        lines.append("before that the trials of the search, each as long as a run")
    return lines


def said_places(plan: StudyPlan, found: Sequence[Estimate]) -> list[str]:
    """Say how many tokens of text a budget of tokens comes to, where rows are padded: it counts places."""
    from heed.report.numbers import human_count

    padded = [one for one in found if one.places and one.tokens is not None and one.tokens < 0.99 * one.places]
    if plan.budget.kind != "tokens" or not padded:
        return []
    few, many = (human_count(pick(one.tokens or 0 for one in padded)) for pick in (min, max))
    read = few if few == many else f"{few} to {many}"
    return [f"the budget counts places, padding included: {read} of its {human_count(plan.budget.amount)} are text"]


def said_lengths(plan: StudyPlan, found: Sequence[Estimate]) -> list[str]:
    """Say at which contexts each run is measured besides, and which variants end before."""
    if not plan.lengths:
        return []
    shown = ", ".join(f"{length:,}" for length in plan.lengths)
    said = f"then each is measured on the whole validation split at contexts of {shown} tokens as well"
    return [said, *(f"{one.variant} ends before {plan.lengths[-1]:,}: {one.ends}" for one in found if one.ends)]


class StateLines:
    """A line for each change of a run's state: for log files and pipes."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def __enter__(self) -> StateLines:
        return self

    def __exit__(self, *error: object) -> None: ...

    def __call__(self, rows: list[RunRow]) -> None:
        """Write what has changed."""
        for row in rows:
            if row.state not in ("waiting", self.known.get(row.name)):
                print(describe(row), file=sys.stderr, flush=True)
                self.known[row.name] = row.state


class StateTable:
    """The runs as a table that stays in place on a terminal."""

    SHOWN = 30
    """Lines at most; what runs and what comes next is always among them."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self.screen = Screen(console=Console(file=sys.stderr), auto_refresh=False)
        self.next = 0.0

    def __enter__(self) -> StateTable:
        self.screen.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.screen.stop()

    def __call__(self, rows: list[RunRow]) -> None:
        """Draw at most twice a second, and at the end."""
        from rich.text import Text

        under_way = any(row.state == "running" for row in rows)
        if under_way and time.monotonic() < self.next:
            return
        self.next = time.monotonic() + 0.5
        first = next((i for i, row in enumerate(rows) if row.state == "running"), 0)
        start = max(0, min(first - self.SHOWN // 2, len(rows) - self.SHOWN))
        lines = [describe(row) for row in rows[start : start + self.SHOWN]]
        hidden = len(rows) - len(lines)
        self.screen.update(Text("\n".join([*lines, *([f"and {hidden} more"] if hidden else [])])), refresh=True)


def describe(row: RunRow) -> str:
    """Return a line for people about a run.

    >>> from heed.studies.runner import RunRow
    >>> describe(RunRow("post-norm, seed 2", "broke down", "loss is NaN at step 7"))
    'post-norm, seed 2: broke down: loss is NaN at step 7'
    """
    from heed.report.numbers import format_loss, human_seconds

    parts = [f"{row.name}: {row.state}" + (f": {row.message}" if row.message else "")]
    if row.progress is not None and row.progress.step:
        parts.append(f"step {row.progress.step:,}" + (f"/{row.steps:,}" if row.steps else ""))
        parts += [] if row.progress.loss is None else [f"loss {format_loss(row.progress.loss)}"]
        parts += [] if row.left is None else [f"{human_seconds(row.left)} left"]
    return "  ".join(parts)


def board() -> Any:
    """Return a live table when standard error is a terminal, else lines."""
    return StateTable() if sys.stderr.isatty() else StateLines()
