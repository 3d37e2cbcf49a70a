"""`heed runs`: what runs there are, how they are, and what they came to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from heed.board.finding import Skipped, find_folders, usual_folders
from heed.board.selecting import Condition, RunGroup, arrange, choose
from heed.board.summary import RunSummary, summarise
from heed.board.table import legend, plain_groups, text_rows, to_csv
from heed.cli import tell
from heed.cli.list import columns
from heed.cli.settings import AsJson, parse
from heed.config import Section
from heed.errors import ConfigError


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


def main(argv: list[str]) -> int:
    """List runs; 0 when done."""
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
