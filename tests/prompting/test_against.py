"""A prompt beside fine-tuned models, on the same items."""

import csv
import json

import numpy as np
import pytest
from scipy.stats import binomtest

from api.small_server import Reply, completion, serving
from fake_tuning import write_tune
from heed.cli import main
from prompting.conftest import write_reviews, write_task


@pytest.fixture
def tuned(tmp_path):
    """A tune, and the folder of the texts that it was made of."""
    tune = write_tune(tmp_path / "tune", methods=("head", "lora"), seeds=(1,), n=80)
    rows = [json.loads(line) for line in (tune / "runs/head-1/predictions-test.jsonl").read_text().splitlines()]
    data = tmp_path / "data"
    data.mkdir()
    shown = [(row["text"], row["label"]) for row in rows]
    others = [(f"text {n}", str(n % 2)) for n in range(40)]
    for name, some in (("train", others), ("dev", others[:4]), ("test", shown)):
        with (data / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *some])
    return tune, data, dict(shown)


def asked(capsys, *argv: object) -> dict:
    assert main(["prompt", *map(str, argv), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_each_arm_of_a_tune_is_compared_in_pairs(capsys, tmp_path, tuned):
    tune, data, truth = tuned

    def answer(path: str, body: dict) -> Reply:
        text = body["prompt"].rsplit("Review: ", 1)[1].split("\n")[0]
        right = len(text) % 10  # nine in ten
        return Reply(completion(f" {('negative', 'positive')[int(truth[text]) ^ (right == 0)]}"))

    with serving(answer) as served:
        common = ["sst2", "--data", data, "--api", served.url, "--model", "m", "--shots", "2"]
        found = asked(capsys, *common, "--items", "60", "--out", tmp_path / "out", "--against", tune)
    rows = [json.loads(line) for line in (tmp_path / "out" / "items.jsonl").read_text().splitlines()]
    own = {row["text"]: row["right"] for row in rows}
    assert len(own) == 60
    assert {pair["name"] for pair in found["against"]} == {"head", "lora"}
    for pair in found["against"]:
        lines = (tune / f"runs/{pair['name']}-1/predictions-test.jsonl").read_text().splitlines()
        theirs = {row["text"]: row["predicted"] == row["label"] for row in map(json.loads, lines)}
        gained = sum(own[text] and not theirs[text] for text in own)
        lost = sum(theirs[text] and not own[text] for text in own)
        assert (pair["gained"], pair["lost"]) == (gained, lost)
        assert pair["points"] == pytest.approx(100 * (gained - lost) / 60)
        if gained + lost < 25:
            assert pair["p"] == pytest.approx(binomtest(gained, gained + lost).pvalue)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Against others, on the same items" in page
    assert ">lora<" in page
    assert np.isclose(found["accuracy"], np.mean(list(own.values())))


def test_other_items_are_refused_before_anything_is_asked(capsys, tmp_path, tuned):
    tune, data, _ = tuned
    with (data / "test.csv").open("a", newline="") as file:
        csv.writer(file).writerow(("a text that was never tuned on", "1"))
    with serving(lambda path, body: Reply(completion(" positive"))) as served:
        api = ["--api", served.url, "--model", "m", "--out", str(tmp_path / "out")]
        assert main(["prompt", "sst2", "--data", str(data), *api, "--against", str(tune)]) == 2
        assert "has no predictions of these 81 items" in capsys.readouterr().err
        assert main(["prompt", "sst2", "--data", str(data), *api, "--against", str(data)]) == 2
        assert "is of neither heed tune nor heed prompt" in capsys.readouterr().err
    assert served.asked == []


@pytest.mark.slow
def test_a_real_tune_holds_out_the_same_items(capsys, tmp_path, run):
    reviews = write_reviews(tmp_path / "reviews.csv")
    shares = ["--data.validation-fraction", "0.1", "--data.test-fraction", "0.3"]
    columns = ["--text", "review", "--label", "mood"]
    tune = ["tune", str(reviews), *columns, *shares, "--methods", "head", "--seeds", "2", "--epochs", "1"]
    assert main([*tune, "--out", str(tmp_path / "tune")]) == 0
    capsys.readouterr()
    task = write_task(tmp_path / "mood.yaml", reviews)
    found = asked(
        capsys, task, "--run", run, "--device", "cpu", "--out", tmp_path / "out", "--against", tmp_path / "tune"
    )
    (pair,) = found["against"]
    assert pair["name"] == "head"
    assert found["items"] > 50
