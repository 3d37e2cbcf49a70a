"""One tuned run: the same again bit for bit, killed and resumed, the best weights kept, and files that agree."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from small import exit_code_of, make_config, write_table
from tiny_encoders import numbered_classes, save_tiny, texts

from heed.errors import CheckpointError, DataError
from heed.report.classification import figures
from heed.studies.tune_plan import open_labelled_splits
from heed.targets.classes import ClassTarget
from heed.training import threads
from heed.training.checkpoint import best_step, find_checkpoint, load_checkpoint
from heed.training.devices import take_threads, threads_kept
from heed.training.run import Run, read_metrics
from heed.tuning.encoders import load_encoder
from heed.tuning.measure import compute_features, measure, write_predictions
from heed.tuning.model import Tuned
from heed.tuning.texts import TextBatches
from heed.tuning.tuned_run import Material, balanced, build, changed, load_tuned, train_run

BERT = "bert-base-uncased"
TRAIN = {"steps": 12, "eval_every": 4, "checkpoint_every": 4, "warmup_steps": 1, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("texts") / "films.csv")


@pytest.fixture(scope="module")
def material(table, tiny):
    return read(make_config(table, tiny(BERT)))


def read(config):
    splits = open_labelled_splits(config)
    return Material.of(splits, load_encoder(config.encoder, splits.target, native=False), config.encoder.max_length)


def config_of(table, place, method="mean-full", *, seed=1, **train):
    config = make_config(table, place, method={"name": method, "rank": 2}, train=TRAIN | train)
    return changed(config, run={"seed": seed})


def weights(folder, which="best"):
    return load_checkpoint(find_checkpoint(folder / "checkpoints", which)).model


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", ["mean-full", "head", "lora"])
def test_the_same_seed_gives_the_same_run_bit_for_bit(tmp_path, table, tiny, material, method):
    done = {}
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        done[name] = train_run(config_of(table, tiny(BERT), method, seed=seed), material, tmp_path / name)
    assert equal(weights(tmp_path / "one"), weights(tmp_path / "same"))
    assert not equal(weights(tmp_path / "one"), weights(tmp_path / "other"))
    files = [tmp_path / name / "predictions-validation.jsonl" for name in ("one", "same")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert done["one"].measures["validation"].as_dict() == done["same"].measures["validation"].as_dict()


def test_what_ran_before_in_this_process_changes_no_bit(tmp_path, table, tiny, material):
    """Sums of two threads differ in the last bits from those of one, which is what the run asks for."""
    train_run(config_of(table, tiny(BERT)), material, tmp_path / "one")
    with threads_kept():
        take_threads(2)
        train_run(config_of(table, tiny(BERT)), material, tmp_path / "after others")
        assert torch.get_num_threads() == 2
    assert equal(weights(tmp_path / "one"), weights(tmp_path / "after others"))


def test_a_tuned_run_that_chose_two_threads_has_the_bits_of_one_that_was_told_two(
    tmp_path, table, tiny, material, monkeypatch
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "SHORT", 0.0)
    monkeypatch.setattr(threads, "choose", lambda speeds, now=None: 2)
    with threads_kept():
        take_threads(2)
        for name, number in (("chose", "auto"), ("told", 2)):
            train_run(changed(config_of(table, tiny(BERT)), run={"threads": number}), material, tmp_path / name)
    assert "threads" in (tmp_path / "chose" / "metrics.jsonl").read_text()
    assert "threads" not in (tmp_path / "told" / "metrics.jsonl").read_text()
    assert equal(weights(tmp_path / "chose"), weights(tmp_path / "told"))


def at_step(monkeypatch, step, number):
    """Send this process a signal when it asks for the batch of a step."""
    asked, original = [0], TextBatches.__next__

    def counting(self):
        asked[0] += 1
        if asked[0] == step:
            os.kill(os.getpid(), number)
        return original(self)

    monkeypatch.setattr(TextBatches, "__next__", counting)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_and_resumed_is_the_undisturbed_run(tmp_path, table, tiny, material, monkeypatch, number):
    config = config_of(table, tiny(BERT), "lora")
    whole = train_run(config, material, tmp_path / "whole", measured=("validation", "test"))
    with monkeypatch.context() as patch:
        at_step(patch, 6, number)
        stopped = train_run(config, material, tmp_path / "broken", measured=("validation", "test"))
    assert (stopped.fit.reason, stopped.fit.step, stopped.measures) == ("interrupted", 6, {})
    assert not (tmp_path / "broken" / "predictions-test.jsonl").exists()
    assert sorted(path.name for path in (tmp_path / "broken" / "checkpoints").glob("step*"))[-1] == "step-00000006"
    resumed = train_run(config, material, tmp_path / "broken", measured=("validation", "test"), resume=True)
    assert equal(weights(tmp_path / "whole", "last"), weights(tmp_path / "broken", "last"))
    for split in ("validation", "test"):
        assert resumed.measures[split].as_dict() == whole.measures[split].as_dict()


def train_to_the_end(config, folder, resume=False):
    train_run(config, read(config), folder, resume=resume)


def train_until_killed(config, folder, step):
    at_step(pytest.MonkeyPatch(), step, signal.SIGKILL)
    train_to_the_end(config, folder)


@pytest.mark.slow
def test_killed_at_once_and_resumed_is_the_undisturbed_run(tmp_path, table, tiny):
    """SIGKILL between two checkpoints, nothing can be saved at that moment; each run in a process of its own."""
    config, whole, broken = config_of(table, tiny(BERT)), tmp_path / "whole", tmp_path / "broken"
    assert exit_code_of(train_to_the_end, config, whole) == 0
    assert exit_code_of(train_until_killed, config, broken, 7) == -signal.SIGKILL
    assert exit_code_of(train_to_the_end, config, broken, True) == 0
    events = {folder: read_metrics(folder / "metrics.jsonl") for folder in (whole, broken)}
    figures = [[e.plain() for e in events[folder] if e.KIND == "evaluation"] for folder in (whole, broken)]
    assert [one["step"] for one in figures[1]] == [4, 8, 12]
    assert [one["loss"] for one in figures[0]] == [one["loss"] for one in figures[1]]
    assert equal(weights(whole, "last"), weights(broken, "last"))
    assert equal(weights(whole), weights(broken))


def test_a_head_on_computed_vectors_is_the_head_through_the_encoder(table, tiny, material):
    tuned, _, learn = build(config_of(table, tiny(BERT), "head"), ClassTarget(("neg", "pos")))
    assert learn == 2 * 16 + 2
    device = torch.device("cpu")
    encoded = material.encoded["validation"]
    vectors = compute_features(tuned, encoded, batch_size=5, device=device)
    cached = measure(tuned, encoded, batch_size=7, device=device, features=vectors).answers
    through = measure(tuned, encoded, batch_size=4, device=device).answers
    # other batches are padded to other lengths, where a float32 sum of some 16 terms ends otherwise by 1e-7
    assert np.allclose(cached, through, rtol=0, atol=2e-6)
    assert tuned.training  # it is left as it was


def test_balanced_weights_make_classes_equal(table, tiny):
    labels = np.array([0, 0, 0, 1, 2, 2])
    weight = balanced(labels, 3)
    assert weight.tolist() == pytest.approx([6 / 9, 6 / 3, 6 / 6])
    sums = [float(weight[label]) * int((labels == label).sum()) for label in range(3)]
    assert sums == pytest.approx([2, 2, 2])  # three equal parts of six texts
    encoder = load_encoder(make_config(table, tiny(BERT)).encoder, ClassTarget(("a", "b", "c")), native=False)
    tuned = Tuned(encoder, numbered_classes(3)).eval()
    tuned.class_weights = weight
    source, target = texts(encoder, rows=3), torch.tensor([0, 1, 2])
    with torch.no_grad():
        each = F.cross_entropy(tuned(source), target, reduction="none")
        assert tuned.loss(source, target).item() == pytest.approx(float((weight * each).mean()))


def test_balanced_weights_change_a_run_and_are_in_no_checkpoint(tmp_path, table, tiny, material):
    plain = config_of(table, tiny(BERT), "head")
    train_run(plain, material, tmp_path / "plain")
    train_run(plain.model_copy(update={"class_weights": "balanced"}), material, tmp_path / "balanced")
    assert weights(tmp_path / "plain").keys() == weights(tmp_path / "balanced").keys() == {"head.weight", "head.bias"}
    assert not equal(weights(tmp_path / "plain"), weights(tmp_path / "balanced"))


def test_the_best_checkpoint_has_the_lowest_refined_loss(tmp_path, table, tiny, material, monkeypatch):
    """The first of equal ones, although another has the higher accuracy."""
    said = iter([(0.5, 0.7), (0.5, 0.25), (0.75, 0.4), (0.75, 0.25)])

    def pretended(*arguments, **options):
        found = measure(*arguments, **options)
        accuracy, loss = next(said, (found["accuracy"], found.criterion))
        return replace(found, values={**found.values, "accuracy": accuracy, "refined_loss": loss})

    with monkeypatch.context() as patch:
        patch.setattr("heed.tuning.tuned_run.measure", pretended)
        config = config_of(table, tiny(BERT), steps=16)
        done = train_run(config, material, tmp_path / "run", measured=("test",), measures_training=False)
    assert best_step(done.run.checkpoints) == done.fit.best_step == 8
    assert done.fit.best_loss == 0.25
    loaded, _, _, _ = load_tuned(tmp_path / "run", "cpu")
    assert equal(loaded.state_dict(), weights(tmp_path / "run", 8))
    own = measure(loaded, material.encoded["test"], batch_size=64, device=torch.device("cpu"))
    assert np.array_equal(own.answers, done.measures["test"].answers)


def test_figures_are_those_of_the_best_step_and_of_the_predictions(tmp_path, table, tiny, material):
    config = config_of(table, tiny(BERT), steps=24)
    done = train_run(config, material, tmp_path / "run", measured=("validation", "test"))
    events = [event for event in done.run.read_metrics() if event.KIND == "evaluation"]
    losses = [event.finite("refined_loss") for event in events]
    assert done.fit.best_step == events[losses.index(min(losses))].step
    assert done.measures["validation"].as_dict()["refined_loss"] == min(losses)
    for split in ("validation", "test"):
        rows = material.splits.rows[split]
        text = (tmp_path / "run" / f"predictions-{split}.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["text"] for line in lines] == rows.texts
        assert [line["place"] for line in lines] == rows.places
        labels = np.array([("neg", "pos").index(line["label"]) for line in lines])
        assert labels.tolist() == rows.labels.tolist()
        chances = np.array([line["probabilities"] for line in lines])
        again, found = figures(labels, chances), done.measures[split].as_dict()
        assert again["confusion"] == found["confusion"]
        assert again["accuracy"] == found["accuracy"]
        assert again["loss"] == pytest.approx(found["loss"], abs=1e-5)  # six decimals are written
        for line in lines:
            assert line["predicted"] == ("neg", "pos")[int(np.argmax(line["probabilities"]))]
            assert line["probability"] == max(line["probabilities"])
            assert line["pair"] is None


def test_a_checkpoint_of_lora_holds_what_is_trained_and_no_more(tmp_path, table, tiny, material):
    done = train_run(config_of(table, tiny(BERT), "lora"), material, tmp_path / "run")
    # 2 layers x (query, value) x rank 2 x (16 + 16), and the head of 2 x 16 + 2
    assert done.trained_parameters == 2 * 2 * 2 * 32 + 34
    path = find_checkpoint(done.run.checkpoints, "best") / "model.safetensors"
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        assert sum(file.get_tensor(name).numel() for name in names) == done.trained_parameters
    assert all("lora_" in name or name.startswith("head.") for name in names)
    assert path.stat().st_size < 8 * done.trained_parameters + 4000  # float32 and a header


def test_a_loaded_run_says_what_the_run_said(tmp_path, table, tiny, material):
    done = train_run(config_of(table, tiny(BERT), "lora"), material, tmp_path / "run")
    tuned, _, run, target = load_tuned(tmp_path / "run", "cpu")
    assert target.names == ("neg", "pos")
    assert not tuned.training
    assert run.environment.finite("trained_parameters") == done.trained_parameters
    found = measure(tuned, material.encoded["validation"], batch_size=64, device=torch.device("cpu"))
    assert np.array_equal(found.answers, done.measures["validation"].answers)


def test_a_run_whose_encoder_is_another_by_now_is_refused(tmp_path, table):
    place = save_tiny(BERT, tmp_path)
    config = config_of(table, place, "head")
    train_run(config, read(config), tmp_path / "run")
    save_tiny(BERT, tmp_path, seed=5)
    with pytest.raises(CheckpointError, match=r"was tuned from another .*bring that one back"):
        load_tuned(tmp_path / "run", "cpu")


def test_a_run_of_another_kind_is_refused(tmp_path, table, tiny, material):
    train_run(config_of(table, tiny(BERT), "head"), material, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"is a run of heed tune: ask it with heed predict"):
        Run.open(tmp_path / "run")
    (tmp_path / "other").mkdir()
    with pytest.raises(CheckpointError, match="holds no run"):
        load_tuned(tmp_path / "other", "cpu")


def test_a_part_of_the_training_texts_is_a_part_of_a_larger_one(material):
    large, small = material.first(20), material.first(8)
    rows = {tuple(read.ids.tolist()) for read in (large.encoded["train"].take(np.array([i])) for i in range(20))}
    for number in range(8):
        assert tuple(small.encoded["train"].take(np.array([number])).ids.tolist()) in rows
    assert small.encoded["test"] is material.encoded["test"]
    assert small.sha256 == material.sha256
    with pytest.raises(DataError, match="1,000 examples are asked for of a split that has 36"):
        material.first(1000)
    with pytest.raises(DataError, match="--sizes: among 1 training texts not every class occurs: take more"):
        material.first(1)


def test_predictions_that_cannot_be_written(tmp_path, material):
    chances = np.full((len(material.splits.rows["test"]), 2), 0.5)
    with pytest.raises(CheckpointError, match=r"p.jsonl cannot be written: No such file or directory; make room and"):
        write_predictions(
            tmp_path / "none" / "p.jsonl", material.splits.rows["test"], ClassTarget(("neg", "pos")), chances
        )
