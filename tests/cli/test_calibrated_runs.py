"""`heed tune RUN --calibrate`, `heed predict --calibrated`: probabilities that mean what they say."""

import json
import math
import shutil

import numpy as np
import pytest
import torch

from cli.test_new_labelled_file import new_file, place, read_table, run  # noqa: F401
from heed.report.calibration import expected_calibration_error
from heed.tuning.tuned_run import load_tuned


@pytest.fixture
def own(run, tmp_path):  # noqa: F811
    """A copy of the run on films, to be calibrated."""
    shutil.copytree(run, tmp_path / "own")
    return tmp_path / "own"


def logits_of(folder, split):
    """Return labels and logits of a kept split, by the model itself, one text at a time."""
    tuned_model, encoder, _, target = load_tuned(folder, "cpu")
    rows = [json.loads(line) for line in (folder / f"predictions-{split}.jsonl").read_text().splitlines()]
    z = []
    for row in rows:
        ids = torch.tensor([encoder.tokenizer(row["text"], truncation=True, max_length=16)["input_ids"]])
        with torch.no_grad():
            z.append(tuned_model(torch.stack([ids, torch.ones_like(ids)], dim=1))[0].double().numpy())
    return np.array([target.names.index(row["label"]) for row in rows]), np.array(z)


def loss_at(T, labels, z):
    """Return the mean of -ln softmax(z / T) at the labels."""
    return float(np.mean([np.logaddexp.reduce(row / T) - row[y] / T for row, y in zip(z, labels, strict=True)]))


def test_probabilities_are_surer_than_they_are_right(heed, own):
    """T has the least loss of a fine grid of temperatures on validation; every figure is counted again by logits."""
    answer = heed("tune", own, "--calibrate", "--json")
    assert answer.code == 0
    said = json.loads(answer.out)
    labels, z = logits_of(own, "validation")
    T, grid = said["temperature"], np.exp(np.linspace(-6.5, 6.5, 2601))
    losses = [loss_at(one, labels, z) for one in grid]
    assert abs(math.log(T / grid[int(np.argmin(losses))])) < 0.006  # the grid's step is 0.005
    assert said["validation"]["after"]["loss"] <= min(losses) + 1e-9
    p = np.exp(z / T) / np.exp(z / T).sum(axis=1, keepdims=True)
    assert float((p * z).sum(axis=1).mean()) == pytest.approx(float(z[np.arange(len(z)), labels].mean()), abs=1e-4)
    labels, z = logits_of(own, "test")
    for when, at in (("before", 1.0), ("after", T)):
        p = np.exp(z / at) / np.exp(z / at).sum(axis=1, keepdims=True)
        one = said["test"][when]
        assert one["loss"] == pytest.approx(loss_at(at, labels, z), abs=1e-5)
        assert one["confidence"] == pytest.approx(p.max(axis=1).mean(), abs=1e-5)
        assert one["error"] == pytest.approx(
            expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == labels), abs=1e-4
        )
    assert json.loads((own / "calibration.json").read_text()) == {k: v for k, v in said.items() if k != "run"}

    lines = heed("tune", own, "--calibrate").out.splitlines()
    gain = (
        2
        * said["validation"]["examples"]
        * (said["validation"]["before"]["loss"] - said["validation"]["after"]["loss"])
    )
    needed = "it was too sure" if T > 1 else "it was not sure enough"
    needed = needed if gain >= 3.841 else "validation does not show that another than 1 is needed"
    assert f"temperature {T:.4g} ({needed}), chosen on " in lines[0]
    [after] = [line for line in lines if line.startswith("test, calibrated")]
    assert f"  {said['test']['after']['loss']:.4f}  {said['test']['after']['error']:.3f} (" in after

    plain = json.loads(heed("predict", own, "a good film", "--json").out)
    answer = heed("predict", own, "a good film", "--json", "--calibrated")
    found = json.loads(answer.out)
    odds = [one["probabilities"]["pos"] / one["probabilities"]["neg"] for one in (plain, found)]
    assert math.log(odds[1]) == pytest.approx(math.log(odds[0]) / T)
    assert (found["predicted"], found["temperature"]) == (plain["predicted"], T)
    assert f"probabilities at temperature {T:.4g}, chosen on {said['validation']['examples']} " in answer.err


def test_a_file_is_scored_with_calibrated_probabilities_of_both(heed, own, tmp_path):
    heed("tune", own, "--calibrate")
    T = json.loads((own / "calibration.json").read_text())
    new, out = new_file(tmp_path / "new.csv"), tmp_path / "out.csv"
    answer = heed("predict", own, "--file", new, "--label", "stars", "--calibrated", "--json", "--out", out)
    said, rows = json.loads(answer.out), read_table(out)
    assert [float(row["temperature"]) for row in rows] == pytest.approx([T["temperature"]] * len(rows), rel=1e-5)
    assert said["drift"]["confidence"]["new"] == pytest.approx(
        np.mean([float(r["probability"]) for r in rows]), abs=1e-6
    )
    assert said["drift"]["confidence"]["test"] == pytest.approx(T["test"]["after"]["confidence"])
    assert said["test"]["loss"] == pytest.approx(T["test"]["after"]["loss"])
    assert f"calibrated at temperature {T['temperature']:.4g}, chosen on " in said["passport"]
    page = tmp_path / "page.html"
    heed("predict", own, "--file", new, "--label", "stars", "--calibrated", "--report", page)
    assert f"at temperature {T['temperature']:.4g}, chosen on" in page.read_text()


def test_a_temperature_of_other_weights(heed, own):
    heed("tune", own, "--calibrate")
    path = own / "calibration.json"
    content = path.read_text()
    path.write_text(content.replace('"temperature": ', '"temperature": 9'))
    assert "is not as heed wrote it (its SHA-256 differs)" in heed("predict", own, "good", "--calibrated").err
    (own / "hashes.json").unlink()
    record = json.loads(content)
    path.write_text(json.dumps(record | {"weights": "0" * 64}))
    answer = heed("predict", own, "good", "--calibrated")
    assert answer.code == 2
    assert "is of other weights than the run has now: give heed tune" in answer.err
    for odd in (0, -1, 1e-320, 1e308, "x"):  # no temperature makes probabilities of these
        path.write_text(json.dumps(record | {"temperature": odd}))
        assert "calibration.json is damaged" in heed("predict", own, "good", "--calibrated").err
    path.write_text("{")
    answer = heed("predict", own, "good", "--calibrated")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert heed("tune", own, "--calibrate").code == 0
    assert json.loads(path.read_text()) == record


def test_what_cannot_be_calibrated(heed, own, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no run and no tune" in heed("tune", tmp_path / "empty", "--calibrate").err
    (own / "hashes.json").unlink()
    path = own / "predictions-validation.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    right = [row | {"label": row["predicted"]} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in right))
    answer = heed("tune", own, "--calibrate")
    assert answer.code == 2
    assert "no temperature is best for these" in answer.err
    assert "the surer the better, as where every text is right" in answer.err
    other = [row | {"probabilities": row["probabilities"][::-1]} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in other))
    assert "says other probabilities of its validation texts than it once did" in heed("tune", own, "--calibrate").err
    path.unlink()
    answer = heed("tune", own, "--calibrate")
    assert answer.code == 2
    assert "predictions-validation.jsonl is needed and cannot be used" in answer.err
    assert not (own / "calibration.json").exists()
