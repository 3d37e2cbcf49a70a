"""Runs a student's files in a process of its own: `python -P -m heed.coursework.worker ORDER`.

ORDER is JSON: the folder, and for each file the functions that are graded already. A line of JSON for each step goes to
what was standard output when it began; what the student's code prints goes to standard error, so the two never mix.
What is right is not known here: the values go to whoever judges them, who answers on standard input how it goes on.

    {"ready": true}                      everything heavy is imported
    {"file": FILE, "loads": true}        this file is run now; then, where it cannot be, {"file": ..., "broken": why}
    {"file": FILE, "begins": NAME}, then for each case {"value": ...}, {"raised": why} or {"to do": why}
                                         <── "+": the next case; "-": the next function
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from heed.coursework import EXERCISES

Call = Callable[[Callable[..., Any]], Any]
ON, NEXT = "+", "-"
"""What is answered to a value: go on with the next case, or with the next function."""
LONGEST = 4 << 20
"""Characters of a message."""
MEMORY = 8 << 30
"""Bytes of its own that a student's process may hold, where the system can keep to that."""


def main(argv: list[str]) -> None:
    """Run the functions of an order, and tell what they give."""
    order = json.loads(argv[0])
    folder, done = Path(order["folder"]), order["done"]
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(os.dup(0), answers), daemon=True).start()
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def tell(**message: Any) -> None:
        print(json.dumps(message), file=said, flush=True)

    gc.set_threshold(10_000)  # while torch's million objects come
    import torch

    from heed.coursework import student_file, values  # noqa: F401 - so that they are there before any limit

    torch.set_num_threads(1)
    calls = {}
    for file in done:
        cases = vars(importlib.import_module(EXERCISES[file])).pop("CASES")  # with what is right, which none needs here
        calls[file] = {name: [case.call for case in some] for name, some in cases.items() if name not in done[file]}
        del cases
    _limit_memory()
    sys.dont_write_bytecode = True  # nothing is left beside the student's file
    tell(ready=True)
    for file, functions in calls.items():
        if functions:
            _run_file(folder / file, functions, tell, answers.get)


def _listen(pipe: int, answers: queue.SimpleQueue[str]) -> None:
    """Take down answers; end this process when whoever judges has ended: nobody else would stop an endless loop."""
    while sign := os.read(pipe, 1):
        answers.put(sign.decode())
    os._exit(1)


def _run_file(
    file: Path, functions: dict[str, list[Call]], tell: Callable[..., None], answer: Callable[[], str]
) -> None:
    """Run a file, and its functions."""
    import torch

    from heed.coursework.student_file import loaded, raised

    tell(file=file.name, loads=True)
    try:
        module = loaded(file)
    except BaseException as error:  # somebody's code may raise anything
        tell(file=file.name, broken=raised(error, file))
        return
    for name, calls in functions.items():
        tell(file=file.name, begins=name)
        torch.set_default_dtype(torch.float32)  # whatever the function before has left
        torch.set_grad_enabled(True)
        for call in calls:
            tell(**outcome(call, module, name, file))
            if answer() != ON:
                break


def outcome(call: Call, module: ModuleType, name: str, file: Path) -> dict[str, Any]:
    """Return what a call of a student's function gives, for JSON."""
    from heed.coursework.student_file import raised
    from heed.coursework.values import plain

    function = getattr(module, name, None)
    if not callable(function):
        return {"missing": name}
    try:
        made = plain(call(function))
        return {"value": made if len(json.dumps(made)) < LONGEST // 2 else {"no answer": "far too much"}}
    except NotImplementedError as error:
        return {"to do": raised(error, file)}
    except BaseException as error:  # as above
        return {"raised": raised(error, file)}


def _limit_memory() -> None:
    try:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY if hard < 0 else min(MEMORY, hard), hard))
    except (ImportError, ValueError, OSError):
        return  # Windows has no such limit


if __name__ == "__main__":
    main(sys.argv[1:])
