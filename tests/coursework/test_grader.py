"""heed grade, with its processes: blank and solved folders, limits, endings, files that do not run, and the verb."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heed.cli import main
from heed.coursework import EXERCISES
from heed.coursework.grader import grade_folder
from heed.coursework.student_file import helpers_in
from heed.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]
SOLUTION = Path(__file__).parent / "solution"
BLANK = ROOT / "examples" / "student"


def states(folder: Path, **options) -> dict[str, tuple[str, str]]:
    grades = grade_folder(folder, **options)
    return {function.name: (function.state, function.said) for grade in grades for function in grade.functions}


def test_the_blank_version_passes_nothing(capsys):
    assert main(["grade", str(BLANK)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "0 of 22 functions pass"
    assert sum("  to do     NotImplementedError (line " in line for line in lines) == 22


def test_the_solution_passes_all(capsys):
    before = {file: file.read_bytes() for file in SOLUTION.glob("*.py")}
    assert main(["grade", str(SOLUTION), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["passing"], content["functions"]) == (22, 22)
    assert [entry["file"] for entry in content["files"]] == list(EXERCISES)
    for entry in content["files"]:
        assert entry["there"]
        assert entry["notes"] == []
        assert entry["passing"] == len(entry["functions"])
        for function in entry["functions"]:
            assert function["state"] == "passes"
            assert function["said"] == ""
            assert function["cases"] >= 1
    assert before == {file: file.read_bytes() for file in SOLUTION.glob("*.py")}


def test_the_blank_version_has_the_functions_of_the_solution():
    for name in EXERCISES:
        blank, solved = ({line.split("(")[0] for line in (folder / name).read_text(encoding="utf-8").splitlines()
                          if line.startswith("def ")} for folder in (BLANK, SOLUTION))  # fmt: skip
        assert blank <= solved


@pytest.mark.slow
def test_what_hangs_ends_or_raises_takes_nothing_else_with_it(tmp_path):
    """One file, and in it all that can go wrong; the functions behind it are graded all the same."""
    text = (SOLUTION / "span_corruption.py").read_text(encoding="utf-8")
    text = text.replace("def draw_span(size, random):", "def draw_span(size, random):\n    while True: pass")
    text = text.replace(
        "def cut(text, context, random):", "import os\ndef cut(text, context, random):\n    os._exit(3)"
    )
    text = text.replace("def restore(row):", "def restore(row):\n    print('noise' * 9999)\n    raise SystemExit(0)")
    (tmp_path / "span_corruption.py").write_text(text, encoding="utf-8")
    began = time.monotonic()
    found = states(tmp_path, seconds=2)
    assert found["cut"] == ("fails", "it ended the process (exit code 3)")
    assert found["draw_span"] == ("too long", "not done after 2 seconds, and stopped")
    assert found["move_span"] == ("passes", "")
    assert found["restore"][0] == "fails"
    assert "a span of the middle: SystemExit: 0 (line " in found["restore"][1]
    assert found["source_and_target"] == ("passes", "")
    assert time.monotonic() - began < 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["span_corruption.py"]


BROKEN = {
    "attention.py": ("from bpe import train\n", "ModuleNotFoundError: No module named 'bpe' (line 1)"),
    "bpe.py": ("def layer_norm(x:\n    pass\n", "the file does not run: SyntaxError: '(' was never closed (line 1)"),
    "layer_norm.py": ("layer_norm = 3\n", "there is no function layer_norm"),
    "span_corruption.py": ("\n1 / 0\n", "the file does not run: ZeroDivisionError: division by zero (line 2)"),
    "lora.py": ("import sys\nsys.exit('bye')\n", "the file does not run: SystemExit: bye (line 2)"),
}
WORSE = {
    "attention.py": ("import os\nos._exit(0)\n", "the file itself: it ended the process (exit code 0)"),
    "bpe.py": ("while True: pass\n", "the file itself: not done after 1 seconds, and stopped"),
    "layer_norm.py": ("", "there is no function layer_norm"),
    "span_corruption.py": ("x = '\udcff'\n", "the file does not run: SyntaxError"),
    "lora.py": ("import os\nos.kill(os.getpid(), 11)\n", "the file itself: it ended the process (signal 11)"),
}


@pytest.mark.parametrize("files", [BROKEN, pytest.param(WORSE, marks=pytest.mark.slow)], ids=["broken", "worse"])
def test_files_that_do_not_run(tmp_path, files):
    """Each file is read alone, so the first of them finds no other either."""
    for name, (text, _) in files.items():
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    for grade in grade_folder(tmp_path, seconds=1):
        assert grade.functions
        assert grade.functions[0].state in ("fails", "too long")
        assert files[grade.file][1] in grade.functions[0].said


def test_nothing_but_the_named_files_is_run_and_prints_are_shown_on_request(tmp_path, monkeypatch, capfd):
    """Not what lies beside them, even under the names of what they import, and not where heed is called."""
    trap = f"open({str(tmp_path / 'run')!r}, 'w')\nraise SystemExit(9)\n"
    for name in (
        "torch.py",
        "math.py",
        "sitecustomize.py",
        "conftest.py",
        "heed.py",
        "__init__.py",
        "json.py",
        "lora_2.py",
    ):
        (tmp_path / f"{name}.py").write_text(trap)
    text = (SOLUTION / "layer_norm.py").read_text(encoding="utf-8")
    (tmp_path / "layer_norm.py").write_text("print('hello there')\n" + text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["grade", ".", "--prints"]) == 0
    out, err = capfd.readouterr()
    assert "hello there" in err
    assert "hello there" not in out
    assert "attention.py: not there" in out
    assert out.endswith("2 of 2 functions pass\n")
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.slow
def test_what_a_process_leaves_running_is_killed(tmp_path):
    """A child of the student's process ends with it."""
    text = (SOLUTION / "layer_norm.py").read_text(encoding="utf-8")
    start = f"""import subprocess
child = subprocess.Popen(['sleep', '600'])
open({str(tmp_path / "pid")!r}, 'w').write(str(child.pid))
"""
    (tmp_path / "layer_norm.py").write_text(start + text, encoding="utf-8")
    assert {state for state, _ in states(tmp_path).values()} == {"passes"}
    assert is_gone(int((tmp_path / "pid").read_text()))


