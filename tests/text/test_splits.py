"""Labelled texts in splits: every source, shares by hand, groups, and what is wrong said in one line with its place."""

import gzip
import json
import random
from collections import Counter

import numpy as np
import pytest

from heed.errors import DataError
from heed.targets.classes import ClassTarget
from heed.text.splits import open_splits, subset
from heed.text.stratified import Unit, beginning, stratified

ROWS = [("a fine film", "good"), ("a dull film", "bad"), ("fine , fine", "good"), ("so dull", "bad")]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}
MANY = [(f"text number {i}", "rare" if i < 40 else "usual") for i in range(100)]
QUESTIONS = [(f"passage {i // 3}", f"question {i}", i % 2 == 0) for i in range(300)]


def write(path, rows=ROWS, header="text\tlabel\n"):
    path.parent.mkdir(exist_ok=True)
    path.write_text(header + "".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def questions(path, rows=QUESTIONS):
    return write_lines(path, [{"passage": p, "question": q, "label": a} for p, q, a in rows])


def texts(splits):
    return {split: set(rows.texts) for split, rows in splits.rows.items()}


def sizes(splits):
    return {split: len(rows) for split, rows in splits.rows.items()}


def counts(splits):
    return {
        split: np.bincount(rows.labels, minlength=len(splits.target.names)).tolist()
        for split, rows in splits.rows.items()
    }


def test_every_format_gives_the_same(tmp_path):
    import pyarrow as arrow
    from pyarrow import parquet

    write(tmp_path / "a.tsv")
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress((tmp_path / "a.tsv").read_bytes()))
    (tmp_path / "b.csv").write_text("label,text\n" + "".join(f'{b},"{a}"\n' for a, b in ROWS))
    write_lines(tmp_path / "c.jsonl", [{"text": a, "label": b} for a, b in ROWS])
    table = arrow.table({"label": [b for _, b in ROWS], "text": [a for a, _ in ROWS]})
    parquet.write_table(table, tmp_path / "d.parquet")
    prints = set()
    places = {"c.jsonl": "line 1", "d.parquet": "row 1"}
    for name in ("a.tsv", "a.tsv.gz", "b.csv", "c.jsonl", "d.parquet"):
        splits = open_splits(tmp_path / name, **WHOLE)
        assert splits.target.names == ("bad", "good")
        rows = splits.rows["train"]
        assert rows.texts == [text for text, _ in ROWS]
        assert rows.labels.tolist() == [1, 0, 1, 0]
        assert rows.labels.dtype == np.int64
        assert rows.pairs is None
        assert rows.places[0] == f"{name}, {places.get(name, 'line 2')}"
        prints.add(splits.fingerprint)
    assert len(prints) == 1


def test_columns_by_number_and_pairs(tmp_path):
    rows = [("q1", "p1", "1"), ("q2", "p2", "0")]
    path = write(tmp_path / "a.tsv", rows, header="")
    splits = open_splits(path, text="1", pair="2", label="3", **WHOLE)
    assert splits.rows["train"].texts == ["q1", "q2"]
    assert splits.rows["train"].pairs == ["p1", "p2"]
    assert splits.rows["train"].labels.tolist() == [1, 0]
    assert splits.rows["train"].places == ["a.tsv, line 1", "a.tsv, line 2"]


@pytest.mark.parametrize("validation", ["dev", "valid", "validation", "VAL"])
def test_a_folder_with_a_file_for_each_split(tmp_path, validation):
    write(tmp_path / "train.tsv")
    write(tmp_path / f"{validation}.tsv", [("new", "good")])
    write_lines(tmp_path / "test.jsonl", [{"text": "newest", "label": "bad"}])
    (tmp_path / "README.md").write_text("about")
    write(tmp_path / "train_more.tsv", [("more", "good")])
    splits = open_splits(tmp_path)
    assert texts(splits) == {"train": {text for text, _ in ROWS}, "validation": {"new"}, "test": {"newest"}}
    assert splits.rows["validation"].places == [f"{validation}.tsv, line 2"]
    assert splits.name == tmp_path.name
    [note] = splits.notes
    assert "2 files that are no split of labelled texts (README.md, train_more.tsv)" in note


