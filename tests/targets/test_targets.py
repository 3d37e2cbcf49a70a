"""What labels are taken for, how they are read, and what is wrong with some."""

import doctest
import json

import numpy as np
import pytest

from heed.errors import DataError
from heed.targets import TARGETS, choose, classes, labels, regression, target_of
from heed.targets.labels import LabelsTarget, labels_in
from heed.targets.regression import ScoreTarget, as_number
from heed.text.splits import open_splits
from heed.text.splits_report import describe, describe_lines

MANY = [round(number * 0.37, 2) for number in range(60)]


def write(path, rows, header=("text", "label")):
    lines = ["\t".join(header), *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def scores(tmp_path, values=MANY, **settings):
    return open_splits(write(tmp_path / "a.tsv", [(f"text {i}", one) for i, one in enumerate(values)]), **settings)


def sets(tmp_path, values, **settings):
    rows = [{"text": f"text {i}", "label": one} for i, one in enumerate(values)]
    return open_splits(write_lines(tmp_path / "a.jsonl", rows), **settings)


def test_examples():
    for module in (classes, regression, labels):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("cells", "kind", "note"),
    [
        (["good", "bad"], "classes", None),
        (["0", "1"] * 20, "classes", None),
        ([True, False], "classes", None),
        ([str(i % 5) for i in range(50)], "classes", "taken for 5 classes: as scores with --task regression"),
        ([i / 2 % 3 for i in range(50)], "classes", "taken for 6 classes"),
        (list(range(25)) * 2, "classes", "taken for 25 classes"),
        (list(range(25)), "regression", "25 different numbers, so this is regression; --task classes"),
        ([str(one) for one in MANY], "regression", "60 different numbers"),
        ([*map(str, MANY), "n/a"], "classes", None),  # which says what is wrong
        (["a", "b", "a|b"], "labels", "'a' stands in 'a|b' and in others, so this is labels"),
        (["a|b", "b | c"], "labels", "'b' stands in 'a|b'"),
        (["a|b", "c|d"] * 9, "classes", "'a|b' is taken for one class: as several labels with --task labels"),
        ([["a"], []], "labels", "lists"),
        (['["a"]', "[]"], "labels", "lists"),
        (['["a"]', "b"], "classes", None),
        ([], "classes", None),
    ],
)
def test_what_labels_are_taken_for_is_told(cells, kind, note):
    found, notes = choose("auto", cells, TARGETS, "--task")
    assert found.kind == kind
    assert (note is None and not notes) or note in " ".join(notes)
    for name, wanted in TARGETS.items():
        assert choose(name, cells, TARGETS, "--task") == (wanted, [])


def test_scores_are_held_out_from_every_tenth(tmp_path):
    splits = scores(tmp_path)
    assert {split: len(rows) for split, rows in splits.rows.items()} == {"train": 48, "validation": 6, "test": 6}
    assert isinstance(splits.target, ScoreTarget)
    train = splits.rows["train"].labels
    assert (splits.target.center, splits.target.scale) == (train.mean(), train.std())  # of training alone
    for split in ("validation", "test"):
        assert sorted(splits.rows[split].labels)[0] < MANY[20]
        assert sorted(splits.rows[split].labels)[-1] > MANY[40]
    turned = scores(tmp_path, [*reversed(MANY)])
    assert turned.fingerprint != splits.fingerprint  # other texts
    assert (
        scores(tmp_path, task="classes", values=[1, 2] * 30).fingerprint
        != scores(tmp_path, task="regression", values=[1, 2] * 30).fingerprint
    )
    assert target_of(json.loads(json.dumps(describe(splits)))) == splits.target
    said = describe_lines(describe(splits))
    assert said[0].startswith("a: scores, ")
    assert any("of each tenth of the scores its share" in line for line in said)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1,5", "line 5 has the score '1,5' in 'label': write 1.5 (--label)"),
        ("n/a", "line 5 has the score 'n/a' in 'label': a score is a number, such as 3.5 (--label)"),
        ("nan", "the score 'nan'"),
        ("inf", "the score 'inf'"),
        ("1e999", "the score '1e999'"),
        ("1_000", "the score '1_000'"),
        ("\u0661\u0662", "the score '\u0661\u0662'"),  # digits, and no number of a table
        ("0x10", "the score '0x10'"),
        ("true", "the score 'true'"),
        (" ", "line 5 has no score in 'label': fill it in or leave the row out"),
    ],
)
def test_what_is_no_score_is_named(tmp_path, value, said):
    with pytest.raises(DataError) as caught:
        scores(tmp_path, [*MANY[:3], value, *MANY[3:]], task="regression")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scores_that_say_nothing(tmp_path):
    with pytest.raises(DataError, match=r"all training texts have the score 3 .data.label label.: there is nothing"):
        scores(tmp_path, [3.0] * 30, task="regression")
    with pytest.raises(DataError, match=r"lie too close together .1700001 . 0.82.: subtract what"):
        scores(tmp_path, [1_700_000 + i % 3 for i in range(60)], task="regression")
    with pytest.raises(DataError, match=r"are too large or too small .up to 1e-39.: give them in another unit"):
        scores(tmp_path, [i % 3 * 5e-40 for i in range(60)], task="regression")
    with pytest.raises(DataError, match="are too large or too small"):
        scores(tmp_path, [1e308, -1e308, 1.5e308] * 10, task="regression")
    rows = [{"text": f"t {i}", "label": one} for i, one in enumerate([1.0, float("nan"), None])]
    with pytest.raises(DataError, match=r"line 2 has the score nan .*; 2 of 3 rows are not whole"):
        open_splits(write_lines(tmp_path / "b.jsonl", rows), task="regression")
    with pytest.raises(DataError, match="line 1 has the score True"):
        open_splits(write_lines(tmp_path / "c.jsonl", [{"text": "t", "label": True}]), task="regression")