@pytest.mark.slow
def test_an_endless_loop_ends_with_who_grades(tmp_path):
    (tmp_path / "layer_norm.py").write_text(
        f"import os\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nwhile True: pass\n"
    )
    argv = [sys.executable, "-m", "heed", "grade", str(tmp_path), "--seconds", "500"]
    grader = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        for _ in range(1200):
            if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
                break
            time.sleep(0.1)
    finally:
        grader.kill()
        grader.wait()
    assert is_gone(int((tmp_path / "pid").read_text()))


def is_gone(pid: int) -> bool:
    """Return whether a process ends within ten seconds."""
    for _ in range(100):
        try:
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.1)
    return False


def test_prints_leave_json_whole(tmp_path, capfd):
    text = (SOLUTION / "layer_norm.py").read_text(encoding="utf-8")
    (tmp_path / "layer_norm.py").write_text("print('hello there')\n" + text, encoding="utf-8")
    assert main(["grade", str(tmp_path), "--json", "--prints"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["passing"] == 2
    assert "hello there" in captured.err


HELPED = """import torch.nn.functional as F
from heed.models.norms import LayerNorm
def layer_norm(x, weight, bias, epsilon=1e-5):
    return F.layer_norm(x, (5,), weight, bias, epsilon)
def rms_norm(x, weight, epsilon=1e-5):
    return F.rms_norm(x, (5,), weight, epsilon)
"""


def test_helpers_are_named(tmp_path):
    file = tmp_path / "layer_norm.py"
    file.write_text(HELPED)
    assert helpers_in(file) == [
        "line 2 uses torch's own normalisation (LayerNorm)",
        "line 2 uses heed, whose own parts it is held against (heed)",
        "line 4 uses torch's own normalisation (layer_norm)",
        "line 6 uses torch's own normalisation (rms_norm)",
    ]
    file.write_text("def layer_norm(x): pass\nself.layer_norm(3)\n")
    assert helpers_in(file) == []
    file.write_text("def layer_norm(")
    assert helpers_in(file) == []


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["nowhere"], "no such folder: nowhere"),
        (["."], "has none of attention.py, bpe.py"),
        ([str(SOLUTION), "--seconds", "0"], "--seconds 0: a finite number above 0 is needed"),
        ([str(SOLUTION), "--seconds", "nan"], "--seconds: Input should be a finite number"),
        ([], "heed grade needs FOLDER, such as: heed grade examples/student"),
    ],
)
def test_bad_flags(argv, why, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["grade", *argv]) == 2
    err = capsys.readouterr().err
    assert why in err
    assert err.count("\n") == 1


def test_errors_have_their_kind(tmp_path):
    with pytest.raises(DataError, match="has none of"):
        grade_folder(tmp_path)
    with pytest.raises(ConfigError, match="finite number"):
        grade_folder(SOLUTION, float("inf"))
