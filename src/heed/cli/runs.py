"""`heed runs`: what runs there are, how they are, and what they came to."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from heed.board.finding import USUAL, Skipped, find_folders, usual_folders
from heed.board.selecting import Condition, RunGroup, arrange, choose
from heed.board.summary import RunSummary, summarise
from heed.board.table import legend, plain_groups, text_rows, to_csv
from heed.cli import tell
from heed.cli.list import columns
from heed.cli.settings import AsJson, parse
from heed.config import Section
from heed.errors import ConfigError, one_line
from heed.report.numbers import human_bytes

if TYPE_CHECKING:
    from heed.board.tidying import Tidied


class RunsFlags(Section):
    """List runs: corpus, model, steps, figures, time, and whether they run, ended or were cut off.

    A letter stands beside figures, and below the table what it means: figures with the same letter may be compared.
    Sorted by a figure, runs that were measured otherwise are a group of their own.

    examples:
      heed runs                                        those in runs/, studies/ and tunes/
      heed runs studies/norms --sort bits_per_byte     the best first
      heed runs --where model.positions=rotary --where 'train.steps>=1000'
      heed runs --where state=interrupted
      heed runs --split test --csv > runs.csv
      heed runs rm, mv, gc                             delete, move, free: each has its --help
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders that hold runs, at any depth. Default: runs, studies and tunes here."""
    where: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Only runs of which this holds: a setting, a figure or a column, one of = != < <= > >= ~ (is part of), and a
    value. May be given several times."""
    sort: str | None = None
    """A figure (loss, word_perplexity, ...), a column (name, state, steps, seconds, ...) or a setting. Default: the
    newest first."""
    reverse: bool = False
    """The other way round."""
    split: Literal["validation", "test", "train"] = "validation"
    """Whose figures."""
    json_: AsJson = False
    csv: bool = False
    """Print lines of comma-separated values, with every setting."""


class RemoveFlags(Section):
    """Delete runs: only what belongs to them, never one that runs, and not without being told so.

    examples:
      heed runs rm runs/a runs/b           asks, and says what it would free
      heed runs rm runs/a --dry-run
      heed runs rm runs/a --yes
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Run folders."""
    yes: bool = False
    """Do not ask."""
    dry_run: bool = False
    """Only say what would go."""


class MoveFlags(Section):
    """Move a run to another name, or into a folder.

    examples:
      heed runs mv runs/book-gpt-1 runs/base
    """

    run: Annotated[str, tyro.conf.Positional]
    """The run folder."""
    to: Annotated[Path, tyro.conf.Positional]
    """Its new name, or a folder that it goes into."""


class CleanFlags(Section):
    """Free what nobody needs: checkpoints beyond the best and the last, token files of tokenizers that no run has, and
    what processes that died have left. Runs that go on are left alone.

    examples:
      heed runs gc --dry-run
      heed runs gc runs --yes
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders that hold runs, at any depth. Default: runs, studies and tunes here."""
    yes: bool = False
    """Do not ask."""
    dry_run: bool = False
    """Only say what would go."""


def main(argv: list[str]) -> int:
    """List, delete, move or tidy runs; 0 when done, 1 when it was not to be done."""
    if argv and argv[0] in ACTIONS:
        return ACTIONS[argv[0]](argv[1:])
    flags = parse(RunsFlags, argv, "runs")
    if flags.json_ and flags.csv:
        raise ConfigError("--json and --csv: leave out one of the two")
    conditions = [Condition.read(text) for text in flags.where]
    sort = None if flags.sort is None else flags.sort.replace("-", "_")
    skipped = Skipped()
    folders = usual_folders(flags.folders)
    found = [one for one in find_folders(folders, skipped) if one.kind == "run"]
    runs = [summarise(one.path, one.name, flags.split) for one in found]
    chosen, notes = choose(runs, conditions)
    groups = arrange(chosen, sort, reverse=flags.reverse)
    if flags.json_:
        print(json.dumps(plain_groups(groups), indent=2, ensure_ascii=False, default=str))
    elif flags.csv:
        print(to_csv(groups), end="")
    else:
        print("\n".join(table(groups, chosen, sort)))
        if not chosen:
            names = " and ".join(map(str, folders))
            print(f"no run in {names}" if not runs else f"none of the {len(runs):,} runs in {names} is so")
    for note in (*skipped.notes(), *notes):
        tell(f"note: {note}")
    return 0


