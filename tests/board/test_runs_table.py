"""No overview: what runs there are, how they are, and which of their figures may be compared."""

import contextlib
import csv
import io
import json
import os
import random
import re
import subprocess
import sys

import pytest

from heed import files
from heed.board.finding import Skipped, find_folders
from heed.board.selecting import Condition, arrange, choose
from heed.board.summary import summarise
from heed.cli import main
from heed.errors import ConfigError
from heed.records.events import EndEvent, EvaluationEvent, TrainEvent, hold, last_events, read_event
from heed.report.record import gather
from report.fake_runs import figures, metrics, write_classifier, write_run


@contextlib.contextmanager
def working(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def ask(capsys, *argv):
    """Return (exit code, standard output, standard error) of `heed runs`."""
    code = main(["runs", *map(str, argv)])
    said = capsys.readouterr()
    return code, said.out, said.err


def figure(loss, **passport):
    found = figures(loss)
    return {"validation": found | {"passport": found["passport"] | passport}}


def make(root, name, loss=3.0, positions="learned", end="finished", steps=1000, **passport):
    events = [event for event in metrics(200, 20) if event["event"] != "sample"]
    config = {"model": {"positions": positions}, "train": {"steps": steps}, "data": {"source": "texts/book.txt"}}
    return write_run(root / name, events=events, end=end, config=config, evaluation=figure(loss, **passport), texts=[])


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "runs"
    make(folder, "a", 3.1)
    make(folder, "b", 2.9, "rotary", steps=200)
    make(folder, "deep/er/c", 3.0, "rotary", end=None)
    make(folder, "other", 2.5, context=64, stride=64)
    return folder


def test_each_run_has_its_row_and_its_state(root, capsys):
    with working(root):
        code, out, _ = ask(capsys, ".")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line}
    assert rows.keys() >= {"run", "a", "b", "deep/er/c", "other", "a:", "b:"}
    assert "200/1,000" in rows["a"]
    assert "finished" in rows["b"]
    assert "interrupted" in rows["deep/er/c"]
    assert "3.1000" in rows["a"]  # the loss
    assert "context 128" in rows["a:"] + rows["b:"]
    assert "context 64" in rows["a:"] + rows["b:"]


def test_the_row_says_what_the_whole_record_says(root):
    """By the other route: the whole of metrics.jsonl, as the page of a run reads it."""
    for found in find_folders([root]):
        run, whole = summarise(found.path, found.name), gather(found.path)
        assert run.step == whole.steps
        assert run.seconds == whole.last.seconds
        assert run.tokens == whole.last.tokens
        assert run.figures["loss"] == whole.evaluation["validation"].loss
        assert run.figures["word_perplexity"] == whole.evaluation["validation"].word_perplexity
        assert run.settings["model.positions"] == whole.setting("model.positions")


def test_the_end_of_a_file_says_what_the_whole_file_says(tmp_path):
    """Whatever was resumed, cut off, or lies in lines longer than a block."""
    noise, path = random.Random(5), tmp_path / "metrics.jsonl"
    for _ in range(60):
        lines, step = [], 0
        for _ in range(noise.randrange(40)):
            kind = noise.choice(["train", "train", "evaluation", "sample", "resume", "end", "checkpoint"])
            step = noise.randrange(step + 1) if kind == "resume" else step + noise.randrange(3)
            more = {"texts": [{"text": '"event": "train"' * noise.choice([1, 9000])}]} if kind == "sample" else {}
            lines.append({"event": kind, "step": step, "loss": noise.random()} | more)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        path.write_text(text[: len(text) - noise.choice([0, 0, 5])])
        read = [json.loads(line) for line in path.read_text().split("\n") if line.endswith("}")]
        held = hold(filter(None, map(read_event, read)))[0]
        found = last_events(path)
        for kind in (TrainEvent, EvaluationEvent):
            want = [event.plain() for event in held if isinstance(event, kind)][-1:]
            assert [event.plain() for event in found if isinstance(event, kind)] == want
        ended = any(isinstance(event, EndEvent) for event in held)
        if ended and isinstance(held[-1], EndEvent):
            assert isinstance(found[-1], EndEvent)
        if not ended:
            assert not any(isinstance(event, EndEvent) for event in found)


