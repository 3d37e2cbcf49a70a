"""Labelled texts: every format, splits, classes in order, and what is wrong with a table said in one line."""

import json
import random

import numpy as np
import pytest

from heed.errors import DataError
from heed.text.examples import Examples, cut_texts, examples_in_order
from heed.text.labelled import LabelledTokens, open_labelled
from heed.text.named import open_named
from heed.text.sources import digest
from heed.text.splits import open_splits

ROWS = [("a fine film", "good"), ("a dull film", "bad"), ("fine , fine", "good"), ("so dull", "bad")]


def write(path, rows=ROWS, header="text\tlabel\n"):
    path.write_text(header + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
    return path


def whole(source, **settings):
    return open_labelled(source, **({"label": "label", "validation_fraction": 0.0} | settings))


def test_every_format_gives_the_same(tmp_path):
    write(tmp_path / "a.tsv")
    (tmp_path / "b.csv").write_text("label,text\n" + "".join(f'{b},"{a}"\n' for a, b in ROWS))
    lines = (json.dumps({"text": a, "label": b, "other": 1}) + "\n" for a, b in ROWS)
    (tmp_path / "c.jsonl").write_text("".join(lines))
    import pyarrow as arrow
    from pyarrow import parquet

    parquet.write_table(
        arrow.table({"label": [b for _, b in ROWS], "text": [a for a, _ in ROWS]}), tmp_path / "d.parquet"
    )
    for name in ("a.tsv", "b.csv", "c.jsonl", "d.parquet"):
        corpus = whole(tmp_path / name)
        assert list(corpus.documents("train")) == [text for text, _ in ROWS]
        assert corpus.classes == ("bad", "good")
        assert corpus.labels("train").tolist() == [1, 0, 1, 0]
        assert corpus.notes == ["2 classes in train: bad (2), good (2)"]


def test_columns_by_number_where_no_line_names_them(tmp_path):
    path = write(tmp_path / "a.tsv", [("one", "1"), ("two", "2"), ("three", "1")], header="")
    corpus = whole(path, column="1", label="2")
    assert corpus.classes == ("1", "2")
    assert list(corpus.documents("train")) == ["one", "two", "three"]
    named = write(tmp_path / "b.tsv", [("one", "x"), ("two", "y")], header="0\t1\n")  # as pandas names columns
    assert list(whole(named, column="0", label="1").documents("train")) == ["one", "two"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([2, 10, 1], ("1", "2", "10")),
        ([True, False, True], ("false", "true")),
        ([0.5, -1, 2], ("-1", "0.5", "2")),
        (["b", "a", "10"], ("10", "a", "b")),
    ],
)
def test_labels_of_any_type_become_names_in_order(tmp_path, labels, classes):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"t{i}", "label": v}) + "\n" for i, v in enumerate(labels)))
    assert whole(path).classes == classes


def test_held_out_texts_keep_their_labels(tmp_path):
    rows = [(f"text number {i}", "odd" if i % 2 else "even") for i in range(200)]
    corpus = whole(write(tmp_path / "a.tsv", rows), validation_fraction=0.2, test_fraction=0.1)
    assert corpus.splits == ("train", "validation", "test")
    seen = {}
    for split in corpus.splits:
        texts, labels = list(corpus.documents(split)), corpus.labels(split)
        assert len(texts) == len(labels)
        seen |= {text: corpus.classes[label] for text, label in zip(texts, labels.tolist(), strict=True)}
    assert seen == dict(rows)
    assert "20 % for validation" in corpus.split_rule


def test_files_for_each_split_and_none_on_both_sides(tmp_path):
    (tmp_path / "all").mkdir()
    write(tmp_path / "all" / "one.tsv")
    held = write(tmp_path / "all" / "two.tsv", [("new", "good")])
    corpus = open_labelled(tmp_path / "all", label="label", validation=held)
    assert len(list(corpus.documents("train"))) == 4
    assert corpus.labels("validation").tolist() == [1]


