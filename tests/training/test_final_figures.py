"""The final figures are those of the best weights, and what was measured of them already is not measured again."""

import json

import pytest

from heed import experiment
from heed.config import make_config
from heed.experiment import resume, train
from heed.objectives import measure, open_text
from heed.training.run import load_run

TEXT = "the cat sees a dog and a dog hears the cat. no cat is a dog. " * 30


@pytest.fixture
def measured(monkeypatch):
    """The splits that were measured, in order."""
    found = []

    def counting(model, tokenizer, tokens, *args, **kwargs):
        found.append(tokens.header["split"])
        return measure(model, tokenizer, tokens, *args, **kwargs)

    monkeypatch.setattr(experiment, "measure", counting)
    return found


def config_of(tmp_path, **plan):
    source = tmp_path / "text.txt"
    source.write_text(TEXT)
    values = {"steps": 8, "batch_size": 2, "eval_every": 2, "learning_rate": 0.3, "schedule": "constant"} | plan
    return make_config(
        {
            "data": {"source": str(source), "test_fraction": 0.2},
            "tokenizer": {"kind": "char"},
            "model": {"n_layers": 1, "n_heads": 1, "d_model": 8, "context": 8},
            "train": values,
            "run": {"folder": str(tmp_path / "runs"), "name": "run", "device": "cpu", "threads": 1},
        }
    )


def again(folder):
    """The figures of both splits by the best checkpoint, measured from the start."""
    model, tokenizer, config = load_run(folder, "best")
    files = open_text(config, tokenizer)
    return {split: measure(model, tokenizer, files[split], config) for split in ("validation", "test")}


def equal(trained, others):
    written = json.loads((trained.folder / "evaluation.json").read_text())
    for split, figures in others.items():
        theirs = figures.as_dict()
        ours, passport = written[split], written[split]["passport"]
        assert passport == theirs["passport"]
        for name in ("loss", "token_perplexity", "word_perplexity", "bits_per_byte"):
            assert ours[name] == theirs[name], name


def test_the_best_of_the_evaluations_is_kept(tmp_path, measured):
    """At such a rate the best weights are not the last; with mean weights it is these that were measured."""
    trained = train(config_of(tmp_path))
    assert trained.fit.best_step < 8
    assert measured == ["validation"] * 4 + ["test"]
    equal(trained, again(trained.folder))


def test_mean_weights_are_those_that_were_measured(tmp_path, measured):
    trained = train(config_of(tmp_path, average_fraction=0.5))
    assert measured == ["validation"] * 4 + ["test"]
    equal(trained, again(trained.folder))


@pytest.mark.parametrize("limits", [{"eval_tokens": 40}, {"final_tokens": 40}, {"eval_tokens": 40, "final_tokens": 50}])
def test_a_part_of_the_split_is_not_the_whole(tmp_path, measured, limits):
    trained = train(config_of(tmp_path, **limits))
    assert measured == ["validation"] * 5 + ["test"]
    written = json.loads((trained.folder / "evaluation.json").read_text())["validation"]
    assert written["passport"]["partial"] == ("final_tokens" in limits)
    said = "Validation on the way: the first 40 tokens of the split, not the whole."
    assert (trained.report.read_text().count(said) > 0) == ("eval_tokens" in limits)


def test_as_many_tokens_are_the_same_tokens(tmp_path, measured):
    train(config_of(tmp_path, eval_tokens=40, final_tokens=40))
    assert measured == ["validation"] * 4 + ["test"]


def test_where_the_best_was_before_a_resumption_it_is_measured_again(tmp_path, measured):
    trained = train(config_of(tmp_path))
    best = trained.fit.best_step
    measured.clear()
    longer = resume(trained.folder, {"train": {"steps": 10, "learning_rate": 1.0}})
    assert longer.fit.best_step == best
    assert measured == ["validation", "validation", "test"]
    equal(longer, again(longer.folder))
