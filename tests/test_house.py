"""The house stands: imports go down only, and heavy packages stay where they belong."""

import ast
from pathlib import Path

import pytest

import heed

SOURCE = Path(heed.__file__).parent
RANKS = {
    "cli": 7, "serving": 6, "studies": 6, "experiment": 5, "tuning": 5, "asking": 5, "benches": 5, "prompting": 5,
    "recovery": 5, "explore": 5, "generation": 4, "training": 4, "build": 3, "testing": 3, "models": 2, "attention": 1,
    "text": 1, "report": 1, "ground": 0,
}  # fmt: skip
SHARED = {"__main__": "cli"} | dict.fromkeys(("config", "errors", "files", "records", "seals", "__init__"), "ground")
"""Files that stand by themselves, and the room that each belongs to."""
NO_TORCH = ("text", "report", "ground")
FILES = sorted(SOURCE.rglob("*.py"))


def room_of(file: Path) -> str:
    top = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    return SHARED.get(top, top)


def imported(file: Path) -> set[str]:
    """Full dotted names of every module that a file imports, at any depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write imports out in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_arrows_go_down(file):
    room = room_of(file)
    assert room in RANKS, f"{room} has no rank: give it one here and in docs/design.md"
    for name in imported(file):
        parts = name.split(".")
        if parts[0] != "heed" or len(parts) == 1:
            continue
        target = SHARED.get(parts[1], parts[1] if parts[1] in RANKS else "ground")
        assert target == room or RANKS[target] < RANKS[room], f"{file.name} imports {name}: not downwards"


@pytest.mark.parametrize("file", [f for f in FILES if room_of(f) in NO_TORCH], ids=lambda f: str(f.relative_to(SOURCE)))
def test_rooms_without_torch(file):
    assert not {name for name in imported(file) if name.split(".")[0] == "torch"}


def test_the_plan_names_every_room():
    plan = (SOURCE.parents[1] / "docs" / "design.md").read_text(encoding="utf-8")
    for room in {file.relative_to(SOURCE).parts[0].removesuffix(".py") for file in FILES} - {"__init__", "__main__"}:
        assert f"{room}/" in plan or f"{room}.py" in plan, f"docs/design.md does not show {room}"


WRITES = ("write_text", "write_bytes", "rename", "rmtree", "copyfile", "move")
WRITES_ITSELF = {
    "files.py": "all others write through it",
    "seals.py": "fills what files.aside gives it, which it reads again while others wait",
    "text/tokenfile.py": "fills what files.aside gives it, piece by piece",
    "models/hub.py": "fills what files.together gives it",
    "studies/runner.py": "the log of a run, which the run itself writes to",
    "studies/worker.py": "/proc holds no files",
    "cli/__init__.py": "opens /dev/null in the place of a closed stream",
    "studies/tune_record.py": "renames the record of a tune that is to be cleared",
}
"""Who writes to the disk by other means than heed.files, and why."""


def writes_of(file: Path) -> set[str]:
    """Return the calls in a file that write to the disk: what opens for writing, and what is named above."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        method = isinstance(node.func, ast.Attribute)
        name, owner = (node.func.attr, ast.unparse(node.func.value)) if method else (node.func.id, "")
        given = [one.value for one in (*node.args, *(k.value for k in node.keywords)) if isinstance(one, ast.Constant)]
        modes = [mode for mode in given if isinstance(mode, str) and 0 < len(mode) <= 3 and set(mode) <= set("rwaxbt+")]
        if name == "open" and any(set(mode) & set("wax+") for mode in modes):
            found.add(f"open {modes[0]}")
        elif (name in WRITES and method and owner not in ("files", "seals")) or (owner, name) == ("os", "replace"):
            found.add(name)
    return found


def test_files_are_written_in_one_way():
    """A file on the disk is the old one or the new one: see heed.files."""
    found = {
        name: calls for file in FILES if (calls := writes_of(file)) for name in [file.relative_to(SOURCE).as_posix()]
    }
    odd = {name: calls for name, calls in found.items() if name not in WRITES_ITSELF}
    assert not odd, "write these through heed.files, or give the reason above"
    assert found.keys() == WRITES_ITSELF.keys(), "some of these write no longer"
