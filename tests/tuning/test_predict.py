"""What a tuned run says of new texts: the same as of old ones, by name, and what it refuses."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from small import LENGTH, make_plan, read_tune, write_table
from tiny_encoders import save_tiny

from heed.config.tuning import TuneData
from heed.errors import CheckpointError, DataError
from heed.report.tuning_advice import advised, gaps_of
from heed.report.tuning_record import read_tuning
from heed.studies.tune import tune
from heed.tuning.predict import Predictor, choose_run, columns_of, read_texts

BERT = "bert-base-uncased"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, tiny):
    """A tune of two methods and two seeds, and the table that it learned from."""
    folder = tmp_path_factory.mktemp("tuned")
    table = write_table(folder / "films.csv", 40)
    tune(make_plan(table, tiny(BERT), "head", "mean-full", seeds=(1, 2)), folder / "out", lambda line: None)
    return folder / "out"


@pytest.fixture(scope="module")
def of_pairs(tmp_path_factory, tiny):
    """A tuned run on questions with passages."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = ["question,passage,label"]
    lines += [
        f"is it {word},it is {other} again {n},{int(n % 2)}" for n in range(20) for word, other in [("good", "bad")]
    ]
    (folder / "q.csv").write_text("\n".join(lines) + "\n")
    data = {"text": "question", "pair": "passage"}
    tune(make_plan(folder / "q.csv", tiny(BERT), "head", sections={"data": data}), folder / "out", lambda line: None)
    return folder / "out" / "runs" / "head-1"


def test_the_test_split_is_predicted_as_it_was(tuned):
    lines = (tuned / "runs" / "mean-full-2" / "predictions-test.jsonl").read_text(encoding="utf-8").splitlines()
    known = [json.loads(line) for line in lines]
    found = Predictor(tuned / "runs" / "mean-full-2", "cpu").predict([one["text"] for one in known])
    assert [one.predicted for one in found] == [one["predicted"] for one in known]
    for one, other in zip(found, known, strict=True):
        assert list(one.probabilities) == ["neg", "pos"]
        assert list(one.probabilities.values()) == pytest.approx(other["probabilities"], abs=1e-6)  # as rounded there
        assert one.probability == max(one.probabilities.values()) == one.probabilities[one.predicted]
        assert sum(one.probabilities.values()) == pytest.approx(1)


def test_a_text_alone_is_what_it_is_among_others(tuned):
    """Other padding, other sums: 1e-6 of a probability."""
    predictor = Predictor(tuned / "runs" / "head-1", "cpu")
    texts = ["a good film", "it was a very dull film and I never saw it again", "bad"]
    together = predictor.predict(texts)
    for text, one in zip(texts, together, strict=True):
        alone = predictor.predict([text])[0]
        assert alone.text == one.text == text
        assert alone.probability == pytest.approx(one.probability, abs=1e-6)
    assert [one.place for one in together] == ["text 1", "text 2", "text 3"]
    assert json.loads(json.dumps(together[0].as_dict()))["predicted"] in ("neg", "pos")


def test_too_long_texts_are_counted(tuned):
    predictor = Predictor(tuned / "runs" / "head-1", "cpu")
    whole, longer = " ".join(["good"] * (LENGTH - 2)), " ".join(["good"] * LENGTH)
    one, other = predictor.predict([whole, longer])
    assert predictor.cut == 1
    assert one.probability == pytest.approx(other.probability, abs=1e-6)
    predictor.predict([longer])
    assert predictor.cut == 2


@pytest.mark.parametrize("best", [0, 1])
def test_a_tune_gives_the_best_run_of_the_advised_arm(tmp_path, tuned, best):
    shutil.copytree(tuned, tmp_path / "out")
    record = read_tune(tuned)
    for arm in record["arms"]:
        for place, run in enumerate(arm["runs"]):
            run["validation"]["loss"] = 0.1 if place == best else 0.9
    (tmp_path / "out" / "tune.json").write_text(json.dumps(record))
    (tmp_path / "out" / "hashes.json").unlink()
    read = read_tuning(tmp_path / "out")
    arm = advised(read, gaps_of(read))
    assert arm is not None
    assert choose_run(tmp_path / "out") == tmp_path / "out" / "runs" / f"{arm.name}-{best + 1}"