def test_numbered_parts_are_one_split_and_two_files_are_not(tmp_path):
    write(tmp_path / "train-00000-of-00002.tsv", ROWS[:2])
    write(tmp_path / "train-00001-of-00002.tsv", ROWS[2:])
    write(tmp_path / "test.tsv", ROWS[:1])
    assert open_splits(tmp_path, validation_fraction=0).rows["train"].texts == [text for text, _ in ROWS]
    write(tmp_path / "train.tsv")
    with pytest.raises(DataError, match=r"train-00000.* and train.tsv, which are the same split"):
        open_splits(tmp_path)


def test_other_folders(tmp_path):
    write(tmp_path / "plain" / "one.tsv", ROWS[:2])
    write(tmp_path / "plain" / "two.tsv", ROWS[2:])
    assert len(open_splits(tmp_path / "plain", **WHOLE).rows["train"]) == 4
    assert len(open_splits(tmp_path / "plain" / "*.tsv", **WHOLE).rows["train"]) == 4
    held = open_splits(tmp_path / "plain", validation=tmp_path / "plain" / "two.tsv", test="none", test_fraction=0)
    assert sizes(held) == {"train": 2, "validation": 2}
    assert any("left out of training: 1 files" in note for note in held.notes)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("words")
    with pytest.raises(DataError, match="plain text alone, without labels"):
        open_splits(tmp_path / "text")
    write(tmp_path / "half" / "test.tsv")
    with pytest.raises(DataError, match=r"has test\.tsv but no train\.\*"):
        open_splits(tmp_path / "half")


def test_each_class_gives_its_share(tmp_path):
    splits = open_splits(write(tmp_path / "a.tsv", MANY), validation_fraction=0.1, test_fraction=0.25)
    assert counts(splits) == {"train": [26, 39], "validation": [4, 6], "test": [10, 15]}
    assert set.union(*texts(splits).values()) == {text for text, _ in MANY}
    assert splits.notes == [
        "validation: 10 of 100 texts held out of training by a fixed hash, of each class its share",
        "test: 25 of 100 texts held out of training by a fixed hash, of each class its share",
    ]
    order = splits.rows["train"].places
    assert order == sorted(order, key=lambda place: int(place.split()[-1]))  # that of the file


def test_the_place_in_the_file_does_not_matter(tmp_path):
    mixed = random.Random(1).sample(MANY, len(MANY))
    one, two = (write(tmp_path / name, rows) for name, rows in (("a.tsv", MANY), ("b.tsv", mixed)))
    assert texts(open_splits(one)) == texts(open_splits(two))
    even = [(f"text {i}", "xy"[i % 2]) for i in range(100)]  # both classes stand at the same places of the order
    ways = [even, even[::-1], random.Random(2).sample(even, len(even))]
    splits = [texts(open_splits(write(tmp_path / "c.tsv", way), validation_fraction=0.11)) for way in ways]
    assert splits[0] == splits[1] == splits[2]
    mixed = random.Random(1).sample(QUESTIONS, len(QUESTIONS))
    one, two = (questions(tmp_path / name, rows) for name, rows in (("a.jsonl", QUESTIONS), ("b.jsonl", mixed)))
    grouped = {"text": "question", "group": "passage", "train_examples": 100}
    assert texts(open_splits(one, **grouped)) == texts(open_splits(two, **grouped))


