"""A run that is as it was written comes out again to the last bit; of one that is not, what differs is named."""

import json
import shutil
from pathlib import Path

import pytest

from cli.conftest import TINY, write_text
from cli.damaging import Bench
from heed.verification.checks import close
from heed.verification.repeated import choose


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "runs" / "tiny")
    return tmp_path / "runs" / "tiny"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def states(out: str) -> dict[str, str]:
    return {check["name"].split(",")[0]: check["state"] for check in json.loads(out)["checks"]}


def test_a_whole_run_comes_out_again(heed, run):
    before = contents(run)
    found = heed("verify", run, "--json")
    assert found.code == 0, found.out
    answer = json.loads(found.out)
    assert (answer["holds"], answer["kind"], answer["elsewhere"]) == (True, "run", [])
    names = ["hashes", "checkpoints", "text", "final figures", "samples", "training"]
    assert states(found.out) == dict.fromkeys(names, "same")
    assert contents(run) == before
    found = heed("verify", run)
    assert found.code == 0
    assert found.out.splitlines()[-1] == f"{run}: nothing differs"


def test_the_same_command_twice_gives_the_same_bits(heed, trained, text, tmp_path):
    argv = ["train", text, *TINY, "--tokenizer.kind", "char", "--run.folder", tmp_path, "--run.name", "tiny"]
    assert heed(*argv).code == 0
    for name in ("model.safetensors", "optimizer.safetensors"):
        first, second = (path / "checkpoints" / "step-00000006" / name for path in (trained, tmp_path / "tiny"))
        assert first.read_bytes() == second.read_bytes()
    figures = [(path / "samples.jsonl").read_bytes() for path in (trained, tmp_path / "tiny")]
    assert figures[0] == figures[1]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("config.yaml", "config.yaml is not as heed wrote it"),
        ("environment.json", "environment.json is not as heed wrote it"),
        ("metrics.jsonl", "metrics.jsonl is not as heed wrote it"),
        ("tokenizer.json", "tokenizer.json is not as heed wrote it"),
        ("evaluation.json", "evaluation.json is not as heed wrote it"),
        ("samples.jsonl", "samples.jsonl is not as heed wrote it"),
        ("hashes.json", "hashes.json is damaged"),
        ("checkpoints/step-00000004/model.safetensors", "model.safetensors is cut off or has been altered"),
        ("checkpoints/step-00000006/state.json", "altered"),
    ],
)
def test_one_altered_byte_is_named(heed, run, name, told):
    content = bytearray((run / name).read_bytes())
    half = len(content) // 2
    # of a settings file a digit, so that it stays YAML
    place = half if name != "config.yaml" else next(n for n in range(half, len(content)) if chr(content[n]).isdigit())
    content[place] ^= 1
    (run / name).write_bytes(content)
    found = heed("verify", run)
    assert (found.code, told in found.out) == (1, True), found.out + found.err
    assert "NOT what its record says" in found.out


