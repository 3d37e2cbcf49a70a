"""Parts of a source: one after the other they are the source, wherever its files are cut."""

import gzip
import json
import re
from itertools import chain

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import heed.text.cuts as cuts
from heed.errors import DataError
from heed.text.corpus import open_corpus

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def documents(corpus, of):
    """Return what the parts of each split hold, and how many parts hold something."""
    parts = {split: [list(corpus.part(split, number, of)) for number in range(of)] for split in corpus.splits}
    return {split: list(chain(*some)) for split, some in parts.items()}, sum(map(bool, parts["train"]))


def same_in_parts(corpus, counts=(2, 3, 7)):
    whole = {split: list(corpus.documents(split)) for split in corpus.splits}
    left_out = corpus.left_out
    for of in counts:
        assert documents(corpus, of)[0] == whole
        total = type(left_out)()
        for number in range(of):
            list(corpus.part("train", number, of))
            total += corpus.left_out
        assert total == left_out
    return whole


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr(cuts, "STEP", 5)


@MANY
@given(
    st.lists(st.sampled_from(["a", "b", "\n", "\r\n", "\r", "-", "ä", "\ufeff", " "]), min_size=3, max_size=60),
    st.sampled_from(["\n", "\n\n", "\n\n\n", "-", "--", "\n-\n", "a-a", "ä", "\r\n", "-\r\n"]),
    st.sampled_from(["unix", "keep"]),
    st.sampled_from(["utf-8", "cp1252", "utf-16"]),
)
@example(list("aa-a-ab-a-aa-a"), "a-a", "unix", "utf-8")
@example(["a", *["\n"] * 30, "b", *["\n"] * 3, "a"], "\n\n", "unix", "utf-8")
def test_a_text_with_separators(tmp_path, small_steps, text, separator, line_ends, encoding):
    content = "".join(text).encode(encoding, "ignore")
    (tmp_path / "a.txt").write_bytes(content)
    try:
        corpus = open_corpus(
            tmp_path / "a.txt", validation_fraction=0, separator=separator, line_ends=line_ends, encoding=encoding
        )
    except DataError:  # nothing but separators
        return
    same_in_parts(corpus)


@MANY
@given(st.lists(st.sampled_from(["ab", "ä\u2028", "", " ", None, "x\ny\r", "\ud800"]), min_size=1, max_size=12),
       st.sampled_from(["\n", "\r\n", "\r", "\n\n"]), st.booleans())  # fmt: skip
def test_lines_of_json(tmp_path, small_steps, texts, end, ascii_):
    rows = [json.dumps({"text": text}, ensure_ascii=ascii_ or text == "\ud800") for text in ["first", *texts, "last"]]
    rows[1:2] = ["{}"]  # only the first row must have the key
    (tmp_path / "a.jsonl").write_bytes(end.join(rows).encode())
    same_in_parts(open_corpus(tmp_path / "a.jsonl", validation_fraction=0))


def test_many_files_of_all_kinds_and_their_splits(tmp_path):
    for number in range(9):
        rows = [f"text {number} {row} " * (row % 5 + 1) for row in range(23)]
        lines = "".join(json.dumps({"text": row}) + "\n" for row in rows)
        (tmp_path / f"{number}.jsonl").write_text(lines)
        (tmp_path / f"{number}.txt").write_text("\n\n".join(rows) + "\n")
        (tmp_path / f"{number}.csv").write_text('text\n"in two\nlines, ' + '"\n"'.join(rows) + '"\n')
        (tmp_path / f"{number}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    corpus = open_corpus(tmp_path, validation_fraction=0.2, test_fraction=0.1, separator="\n\n")
    whole = same_in_parts(corpus, (1, 2, 5, 16))
    assert {split: len(texts) > 50 for split, texts in whole.items()} == dict.fromkeys(corpus.splits, True)
    found, used = documents(corpus, 16)
    assert (found == whole, used) == (True, 16)


def test_a_part_reads_its_share_alone(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"row {row}"}) + "\n" for row in range(1000)))
    corpus = open_corpus(tmp_path / "a.jsonl", validation_fraction=0)
    seen = []
    monkeypatch.setattr("heed.text.formats.open_bytes", spied(seen))
    assert len(list(corpus.part("train", 3, 10))) == pytest.approx(100, abs=5)
    (span,) = seen
    size = (tmp_path / "a.jsonl").stat().st_size
    assert 0 <= span[0] - 0.3 * size < 20
    assert 0 <= span[1] - 0.4 * size < 20


def spied(seen):
    from heed.text.packing import open_bytes

    def opened(path, span=(0, None)):
        seen.append(span)
        return open_bytes(path, span)

    return opened


def test_what_cannot_be_cut_is_in_the_part_where_it_begins(tmp_path):
    (tmp_path / "a.txt").write_text("to be or not to be\n" * 100)
    corpus = open_corpus(tmp_path / "a.txt", validation_fraction=0.25)  # a single document is cut by position
    assert documents(corpus, 4)[1] == 1
    same_in_parts(corpus)
    (tmp_path / "b.txt").write_text("that is the question\n")
    corpus = open_corpus(tmp_path, validation_fraction=0)
    assert list(corpus.part("train", 0, 2)) == [(tmp_path / "a.txt").read_text()]
    same_in_parts(corpus)
    named = open_corpus("python-reference")
    assert list(named.part("train", 1, 2)) == []
    same_in_parts(named, (2,))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", ["\n\n", "\n", "<|end|>", "\n--\n", "ä"])
def test_a_text_is_cut_behind_its_separators(tmp_path, separator, end):
    text = separator.join(f"text {number}\u2028\x85" for number in range(60)).replace("\n", end)
    (tmp_path / "a.txt").write_bytes(text.encode())
    corpus = open_corpus(tmp_path / "a.txt", validation_fraction=0, separator=separator)
    assert documents(corpus, 12)[1] == 12
    same_in_parts(corpus)


def test_a_mistake_is_told_by_its_line_in_the_part(tmp_path):
    rows = [json.dumps({"text": f"row {row}"}) for row in range(100)]
    rows[90] = '{"text": '
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    corpus = open_corpus(tmp_path / "a.jsonl", validation_fraction=0)
    with pytest.raises(DataError, match=r"a\.jsonl, line (\d+) from byte ([\d,]+) on is not valid JSON") as error:
        list(corpus.part("train", 1, 2))
    said = re.findall(r"(?:line|byte) ([\d,]+)", str(error.value))
    line, byte = (int(word.replace(",", "")) for word in said[:2])
    rest = (tmp_path / "a.jsonl").read_bytes()[byte:].split(b"\n")
    assert rest[line - 1] == b'{"text": '
