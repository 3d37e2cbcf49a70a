"""`heed report`: the page of a run, or of several runs that were asked the same questions."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import tyro

from heed.cli.export import is_tuned
from heed.cli.settings import parse
from heed.config import Section
from heed.errors import ConfigError


class ReportFlags(Section):
    """Write the page of a run, finished or not: one self-contained file that works offline and on paper.

    A folder that holds several runs with answers (heed eval --task qa) gets one page that compares them.

    examples:
      heed report runs/quickstart
      heed report runs                  knowledge.html: accuracy, calibration and answers of all runs in it
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder, or the folder of runs that were asked."""


def main(argv: list[str]) -> int:
    """Write report.html into a run folder, or knowledge.html above several, and print its path; 0 when done."""
    flags = parse(ReportFlags, argv, "report")
    from heed.records.exploration import EXPLORATION
    from heed.records.hidden_size import HIDDEN_SIZE
    from heed.records.recovery import RECOVERY

    if (flags.run / EXPLORATION).is_file():
        from heed.explore.model_page import write_exploration_page

        print(write_exploration_page(flags.run))
        return 0
    from heed.records.folder import is_run
    from heed.report.hidden_size_page import write_hidden_size
    from heed.report.knowledge_page import write_knowledge
    from heed.report.knowledge_record import holds_runs
    from heed.report.recovery_page import write_recovery
    from heed.training.settings import read_settings

    if (flags.run / "prompt.json").is_file():
        from heed.prompting.page import write_prompt_page

        print(write_prompt_page(flags.run))
        return 0
    if (flags.run / "study.json").is_file():
        raise ConfigError(f"{flags.run} is the folder of a study: heed compare {quote(str(flags.run))} --report")
    if (flags.run / RECOVERY).is_file():
        print(write_recovery(flags.run))
        return 0
    if (flags.run / HIDDEN_SIZE).is_file():
        print(write_hidden_size(flags.run))
        return 0
    if is_tuned(flags.run):
        tune = flags.run if (flags.run / "tune.json").is_file() else flags.run.absolute().parents[1]
        raise ConfigError(
            f"{flags.run} is of heed tune, whose page is of all runs: heed tune {quote(str(tune))} --report"
        )
    if holds_runs(flags.run):
        print(write_knowledge(flags.run))
        return 0
    if is_run(flags.run):  # what is there of others is shown, with what is missing
        read_settings(flags.run, "heed train")
    from heed.explore.head_strip import write_run_report

    print(write_run_report(flags.run))
    return 0