def test_groups_stay_together_and_classes_keep_their_shares(tmp_path):
    path = questions(tmp_path / "a.jsonl")
    splits = open_splits(path, text="question", pair="passage", group="passage")
    passages = [set(rows.pairs or []) for rows in splits.rows.values()]
    assert sum(map(len, passages)) == len(set.union(*passages)) == 100
    assert sizes(splits) == {"train": 240, "validation": 30, "test": 30}
    # passages hold two and one, or one and two, of the classes: 10 passages are at most 5 rows away from 15 and 15
    assert all(abs(no - yes) <= 10 for no, yes in counts(splits).values())
    assert "no passage in two splits" in splits.notes[0]
    apart = open_splits(path, text="question", pair="passage")
    assert set(apart.rows["train"].pairs or []) & set(apart.rows["test"].pairs or [])


def test_groups_of_one_class_are_stratified(tmp_path):
    rows = [(f"passage {i // 2}", f"question {i}", i < 80) for i in range(200)]
    splits = open_splits(questions(tmp_path / "a.jsonl", rows), text="question", group="passage")
    assert counts(splits) == {"train": [96, 64], "validation": [12, 8], "test": [12, 8]}


def test_equal_texts_never_stand_on_both_sides(tmp_path):
    rows = MANY + [(text, label) for text, label in MANY for _ in range(2)]
    splits = open_splits(write(tmp_path / "a.tsv", rows), test_fraction=0.3)
    assert sum(map(len, texts(splits).values())) == 100
    assert all(set(Counter(rows.texts).values()) == {3} for rows in splits.rows.values())
    # the same question with another passage is another text
    other = [{"text": "q", "pair": f"p {i}", "label": i % 2} for i in range(40)]
    paired = open_splits(write_lines(tmp_path / "b.jsonl", other), pair="pair")
    assert sizes(paired) == {"train": 32, "validation": 4, "test": 4}


def test_groups_that_share_a_text_are_one():
    keys, groups = ["a", "b", "a", "c", "d"], ["x", "x", "y", "y", "z"]
    found = {frozenset(unit.rows) for unit in stratified(keys, ["0"] * 5, groups)}
    assert found == {frozenset({0, 1, 2, 3}), frozenset({4})}


def test_the_order_by_hand():
    """Of 2 x and 4 y the middles are 1/4, 3/4 and 1/8, 3/8, 5/8, 7/8: y x y y x y."""
    keys = [f"text {i}" for i in range(6)]
    labels = ["x", "y", "y", "x", "y", "y"]
    order = [unit.rows[0] for unit in stratified(keys, labels)]
    assert "".join(labels[row] for row in order) == "yxyyxy"


def test_the_beginning_comes_as_near_as_it_can():
    units = [Unit((0, 1, 2), 0.0), Unit((3,), 0.1), Unit((4, 5), 0.2), Unit((6,), 0.3)]
    assert beginning(units, 2) == ([units[0]], units[1:])  # 3 rows are nearer to 2 than none
    assert beginning(units, 1) == ([units[1]], [units[0], *units[2:]])
    assert beginning(units, 5) == ([units[0], units[1], units[3]], [units[2]])
    assert beginning(units[:1] + units[2:3], 0)[0] == [units[2]]  # at least one, the smallest


def test_the_rest_is_the_test(tmp_path):
    path = write(tmp_path / "a.tsv", MANY)
    some = open_splits(path, train_examples=50)
    assert sizes(some) == {"train": 50, "validation": 10, "test": 40}
    assert counts(some)["train"] == [20, 30]
    assert some.notes[-1] == "train: 50 of 90 texts, of each class its share; the other 40 are the test"
    fewer = open_splits(path, train_examples=20)
    assert texts(fewer)["train"] < texts(some)["train"]
    assert texts(fewer)["validation"] == texts(some)["validation"]
    given = write(tmp_path / "t.tsv", [("new", "rare")])
    kept = open_splits(path, train_examples=50, test=given)
    assert sizes(kept) == {"train": 50, "validation": 10, "test": 1}
    assert texts(kept)["train"] == texts(some)["train"]
    assert kept.notes[-1].endswith("the other 40 are left out")


