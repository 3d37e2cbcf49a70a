"""Ten texts by heart: who can, who cannot, and what is refused."""

import json

import numpy as np
import pytest
from small import make_plan, write_table

from heed.errors import CheckpointError, ConfigError, DataError
from heed.studies import by_heart as module
from heed.studies.by_heart import overfit
from heed.studies.rates import own_rates

BERT = "bert-base-uncased"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("texts") / "films.csv", 60)


def test_full_learns_ten_texts_by_heart_and_says_when(table, tiny):
    said = []
    # the tiny encoder's own head is new, so that its texts are hard at 2e-4: with dropout they would not be learned
    found = overfit(make_plan(table, tiny(BERT), "mean-full", "head"), 10, said.append)
    assert found["mean-full"] == 1
    assert 0 <= found["head"] <= 1
    assert any(line.startswith("mean-full: by heart after ") for line in said)


def test_a_folder_holds_the_curve_the_texts_and_a_page(table, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_STEPS", 20)
    said, folder = [], tmp_path / "check"
    plan = make_plan(table, tiny(BERT), "head", "mean-full", optimizers=("adamw", "sgd"))
    found = overfit(plan, 6, said.append, folder)
    assert list(found) == ["head / adamw", "head / sgd", "mean-full / adamw", "mean-full / sgd"]
    assert said[-1] == f"report: {folder / 'report.html'}"
    record = json.loads((folder / "overfit.json").read_text())
    assert len(record["texts"]) == 6
    assert {one["label"] for one in record["texts"]} == {"neg", "pos"}
    for arm in record["arms"]:
        steps = [point["step"] for point in arm["curve"]]
        assert steps == list(range(0, steps[-1] + 1, 10))
        right = sum(said == one["label"] for said, one in zip(arm["predicted"], record["texts"], strict=True))
        assert found[arm["name"]] == arm["accuracy"] == arm["curve"][-1]["accuracy"] == right / 6
        assert (arm["accuracy"] == 1) or steps[-1] == 20
    rates = {arm["name"]: arm["learning_rate"] for arm in record["arms"]}
    assert rates["head / adamw"] == 0.02
    assert rates["head / sgd"] == own_rates("head", "sgd")[2] == 0.3
    page = (folder / "report.html").read_text()
    assert all(one["text"] in page for one in record["texts"])
    assert "accuracy on the texts (%)" in page
    overfit(plan, 6, said.append, folder)  # a second check takes the place of the first


def test_a_folder_of_something_else_is_left_alone(table, tiny, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds something else than a check by heart"):
        overfit(make_plan(table, tiny(BERT), "head"), 4, lambda line: None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_is_told_before_anything_is_trained(table, tiny, tmp_path):
    (tmp_path / "file").write_text("mine")
    said = []
    with pytest.raises(CheckpointError, match=r"file cannot be made: File exists; choose another --out"):
        overfit(make_plan(table, tiny(BERT), "head"), 4, said.append, tmp_path / "file")
    assert said == []


def test_too_few_steps_are_told_as_an_accuracy(table, tiny, monkeypatch):
    monkeypatch.setattr(module, "MOST_STEPS", 10)
    found = overfit(make_plan(table, tiny(BERT), "head"), 10, lambda line: None)
    assert found["head"] < 1


def test_several_encoders_by_name(table, tiny, monkeypatch):
    monkeypatch.setattr(module, "MOST_STEPS", 10)
    plan = make_plan(table, tiny(BERT), "head", encoders=(str(tiny(BERT)), str(tiny("roberta-base"))))
    assert set(overfit(plan, 4, lambda line: None)) == {f"{BERT} / head", "roberta-base / head"}


def test_more_texts_than_there_are(table, tiny):
    with pytest.raises(DataError, match="--overfit: there are only 36 training texts: take at most that"):
        overfit(make_plan(table, tiny(BERT), "head"), 37, lambda line: None)


def test_a_mistake_is_told_as_in_a_tune(table, tiny):
    plan = make_plan(table, tiny(BERT), "lora", sections={"method": {"targets": ("nothing",)}})
    with pytest.raises(ConfigError, match=r"method.targets: 'nothing' matches no linear map"):
        overfit(plan, 4, lambda line: None)


def test_texts_are_taken_from_the_classes_in_turn():
    labels = np.array([0, 0, 0, 0, 1, 0, 1, 2])
    assert sorted(labels[module._mixed(labels, 6)].tolist()) == [0, 0, 0, 1, 1, 2]
    assert sorted(labels[module._mixed(labels, 3)].tolist()) == [0, 1, 2]
