"""`heed predict`: texts, pairs and tables in; lines, JSON and tables out."""

import csv
import gzip
import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys

import pytest

import heed.cli.predict
from cli.test_bad_input import complaint
from forked import forked
from heed.cli import main
from heed.tuning.predict import Predictor
from tuning.small import write_table
from tuning.tiny_encoders import save_tiny

TEXTS = ["a good film", "it was very dull"]


@pytest.fixture(scope="module")
def tune(tmp_path_factory):
    """A tune of one run, through the verb."""
    folder = tmp_path_factory.mktemp("tuned")
    place, table = save_tiny("bert-base-uncased", folder), write_table(folder / "films.csv", 40)
    content = json.loads((place / "tokenizer.json").read_text())  # as BERT's, it makes nothing of some characters
    nothing = {"type": "Replace", "pattern": {"String": "\u200b"}, "content": ""}
    content["normalizer"] = {"type": "Sequence", "normalizers": [content["normalizer"], nothing]}
    (place / "tokenizer.json").write_text(json.dumps(content))
    argv = [
        "tune",
        table,
        "--encoders",
        place,
        "--methods",
        "head",
        "--seeds",
        "1",
        "--epochs",
        "1",
        "--search",
        "none",
    ]
    argv += ["--max-length", "16", "--batch-size", "8", "--threads", "1", "--out", folder / "out"]
    assert main([str(word) for word in argv]) == 0
    return folder / "out"


def test_texts(heed, tune):
    answer = heed("predict", tune, *TEXTS)
    assert answer.code == 0
    assert answer.err == f"run: {tune / 'runs' / 'head-1'}\n"
    for text, line in zip(TEXTS, answer.out.splitlines(), strict=True):
        predicted, probability, rest = line.split("  ")
        assert predicted in ("neg", "pos")
        assert 0.5 <= float(probability) <= 1
        assert rest == text


def test_json_is_an_object_a_line(heed, tune):
    answer = heed("predict", tune / "runs" / "head-1", *TEXTS, "--json")
    found = [json.loads(line) for line in answer.out.splitlines()]
    assert [one["text"] for one in found] == TEXTS
    for one in found:
        assert one["probabilities"][one["predicted"]] == one["probability"]