def test_a_running_run_says_so_and_one_whose_process_died_does_not(root):
    folder = root / "deep" / "er" / "c"
    with files.locked(folder / ".lock", "training"):
        assert summarise(folder, "c").state == "running"
        assert summarise(folder, "c").left == pytest.approx((1000 - 200) * 0.118)
    (folder / ".lock").write_text("process 1 is training")  # which nobody holds
    assert summarise(folder, "c").state == "interrupted"


def test_looking_at_a_lock_keeps_nobody_out(root):
    """Another process that takes the lock while it is looked at gets it."""
    lock = root / "a" / ".lock"
    code = f"from heed.files import is_held; from pathlib import Path\nwhile True: is_held(Path({str(lock)!r}))"
    with subprocess.Popen([sys.executable, "-c", code]) as looking:
        for _ in range(200):
            with files.locked(lock, "training"):
                pass
        looking.kill()


def test_figures_of_unlike_passports_are_never_in_one_order(root, capsys):
    _, out, _ = ask(capsys, root, "--sort", "word_perplexity")
    groups = [line for line in out.splitlines() if line.startswith("--")]
    assert len(groups) == 2
    assert "context 128" in groups[0]
    assert "context 64" in groups[1]
    found = json.loads(ask(capsys, root, "--sort", "word_perplexity", "--json")[1])
    names = [(run["group"], run["run"].rpartition("/")[2]) for run in found["runs"]]
    assert names == [(0, "b"), (0, "c"), (0, "a"), (1, "other")]  # the best of all stands last
    worst = json.loads(ask(capsys, root, "--sort", "word_perplexity", "--reverse", "--json")[1])
    assert [run["run"].rpartition("/")[2] for run in worst["runs"]] == ["a", "c", "b", "other"]


def test_only_what_moves_a_figure_keeps_runs_apart(root):
    """Another tokenizer moves the loss, and not the bits of a byte."""
    make(root, "words", 2.0, tokenizer="word 900 1234", tokens=9_000)
    runs = [summarise(found.path, found.name) for found in find_folders([root])]
    assert [len(group.runs) for group in arrange(runs, "bits_per_byte")] == [4, 1]
    assert [len(group.runs) for group in arrange(runs, "loss")] == [3, 1, 1]


def test_accuracies_are_sorted_with_the_highest_first_and_runs_without_one_apart(root):
    write_classifier(root / "classes")
    runs = [summarise(found.path, found.name) for found in find_folders([root])]
    groups = arrange(runs, "accuracy")
    assert [len(group.runs) for group in groups] == [1, 4]
    assert groups[1].about == "no accuracy that could be compared"


def test_a_letter_means_what_its_run_was_measured_on(root, capsys):
    """In every order: the letter beside a figure leads to the passport that the run's own file holds."""
    with working(root):
        for flags in ([], ["--reverse"], ["--sort", "loss"], ["--sort", "name", "--reverse"]):
            lines = ask(capsys, ".", *flags)[1].splitlines()
            meaning = {line[0]: line for line in lines if re.match("[a-z]: ", line)}
            for name, context in (("a", 128), ("b", 128), ("deep/er/c", 128), ("other", 64)):
                row = next(line for line in lines if line.split() and line.split()[0] == name)
                letter = re.search(r"\d\.\d{4} .*? ([a-z])  ", row)[1]
                assert f"context {context}," in meaning[letter], (flags, row)


def test_conditions(root, capsys):
    def names(*conditions):
        flags = [word for one in conditions for word in ("--where", one)]
        return [run["run"].rpartition("/")[2] for run in json.loads(ask(capsys, root, *flags, "--json")[1])["runs"]]

    assert sorted(names("model.positions=rotary")) == ["b", "c"]
    assert names("model.positions=rotary", "state=interrupted") == ["c"]
    assert sorted(names("train.steps>=1000")) == ["a", "c", "other"]
    assert names("loss<2.6") == ["other"]
    assert names("name~deep") == ["c"]
    assert sorted(names("model.positions!=rotary")) == ["a", "other"]
    assert sorted(names("model.preset=null")) == ["a", "b", "c", "other"]
    assert names("leaks=true") == []
    assert sorted(names("train.learning-rate=1e-3")) == ["a", "b", "c", "other"]


