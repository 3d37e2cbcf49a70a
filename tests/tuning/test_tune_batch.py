"""The largest batch that fits: one for all arms, kept by a tune that goes on."""

import numpy as np
import pytest
from small import make_config, make_plan, read_tune, write_table

from heed.errors import ConfigError
from heed.studies import largest_batch as batch_size
from heed.studies.tune import tune
from heed.studies.tune_plan import open_labelled_splits
from heed.training.autobatch import BatchSearch
from heed.tuning.model import Tuned

BERT = "bert-base-uncased"
AUTO = {"train": {"batch_size": "auto"}}


def quiet(line):
    """Say nothing."""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("texts") / "films.csv", 80)


@pytest.fixture
def largest(monkeypatch):
    """Pretended largest batches by method; what is asked for is noted."""
    sizes, asked = {"head": 12, "mean-full": 5, "lora": 7}, []

    def find(config, material):
        asked.append(config.method.name)
        if config.method.targets:
            raise ConfigError("no module is called so")
        return BatchSearch(sizes[config.method.name], (1,), "said")

    monkeypatch.setattr(batch_size, "find_batch", find)
    return asked


def test_the_arm_that_needs_most_decides(tmp_path, table, tiny, largest):
    said = []
    assert tune(make_plan(table, tiny(BERT), "head", "mean-full", sections=AUTO), tmp_path, said.append)
    record = read_tune(tmp_path)
    assert record["batch_size"] == record["settings"]["train"]["batch_size"] == 5
    assert record["largest_batches"] == {"head": 12, "mean-full": 5}
    assert record["steps"] == 10  # 48 texts, 5 at a time
    assert "batch size 5 for every arm" in said


def test_a_tune_that_goes_on_keeps_its_batch(tmp_path, table, tiny, largest):
    for methods in (("lora",), ("lora", "mean-full")):
        assert tune(make_plan(table, tiny(BERT), *methods, sections=AUTO), tmp_path, quiet)
    assert largest == ["lora"]
    number = {"train": {"batch_size": 7}}
    for sections in (number, AUTO):  # the same number, given, does not make it forget
        assert tune(make_plan(table, tiny(BERT), "lora", sections=sections), tmp_path, quiet)
    assert largest == ["lora"]
    assert read_tune(tmp_path)["batch_size"] == 7
    assert read_tune(tmp_path)["largest_batches"] == {"lora": 7}


def test_an_arm_that_cannot_be_tuned_has_no_say(tmp_path, table, tiny, largest):
    broken = AUTO | {"method": {"targets": ("nothing",)}}
    with pytest.raises(ConfigError, match="no module is called so"):
        tune(make_plan(table, tiny(BERT), "lora", sections=broken), tmp_path, quiet)


@pytest.mark.parametrize("method", ["head", "mean-full"])
def test_it_is_tried_on_the_longest_texts(table, tiny, monkeypatch, method):
    config = make_config(table, tiny(BERT), method={"name": method}, **AUTO)
    splits = open_labelled_splits(config)
    encoder = batch_size.load_encoder(config.encoder, splits.target, native=False)
    material = batch_size.Material.of(splits, encoder, config.encoder.max_length)
    seen = []
    original = Tuned.loss
    monkeypatch.setattr(Tuned, "loss", lambda self, source, *rest: seen.append(source) or original(self, source, *rest))
    assert batch_size.find_batch(config, material).size == 3  # a sixteenth of 48 texts
    longest = int(np.max(material.encoded["train"].lengths))
    assert [tuple(source.shape) for source in seen[-1:]] == [(3, 16) if method == "head" else (3, 2, longest)]
    assert all(source.is_floating_point() == (method == "head") for source in seen)


def test_not_even_one_text(table, tiny, monkeypatch):
    config = make_config(table, tiny(BERT), method={"name": "lora"}, **AUTO)
    splits = open_labelled_splits(config)
    encoder = batch_size.load_encoder(config.encoder, splits.target, native=False)
    material = batch_size.Material.of(splits, encoder, config.encoder.max_length)
    monkeypatch.setattr("heed.training.autobatch.available_memory", lambda device: 0)
    with pytest.raises(ConfigError, match="not even one text fits into memory with lora; take a smaller --max-length"):
        batch_size.find_batch(config, material)
