"""Corpora: what is read, how it is split, and what is said about bad input."""

import csv
import gzip
import json
import os
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heed.text.formats as formats
from heed.errors import DataError, MissingPackageError
from heed.text.corpus import count_words, open_corpus
from heed.text.named import NAMED, data_folders

TEXTS = [f"document {number}: {'word ' * number}" for number in range(1, 41)]


def everything(corpus):
    return [text for split in corpus.splits for text in corpus.documents(split)]


def write_jsonl(path, texts=TEXTS):
    path.write_text("".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


# Reading ------------------------------------------------------------------------------------------------------------


def write(path, texts=TEXTS):
    """Write one text a document in the form that the suffix says."""
    kind = path.suffixes[0]
    if kind == ".jsonl":
        content = "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts).encode()
    elif kind in (".csv", ".tsv"):
        aside = path.with_suffix(".aside")
        with aside.open("w", newline="", encoding="utf-8") as stream:
            delimiter = "\t" if kind == ".tsv" else ","
            csv.writer(stream, delimiter=delimiter).writerows([("id", "text"), *((1, text) for text in texts)])
        content = aside.read_bytes()
        aside.unlink()
    elif kind == ".parquet":
        import pyarrow
        import pyarrow.parquet

        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table({"id": [1] * len(texts), "text": list(texts)}), sink)
        content = sink.getvalue().to_pybytes()
    else:
        content = "<|end|>\n".join(f"{text}\n" for text in texts).encode()
    if path.suffix == ".gz":
        content = gzip.compress(content)
    if path.suffix == ".zst":
        import zstandard

        half = len(content) // 2  # two frames, as parallel compressors write them
        content = b"".join(zstandard.ZstdCompressor().compress(part) for part in (content[:half], content[half:]))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", [".txt", ".md", ".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_form_gives_the_same_documents(tmp_path, kind, packing):
    path = write(tmp_path / f"texts{kind}{packing}")
    corpus = open_corpus(path, validation_fraction=0, separator="<|end|>" if kind in (".txt", ".md") else None)
    assert corpus.splits == ("train",)
    assert list(corpus.documents("train")) == TEXTS
    assert corpus.name == "texts"
    assert corpus.notes == []


def test_csv_fields_may_hold_commas_quotes_and_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,n\n"one, ""two""\r\nthree",1\nfour,2\n', newline="")
    assert list(open_corpus(path, validation_fraction=0).documents("train")) == ['one, "two"\r\nthree', "four"]


