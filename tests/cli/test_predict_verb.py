"""`heed predict`: texts, pairs and tables in; lines, JSON and tables out."""

import csv
import io
import json

import pytest

from cli.test_bad_input import complaint
from heed.cli import main
from tuning.small import write_table
from tuning.tiny_encoders import save_tiny

TEXTS = ["a good film", "it was very dull"]


@pytest.fixture(scope="module")
def tune(tmp_path_factory):
    """A tune of one run, through the verb."""
    folder = tmp_path_factory.mktemp("tuned")
    place, table = save_tiny("bert-base-uncased", folder), write_table(folder / "films.csv", 40)
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
    assert "text 2 is empty" in complaint(heed("predict", tune, "-"))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "standard input is empty: give a text a line" in complaint(heed("predict", tune, "-"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9\n"), encoding="utf-8"))
    assert "standard input is not utf-8" in complaint(heed("predict", tune, "-"))


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
    assert "new.csv, line 3 has no text in 'text' (--text)" in complaint(heed("predict", tune, "--file", new))
    new.write_text("text\n")
    assert "has no rows: give one with texts" in complaint(heed("predict", tune, "--file", new))
    (tmp_path / "new.txt").write_text("good\n")
    line = complaint(heed("predict", tune, "--file", tmp_path / "new.txt"))
    assert "new.txt is no table (.csv .tsv .jsonl .parquet): for a text a line, heed predict RUN - < FILE" in line
    (tmp_path / "new.jsonl").write_text('{"text": "good"}\n{"text"\n')
    assert "new.jsonl, line 2 is not valid JSON" in complaint(heed("predict", tune, "--file", tmp_path / "new.jsonl"))


def test_a_run_of_another_kind(heed, trained):
    assert "is not of heed tune" in complaint(heed("predict", trained, "good"))
