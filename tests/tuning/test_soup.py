"""A soup: the mean of an arm's seeds is an arm of its own, and a run that can be asked."""

import json

import pytest
import torch
from small import make_plan, read_tune, write_table
from tiny_encoders import SHALLOW

from heed.errors import CheckpointError
from heed.report.tuning_page import design
from heed.report.tuning_record import read_tuning
from heed.report.tuning_tables import seeds_done
from heed.studies import soup as module
from heed.studies.soup import has_soup, mean_weights
from heed.studies.tune import tune
from heed.training.checkpoint import find_checkpoint, load_checkpoint
from heed.tuning.predict import Predictor

BERT = SHALLOW


def quiet(line):
    """Say nothing."""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("texts") / "films.csv", 40)


def weights(folder):
    return load_checkpoint(find_checkpoint(folder / "checkpoints", "best")).model


def arm(folder, name):
    return next(one for one in read_tune(folder)["arms"] if one["name"] == name)


@pytest.mark.parametrize("method", ["mean-full", "head", "bitfit"])
def test_a_soup_is_the_mean_of_the_best_weights(tmp_path, table, tiny, method):
    assert tune(make_plan(table, tiny(BERT), method, seeds=(1, 2, 3), soup=True), tmp_path, quiet)
    name = f"{method} soup"
    made, source = arm(tmp_path, name), arm(tmp_path, method)
    assert (made["status"], made["soup"], len(made["runs"])) == ("done", [1, 2, 3], 1)
    assert made["trained_parameters"] == source["trained_parameters"]
    assert made["runs"][0]["seconds"] == pytest.approx(sum(run["seconds"] for run in source["runs"]))
    seeds = [weights(tmp_path / "runs" / f"{method}-{seed}") for seed in (1, 2, 3)]
    own = weights(tmp_path / "runs" / f"{method}-soup")
    for key, tensor in own.items():
        torch.testing.assert_close(tensor, (seeds[0][key] + seeds[1][key] + seeds[2][key]) / 3)
    lines = (tmp_path / "runs" / f"{method}-soup" / "predictions-test.jsonl").read_text().splitlines()
    asked = Predictor(tmp_path / "runs" / f"{method}-soup", "cpu").predict([json.loads(line)["text"] for line in lines])
    assert [one.predicted for one in asked] == [json.loads(line)["predicted"] for line in lines]
    record = read_tuning(tmp_path)
    assert record.unfinished == []
    assert design(record).startswith("1 arm × 3 seeds")
    assert design(record).endswith("3 of 3 runs have finished.")
    assert {one.name: seeds_done(record, one) for one in record.arms} == {method: "3", name: "mean of 3"}


def test_what_begins_at_random_has_no_soup(tmp_path, table, tiny):
    names = [
        "full",
        "mean-full",
        "head",
        "bitfit",
        "ia3",
        "bitfit+head",
        "lora",
        "dora",
        "prompt",
        "prefix",
        "lora+bitfit",
    ]
    assert [has_soup(name) for name in names] == [True] * 6 + [False] * 5
    assert tune(make_plan(table, tiny(BERT), "head", "lora", seeds=(1, 2), soup=True), tmp_path, quiet)
    assert [one["name"] for one in read_tune(tmp_path)["arms"]] == ["head", "lora", "head soup"]


def test_a_soup_is_made_once_and_anew_with_another_seed(tmp_path, table, tiny, monkeypatch):
    made, original = [], module.predict_splits
    monkeypatch.setattr(module, "predict_splits", lambda *args: made.append(args[3].name) or original(*args))
    plan = lambda seeds: make_plan(table, tiny(BERT), "head", seeds=seeds, soup=True)
    for seeds in ((1, 2), (1, 2), (1, 2, 3)):
        assert tune(plan(seeds), tmp_path, quiet)
    assert made == ["head-soup"] * 2
    assert arm(tmp_path, "head soup")["soup"] == [1, 2, 3]
    assert tune(make_plan(table, tiny(BERT), "lora", seeds=(1,)), tmp_path, quiet)  # no soup now: it stays
    assert arm(tmp_path, "head soup")["status"] == "done"


def test_an_arm_that_failed_has_none(tmp_path, table, tiny, monkeypatch):
    def broken(config, classes):
        raise CheckpointError("broken")

    assert tune(make_plan(table, tiny(BERT), "head", seeds=(1, 2), soup=True), tmp_path, quiet)
    monkeypatch.setattr("heed.studies.tuned_cells.build", broken)
    plan = make_plan(table, tiny(BERT), "head", "mean-full", seeds=(1, 2), soup=True)
    with pytest.raises(Exception, match="no method could be tuned; broken"):
        tune(plan, tmp_path, quiet)
    assert arm(tmp_path, "mean-full soup")["reason"] == "mean-full has no two finished seeds"


def test_the_mean_keeps_the_type():
    found = mean_weights([{"w": torch.tensor([0.1, 1e8])}, {"w": torch.tensor([0.3, 3.0])}])
    assert found["w"].dtype == torch.float32
    assert found["w"].tolist() == pytest.approx([0.2, 50000001.5], rel=1e-7)