def test_no_text_of_training_is_left_to_the_test(tmp_path):
    rows = [(text, label) for text, label in MANY for _ in range(2)]
    splits = open_splits(write(tmp_path / "a.tsv", rows), train_examples=51, validation_fraction=0)
    assert sizes(splits) == {"train": 51, "test": 148}
    assert not texts(splits)["train"] & texts(splits)["test"]
    assert splits.notes[-1] == "left out: 1 texts that are equal to one in training, or of its group"


def test_a_test_of_none_is_left_alone(tmp_path):
    path = write(tmp_path / "a.tsv", MANY)
    whole, alone = open_splits(path), open_splits(path, test="none")
    assert sizes(alone) == {"train": 80, "validation": 10}
    assert texts(alone)["train"] == texts(whole)["train"]
    assert "test: 10 texts are held out and left alone" in alone.notes[-1]
    assert sizes(open_splits(path, test="none", test_fraction=0)) == {"train": 90, "validation": 10}
    write(tmp_path / "all" / "train.tsv", MANY)
    write(tmp_path / "all" / "test.tsv", [("no label", "")])  # it is not read
    given = open_splits(tmp_path / "all", test="none", validation_fraction=0)
    assert sizes(given) == {"train": 100}
    assert given.notes == ["test: the test split is left alone (data.test none)"]


def test_subsets_are_nested(tmp_path):
    splits = open_splits(write(tmp_path / "a.tsv", MANY), **WHOLE)
    rows = splits.rows["train"]
    small, large = subset(rows, 10, splits.target), subset(rows, 25, splits.target)
    assert np.bincount(small.labels).tolist() == [4, 6]
    assert np.bincount(large.labels).tolist() == [10, 15]
    assert set(small.texts) < set(large.texts)
    with pytest.raises(DataError, match="101 examples are asked for of a split that has 100"):
        subset(rows, 101, splits.target)


def test_the_fingerprint_knows_everything_that_is_used(tmp_path):
    rows = [("q1", "p1", "1", "0"), ("q2", "p2", "0", "1"), ("q3", "p3", "1", "1")]
    header = "text\tother\tlabel\tsecond\n"
    path = write(tmp_path / "a.tsv", rows, header)
    held = write(tmp_path / "v.tsv", rows[:1], header)
    changed = write(tmp_path / "b.tsv", [("Q1", *rows[0][1:]), *rows[1:]], header)
    settings = [
        (path, {}), (path, {"label": "second"}), (path, {"pair": "other"}), (changed, {}), (path, {"validation": held}),
    ]  # fmt: skip
    prints = [open_splits(source, **WHOLE | more).fingerprint for source, more in settings]
    assert len(set(prints)) == len(settings)
    assert open_splits(path, **WHOLE).fingerprint == prints[0]
    write(tmp_path / "two" / "train.tsv", rows[:2], header)
    write(tmp_path / "two" / "dev.tsv", rows[2:], header)
    assert open_splits(tmp_path / "two", **WHOLE).fingerprint not in prints  # the same rows in other splits


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (ROWS, {"label": "lable"}, "no column 'lable': choose one of 'text', 'label' with --label"),
        (ROWS, {"text": "txt"}, "no column 'txt': choose one of 'text', 'label' with --text"),
        (ROWS, {"pair": "passage"}, "no column 'passage': .* with --pair"),
        (ROWS, {"group": "film"}, "no column 'film': .* with --group"),
        (ROWS, {"pair": "text"}, "--text and --pair are both 'text'"),
        (ROWS, {"group": "none", "pair": "none", "label": "text"}, "--text and --label are both 'text'"),
        ([("a", "x"), ("b", "x")], {}, "all training texts have the label 'x'"),
        ([("a", "x"), (" ", "y")], {}, "a.tsv, line 3 has an empty text in 'text'"),
        ([("a", "x"), ("b", "")], {}, "a.tsv, line 3 has no label in 'label'"),
        ([("a", "x"), ("b", "y", " ")], {"pair": "more"}, "a.tsv, line 2 has an empty text in 'more'"),
        ([("a", "x", "1"), ("b", "y", "")], {"group": "more"}, "a.tsv, line 3 has no group in 'more'"),
        (ROWS[:2], {}, "2 different texts, too few for 3 splits"),
        (ROWS[:0], {}, "a.tsv holds no rows"),
        (
            [*MANY, ("one", "alone")],
            {"train_examples": 5},
            "no text of the class 'alone' .1 in all. is among the 5 to train on",
        ),
        (MANY, {"train_examples": 91}, "train_examples is 91, but 90 texts are left"),
        (MANY, {"train_examples": 90}, "90 leaves no text for the test"),
        (MANY, {"train_examples": 0}, "train_examples must be at least 1"),
        ([(f"t {i}", f"t {i}") for i in range(30)], {}, "holds 30 labels in 30 texts: is it another column"),
        (
            MANY,
            {"target": ClassTarget(("usual", "rear"))},
            "line 2 .train. has the label 'rare', no class of the model: choose one of",
        ),
        (ROWS, {"encoding": "utf-9"}, "unknown encoding"),
        (ROWS, {"validation_fraction": 0.6, "test_fraction": 0.5}, "leave nothing to train on"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, rows, settings, message):
    more = "more" in settings.values()
    path = write(tmp_path / "a.tsv", rows, header="text\tlabel\tmore\n" if more else "text\tlabel\n")
    with pytest.raises(DataError, match=message) as caught:
        open_splits(path, **settings)
    assert "\n" not in str(caught.value)