def test_a_tab_separated_field_keeps_its_quotation_marks(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('text\tn\n"Hm\t1\nno" he said\t2\n')
    assert list(open_corpus(path, validation_fraction=0).documents("train")) == ['"Hm', 'no" he said']


def test_text_is_passed_on_exactly_but_for_the_byte_order_mark_and_line_ends(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n\xef\xbb\xbf four ")
    kept = open_corpus(tmp_path, validation_fraction=0, line_ends="keep")
    assert everything(kept) == ["one\r\ntwo\rthree\n\ufeff four "]
    assert kept.notes == []
    corpus = open_corpus(tmp_path, validation_fraction=0)
    assert everything(corpus) == ["one\ntwo\rthree\n\ufeff four "]
    assert corpus.notes == ["line ends of two characters made one (data.line_ends keeps them): 1 file"]
    assert corpus.fingerprint != kept.fingerprint


def test_folder_is_read_in_order_without_hidden_and_unknown_files(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    for name in ("b/deep/z.txt", "b/a.md", "c.txt", ".git/x.txt", ".hidden.txt", "photo.png", "paper.pdf", "LICENSE"):
        (tmp_path / name).write_text(name)
    corpus = open_corpus(tmp_path, validation_fraction=0)
    assert everything(corpus) == ["b/a.md", "b/deep/z.txt", "c.txt"]
    assert len(corpus.notes) == 1
    assert "3 files" in corpus.notes[0]
    assert "1 .pdf, 1 .png, 1 no suffix" in corpus.notes[0]
    by_glob = open_corpus(str(tmp_path / "**" / "*.txt"), validation_fraction=0)
    assert everything(by_glob) == ["b/deep/z.txt", "c.txt"]


def test_what_is_left_out_is_counted_once(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"text": "one"}, {"text": None}, {"other": 1}, {"text": " \n"}, {"text": "half \ud83d"}]
    rows += [{"text": text} for text in TEXTS]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    corpus = open_corpus(path)
    assert corpus.notes == []  # nothing is read to the end yet
    texts = everything(corpus) + everything(corpus)
    assert len(texts) == 2 * 42
    assert "half \ufffd" in texts
    assert corpus.notes == [
        "empty documents left out: 1",
        "rows with half a character (a lone surrogate), replaced by U+FFFD: 1",
        "rows without a text (null) left out: 2",
    ]


@given(texts=st.lists(st.text("ab\n", max_size=12), max_size=8), piece=st.integers(5, 30))
@settings(max_examples=60, deadline=None)
def test_long_documents_come_in_pieces_and_nothing_is_lost(tmp_path_factory, texts, piece):
    """Pieces far below the real size, so that every cut is met: joined, they are the file again."""
    path = tmp_path_factory.mktemp("pieces") / "a.txt"
    content = "<x>".join(texts)
    path.write_text(content, newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "PIECE", piece)
        whole = list(formats.read_file(path, formats.Reading(), formats.Counter()))
        assert "".join(text for _, text in whole) == content
        assert [first for first, _ in whole] == [True] + [False] * (len(whole) - 1) if content else not whole
        cut = list(formats.read_file(path, formats.Reading(separator="<x>"), formats.Counter()))
        assert "".join(text for _, text in cut).replace("\n", "") == "".join(texts).replace("\n", "")
        assert sum(first for first, _ in cut) == sum(bool(text.strip("\n")) for text in texts)


def test_pieces_of_a_long_document_stay_in_one_split_and_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "PIECE", 1000)
    for number in range(20):
        (tmp_path / f"{number:02}.txt").write_text(f"{number:02} line\n" * 400)
    corpus = open_corpus(tmp_path, validation_fraction=0.3)
    owners = {split: {text[:2] for text in corpus.documents(split)} for split in corpus.splits}
    assert owners["train"].isdisjoint(owners["validation"])
    assert len(owners["train"] | owners["validation"]) == 20
    assert corpus.notes == ["cuts in documents of more than 16,777,216 characters, each piece counts as one: 20"]


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "PIECE", 1 << 16)
    path = tmp_path / "large.txt"
    path.write_text("a line of forty characters, more or less\n" * 200_000)  # 8 MB
    corpus = open_corpus(path)
    tracemalloc.start()
    length = sum(len(text) for split in corpus.splits for text in corpus.documents(split))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert length == path.stat().st_size
    assert peak < 1_500_000  # some pieces of 64 Ki characters and buffers, against 8 MB


# Splits -------------------------------------------------------------------------------------------------------------


def test_documents_are_split_by_themselves_and_later_ones_move_none(tmp_path):
    first = open_corpus(write_jsonl(tmp_path / "a.jsonl"), validation_fraction=0.2, test_fraction=0.1)
    assert first.splits == ("train", "validation", "test")
    before = {text: split for split in first.splits for text in first.documents(split)}
    assert sorted(before) == sorted(TEXTS)
    more = [f"another text {number}" for number in range(40)]
    mixed = [text for pair in zip(more, TEXTS, strict=True) for text in pair]
    second = open_corpus(write_jsonl(tmp_path / "b.jsonl", mixed), validation_fraction=0.2, test_fraction=0.1)
    after = {text: split for split in second.splits for text in second.documents(split)}
    assert len(after) == 80
    assert before.items() <= after.items()
    assert "20 % for validation" in first.split_rule


