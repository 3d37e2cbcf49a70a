"""`heed tune` as a user meets it: what it prints, what it refuses in one line, and what it leaves."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import settled
from cli.test_bad_input import complaint
from tuning.small import labelled, write_table
from tuning.tiny_encoders import SHALLOW, save_tiny, tokenizer

QUICK = [
    "--max-length",
    "16",
    "--seeds",
    "1",
    "--epochs",
    "1",
    "--search",
    "none",
    "--batch-size",
    "8",
    "--threads",
    "1",
]
BERT = SHALLOW


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return save_tiny(BERT, tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return write_table(tmp_path_factory.mktemp("texts") / "films.csv", 40)


@pytest.fixture
def run(heed, place, tmp_path):
    """Tune in a second: `run(table, ...)` with the tiny encoder, a head, and a folder of its own."""

    def tune(source, *argv, encoders=place, methods="head"):
        chosen = ["--encoders", encoders, "--methods", methods, "--out", tmp_path / "out"]
        return heed("tune", source, *QUICK, *chosen, *argv)

    return tune


def test_json_is_one_object_and_nothing_else(run, table, tmp_path):
    answer = run(table, "--json", methods="head,lora")
    assert answer.code == 0
    record = json.loads(answer.out)
    assert [arm["status"] for arm in record["arms"]] == ["done", "done"]
    assert Path(record["page"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    kept = json.loads((tmp_path / "out" / "tune.json").read_text(encoding="utf-8"))
    assert {key: value for key, value in record.items() if key != "page"} == kept
    assert record["command"][:2] == ["heed", "tune"]


def test_lines_for_people_and_the_page_again(run, heed, table, tmp_path):
    first = run(table)
    assert first.code == 0
    assert "head" in first.out
    assert first.out.splitlines()[-1] == f"report: {tmp_path / 'out' / 'report.html'}"
    (tmp_path / "out" / "report.html").unlink()
    again = heed("tune", tmp_path / "out", "--report")
    assert (again.code, again.out) == (0, first.out)
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("lines", "classes"),
    [
        (["text,label", "good,film", "bad,film not", "fine,film", "dull,film not"], ["film", "film not"]),
        (["text,label", "good,1", "bad,-1", "fine,1", "dull,-1"], ["-1", "1"]),
        (["text,label", "good,true", "bad,false", "fine,true", "dull,false"], ["false", "true"]),
        ([json.dumps({"text": w, "label": w in ("good", "fine")}) for w in ("good", "bad", "fine", "dull")],
         ["false", "true"]),
        ([json.dumps({"text": w, "label": n}) for n, w in enumerate(("good", "bad", "fine", "dull"))],
         ["0", "1", "2", "3"]),
    ],
)  # fmt: skip
def test_labels_as_words_numbers_and_booleans(run, tmp_path, lines, classes):
    head, *rows = lines if lines[0] == "text,label" else ["", *lines]
    suffix = "csv" if head else "jsonl"
    for name in ("train", "dev"):
        (tmp_path / f"{name}.{suffix}").write_text("\n".join([*([head] if head else []), *rows]) + "\n")
    held = ["--validation", tmp_path / f"dev.{suffix}", "--test", tmp_path / f"dev.{suffix}"]
    answer = run(tmp_path / f"train.{suffix}", *held, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["data"]["classes"] == classes


def test_a_mistyped_column(run, table):
    line = complaint(run(table, "--text", "txt"))
    assert "'txt'" in line
    assert "'text'" in line
    line = complaint(run(table, "--label", "stars"))
    assert "'stars'" in line
    assert "choose one of 'text', 'label'" in line


def test_one_class_only(run, tmp_path):
    (tmp_path / "t.csv").write_text("text,label\n" + "good,pos\nfine,pos\n" * 10)
    assert "class" in complaint(run(tmp_path / "t.csv"))
    assert not (tmp_path / "out").exists()


def test_a_label_that_training_never_had(run, table, tmp_path):
    (tmp_path / "dev.csv").write_text("text,label\ngood,pos\nbad,neutral\n")
    line = complaint(run(table, "--validation", tmp_path / "dev.csv"))
    assert "dev.csv, line 3" in line
    assert "'neutral'" in line


def test_an_empty_text(run, tmp_path):
    rows = [f"{text},{label}" for text, label in labelled(20)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *rows, ",pos"]) + "\n")
    line = complaint(run(tmp_path / "t.csv"))
    assert "t.csv, line 22" in line


def test_a_broken_line_of_json(run, tmp_path):
    (tmp_path / "t.jsonl").write_text('{"text": "good", "label": 1}\n{"text": "bad", "label\n')
    assert "t.jsonl, line 2 is not valid JSON" in complaint(run(tmp_path / "t.jsonl"))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--methods", "lorra"], "unknown method 'lorra', did you mean 'lora'?"),
        (["--methods", "full+head"], "with full everything learns already: leave the rest of full+head out"),
        (["--methods", "lora,lora"], "names nothing, or something twice"),
        (["--method.rnk", "4"], "method.rnk: unknown setting, did you mean 'rank'?"),
        (["--rank", "4"], "unknown option --rank, did you mean '--method.rank'?"),
        (["--method.rank", "4"], "method.rank: head does not read it"),
        (["--method.name", "lora"], "method.name: heed tune sets it; give --methods"),
        (["--encoder.name", "x"], "encoder.name: heed tune sets it; give --encoders"),
        (["--train.learning-rate", "1"], "train.learning_rate: heed tune sets it; give --rates"),
        (["--train.steps", "10"], "train.steps: heed tune sets it; give --epochs"),
        (["--run.name", "mine"], "run.name: heed tune sets it; give --out"),
        (["--train.batch-size", "16"], "train.batch_size is given twice, as --batch-size and --train.batch-size"),
        (["--epochs", "3,x"], "--epochs: '3,x' is no list of numbers"),
        (["--epochs", "0"], "--epochs: '0' must be positive numbers, each once"),
        (["--rates", "1e-3,nan"], "--rates: '1e-3,nan' must be positive numbers"),
        (["--sizes", "10,100000"], "100,000 examples are asked for of a split that has 32"),
        (["--search", "random"], "--search: 'random' is none of grid, optuna, none"),
        (["--methods", "head,lora", "--method.targets", "qury"], "method.targets: 'qury' matches no linear map"),
        (["--soup", "--seeds", "1"], "--soup: it is the mean of several seeds: take --seeds 2 or more"),
        (["--soup", "--methods", "lora", "--seeds", "2"], "--soup: seeds of lora begin at random and have no mean"),
        (["--max-length", "100"], "encoder.max_length: 100 is more than the 64 positions"),
        (["--class-weights", "some"], "--class-weights"),
        (["--overfit", "1000"], "--overfit: there are only 32 training texts"),
        (["--device", "cuda" if not os.path.exists("/dev/nvidia0") else "mps"], "run.device: torch finds no"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_trained(run, table, tmp_path, argv, words):
    answer = run(table, *argv)
    assert words in complaint(answer)
    assert not (tmp_path / "out").exists()
    assert answer.err.count("\n") == 1


def test_a_size_of_a_batch_that_is_none(heed, table):
    line = complaint(heed("tune", table, "--train.batch-size", "few"))
    assert line.startswith("heed: train.batch_size: ")
    assert "few" in line


def test_the_largest_batch_is_found_and_said(run, table):
    answer = run(table, "--batch-size", "auto", methods="head,mean-full")
    assert answer.code == 0, answer.err
    assert "mean-full: batch size 2: the limit (tried 1, 2)" in answer.err
    assert "batch size 2 for every arm" in answer.err


def test_targets_are_written_with_commas(run, table):
    answer = run(table, "--method.targets", "query,key", "--method.rank", "2", "--json", methods="lora")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["arms"][0]["options"]["targets"] == ["query", "key"]
    assert json.loads(answer.out)["arms"][0]["trained_parameters"] == 2 * 2 * 32 + 34


def test_an_unknown_encoder(run, table, tmp_path):
    line = complaint(run(table, encoders="minilmm"))
    assert "there is no folder minilmm here" in line
    line = complaint(run(table, encoders=f"{tmp_path}/no such folder"))
    assert "an encoder is minilm, a folder, or a name on the hub such as roberta-base" in line


def test_a_tokenizer_of_another_checkpoint(run, table, tmp_path):
    place = save_tiny(BERT, tmp_path)
    tokenizer("roberta", lower=False).save_pretrained(place)
    assert "they are of different checkpoints; take both files from one" in complaint(run(table, encoders=place))


def test_pickled_weights_are_not_opened(run, table, tmp_path):
    place = save_tiny(BERT, tmp_path)
    (place / "model.safetensors").rename(place / "pytorch_model.bin")
    assert "pickled weights are not opened because they can run code" in complaint(run(table, encoders=place))


def test_without_peft_the_others_go_on(run, table, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    answer = run(table, "--json", methods="head,lora")
    assert answer.code == 0
    head, lora = json.loads(answer.out)["arms"]
    assert (head["status"], lora["status"]) == ("done", "failed")
    assert "pip install 'heed-lm[tune]'" in lora["reason"]


def test_without_peft_and_nothing_else_asked_for(run, table, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "'peft', which is not installed: pip install 'heed-lm[tune]'" in complaint(run(table, methods="lora"))


def test_other_texts_in_the_same_folder(run, table, tmp_path):
    assert run(table).code == 0
    other = write_table(tmp_path / "other.csv", 40, seed=5)
    line = complaint(run(other))
    assert "holds a tune of other texts or splits (films): choose another --out, or --overwrite" in line
    assert run(other, "--overwrite").code == 0


def test_balanced_classes_and_other_settings_reach_the_runs(run, table, tmp_path):
    assert run(table, "--class-weights", "balanced", "--train.optimizer", "sgd").code == 0
    config = (tmp_path / "out" / "runs" / "head-1" / "config.yaml").read_text()
    assert "class_weights: balanced" in config
    assert "optimizer: sgd" in config


def test_by_heart(run, table, tmp_path):
    answer = run(table, "--overfit", "4", methods="mean-full")
    assert (answer.code, answer.out) == (0, "mean-full: 100 % of the texts by heart\n")
    answer = run(table, "--overfit", "4", "--json", methods="mean-full")
    assert json.loads(answer.out) == {"mean-full": 1.0}
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in (tmp_path / "out-overfit").iterdir()) == [
        "hashes.json", "overfit.json", "report.html",
    ]  # fmt: skip


def test_not_by_heart_is_exit_code_1(run, table, monkeypatch):
    monkeypatch.setattr("heed.studies.by_heart.MOST_STEPS", 10)
    answer = run(table, "--overfit", "20")
    assert answer.code == 1
    assert answer.out.startswith("head: ")
    assert "100 %" not in answer.out


def test_a_full_disk_is_one_line(run, table, tmp_path):
    """A real refusal by the system: no file of this process may grow beyond 6,000 bytes."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, limits[1]))
    try:
        answer = run(table, methods="mean-full,head")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "cannot be written" in complaint(answer) or "could not be written" in complaint(answer)
    assert "mean-full: failed" not in answer.err  # it is no fault of the method
    assert run(table, methods="mean-full,head").code == 0  # there is room again


