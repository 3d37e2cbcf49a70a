"""Encodings and line ends: each file by itself, nothing turned into nonsense, everything told."""

import gzip
import hashlib
import tracemalloc

import numpy as np
import pytest

import heed.text.formats as formats
from heed.errors import DataError
from heed.text import charsets
from heed.text.corpus import open_corpus
from heed.text.labelled import open_labelled
from heed.text.qa import read_questions
from heed.text.tokenfile import token_files
from heed.text.tokenizers import train_tokenizer

WORDS = "Käse, Öl und süße Früchte: naïve café, ¼ Pfund.\n"


def everything(corpus):
    return [text for split in corpus.splits for text in corpus.documents(split)]


def folder(tmp_path, **files):
    """Write files, `a="utf-8"` as a.txt with text in that encoding; bytes as they are."""
    for name, content in files.items():
        content = content if isinstance(content, bytes) else f"{name} {WORDS}".encode(content)
        (tmp_path / f"{name}.txt").write_bytes(content)
    return tmp_path


def refusal(*args, **kwargs) -> str:
    with pytest.raises(DataError) as caught:
        everything(open_corpus(*args, validation_fraction=0, **kwargs))
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_one_file_in_another_encoding_does_not_stop_a_folder(tmp_path):
    folder(tmp_path, a="utf-8", b="utf-8-sig", c="utf-16", d="utf-8", e="latin-1", f="utf-32")
    corpus = open_corpus(tmp_path, validation_fraction=0)
    assert everything(corpus) == [f"{name} {WORDS}" for name in "abcdef"]
    (note,) = corpus.notes
    assert "read as cp1252, being no UTF-8: 1 of 6 files (e.txt)" in note
    assert "--data.encoding" in note


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp850"])
def test_to_name_the_encoding_of_some_files_changes_no_other(tmp_path, encoding):
    folder(tmp_path, a="utf-8", b=encoding, c="utf-16", d=encoding, e=b"plain\n", f="utf-8-sig")
    corpus = open_corpus(tmp_path, validation_fraction=0, encoding=encoding)
    assert everything(corpus) == [f"{name} {WORDS}" if name != "e" else "plain\n" for name in "abcdef"]
    assert corpus.notes == [f"read as {encoding} (data.encoding), being no UTF-8: 2 of 6 files (b.txt, d.txt)"]


def test_every_file_in_another_encoding_is_listed_at_once(tmp_path):
    folder(tmp_path, a="utf-8", b="latin-1", c="utf-8", d="latin-1", e="latin-1")
    line = refusal(tmp_path)
    assert line.startswith("3 of 5 files: ")
    for name in "bde":
        assert f"{tmp_path}/{name}.txt is not utf-8 at byte 3" in line
    assert "a.txt" not in line
    assert "name their encoding with --data.encoding" in line
    assert everything(open_corpus(tmp_path, validation_fraction=0, encoding="latin-1")) == [
        f"{name} {WORDS}" for name in "abcde"
    ]


def test_a_long_list_says_how_many_more(tmp_path):
    folder(tmp_path, **{f"f{n:02}": "latin-1" for n in range(30)})
    assert "and 10 more: name their encoding" in refusal(tmp_path)


def test_nothing_is_guessed_that_does_not_look_like_it(tmp_path):
    folder(tmp_path, a="utf-8", b="utf-8", c="utf-8")
    for content in ("Привет, мир\n".encode("koi8-r"), b"\x00\x01\xff binary", b"a\x81b"):
        (tmp_path / "d.txt").write_bytes(content)
        assert "d.txt is not utf-8 at byte" in refusal(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "cp037", "shift_jis", "iso2022_jp", "hz"])
@pytest.mark.parametrize("text", ["plain words\n", "日本語\n"])
def test_encodings_that_are_no_extension_of_ascii(tmp_path, encoding, text):
    if encoding == "cp037" and not text.isascii():
        text = "Käse\n"
    text = "汉字\n" if encoding == "hz" and not text.isascii() else text
    folder(tmp_path, a=text.encode(encoding), b="über\n".encode(), c=b"ascii\n")
    assert everything(open_corpus(tmp_path, validation_fraction=0, encoding=encoding)) == [text, "über\n", "ascii\n"]


@pytest.mark.parametrize(
    "name", ["rot13", "base64", "hex", "zlib", "bz2", "uu", "undefined", "punycode\0", "é", "x" * 5000]
)
def test_what_is_no_encoding_of_text_is_refused(tmp_path, name):
    line = refusal(folder(tmp_path, a="utf-8"), encoding=name)
    assert "(data.encoding)" in line
    assert len(line) < 300