def test_numbers_that_are_nearly_all_numbers_name_the_one_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r"as scores .*--task regression.* they would do but for 'n/a'"):
        scores(tmp_path, [*MANY, "n/a"])


def test_sets_are_read_and_written(tmp_path):
    splits = sets(tmp_path, [["b", "a"], "a", "b|c", [], ["a", "a"], '["c"]', 3, ["c", True]] * 10)
    assert splits.target.names == ("3", "a", "b", "c", "true")
    train = splits.rows["train"]
    said = {
        int(text.split()[1]) % 8: splits.target.written(label)
        for rows in splits.rows.values()
        for text, label in zip(rows.texts, rows.labels, strict=True)
    }
    assert [said[kind] for kind in range(8)] == [
        ["a", "b"], ["a"], ["b", "c"], [], ["a"], ["c"], ["3"], ["c", "true"]
    ]  # fmt: skip
    assert train.labels.dtype == bool
    assert all(rows.labels.shape == (len(rows), 5) for rows in splits.rows.values())
    assert target_of(json.loads(json.dumps(describe(splits)))) == splits.target
    figures = describe(splits)["splits"]["train"]
    assert figures["without"] == int((~train.labels.any(axis=1)).sum()) > 0
    assert describe_lines(describe(splits))[0] == "a: 5 labels, any of them a text"


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"], ["a|b"], ["[x]"], ["[x", "y"], ['"q"', "ü|"], ["1", "1.0"]])
def test_a_set_is_read_as_it_is_written(names):
    target = LabelsTarget(tuple(names))
    assert list(LabelsTarget.read(target.cell(names), "label", "here", "--label")) == sorted(
        names, key=classes.by_number
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "line 4 has no label in 'label': write [] where a text has none (--label)"),
        (None, "line 4 has no label"),
        ("a||b", "line 4 has an empty label in 'label', 'a||b': leave it out"),
        ("a|", "an empty label"),
        (["a", " "], "an empty label"),
        (["a", None], "an empty label"),
        (["a", ["b"]], "line 4 has the label ['b'] in 'label'"),
        ({"a": 1}, "labels are written a|b, or as a list"),
    ],
)
def test_what_is_no_set_is_named(tmp_path, value, said):
    with pytest.raises(DataError) as caught:
        sets(tmp_path, [["a"], ["b"], ["a", "b"], value, *[["a"], ["b"]] * 10], task="labels")
    assert said in str(caught.value)


def test_sets_that_say_nothing(tmp_path):
    with pytest.raises(DataError, match="no training text has a label"):
        sets(tmp_path, [[]] * 20)
    with pytest.raises(DataError, match=r"all training texts have the labels a\|b: there is nothing to learn"):
        sets(tmp_path, [["a", "b"]] * 20)
    with pytest.raises(DataError, match="holds 30 labels in 30 texts, most of them once: is it another column"):
        sets(tmp_path, [[f"label {i}"] for i in range(30)])


def test_a_label_that_training_never_had(tmp_path):
    other = write_lines(tmp_path / "test.jsonl", [{"text": "x", "label": ["new"]}])
    with pytest.raises(DataError, match=r"line 1 .test. has the label 'new', no label of the training texts: did"):
        sets(tmp_path, [["now"], ["b"]] * 10, test=other)
    with pytest.raises(DataError, match=r"no text of the label 'rare' .1 in all. is among the 4 to train on"):
        sets(tmp_path, [["a"], ["b"]] * 20 + [["rare", "a"]], train_examples=4)


def test_a_rare_label_stays_in_training(tmp_path):
    splits = sets(tmp_path, [["a"], ["b"], ["a", "b"]] * 20 + [["rare", "a"]])
    assert splits.target.names[-1] == "rare"
    assert splits.rows["train"].labels[:, -1].sum() == 1


def test_each_label_keeps_its_share(tmp_path):
    draw = np.random.default_rng(0)
    names = np.array(list("abcdef"))
    held = draw.random((600, 6)) < [0.5, 0.4, 0.3, 0.2, 0.1, 0.05]
    splits = sets(tmp_path, [names[row].tolist() for row in held])
    for split in ("validation", "test"):
        share = splits.rows[split].labels.mean(axis=0)
        assert share == pytest.approx(held.mean(axis=0), abs=0.13), split


def test_numbers():
    assert [as_number(one) for one in (" 3 ", "+.5", "-2.", "1e-3", 7, 2.5)] == [3.0, 0.5, -2.0, 0.001, 7.0, 2.5]
    assert [as_number(one) for one in ("", "1 2", "1e", ".", None, [1], 10**400)] == [None] * 7
    assert labels_in("[not json") == ["[not json"]