def edit_json(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_figure_that_was_edited_with_its_hash_is_measured_again(heed, run):
    (run / "hashes.json").unlink()
    edit_json(run / "evaluation.json", lambda values: values["validation"].update(loss=1.0))
    found = heed("verify", run, "--json")
    assert found.code == 1
    assert states(found.out)["final figures"] == "differs"
    assert "validation.loss is 2." in found.out
    assert "the record says 1.0" in found.out


def test_a_curve_that_was_edited_with_its_hash_is_trained_again(heed, run):
    (run / "hashes.json").unlink()
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = max(n for n, line in enumerate(lines) if '"event": "train"' in line)
    event = json.loads(lines[last])
    event["gradient_norm"] += 1e-9
    lines[last] = json.dumps(event)
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = heed("verify", run, "--json")
    assert found.code == 1
    assert [name for name, state in states(found.out).items() if state == "differs"] == ["training"]


def test_elsewhere_a_tolerance_counts_and_is_said(heed, run):
    (run / "hashes.json").unlink()
    edit_json(run / "environment.json", lambda values: values["machine"].update(threads=7))
    edit_json(
        run / "evaluation.json", lambda values: values["validation"].update(loss=values["validation"]["loss"] * 1.00005)
    )
    found = heed("verify", run)
    assert found.code == 0
    assert "close        final figures" in found.out
    assert "not where it was made (threads 7 then, 1 now)" in found.out
    edit_json(
        run / "evaluation.json", lambda values: values["validation"].update(loss=values["validation"]["loss"] * 1.0002)
    )
    assert heed("verify", run).code == 1


def trained_on(heed, folder, monkeypatch):
    monkeypatch.chdir(folder)
    write_text(Path("own.txt"), 120)
    flags = [*TINY, "--tokenizer.kind", "char", "--run.folder", "runs", "--run.name", "own"]
    assert heed("train", "own.txt", *flags).code == 0
    return Path("runs/own")


def test_token_files_are_read_wholly_and_not_mended(heed, tmp_path, monkeypatch):
    run = trained_on(heed, tmp_path, monkeypatch)
    file = next(path for path in Path("runs/.tokens").iterdir() if "train" in path.name)
    content = bytearray(file.read_bytes())
    content[-12] ^= 1
    file.write_bytes(content)
    found = heed("verify", run)
    assert (found.code, f"{file.name} is not as it was written" in found.out) == (1, True), found.out
    assert file.read_bytes() == content
    assert heed("eval", run, "--verify").code == 2


def test_another_text_differs_and_one_that_is_gone_cannot_be_tried(heed, tmp_path, monkeypatch):
    run = trained_on(heed, tmp_path, monkeypatch)
    text = Path("own.txt").read_text(encoding="utf-8")
    Path("own.txt").write_text(text.replace("cat", "cow", 1), encoding="utf-8")
    found = heed("verify", run)
    assert (found.code, "own.txt has changed since the training" in found.out) == (1, True)
    Path("own.txt").unlink()
    found = heed("verify", run)
    assert (found.code, "not checked  text: no such file or folder: own.txt" in found.out) == (0, True), found.out
    assert "of what could be tried, 1 could not" in found.out


def test_what_heed_did_not_write_is_refused(heed, tmp_path):
    for folder, told in ((tmp_path, "holds nothing that heed knows"), (tmp_path / "no", "is no folder")):
        found = heed("verify", folder)
        assert (found.code, told in found.err) == (2, True)
    assert heed("verify", tmp_path, "--steps", "0").code == 2


def test_a_run_of_questions_is_not_said_to_be_of_another_text(heed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"Where was {name} born?\t{place}" for name in "ABCDEFGHIKLM" for place in ("Rome",)]
    Path("questions.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    how = [
        "--data.objective",
        "answers",
        "--data.layout",
        "padded",
        "--tokenizer.kind",
        "char",
        "--model.context",
        "48",
    ]
    assert heed("train", "questions.tsv", *TINY, *how, "--run.folder", "runs", "--run.name", "q").code == 0
    assert "has changed" not in heed("eval", "runs/q").err
    found = heed("verify", "runs/q", "--json")
    assert (found.code, states(found.out)["text"]) == (0, "same"), found.out


def test_where_steps_are_repeated_from():
    class Step:
        def __init__(self, step):
            self.step = step

    class Record:
        train = tuple(Step(n) for n in (1, 10, 20, 30))
        changes = ()
        threads = ()

    assert choose(Record, [20, 30], 3) == (20, 30)
    assert choose(Record, [30], 3) == (0, 10)
    assert choose(Record, [27, 30], 4) == (0, 10)
    Record.changes = [Step(25)]
    assert choose(Record, [20, 27], 5) == (27, 30)
    assert choose(Record, [30], 3) == (0, 0)


def test_what_is_counted_may_be_off_further_than_a_loss():
    assert close("test.confusion.0.1", 200, 202)
    assert not close("test.confusion.0.1", 200, 203)
    assert not close("test.passport.tokens", 200, 201)
    assert not close("test.loss", 1.0, None)
    assert close("train 3.gradient_norm", 1.0, 1.0009, times=10)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "inner"), [("tuned", "runs/lora-1"), ("study", "runs/post/seed-1")])
def test_tunes_and_studies(tmp_path, heed, monkeypatch, kind, inner):
    bench = Bench(tmp_path, kind)
    with bench.copy():
        root = Path(bench.root)
        assert heed("verify", root).code == 0
        found = heed("verify", root / inner, "--json")
        assert found.code == 0, found.out
        assert not {"differs", "not checked"} & set(states(found.out).values())
        if kind == "tuned":
            path = root / inner / "predictions-test.jsonl"
            (root / inner / "hashes.json").unlink()
            lines = path.read_text(encoding="utf-8").splitlines()
            first = json.loads(lines[0])
            first["predicted"] = "1" if str(first["predicted"]) == "0" else "0"
            path.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n", encoding="utf-8")
        else:
            (root / inner / "hashes.json").unlink()
            edit_json(root / inner / "evaluation.json", lambda values: values["validation"].update(loss=1.0))
        found = heed("verify", root)
        assert found.code == 1, found.out
