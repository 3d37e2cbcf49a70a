"""A tuned run in other people's tools: transformers, peft and ONNX say what heed says."""

import warnings

import numpy as np
import pytest
import torch
import transformers
from small import LENGTH, labelled, make_plan, write_table

from heed.errors import CheckpointError, ConfigError, HeedError
from heed.tuning.export import export_adapter, export_onnx, export_transformers
from heed.tuning.predict import Predictor
from heed.tuning.run import load_tuned
from heed.tuning.texts import encode
from heed.tuning.tune import tune

TEXTS = [text for text, _ in labelled(9, seed=7)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny):
    """`runs(method, encoder, pooling)` gives the folder of a tuned run, trained so fast that its adapter counts."""
    folder = tmp_path_factory.mktemp("runs")
    table = write_table(folder / "films.csv", 40, classes=("blame it", "praise"))

    def make(method, encoder="bert-base-uncased", pooling="auto"):
        out = folder / f"{encoder}-{method}-{pooling}"
        if not out.exists():
            sections = {"encoder": {"pooling": pooling}, "method": {"name": method}}
            sections["method"] |= {"rank": 2} if method in ("lora", "dora") else {}
            sections["method"] |= {"tokens": 4} if method in ("prompt", "prefix") else {}
            plan = make_plan(table, tiny(encoder), method, rates=(3e-2,), epochs=(3,), sections=sections)
            tune(plan, out, lambda line: None)
        return out / "runs" / f"{method}-1"

    return make


NATIVE = [("full", "auto"), ("lora", "native"), ("dora", "native"), ("ia3", "native"), ("bitfit", "native")]


@pytest.mark.parametrize(
    ("method", "pooling", "encoder"),
    [(*one, "bert-base-uncased") for one in NATIVE]
    + [("full", "auto", "roberta-base"), ("full", "auto", "gpt2"), ("lora", "native", "gpt2")],
)
def test_a_pipeline_says_the_same(tmp_path, runs, method, pooling, encoder):
    run = runs(method, encoder, pooling)
    wanted = Predictor(run, "cpu").predict(TEXTS)
    out = export_transformers(run, tmp_path / "out")
    pipeline = transformers.pipeline("text-classification", model=str(out), device="cpu", top_k=None)
    for text, one, found in zip(TEXTS, wanted, pipeline(TEXTS), strict=True):
        chances = {each["label"]: each["score"] for each in found}
        assert chances == pytest.approx(dict(one.probabilities), abs=1e-5), text
    assert set(chances) == {"blame it", "praise"}
    assert pipeline.tokenizer.model_max_length == LENGTH
    assert not list(out.glob("*.bin"))


def test_the_adapter_is_in_the_weights(tmp_path, runs):
    """Merged: no name of peft is left, and the matrices are not those of the encoder any more."""
    run = runs("lora", pooling="native")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(export_transformers(run, tmp_path / "out"))
    tuned, _, _, _ = load_tuned(run, "cpu")
    assert not any("lora" in name for name in model.state_dict())
    before = tuned.backbone.get_base_model().bert.encoder.layer[0].attention.self.query.base_layer.weight
    after = model.bert.encoder.layer[0].attention.self.query.weight
    assert float((before - after).detach().abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("method", "ways"),
    [
        ("lora", "export --to peft or export --to onnx or tune with --encoder.pooling native"),
        ("mean-full", "export --to onnx or tune with --encoder.pooling native"),
        ("head", "export --to onnx"),
        ("prefix", "export --to peft"),
    ],
)
def test_a_mean_of_the_tokens_is_no_model_of_transformers(tmp_path, runs, method, ways):
    """Only what works for the method is advised."""
    with pytest.raises(ConfigError, match=f"linear head on the mean of the tokens, .* has: {ways}$"):
        export_transformers(runs(method), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_trained_tokens_cannot_be_merged(tmp_path, runs):
    with pytest.raises(ConfigError, match="cannot be merged into the encoder"):
        export_transformers(runs("prefix", pooling="native"), tmp_path / "out")


@pytest.mark.parametrize("method", ["lora", "prefix"])
def test_peft_reads_the_adapter(tmp_path, runs, method):
    import peft

    run = runs(method, pooling="native")
    out = export_adapter(run, tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's and transformers' own
        model = peft.AutoPeftModelForSequenceClassification.from_pretrained(str(out)).eval()
    tuned, encoder, _, _ = load_tuned(run, "cpu")
    inputs = encoder.tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        found = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        ids = inputs["input_ids"]
        wanted = tuned(torch.stack([ids, torch.ones_like(ids)], dim=1))
    assert torch.allclose(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", ["full", "head"])
def test_a_method_without_an_adapter(tmp_path, runs, method):
    with pytest.raises(ConfigError, match="this method has no adapter"):
        export_adapter(runs(method), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "pooling", "encoder"),
    [
        ("mean-full", "auto", "bert-base-uncased"),
        ("lora", "auto", "bert-base-uncased"),
        ("lora", "native", "bert-base-uncased"),
        ("full", "auto", "bert-base-uncased"),
        ("mean-full", "auto", "roberta-base"),
        ("full", "auto", "distilbert-base-uncased"),
        ("mean-full", "auto", "gpt2"),
    ],
)
def test_onnx_gives_the_same_logits_at_other_sizes(tmp_path, runs, method, pooling, encoder):
    import onnxruntime

    run = runs(method, encoder, pooling)
    out = export_onnx(run, tmp_path / "out")
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    tuned, loaded, _, _ = load_tuned(run, "cpu")
    for count, length in ((1, 3), (5, 9), (9, LENGTH)):
        rows = rows_of(TEXTS[:count])
        batch = encode(rows, loaded.tokenizer, length, loaded.pad_id).batch(np.arange(count))
        ids, parts = batch.source[:, 0], batch.source[:, 1]
        given = {"input_ids": ids, "attention_mask": (parts > 0).astype(np.int64)}
        given["token_type_ids"] = np.maximum(parts - 1, 0)
        (logits,) = session.run(None, {name: given[name] for name in names})
        with torch.no_grad():
            wanted = tuned(torch.from_numpy(batch.source)).numpy()
        assert logits.shape == (count, 2)
        assert np.allclose(logits, wanted, rtol=0, atol=1e-4), (count, length)
    assert (out / "labels.json").is_file()
    assert (out / "tokenizer.json").is_file()


@pytest.mark.slow
def test_a_graph_for_one_number_of_texts_is_refused(tmp_path, runs):
    with pytest.raises(ConfigError, match=r"--to onnx: the graph of method prompt would be for texts of one number"):
        export_onnx(runs("prompt"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def rows_of(texts):
    from heed.text.splits import Rows

    return Rows(list(texts), None, np.zeros(len(texts), np.int64), ["here"] * len(texts))


def test_onnx_that_is_not_installed(tmp_path, runs, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(HeedError, match=r"needs the package 'onnx'.*pip install 'heed-lm\[onnx\]'"):
        export_onnx(runs("head"), tmp_path / "out")


@pytest.mark.parametrize("export", [export_transformers, export_adapter])
def test_a_place_that_cannot_be_written(tmp_path, runs, export):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CheckpointError, match="cannot be written: Not a directory"):
        export(runs("lora", pooling="native"), tmp_path / "file" / "out")
