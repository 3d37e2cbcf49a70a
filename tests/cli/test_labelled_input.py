"""What a user can do wrong with tables of labelled texts and files of questions, and on the line that names them."""

import json
import random

import pytest

from cli.conftest import TINY
from cli.test_bad_input import complaint
from text.test_damaged_tables import damaged, labelled_file, question_file
from tuning.small import write_table
from tuning.tiny_encoders import save_tiny

ROWS = [(f"the film is {word} {n}", word) for n in range(20) for word in ("good", "bad")]
SMALL = [word for pair in zip(TINY[::2], TINY[1::2], strict=True) if pair[0] != "--model.context" for word in pair]
ENCODER = ["--model.kind", "encoder", "--data.label", "label", "--tokenizer.kind", "char", "--model.context", 16]


def table(path, rows=ROWS, names="text,label"):
    path.write_text("\n".join([names, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.fixture
def both(heed, tmp_path):
    """Give a table to `heed tune` and to `heed train`; return what each complains of."""

    def run(path, *argv: object) -> list[str]:
        out = tmp_path / "out"
        tune = complaint(heed("tune", path, "--methods", "head", "--search", "none", "--out", out, *argv))
        train = complaint(heed("train", path, *SMALL, *ENCODER, "--run.folder", tmp_path / "runs"))
        assert not out.exists()
        return [tune, train]

    return run


def test_scores_are_no_classes(both, tmp_path):
    """`heed tune` learns scores as such, where nothing else is asked for."""
    scores = table(tmp_path / "a.csv", [(f"text {n}", round(0.2 * (n % 26), 1)) for n in range(300)])
    for line in both(scores, "--task", "classes"):
        assert "holds 26 numbers from 0.0 to 5.0, which look like scores, not classes: round them" in line
        assert "a.csv" in line


def test_columns_of_one_name(both, tmp_path):
    for line in both(table(tmp_path / "a.csv", [("a", "x", "b")], "text,label,text")):
        assert "a.csv has 2 columns 'text'" in line
    (tmp_path / "b.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "a", "label": 1, "label": 2}\n')
    for line in both(tmp_path / "b.jsonl"):
        assert "b.jsonl, line 2 is not valid JSON: the key 'label' stands in it twice" in line


def test_a_table_without_rows_and_columns_without_values(both, tmp_path):
    for line in both(table(tmp_path / "a.csv", [])):
        assert "holds no" in line
        assert "a" in line
    for line in both(table(tmp_path / "b.csv", [("", "x"), (" ", "y")] * 20)):
        assert "b.csv, line 2 has an empty text in 'text'" in line
        assert "none of the 40 rows is whole: is it another column?" in line
    for line in both(table(tmp_path / "c.csv", [*ROWS, ("good", ""), ("bad", " ")])):
        assert "c.csv, line 42 has no label in 'label'" in line
        assert "2 of 42 rows are not whole" in line


def test_rows_of_other_lengths_and_kinds(both, tmp_path):
    for line in both(table(tmp_path / "a.csv", [*ROWS, ("good", "but long", "good")])):
        assert "a.csv, line 42 has 3 fields, the first line 2: quote the text" in line
    for line in both(table(tmp_path / "b.csv", [*ROWS, ("good",)])):
        assert "b.csv, line 42 has no label" in line
    (tmp_path / "c.jsonl").write_text('{"text": "a", "label": {"a": 1}}\n{"text": 5, "label": 1}\n')
    for line in both(tmp_path / "c.jsonl"):
        assert "c.jsonl, line 1 has the label {'a': 1}" in line
        assert "none of the 2 rows is whole" in line


def test_the_notes_of_both_verbs(heed, tmp_path):
    """Labels in several spellings, and how many texts are held out."""
    rows = [(f"the film is {n}", ["Pos", "pos", "1", "1.0"][n % 4]) for n in range(80)]
    path, place = table(tmp_path / "a.csv", rows), save_tiny("bert-base-uncased", tmp_path)
    argv = ["--encoders", place, "--methods", "head", "--search", "none", "--seeds", 1, "--epochs", 1]
    argv += ["--max-length", 16, "--batch-size", 8, "--threads", 1, "--out", tmp_path / "out"]
    for answer in (heed("tune", path, *argv), heed("train", path, *SMALL, *ENCODER, "--run.folder", tmp_path / "runs")):
        assert answer.code == 0, answer.err
        said = answer.err + answer.out
        assert "the labels 'Pos', 'pos' are classes of their own: spell them alike if they are one" in said
        assert "the labels '1', '1.0' are classes of their own" in said
        assert "8 of 80 texts held out of training by a fixed hash, of each class its share" in said


def test_several_values_of_an_option(heed, tmp_path):
    path = write_table(tmp_path / "a.csv")
    for flag, one, other in (("--rates", "1e-2", "1e-3"), ("--methods", "lora", "head"), ("--sizes", "10", "20")):
        for argv in ((path, flag, one, other), (flag, one, other, path), (path, flag, one, other, "--soup")):
            line = complaint(heed("tune", *argv))
            assert f"{flag}: several values have commas between them and no blanks: {flag} {one},{other}" in line
    line = complaint(heed("tune", path, "--method.targets", "query", "value"))
    assert "unexpected: value; several values of a setting have commas between them" in line
    assert "unknown option --foo" in complaint(heed("tune", "--methods", "lora", path, "--foo"))
    line = complaint(heed("bench", "attention", "--lengths", "64,128"))
    assert "--lengths: several values have blanks between them: --lengths 64 128" in line


def test_values_that_look_like_flags(heed, trained):
    line = complaint(heed("sample", trained, "--prompt", "--foo"))
    assert "--prompt needs a value; one that begins with -- is written --prompt=--such" in line
    for verb in ("ask", "predict"):
        line = complaint(heed(verb, trained, "--who"))
        assert "unknown option --who" in line
        assert "before texts that begin so write -- by itself" in line
    assert "by itself" not in complaint(heed("train", "a.txt", "--overwrit"))


QUESTIONS = "Where was Ada born?\tRome\nWhere was Bo born?\tOslo\n" * 8


def finetune(heed, tmp_path, content, name="pairs.tsv", *argv):
    (tmp_path / name).write_text(content, newline="")
    flags = [
        *SMALL,
        "--model.context",
        64,
        "--data.objective",
        "answers",
        "--data.layout",
        "padded",
        "--tokenizer.kind",
    ]
    return heed("train", tmp_path / name, *flags, "char", "--run.folder", tmp_path / "runs", "--overwrite", *argv)


def test_questions_that_stand_twice_are_told(heed, tmp_path):
    content = "".join(
        f"Where was {name} born?\t{place}\r\n" for name, place in zip("ABCDEFGHABC", "uvwxyzuvuvy", strict=True)
    )
    answer = finetune(heed, tmp_path, "\ufeff" + content)
    assert answer.code == 0, answer.err
    assert "3 questions stand more than once, 1 of them with different answers" in answer.err
    assert "pairs.tsv, line 3 and line 11" in answer.err
    (tmp_path / "held.tsv").write_text("Where was A born?\tu\nWhere was Z born?\tu\n")
    answer = finetune(heed, tmp_path, content, "pairs.tsv", "--data.validation", tmp_path / "held.tsv")
    assert "1 of 2 validation questions also stand in training" in answer.err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("question\tanswer\n" + QUESTIONS, "line 1 names the columns: questions have no such line, take it out"),
        (QUESTIONS + "Who?\nWho?\t\n", "line 17 has no tab: write the question, a tab and the answer; 2 of 18 lines"),
        (QUESTIONS.replace("\t", ","), "line 1 has no tab"),
        (QUESTIONS.replace("Rome", ""), "line 1 has an empty answer: fill it in or take the line out; 8 of 16 lines"),
    ],
)
def test_files_of_questions_that_are_refused(heed, tmp_path, content, words):
    assert f"pairs.tsv, {words}" in complaint(finetune(heed, tmp_path, content))
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            '{"question": "a", "question": "b", "answer": "c"}',
            "is not valid JSON: the key 'question' stands in it twice",
        ),
        ('{"question": "a \\ud800", "answer": "c"}', "the question holds half a character (a lone surrogate)"),
        (json.dumps({"question": ["a"] * 999, "answer": "c"}), "the question is 'list' and must be text"),
    ],
)
def test_json_questions_that_are_refused(heed, tmp_path, row, words):
    good = json.dumps({"question": "a?", "answer": "b"}) + "\n"
    assert words in complaint(finetune(heed, tmp_path, good + row + "\n", "pairs.jsonl"))


@pytest.mark.slow
def test_damaged_files_through_the_verbs(heed, tmp_path):
    """Each is read, and the run made, or refused in one line; the reading functions are tried with many more."""
    draw = random.Random(5)
    codes, said = [], []
    for number in range(24):
        suffix, content = (question_file if number % 3 == 2 else labelled_file)(draw)
        path = tmp_path / f"file-{number}{suffix}"
        path.write_bytes(damaged(draw, content) if draw.random() < 0.5 else content)
        flags = ENCODER
        if number % 3 == 2:
            flags = ["--data.objective", "answers", "--data.layout", "padded", "--tokenizer.kind", "char"]
            flags += ["--model.context", 256]
        answer = heed("train", path, *SMALL, *flags, "--run.folder", tmp_path / "runs", "--run.name", number)
        said.append(answer.err.splitlines()[-1])
        codes.append(answer.code)
        assert answer.code == 0 or complaint(answer), path
    assert codes.count(0) >= 3, said
    assert codes.count(2) >= 6, said
