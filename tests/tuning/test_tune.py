"""A whole tune: nothing is made twice, nothing is lost or mixed, and one arm's failure is not the others'."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small import LENGTH, exit_code_of, make_plan, read_tune, timeless, write_table
from tiny_encoders import SHALLOW, save_tiny

from heed.config import RunConfig, TrainConfig
from heed.config.tuning import TUNING, MethodConfig, TuneConfig, TuneData
from heed.errors import CheckpointError, ConfigError, DataError, HeedError
from heed.report.tuning_page import write_tuning
from heed.report.tuning_record import read_tuning
from heed.studies import tuned_cells as module
from heed.studies.rates import own_rates
from heed.studies.tune import tune
from heed.studies.tune_plan import open_labelled_splits
from heed.studies.tuned_arms import formula
from heed.text.splits import SplitRows
from heed.training.run import read_metrics
from heed.tuning.texts import TextBatches, encode
from heed.tuning.tuned_run import changed, load_tuned, open_tuned

BERT, ROBERTA = SHALLOW, "roberta-base"
SPLITS = ("train", "validation", "test")


def quiet(line):
    """Say nothing."""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("texts") / "films.csv", 40)


@pytest.fixture
def made(monkeypatch):
    """The names of the runs that are trained, in order."""
    names, original = [], module.train_run

    def counting(config, material, folder, **options):
        names.append(folder.name)
        return original(config, material, folder, **options)

    monkeypatch.setattr(module, "train_run", counting)
    return names


def arms_of(folder):
    return {arm["name"]: arm for arm in read_tune(folder)["arms"]}


def seeds_of(arm):
    return [run["seed"] for run in arm["runs"]]


def test_the_record_of_a_tune(tmp_path, table, tiny, made):
    plan = make_plan(
        table, tiny(BERT), "head", "lora", seeds=(1, 2), rates=(1e-3, 5e-3), search="grid", memory=True,
        sections={"method": {"rank": 2}}, command=("heed", "tune", "films.csv"),
    )  # fmt: skip
    assert tune(plan, tmp_path, quiet)
    assert made == [
        "head-search-1", "head-search-2", "head-1", "head-2", "lora-search-1", "lora-search-2", "lora-1", "lora-2",
    ]  # fmt: skip
    record = read_tune(tmp_path)
    assert record["command"] == ["heed", "tune", "films.csv"]
    assert record["data"]["classes"] == ["neg", "pos"]
    assert [record["data"]["splits"][split]["examples"] for split in SPLITS] == [24, 8, 8]
    assert record["data"]["cut"] == {"train": 0, "validation": 0, "test": 0}
    assert record["steps"] == 3
    lora = arms_of(tmp_path)["lora"]
    assert lora["trained_parameters"] == 2 * 2 * 32 + 34
    assert lora["options"] == {"rank": 2, "alpha": 16.0, "dropout": 0.0, "targets": None}
    assert lora["pooling"] == "mean"
    assert lora["memory"]["weights"] > 0
    tried = {one["learning_rate"]: -one["refined_loss"] for one in lora["search"]}
    assert list(tried) == [1e-3, 5e-3]
    assert lora["learning_rate"] == max(tried, key=lambda rate: tried[rate])
    assert [one["chosen"] for one in lora["search"]] == [rate == lora["learning_rate"] for rate in tried]
    assert all(one["steps"] == 1 for one in lora["search"])  # a quarter of 3 steps
    assert arms_of(tmp_path)["head"]["search"][0]["steps"] == 8  # a quarter of 10 passes of 3 steps
    for arm in record["arms"]:
        assert arm["status"] == "done"
        assert seeds_of(arm) == [1, 2]
        for run in arm["runs"]:
            assert run["folder"] == f"runs/{arm['name']}-{run['seed']}"
            best = [point["validation_accuracy"] for point in run["curve"] if point["epoch"] == run["best_epoch"]]
            assert best == [run["validation"]["accuracy"]]
            assert (tmp_path / run["folder"] / "predictions-test.jsonl").is_file()
    read = read_tuning(tmp_path)  # the page reads it, predictions and all
    assert not read.unfinished
    assert all(set(run.answers) == {"validation", "test"} for arm in read.arms for run in arm.runs)


def test_the_test_split_is_read_by_the_chosen_rate_alone(tmp_path, table, tiny):
    plan = make_plan(table, tiny(BERT), "head", rates=(1e-3, 5e-3, 1e-2), search="grid")
    tune(plan, tmp_path, quiet)
    with_test = {path.parent.name for path in (tmp_path / "runs").glob("*/predictions-test.jsonl")}
    with_validation = {path.parent.name for path in (tmp_path / "runs").glob("*/predictions-validation.jsonl")}
    assert with_test == {"head-1"}
    assert with_validation == {"head-1", "head-search-1", "head-search-2", "head-search-3"}
    assert not list((tmp_path / "runs").glob("head-search-*/checkpoints"))


def test_epochs_and_rates_are_searched_together_at_full_length(tmp_path, table, tiny):
    plan = make_plan(table, tiny(BERT), "mean-full", rates=(1e-3, 5e-3), epochs=(2, 3), search="grid")
    tune(plan, tmp_path, quiet)
    arm = arms_of(tmp_path)["mean-full"]
    tried = [(one["learning_rate"], one["epochs"], one["steps"]) for one in arm["search"]]
    assert tried == [(1e-3, 2, 6), (5e-3, 2, 6), (1e-3, 3, 9), (5e-3, 3, 9)]
    best = min(arm["search"], key=lambda one: one["refined_loss"])
    assert [one for one in arm["search"] if one["chosen"]] == [best]
    assert (arm["learning_rate"], arm["epochs"]) == (best["learning_rate"], best["epochs"])


def test_optuna_and_no_search(tmp_path, table, tiny, made):
    tune(make_plan(table, tiny(BERT), "head", search="optuna", trials=3), tmp_path / "a", quiet)
    assert arms_of(tmp_path / "a")["head"]["search"][0]["learning_rate"] == 5e-3
    assert made == ["head-search-1", "head-search-2", "head-search-3", "head-1"]
    tune(make_plan(table, tiny(BERT), "head", search="none"), tmp_path / "b", quiet)
    assert made[4:] == ["head-1"]
    assert arms_of(tmp_path / "b")["head"]["learning_rate"] == 5e-3


def test_the_same_again_makes_nothing(tmp_path, table, tiny, made):
    plan = make_plan(table, tiny(BERT), "head", rates=(1e-3, 5e-3), search="grid", sizes=(10,))
    tune(plan, tmp_path, quiet)
    before = read_tune(tmp_path)
    made.clear()
    assert tune(plan, tmp_path, quiet)
    assert made == []
    assert read_tune(tmp_path) == before


def test_methods_seeds_and_sizes_are_added(tmp_path, table, tiny, made):
    tune(make_plan(table, tiny(BERT), "head"), tmp_path, quiet)
    tune(make_plan(table, tiny(BERT), "head", seeds=(1, 2)), tmp_path, quiet)
    tune(make_plan(table, tiny(BERT), "head", sizes=(10,)), tmp_path, quiet)
    assert seeds_of(arms_of(tmp_path)["head"]) == [1, 2]  # although one seed was asked for now
    tune(make_plan(table, tiny(BERT), "mean-full", seeds=(1, 2), sizes=(10,)), tmp_path, quiet)
    assert [size["arm"] for size in read_tune(tmp_path)["sizes"]] == ["head", "mean-full"]
    tune(make_plan(table, tiny(BERT), "head", "mean-full", seeds=(1, 2), sizes=(10, 20)), tmp_path, quiet)
    assert made == [
        "head-1", "head-2", "head-of-10", "mean-full-1", "mean-full-2", "mean-full-of-10", "head-of-20",
        "mean-full-of-20",
    ]  # fmt: skip
    record = read_tune(tmp_path)
    assert {name: seeds_of(arm) for name, arm in arms_of(tmp_path).items()} == {"head": [1, 2], "mean-full": [1, 2]}
    points = {(size["arm"], size["examples"]) for size in record["sizes"]}
    assert points == {("head", 10), ("head", 20), ("mean-full", 10), ("mean-full", 20)}
    assert len(record["sizes"]) == 4
    assert record["seeds"] == [1, 2]


def test_an_encoder_is_added_and_nothing_is_made_again(tmp_path, table, tiny, made):
    places = (str(tiny(BERT)), str(tiny(ROBERTA)))
    tune(make_plan(table, places[0], "head"), tmp_path, quiet)
    tune(make_plan(table, places[0], "head", encoders=places), tmp_path, quiet)
    assert made == ["head-1", f"{ROBERTA}-head-1"]
    arms = arms_of(tmp_path)
    assert set(arms) == {f"{BERT} / head", f"{ROBERTA} / head"}
    assert arms[f"{BERT} / head"]["runs"][0]["folder"] == "runs/head-1"
    assert set(read_tune(tmp_path)["encoders"]) == set(places)
    tune(make_plan(table, places[1], "mean-full"), tmp_path, quiet)
    assert made[2:] == [f"{ROBERTA}-mean-full-1"]
    assert len(arms_of(tmp_path)) == 3


def test_two_encoders_of_one_name(tmp_path, table):
    places = tuple(str(save_tiny(BERT, tmp_path / side)) for side in "ab")
    with pytest.raises(ConfigError, match=f"--encoders: two are called '{BERT}'"):
        tune(make_plan(table, places[0], "head", encoders=places), tmp_path / "out", quiet)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"sections": {"encoder": {"max_length": 12}}}, "encoder.max_length 16, not 12"),
        ({"sections": {"train": {"weight_decay": 0.5}}}, "train.weight_decay 0.01, not 0.5"),
        ({"sections": {"class_weights": "balanced"}}, "class_weights none, not balanced"),
        ({"epochs": (2,)}, r"epochs \[1\], not \[2\]"),
        ({"sections": {"data": {"test_fraction": 0.3}}}, r"other texts or splits \(films\)"),
    ],
)
def test_other_texts_and_settings_are_not_mixed(tmp_path, table, tiny, made, change, what):
    tune(make_plan(table, tiny(BERT), "head"), tmp_path, quiet)
    before = (tmp_path / "tune.json").read_bytes()
    with pytest.raises(CheckpointError, match=f"{what}: choose another --out, or --overwrite"):
        tune(make_plan(table, tiny(BERT), "head", **change), tmp_path, quiet)
    assert made == ["head-1"]
    assert (tmp_path / "tune.json").read_bytes() == before
    tune(make_plan(table, tiny(BERT), "head", **change), tmp_path, quiet, overwrite=True)
    assert made == ["head-1", "head-1"]


def test_another_rate_is_another_run(tmp_path, table, tiny, made):
    """A curve of texts and the seeds of another rate are not held against it."""
    tune(make_plan(table, tiny(BERT), "head", rates=(1e-3,), seeds=(1, 2), sizes=(10,)), tmp_path, quiet)
    tune(make_plan(table, tiny(BERT), "head", rates=(5e-3,)), tmp_path, quiet)
    assert made == ["head-1", "head-2", "head-of-10", "head-1"]
    record = read_tune(tmp_path)
    assert seeds_of(record["arms"][0]) == [1]
    assert record["sizes"] == []


def test_another_encoder_under_the_same_name_is_trained_anew(tmp_path, table, made):
    place = save_tiny(BERT, tmp_path)
    tune(make_plan(table, place, "head"), tmp_path / "out", quiet)
    save_tiny(BERT, tmp_path, seed=3)
    tune(make_plan(table, place, "head"), tmp_path / "out", quiet)
    assert made == ["head-1", "head-1"]


LONG = {"method": {"tokens": 10_000}}
"""More trained tokens than an encoder has positions."""


def test_an_arm_that_fails_does_not_stop_the_others(tmp_path, table, tiny):
    said = []
    assert tune(make_plan(table, tiny(BERT), "prefix", "head", sections=LONG, sizes=(10,)), tmp_path, said.append)
    arms = arms_of(tmp_path)
    assert arms["head"]["status"] == "done"
    assert arms["prefix"]["status"] == "failed"
    assert arms["prefix"]["reason"].startswith("method.tokens: 10000 trained tokens and texts of 16 need")
    assert any(line.startswith("prefix: failed: method.tokens") for line in said)
    assert {size["arm"] for size in read_tune(tmp_path)["sizes"]} == {"head"}


def test_no_arm_at_all_is_an_error(tmp_path, table, tiny):
    with pytest.raises(HeedError, match=r"no method could be tuned; method.tokens: 10000 trained tokens and texts of"):
        tune(make_plan(table, tiny(BERT), "prefix", "prompt", sections=LONG), tmp_path, quiet)
    assert [arm["status"] for arm in read_tune(tmp_path)["arms"]] == ["failed", "failed"]


def test_a_target_that_matches_nothing_is_told_before_anything_is_trained(tmp_path, table, tiny):
    plan = make_plan(table, tiny(BERT), "head", "lora", sections={"method": {"targets": ("nothing",)}})
    with pytest.raises(ConfigError, match=r"method.targets: .nothing. matches no linear map of the encoder; there are"):
        tune(plan, tmp_path / "out", quiet)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
        HeedError("out of memory at step 1: take a smaller train.batch_size"),
    ],
)
def test_what_does_not_fit_is_a_result(tmp_path, table, tiny, monkeypatch, error):
    original = module.train_run

    def small(config, *arguments, **options):
        if config.method.name == "mean-full":
            raise error
        return original(config, *arguments, **options)

    monkeypatch.setattr(module, "train_run", small)
    assert tune(make_plan(table, tiny(BERT), "mean-full", "head"), tmp_path, quiet)
    arms = arms_of(tmp_path)
    assert arms["mean-full"]["status"] == "does not fit"
    assert arms["mean-full"]["reason"].startswith("out of memory")
    assert arms["head"]["status"] == "done"


def test_a_mistake_of_ours_is_not_hidden(tmp_path, table, tiny, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(module, "train_run", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        tune(make_plan(table, tiny(BERT), "head"), tmp_path, quiet)


def test_a_rate_that_breaks_down_is_not_chosen(tmp_path, table, tiny):
    """Logits beyond float32 after a step or two: that try has no figures, the others go on."""
    said = []
    sections = {"train": {"clip": None, "optimizer": "sgd", "weight_decay": 0.0}}
    plan = make_plan(
        table, tiny(BERT), "mean-full", rates=(1e36, 1e-2), epochs=(1, 2), search="grid", sections=sections
    )
    tune(plan, tmp_path, said.append)
    arm = arms_of(tmp_path)["mean-full"]
    broken = [one["accuracy"] is None for one in arm["search"] if one["learning_rate"] == 1e36]
    assert broken == [True, True]
    assert arm["learning_rate"] == 1e-2
    assert any("NaN or infinite" in line for line in said)
    assert read_tuning(tmp_path).arms[0].search[0].accuracy is None


def test_sizes_are_checked_before_anything_is_trained(tmp_path, table, tiny, made):
    with pytest.raises(DataError, match="1,000 examples are asked for of a split that has 24"):
        tune(make_plan(table, tiny(BERT), "head", sizes=(10, 1000)), tmp_path, quiet)
    assert made == []


def test_without_a_test_split(tmp_path, table, tiny):
    plan = make_plan(table, tiny(BERT), "head", sizes=(10,), sections={"data": {"test": "none"}})
    tune(plan, tmp_path, quiet)
    record = read_tune(tmp_path)
    assert record["arms"][0]["runs"][0]["test"] is None
    assert record["sizes"][0]["test"] is None
    assert set(record["data"]["splits"]) == {"train", "validation"}


def at_batch(monkeypatch, count, number):
    """Send this process a signal when it asks for its so-manieth batch."""
    asked, original = [0], TextBatches.__next__

    def counting(self):
        asked[0] += 1
        if asked[0] == count:
            os.kill(os.getpid(), number)
        return original(self)

    monkeypatch.setattr(TextBatches, "__next__", counting)


@pytest.fixture(scope="module")
def undisturbed(table, tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    tune(long_plan(table, tiny), folder, quiet)
    return timeless(read_tune(folder))


def long_plan(table, tiny):
    """A plan of 2 tries of 3 steps, then 2 runs of 9 steps of 3 an epoch."""
    return make_plan(table, tiny(BERT), "mean-full", rates=(1e-3, 5e-3), epochs=(3,), search="grid", seeds=(1, 2))


@pytest.mark.parametrize(  # in the first try, the second, the first run, the second
    "count", [pytest.param(2, marks=pytest.mark.slow), 5, 11, pytest.param(23, marks=pytest.mark.slow)]
)
def test_ctrl_c_and_the_same_command_again(tmp_path, table, tiny, undisturbed, monkeypatch, count):
    with monkeypatch.context() as patch:
        at_batch(patch, count, signal.SIGINT)
        assert not tune(long_plan(table, tiny), tmp_path, quiet)
    record = read_tune(tmp_path)
    assert record["arms"][0]["status"] == "running"
    assert len(record["arms"][0]["search"]) == (count > 3) + (count > 6)
    assert read_tuning(tmp_path).unfinished == ["mean-full"]
    assert tune(long_plan(table, tiny), tmp_path, quiet)
    assert timeless(read_tune(tmp_path)) == undisturbed


def tune_until_killed(arms, folder, batch):
    at_batch(pytest.MonkeyPatch(), batch, signal.SIGKILL)
    tune(arms, folder, quiet)


@pytest.mark.slow  # in the search, in the first run, in the second
@pytest.mark.parametrize("count", [2, 13, 23])
def test_killed_and_the_same_command_again(tmp_path, table, tiny, undisturbed, count):
    assert exit_code_of(tune_until_killed, long_plan(table, tiny), tmp_path, count) == -signal.SIGKILL
    assert read_tune(tmp_path)["arms"][0]["status"] == "running"
    assert tune(long_plan(table, tiny), tmp_path, quiet)
    assert timeless(read_tune(tmp_path)) == undisturbed
    if count == 13:  # the first run went on after its second epoch
        lines = (tmp_path / "runs" / "mean-full-1" / "metrics.jsonl").read_text().splitlines()
        assert [event["step"] for event in map(json.loads, lines) if event["event"] == "resume"] == [6]
        events = read_metrics(tmp_path / "runs" / "mean-full-1" / "metrics.jsonl")
        assert [event.step for event in events if event.KIND == "evaluation"] == [3, 6, 9]


def test_a_result_does_not_outlive_its_run(tmp_path, table, tiny, made, monkeypatch):
    """Run A, B in its place, killed, then A again: what is in the folder is B's, so A is made anew."""
    one, other = (make_plan(table, tiny(BERT), "head", rates=(rate,)) for rate in (1e-3, 5e-3))
    tune(one, tmp_path, quiet)
    with monkeypatch.context() as patch:
        at_batch(patch, 5, signal.SIGINT)
        assert not tune(other, tmp_path, quiet)
    tune(one, tmp_path, quiet)
    assert made == ["head-1", "head-1", "head-1"]