def test_a_folder_that_cannot_be_made(run, table, heed, place, tmp_path):
    (tmp_path / "file").write_text("no folder")
    argv = ["--encoders", place, "--methods", "head", "--out", tmp_path / "file" / "out"]
    assert "cannot be written: Not a directory" in complaint(heed("tune", table, *QUICK, *argv))


def test_verbs_for_other_runs_say_what_to_do(run, heed, table, tmp_path):
    assert run(table).code == 0
    folder = tmp_path / "out" / "runs" / "head-1"
    for argv in (["sample", folder], ["eval", folder], ["train", "--resume", folder]):
        assert "is a run of heed tune: ask it with heed predict" in complaint(heed(*argv))
    assert f"heed tune {tmp_path / 'out'} --report" in complaint(heed("report", folder))
    assert f"heed tune {tmp_path / 'out'} --report" in complaint(heed("report", tmp_path / "out"))


def test_no_tune_to_report(heed, tmp_path, monkeypatch):
    assert "holds no tune.json" in complaint(heed("tune", tmp_path, "--report"))
    monkeypatch.chdir(tmp_path)
    assert "tunes/films holds no tune.json" in complaint(heed("tune", "films.csv", "--report"))


def test_report_by_the_name_of_the_texts(heed, place, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert heed("tune", table, *QUICK, "--encoders", place, "--methods", "head").code == 0
    answer = heed("tune", table, "--report")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "report: tunes/films/report.html")


