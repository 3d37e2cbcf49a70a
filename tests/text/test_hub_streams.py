"""`hf:stream:` reads the rows of a data set as they come: the same documents, in parts, and nothing of them on disk."""

import json

import pytest

from heed.cli import main
from heed.config import DataConfig
from heed.errors import DataError
from heed.report.card import front_matter, shown_name
from heed.text import hub_streams
from heed.text.corpus import open_corpus
from heed.text.shards import Tokenisation, tokenise
from heed.text.tokenizers import train_tokenizer

TEXTS = [f"document number {number} says {number * number}" for number in range(60)]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where `datasets` keeps what it keeps."""
    import datasets

    folder = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    return folder


@pytest.fixture
def rows(tmp_path):
    """A folder as `datasets` loads it: five files of twelve rows."""
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(5):
        lines = [json.dumps({"id": n, "sentence": TEXTS[n]}) for n in range(12 * number, 12 * number + 12)]
        (folder / f"part-{number}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def corpus(rows, **settings):
    return open_corpus(f"hf:stream:{rows}", column="sentence", **settings)


def test_a_stream_has_the_rows_of_the_set_and_keeps_none(rows, cache):
    streamed = corpus(rows)
    texts = {split: list(streamed.documents(split)) for split in streamed.splits}
    assert [file for file in cache.rglob("*.arrow") if file.is_file()] == []
    whole = open_corpus(f"hf:{rows}", column="sentence")
    assert {split: list(whole.documents(split)) for split in whole.splits} == texts
    assert [file for file in cache.rglob("*.arrow") if file.is_file()] != []


@pytest.mark.parametrize("of", [1, 2, 3, 5, 7])
def test_parts_follow_each_other_and_are_the_whole(rows, cache, of):
    streamed = corpus(rows, validation_fraction=0)
    parts = [list(streamed.part("train", number, of)) for number in range(of)]
    assert [text for part in parts for text in part] == TEXTS
    assert sum(map(bool, parts)) == min(of, 5)


def test_parquet_is_streamed_too(tmp_path, cache):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (tmp_path / "set").mkdir()
    for split, texts in (("train", TEXTS[:50]), ("validation", TEXTS[50:])):
        parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "set" / f"{split}.parquet")
    streamed = open_corpus(f"hf:stream:{tmp_path / 'set'}")
    assert [list(streamed.documents(split)) for split in ("train", "validation")] == [TEXTS[:50], TEXTS[50:]]


def test_the_fingerprint_is_that_of_the_files(rows, cache):
    before = corpus(rows).fingerprint
    assert corpus(rows).fingerprint == before
    with (rows / "part-4.jsonl").open("a") as file:
        file.write(json.dumps({"id": 60, "sentence": "one more"}) + "\n")
    assert corpus(rows).fingerprint != before


def test_shards_of_a_stream_are_those_of_the_set_and_go_on(rows, cache, tmp_path):
    tokenizer = train_tokenizer("char", TEXTS, 256)
    made = {}
    for name in ("hf:", "hf:stream:"):
        data = DataConfig(source=f"{name}{rows}", column="sentence")
        asked = Tokenisation(data, tokenizer, tmp_path / name.replace(":", ""), 3)
        assert tokenise(asked, [1], 1, lambda _: None) is None
        first = [(file, file.stat().st_mtime_ns) for file in asked.folder.glob("*-00001-of-00003.tokens")]
        made[name] = tokenise(asked, range(3), 1, lambda _: None)
        assert [(file, file.stat().st_mtime_ns) for file in asked.folder.glob("*-00001-of-00003.tokens")] == first
    for split, entries in made["hf:"].splits.items():
        counts = [sum(getattr(one, count) for one in entries) for count in ("tokens", "documents", "words")]
        other = made["hf:stream:"].splits[split]
        assert [sum(getattr(one, count) for one in other) for count in ("tokens", "documents", "words")] == counts


def test_a_set_that_is_larger_than_memory_is_tokenised_from_the_command_line(
    rows, cache, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    column = ["--data.column", "sentence"]
    assert main(["tokenizer", "train", f"hf:stream:{rows}", "--vocab-size", "300", "--out", "t.json", *column]) == 0
    asked = ["data", "tokenize", f"hf:stream:{rows}", "--tokenizer", "t.json", "--out", "tokens", "--shards", "2"]
    assert main([*asked, "--workers", "2", *column]) == 0
    assert "train: " in capsys.readouterr().out
    small = ["--model.n-layers", "1", "--model.n-heads", "2", "--model.d-model", "16", "--model.context", "16"]
    assert (
        main(["train", "tokens", *small, "--train.steps", "2", "--train.batch-size", "2", "--train.warmup-steps", "1"])
        == 0
    )


def test_a_stream_that_breaks_off_says_what_to_do(rows, cache, monkeypatch):
    class Broken:
        def __iter__(self):
            yield {"sentence": "one"}
            raise ConnectionError("Connection reset by peer\nand more")

    found = hub_streams._rows(Broken(), "hf:stream:a/b (train)")
    assert next(found) == {"sentence": "one"}
    with pytest.raises(DataError, match=r"a/b \(train\) broke off \(ConnectionError: Connection reset by peer\): give"):
        next(found)


def test_what_a_stream_cannot_be_is_said(rows, cache, tmp_path, capsys):
    with pytest.raises(DataError, match=r"has no column 'body': choose one of 'id', 'sentence' with --data.column"):
        list(open_corpus(f"hf:stream:{rows}", column="body").documents("train"))
    with pytest.raises(DataError, match="hf:nobody/nothing could not be loaded"):
        open_corpus("hf:stream:nobody/nothing")
    flags = ["--label", "id", "--text", "sentence", "--methods", "head"]
    assert main(["tune", f"hf:stream:{rows}", *flags, "--out", str(tmp_path / "tune")]) == 2
    assert f"what has labels is read as a whole: write hf:{rows}" in capsys.readouterr().err


def test_the_card_names_the_set():
    assert "datasets:\n- me/books" in front_matter("text-generation", "transformers", dataset="hf:stream:me/books")
    assert shown_name("hf:stream:me/books") == "hf:stream:me/books"
    assert shown_name("hf:stream:/home/me/books") == "books"
