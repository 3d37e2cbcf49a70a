"""`heed verify`: whether a run is as it was written, and comes out again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import Field

from heed.cli import tell
from heed.cli.settings import AsJson, parse
from heed.config import Section


class VerifyFlags(Section):
    """Verify a run: every hash again (token files wholly), the final figures again, and some steps of its training
    again from a checkpoint. Nothing in its folder is changed.

    On the machine, with the threads and the versions of the record the same bits are asked for. Elsewhere losses may be
    off by 0.01 % (0.1 % after some steps), what is counted by 1 %; what is other then is told.

    Of a tune, a study, a prompt, a recovery or an exploration: every hash below the folder, and its figures from the
    records in it; what cannot be tried is said.

    Exit code 0 when nothing differs, 1 when something does, 2 when the folder is nothing that heed wrote.

    examples:
      heed verify runs/quickstart
      heed verify runs/quickstart --steps 50 --json
      heed verify tunes/sst2
      heed verify tunes/sst2/runs/lora-1
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder of a run, or another that heed wrote."""
    steps: int = Field(default=3, ge=1, le=1000)
    """Steps that are made again at least: it goes on to the next one that was logged."""
    json_: AsJson = False


def main(argv: list[str]) -> int:
    """Verify and print a line for each check; 0 when nothing differs, else 1."""
    flags = parse(VerifyFlags, argv, "verify")
    from heed.verification import verify

    found = verify(flags.folder, flags.steps, say=tell)
    if flags.json_:
        print(json.dumps(found.plain(), indent=2, allow_nan=False, ensure_ascii=False))
        return 0 if found.holds else 1
    for check in found.checks:
        print(f"{check.state:<12} {check.name}: {check.said}")
    if found.elsewhere:
        print(f"not where it was made ({'; '.join(found.elsewhere)}): the tolerance counts, not the bits")
    untried = sum(check.state == "not checked" for check in found.checks)
    holds = "nothing differs" + (f" of what could be tried, {untried} could not" if untried else "")
    print(f"{found.folder}: {holds if found.holds else 'it is NOT what its record says'}")
    return 0 if found.holds else 1
