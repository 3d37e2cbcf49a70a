"""Token ids as a source: the same run as from the text that they were made of."""

import json

import numpy as np
import pytest

from heed.config import make_config
from heed.errors import ConfigError, DataError
from heed.experiment import resume, train
from heed.objectives import objective_of
from heed.text.id_corpus import id_tokens, open_ids
from heed.text.tokenizers import train_tokenizer

TEXTS = [f"the {animal} sat on the {place} and was {mood} .".lower() for animal in ("cat", "dog", "owl", "bee")
         for place in ("mat", "hat", "wall") for mood in ("glad", "sad")]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer("bpe", TEXTS, 270)


def write(path, rows, shift=0):
    sizes = [len(row) for row in rows]
    np.savez(path, tokens=np.concatenate(rows).astype(np.int64) + shift, sizes=sizes)
    return path


def rows_of(tokenizer, texts):
    return [np.append(tokenizer.encode_array(text), tokenizer.end_id) for text in texts]


def test_a_run_from_ids_is_the_run_from_their_text(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tok.json")
    losses, words = {}, {}
    for split, texts in (("train", TEXTS[:18]), ("valid", TEXTS[18:])):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        write(tmp_path / f"{split}.npz", rows_of(tokenizer, texts), shift=1)
    for form, more in (("jsonl", {}), ("npz", {"first_id": 1})):
        data = {"source": str(tmp_path / f"train.{form}"), "validation": str(tmp_path / f"valid.{form}"), **more}
        config = make_config({
            "data": data | {"layout": "padded"},
            "tokenizer": {"file": str(tmp_path / "tok.json")},
            "model": {"n_layers": 1, "n_heads": 1, "d_model": 8, "context": 16},
            "train": {"steps": 5, "batch_size": 4, "eval_every": 5},
            "run": {"folder": str(tmp_path / "runs"), "name": form, "device": "cpu"},
        })  # fmt: skip
        figures = train(config).figures["validation"]
        words[form] = figures.passport.words
        again = resume(tmp_path / "runs" / form, {"train": {"steps": 6}}).figures["validation"]
        losses[form] = figures["nats"], again["nats"]
    assert losses["jsonl"] == losses["npz"]
    assert words == {"jsonl": sum(len(text.split()) for text in TEXTS[18:]), "npz": 0}


def test_splits_are_held_out_by_document(tokenizer, tmp_path):
    rows = rows_of(tokenizer, TEXTS)
    path = write(tmp_path / "all.npz", rows)
    files = id_tokens(open_ids(path, validation_fraction=0.25, test_fraction=0.25), tokenizer)
    assert set(files) == {"train", "validation", "test"}
    found = [tuple(row) for file in files.values() for row in np.split(file.ids, file.ends[:-1].astype(int))]
    assert sorted(found) == sorted(tuple(row) for row in rows)
    again = open_ids(path, validation_fraction=0.25, test_fraction=0.25)
    assert again.fingerprint == files["train"].header["corpus_fingerprint"]
    rows[0][0] += 1
    assert open_ids(write(tmp_path / "other.npz", rows)).fingerprint != open_ids(path).fingerprint


def test_what_does_not_go_together_is_told(tokenizer, tmp_path):
    path = write(tmp_path / "a.npz", rows_of(tokenizer, TEXTS))
    (tmp_path / "b.txt").write_text("text")
    with pytest.raises(DataError, match=r"b\.txt is text, and .*a\.npz token ids"):
        open_ids(path, validation=tmp_path / "b.txt")
    with pytest.raises(DataError, match=r"holds the id 0, below data\.first_id 1"):
        open_ids(write(tmp_path / "zero.npz", [np.array([0, 1])]), first_id=1)
    with pytest.raises(DataError, match="single document"):
        open_ids(write(tmp_path / "one.npz", [np.array([0, 1])]))
    small = train_tokenizer("char", ["ab"], 10)
    with pytest.raises(DataError, match=r"the vocabulary ends at 1: .*data\.first_id 1"):
        id_tokens(open_ids(path), small)
    config = make_config(
        {"data": {"source": str(path), "label": "x", "encoding": "latin-1"}, "model": {"kind": "encoder"}}
    )
    with pytest.raises(ConfigError) as refusal:
        objective_of(config).open(config)
    assert [problem.split(":")[0] for problem in refusal.value.problems] == ["data.label", "data.encoding"]
    with pytest.raises(ConfigError, match=r"tokenizer\.file: a is token ids"):
        train(make_config({"data": {"source": str(path)}, "run": {"folder": str(tmp_path / "runs")}}))
    np.savez(tmp_path / "huge.npz", tokens=np.array([1 << 32]), sizes=np.array([1]))
    with pytest.raises(DataError, match=r"integers from 0 to 2\^32"):
        open_ids(tmp_path / "huge.npz")
