"""Token files: what is written is what was encoded, and a damaged file is never taken for a whole one."""

import errno
import json
import os
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heed.text.encoding as encoding
import heed.text.tokenfile as tokenfile
from heed.errors import DataError
from heed.text.corpus import count_words, open_corpus
from heed.text.tokenfile import HEADER_BYTES, TokenFile, load_npz, token_files, write_token_file

TEXTS = ["to be", "or not", "", "tö be\n"]


@dataclass
class ByteTokenizer:
    """A token a byte, and one more that ends a document; counts how often it is asked."""

    end_id: int | None = 256
    vocab_size: int = 257
    hash: str = "bytes"
    calls: list[int] = field(default_factory=list)

    def encode_array(self, text: str) -> np.ndarray:
        self.calls.append(len(text))
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint32)


def expected(texts, end=256):
    tail = [] if end is None else [end]
    documents = [[*text.encode(), *tail] for text in texts]
    return [id for document in documents for id in document], np.cumsum(
        [len(document) for document in documents]
    ).tolist()


@pytest.mark.parametrize(("vocab_size", "dtype"), [(257, np.uint16), (1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)])
def test_file_holds_the_tokens_ends_and_counts(tmp_path, vocab_size, dtype):
    tokenizer = ByteTokenizer(vocab_size=vocab_size)
    written = write_token_file(tmp_path / "new" / "a.tokens", TEXTS, tokenizer, header={"split": "train"})
    opened = TokenFile.open(tmp_path / "new" / "a.tokens", tokenizer_hash="bytes")
    for file in (written, opened):
        assert file.ids.dtype == dtype
        assert file.ends.dtype == np.uint64
        assert (file.ids.tolist(), file.ends.tolist()) == expected(TEXTS)
        assert type(file.ids) is np.ndarray
        assert not file.ids.flags.writeable
    counted = {"tokens": 22, "documents": 4, "bytes": 18, "words": 6, "split": "train", "word_rule": "words"}
    assert counted.items() <= opened.header.items()
    assert opened.header["end_id"] == 256
    assert os.listdir(tmp_path / "new") == ["a.tokens"]


