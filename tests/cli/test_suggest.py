"""`heed tune suggest`: the texts that a run is least sure of, none twice, in a table that is ready to be labelled."""

import csv
import json

import numpy as np
import pytest

from cli.test_new_labelled_file import place, read_table, run  # noqa: F401
from heed.tuning.suggesting import ALIKE, choose_texts, entropy, margin, resemblance, shingles
from tuning.small import labelled


def unlabelled(path, rows=80, seed=9):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "text"), *((n, text) for n, (text, _) in enumerate(labelled(rows, seed)))])
    return path


def test_the_most_uncertain_come_first(heed, run, tmp_path):  # noqa: F811
    new, out = unlabelled(tmp_path / "new.csv"), tmp_path / "to-label.csv"
    answer = heed("tune", "suggest", run, "--file", new, "--count", 10, "--keep", "id", "--out", out)
    assert answer.code == 0
    assert answer.err.endswith(f"10 texts to label: {out}\n")
    rows = read_table(out)
    assert list(rows[0]) == ["id", "text", "label", "place", "predicted", "probability", "margin"]
    said = [json.loads(line) for line in heed("predict", run, "--file", new, "--json").out.splitlines()]
    apart = [abs(one["probabilities"]["pos"] - one["probabilities"]["neg"]) for one in said]
    found = [int(row["id"]) for row in rows]
    assert [float(row["margin"]) for row in rows] == pytest.approx([apart[n] for n in found], abs=1e-6)
    assert found == sorted(found, key=lambda n: apart[n])
    assert {row["label"] for row in rows} == {""}
    held_out = {
        one["text"]
        for name in ("validation", "test")
        for one in map(json.loads, (run / f"predictions-{name}.jsonl").read_text().splitlines())
    }
    chosen = [said[n]["text"] for n in found]
    for n, one in enumerate(said):  # whatever is less sure than the last one is chosen, or like what is
        if apart[n] < apart[found[-1]] and n not in found:
            like = [resemblance(shingles(one["text"]), shingles(text)) for text in chosen]
            assert max(like) >= ALIKE or one["text"] in held_out


def test_what_was_labelled_can_be_tuned_on(heed, run, tmp_path):  # noqa: F811
    """The file with its labels filled in is read as the run's own table was, and labelled rows are not named again."""
    new, out = unlabelled(tmp_path / "new.csv"), tmp_path / "to-label.csv"
    heed("tune", "suggest", run, "--file", new, "--count", 30, "--out", out)
    rows = read_table(out)
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"label": ["neg", "pos"][n % 2]} for n, row in enumerate(rows[:20]))
        writer.writerows(rows[20:])
    answer = heed("tune", "suggest", run, "--file", out, "--label", "label", "--json")
    assert [json.loads(line)["text"] for line in answer.out.splitlines()] == [row["text"] for row in rows[20:]]
    assert "note: 20 of 30 rows have a label in 'label' and are left out" in answer.err
    assert heed("predict", run, "--file", out, "--label", "label").code == 1  # ten have none
    assert "20 of the 30 rows" in heed("predict", run, "--file", out, "--label", "label").out


def test_near_equal_texts_are_not_all_chosen(heed, run, tmp_path):  # noqa: F811
    texts = ["a good film that I never saw", "A good  film that I never saw!", "it was dull and very bad again"]
    (tmp_path / "new.csv").write_text("text\n" + "\n".join(texts * 3) + "\n,\n")
    (tmp_path / "new.json").write_text(json.dumps([{"text": text} for text in [*texts * 3, ""]]))
    answer = heed("tune", "suggest", run, "--file", tmp_path / "new.json", "--json")
    found = [json.loads(line)["text"] for line in answer.out.splitlines()]
    assert len(found) == 2
    assert texts[2] in found
    assert "7 texts were passed over" in answer.err
    assert "50 were asked for, and the file has 2" in answer.err
    assert answer.code == 1  # an empty text, which is named
    assert "1 of 10 could not be classified and are left out: " in answer.err


def test_measures_by_hand():
    p = np.array([[0.4, 0.35, 0.25], [0.5, 0.49, 0.01], [0.9, 0.05, 0.05]])
    assert margin(p, exclusive=True) == pytest.approx([0.05, 0.01, 0.85])
    assert np.argsort(margin(p, exclusive=True)).tolist() == [1, 0, 2]  # two classes that are as likely
    assert np.argsort(-entropy(p, exclusive=True)).tolist() == [0, 1, 2]  # anything may be
    assert entropy(p, exclusive=True)[2] == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.05))
    assert choose_texts(np.array([0.3, 0.1, 0.2]), ["alpha beta", "gamma delta", "ALPHA  beta"], 2) == ([1, 2], 0)
    assert choose_texts(np.array([0.3, 0.1, 0.2]), ["alpha beta", "gamma delta", "ALPHA  beta"], 3) == ([1, 2], 1)
    assert choose_texts(np.array([0.3, 0.1]), ["alpha", "gamma"], 2, known=["gamma"]) == ([0], 1)
    assert choose_texts(np.array([0.3, 0.1]), ["好", "坏"], 2) == ([1, 0], 0)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--file", "new.csv", "--out", "new.csv"], "--out: new.csv is the table that is read"),
        (["--file", "new.csv", "--out", "a.xlsx"], "must end in .csv, .tsv or .jsonl"),
        (["--file", "new.csv", "--keep", "id"], "a line for people has no room for columns"),
        (["--file", "no.csv"], "no.csv cannot be read: No such file"),
        (["--file", "new.csv", "--text", "no"], "has no column 'no'"),
        (["--file", "empty.csv"], "empty.csv has no rows: give one with texts"),
        ([], "--file"),
    ],
)
def test_what_is_refused(heed, run, tmp_path, monkeypatch, argv, words):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    unlabelled(tmp_path / "new.csv", 4)
    (tmp_path / "empty.csv").write_text("text\n")
    answer = heed("tune", "suggest", run, *argv)
    assert answer.code == 2
    assert words in answer.err.splitlines()[-1]
    assert answer.out == ""
