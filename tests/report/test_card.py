"""The card of an export: what the hub reads of it, its figures by another route, and nothing of the machine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from heed.report.card import front_matter, language_model_card, shown_name
from heed.report.passport import Passport
from heed.report.record import gather

OLD = Path(__file__).parents[1] / "golden" / "old-run"


@pytest.fixture
def record():
    return gather(OLD)


def test_the_hub_reads_it(record, tmp_path):
    (tmp_path / "README.md").write_text(language_model_card(record, 6, 6))
    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag, card.data.tags) == (
        "transformers", "text-generation", ["heed"],
    )  # fmt: skip
    assert (card.data.license, card.data.datasets, card.data.base_model) == (None, None, None)
    assert card.text.startswith("# old-run")


def test_figures_are_those_of_the_file(record):
    kept = json.loads((OLD / "evaluation.json").read_text())["validation"]
    card = language_model_card(record, 6, 6)
    for name, digits in (("loss", 4), ("token_perplexity", 2), ("bits_per_byte", 3)):
        assert f"{kept[name]:.{digits}f} (" in card
    assert Passport.from_dict(kept["passport"]).sentence() in card
    assert "Its tokenizer is char 20 cf347919, its corpus lines 647c9102." in card
    assert "It reads 48 tokens" in card


def test_of_other_weights_there_are_no_figures(record):
    card = language_model_card(record, 4, 6)
    assert "2.9410" not in card
    assert "those of the run are of its step 6, and these weights are of step 4." in card


def test_of_a_run_that_did_not_end_it_shows_the_best_so_far(record):
    before = {"validation": record.evaluation["validation"].but(loss=1.2345)}  # of an earlier end, before it went on
    card = language_model_card(replace(record, end=None, evaluation=before), record.best().step, record.best().step)
    assert "1.2345" not in card
    assert "**Unfinished.**" in card
    assert f"{record.best().loss:.4f} (nats per token)" in card


def test_a_leak_is_the_first_line(record):
    text = language_model_card(replace(record, leaks="token 3 moves <b>token 1</b>"), 6, 6)
    first = text.split("---\n")[2].splitlines()[0]
    assert first.startswith("**LEAKS.** The model sees the tokens it should predict")
    assert "<b>" not in first.replace(r"\<b\>", "")


def test_it_names_no_place(record):
    config = record.config | {
        "data": record.config["data"] | {"source": "/home/alice/secret/lines.txt"},
        "model": record.config["model"] | {"start_from": "/home/alice/runs/before"},
    }
    kept = record.evaluation["validation"]
    there = kept.but(passport=kept.passport | {"corpus": "/home/alice/secret 647c9102"})
    hidden = replace(record, config=config, evaluation={"validation": there})
    card = language_model_card(hidden, 6, 6)
    assert "alice" not in card
    assert "begun with before, trained on lines.txt" in card
    assert "of secret 647c9102:" in card


def test_what_was_only_imported_says_so(record):
    card = language_model_card(replace(record, train=(), evaluations=(), evaluation={}, end=None), 0, 0)
    assert card.split("---\n")[2].startswith("# old-run\n\nWeights that were read from elsewhere.")
    assert "neither trained nor measured" in card
    assert "trained on" not in card.partition("## Limits")[0]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("hf:roneneldan/TinyStories", ["roneneldan/TinyStories"]),
        ("hf:Salesforce/wikitext/wikitext-2-raw-v1", ["Salesforce/wikitext"]),
        ("hf:/home/alice/x", None), ("hf:imdb", None), ("books/", None), ("python-reference", None), (None, None),
    ],
)  # fmt: skip
def test_data_sets_of_the_hub_by_their_names(source, found):
    card = ModelCard(front_matter("text-generation", "transformers", dataset=source) + "# x\n")
    assert card.data.datasets == found


@pytest.mark.parametrize("source", ["/a/b/c", "a/b/c", "~/c", "../c", "a\\c", "hf:/a/c", "hf:../c", "/c/"])
def test_of_a_path_its_end(source):
    assert shown_name(source) == "c"
