"""A thousand and more damaged tables of labelled texts and files of questions: each is read, or one line says why not.

Whole files are written in every format, then cut, spliced, filled with odd characters, bytes and quotation marks. Every
outcome is counted: a fuzzer whose inputs all end alike would test nothing.
"""

import csv
import gzip
import io
import json
import random
import re
import time
import tracemalloc
from collections import Counter

import pytest

from heed.errors import DataError
from heed.text.labelled import open_labelled
from heed.text.qa import read_questions
from heed.text.question_corpus import open_questions
from heed.text.splits import open_splits
from heed.tuning.predict import read_texts

ODD = [
    "", " ", "\u200b", "\ufeff", "\0", "\x1a", "\x1b[31m", '"', '""', "'", "\\", "\t", "\n", "\r", "\r\n", ",", ";",
    "|", "\u2028", "\u2047", "é", "🙂", "\U0010ffff", "e\u0301", "\u202e", "=1+1", "-- x", "NaN", "inf", "-0", "1e999",
    "null", "true", "{}", "[]", "9" * 5000, "x" * 70_000, "[" * 3000,
]  # fmt: skip
WORDS = ["good", "bad", "a fine film", "so dull , so long", 'he said "no"', "naïve", "1", "0.5"]
SECONDS_EACH, BYTES_EACH = 10.0, 64 << 20
"""What a file of a few kilobytes may take at most."""


def value(draw: random.Random) -> str:
    return draw.choice(ODD) if draw.random() < 0.006 else draw.choice(WORDS) + f" {draw.randrange(40)}"


def label(draw: random.Random, kind: str) -> object:
    if draw.random() < 0.006:
        return draw.choice([*ODD[:30], None, 1, 1.0, True, [1], {}, float("nan")])
    return {"words": draw.choice(["pos", "neg"]), "spelt": draw.choice(["pos", "Pos", " pos "]), "one": "same",
            "scores": round(draw.randrange(60) * 0.2, 1), "numbers": draw.randrange(3)}[kind]  # fmt: skip


def labelled_file(draw: random.Random) -> tuple[str, bytes]:
    """Return the suffix and the content of a table with the columns text and label."""
    suffix = draw.choice([".csv", ".csv", ".tsv", ".jsonl", ".parquet"])
    kind = draw.choices(["words", "spelt", "one", "scores", "numbers"], [6, 1, 1, 1, 3])[0]
    rows = [(value(draw), label(draw, kind)) for _ in range(draw.choice([0, 1, 2, 30, 120]))]
    names = draw.choices(
        [["text", "label"], ["label", "text"], ["text", "label", "text"], ["Text", " label "], [], ["a"]],
        [20, 4, 1, 1, 1, 1],
    )[0]
    if suffix == ".jsonl":
        ascii_only = draw.random() < 0.5
        lines = [json.dumps({"text": a, "label": b}, ensure_ascii=ascii_only) for a, b in rows]
        if draw.random() < 0.2:
            lines.insert(
                0, draw.choice(["[1, 2]", "5", '{"text": "a", "text": "b", "label": 1}', '{"text": "\\ud800"}'])
            )
        return suffix, draw.choice(["\n", "\n", "\r\n"]).join(lines).encode("utf-8", "surrogatepass")
    if suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        table = pyarrow.table({"text": [str(a) for a, _ in rows], "label": [str(b) for _, b in rows]})
        with io.BytesIO() as file:
            parquet.write_table(table, file)
            return suffix, file.getvalue()
    lines = [names, *([a, b] if names != ["label", "text"] else [b, a] for a, b in rows)]
    end = draw.choice(["\n", "\n", "\r\n"])
    if suffix == ".tsv" and draw.random() < 0.7:
        return suffix, end.join("\t".join(map(str, line)) for line in lines).encode()
    with io.StringIO(newline="") as file:
        quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
        csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",", lineterminator=end, quoting=quoting).writerows(
            lines
        )
        text = file.getvalue()
    if suffix == ".csv" and draw.random() < 0.15:
        text = text.replace('","', '", "')
    return suffix, text.encode()


def question_file(draw: random.Random) -> tuple[str, bytes]:
    """Return the suffix and the content of a file of questions."""
    rows = [(f"Where was {value(draw)} born?", value(draw)) for _ in range(draw.choice([0, 1, 5, 40]))]
    end = draw.choice(["\n", "\n", "\r\n"])
    if draw.random() < 0.4:
        keys = draw.choice([("question", "answer"), ("prompt", "answer"), ("question", "gold")])
        return ".jsonl", end.join(json.dumps(dict(zip(keys, row, strict=True))) for row in rows).encode()
    if draw.random() < 0.1:
        rows.insert(0, ("question", "answer"))
    return draw.choice([".tsv", ".txt"]), end.join("\t".join(row) for row in rows).encode()