def test_folders_that_hold_nothing(tmp_path, tuned):
    with pytest.raises(CheckpointError, match="holds no run and no tune: give a folder that heed tune wrote"):
        Predictor(tmp_path)
    with pytest.raises(CheckpointError, match="does not exist: give a folder that heed tune wrote"):
        Predictor(tmp_path / "nothing")
    record = read_tune(tuned)
    for arm in record["arms"]:
        arm |= {"runs": [], "status": "running"}
    (tmp_path / "tune.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="has no finished run yet: go on with"):
        Predictor(tmp_path)


def test_a_run_without_its_checkpoint(tmp_path, tuned):
    shutil.copytree(tuned / "runs" / "head-1", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        Predictor(tmp_path / "run")


def test_a_run_whose_encoder_changed(tmp_path):
    place = save_tiny(BERT, tmp_path)
    table = write_table(tmp_path / "films.csv", 40)
    tune(make_plan(table, place, "head"), tmp_path / "out", lambda line: None)
    save_tiny(BERT, tmp_path, seed=4)
    with pytest.raises(CheckpointError, match=r"was tuned from another .* than is here now .*: bring that one back"):
        Predictor(tmp_path / "out")


def test_empty_texts_and_pairs(tuned, of_pairs):
    single, paired = Predictor(tuned / "runs" / "head-1", "cpu"), Predictor(of_pairs, "cpu")
    for texts, pairs in ((["good", "  "], None),):
        with pytest.raises(DataError, match="text 2 is empty: leave it out"):
            single.predict(texts, pairs)
    with pytest.raises(DataError, match="was tuned on single texts: leave --pair out"):
        single.predict(["good"], ["bad"])
    with pytest.raises(DataError, match="was tuned on pairs of texts: give the second one with --pair"):
        paired.predict(["good"])
    with pytest.raises(DataError, match="there are 1 texts and 2 second ones"):
        paired.predict(["good"], ["bad", "dull"])
    with pytest.raises(DataError, match="text 1 is empty"):
        paired.predict(["good"], [" "])
    assert paired.predict(["good"], ["bad"])[0].pair == "bad"


def test_the_second_text_counts(of_pairs):
    one, other = Predictor(of_pairs, "cpu").predict(["is it good"] * 2, ["it is bad", "never again"])
    assert not np.isclose(one.probability, other.probability, rtol=0, atol=1e-6)


def test_texts_of_a_table(tmp_path):
    (tmp_path / "new.csv").write_text("id,review,more\n1,a good film,x\n2,bad,\n")
    found = list(read_texts(tmp_path / "new.csv", {"--text": "review"}))
    assert [one.text for one in found] == ["a good film", "bad"]
    assert [one.place.rsplit("/", 1)[-1] for one in found] == ["new.csv, line 2", "new.csv, line 3"]
    first, second = read_texts(tmp_path / "new.csv", {"--text": "review", "--pair": "more"})
    assert (first.pair, first.error) == ("x", None)
    assert str(second.error).endswith("line 3 has no text in 'more' (--pair)")
    with pytest.raises(DataError, match=r"'reviw'.*'review'"):
        list(read_texts(tmp_path / "new.csv", {"--text": "reviw"}))
    (tmp_path / "new.jsonl").write_text('{"text": 5}\n{"text": "\\ud800 good"}\n')
    mended: Counter[str] = Counter()
    first, second = read_texts(tmp_path / "new.jsonl", {"--text": "text"}, mended=mended)
    assert str(first.error).endswith("line 1 has no text in 'text' (--text) but 5")
    assert (second.text, second.error, mended.total()) == ("\ufffd good", None, 1)  # as where a run learns from it


def test_columns_of_a_run():
    assert columns_of(TuneData(source="a.csv", text="review")) == {"text": "review", "label": "label"}
    assert columns_of(TuneData(source="a.csv", text="1", pair="2", label="3")) == {
        "text": "1",
        "pair": "2",
        "label": "3",
    }
    assert columns_of(TuneData(source="boolq"))["pair"] == "passage"
    assert "pair" not in columns_of(TuneData(source="boolq", pair="none"))