def test_overwrite_deletes_nothing_foreign(tmp_path, table, tiny):
    tune(make_plan(table, tiny(BERT), "head"), tmp_path / "out", quiet)
    foreign = [tmp_path / "out" / "notes.txt", tmp_path / "out" / "runs" / "mine.txt"]
    foreign += [tmp_path / "out" / "runs" / "head-1" / "thoughts.md", tmp_path / "out" / "runs" / "other" / "file"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("keep me")
    tune(make_plan(table, tiny(BERT), "mean-full"), tmp_path / "out", quiet, overwrite=True)
    assert all(path.read_text() == "keep me" for path in foreign)
    assert not (tmp_path / "out" / "runs" / "head-1" / "checkpoints").exists()
    assert set(arms_of(tmp_path / "out")) == {"mean-full"}


def test_overwrite_refuses_a_folder_without_a_tune(tmp_path, table, tiny):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(CheckpointError, match=r"holds no tune \(no tune.json\): choose another --out, nothing was"):
        tune(make_plan(table, tiny(BERT), "head"), tmp_path, quiet, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_overwrite_keeps_everything_when_the_new_one_cannot_begin(tmp_path, table, tiny):
    tune(make_plan(table, tiny(BERT), "head"), tmp_path, quiet)
    with pytest.raises(HeedError):
        tune(make_plan(Path("no-such.csv"), tiny(BERT), "head"), tmp_path, quiet, overwrite=True)
    assert (tmp_path / "runs" / "head-1" / "result.json").is_file()
    assert read_tune(tmp_path)["arms"][0]["status"] == "done"


def test_a_damaged_record_is_named(tmp_path, table, tiny):
    (tmp_path / "tune.json").write_text('{"format": 1')
    with pytest.raises(CheckpointError, match=r"tune.json is damaged: choose another --out, or --overwrite"):
        tune(make_plan(table, tiny(BERT), "head"), tmp_path, quiet)


def test_a_setting_that_no_method_reads(tmp_path, table, tiny):
    with pytest.raises(ConfigError, match=r"method.rank: head does not read it: leave it out"):
        tune(make_plan(table, tiny(BERT), "head", sections={"method": {"rank": 4}}), tmp_path, quiet)


def test_how_parameters_are_counted():
    assert formula("head") == "head"
    assert formula("lora+bitfit") == (
        "rank x (inputs + outputs) for each adapted matrix + the lengths of all biases + head"
    )


# ---------------------------------------------------------------------- optimizers and batch sizes as arms


def test_optimizers_and_batch_sizes_are_arms_with_searches_of_their_own(tmp_path, table, tiny, made):
    axes = {"optimizers": ("adamw", "sgd"), "batch_sizes": (4, 12)}
    plan = make_plan(table, tiny(BERT), "head", search="grid", **axes)
    assert tune(plan, tmp_path, quiet)
    arms = arms_of(tmp_path)
    names = [f"head / {optimizer} / batch {size}" for optimizer in ("adamw", "sgd") for size in (4, 12)]
    assert list(arms) == names
    for name, arm in arms.items():
        optimizer, size = arm["optimizer"], arm["batch_size"]
        assert name == f"head / {optimizer} / batch {size}"
        tried = [one["learning_rate"] for one in arm["search"]]
        assert tried == list(own_rates("head", optimizer))
        assert arm["learning_rate"] == min(arm["search"], key=lambda one: one["refined_loss"])["learning_rate"]
        config = open_tuned(tmp_path / arm["runs"][0]["folder"]).config.train
        assert (config.optimizer, config.batch_size, config.learning_rate) == (optimizer, size, arm["learning_rate"])
        assert config.steps == 10 * 24 // size  # ten passes over 24 texts
    assert set(own_rates("head", "sgd")).isdisjoint(own_rates("head", "adamw"))
    assert len({run["folder"] for arm in arms.values() for run in arm["runs"]}) == 4
    made.clear()
    assert tune(plan, tmp_path, quiet)
    assert made == []
    read = read_tuning(tmp_path)
    assert [(arm.optimizer, arm.batch_size) for arm in read.arms] == [
        ("adamw", 4), ("adamw", 12), ("sgd", 4), ("sgd", 12)
    ]  # fmt: skip
    page = write_tuning(tmp_path).read_text()
    assert all(name in page for name in names)
    assert "at batch size 4, 12" in " ".join(page.split())


def test_every_optimizer_can_be_an_arm(tmp_path, table, tiny):
    optimizers = ("adamw", "adam", "sgd", "momentum", "adagrad", "muon")
    plan = make_plan(table, tiny(BERT), "lora", optimizers=optimizers, sections={"method": {"rank": 2}})
    tune(plan, tmp_path, quiet)
    assert {arm["optimizer"]: arm["status"] for arm in read_tune(tmp_path)["arms"]} == dict.fromkeys(optimizers, "done")


def test_a_tune_of_an_earlier_heed_goes_on(tmp_path, table, tiny, made):
    """Its tune.json says nothing of optimizers, and its settings lack what came later."""
    tune(make_plan(table, tiny(BERT), "head", "lora", seeds=(1, 2), sizes=(10,)), tmp_path, quiet)
    record = read_tune(tmp_path)
    for arm in record["arms"]:
        del arm["optimizer"], arm["batch_size"]
        for run in arm["runs"]:
            del run["train"]
            for point in run["curve"]:
                del point["train_accuracy"], point["train_measured_loss"]
    for name in ("label_smoothing", "least_gain", "eval_train_tokens"):
        del record["settings"]["train"][name]
    (tmp_path / "tune.json").write_text(json.dumps(record))
    (tmp_path / "hashes.json").unlink()
    assert read_tuning(tmp_path).arms[0].optimizer == ""
    assert "Training and validation accuracy" not in write_tuning(tmp_path).read_text()
    made.clear()
    plan = make_plan(table, tiny(BERT), "head", "lora", seeds=(1, 2), sizes=(10,), optimizers=("adamw", "adagrad"))
    assert tune(plan, tmp_path, quiet)
    assert made == [
        "head-adagrad-1", "head-adagrad-2", "lora-adagrad-1", "lora-adagrad-2", "head-adagrad-of-10",
        "lora-adagrad-of-10",
    ]  # fmt: skip
    arms = arms_of(tmp_path)
    assert list(arms) == ["head / adamw", "lora / adamw", "head / adagrad", "lora / adagrad"]
    assert arms["head / adamw"]["runs"][0]["folder"] == "runs/head-1"
    assert {size["arm"] for size in read_tune(tmp_path)["sizes"]} == set(arms)


def test_what_a_result_depends_on_is_hashed_as_ever():
    """The hash from before label smoothing was a setting: what was finished then is found again."""
    config = TuneConfig(
        data=TuneData(source="films.csv"), train=TrainConfig(**TUNING, steps=30),
        run=RunConfig(name="lora-1", folder="x", seed=2, threads=3), method=MethodConfig(name="lora", rank=4),
    )  # fmt: skip
    material = SimpleNamespace(
        splits=SimpleNamespace(fingerprint="f" * 16), encoded={"train": [0] * 24}, sha256="a" * 64
    )
    assert module._key(config, material) == "c1ec8905033f812f91954ad1a0cc504f1439e20d8a01cba6915c5ea70e4fd9a3"
    for section, change in (("train", {"label_smoothing": 0.1}), ("train", {"optimizer": "sgd"}), ("run", {"seed": 3})):
        assert module._key(changed(config, **{section: change}), material) != module._key(config, material)
    assert module._key(changed(config, run={"threads": 1}), material) == module._key(config, material)


def test_training_accuracy_by_epoch_and_at_the_end(tmp_path, table, tiny):
    """Of the texts that are measured, one by one, by the weights that were kept."""
    tune(make_plan(table, tiny(BERT), "mean-full", "head", epochs=(4,)), tmp_path, quiet)
    for arm in read_tune(tmp_path)["arms"]:
        (run,) = arm["runs"]
        assert all(0 <= point["train_accuracy"] <= 1 and point["train_measured_loss"] > 0 for point in run["curve"])
        assert run["train"]["examples"] == 8  # as many as validation has
        kept = next(point for point in run["curve"] if point["epoch"] == run["best_epoch"])
        assert kept["train_accuracy"] == run["train"]["accuracy"]
        assert kept["train_measured_loss"] == pytest.approx(run["train"]["loss"], rel=1e-6)
        tuned, encoder, opened, _ = load_tuned(tmp_path / run["folder"], "cpu")
        rows = open_labelled_splits(opened.config).rows["train"]
        drawn = sorted(np.random.default_rng(0x70617274).permutation(len(rows.texts))[:8])
        right = 0
        for number in drawn:
            one = encode(
                SplitRows([rows.texts[number]], None, rows.labels[[number]], [rows.places[number]]),
                encoder.tokenizer, LENGTH, encoder.pad_id,
            )  # fmt: skip
            with torch.no_grad():
                logits = tuned(torch.from_numpy(one.batch(np.arange(1)).source))
            right += int(logits.argmax()) == int(rows.labels[number])
        assert run["train"]["accuracy"] == right / 8
    page = write_tuning(tmp_path).read_text()
    assert "Training and validation accuracy of every arm by epoch" in page
    assert "mean-full: accuracy ends at training" in page


def test_label_smoothing_changes_what_is_learned_and_not_what_is_measured(tmp_path, table, tiny):
    for name, share in (("plain", 0.0), ("smooth", 0.3)):
        plan = make_plan(table, tiny(BERT), "mean-full", sections={"train": {"label_smoothing": share}})
        tune(plan, tmp_path / name, quiet)
    events = [read_metrics(tmp_path / name / "runs" / "mean-full-1" / "metrics.jsonl") for name in ("plain", "smooth")]
    first = [next(event.finite("loss") for event in some if event.KIND == "train") for some in events]
    assert first[0] == first[1]  # the same weights, texts and dropout: the value is the plain cross-entropy
    last = [[event.finite("loss") for event in some if event.KIND == "evaluation"][-1] for some in events]
    assert last[0] != last[1]
