"""What is read of a tune: everything, what of a tune that goes on, and one line for what is damaged."""

import json

import numpy as np
import pytest
from fake_runs import write_state

from fake_tuning import write_tune
from heed.config import write_yaml
from heed.config.tuning import TuneConfig, TuneData
from heed.errors import CheckpointError
from heed.records.kept import read_record, write_record
from heed.records.tune import StepBytes, TuneFile
from heed.report.tuning_record import read_tuning


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tune(tmp_path_factory.mktemp("tune") / "sst2", seeds=(1, 2), n=60, sizes=True)


def change(folder, into, edit):
    """A copy of tune.json with one edit, beside the same runs."""
    content = json.loads((folder / "tune.json").read_text())
    edit(content)
    into.mkdir(exist_ok=True)
    (into / "tune.json").write_text(json.dumps(content))
    if not (into / "runs").exists():
        (into / "runs").symlink_to(folder / "runs")
    return into


def test_what_is_read(folder):
    record = read_tuning(folder)
    assert record.notes == ()
    assert [arm.name for arm in record.arms] == ["full", "head", "prompt", "prefix", "lora"]
    assert record.split == "test"
    assert record.reference is record.ran[0]
    by_validation = [arm.mean("accuracy", "validation") for arm in record.ran]
    assert by_validation == sorted(by_validation, reverse=True)
    lora = record.arms[-1]
    assert (lora.trained_parameters, lora.learning_rate, len(lora.search)) == (74_498, 0.001, 3)
    assert lora.mean("f1", "test") == pytest.approx(sum(run.test.f1 for run in lora.runs) / 2)
    assert lora.best_run.validation.loss == min(run.validation.loss for run in lora.runs)
    assert len(record.sizes) == 16
    assert record.unfinished == []


def test_an_edited_run_is_told_without_its_hashes(tmp_path):
    folder = write_tune(tmp_path / "tune", methods=("head", "lora"), seeds=(1,), n=20)
    for name, other in (("head-1", {"encoder": {"max_length": 8}}), ("lora-1", {"train": {"clip": 0.5}})):
        write_yaml(TuneConfig(data=TuneData(source="sst2")), folder / "runs" / name / "config.yaml")
        (folder / "runs" / name / "hashes.json").unlink()
        write_state(folder / "runs" / name, **other)
    head, lora = read_tuning(folder).notes
    assert head.startswith("runs/head-1/config.yaml: encoder.max_length is 128, and the run was trained with 8: put")
    assert lora == "runs/lora-1/config.yaml: train.clip is 1.0, and the run was trained with 0.5."


def test_predictions_stand_example_by_example(folder):
    record = read_tuning(folder)
    examples = record.examples["test"]
    assert len(examples.labels) == 60
    for arm in record.arms:
        for run in arm.runs:
            own = run.answers["test"]
            assert own.right.sum() == run.test.correct
            assert np.array_equal(own.predicted, own.probabilities.argmax(axis=1))
    matrix = record.confusion(record.arms[0])
    best = record.arms[0].best_run
    assert matrix[0][1] == ((examples.labels == 0) & (best.answers["test"].predicted == 1)).sum()


def test_the_peak_is_at_least_its_parts():
    parts = {"weights": 1, "gradients": 2, "optimizer": 3, "activations": 4}
    assert StepBytes(**parts, forward_peak=5, backward_peak=6).peak == 10
    assert StepBytes(**parts, forward_peak=5, backward_peak=16).peak == 16
    assert StepBytes(**parts).peak == 10


def test_an_unfinished_tune_is_read(tmp_path):
    broken = {"full": ("does not fit", "out of memory"), "prefix": ("failed", "no number")}
    record = read_tuning(write_tune(tmp_path, seeds=(1,), n=20, test=False, broken=broken, waiting=("lora",)))
    assert record.split == "validation"
    assert [arm.broken for arm in record.arms] == [True, False, False, True, False]
    assert record.unfinished == ["lora"]
    assert {arm.name for arm in record.ran} == {"head", "prompt"}


