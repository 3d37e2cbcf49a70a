"""A run keeps the code of a mechanism or score that is not heed's, and uses it only when that was asked for."""

import json
import sys

import pytest

from cli.conftest import TINY, write_text
from heed.cli import main

MECHANISM = '''
from heed.attention import Facts, Mechanism

class Mean(Mechanism):
    """A mean of everything that may be seen."""

    facts = Facts(
        equation="mean of v", source="a test", causal="exact", differentiable="all",
        masks=frozenset({"causal", "padding"}),
        positions=frozenset({"none", "learned", "sinusoidal"}), time="T^2 D", memory="H T^2", growth=(2, 2),
        cache="keys", grouped=False, weights=False, scores=frozenset(), inputs="v",
    )

    def forward(self, q, k, v, mask, bias=None):
        seen = mask.dense(v.device)
        if seen is None:
            seen = v.new_ones(1, 1, dtype=bool)
        seen = seen.expand(*seen.shape[:-2], mask.T, mask.S).to(v.dtype)
        return SCALE * (seen @ v) / seen.sum(-1, keepdim=True).clamp(min=1)

SCALE = 1.0
'''
SCORE = "def shifted(q, k):\n    return (q * k).sum(-1) + 1\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a text, a mechanism and a score, and a run with both names; their modules are forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    write_text(tmp_path / "a.txt", 200)
    (tmp_path / "own_mean.py").write_text(MECHANISM)
    (tmp_path / "own_score.py").write_text(SCORE)
    yield tmp_path
    forget()


def forget():
    for name in ("own_mean", "own_score"):
        sys.modules.pop(name, None)


def train(name, *more):
    argv = ["train", "a.txt", *TINY, "--tokenizer.kind", "char", "--run.name", name, *more]
    assert main(argv) == 0
    forget()


def loss(capsys, run, *more):
    capsys.readouterr()
    assert main(["eval", run, "--json", *more]) == 0
    forget()
    return json.loads(capsys.readouterr().out)["results"][0]["loss"]


def refused(capsys, *argv):
    capsys.readouterr()
    assert main(list(argv)) == 2
    forget()
    said = capsys.readouterr().err
    assert said.count("\n") <= 4
    return said.splitlines()[-1]


CASES = {
    "mechanism": ("--model.attention.mechanism", "own_mean:Mean", "own_mean.py", MECHANISM.replace("1.0", "3.0")),
    "score": ("--model.attention.score", "own_score:shifted", "own_score.py", SCORE.replace("+ 1", "* 9")),
}


@pytest.mark.parametrize("what", CASES)
def test_the_copy_of_a_run_is_used_when_asked_for(place, what, capsys, monkeypatch):
    setting, name, file, other = CASES[what]
    train("one", setting, name)
    copy = place / "runs" / "one" / "code" / file
    assert copy.read_bytes() == (place / file).read_bytes()
    before = loss(capsys, "runs/one")

    (place / file).write_text(other)  # it is another one by now
    said = refused(capsys, "eval", "runs/one")
    assert f"was trained with {name}, which is another one by now" in said
    assert "--trust-code" in said
    assert loss(capsys, "runs/one", "--trust-code") == before
    assert "is another one by now" in refused(capsys, "train", "--resume", "runs/one", "--train.steps", "9")

    (place / file).unlink()  # it is gone
    assert "cannot be imported here" in refused(capsys, "sample", "runs/one")
    assert loss(capsys, "runs/one", "--trust-code") == before
    assert main(["train", "--resume", "runs/one", "--train.steps", "9", "--trust-code"]) == 0
    forget()

    copy.write_text(other)  # the copy has been altered
    assert "not as heed wrote it" in refused(capsys, "eval", "runs/one", "--trust-code")

    (place / file).write_text(MECHANISM if what == "mechanism" else SCORE)  # it is back
    loss(capsys, "runs/one")


def test_what_is_asked_for_ends_with_the_command(place, capsys):
    train("one", *CASES["mechanism"][:2])
    (place / "own_mean.py").unlink()
    loss(capsys, "runs/one", "--trust-code")
    assert "--trust-code" in refused(capsys, "eval", "runs/one")


def test_a_record_that_points_elsewhere_runs_nothing(place, capsys):
    train("one", *CASES["mechanism"][:2])
    (place / "own_mean.py").unlink()
    (place / "evil.py").write_text(f"open({str(place / 'ran')!r}, 'w')")
    file = place / "runs" / "one" / "environment.json"
    content = json.loads(file.read_text())
    for module in ("../../evil", "/etc/passwd", "", "a b", "evil\n"):
        content["code"]["own_mean:Mean"]["module"] = module
        file.write_text(json.dumps(content))
        (place / "runs" / "one" / "hashes.json").unlink(missing_ok=True)
        assert "damaged" in refused(capsys, "eval", "runs/one", "--trust-code")
    for code in (3, [], {"own_mean:Mean": 3}, {"own_mean:Mean": {}}):
        file.write_text(json.dumps({**content, "code": code}))
        refused(capsys, "eval", "runs/one", "--trust-code")
    assert not (place / "ran").exists()


def test_a_copy_that_needs_more_than_itself_says_so(place, capsys):
    (place / "own_mean.py").write_text("import helper_of_mine\n" + MECHANISM)
    (place / "helper_of_mine.py").write_text("")
    train("one", *CASES["mechanism"][:2])
    sys.modules.pop("helper_of_mine", None)
    (place / "own_mean.py").unlink()
    (place / "helper_of_mine.py").unlink()
    said = refused(capsys, "eval", "runs/one", "--trust-code")
    assert "does not work by itself: ModuleNotFoundError" in said


def test_heeds_own_leave_no_code(place):
    train("one")
    assert not (place / "runs" / "one" / "code").exists()
    assert "code" not in json.loads((place / "runs" / "one" / "environment.json").read_text())


def test_a_run_that_is_written_over_loses_its_code(place):
    train("one", *CASES["mechanism"][:2])
    train("one", "--overwrite")
    assert not (place / "runs" / "one" / "code").exists()
