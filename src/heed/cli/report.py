"""`heed report`: the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from heed.cli.settings import parse
from heed.config import Section


class ReportFlags(Section):
    """Write the page of a run, finished or not: one self-contained file that works offline and on paper.

    examples:
      heed report runs/quickstart
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""


def main(argv: list[str]) -> int:
    """Write report.html into the run folder and print its path; 0 when done."""
    flags = parse(ReportFlags, argv, "report")
    from heed.report.page import write_report

    print(write_report(flags.run))
    return 0
