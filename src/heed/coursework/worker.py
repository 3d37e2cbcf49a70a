"""Grades files in a process of its own: `python -P -m heed.coursework.worker ORDER`.

ORDER is JSON: the folder, and for each file the functions that are graded already. A line of JSON for each step goes to
what was standard output when it began; what the student's code prints goes to standard error, so the two never mix.

    {"functions": {FILE: [...]}}         ready: everything heavy is imported
    {"file": FILE, "loads": true}        this file is run now; then, where it cannot be, {"file": ..., "broken": why}
    {"file": FILE, "begins": NAME}, then {"name": NAME, "state": ..., "said": ..., "cases": ...}
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from heed.coursework import EXERCISES

if TYPE_CHECKING:
    from heed.coursework.cases import Cases, Tried

PASSES, FAILS, TO_DO, TOO_LONG = "passes", "fails", "to do", "too long"
"""States of a function."""
MEMORY = 8 << 30
"""Bytes of its own that a student's process may hold, where the system can keep to that."""


def main(argv: list[str]) -> None:
    """Grade the functions of an order, and say so step by step."""
    order = json.loads(argv[0])
    folder, done = Path(order["folder"]), order["done"]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    threading.Thread(target=_end_with, args=(os.dup(0),), daemon=True).start()
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def tell(**message: Any) -> None:
        print(json.dumps(message), file=answers, flush=True)

    import torch

    torch.set_num_threads(1)
    cases = {name: importlib.import_module(EXERCISES[name]).CASES for name in done}
    _limit_memory()
    sys.dont_write_bytecode = True  # nothing is left beside the student's file
    tell(functions={name: list(some) for name, some in cases.items()})
    for name, some in cases.items():
        if left := [function for function in some if function not in done[name]]:
            _grade_file(folder / name, {function: some[function] for function in left}, tell)


def _end_with(pipe: int) -> None:
    """End this process when whoever grades has ended, however that was: then nobody else would stop an endless loop."""
    os.read(pipe, 1)
    os._exit(1)


def _grade_file(file: Path, cases: Cases, tell: Callable[..., None]) -> None:
    """Run a file and hold its functions to their cases."""
    from heed.coursework.student_file import loaded, raised

    tell(file=file.name, loads=True)
    try:
        module = loaded(file)
    except BaseException as error:  # somebody's code may raise anything
        tell(file=file.name, broken=raised(error, file))
        return
    for name, some in cases.items():
        tell(file=file.name, begins=name)
        try:
            grade = graded(module, name, some, file)
        except BaseException as error:  # it may have changed what this is made of
            grade = {"state": FAILS, "said": raised(error, file), "cases": len(some)}
        tell(name=name, **grade)


def graded(module: ModuleType, name: str, cases: Sequence[Tried], file: Path) -> dict[str, Any]:
    """Return the state of one function, what is wrong with it, and how many cases it was held to."""
    import torch

    from heed.coursework.student_file import raised

    torch.set_default_dtype(torch.float32)  # whatever the function before has left
    torch.set_grad_enabled(True)
    function = getattr(module, name, None)
    if not callable(function):
        return {"state": FAILS, "said": f"there is no function {name}", "cases": len(cases)}
    for case in cases:
        try:
            said = case.complaint(function)
        except NotImplementedError as error:
            return {"state": TO_DO, "said": raised(error, file), "cases": len(cases)}
        except BaseException as error:  # as above
            said = raised(error, file)
        if said:
            return {"state": FAILS, "said": f"{case.about}: {said}", "cases": len(cases)}
    return {"state": PASSES, "said": "", "cases": len(cases)}


def _limit_memory() -> None:
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY if hard < 0 else min(MEMORY, hard), hard))
    except (ImportError, ValueError, OSError):
        return  # Windows has no such limit


if __name__ == "__main__":
    main(sys.argv[1:])