def test_lines_that_cannot_be_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": 1}\n{"text": "b", "label": \n')
    with pytest.raises(DataError, match=r"a\.jsonl, line 2 is not valid JSON"):
        open_splits(path)
    write_lines(path, [{"text": 3, "label": 1}])
    with pytest.raises(DataError, match="line 1 has no text but a value in 'text'"):
        open_splits(path)
    with pytest.raises(DataError, match="no such file or folder: boolQ, did you mean 'boolq'"):
        open_splits("boolQ")


def test_a_label_that_training_never_had(tmp_path):
    strange = write(tmp_path / "v.tsv", [("new", "good"), ("newer", "godo")])
    with pytest.raises(DataError, match=r"v\.tsv, line 3 .validation. has the label 'godo', .* did you mean 'good'"):
        open_splits(write(tmp_path / "a.tsv"), validation=strange, test="none", test_fraction=0)


def test_pairs_in_one_split_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HEED_DATA", str(tmp_path))
    write_lines(tmp_path / "dev.jsonl", [{"question": "q", "passage": "p", "answer": True}])
    (tmp_path / "boolq").mkdir()
    rows = [{"question": f"q{i}", "passage": f"p{i}", "answer": i % 2 == 0} for i in range(4)]
    write_lines(tmp_path / "boolq" / "dev.jsonl", rows)
    columns = {"text": "question", "label": "answer", "test": "none", "test_fraction": 0}
    with pytest.raises(
        DataError, match="train has pairs of texts and validation has none: name their column with --pair"
    ):
        open_splits("boolq", validation=tmp_path / "dev.jsonl", **columns)
    given = open_splits("boolq", validation="dev.jsonl", pair="passage", **columns)  # below the folder of data sets
    assert given.rows["validation"].pairs == ["p"]


def test_half_a_character_is_mended_and_counted(tmp_path):
    rows = [{"text": f"t{i} \ud800", "group": f"g{i} \ud800", "label": i % 2} for i in range(20)]
    splits = open_splits(write_lines(tmp_path / "a.jsonl", rows), group="group")
    assert "t0 �" in splits.rows["train"].texts
    assert splits.notes[0] == "rows with half a character (a lone surrogate), replaced by U+FFFD: 20"