def test_the_fingerprint_knows_labels_and_columns(tmp_path):
    one, two = write(tmp_path / "a.tsv"), write(tmp_path / "b.tsv", [*ROWS[:3], ("so dull", "good")])
    other = write(tmp_path / "c.tsv", [(a, f"{b}\t{b}") for a, b in ROWS], header="text\tlabel\tsecond\n")
    prints = {whole(one).fingerprint, whole(two).fingerprint, whole(other).fingerprint}
    assert len({*prints, whole(other, label="second").fingerprint}) == 4
    assert whole(one).fingerprint == whole(one).fingerprint


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (ROWS, {"label": "lable"}, "no column 'lable': choose one of 'text', 'label' with --data.label"),
        (ROWS, {"column": "txt"}, "no column 'txt': choose one of 'text', 'label' with --data.column"),
        ([("a", "x"), ("b", "x")], {}, "all training texts have the label 'x'"),
        ([("a", "x"), (" ", "y")], {}, "line 3 has an empty text in 'text'"),
        ([("a", "x"), ("b", "")], {}, "line 3 has no label in 'label'"),
        ([("same", "x"), ("same", "y")], {"validation_fraction": 0.5}, "1 different texts, too few for 2 splits"),
        ([(f"text {i}", f"text {i}") for i in range(30)], {}, "holds 30 labels in 30 texts: is it another column"),
        (ROWS, {"encoding": "utf-9"}, "unknown encoding"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, rows, settings, message):
    path = write(tmp_path / "a.tsv", rows)
    with pytest.raises(DataError, match=message) as caught:
        whole(path, **settings)
    assert "\n" not in str(caught.value)


def test_values_that_are_no_labels_and_texts_that_are_none(tmp_path):
    for row, message in (
        ({"text": "a", "label": [1]}, r"line 1 has the label \[1\] in 'label'"),
        ({"text": "a", "label": None}, "line 1 has no label"),
        ({"text": "a", "label": float("nan")}, "line 1 has the label nan"),
        ({"text": 3, "label": "x"}, "line 1 has no text but a value"),
        ({"text": None, "label": "x"}, "line 1 has an empty text"),
    ):
        path = tmp_path / "a.jsonl"
        path.write_text(json.dumps(row) + "\n")
        with pytest.raises(DataError, match=message):
            whole(path)


def test_a_label_that_training_never_had(tmp_path):
    strange = write(tmp_path / "v.tsv", [("new", "godo")])
    message = r"v.tsv, line 2 \(validation\) has the label 'godo', no class of the training texts: did you mean 'good'"
    with pytest.raises(DataError, match=message):
        open_labelled(write(tmp_path / "a.tsv"), label="label", validation=strange)


def test_a_model_keeps_the_classes_that_it_learned(tmp_path):
    corpus = whole(write(tmp_path / "a.tsv", [("x", "good")]), classes=("bad", "good"))
    assert corpus.classes == ("bad", "good")
    assert corpus.labels("train").tolist() == [1]


def test_what_has_no_labels_says_so(tmp_path):
    (tmp_path / "a.txt").write_text("plain\n")
    with pytest.raises(DataError, match=r"plain text and has no column of labels"):
        whole(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"shakespeare has no labels .* take sst2"):
        whole("shakespeare")


def repeated(path, rows=400):
    """Rows of which every third text comes twice; a class is rare."""
    draw = random.Random(0)
    texts = [f"text {draw.randrange(rows * 3 // 4)}" for _ in range(rows)]
    return write(path, [(text, "rare" if hash_of(text) % 10 == 0 else "common") for text in texts])


def hash_of(text):
    return sum(map(ord, text)) * 7919 % 1009


def test_train_and_tune_hold_out_the_same_rows(tmp_path):
    path = repeated(tmp_path / "a.tsv")
    corpus = open_labelled(path, label="label", test_fraction=0.2)
    splits = open_splits(path, test_fraction=0.2)
    assert {split: list(corpus.documents(split)) for split in corpus.splits} == {
        split: rows.texts for split, rows in splits.rows.items()
    }
    held_out = [set(corpus.documents(split)) for split in corpus.splits]
    assert not held_out[0] & held_out[1] | held_out[0] & held_out[2] | held_out[1] & held_out[2]
    assert len(set().union(*held_out)) < 400


