"""A .json file that is one array is a table like any other, and what is none is refused with what to do."""

import gzip
import json
from collections import Counter

import pytest

from heed.errors import DataError
from heed.text.formats import OtherColumns, Reading, read_every_row, read_file, read_rows
from heed.text.sources import find_files
from heed.text.splits import open_splits

ROWS = [{"text": "good", "label": 1, "id": 7}, {"text": "bad\nfilm", "label": 0, "id": None}, {"label": 1, "more": 2}]


def test_a_json_array_is_read_like_json_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    columns = {"--text": "text", "--label": "label"}
    wanted = [values for _, values in read_rows(tmp_path / "a.jsonl", columns)]
    assert wanted == [["good", 1], ["bad\nfilm", 0], [None, 1]]
    for content in (ROWS, {"data": ROWS}):
        for text in (json.dumps(content), json.dumps(content, indent=2), "\ufeff" + json.dumps(content)):
            (tmp_path / "a.json").write_text(text, encoding="utf-8")
            found = list(read_rows(tmp_path / "a.json", columns))
            assert [values for _, values in found] == wanted
            assert [place.rsplit(", ", 1)[1] for place, _ in found] == ["item 1", "item 2", "item 3"]
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(ROWS).encode()))
    assert [values for _, values in read_rows(tmp_path / "a.json.gz", columns)] == wanted


def test_other_columns_of_every_kind_of_table(tmp_path):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "a.csv").write_text("id,text,when\n1,good,x\n2,bad,\n")
    (tmp_path / "a.tsv").write_text("id\ttext\twhen\n1\tgood\tx\n2\tbad\t\n")
    rows = [{"id": "1", "text": "good", "when": "x"}, {"id": "2", "text": "bad", "when": ""}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.jsonl").write_text("{\n" + "".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    for kind in ("csv", "tsv", "json", "jsonl", "parquet"):
        for wanted, names in ((None, ["id", "when"]), (["when", "text"], ["when", "text"])):
            others = OtherColumns(wanted, optional="id" if wanted else None)
            found = [
                values
                for _, values in read_every_row(tmp_path / f"a.{kind}", {"--text": "text"}, others=others)
                if not isinstance(values, DataError)
            ]
            assert (others.names, others.has_optional) == (names, wanted is not None)
            every = [*names, *(["id"] if wanted else [])]
            assert found == [[row["text"], *(row[name] for name in every)] for row in rows]
        with pytest.raises(DataError, match=r"has no column 'no': choose one of .* with --keep"):
            list(read_every_row(tmp_path / f"a.{kind}", {"--text": "text"}, others=OtherColumns(["no"])))


def test_keys_that_the_first_object_lacks_are_known(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    others = OtherColumns(None)
    list(read_every_row(tmp_path / "a.json", {"--text": "text"}, others=others))
    assert (others.names, others.late) == (["label", "id"], {"more"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"text": "a"}\n{"text": "b"}\n', r"no JSON array but has several values, .*: call it a.jsonl"),
        (b'{"text": "a", "label": 1}', r"no array of objects, but an object: write \[\{"),
        (b'{"data": 5}', r"no array of objects, but 5"),
        (b'[{"text": "a"}', r"a.json is not valid JSON"),
        (b"", r"a.json is not valid JSON"),
        (b"[" * 100_000, r"a.json is not valid JSON"),
        (b'[{"text": "caf\xe9"}]', r"not utf-8 at byte"),
    ],
)
def test_what_is_no_array(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=words):
        list(read_rows(tmp_path / "a.json", {"--text": "text"}))


def test_one_bad_item_loses_no_other(tmp_path):
    content = b'[{"text": "a"}, 5, {"text": "b", "text": "c"}, {"text": "caf\xe9"}, {"text": "d"}]'
    (tmp_path / "a.json").write_bytes(content)
    found = list(read_every_row(tmp_path / "a.json", {"--text": "text"}))
    assert [values for _, values in found if not isinstance(values, DataError)] == [["a"], ["d"]]
    errors = [str(values) for _, values in found if isinstance(values, DataError)]
    assert [error.removeprefix(f"{tmp_path}/a.json, ") for error in errors] == [
        "item 2 must be a JSON object with the key 'text', not 5",
        "item 3 is not valid JSON: a key stands in it twice",
        "item 4 holds bytes that are no text in this encoding",
    ]


def test_a_large_array_says_how_to_make_lines_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("heed.text.formats.LARGEST_ARRAY", 20)
    (tmp_path / "a.json").write_text('[{"text": "a"}]')
    assert len(list(read_rows(tmp_path / "a.json", {"--text": "text"}))) == 1
    (tmp_path / "a.json").write_text('[{"text": "a longer text"}]')
    with pytest.raises(
        DataError, match=r"more than 20 characters, .*: make a file of lines.* jq -c '.\[\]' a.json > a.jsonl"
    ):
        list(read_rows(tmp_path / "a.json", {"--text": "text"}))


def test_an_array_is_a_text_only_where_it_is_asked_for(tmp_path):
    """package.json beside texts is none of them; a file, a glob and the splits of a folder may be arrays."""
    (tmp_path / "a.txt").write_text("good")
    (tmp_path / "package.json").write_text("{}")
    assert [path.name for path in find_files(str(tmp_path)).files] == ["a.txt"]
    assert [path.name for path in find_files(f"{tmp_path}/*").files] == ["a.txt"]
    assert [path.name for path in find_files(f"{tmp_path}/*.json").files] == ["package.json"]
    (tmp_path / "b.json").write_text(json.dumps(ROWS[:2]))
    assert list(read_file(tmp_path / "b.json", Reading(), Counter())) == [
        (True, "good"),
        (True, "bad\nfilm"),
    ]
    folder = tmp_path / "labelled"
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    for name in ("train", "dev", "test"):
        rows = [{"text": f"{word} {name} {n}", "label": word} for n in range(4) for word in ("good", "bad")]
        (folder / f"{name}.json").write_text(json.dumps(rows))
    splits = open_splits(folder)
    assert {name: len(rows) for name, rows in splits.rows.items()} == {"train": 8, "validation": 8, "test": 8}
    assert splits.rows["test"].places[0] == "test.json, item 1"