def test_the_shares_are_kept_and_equal_documents_stay_together(tmp_path):
    texts = [f"text {number % 2500}" for number in range(5000)]  # each twice
    corpus = open_corpus(write_jsonl(tmp_path / "a.jsonl", texts), validation_fraction=0.2, test_fraction=0.1)
    split = {name: list(corpus.documents(name)) for name in corpus.splits}
    # 2,500 independent draws: the standard deviation of a share of 0.2 is 0.008; four of them are allowed.
    assert len(split["validation"]) / 5000 == pytest.approx(0.2, abs=0.032)
    assert len(split["test"]) / 5000 == pytest.approx(0.1, abs=0.024)
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert set(split[one]).isdisjoint(split[other])


@pytest.mark.parametrize("count", range(2, 9))
def test_no_split_of_a_few_documents_is_empty(tmp_path, count):
    corpus = open_corpus(write_jsonl(tmp_path / "a.jsonl", TEXTS[:count]), validation_fraction=0.01)
    sizes = [len(list(corpus.documents(split))) for split in corpus.splits]
    assert sum(sizes) == count
    assert min(sizes) >= 1


@given(st.text("abc\n ", min_size=4, max_size=60), st.floats(0.05, 0.5), st.floats(0.05, 0.4), st.integers(1, 70))
@settings(max_examples=40, deadline=None)
def test_one_document_is_cut_by_position(tmp_path_factory, text, validation, test, piece):
    path = tmp_path_factory.mktemp("single") / "a.txt"
    path.write_text(text, newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "PIECE", piece)
        try:
            corpus = open_corpus(path, validation_fraction=validation, test_fraction=test)
        except DataError as error:
            assert "too few to be split" in str(error)  # noqa: PT017 - which texts are too short is not the point
            return
        parts = ["".join(corpus.documents(split)) for split in ("train", "validation", "test")]
    assert "".join(parts) == text
    assert all(parts)
    assert len(parts[0]) == int(len(text) * (1 - test - validation))


def test_given_splits_win_and_their_files_leave_training(tmp_path):
    for name in ("a", "b", "held"):
        (tmp_path / f"{name}.txt").write_text(f"text {name}")
    corpus = open_corpus(tmp_path, validation=tmp_path / "held.txt")
    assert list(corpus.documents("train")) == ["text a", "text b"]
    assert list(corpus.documents("validation")) == ["text held"]
    assert corpus.split_rule == "as given"
    assert any("1 files" in note and "held out" in note for note in corpus.notes)
    for name in ("a", "held"):
        (tmp_path / f"{name}.txt").write_text("one<x>\n<x>two")
    corpus = open_corpus(tmp_path, validation=tmp_path / "held.txt", separator="<x>")
    assert everything(corpus) == ["one", "two", "text b", "one", "two"]
    assert "empty documents left out: 2" in corpus.notes
    with pytest.raises(DataError, match="nothing is left to train on"):
        open_corpus(tmp_path / "held.txt", validation=tmp_path)


def test_the_test_split_can_be_left_alone(tmp_path, monkeypatch):
    (tmp_path / "wikitext-2").mkdir()
    for name in ("train", "valid", "test"):
        (tmp_path / "wikitext-2" / f"{name}.txt").write_text(f" {name} \n")
    monkeypatch.setenv("HEED_DATA", str(tmp_path))
    corpus = open_corpus("wikitext-2", test="none")
    assert corpus.splits == ("train", "validation")
    assert everything(corpus) == [" train \n", " valid \n"]
    assert corpus.fingerprint != open_corpus("wikitext-2").fingerprint