def table(groups: Sequence[RunGroup], runs: Sequence[RunSummary], sort: str | None = None) -> list[str]:
    """Return the lines of the table, and what its letters mean; none where there are no runs."""
    if not runs:
        return []
    rows = text_rows(groups, sort)
    return [*columns(rows, shrink=(0, 1, 2, len(rows[0]) - 1)), "", *legend(groups)]


def remove(argv: list[str]) -> int:
    """Delete runs; 0 when done."""
    flags = parse(RemoveFlags, argv, "runs rm")
    if not flags.runs:
        raise ConfigError("heed runs rm needs names of runs: heed runs lists them")
    from heed.board.tidying import dependents, named_runs, plan_removal, remove_run

    runs = named_runs(flags.runs)
    plans = [plan_removal(run) for run in runs]
    there = [Path(name) for name in USUAL if Path(name).is_dir()]
    near = [one for one in find_folders([*{run.path.parent for run in runs}, *there]) if one.kind == "run"]
    for run in runs:
        for name in dependents(run.path, near):
            tell(f"note: {name} began with the weights of {run.name}, and could not be begun again")
    if not agreed(plans, yes=flags.yes, dry_run=flags.dry_run):
        return 0 if flags.dry_run else 1
    for run in runs:
        remove_run(run)
    return 0


def move(argv: list[str]) -> int:
    """Move a run; 0 when done."""
    flags = parse(MoveFlags, argv, "runs mv")
    from heed.board.tidying import dependents, move_run, named_runs

    [run] = named_runs([flags.run])
    there = [Path(name) for name in USUAL if Path(name).is_dir()]
    near = [one for one in find_folders([run.path.parent, *there]) if one.kind == "run"]
    if found := dependents(run.path, near):
        raise ConfigError(
            f"{flags.run} is where {', '.join(found[:3])} began, and model.start_from would not find it: leave it there"
        )
    print(move_run(run, flags.to))
    return 0


def clean(argv: list[str]) -> int:
    """Free what nobody needs; 0 when done."""
    flags = parse(CleanFlags, argv, "runs gc")
    from heed.board.tidying import clean as tidy
    from heed.board.tidying import plan_cleaning

    roots = usual_folders(flags.folders)
    runs = [one for one in find_folders(roots) if one.kind == "run"]
    plans = list(plan_cleaning(runs, roots))
    if not plans:
        print("there is nothing to free")
        return 0
    if not agreed(plans, yes=flags.yes, dry_run=flags.dry_run):
        return 0 if flags.dry_run else 1
    for plan in plans:
        tidy(plan, runs)
    return 0


def agreed(plans: Sequence[Tidied], *, yes: bool, dry_run: bool) -> bool:
    """Say what would go and what that frees, and whether it may: by --yes, or by an answer on the terminal."""
    for plan in plans:
        print(f"{one_line(plan.name)}: {human_bytes(plan.bytes)}, {one_line(plan.about)}")
    total = f"{human_bytes(sum(plan.bytes for plan in plans))} in all"
    if dry_run:
        print(f"{total}; nothing was deleted")
        return False
    print(total, flush=True)
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("nothing was deleted, since nobody can be asked here: give --yes, or --dry-run")
    return input("delete this? yes or no: ").strip().lower() in ("y", "yes")


ACTIONS = {"rm": remove, "mv": move, "gc": clean}
"""What can be done besides listing."""
