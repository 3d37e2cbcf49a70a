"""`heed grade`: which functions of a student's coding exercises are right, and what is wrong with the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from heed.cli.settings import parse
from heed.config import Section

if TYPE_CHECKING:
    from heed.coursework.grader import FileGrade


class GradeFlags(Section):
    """Grade coding exercises: attention, BPE, LayerNorm, span corruption, LoRA; blank ones are in examples/student.

    FOLDER holds some of attention.py, bpe.py, layer_norm.py, span_corruption.py, lora.py; no other file of it is run.
    Each function is held against heed's own and against cases made by hand: what passes, what fails and at which
    number first, and which of the usual mistakes that is.

    THE STUDENT'S CODE IS RUN, in a process of its own with a time limit, with your rights and without a sandbox: run
    it where you would run it anyway.

    Exit code 0: all functions of the files that are there pass. 1: some do not. 2: there is nothing to grade.

    examples:
      heed grade examples/student
      heed grade homework/ --seconds 30
      heed grade homework/ --json
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of the student's files."""
    seconds: float = 10.0
    """The time that a function may take, all its cases together; then its process is killed and the next one begins."""
    prints: bool = False
    """Let what the student's code prints go to standard error; else it goes nowhere."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object on standard output."""


def main(argv: list[str]) -> int:
    """Grade and print; 0 when all that is there passes, 1 when not."""
    flags = parse(GradeFlags, argv, "grade")
    from heed.coursework.grader import grade_folder

    grades = grade_folder(flags.folder, flags.seconds, prints=flags.prints)
    passing, count = sum(grade.passing for grade in grades), sum(len(grade.functions) for grade in grades)
    if flags.json_:
        files = [{**asdict(grade), "passing": grade.passing} for grade in grades]
        content = {"folder": str(flags.folder), "passing": passing, "functions": count, "files": files}
        print(json.dumps(content, indent=2))
    else:
        print("\n".join(line for grade in grades for line in lines_of(grade)))
        print(f"{passing} of {count} functions pass")
    return 0 if passing == count else 1


def lines_of(grade: FileGrade) -> Iterator[str]:
    """Yield the grade of a file as people read it."""
    if not grade.there:
        yield f"{grade.file}: not there"
        return
    yield f"{grade.file}: {grade.passing} of {len(grade.functions)}"
    width = max((len(function.name) for function in grade.functions), default=0)
    for function in grade.functions:
        yield f"  {function.name:<{width}}  {function.state:<8}  {function.said}".rstrip()
    yield from (f"  note: {note}" for note in grade.notes)