def test_labels_of_any_type_and_known_classes(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"text": f"t{i}", "label": i % 2 == 0} for i in range(4)])
    assert open_splits(path, **WHOLE).target.names == ("false", "true")
    turned = open_splits(path, target=ClassTarget(("true", "false")), **WHOLE)
    assert turned.rows["train"].labels.tolist() == [0, 1, 0, 1]
    numbers = write_lines(tmp_path / "b.jsonl", [{"text": f"t{i}", "label": i} for i in (10, 9, 2)])
    assert open_splits(numbers, **WHOLE).target.names == ("2", "9", "10")


def test_a_parquet_column_for_two_purposes(tmp_path):
    import pyarrow as arrow
    from pyarrow import parquet

    table = {"passage": [p for p, _, _ in QUESTIONS], "question": [q for _, q, _ in QUESTIONS]}
    table["label"] = [a for *_, a in QUESTIONS]
    parquet.write_table(arrow.table(table), tmp_path / "a.parquet")
    settings = {"text": "question", "pair": "passage", "group": "passage"}
    one = open_splits(tmp_path / "a.parquet", **settings)
    assert one.fingerprint == open_splits(questions(tmp_path / "a.jsonl"), **settings).fingerprint


@pytest.fixture
def hub(monkeypatch):
    """Stands for `datasets.load_dataset`: real `Dataset` objects made of columns, or the error of no network."""
    import datasets

    tables = {}

    def load(name, config=None, **options):
        if (name, config) not in tables:
            raise ConnectionError(f"Couldn't reach {name!r} on the Hub")
        return tables[name, config]

    monkeypatch.setattr(datasets, "load_dataset", load)
    return tables


