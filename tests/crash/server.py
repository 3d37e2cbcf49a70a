"""Runs verbs in children of one process that has torch in memory, and strikes at the file event that is asked for.

    {"argv": [...], "folder": ..., "how": "kill" | "torn" | "full" | null, "at": 7}  ->  {"code": -9, "events": 7, ...}

A file event is what Python's audit hooks see of the folder (open for writing, rename, remove, make, truncate) and each
fsync. kill: the process dies before the event. torn: it dies there, and half of what was written since the last event
is lost. full: from there on the disk is full.
"""

import errno
import hashlib
import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

EVENTS = {"os.rename": 0, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0, "os.truncate": 0}
"""Which argument of an audit event is the path."""


class Strike:
    """Counts the file events under a folder, and strikes at one."""

    def __init__(self, folder: str, how: str | None, at: int) -> None:
        self.folder, self.how, self.at = os.path.realpath(folder), how, at
        self.seen: list[tuple[str, list[str]]] = []
        """What each event was, and how it is worth striking there."""
        self.last: tuple[str, int] | None = None
        """The file that was written to and not synced since, and how long it was before."""
        self.busy = False

    def hook(self, event: str, arguments: tuple) -> None:
        """Meet an audit event; what changes nothing on the disk is none."""
        if self.busy or (event not in EVENTS and event != "open"):
            return
        self.busy = True
        try:
            flags = arguments[2] if event == "open" else 0
            if event == "open" and (not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR)):
                return
            path = self.place(arguments[EVENTS.get(event, 0)], arguments)
            if path is None or (os.path.isabs(path) and not self.changes(event, path, flags)):
                return
            self.meet(event, path, flags)
        finally:
            self.busy = False

    def place(self, path: object, arguments: tuple) -> str | None:
        """Return the path where it lies in the folder."""
        if isinstance(path, int) or not isinstance(path, str | bytes | os.PathLike):
            return None
        name = os.fsdecode(os.fspath(path))
        if not os.path.isabs(name) and any(isinstance(value, int) and value > 2 for value in arguments[1:2]):
            return name  # in a folder that is being deleted
        whole = os.path.abspath(name)
        return whole if whole.startswith(self.folder + os.sep) else None

    def changes(self, event: str, path: str, flags: int) -> bool:
        """Whether the event will change anything on the disk."""
        if event == "open":
            return bool(flags & (os.O_CREAT | os.O_TRUNC | os.O_APPEND)) and not os.path.isdir(path)
        return os.path.lexists(path) != (event == "os.mkdir")

    def meet(self, event: str, path: str, flags: int = 0) -> None:
        """Count an event, and strike where it is the one; OSError where the disk is full."""
        worth = [] if event == "fsync" else ["kill"]
        worth += ["torn"] if self.last is not None and (event == "fsync" or flags & os.O_APPEND) else []
        worth += ["full"] if event in ("open", "os.mkdir", "fsync") else []
        self.seen.append((f"{event} {os.path.relpath(path, self.folder)}", worth))
        if self.how in ("kill", "torn") and len(self.seen) == self.at:
            if self.how == "torn" and self.last is not None and os.path.exists(self.last[0]):
                name, before = self.last
                os.truncate(name, before + (max(before, os.path.getsize(name)) - before) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        if event in ("os.rename", "fsync"):
            self.last = None
        if event == "open":
            keeps = os.path.exists(path) and not flags & os.O_TRUNC
            self.last = path, os.path.getsize(path) if keeps else 0
        if self.how == "full" and len(self.seen) >= self.at and event in ("open", "os.mkdir", "fsync"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


class Follower:
    """A process that trains along with the one that is struck: forked, and otherwise as `Popen`.

    What is struck is the first one, which alone writes.
    """

    strike: Strike
    answer: int

    def __init__(self, variables: dict[str, str]) -> None:
        self.process = multiprocessing.get_context("fork").Process(target=self.follow, args=[variables])
        self.process.start()
        self.kill, self.poll, self.pid = self.process.kill, lambda: self.process.exitcode, self.process.pid

    def follow(self, variables: dict[str, str]) -> None:
        """Train along until the first process ends."""
        from heed.cli import main

        self.strike.busy, self.strike.how = True, None
        os.close(self.answer)  # so that its end is the end of the first process
        os.environ.update(variables)
        os._exit(main(["train"]))

    def wait(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("a rank that follows", timeout or 0)


def child(asked: dict, answer: int) -> None:
    """Run the verb; never return."""
    code = 1
    said = os.open(asked["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(asked["folder"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)  # not the requests
    strike = Strike(asked["folder"], asked["how"], asked["at"])
    Follower.strike, Follower.answer = strike, answer

    def sync(number: int) -> None:  # and no more: what a process has written outlives it without
        path = os.readlink(f"/proc/self/fd/{number}")
        if path.startswith(strike.folder) and os.path.isfile(path):
            strike.meet("fsync", path)

    os.fsync = sync
    sys.addaudithook(strike.hook)
    from heed.cli import main

    try:
        code = main(asked["argv"])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    strike.busy = True
    sys.stdout.flush()
    sys.stderr.flush()
    found = {"code": code, "cpu": time.process_time(), "seen": strike.seen, "modules": list(sys.modules)}
    with os.fdopen(answer, "wb") as pipe:
        pipe.write(json.dumps(found).encode())
    os._exit(0)


def keep_graphs(place: Path) -> None:
    """Work out the ONNX graph of a model once for all children: that takes ten seconds, and writes nothing."""
    import onnx_ir
    import torch

    import heed.tuning.export

    trace = heed.tuning.export._graph

    def graph(tuned: Any, encoder: Any, longest: int) -> Any:
        weights = hashlib.sha256()
        for name, tensor in tuned.state_dict().items():
            weights.update(name.encode() + tensor.numpy().tobytes())
        path = place / f"{weights.hexdigest()}-{longest}.onnx"
        if not path.exists():
            trace(tuned, encoder, longest).save(path)
        return torch.onnx.ONNXProgram(onnx_ir.load(path), None)

    heed.tuning.export._graph = graph


def warm(place: Path) -> None:
    """Load a model of transformers, which works out its tables of names at the first one."""
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=8, **sizes)).save_pretrained(place)
    BertModel.from_pretrained(place)


def serve(place: Path) -> None:
    """Answer a request a line; in `place` there may be files."""
    import torch

    torch.set_num_threads(1)
    import heed.experiment
    import heed.report.study_page
    import heed.report.tuning_page
    import heed.studies.worker
    import heed.training.ranks
    from heed.studies import compare

    # what takes long and writes nothing: the audit, long samples, and figures
    heed.experiment.refuse_leaks = lambda *arguments: None
    heed.experiment.SAMPLE_TOKENS = 8
    heed.experiment.samples.__kwdefaults__.update(count=1, max_tokens=4)
    for module in list(sys.modules.values()):
        if module.__name__.startswith("heed.report.") and hasattr(module, "sheet"):
            module.sheet = lambda *arguments, **options: '<svg viewBox="0 0 1 1"></svg>'
    heed.training.ranks._start = Follower
    # the cells of a study in this process, so that their file events are met as well
    compare.Process = lambda task, threads: compare._at_once(lambda task: heed.studies.worker.run_cell(task.values))(
        task
    )
    keep_graphs(place)
    with redirect_stdout(sys.stderr):
        warm(place)
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        with tempfile.NamedTemporaryFile() as said:
            asked["said"] = said.name
            reading, writing = os.pipe()
            number = os.fork()
            if number == 0:
                os.close(reading)
                child(asked, writing)
            os.close(writing)
            with os.fdopen(reading, "rb") as pipe:
                content = pipe.read()
            _, status = os.waitpid(number, 0)
            found = json.loads(content) if content else {"code": os.waitstatus_to_exitcode(status)}
            for name in found.pop("modules", ()):  # the next child has them at once
                if name not in sys.modules:
                    with suppress(Exception):
                        importlib.import_module(name)
            found["number"] = asked["number"]
            found["said"] = Path(said.name).read_text(encoding="utf-8", errors="replace")
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        serve(Path(scratch))