def test_before_any_run(tmp_path):
    record = read_tuning(write_tune(tmp_path, n=20, waiting=("full", "head", "prompt", "prefix", "lora")))
    assert record.reference is None
    assert record.baseline("test") is None


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda c: c.update(format=2), "has format 2, this heed reads 1"),
        (lambda c: c.pop("data"), r"damaged \(data is missing\)"),
        (lambda c: c["arms"][1].pop("method"), r"arms 1 is damaged \(method is missing\)"),
        (lambda c: c["arms"][1]["runs"][0].update(seed="one"), r"runs 0 is damaged \(seed is no int\)"),
        (lambda c: c["arms"][0]["runs"][1]["test"].pop("mcc"), r"test is damaged \(mcc is missing\)"),
        (lambda c: c["arms"][0]["runs"][1]["test"].update(accuracy_interval=[1]), "damaged"),
        (lambda c: c["arms"].append("lora"), r"arms 5 is damaged \(no JSON object\)"),
    ],
)
def test_damage_is_one_line(folder, tmp_path, edit, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        read_tuning(change(folder, tmp_path / "damaged", edit))
    assert "\n" not in str(caught.value)


def test_what_a_newer_heed_wrote_is_told_and_not_lost(folder, tmp_path):
    def edit(content):
        content["arms"][1]["runs"][0]["test"]["beauty"] = 0.5

    changed = change(folder, tmp_path / "newer", edit)
    found = read_tuning(changed)
    assert found.notes == (
        "tune.json has arms.1.runs.0.test.beauty, which this heed does not know: a newer one wrote it.",
    )
    kept = read_record(TuneFile, changed / "tune.json")
    write_record(changed / "tune.json", kept)
    assert (changed / "tune.json").read_text() == json.dumps(kept.plain(), indent=2, ensure_ascii=False) + "\n"
    assert json.loads((changed / "tune.json").read_text())["arms"][1]["runs"][0]["test"]["beauty"] == 0.5


def test_no_tune_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="heed tune DATA --out FOLDER"):
        read_tuning(tmp_path)
    (tmp_path / "tune.json").write_text('{"format": 1, "data"')
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tuning(tmp_path)


def test_predictions_that_cannot_be_used_are_noted(tmp_path):
    record = write_tune(tmp_path, methods=("full", "head", "lora"), seeds=(1,), n=30)
    (record / "runs/full-1/predictions-test.jsonl").unlink()
    head = record / "runs/head-1/predictions-test.jsonl"
    lines = head.read_text().splitlines()
    head.write_text("\n".join([*lines[:4], lines[4][:30], *lines[5:]]))
    lora = record / "runs/lora-1/predictions-validation.jsonl"
    lora.write_text("\n".join(lora.read_text().splitlines()[:-1]))
    found = read_tuning(record)
    reasons = (
        "full-1/predictions-test.jsonl is missing",
        "head-1/predictions-test.jsonl is damaged (line 5 is no prediction)",
        "lora-1/predictions-validation.jsonl is about other examples than the first run",
    )
    assert found.notes == tuple(f"runs/{reason}: this run is in no comparison of examples." for reason in reasons)
    assert [arm.name for arm in found.answering("test")] == ["lora"]


def test_other_examples_with_the_same_labels_are_not_paired(tmp_path):
    folder = write_tune(tmp_path, methods=("full", "head"), seeds=(1,), n=30)
    file = folder / "runs/head-1/predictions-test.jsonl"
    file.write_text(file.read_text().replace("test.tsv, line 9", "test.tsv, line 10"))
    record = read_tuning(folder)
    assert "about other examples" in record.notes[0]
    assert [arm.name for arm in record.answering("test")] == ["full"]


def test_a_moment_without_an_epoch_is_left_out(folder, tmp_path):
    def edit(content):
        content["arms"][0]["runs"][0]["curve"][0]["epoch"] = None

    record = read_tuning(change(folder, tmp_path / "early", edit))
    assert [len(run.curve) for run in record.arms[0].runs] == [5, 6]


def test_counts_that_disagree_are_noted(folder, tmp_path):
    def edit(content):
        content["arms"][0]["runs"][0]["test"]["correct"] = 1

    record = read_tuning(change(folder, tmp_path / "other", edit))
    assert "tune.json says 1." in record.notes[0]


def test_groups_that_predictions_do_not_name_are_missed(tmp_path):
    """An older heed wrote predictions without groups: its intervals are about independent examples, which is said."""

    def noted(folder, **options):
        write_tune(folder, methods=("lora",), seeds=(1,), n=20, **options)
        content = json.loads((folder / "tune.json").read_text())
        content["command"] += ["--group", "author"]
        (folder / "tune.json").write_text(json.dumps(content))
        return [note for note in read_tuning(folder).notes if "independent" in note]

    assert noted(tmp_path / "old") == [
        "Predictions name no groups, or no held-out text has one: intervals take examples as independent."
    ]
    assert noted(tmp_path / "new", groups=4) == []