def table_of(path, suffix):
    rows = [{"id": str(number), "review": text} for number, text in enumerate(TEXTS)]
    if suffix == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["id", "review"], delimiter="\t" if suffix == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("source", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("target", ["csv", "tsv", "jsonl"])
def test_a_table_in_and_a_table_out(heed, tune, tmp_path, source, target):
    given, out = table_of(tmp_path / f"new.{source}", source), tmp_path / f"found.{target}"
    answer = heed("predict", tune, "--file", given, "--text", "review", "--out", out)
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.endswith(f"2 texts classified: {out}\n")
    wanted = [json.loads(line) for line in heed("predict", tune, *TEXTS, "--json").out.splitlines()]
    if target == "jsonl":
        found = [json.loads(line) for line in out.read_text().splitlines()]
        chances = [one["probabilities"] for one in found]
    else:
        with out.open(newline="") as file:
            found = list(csv.DictReader(file, delimiter="\t" if target == "tsv" else ","))
        chances = [{name: float(one[f"p({name})"]) for name in ("neg", "pos")} for one in found]
    for one, chance, other in zip(found, chances, wanted, strict=True):
        assert one["text"] == other["text"]
        assert one["predicted"] == other["predicted"]
        assert chance == pytest.approx(other["probabilities"], abs=1e-6)
    assert [one["place"].rsplit("/", 1)[-1].split(",")[0] for one in found] == [f"new.{source}"] * 2
    line = complaint(heed("predict", tune, "--file", given, "--text", "review", "--out", out))
    assert "exists: choose another name, or --overwrite it" in line
    assert heed("predict", tune, "--file", given, "--text", "review", "--out", out, "--overwrite").code == 0


def test_texts_that_a_table_must_quote(heed, tune, tmp_path):
    text = 'a "good" film,\tand\nagain'
    for suffix in ("csv", "tsv"):
        out = tmp_path / f"found.{suffix}"
        assert heed("predict", tune, text, "--out", out).code == 0
        with out.open(newline="") as file:
            assert next(csv.DictReader(file, delimiter="\t" if suffix == "tsv" else ","))["text"] == text


def test_a_line_a_text(heed, tune):
    answer = heed("predict", tune, "a good\n\tfilm", "dull")
    assert [line.split("  ")[2] for line in answer.out.splitlines()] == ["a good film", "dull"]


def test_standard_input_is_a_text_a_line(heed, tune, monkeypatch):
    wanted = heed("predict", tune, *TEXTS).out
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(text + "\r\n" for text in TEXTS)))
    assert heed("predict", tune, "-").out == wanted
    monkeypatch.setattr("sys.stdin", io.StringIO("good\n\n"))
    assert "text 2 is empty" in complaint(heed("predict", tune, "-", "--strict"))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "standard input is empty: give a text a line" in complaint(heed("predict", tune, "-"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8"))
    assert "standard input is not utf-8" in complaint(heed("predict", tune, "-", "--strict"))


def test_a_bad_line_of_standard_input_loses_no_other(heed, tune, monkeypatch):
    wanted = heed("predict", tune, *TEXTS).out.splitlines()
    given = b"\xef\xbb\xbf" + TEXTS[0].encode() + b"\n\ncaf\xe9\n\xe2\x80\x8b\n" + TEXTS[1].encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    answer = heed("predict", tune, "-")
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert [lines[0], lines[4]] == wanted
    assert [line[:6] for line in lines[1:4]] == ["-  -  "] * 3
    assert lines[1].endswith("text 2 is empty")
    assert "text 3: this line of standard input is not utf-8" in lines[2]
    assert "3 of 5 could not be classified, and are marked: text 2 is empty; text 3: " in answer.err


def test_a_table_is_not_written_over_itself(heed, tune, tmp_path):
    new = table_of(tmp_path / "new.csv", "csv")
    before = new.read_bytes()
    argv = ["--file", new, "--text", "review", "--out", tmp_path / "." / "new.csv", "--overwrite"]
    assert "is the table that is read: choose another name" in complaint(heed("predict", tune, *argv))
    assert new.read_bytes() == before


def test_too_long_texts_are_counted(heed, tune):
    answer = heed("predict", tune, "good " * 30, "good")
    assert answer.code == 0
    assert "note: 1 of 2 have more than 16 tokens and were cut" in answer.err


def test_more_rows_than_are_read_at_once(heed, tune, tmp_path, monkeypatch):
    monkeypatch.setattr("heed.cli.predict.AT_ONCE", 3)
    table = write_table(tmp_path / "new.csv", 8)
    answer = heed("predict", tune, "--file", table, "--json")
    assert [json.loads(line)["place"].rsplit(" ", 1)[1] for line in answer.out.splitlines()] == list("23456789")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "give texts in quotation marks, or --file"),
        (["good", "--file", "new.csv"], "give texts in quotation marks, or --file"),
        (["good", ""], "text 2 is empty: leave it out"),
        (["good", "--text", "review"], "--text and --encoding are about a table: give it with --file"),
        (["good", "--pair", "bad"], "was tuned on single texts: leave --pair out"),
        (["good", "--out", "found.xlsx"], "found.xlsx must end in .csv, .tsv or .jsonl"),
        (["good", "--out", "no/such/folder.csv"], "cannot be written: No such file or directory"),
        (["good", "--out", "found.jsonl", "--json"], "--json is for standard output, and --out writes a file"),
        (["--file", "no-such.csv"], "no-such.csv"),
    ],
)
def test_what_is_refused(heed, tune, tmp_path, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    answer = heed("predict", tune, *argv)
    assert words in complaint(answer)
    assert answer.out == ""
    assert not list(tmp_path.iterdir())


def test_tables_that_are_refused(heed, tune, tmp_path):
    new = tmp_path / "new.csv"
    new.write_text("review\ngood\n")
    assert "'review'" in complaint(heed("predict", tune, "--file", new))  # no column text: those there are
    new.write_text('text\ngood\n""\n')
    answer = heed("predict", tune, "--file", new, "--strict")
    assert "new.csv, line 3 has no text in 'text' (--text)" in complaint(answer)
    assert answer.out == ""
    new.write_text("text\n")
    assert "has no rows: give one with texts" in complaint(heed("predict", tune, "--file", new))
    (tmp_path / "new.txt").write_text("good\n")
    line = complaint(heed("predict", tune, "--file", tmp_path / "new.txt"))
    assert "new.txt is no table (.csv .tsv .jsonl .json .parquet): for a text a line, heed predict RUN - < FILE" in line
    (tmp_path / "new.jsonl").write_text('{"text": "good"}\n{"text"\n')
    answer = heed("predict", tune, "--file", tmp_path / "new.jsonl", "--strict")
    assert "new.jsonl, line 2 is not valid JSON" in complaint(answer)


BAD = {
    "csv": 'id,text\n1,good\n2,""\n3,"a\n4,bad\n5,one,too many\n6\n7,\u200b\n8,dull\n'.encode()
    + b"9,caf\xe9\n10,fine\n",
    "tsv": "id\ttext\n1\tgood\n2\t \n3\ta\tb\n4\tbad\n6\n7\t\u200b\n8\tdull\n".encode() + b"9\tcaf\xe9\n10\tfine\n",
    "jsonl": '{"text": "good"}\n{"text"\n[1]\n{"text": null}\n{"text": 7}\n{"text": "bad"}\n'
    '{"text": "a", "text": "b"}\n{"text": "\u200b"}\n{"text": "dull"}\n'.encode()
    + b'{"text": "caf\xe9"}\n{"text": "fine"}\n',
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_rows_of_a_table_lose_no_other(heed, tune, tmp_path, kind):
    new, out = tmp_path / f"new.{kind}", tmp_path / "found.jsonl"
    new.write_bytes(BAD[kind])
    answer = heed("predict", tune, "--file", new, "--out", out)
    assert answer.code == 1
    found = [json.loads(line) for line in out.read_text().splitlines()]
    good = {one["text"]: one["predicted"] for one in found if "error" not in one}
    plain = [
        json.loads(line) for line in heed("predict", tune, "good", "bad", "dull", "fine", "--json").out.splitlines()
    ]
    assert good == {one["text"]: one["predicted"] for one in plain}
    for one in found:
        assert (one["predicted"] is None) == ("error" in one) == (one["probabilities"] is None)
        assert one["place"] in one.get("error", one["place"])
    assert f"4 texts classified: {out}" in answer.err
    assert f"note: {len(found) - 4} of {len(found)} could not be classified, and are marked: " in answer.err
    assert complaint(heed("predict", tune, "--file", new, "--out", tmp_path / "other.jsonl", "--strict"))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["found.jsonl", f"new.{kind}"]


@pytest.mark.parametrize("target", ["csv", "tsv", "jsonl"])
def test_what_was_written_is_read_back(heed, tune, tmp_path, target):
    texts = ['a "good" film,\tand\nagain', "it's\r\ndull", '"bad"', "fine", '"', " very "]
    first, second = tmp_path / f"first.{target}", tmp_path / "second.jsonl"
    assert heed("predict", tune, *texts, "--out", first).code == 0
    assert heed("predict", tune, "--file", first, "--out", second).code == 0
    assert [json.loads(line)["text"] for line in second.read_text().splitlines()] == texts


def test_a_table_that_breaks_off_says_so_in_its_last_row(heed, tune, tmp_path):
    new, out = tmp_path / "new.csv.gz", tmp_path / "found.csv"
    rows = b"".join(b"good %x\n" % random.Random(row).getrandbits(8_000) for row in range(400))  # a few buffers full
    new.write_bytes(gzip.compress(b"text\n" + rows)[:-20])
    answer = heed("predict", tune, "--file", new, "--out", out)
    assert answer.code == 1
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) > 100
    assert "damaged or cut off" in found[-1]["error"]
    assert not any(one["error"] for one in found[:-1])


def test_the_columns_are_those_of_the_run(heed, tmp_path):
    folder = tmp_path
    lines = ["review,text,label", *(f"a {word} film {n},nothing,{word}" for n in range(20) for word in ("good", "bad"))]
    (folder / "films.csv").write_text("\n".join(lines) + "\n")
    argv = ["--encoders", save_tiny("bert-base-uncased", folder), "--methods", "head", "--seeds", 1, "--epochs", 1]
    argv += ["--search", "none", "--max-length", 16, "--batch-size", 8, "--threads", 1, "--out", folder / "out"]
    assert heed("tune", folder / "films.csv", "--text", "review", *argv).code == 0
    answer = heed("predict", folder / "out", "--file", folder / "films.csv", "--json")
    assert {json.loads(line)["text"] for line in answer.out.splitlines()} == {line.split(",")[0] for line in lines[1:]}
    answer = heed("predict", folder / "out", "--file", folder / "films.csv", "--text", "text", "--json")
    assert "note: --text is 'text' here, and was 'review' where the run was tuned" in answer.err
    assert {json.loads(line)["text"] for line in answer.out.splitlines()} == {"nothing"}
    (folder / "new.csv").write_text("text\ngood\n")
    line = complaint(heed("predict", folder / "out", "--file", folder / "new.csv"))
    assert "has no column 'review': choose one of 'text' with --text, as the run was tuned on 'review'" in line


def test_a_killed_prediction_keeps_what_was_done(tune, tmp_path):
    """Killed in the middle: all batches but the one in hand are in the partial file, and the same command ends well."""
    table, out = write_table(tmp_path / "new.csv", 30), tmp_path / "found.jsonl"
    real, times = Predictor.classify, itertools.count(1)

    def work():
        heed.cli.predict.AT_ONCE = 4
        Predictor.classify = lambda *args: real(*args) if next(times) < 4 else os.kill(os.getpid(), signal.SIGKILL)
        main(["predict", str(tune), "--file", str(table), "--out", str(out)])

    assert subprocess.run(sys.executable, capture_output=True, **forked(work)).returncode == -9
    assert not out.exists()
    partial = tmp_path / "found.jsonl.partial"
    assert [json.loads(line)["place"].rsplit(" ", 1)[1] for line in partial.read_text().splitlines()] == [
        str(number) for number in range(2, 14)
    ]
    assert main(["predict", str(tune), "--file", str(table), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 30
    assert not partial.exists()


def test_a_run_of_another_kind(heed, trained):
    assert "is not of heed tune" in complaint(heed("predict", trained, "good"))