def damaged(draw: random.Random, content: bytes) -> bytes:
    """Return the content with none or several wounds."""
    for _ in range(draw.choices([0, 1, 2, 6], [3, 4, 2, 1])[0]):
        at, to = sorted(draw.randrange(len(content) + 1) for _ in range(2))
        part = content[at : min(to, at + 30)]
        way = draw.randrange(8)
        if way == 0:
            content = content[:at]
        elif way == 1:
            content = content[:at] + content[to:]
        elif way == 2:
            content = content[:at] + part + content[at:]
        elif way == 3:
            content = content[:at] + draw.choice(ODD).encode() + content[at:]
        elif way == 4:
            content = content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]
        elif way == 5:
            content = content[:at] + bytes(draw.randrange(256) for _ in range(5)) + content[at:]
        elif way == 6:
            content = b"\xef\xbb\xbf" + content
        else:
            content = content.replace(b"\n", draw.choice([b"\r", b"\r\n", b"\n\n", b""]), draw.choice([1, -1]))
    return content


def outcome(read, path) -> str:
    """Return what became of a file: "read", or what is wrong in words without place and values; time is bounded."""
    begin = time.perf_counter()
    said = ""
    try:
        read(path)
    except DataError as error:
        said = str(error)
    assert time.perf_counter() - begin < SECONDS_EACH
    if not said:
        return "read"
    assert "\n" not in said, said
    name = path.name.split(".")[0]
    assert name in said, said
    assert len(said) < 2000, said
    words = re.sub(r"^[.\w]*(, (line|row) \d+)?:?", "", said.split(name, 1)[1])
    return " ".join(word for word in words.split() if word.isalpha())[:28] or said


def read_for_prediction(path) -> None:
    found = list(read_texts(path, {"--text": "text"}))
    for one in found:
        assert (one.error is None) == bool(one.text.strip()) or one.error is not None
        assert one.error is None or ("\n" not in one.error and path.name in one.error), one.error
    json.dumps([one.text for one in found]).encode()
    "".join(one.text for one in found).encode()  # everything can be written


LABELLED = {
    "tune": lambda path: open_splits(path),
    "train": lambda path: open_labelled(path, label="label").labels("validation"),
    "predict": read_for_prediction,
    "by number": lambda path: open_splits(path, text="1", label="2"),
}
QUESTIONS = {
    "questions": read_questions,
    "hidden": lambda path: read_questions(path, answers=False),
    "finetune": lambda path: open_questions(path).questions("train"),
}


def files(folder, seed: int, number: int, make):
    """Yield damaged files."""
    draw = random.Random(seed)
    for place in range(number):
        suffix, content = make(draw)
        content = damaged(draw, content)
        if draw.random() < 0.06:
            suffix, content = suffix + ".gz", damaged(draw, gzip.compress(content, mtime=0))
        path = folder / f"file-{place}{suffix}"
        path.write_bytes(content)
        yield path
        path.unlink()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("make", "readers", "number"),
    [(labelled_file, LABELLED, 800), (question_file, QUESTIONS, 500)],
    ids=["tables", "questions"],
)
def test_every_file_is_read_or_refused_in_one_line(tmp_path, make, readers, number):
    counts: Counter[tuple[str, str]] = Counter()
    tracemalloc.start()
    for path in files(tmp_path, 13, number, make):
        for name, read in readers.items():
            try:
                counts[name, outcome(read, path)] += 1
            except Exception as error:
                raise AssertionError(f"{name} of {path.name}: {path.read_bytes()[:2000]!r}") from error
        assert tracemalloc.get_traced_memory()[1] < BYTES_EACH
        tracemalloc.reset_peak()
    tracemalloc.stop()
    kinds = Counter(name for name, _ in counts)
    print(number, "files,", counts.total(), "readings:", dict(kinds), counts.most_common(60))
    assert counts.total() == number * len(readers)
    for name in readers:
        assert counts[name, "read"] > number / 40, counts
        assert kinds[name] >= 8, counts


def test_a_few_of_them_every_time(tmp_path):
    """The same in a second, so that a fault is seen before the slow tests run."""
    for make, readers in ((labelled_file, LABELLED), (question_file, QUESTIONS)):
        for path in files(tmp_path, 5, 25, make):
            for read in readers.values():
                outcome(read, path)