def test_a_name_that_is_none_is_an_error_and_one_that_some_lack_is_said(root, capsys):
    assert ask(capsys, root, "--where", "positions=rotary")[0] == 2
    assert main(["runs", str(root), "--where", "model.positoins=rotary"]) == 2
    assert "did you mean 'model.positions'" in capsys.readouterr().err
    assert main(["runs", str(root), "--sort", "perplexity"]) == 2
    assert main(["runs", str(root), "--where", "steps"]) == 2
    assert "--where 'steps': write a name" in capsys.readouterr().err.splitlines()[-1]
    with (root / "a" / "config.yaml").open("a") as file:
        file.write("new: {thing: 3}\n")
    (root / "a" / "hashes.json").unlink()
    chosen, notes = choose([summarise(found.path, found.name) for found in find_folders([root])],
                           [Condition.read("new.thing=3")])  # fmt: skip
    assert len(chosen) == 1
    assert notes == ["left out, since they have no new.thing: 3 of 4"]


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "evaluation.json", "metrics.jsonl", "hashes.json"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[", b"[1]", b"{}", b"null"])
def test_a_damaged_run_names_its_file_and_breaks_no_table(root, capsys, name, content):
    (root / "a" / name).write_bytes(content)
    code, out, err = ask(capsys, root)
    assert (code, err) == (0, "")
    assert out.count(str(root)[:12]) >= 4
    found = json.loads(ask(capsys, root, "--json")[1])["runs"]
    assert len(found) == 4
    bad = next(run for run in found if run["run"].endswith("/a"))
    if name == "config.yaml" or bad["state"] == "damaged":
        assert name in " ".join(bad["notes"])


def test_a_run_that_leaks_says_so(root, capsys):
    folder = root / "a"
    values = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps(values | {"leaks": "token 3 sees token 4"}))
    assert "finished, LEAKS" in ask(capsys, folder)[1]


def test_csv_holds_all_and_no_formula(root, capsys):
    make(root, "=cmd", 3.3)
    rows = list(csv.DictReader(io.StringIO(ask(capsys, root, "--csv")[1])))
    assert len(rows) == 5
    assert {row["model.positions"] for row in rows} == {"learned", "rotary"}
    assert {float(row["loss"]) for row in rows} == {3.1, 2.9, 3.0, 2.5, 3.3}
    with working(root.parent / "runs" / "=cmd"):
        assert not any(
            cell.startswith("=") for row in csv.reader(io.StringIO(ask(capsys, ".", "--csv")[1])) for cell in row
        )


def test_links_are_not_followed_and_said(root, tmp_path, capsys):
    make(tmp_path, "outside")
    (root / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    code, out, err = ask(capsys, root)
    assert code == 0
    assert "outside" not in out
    assert re.match(r"note: links that are not followed.*: 1$", err.splitlines()[0])


def test_folders_that_are_not_there(tmp_path, capsys):
    with working(tmp_path):
        assert ask(capsys)[0] == 2
        assert ask(capsys, "nowhere")[0] == 2
        (tmp_path / "runs").mkdir()
        code, out, _ = ask(capsys)
        assert (code, out.strip()) == (0, "no run in runs")


def test_closed_folders_are_said(root):
    if os.geteuid() == 0:
        skipped = Skipped(closed=2)
    else:
        (root / "deep").chmod(0)
        skipped = Skipped()
        find_folders([root], skipped)
        (root / "deep").chmod(0o700)
    assert "cannot be opened" in skipped.notes()[0]


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", "é ü", "x" * 200, "-", "--where", "<img src=x onerror=1>"])
def test_odd_names_stay_in_their_row(root, capsys, name):
    make(root, name)
    _, out, _ = ask(capsys, root)
    assert "\x1b" not in out
    assert len([line for line in out.splitlines() if "LEAKS" in line]) == 0
    assert len(json.loads(ask(capsys, root, "--json")[1])["runs"]) == 5


def test_no_torch_is_loaded(root):
    code = (
        "import sys; from heed.cli import main; main(['runs', sys.argv[1]]); "
        "assert not {'torch', 'scipy', 'matplotlib', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True, capture_output=True)


def test_a_condition_that_is_none():
    with pytest.raises(ConfigError):
        Condition.read("= 3")
