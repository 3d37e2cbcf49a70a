"""Files that mean to deceive: none of them passes, and an honest file beside them is graded as it deserves."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from heed.coursework.attention_cases import CASES
from heed.coursework.grader import _LostError, grade_folder, judged
from heed.coursework.values import MOST, NoAnswer, plain, rebuilt

SOLUTION = Path(__file__).parent / "solution"
HONEST = "layer_norm.py"
WRITE = """
import json, os, gc, sys, threading
def say(*messages):
    for pipe in range(3, 40):
        for message in messages:
            try:
                os.write(pipe, (message if isinstance(message, str) else json.dumps(message)).encode() + b"\\n")
            except OSError:
                break
"""
FORGED = {
    "grades of its own": """
for name in NAMES:
    say({"file": FILE, "begins": name}, {"name": name, "state": "passes", "said": "", "cases": 1})
""",
    "values of its own": """
for name in NAMES:
    say({"file": FILE, "begins": name}, *[{"value": 1}] * 9)
""",
    "only the last case": """
def cut(*given): return "Ada"
def draw_span(size, *given): return [0, 1]
say({"file": FILE, "begins": "cut"}, {"value": "Ada"}, {"file": FILE, "begins": "draw_span"}, {"value": [0, 1]})
""",
    "begins for ever": """
while True:
    say({"file": FILE, "begins": NAMES[0]})
""",
    "what is equal to everything": """
class Same:
    def __eq__(self, other): return True
    def __sub__(self, other): return 0
    def __float__(self): return 0.0
    shape = dtype = property(lambda self: self)
def same(*given, **named): return Same()
for name in NAMES:
    globals()[name] = same
""",
    "the judge's own functions": """
import torch
import heed.coursework.cases as cases, heed.coursework.values as values, heed.coursework.worker as worker
cases.first_difference = cases.Case.fault = lambda *given: ""
cases.Property.fault = lambda given: ""
values.kind_of = lambda value: "right"
def nothing(*given, **named): return torch.zeros(2, 3, 5)
for name in NAMES:
    globals()[name] = nothing
""",
    "whatever is right in here": """
import importlib
found = [one for one in gc.get_objects() if type(one).__name__ == "Case"]
for module in list(sys.modules.values()):
    found += [case for some in getattr(module, "CASES", {}).values() for case in some]
for name in NAMES:
    globals()[name] = lambda *given, **named: found[0].right
""",
    "a line without end": """
threading.Thread(target=lambda: [say("[" * 9_000_000) for _ in range(9)]).start()
""",
    "lists in lists": """
def deep(*given, **named):
    say('{"value": ' + "[" * 100_000 + "]" * 100_000 + "}")
for name in NAMES:
    globals()[name] = deep
""",
    "sizes that are claimed": """
def large(*given, **named):
    say({"value": {"tensor": [], "shape": [2**62, 2**62, 0], "dtype": "float32"}})
    say({"value": {"numpy": 1, "dtype": "1000000000i8"}}, {"value": {"tensor": [1], "shape": [-1], "dtype": "float32"}})
for name in NAMES:
    globals()[name] = large
""",
    "answers for itself": """
def answer(*given, **named):
    for pipe in range(3, 40):
        try:
            os.write(pipe, b"+" * 99)
        except OSError:
            pass
for name in NAMES:
    globals()[name] = answer
""",
    "a name that is none": """
say({"file": FILE, "begins": [1]}, {"file": [FILE]}, {"file": FILE, "begins": {"a": 1}})
""",
    "no number": """
import torch, numpy as np
def odd(*given, **named): return [np.array(["x"]), {1: 2}, torch.ones(2, dtype=torch.complex64), 10**5000, "\\udcff"]
for name in NAMES:
    globals()[name] = odd
""",
}  # fmt: skip
FILES = ("attention.py", "bpe.py", "span_corruption.py", "lora.py")  # the third attack is for the third of them


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, len(FORGED), 4))
def test_no_file_grades_itself(tmp_path, first):
    attacks = list(FORGED.items())[first : first + 4]
    shutil.copy(SOLUTION / HONEST, tmp_path)
    for file, (_, text) in zip(FILES, attacks, strict=False):
        lines = (SOLUTION / file).read_text(encoding="utf-8").splitlines()
        names = [line[4:].partition("(")[0] for line in lines if line.startswith("def ")]
        (tmp_path / file).write_text(f"FILE, NAMES = {file!r}, {names!r}\n{WRITE}{text}", encoding="utf-8")
    for grade in grade_folder(tmp_path, 3.0):
        if grade.there:
            assert [one for one in grade.functions if (one.state == "passes") != (grade.file == HONEST)] == []
            assert all("\n" not in one.said and len(one.said) < 5000 for one in grade.functions)


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -(2**70), 1.5, float("inf"), "é\udcff", [], (1, [2.0, "a"]), np.int64(3), np.bool_(True),
     np.ones(2), torch.eye(3), torch.ones(0, 4), torch.tensor(7), torch.arange(4), torch.ones(2, dtype=torch.bool),
     torch.tensor([1 / 3, -0.0, torch.inf]), torch.tensor([0.1], dtype=torch.float64),
     torch.ones(2, dtype=torch.bfloat16)],
    ids=str,
)  # fmt: skip
def test_a_value_is_the_same_behind_the_pipe(value):
    found = rebuilt(json.loads(json.dumps(plain(value))))
    assert type(found) is type(value)
    if isinstance(value, torch.Tensor | np.ndarray):
        assert found.dtype == value.dtype
        assert found.shape == value.shape
        assert (found == value).all()
    else:
        assert found == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1: 2}, "a dict"),
        (torch.ones(MOST + 1), f"a tensor of the shape ({MOST + 1},)"),
        (torch.ones(2, dtype=torch.complex64), "a tensor of complex64"),
        (torch.eye(2).to_sparse(), "a tensor of float32"),
        (np.array(["x"]), "a ndarray"),
        (10**5000, "a int"),
    ],
    ids=["dict", "large", "complex", "sparse", "array of texts", "long"],
)
def test_what_is_no_answer_is_only_called_by_its_name(value, said):
    assert rebuilt(json.loads(json.dumps(plain(value)))) == NoAnswer(said)
    assert f"it gives {said}, " in judged(CASES["attend"][0], {"value": plain(value)})[1]


@pytest.mark.parametrize("outcome", [None, 3, [], {}, {"value2": 1}, {"raised": 1}, {"state": "passes"}], ids=str)
def test_what_no_worker_sends_is_no_grade(outcome):
    with pytest.raises(_LostError, match="writes into the answers"):
        judged(CASES["attend"][0], outcome)


@pytest.mark.parametrize(
    "made", [{"tensor": [1.0], "shape": [2], "dtype": "float32"}, {"tensor": ["a"], "shape": [1], "dtype": "int8"},
             {"numpy": 1, "dtype": "O"}, {"numpy": [1], "dtype": "9i8"}, {"numpy": 1, "dtype": "x"}, {"a": 1}, [[{}]]],
    ids=str,
)  # fmt: skip
def test_a_forged_value_is_wrong(made):
    assert judged(CASES["attend"][0], {"value": made})[0] == "fails"