def test_what_was_read_is_said_first(run, table):
    """Classes, balance, lengths, duplicates, leakage, and how the splits came about."""
    lines = run(table).err.splitlines()
    assert lines[0] == "films: 2 classes"
    assert lines[1].split()[:4] == ["texts", "neg", "pos", "majority"]
    assert [line.split()[0] for line in lines[2:5]] == ["train", "validation", "test"]
    assert lines[5] == "no text stands in two splits"
    assert "held out of training by a fixed hash" in lines[6]


def test_what_of_an_adapter_would_go(run, heed, table, tmp_path):
    assert run(table, methods="lora").code == 0
    folder = tmp_path / "out" / "runs" / "lora-1"
    assert "is written hf:OWNER/NAME" in complaint(heed("export", folder, "--to", "peft", "--push", "me/mine"))
    assert not (folder / "peft").exists()
    answer = heed("export", folder, "--to", "peft", "--push", "hf:me/mine", "--dry-run")
    assert answer.code == 0
    assert "note: adapter_config.json names the encoder by its folder here, /" in answer.err
    names = re.findall(r"^  (\S+)  ", answer.out, re.MULTILINE)
    assert names == sorted(path.name for path in (folder / "peft").iterdir() if not path.name.startswith("."))
    assert {"adapter_config.json", "adapter_model.safetensors", "head.safetensors", "README.md"} <= set(names)
    assert "no-run does not exist" in complaint(heed("export", tmp_path / "no-run", "--to", "peft"))