@given(st.lists(st.text(max_size=30), min_size=1, max_size=20), st.sampled_from([None, 256]), st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_any_documents_come_back(tmp_path_factory, texts, end, chunk):
    path = tmp_path_factory.mktemp("tokens") / "a.tokens"
    ids, ends = expected(texts, end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "CHUNK", chunk)
        if not ids:
            with pytest.raises(DataError, match="no text"):
                write_token_file(path, texts, ByteTokenizer(end), header={})
            return
        file = write_token_file(path, iter(texts), ByteTokenizer(end), header={"word_rule": "words + line ends"})
    assert (file.ids.tolist(), file.ends.tolist()) == (ids, ends)
    assert file.header["bytes"] == sum(len(text.encode()) for text in texts)
    assert file.header["words"] == sum(count_words(text, "words + line ends") for text in texts)
    firsts = [text.split()[0] for text in texts if text.split()]
    assert file.header["first_words"] == len(firsts)
    assert file.header["first_bytes"] == sum(len(word.encode()) for word in firsts)


def test_a_document_that_ends_in_the_end_token_gets_no_second_one(tmp_path):
    """Where the end token is also a token of the text."""
    file = write_token_file(tmp_path / "a", ["one\n", "two"], ByteTokenizer(end_id=10), header={})
    assert file.ids.tolist() == [*b"one\n", *b"two\n"]
    assert file.ends.tolist() == [4, 8]


class Counting:
    """Works in this process, and notes how many were asked for."""

    workers: ClassVar[list[int]] = []

    def __init__(self, workers, context, initializer, arguments):
        self.workers.append(workers)
        initializer(*arguments)

    def submit(self, function, *arguments):
        done = Future()
        done.set_result(function(*arguments))
        return done

    def shutdown(self, **_):
        pass


def test_several_processes_give_the_same_file(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK", 1000)
    monkeypatch.setattr(encoding, "WORTHWHILE", 2000)
    texts = [f"text {number} " * (number % 17) for number in range(400)]
    seen = []
    one = write_token_file(tmp_path / "one", texts, ByteTokenizer(), header={}, workers=1)
    tokenizer = ByteTokenizer()
    two = write_token_file(
        tmp_path / "two", texts, tokenizer, header={}, workers=2, progress=lambda done, total: seen.append(done)
    )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert np.array_equal(one.ids, two.ids)
    assert tokenizer.calls == []  # other processes did it
    assert seen == sorted(seen)
    assert seen[-1] == one.header["bytes"]


@dataclass
class Refusing(ByteTokenizer):
    """Refuses one text, as a tokenizer refuses a character that it does not know."""

    def encode_array(self, text: str) -> np.ndarray:
        if "stop" in text:
            raise DataError("no token for this")
        return super().encode_array(text)


@dataclass
class Dying(ByteTokenizer):
    """Ends its process, as a process does that is killed for want of memory."""

    def encode_array(self, text: str) -> np.ndarray:
        os._exit(9)


def test_errors_in_other_processes_arrive_here(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK", 100)
    monkeypatch.setattr(encoding, "WORTHWHILE", 200)
    texts = ["x" * 90] * 20
    with pytest.raises(DataError, match="no token for this"):
        write_token_file(tmp_path / "a", [*texts, "stop"], Refusing(), header={}, workers=2)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_process_that_dies_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK", 100)
    monkeypatch.setattr(encoding, "WORTHWHILE", 200)
    with pytest.raises(DataError, match=r"data\.workers 1"):
        write_token_file(tmp_path / "a", ["x" * 90] * 20, Dying(), header={}, workers=2)
    assert os.listdir(tmp_path) == []


def test_small_input_starts_no_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "ProcessPoolExecutor", None)
    tokenizer = ByteTokenizer()
    write_token_file(tmp_path / "a", ["x" * 100_000] * 20, tokenizer, header={}, workers=4)
    assert len(tokenizer.calls) == 20


def test_as_many_processes_as_threads_are_asked_for(tmp_path, monkeypatch):
    texts = ["x" * encoding.WORTHWHILE] * 3
    monkeypatch.setattr(encoding, "cores", lambda: 8)
    monkeypatch.setattr(encoding, "ProcessPoolExecutor", Counting)
    for asked, expected in (("1", []), ("2,1", [2]), ("", [8]), ("many", [8])):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        Counting.workers.clear()
        write_token_file(tmp_path / f"{asked}x", texts, ByteTokenizer(), header={})
        assert Counting.workers == expected


def test_ids_beyond_the_vocabulary_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"gave the id 256, but its vocab_size is 256"):
        write_token_file(tmp_path / "a", ["x"], ByteTokenizer(vocab_size=256), header={})


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "a.tokens"
    write_token_file(path, TEXTS, ByteTokenizer(), header={})
    whole = path.read_bytes()
    with pytest.raises(DataError, match="another tokenizer"):
        TokenFile.open(path, tokenizer_hash="other")
    for length in (0, 5, HEADER_BYTES - 1, HEADER_BYTES, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"no token file|bytes and should have"):
            TokenFile.open(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DataError, match="bytes and should have"):
        TokenFile.open(path)
    path.write_bytes(b"X" + whole[1:])
    with pytest.raises(DataError, match="no token file of heed"):
        TokenFile.open(path)
    path.write_bytes(whole.replace(b'"version": 2', b'"version": 9'))
    with pytest.raises(DataError, match="version 9"):
        TokenFile.open(path)
    header = json.loads(whole[8:HEADER_BYTES])
    changes = [{"dtype": dtype} for dtype in ("float16", "object", "uint64", None, [])]
    changes += [{key: value} for key in ("tokens", "documents") for value in (0, -1, 1.5, True, "9", None)]
    for change in changes:
        block = whole[:8] + json.dumps(header | change).encode()
        path.write_bytes(block.ljust(HEADER_BYTES) + whole[HEADER_BYTES:])
        with pytest.raises(DataError, match="no token file of heed, or is damaged"):
            TokenFile.open(path)
    with pytest.raises(DataError, match="cannot be read"):
        TokenFile.open(tmp_path / "absent")


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.tokens"
    write_token_file(path, ["before"], ByteTokenizer(), header={})
    before = path.read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"the disk is full.*data\.cache"):
        write_token_file(path, ["after"], ByteTokenizer(), header={})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.tokens"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_token_file(tmp_path / "file" / "a", ["x"], ByteTokenizer(), header={})


def test_an_interruption_leaves_no_half_file(tmp_path):
    def documents():
        yield "one"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_token_file(tmp_path / "a", documents(), ByteTokenizer(), header={})
    assert os.listdir(tmp_path) == []


@pytest.fixture
def corpus_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"text number {number}"}) + "\n" for number in range(50)))
    return path


def test_token_files_are_reused_until_something_changes(tmp_path, corpus_file):
    def files(tokenizer, **options):
        return token_files(open_corpus(corpus_file, **options), tokenizer, tmp_path / "cache")

    first = ByteTokenizer()
    made = files(first)
    assert sorted(made) == ["train", "validation"]
    assert sum(file.header["documents"] for file in made.values()) == len(first.calls) == 50
    header = made["validation"].header
    assert header["corpus_fingerprint"] == open_corpus(corpus_file).fingerprint
    assert (header["corpus"], header["split"], header["tokenizer_hash"]) == ("a", "validation", "bytes")

    again = ByteTokenizer()
    kept = files(again)
    assert again.calls == []
    assert all(np.array_equal(kept[split].ids, made[split].ids) for split in made)
    for change in (ByteTokenizer(end_id=255), ByteTokenizer(end_id=None)):  # named beside the file: the same hash
        files(change)
        assert len(change.calls) == 50
    for change in (ByteTokenizer(hash="other"), ByteTokenizer()):
        files(change, validation_fraction=0.2)
        assert len(change.calls) == 50
    corpus_file.write_text(corpus_file.read_text() + '{"text": "one more"}\n')
    more = ByteTokenizer()
    files(more)
    assert len(more.calls) == 51