def test_the_fingerprint_follows_content_and_settings_not_place(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        for number, text in enumerate(TEXTS):
            (folder / f"{number}.txt").write_text(text)
    first = open_corpus(one).fingerprint
    os.utime(two / "3.txt", (0, 0))
    assert open_corpus(two).fingerprint == first
    assert open_corpus(two, validation_fraction=0.2).fingerprint != first
    assert open_corpus(two, separator="x").fingerprint != first
    (two / "3.txt").write_text("other")
    changed = open_corpus(two).fingerprint
    assert changed != first
    (two / "3.txt").rename(two / "x.txt")
    assert open_corpus(two).fingerprint not in (first, changed)


# Bad input ----------------------------------------------------------------------------------------------------------


def message(call, *args, **options):
    """Return the one line with which a call is refused, here or when the documents are read."""
    with pytest.raises(DataError) as caught:
        everything(call(*args, **options))
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "austen.txt").write_text("It is a truth")
    assert f"did you mean '{tmp_path / 'austen.txt'}'" in message(open_corpus, tmp_path / "austin.txt")
    assert "did you mean 'wikitext-2'" in message(open_corpus, "wikitext2")
    assert "one of boolq, python-reference, shakespeare" in message(open_corpus, tmp_path / "no" / "such")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_empty_file(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    assert "holds no text" in message(open_corpus, tmp_path / "a.txt")


def test_run_folders_are_no_text(tmp_path):
    (tmp_path / "a.txt").write_text("a text")
    for name in ("runs/one", "runs/two"):
        (tmp_path / name).mkdir(parents=True)
        for file in ("config.yaml", "environment.json", "samples.jsonl", "notes.txt"):
            (tmp_path / name / file).write_text('{"text": "not a document"}\n')
    corpus = open_corpus(tmp_path, validation_fraction=0)
    assert everything(corpus) == ["a text"]
    assert any("2 run folders" in note for note in corpus.notes)
    assert everything(open_corpus(tmp_path / "runs" / "one" / "samples.jsonl", validation_fraction=0))


def test_folder_without_text(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"x")
    text = message(open_corpus, tmp_path)
    assert "holds no text files" in text
    assert ".png" in text
    assert ".jsonl" in text
    assert "add .txt" in message(open_corpus, tmp_path / "photo.png")
    assert "no text files" in message(open_corpus, str(tmp_path / "*.txt"))


@pytest.mark.parametrize("packing", ["", ".gz"])
@pytest.mark.parametrize("offset", [0, 70_000, 70_001])
def test_not_utf8_names_the_byte(tmp_path, packing, offset):
    path = tmp_path / f"a.txt{packing}"
    # Read in blocks of 64 KiB, of which the first ends between two characters or (70,001) within one.
    content = b"a" * (offset % 3) + b"a\xc3\xa9" * (offset // 3) + "caf\xe9 au lait".encode("latin-1")
    path.write_bytes(gzip.compress(content) if packing else content)
    text = message(open_corpus, path)
    assert f"{path} is not utf-8 at byte {offset + 3:,}" in text
    assert "--data.encoding" in text
    assert everything(open_corpus(path, encoding="latin-1", validation_fraction=0))[0].endswith("café au lait")
    assert "did you mean 'latin-1'" in message(open_corpus, path, encoding="latin1x")


def test_broken_rows_name_file_and_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\n{"text": "two"\n')
    assert f"{path}, line 3 is not valid JSON" in message(open_corpus, path)
    path.write_text('["one"]\n')
    assert "line 1 must be a JSON object" in message(open_corpus, path)
    path.write_text('{"text": "one"}\n{"text": 5}\n')
    assert "line 2: 'text' holds 5, not text" in message(open_corpus, path)
    table = tmp_path / "a.csv"
    table.write_text("text,n\none,1\ntwo, too,2\n")
    assert "line 3 has 3 fields, the first line 2" in message(open_corpus, table)
    table.write_text('text,n\n"one,1\n')
    assert "is not valid CSV" in message(open_corpus, table)


def test_missing_column_lists_those_there_are(tmp_path):
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        path = write(tmp_path / name)
        assert "no column 'body': choose one of 'id', 'text' with --data.column" in message(
            open_corpus, path, column="body"
        )
    bare = tmp_path / "bare.csv"
    bare.write_text("a first sentence without any header to it,1\nanother,0\n")
    text = message(open_corpus, bare)
    assert "'a first sentence without an...'" in text
    assert "first line that names its columns" in text


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.zst", "a.jsonl.gz", "a.parquet", "a.parquet.gz"])
def test_cut_off_files_are_noticed(tmp_path, name):
    path = write(tmp_path / name, [f"{text} {os.urandom(3000).hex()}" for text in TEXTS])
    path.write_bytes(path.read_bytes()[:-3000])
    assert re.search("damaged or cut off|not a whole Parquet", message(open_corpus, path, separator="<|end|>"))


def test_too_few_documents_for_the_splits(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", TEXTS[:2])
    assert "2 documents, too few for 3 splits" in message(open_corpus, path, test_fraction=0.1)
    tiny = tmp_path / "a.txt"
    tiny.write_text("a")
    assert "only 1 characters" in message(open_corpus, tiny)
    assert "leave nothing to train on" in message(open_corpus, path, validation_fraction=0.5, test_fraction=0.5)
    with pytest.raises(DataError, match="has no split 'valid', did you mean 'validation'"):
        open_corpus(path).documents("valid")


def test_a_separator_that_never_occurs_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("one two three " * 30)
    corpus = open_corpus(tmp_path / "a.txt", separator="<|end|>")
    assert any("'<|end|>' does not stand between" in note for note in corpus.notes)
    assert "separator is empty" in message(open_corpus, tmp_path / "a.txt", separator="")
    assert "a backslash and a letter: for a line end write $'" in message(
        open_corpus, tmp_path / "a.txt", separator=r"\n"
    )


def test_a_missing_package_says_how_to_install_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.txt.zst")
    monkeypatch.setitem(formats.require.__globals__["importlib"].sys.modules, "zstandard", None)
    with pytest.raises(MissingPackageError, match=r"heed-lm\[data\]"):
        open_corpus(path)


# Named corpora and the hub ------------------------------------------------------------------------------------------


def test_python_reference_is_everywhere():
    import pydoc_data.topics

    corpus = open_corpus("python-reference")
    texts = everything(corpus)
    assert sorted(texts) == sorted(pydoc_data.topics.topics.values())
    held_out = sum(map(len, corpus.documents("validation")))
    assert 0.05 < held_out / sum(map(len, texts)) < 0.2  # topics are few and of all sizes
    assert "form of its own" in message(open_corpus, "python-reference", column="x")


def test_named_corpora_on_this_machine(shared_data, monkeypatch):
    monkeypatch.setenv("HEED_DATA", str(shared_data))
    shakespeare = open_corpus("shakespeare")
    lengths = [sum(map(len, shakespeare.documents(split))) for split in shakespeare.splits]
    assert lengths == [1_003_854, 111_540]  # the split that everybody uses: nanoGPT's int(n * 0.9)
    wikitext = open_corpus("wikitext-2")
    counts = [sum(count_words(text, wikitext.word_rule) for text in wikitext.documents(s)) for s in wikitext.splits]
    assert counts == [2_088_628, 217_646, 245_569]  # as published, with one <eos> a line
    lines = open_corpus("wikitext-2-lines")
    assert [sum(1 for _ in lines.documents(split)) for split in lines.splits] == [23_767, 2_461, 2_891]
    whole = "".join(wikitext.documents("test")).split("\n")
    assert list(lines.documents("test")) == [line for line in whole if line.strip()]
    assert lines.fingerprint != wikitext.fingerprint
    stories = open_corpus("tinystories")
    texts = everything(stories)
    assert len(texts) == 2316
    assert not any("<|endoftext|>" in text or text != text.strip("\n") for text in texts)
    assert stories.notes == ["last stories left out, being cut off: 1"]


def test_data_folder_is_found_upwards(tmp_path, monkeypatch):
    (tmp_path / "shared/data/tinyshakespeare").mkdir(parents=True)
    (tmp_path / "shared/data/tinyshakespeare/input.txt").write_text("to be or not to be, " * 10)
    (tmp_path / "project/deep").mkdir(parents=True)
    monkeypatch.delenv("HEED_DATA", raising=False)
    monkeypatch.chdir(tmp_path / "project/deep")
    assert "".join(everything(open_corpus("shakespeare"))) == "to be or not to be, " * 10


class Hub:
    """Stands for `datasets.load_dataset`: real `Dataset` objects, or the error of a machine without network."""

    def __init__(self, monkeypatch, tables):
        import datasets

        self.tables, self.calls = tables, []
        self.make = datasets.Dataset.from_dict
        monkeypatch.setattr(datasets, "load_dataset", self.load)

    def load(self, name, config=None, **options):
        self.calls.append((name, config, options))
        if (name, config) not in self.tables:
            raise ConnectionError(f"Couldn't reach {name!r} on the Hub")
        return {split: self.make(columns) for split, columns in self.tables[name, config].items()}


def test_hub_splits_and_names(monkeypatch):
    rows = {"train": {"text": [*TEXTS, None, ""]}, "valid": {"text": ["v"]}, "test": {"text": ["t"]}}
    hub = Hub(monkeypatch, {("owner/name", "small"): rows, ("old", "config"): {"train": {"text": TEXTS}}})
    corpus = open_corpus("hf:owner/name/small")
    assert corpus.splits == ("train", "validation", "test")
    assert list(corpus.documents("train")) == TEXTS
    assert corpus.notes == ["empty documents left out: 1", "rows without a text (null) left out: 1"]
    assert list(corpus.documents("test")) == ["t"]
    parts = [list(corpus.part("train", number, 3)) for number in range(3)]
    assert all(parts)
    assert sum(parts[1:], parts[0]) == TEXTS
    assert hub.calls == [("owner/name", "small", {})]
    assert open_corpus("hf:old/config").splits == ("train", "validation")
    text = message(open_corpus, "hf:owner/name/small", column="body")
    assert "has no column 'body': choose one of 'text'" in text
    text = message(open_corpus, "hf:owner/absent/all")
    assert "could not be loaded (ConnectionError: Couldn't reach 'owner/absent' on the Hub)" in text
    assert "go online once" in text


def test_named_corpora_from_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HEED_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    text = message(open_corpus, "shakespeare")  # the test run is offline
    assert f"not found in {tmp_path}" in text
    assert "set HEED_DATA to a folder that holds tinyshakespeare/input.txt" in text
    lines = {"train": {"text": ["", " = A = \n", "", " a b . \n"]}, "validation": {"text": [" c \n"]}}
    cut = {"train": {"text": ["to be or "]}, "validation": {"text": ["not "]}, "test": {"text": ["to be, that is"]}}
    hub = Hub(monkeypatch, {("Salesforce/wikitext", "wikitext-2-v1"): lines, ("karpathy/tiny_shakespeare", None): cut})
    wikitext = open_corpus("wikitext-2")
    assert everything(wikitext) == [" \n = A = \n \n a b . \n", " c \n"]  # the file, byte for byte
    assert everything(open_corpus("wikitext-2-lines")) == [" = A = ", " a b . ", " c "]
    assert "".join(everything(open_corpus("shakespeare"))) == "to be or not to be, that is"
    assert hub.calls[-1][2] == {"revision": "refs/convert/parquet"}


def test_a_folder_of_datasets_files_can_be_loaded(tmp_path, monkeypatch):
    import datasets

    write_jsonl(tmp_path / "train.jsonl")
    real = datasets.load_dataset
    cache = str(tmp_path / "cache")
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: real(name, config, cache_dir=cache))
    corpus = open_corpus(f"hf:{tmp_path}", validation_fraction=0)
    assert list(corpus.documents("train")) == TEXTS


def test_every_named_corpus_is_described():
    assert all(len(named.description) > 20 for named in NAMED.values())


def test_words_are_counted_as_they_are_split():
    text = "one  two\n\n three\u2028four\x85five\u00a0six\n"
    assert count_words(text, "words") == len(text.split()) == 6
    assert count_words(text, "words + line ends") == 9
    with pytest.raises(DataError, match="unknown word rule"):
        count_words(text, "tokens")


def test_a_folder_of_data_sets_is_looked_through_once(tmp_path, monkeypatch):
    shared, work = tmp_path / "shared" / "data", tmp_path / "work"
    other = tmp_path / "other"
    for folder in (shared, work, other):
        folder.mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.delenv("HEED_DATA", raising=False)
    outside = [folder for folder in data_folders() if tmp_path not in folder.parents]
    near = Path("../shared/data")
    for named, found in (("", [shared]), (shared, [shared]), (near, [near]), (other, [other, shared])):
        monkeypatch.setenv("HEED_DATA", str(named))
        assert data_folders() == [*found, *outside]
