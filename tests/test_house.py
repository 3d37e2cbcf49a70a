"""The house stands: imports go down only, and heavy packages stay where they belong."""

import ast
from functools import cache
from pathlib import Path

import pytest

import heed

SOURCE = Path(heed.__file__).parent
RANKS = {
    "cli": 7, "serving": 6, "studies": 6, "verification": 6,
    "experiment": 5, "tuning": 5, "asking": 5, "benches": 5, "prompting": 5,
    "recovery": 5, "explore": 5, "coursework": 5, "objectives": 4, "training": 4, "api": 4, "generation": 3, "build": 3,
    "testing": 3, "models": 2, "board": 2, "attention": 1, "text": 1, "report": 1, "slurm": 1, "ground": 0,
}  # fmt: skip
SHARED = {"__main__": "cli"} | dict.fromkeys(
    ("config", "errors", "files", "npz", "records", "seals", "targets", "__init__"), "ground"
)
"""Files that stand by themselves, and the room that each belongs to."""
NO_TORCH = ("text", "report", "board", "api", "recovery", "slurm", "ground")
FILES = sorted(SOURCE.rglob("*.py"))


def room_of(file: Path) -> str:
    top = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    return SHARED.get(top, top)


@cache
def nodes(file: Path) -> list[ast.AST]:
    """All that a file is made of; each is parsed once."""
    return list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


@cache
def imported(file: Path) -> set[str]:
    """Full dotted names of every module that a file imports, at any depth of its code."""
    names: set[str] = set()
    for node in nodes(file):
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


NEEDS_TORCH = ("training", "generation", "models", "build", "attention", "objectives")
"""Rooms that import torch."""


def test_only_one_file_of_prompting_needs_torch():
    files = [file for file in FILES if room_of(file) == "prompting" and file.name != "local.py"]
    assert files
    for file in files:
        assert not {
            n for n in imported(file) if n.startswith("torch") or n.split(".")[1:2] in [[r] for r in NEEDS_TORCH]
        }


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
    "cli/streams.py": "opens /dev/null in the place of a closed stream",
    "studies/tune_record.py": "renames the record of a tune that is to be cleared",
}
"""Who writes to the disk by other means than heed.files, and why."""


def writes_of(file: Path) -> set[str]:
    """Return the calls in a file that write to the disk: what opens for writing, and what is named above."""
    found = set()
    for node in nodes(file):
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


SWITCHES = ("data.objective", "data.label", "data.questions", "model.kind")
"""What is learned hangs on these four together: see heed.config.aims."""
NAMES_SWITCHES = {
    "build/model.py": "the family of models by its name",
    "models/recurrent.py": "the cell by its name",
    "models/hub.py": "says which family has no architecture in transformers",
    "training/run.py": "the family is part of the name of a run",
    "benches/device_speed.py": "measures the families that read from left to right, without any text",
    "training/precision.py": "what bfloat16 gains depends on the family",
    "studies/estimate.py": "what a step takes depends on the family",
    "asking/respondent.py": "names the files that earlier runs have read",
    "cli/bench_training.py": "says the family for people",
    "cli/tune.py": "the flag of TuneConfig's data.label",
    "prompting/items.py": "TaskData's data.label, the column of a task file",
    "tuning/heed_encoders.py": "says the family for people and in the files of transformers",
    "tuning/predict.py": "TuneConfig's data.label",
    "report/page.py": "says the family for people",
    "report/study_page.py": "lists settings for people",
    "report/study_tables.py": "lists settings for people",
    "report/knowledge_figures.py": "tells the runs that learned text from those that learned answers after it",
    "report/knowledge_page.py": "lists settings for people",
    "report/knowledge_record.py": "says for people what a run has read",
}
"""Who names one of them all the same, and why."""


def switches_of(file: Path) -> set[str]:
    """Return the switches that a file reads, or names as a setting."""
    found = set()
    for node in nodes(file):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value).split(".")[-1]
            owner = "model" if node.attr == "kind" and owner == "config" else owner
            found |= {f"{owner}.{node.attr}"} & set(SWITCHES)
        elif isinstance(node, ast.Constant) and node.value in SWITCHES:
            found.add(node.value)
    return found


def test_what_is_learned_is_decided_in_one_place():
    rooms = ("objectives", "config")
    files = {f.relative_to(SOURCE).as_posix(): f for f in FILES if f.relative_to(SOURCE).parts[0] not in rooms}
    found = {name: switches for name, file in files.items() if (switches := switches_of(file))}
    odd = {name: switches for name, switches in found.items() if name not in NAMES_SWITCHES}
    assert not odd, "ask heed.config.aim_of or heed.objectives.objective_of, or give the reason above"
    assert found.keys() == NAMES_SWITCHES.keys(), "some of these name none any longer"


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def circles(room: str) -> set[str]:
    """Return each circle of files of a room, whatever the depth of the import: the names of its files, sorted."""
    files = {module_of(file): file for file in FILES if room_of(file) == room and file.stem != "__init__"}
    to = {
        name: {found for one in imported(file) for found in (one, one.rpartition(".")[0]) if found in files} - {name}
        for name, file in files.items()
    }
    while any(to.values()):  # take away what leads nowhere, and what nothing leads to, until circles are left
        inner = set().union(*to.values())
        left = {name: {one for one in its if to[one]} for name, its in to.items() if its and name in inner}
        if left == to:
            break
        to = {name: its & left.keys() for name, its in left.items()}
    reach = {name: set(its) for name, its in to.items()}
    for middle in reach:
        for its in reach.values():
            if middle in its:
                its |= reach[middle]
    paths = {name: files[name].relative_to(SOURCE).as_posix() for name in reach}
    return {
        " ".join(sorted(paths[other] for other in its if name in reach[other]))
        for name, its in reach.items()
        if name in its
    }


def test_no_files_of_a_room_import_each_other_in_a_circle():
    """A circle is two files that are one: a name of them belongs elsewhere."""
    found = set().union(*(circles(room) for room in RANKS))
    assert not found, "move the name that closes the circle"


def test_a_class_name_means_one_thing():
    found: dict[str, list[str]] = {}
    for file in FILES:
        for node in nodes(file):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(file.relative_to(SOURCE).as_posix())
    assert not {name: files for name, files in found.items() if len(files) > 1}
