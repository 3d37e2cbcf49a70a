"""The description of labelled texts: every figure by hand, and sst2 with the figures that are known of it."""

import json

import pytest

from heed.text.splits import open_splits
from heed.text.splits_report import describe, describe_lines

TRAIN = [("ab", "", "x"), ("abcd", "", "y"), ("ab", "", "x"), ("abcdefgh", "", "y"), ("Some  Text", "", "x")]


def write(path, rows):
    path.write_text("text\tother\tlabel\n" + "".join("\t".join(row) + "\n" for row in rows))
    return path


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train.tsv", TRAIN)
    write(tmp_path / "dev.tsv", [("AB ", "", "x"), ("some text", "", "y"), ("new", "", "y")])
    write(tmp_path / "test.tsv", [("new", "", "y"), ("newest", "", "y")])
    return tmp_path


def test_figures_by_hand(folder):
    splits = open_splits(folder)
    found = describe(splits)
    assert found["splits"] == {
        "train": {
            "examples": 5, "classes": [3, 2], "duplicates": 1,
            "characters": {"median": 4, "p95": 10, "longest": 10},  # 2 2 4 8 10
        },
        "validation": {
            "examples": 3, "classes": [1, 2], "duplicates": 0, "characters": {"median": 3, "p95": 9, "longest": 9},
        },
        "test": {
            "examples": 2, "classes": [0, 2], "duplicates": 0, "characters": {"median": 3, "p95": 6, "longest": 6},
        },
    }  # fmt: skip
    assert found["leakage"] == [
        {"of": "validation", "in": "train", "examples": 2, "places": ["dev.tsv, line 2", "dev.tsv, line 3"]},
        {"of": "validation", "in": "test", "examples": 1, "places": ["dev.tsv, line 4"]},
    ]
    assert found["notes"] == [
        "1 text has more than one label, so nothing can be right about all of them: "
        "train.tsv, line 6 and dev.tsv, line 3"
    ]
    assert found["fingerprint"] == splits.fingerprint
    assert found["classes"] == ["x", "y"]
    assert json.loads(json.dumps(found)) == found  # plain values


def test_pairs_count_as_part_of_the_text(tmp_path):
    write(tmp_path / "train.tsv", [("q", "one", "x"), ("q", "two", "y"), ("q", "one", "x")])
    write(tmp_path / "test.tsv", [("q", "three", "x"), ("q", "ONE", "x")])
    found = describe(open_splits(tmp_path, pair="other", validation_fraction=0))
    assert found["splits"]["train"]["duplicates"] == 1
    assert found["splits"]["test"]["characters"]["longest"] == 6
    assert [leak["places"] for leak in found["leakage"]] == [["test.tsv, line 3"]]
    assert found["notes"] == []


def test_at_most_five_places_are_named(tmp_path):
    write(tmp_path / "train.tsv", [(f"t{i}", "", "xy"[i % 2]) for i in range(8)])
    write(tmp_path / "test.tsv", [(f"t{i}", "", "xy"[i % 2]) for i in range(7)])
    found = describe(open_splits(tmp_path, validation_fraction=0))
    [leak] = found["leakage"]
    assert leak["examples"] == 7
    assert leak["places"] == [f"test.tsv, line {i}" for i in range(2, 7)]
    assert describe_lines(found)[-1].endswith("test.tsv, line 6; ...")


def test_lines_for_people(folder):
    lines = describe_lines(describe(open_splits(folder)))
    assert lines == [
        f"{folder.name}: 2 classes",
        "            texts  x  y  majority  duplicates  characters: median  95 %  longest",
        "train           5  3  2    60.0 %           1                   4    10       10",
        "validation      3  1  2    66.7 %           0                   3     9        9",
        "test            2  0  2   100.0 %           0                   3     6        6",
        "2 validation texts also stand in train: dev.tsv, line 2; dev.tsv, line 3",
        "1 validation text also stands in test: dev.tsv, line 4",
        "1 text has more than one label, so nothing can be right about all of them: "
        "train.tsv, line 6 and dev.tsv, line 3",
    ]


def test_many_classes_are_shown_by_the_smallest_and_the_largest(tmp_path):
    rows = [(f"t{i}", "", str(i % 7)) for i in range(15)]
    splits = open_splits(write(tmp_path / "a.tsv", rows), validation_fraction=0, test_fraction=0)
    lines = describe_lines(describe(splits))
    assert lines[1].split()[:3] == ["texts", "smallest", "largest"]
    assert lines[2].split()[:4] == ["train", "15", "2", "3"]
    assert lines[3:] == ["the labels are numbers and taken for 7 classes: as scores with --task regression"]


def test_labels_that_may_be_one_class_are_pointed_out(tmp_path):
    labels = ("1", "1.0", "0", "Pos", "pos ", "nan")
    rows = [(f"t{i}", "", labels[i % 6]) for i in range(12)]
    splits = open_splits(write(tmp_path / "a.tsv", rows), validation_fraction=0, test_fraction=0)
    assert describe_lines(describe(splits))[-2:] == [
        "the labels '1', '1.0' are classes of their own: spell them alike if they are one",
        "the labels 'Pos', 'pos' are classes of their own: spell them alike if they are one",
    ]


def test_nothing_leaks_is_said(tmp_path):
    rows = [(f"t{i}", "", str(i % 2)) for i in range(50)]
    assert "no text stands in two splits" in describe_lines(describe(open_splits(write(tmp_path / "a.tsv", rows))))


def test_sst2_as_it_is_known(shared_data, monkeypatch):
    monkeypatch.setenv("HEED_DATA", str(shared_data))
    found = describe(open_splits("sst2"))
    assert [figures["duplicates"] for figures in found["splits"].values()] == [9, 0, 0]
    assert [(leak["of"], leak["in"], leak["examples"]) for leak in found["leakage"]] == [("test", "train", 2)]
    assert found["notes"] == []