def test_export_of_a_tune(run, heed, table, tmp_path):
    assert run(table, "--encoder.pooling", "native", methods="lora").code == 0
    answer = heed("export", tmp_path / "out")
    assert (answer.code, answer.out) == (0, f"{tmp_path / 'out' / 'hf'}\n")
    assert "is not empty: give another --out, or --overwrite" in complaint(heed("export", tmp_path / "out"))
    answer = heed("export", tmp_path / "out" / "runs" / "lora-1", "--to", "peft", "--out", tmp_path / "adapter")
    assert answer.code == 0
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert "--checkpoint" in complaint(heed("export", tmp_path / "out", "--checkpoint", "last", "--out", "x"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_a_process_of_its_own(table, place, tmp_path, number):
    """130, and the line that goes on; the same command then ends as if nothing had been."""
    argv = [
        sys.executable,
        "-m",
        "heed",
        "tune",
        str(table),
        *QUICK,
        "--encoders",
        str(place),
        "--methods",
        "mean-full",
    ]
    argv += ["--epochs", "400", "--out", str(tmp_path / "out")]
    argv = settled(argv)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "validation loss" in line:
                process.send_signal(number)
                break
        out, rest = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, "")
    assert rest.splitlines()[-1].startswith("interrupted, and what was done is kept; go on with: heed tune ")
    assert "heed train --resume" not in rest
    assert json.loads((tmp_path / "out" / "tune.json").read_text())["arms"][0]["status"] == "running"
    assert (tmp_path / "out" / "runs" / "mean-full-1" / "checkpoints").is_dir()
