"""heed as a process of its own, with signals, streams and an end of its own, but forked from the one that tests.

It need not import torch, for which a fresh interpreter takes three seconds of a processor. Where the start itself is
what is tested (imports, closed streams) it is `python -m heed`.
"""

import atexit
import faulthandler
import importlib
import logging
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from heed.cli import program


def heed_process(*argv: str | Path, **how: Any) -> subprocess.Popen:
    """Begin `heed ARGV`; `how` is as for `subprocess.Popen`."""
    words = [str(word) for word in argv]

    def work() -> None:
        sys.argv = ["heed", *words]
        program()

    return subprocess.Popen([sys.executable, "-m", "heed", *words], **forked(work, **how))


def fork_what_heed_starts(patch: pytest.MonkeyPatch) -> None:
    """Fork also what heed itself starts as `python -m heed...`: the runs of a study, the other ranks of a training."""
    begin = subprocess.Popen

    def popen(argv: Any, **how: Any) -> subprocess.Popen:
        match argv:
            case [sys.executable, "-m", module, *words] if module.startswith("heed"):
                how = forked(lambda: as_main(module, words), **how)
        return begin(argv, **how)

    import torch

    if not torch.cuda.is_available():  # else autograd has threads, which no child inherits
        patch.setattr(subprocess, "Popen", popen)


def as_main(module: str, words: list[str]) -> None:
    """Do what `python -m MODULE WORDS` does."""
    sys.argv = [module, *words]
    if module != "heed":
        sys.modules.pop(module, None)  # runpy warns of a module that is there already
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _let_go() -> None:
    """Close what is open but the three streams; this also tells Popen that the process has begun.

    The numbers stay taken. Objects of the process that tests are still there, and whichever the garbage collector finds
    closes its number: that of a server's new socket, were it free.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/dev/fd"):
        if int(name) > 2 and int(name) != nothing:
            with suppress(OSError):  # that of the list itself
                os.fstat(int(name))
                os.dup2(nothing, int(name), inheritable=False)


def forked(work: Callable[[], object], env: Mapping[str, str] | None = None, **how: Any) -> dict[str, Any]:
    """Return what `subprocess.Popen` is to be given beside a command, so that a process does `work` in its place."""
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():  # no child can use it then
        return {"env": env, **how}

    def be() -> None:  # streams, folder and signals are those that Popen was asked for
        status = 1
        try:
            faulthandler.disable()
            _let_go()
            if env is not None:
                os.environ.clear()
                os.environ.update(env)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            atexit._clear()
            logging.root.handlers.clear()
            importlib.reload(warnings)  # shown as ever, and no errors
            sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            try:
                work()
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else int(end.code is not None)
            threading._shutdown()
            atexit._run_exitfuncs()
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    return {"env": env, "preexec_fn": be, **how}