def test_damaged_and_foreign_token_files_are_made_anew(tmp_path, corpus_file):
    corpus = open_corpus(corpus_file)
    token_files(corpus, ByteTokenizer(), tmp_path / "cache")
    train, validation = sorted((tmp_path / "cache").iterdir())
    whole = train.read_bytes(), validation.read_bytes()
    train.write_bytes(whole[0][:-1])
    validation.write_bytes(whole[0])  # another split's file under this name
    tokenizer = ByteTokenizer()
    token_files(corpus, tokenizer, tmp_path / "cache")
    assert len(tokenizer.calls) == 50
    assert (train.read_bytes(), validation.read_bytes()) == whole


def test_progress_counts_up_to_about_the_total(tmp_path):
    (tmp_path / "a.txt").write_text("to be or not to be\n" * 100)
    seen = []
    corpus = open_corpus(tmp_path / "a.txt", validation_fraction=0.25)
    token_files(corpus, ByteTokenizer(), tmp_path / "cache", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1425, 1425), (475, 475)]


def test_wikitext_keeps_its_published_counts(tmp_path, shared_data, monkeypatch):
    monkeypatch.setenv("HEED_DATA", str(shared_data))
    corpus = open_corpus("wikitext-2")
    valid = write_token_file(
        tmp_path / "valid", corpus.documents("validation"), ByteTokenizer(None), header={"word_rule": corpus.word_rule}
    )
    assert valid.header["words"] == 217_646
    assert valid.header["bytes"] == len(valid.ids) == 1_121_681
    assert valid.header["documents"] == 1


def test_npz_is_read_without_pickle(tmp_path):
    path = tmp_path / "train.npz"
    np.savez(path, tokens=np.array([5, 6, 7, 70_000, 9]), sizes=np.array([3, 2]))
    file = load_npz(path)
    assert (file.ids.tolist(), file.ends.tolist()) == ([5, 6, 7, 70_000, 9], [3, 5])
    assert (file.ids.dtype, file.ends.dtype, file.header["split"]) == (np.uint32, np.uint64, "train")


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"tokens": [1, 2, 3]}, "has no array"),
        ({"tokens": [1, 2, 3], "sizes": [1, 1]}, "add up to 2, but there are 3"),
        ({"tokens": [1.5], "sizes": [1]}, "row of integers"),
        ({"tokens": [[1]], "sizes": [1]}, "row of integers"),
        ({"tokens": [-1], "sizes": [1]}, "row of integers"),
        ({"tokens": np.array([None]), "sizes": [1]}, "cannot be read as npz"),
    ],
)
def test_bad_npz(tmp_path, arrays, what):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=what):
        load_npz(tmp_path / "a.npz")


def test_npz_that_is_none(tmp_path):
    (tmp_path / "a.npz").write_text("no")
    for path in (tmp_path / "a.npz", tmp_path / "absent.npz"):
        with pytest.raises(DataError, match="cannot be read as npz"):
            load_npz(path)


def altered(path, place, content=b"\x01"):
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + content + whole[place + len(content) :])
    return whole


@pytest.mark.parametrize("large", [False, True])
def test_a_token_file_is_what_was_written(tmp_path, monkeypatch, large):
    """The whole file is hashed where it is small or asked for; of a large one the blocks alone."""
    path = tmp_path / "a.tokens"
    write_token_file(path, ["abc" * 3000, "xyz" * 3000], ByteTokenizer(), header={"split": "train"})
    if large:
        monkeypatch.setattr(tokenfile, "WHOLE", 0)
        monkeypatch.setattr(tokenfile, "BLOCK", 16)
        write_token_file(path, ["abc" * 3000, "xyz" * 3000], ByteTokenizer(), header={"split": "train"})
    TokenFile.open(path, verify=True)
    between = 4096 + 16 + 40  # the second of 64 places begins some 570 bytes on
    for place, told in ((4096, True), (between, not large), (path.stat().st_size - 8, True)):
        whole = altered(path, place)
        if told:
            with pytest.raises(DataError, match="is not as it was written"):
                TokenFile.open(path)
        else:
            TokenFile.open(path)
        with pytest.raises(DataError, match="is not as it was written"):
            TokenFile.open(path, verify=True)
        path.write_bytes(whole)


def test_counts_in_the_header_are_hashed_and_old_files_written_anew(tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("to be or not to be\n" * 20)

    def files():
        return token_files(open_corpus(source, validation_fraction=0.0), ByteTokenizer(), tmp_path / "cache")

    files()
    (path,) = (tmp_path / "cache").glob("*.tokens")
    whole = path.read_bytes()
    for wrong in (whole.replace(b'"bytes": 3', b'"bytes": 4', 1), whole.replace(b'"sha256"', b'"sha255"', 1)):
        assert wrong != whole
        path.write_bytes(wrong)
        files()
        assert path.read_bytes() == whole