def test_a_run_from_before_keeps_its_split(tmp_path):
    """The sizes and hashes are those of the heed that held out by the draw of a text alone."""
    path = repeated(tmp_path / "a.tsv")
    old = open_labelled(path, label="label", validation="by-text", test="by-text", test_fraction=0.2)
    assert old.split_rule == "by document, by a fixed hash: 20 % for test and 10 % for validation"
    assert {split: len(list(old.documents(split))) for split in old.splits} == {
        "train": 290,
        "validation": 37,
        "test": 73,
    }
    assert (digest(*old.documents("validation"))[:16], old.fingerprint[:16]) == ("5624eaf7c891e231", "5a750221acac73bd")
    new = open_labelled(path, label="label", validation="by-class", test="by-class", test_fraction=0.2)
    assert new.fingerprint != old.fingerprint
    assert set(new.documents("validation")) != set(old.documents("validation"))
    given = write(tmp_path / "v.tsv", [("new", "rare"), ("newer", "common")])
    prints = {
        open_labelled(path, label="label", validation=given, test=test, test_fraction=0.0).fingerprint
        for test in (None, "by-class", "by-text")
    }
    assert len(prints) == 1  # nothing is held out, so the rule is no part of it


def test_one_text_of_a_pair_is_read_where_it_is_named(shared_data, monkeypatch):
    monkeypatch.setenv("HEED_DATA", str(shared_data))
    with pytest.raises(DataError, match="boolq: these are pairs of texts, and one text is read"):
        open_labelled("boolq", label="answer")
    assert "no passage in two splits" in " ".join(open_labelled("boolq", label="answer", column="question").notes)


def test_sst2_by_name(shared_data, monkeypatch):
    monkeypatch.setenv("HEED_DATA", str(shared_data))
    corpus = open_labelled("sst2", label="label")
    assert [len(corpus.labels(split)) for split in ("train", "validation", "test")] == [6920, 872, 1821]
    assert corpus.classes == ("0", "1")
    assert corpus.split_rule == "as given"
    texts = [text for _, text in open_named("sst2")["train"].read(None)]  # pyright: ignore[reportArgumentType]
    assert texts == list(corpus.documents("train"))  # as a corpus to read it holds the sentences alone
    with pytest.raises(DataError, match=r"no column 'labels': choose one of 'text', 'label' with --data.label$"):
        open_labelled("sst2", label="labels")


def test_sst2_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEED_DATA", raising=False)
    with pytest.raises(DataError, match=r"sst2 was not found in .*: set HEED_DATA to a folder that holds sst2/"):
        open_labelled("sst2", label="label")


PAD = 99


def tokens() -> LabelledTokens:
    """Texts of 3, 1, 5 and 2 tokens: 0 1 2 | 3 | 4 5 6 7 8 | 9 10."""
    return LabelledTokens(
        np.arange(11, dtype=np.uint16), np.array([3, 4, 9, 11], np.uint64), {"split": "train"},
        np.array([0, 1, 0, 1]), ("a", "b"),
    )  # fmt: skip


def test_batches_are_as_long_as_their_longest_text():
    one, two = examples_in_order(tokens(), 4, 2, PAD)
    assert one.source.tolist() == [[0, 1, 2], [3, PAD, PAD]]
    assert one.target.tolist() == [0, 1]
    assert one.mask is None
    assert two.source.tolist() == [[4, 5, 6, 7], [9, 10, PAD, PAD]]  # cut at the context
    assert [batch.target.tolist() for batch in examples_in_order(tokens(), 4, 2, PAD, count=1)] == [[0]]
    assert cut_texts(tokens(), 4) == "1 of 4 texts of the train split have more than 4 tokens and are cut"
    assert cut_texts(tokens(), 5) is None


def test_every_text_once_an_epoch_and_a_resumed_stream_is_the_same():
    stream = Examples(tokens(), 3, 5, PAD, seed=1)
    batches = [next(stream) for _ in range(8)]
    firsts = [row[0] for batch in batches for row in batch.source.tolist()]
    labels = [label for batch in batches for label in batch.target.tolist()]
    assert all(sorted(firsts[i : i + 4]) == [0, 3, 4, 9] for i in range(0, 24, 4))
    assert [{0: 0, 3: 1, 4: 0, 9: 1}[first] for first in firsts] == labels
    assert len({tuple(firsts[i : i + 4]) for i in range(0, 24, 4)}) > 1  # shuffled anew
    assert stream.epoch == 6
    begun = Examples(tokens(), 3, 5, PAD, seed=1)
    for _ in range(3):
        next(begun)
    later = Examples(tokens(), 3, 5, PAD, seed=1)
    later.load_state(begun.state())
    for expected in batches[3:]:
        batch = next(later)
        assert batch.source.tolist() == expected.source.tolist()
        assert batch.target.tolist() == expected.target.tolist()
