"""The order in which a training asks for the disk: what has a name for good is there for good, should the power go.

What a process has written lives on when it is killed, and not when the machine is. So here strace looks on: a file is
synced before it gets its name, and the folder after it; and the same for a folder that gets one.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_crash import TRAIN

from cli.conftest import settled, write_text

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CALLS = "openat,rename,renameat,renameat2,fsync,fdatasync,write,unlink,mkdir,ftruncate"
LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)(?:<(.*?)>)?(?: |$)")


@dataclass(frozen=True)
class Event:
    """A call that strace has seen."""

    call: str
    """open (for writing), write, sync, rename or mkdir."""
    path: str
    other: str = ""
    """Where a rename leads."""


def events_of(trace: str, folder: Path) -> list[Event]:
    """Return what happened below a folder, in order, of calls that did not fail."""
    found, begun = [], {}
    for line in trace.splitlines():
        thread = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>").rstrip()
            continue
        if resumed := re.match(r"\d+ +<\.\.\. \w+ resumed>(.*)", line):
            line = begun.pop(thread) + resumed[1]
        match = LINE.match(line)
        if match is None or int(match[3]) < 0:
            continue
        call, words, _, opened = match.groups()
        names = [os.path.normpath(folder / name) for name in re.findall(r'"(.*?)"(?!\.\.\.)', words)]
        at = re.match(r"\d+<(.*?)>(?!\(deleted\))", words)
        if call == "openat" and re.search(r"O_WRONLY|O_RDWR", words) and "O_TMPFILE" not in words:
            event = Event("open" if re.search(r"O_CREAT|O_TRUNC", words) else "look", opened or names[0])
        elif call in ("write", "ftruncate") and at:
            event = Event("write", at[1])
        elif call in ("fsync", "fdatasync") and at:
            event = Event("sync", at[1])
        elif call.startswith("rename"):
            event = Event("rename", names[0], names[1])
        elif call == "mkdir":
            event = Event("mkdir", names[0])
        else:
            continue
        if is_in(event.path, str(folder)):
            found.append(event)
    return found


@dataclass
class Disk:
    """What a cut of the power would take, and what is wrong with that."""

    known: set[str] = field(default_factory=set)
    """Names that are there."""
    loose: set[str] = field(default_factory=set)
    """Files with content that was not synced since."""
    nameless: dict[str, str] = field(default_factory=dict)
    """Folders with a name in them that was not synced, and that name."""
    faults: list[str] = field(default_factory=list)

    def meet(self, event: Event) -> None:
        """Follow an event."""
        if event.call in ("open", "write") and not event.path.endswith(".lock"):
            self.named(event.path)
            self.loose.add(event.path)
        elif event.call == "sync":
            self.loose.discard(event.path)
            self.nameless.pop(event.path, None)
        elif event.call == "mkdir":
            self.named(event.path)
        elif event.call == "rename":
            self.renamed(event.path, event.other)

    def named(self, path: str) -> None:
        """Note a name, which is to stay unless it is that of what is on its way in or out."""
        if path in self.known:
            return
        self.known.add(path)
        if not is_aside(path):
            self.expect_names(path)
        if not is_aside(os.path.basename(path)):
            self.nameless[os.path.dirname(path)] = path

    def renamed(self, old: str, new: str) -> None:
        """Give a file or a folder another name; all that is in it must be there for good if this one is."""
        moved = {path for path in self.loose if is_in(path, old)}
        self.loose = self.loose - moved | {new + path[len(old) :] for path in moved}
        half = {folder: self.nameless.pop(folder) for folder in list(self.nameless) if is_in(folder, old)}
        self.known = {path for path in self.known if not is_in(path, old)} - {new}
        if is_aside(new):
            self.nameless |= {new + folder[len(old) :]: name for folder, name in half.items()}
        else:
            left = sorted(moved) + sorted(half.values())
            self.faults += [f"{os.path.relpath(path, old)} was not synced before {new} had its name" for path in left]
        self.named(new)

    def expect_names(self, of: str) -> None:
        """Note folders with names that were not synced when something of another folder gets its name."""
        for folder, name in list(self.nameless.items()):
            if folder != os.path.dirname(of) and not is_aside(folder):
                self.faults.append(f"{folder} was not synced after {name} got its name, before {of}")
                del self.nameless[folder]


def is_in(path: str, folder: str) -> bool:
    """Whether a path is that of a folder, or below it."""
    return path == folder or path.startswith(folder + os.sep)


def is_aside(path: str) -> bool:
    """Whether a file or folder is on its way in or out, itself or with one that it is in."""
    return any(part.startswith(".") and part.endswith((".writing", ".removing")) for part in path.split(os.sep))


def faults_of(events: list[Event]) -> list[str]:
    """Return what a cut of the power could take of what was promised."""
    disk = Disk()
    for event in events:
        disk.meet(event)
    disk.expect_names("the end")
    return disk.faults + [f"{path} was never synced" for path in sorted(disk.loose) if not is_aside(path)]


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """What a training does, from the text to its page."""
    if shutil.which("strace") is None:
        pytest.skip("no strace: apt-get install strace")
    folder = tmp_path_factory.mktemp("power").resolve()
    write_text(folder / "animals.txt", 60)
    strace = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={CALLS}", "-o", str(folder / "trace")]
    command = [sys.executable, "-m", "heed", *settled([*TRAIN, "--train.steps", "4"])]
    ran = subprocess.run([*strace, *command], cwd=folder, capture_output=True, text=True)
    if "ptrace" in ran.stderr:
        pytest.skip(f"strace may not look on here: {ran.stderr.splitlines()[0]}")
    assert ran.returncode == 0, ran.stderr
    return events_of((folder / "trace").read_text(errors="replace"), folder)


def test_what_has_a_name_is_on_the_disk(events):
    named = [os.path.basename(event.other) for event in events if event.call == "rename" and not is_aside(event.other)]
    for name in ("step-00000002", "step-00000004", "config.yaml", "environment.json", "hashes.json", "evaluation.json"):
        assert name in named
    assert sum(name.endswith(".tokens") for name in named) == 2
    assert "\n".join(faults_of(events)) == ""
    print(f"{len(events)} events, {sum(event.call == 'sync' for event in events)} syncs, {len(named)} names")


def test_a_sync_that_is_left_out_is_seen(events):
    """Of each file, under all its names, and of each folder: the trace without its syncs has a fault."""
    kinds = {kind_of(event.path) for event in events if event.call == "sync"} - {"writing"}  # out of it each file moves
    assert kinds >= {"model.safetensors", "optimizer.safetensors", "state.json", "config.yaml", "metrics.jsonl", "a"}
    for kind in kinds:
        left = [event for event in events if event.call != "sync" or kind_of(event.path) != kind]
        assert faults_of(left), kind


def kind_of(path: str) -> str:
    return re.sub(r"^\.|\.writing$", "", os.path.basename(path))
