"""What an encoder reads of texts: unknown tokens and texts that become one are counted, and said everywhere."""

import csv

import numpy as np
import pytest
from small import make_config, make_plan, read_tune, write_table

from heed.report.tuning_advice import gaps_of
from heed.report.tuning_findings import verdict
from heed.report.tuning_page import render
from heed.report.tuning_record import read_tuning
from heed.report.tuning_tables import tuning_lines
from heed.studies.tune import tune
from heed.targets.classes import ClassTarget
from heed.text.splits import SplitRows
from heed.tuning.encoders import load_encoder
from heed.tuning.reading import alike, describe_reading, reading_lines, unknown_token
from heed.tuning.texts import encode

COPTIC = "ⲁⲃⲅⲇⲉⲍⲏⲑⲓⲕⲗⲙⲛⲝⲟⲡⲣⲥⲧⲩ"


def read(tiny, name, texts, length=16):
    config = make_config("x.csv", tiny(name), encoder={"max_length": length})
    encoder = load_encoder(config.encoder, ClassTarget(("neg", "pos")), native=False)
    places = [f"row {i}" for i in range(len(texts))]
    rows = SplitRows(texts, None, np.zeros(len(texts), np.int64), places)
    encoded = encode(rows, encoder.tokenizer, length, encoder.pad_id)
    return encoded, encoder


def test_a_script_that_the_vocabulary_lacks(tiny):
    texts = [" ".join([letter] * 3) for letter in COPTIC]  # twenty texts of three words, all different
    encoded, encoder = read(tiny, "bert-base-uncased", texts)
    found = describe_reading(encoded, encoder, 0)
    assert found["unknown"] == 1.0
    assert found["alike"] == len(texts) - 1  # to the encoder they are one
    assert found["cut"] == 0


def test_unknown_tokens_are_counted_among_all_that_is_read(tiny):
    encoded, encoder = read(tiny, "bert-base-uncased", ["good film", f"good {COPTIC[0]}", "good film"])
    tokenizer = encoder.tokenizer
    ids = [tokenizer.encode(text, add_special_tokens=False) for text in ("good film", f"good {COPTIC[0]}", "good film")]
    unknown = sum(one.count(tokenizer.unk_token_id) for one in ids)
    assert unknown > 0
    found = describe_reading(encoded, encoder, 1)
    assert found["unknown"] == pytest.approx(unknown / sum(map(len, ids)))
    assert (found["alike"], found["duplicates"]) == (1, 1)


def test_texts_that_differ_behind_the_cut_are_one(tiny):
    encoded, encoder = read(tiny, "bert-base-uncased", [f"good good good good {end}" for end in ("film", "day")], 4)
    assert alike(encoded) == 1
    assert describe_reading(encoded, encoder, 0)["cut"] == 2


def test_a_tokenizer_that_spells_everything_knows_everything(tiny):
    encoded, encoder = read(tiny, "gpt2", [COPTIC, "good"])
    assert unknown_token(encoder.tokenizer)[0] is None
    assert describe_reading(encoded, encoder, 0)["unknown"] == 0


def test_lines_are_written_where_there_is_something_to_say():
    fine = {"cut": 0, "unknown": 0.0, "alike": 2, "duplicates": 2}
    assert reading_lines("minilm", {"train": fine}, 16) == []
    bad = {"cut": 3, "unknown": 0.5, "alike": 9, "duplicates": 2}
    assert reading_lines("minilm", {"train": fine, "test": bad}, 16) == [
        "note: longer than 16 tokens and cut: 3 of test",
        "note: tokens that minilm does not know: 0 % of train, 50 % of test",
        "note: texts that are the same as an earlier one to minilm: 9 of test",
    ]


def test_a_tune_of_texts_that_cannot_be_read_says_so_first(tmp_path, tiny):
    path = tmp_path / "coptic.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [(f"{a}{b} {b}{a}", "np"[(i + j) % 2]) for i, a in enumerate(COPTIC) for j, b in enumerate(COPTIC[:6])]
        csv.writer(file).writerows([("text", "label"), *rows])
    said = []
    assert tune(make_plan(path, tiny("bert-base-uncased"), "head"), tmp_path / "out", said.append)
    assert any("does not know: 100 % of train" in line for line in said)
    (facts,) = read_tune(tmp_path / "out")["encoders"].values()
    assert facts["read"]["train"]["unknown"] == 1.0
    record = read_tuning(tmp_path / "out")
    assert verdict(record, gaps_of(record)).startswith("No arm is shown to beat always saying the commonest class")
    lines = tuning_lines(tmp_path / "out")
    assert any("its vocabulary lacks this script or language" in line for line in lines)
    html = render(record)
    assert "Texts that the encoder cannot read" in html
    assert "more texts, epochs" not in html
    assert "unknown tokens" in html


def test_what_is_read_well_is_counted_too(tmp_path, tiny):
    table = write_table(tmp_path / "films.csv", 40)
    assert tune(make_plan(table, tiny("bert-base-uncased"), "head"), tmp_path / "out", lambda line: None)
    (facts,) = read_tune(tmp_path / "out")["encoders"].values()
    assert set(facts["read"]) == {"train", "validation", "test"}
    assert read_tune(tmp_path / "out")["arms"][0]["steps"] == 30  # ten passes of three steps