def test_the_hub(hub):
    import datasets

    kinds = datasets.Features({"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})

    def table(labels):
        columns = {"sentence": [f"{len(labels)} {i}" for i in range(len(labels))], "label": labels}
        return datasets.Dataset.from_dict(columns, features=kinds)

    hub["glue", "sst2"] = {"train": table([0, 1] * 20), "validation": table([1, 0]), "test": table([-1, -1, -1])}
    splits = open_splits("hf:glue/sst2", text="sentence")
    assert splits.name == "glue/sst2"
    assert splits.target.names == ("no", "yes")
    assert sizes(splits) == {"train": 36, "validation": 2, "test": 4}
    assert splits.rows["validation"].labels.tolist() == [1, 0]
    assert splits.rows["validation"].places == [f"hf:glue/sst2 (validation), row {i}" for i in (1, 2)]
    assert splits.notes[0] == "left out: the test split of hf:glue/sst2, which comes without labels"
    with pytest.raises(
        DataError, match=r"\(train\) has no column 'text': choose one of 'sentence', 'label' with --text"
    ):
        open_splits("hf:glue/sst2")
    with pytest.raises(DataError, match="could not be loaded"):
        open_splits("hf:no/such")


def test_boolq_from_the_hub_where_no_file_is(hub, tmp_path, monkeypatch):
    import datasets

    def table(start, stop):
        columns = {
            "question": [f"q{i}" for i in range(start, stop)],
            "answer": [i % 2 == 0 for i in range(start, stop)],
        }
        return datasets.Dataset.from_dict(columns | {"passage": [f"p{i // 2}" for i in range(start, stop)]})

    monkeypatch.setenv("HEED_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"boolq was not found in .* \(nor is it on the hub"):
        open_splits("boolq")
    hub["google/boolq", None] = {"train": table(0, 100), "validation": table(100, 140)}
    splits = open_splits("boolq")
    assert sizes(splits) == {"train": 90, "validation": 40, "test": 10}
    assert not set(splits.rows["train"].pairs or []) & set(splits.rows["test"].pairs or [])
    assert splits.rows["validation"].pairs == [f"p{i // 2}" for i in range(100, 140)]
    homework = open_splits("boolq", train_examples=80)
    assert sizes(homework) == {"train": 80, "validation": 40, "test": 20}
    assert not any("official" in note for note in splits.notes)  # that is so of the files alone


def test_sst2_as_published(shared_data, monkeypatch):
    monkeypatch.setenv("HEED_DATA", str(shared_data))
    splits = open_splits("sst2")
    assert counts(splits) == {"train": [3310, 3610], "validation": [428, 444], "test": [912, 909]}
    assert splits.notes == []
    assert splits.rows["test"].places[0] == "test.tsv, line 1"
    numbered = open_splits("sst2/train.tsv", text="1", label="2", **WHOLE)  # found in the folder of data sets
    assert numbered.rows["train"].texts == splits.rows["train"].texts
    assert open_splits("sst2", test="none").fingerprint != splits.fingerprint
    assert sizes(open_splits("sst2", test="none")) == {"train": 6920, "validation": 872}
    with pytest.raises(DataError, match=r"no column 'passage': choose one of 'text', 'label' with --pair$"):
        open_splits("sst2", pair="passage")


def test_boolq_is_split_by_passage(shared_data, monkeypatch):
    monkeypatch.setenv("HEED_DATA", str(shared_data))
    splits = open_splits("boolq")
    assert sizes(splits) == {"train": 2616, "validation": 327, "test": 327}
    passages = [set(rows.pairs or []) for rows in splits.rows.values()]
    assert sum(map(len, passages)) == len(set.union(*passages)) == 2938
    assert splits.target.names == ("false", "true")
    assert "official development set is split" in splits.notes[0]
    # 62.17 % are true: 203.3 of 327; passages with both answers, a stratum of their own, leave it within two rows
    assert all(abs(counts(splits)[split][1] - 203.3) <= 2 for split in ("validation", "test"))
    alone = open_splits("boolq", pair="none", group="none", validation_fraction=0, train_examples=3000)
    assert sizes(alone) == {"train": 3000, "test": 270}
    assert alone.rows["train"].pairs is None
    assert open_splits("boolq", train_examples=2000).rows["validation"].texts == splits.rows["validation"].texts


@pytest.mark.parametrize(
    ("name", "mark", "words"),
    [("films.csv", ";", "not commas"), ("films.csv", "\t", "not commas"), ("films.tsv", ",", "not tabs")],
)
def test_columns_that_are_separated_otherwise(tmp_path, name, mark, words):
    path = tmp_path / name
    path.write_text(f"text{mark}label\ngood{mark}1\nbad{mark}0\n")
    with pytest.raises(DataError, match=f"between its columns, {words}: save it with {words.split()[1]}"):
        open_splits(str(path))


def test_groups_of_given_splits_are_read_where_they_have_the_column(tmp_path):
    """What is held out has its rows' groups, a given split those of its own column, where each of its rows has one."""
    rows = [{"question": f"q{i}", "passage": f"p{i // 3}", "label": i % 2} for i in range(30)]
    train = write_lines(tmp_path / "a.jsonl", rows)
    held = open_splits(train, text="question", group="passage").rows
    known = {row["question"]: row["passage"] for row in rows}
    for part in held.values():
        assert part.groups == [known[text] for text in part.texts]
    given = [{"question": "t1", "passage": "x", "label": 0}, {"question": "t2", "passage": "y", "label": 1}]
    test = open_splits(train, text="question", group="passage", test=write_lines(tmp_path / "b.jsonl", given)).rows
    assert test["test"].groups == ["x", "y"]
    given[1]["passage"] = None
    test = open_splits(train, text="question", group="passage", test=write_lines(tmp_path / "d.jsonl", given)).rows
    assert test["test"].groups is None
    bare = [{"question": "t1", "label": 0}, {"question": "t2", "label": 1}]
    test = open_splits(train, text="question", group="passage", test=write_lines(tmp_path / "c.jsonl", bare)).rows
    assert test["test"].groups is None
    assert open_splits(train, text="question").rows["train"].groups is None