def test_utf_16_without_a_mark_says_where_it_fails(tmp_path):
    line = refusal(folder(tmp_path, a="über".encode("utf-16-le")), encoding="utf-16")
    assert "a.txt is not utf-16 at byte 0" in line


def test_windows_line_ends_become_one_character_also_between_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "PIECE", 7)  # blocks of seven bytes
    text = "ab\r\ncdef\r\r\n\r\nüü\r\n\r"
    path = tmp_path / "a.txt"
    for content in (text.encode(), text.encode("utf-16")):
        path.write_bytes(content)
        assert "".join(everything(open_corpus(path, validation_fraction=0))) == text.replace("\r\n", "\n")
        assert "".join(everything(open_corpus(path, validation_fraction=0, line_ends="keep"))) == text


def test_a_separator_of_windows_line_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\n\r\ntwo\r\nzwei\r\n\r\nthree")
    for separator in ("\r\n\r\n", "\n\n"):
        corpus = open_corpus(path, validation_fraction=0, separator=separator)
        assert everything(corpus) == ["one", "two\nzwei", "three"]
    kept = open_corpus(path, validation_fraction=0, separator="\r\n\r\n", line_ends="keep")
    assert everything(kept) == ["one", "two\r\nzwei", "three"]


def test_the_fingerprint_of_plain_text_is_that_of_before(tmp_path):
    """The files, their sizes and contents, and the settings of before: nothing else goes into it."""
    folder(tmp_path, a="utf-8", b=b"ascii\n", c=b"\xef\xbb\xbfmark\n")
    files = []
    for name in "abc":
        content = (tmp_path / f"{name}.txt").read_bytes()
        files.append((f"{name}.txt", len(content), hashlib.blake2b(content, digest_size=16).hexdigest()))
    reading = "Reading(column='text', encoding='utf-8', separator=None)"
    source = hashlib.sha256(f"('files', {files!r}, {reading})".encode()).hexdigest()
    whole = hashlib.sha256(repr(("corpus", [("train", source)], [], "words")).encode()).hexdigest()
    assert open_corpus(tmp_path, validation_fraction=0).fingerprint == whole


def test_the_fingerprint_and_the_tokens_change_with_what_is_read(tmp_path):
    texts = folder(tmp_path / "texts" if (tmp_path / "texts").mkdir() is None else tmp_path, a=WORDS.encode() * 9)
    tokenizer = train_tokenizer("char", [WORDS], 100)
    seen = {}

    def tokens(**how):
        corpus = open_corpus(texts, validation_fraction=0, **how)
        ids = token_files(corpus, tokenizer, tmp_path / "cache", workers=1)["train"].ids
        assert corpus.fingerprint not in seen or np.array_equal(seen[corpus.fingerprint], ids)
        seen[corpus.fingerprint] = np.array(ids)
        return list(ids)

    before = tokens()
    assert before == tokenizer.encode(WORDS * 9)
    (texts / "a.txt").write_bytes(WORDS.replace("\n", "\r\n").encode() * 9)
    assert tokens() == before
    (texts / "a.txt").write_bytes(WORDS.encode("cp1252") * 9)
    assert tokens(encoding="cp1252") == before
    (texts / "a.txt").write_bytes(WORDS.encode("utf-16") * 9)  # nine marks, of which the first is left out
    with pytest.raises(DataError, match="U\\+FEFF"):
        tokens()
    assert len(seen) == 3


def test_rows_and_questions_are_read_in_the_same_way(tmp_path):
    rows = "text,label\n" + "".join(f"Käse {n},{n % 2}\n" for n in range(20))
    for encoding in ("utf-8", "utf-16", "utf-8-sig", "latin-1"):
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes(rows.encode(encoding))
        corpus = open_labelled(path, label="label", encoding="latin-1")
        assert sorted(everything(corpus)) == sorted(f"Käse {n}" for n in range(20))
        asked = tmp_path / f"{encoding}.tsv"
        asked.write_bytes("Wo?\tKöln\n".encode(encoding))
        assert read_questions(asked, encoding="latin-1")[0].answer == "Köln"
    packed = tmp_path / "a.txt.gz"
    packed.write_bytes(gzip.compress(WORDS.encode("utf-16")))
    assert everything(open_corpus(packed, validation_fraction=0)) == [WORDS]


def test_a_look_needs_no_memory(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(WORDS.encode("latin-1") * 400_000)  # 19 MB
    tracemalloc.start()
    assert charsets.look(lambda: path.open("rb"), "latin-1").codec == "latin-1"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
