"""A tuned run in other people's tools: transformers, peft and ONNX say what heed says."""

import csv
import json
import re
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from small import LENGTH, labelled, make_plan, write_table
from tiny_encoders import SHALLOW

import heed
from forked import forked
from heed.errors import CheckpointError, ConfigError, HeedError
from heed.studies.tune import tune
from heed.tuning.export import export_adapter, export_onnx, export_transformers
from heed.tuning.mean_heads import HEADS
from heed.tuning.predict import Predictor
from heed.tuning.texts import encode
from heed.tuning.tuned_run import load_tuned

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
    assert json.loads((out / "tokenizer.json").read_text())["truncation"]["max_length"] == LENGTH
    assert not list(out.glob("*.bin"))


@pytest.mark.parametrize(
    ("method", "pooling", "export", "library"),
    [("lora", "native", export_transformers, "transformers"), ("lora", "auto", export_adapter, "peft"),
     ("head", "auto", export_onnx, None)],
)  # fmt: skip
def test_a_card_for_the_hub(tmp_path, runs, method, pooling, export, library):
    run = runs(method, SHALLOW, pooling)
    out = export(run, tmp_path / "out")
    card = ModelCard.load(out / "README.md")
    assert (card.data.pipeline_tag, card.data.library_name) == ("text-classification", library)
    assert (card.data.base_model, card.data.datasets, card.data.license) == (None, None, None)  # folders, not names
    assert card.text.startswith(f"# {method}-1\n")
    for folder in {run.parent, run.parents[1], *run.parents[:3]}:
        assert str(folder) not in card.content
    if library != "peft":  # which must find its encoder
        places = [str(Path(heed.__file__).parent), str(run.parents[2]), "/site-packages/"]
        for file in out.glob("[!.]*"):
            assert not [place for place in places if place.encode() in file.read_bytes()], file
    for split in ("validation", "test"):
        rows = [json.loads(line) for line in (run / f"predictions-{split}.jsonl").read_text().splitlines()]
        right = sum(row["label"] == row["predicted"] for row in rows)
        assert f"**{split}**, {len(rows)} texts: accuracy {100 * right / len(rows):.1f} %" in card.text
        most = max(Counter(row["label"] for row in rows).values())
        assert f"always the commonest class {100 * most / len(rows):.1f} %" in card.text.partition(f"**{split}**")[2]


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
    with pytest.raises(ConfigError, match=f"linear head on the mean of the tokens, .* has for bert: {ways}$"):
        export_transformers(runs(method), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("method", "encoder"),
    [("head", "eurobert"), ("head", "ultrabert"), ("lora", "eurobert"), ("mean-full", "ultrabert")],
)
def test_the_advised_method_cannot_be_deployed(tmp_path, runs, method, encoder):
    """A linear head on the mean is the architecture's own where it can be; padding and the order of classes count."""
    run = runs(method, encoder)
    wanted = Predictor(run, "cpu").predict(TEXTS)
    out = export_transformers(run, tmp_path / "out")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(out).eval()
    tuned, pretrained, _, _ = load_tuned(run, "cpu")
    assert tuned.head is not None
    inputs = pretrained.tokenizer(TEXTS, return_tensors="pt", padding=True, truncation=True, max_length=LENGTH)
    real, ids = inputs["attention_mask"], inputs["input_ids"]
    with torch.no_grad():
        ours, theirs = tuned(torch.stack([ids, real], dim=1)), model(input_ids=ids, attention_mask=real).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    pipeline = transformers.pipeline("text-classification", model=str(out), device="cpu", top_k=None)
    for text, one, found in zip(TEXTS, wanted, pipeline(TEXTS, batch_size=4), strict=True):
        chances = {each["label"]: each["score"] for each in found}
        assert chances == pytest.approx(dict(one.probabilities), abs=1e-5), text


def test_a_head_that_says_otherwise_is_never_written(tmp_path, runs, monkeypatch):
    run = runs("head", "eurobert")
    monkeypatch.setitem(HEADS, "eurobert", (1, lambda model, weight, bias: None))
    with pytest.raises(ConfigError, match="says other logits in this version of transformers"):
        export_transformers(run, tmp_path / "out")
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
    from heed.text.splits import SplitRows

    return SplitRows(list(texts), None, np.zeros(len(texts), np.int64), ["here"] * len(texts))


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


LONG = [*TEXTS, "good " * 40, "not " * 40 + "bad", "the film is dull " * 3 + "and good " * 9, "bad"]
"""Texts of which some are longer than the run reads, and end in other words than they begin with."""
SECONDS = ["it is bad " * 9 + "good", "good", "the film " * 7, "never again"]
READ = {
    '["a fine film"]': "TEXTS",
    '[{"text": "is it blue", "text_pair": "The sky is blue."}]': "[dict(text=a, text_pair=b) for a, b in PAIRS]",
    '[("is it blue", "The sky is blue.")]': "PAIRS",
    '["is it blue"], ["The sky is blue."]': "[a for a, b in PAIRS], [b for a, b in PAIRS]",
    "print(": "FOUND = (",
}
"""What stands in the lines of README.md, and what is read in its place here."""


def classified(out, texts, pairs):
    """Run the lines of a folder's README.md on other texts, where the folder lies; return what they say."""
    code = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)[1]
    for there, here in READ.items():
        code = code.replace(there, here)
    given = json.dumps([texts, None if pairs is None else list(zip(texts, pairs, strict=True))])
    code = f"import json, warnings\nwarnings.simplefilter('ignore')\nTEXTS, PAIRS = json.loads({given!r})\n" + code
    code += "\njson.dump(FOUND, open('found.json', 'w'))\n"
    work = lambda: exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    done = subprocess.run(sys.executable, capture_output=True, text=True, **forked(work, cwd=out))
    assert done.returncode == 0, done.stderr
    return json.loads((out / "found.json").read_text())


@pytest.fixture(scope="module")
def of_pairs(tmp_path_factory, tiny):
    """`of_pairs(method, pooling)` gives a run on pairs of texts."""
    folder = tmp_path_factory.mktemp("pairs")
    texts = labelled(40, classes=("no", "yes"))
    rows = [("question", "passage", "label"), *((f"is it {text[:9]}", text, label) for text, label in texts)]
    with (folder / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)

    def make(method, pooling):
        out = folder / f"{method}-{pooling}"
        sections = {"encoder": {"pooling": pooling}, "data": {"text": "question", "pair": "passage"}}
        sections["method"] = {"name": method} | ({"rank": 2} if method == "lora" else {})
        plan = make_plan(folder / "pairs.csv", tiny("bert-base-uncased"), method, rates=(3e-2,), sections=sections)
        tune(plan, out, lambda line: None)
        return out / "runs" / f"{method}-1"

    return make


EXPORTS = {"hf": export_transformers, "peft": export_adapter, "onnx": export_onnx}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "method", "pooling", "encoder"),
    [
        ("hf", "full", "auto", "bert-base-uncased"),
        ("hf", "lora", "native", "roberta-base"),
        ("hf", "full", "auto", "gpt2"),
        ("peft", "lora", "native", "bert-base-uncased"),
        ("peft", "lora", "auto", "roberta-base"),
        ("peft", "prompt", "auto", "bert-base-uncased"),
        ("peft", "prefix", "auto", "bert-base-uncased"),
        ("onnx", "head", "auto", "bert-base-uncased"),
        ("onnx", "mean-full", "auto", "gpt2"),
        ("onnx", "lora", "auto", "roberta-base"),
        ("onnx", "full", "auto", "distilbert-base-uncased"),
    ],
)
def test_the_folder_alone_gives_the_probabilities(tmp_path, runs, to, method, pooling, encoder):
    """In another process, without heed, by the lines that the folder brings; also of texts that are too long."""
    run = runs(method, encoder, pooling)
    predictor = Predictor(run, "cpu")
    wanted = predictor.predict(LONG)
    assert predictor.cut == 3
    check(classified(EXPORTS[to](run, tmp_path / "out"), LONG, None), wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "method", "pooling"),
    [("hf", "full", "native"), ("peft", "lora", "mean"), ("onnx", "mean-full", "mean"), ("onnx", "full", "native")],
)
def test_the_folder_alone_gives_the_probabilities_of_pairs(tmp_path, of_pairs, to, method, pooling):
    run = of_pairs(method, pooling)
    predictor = Predictor(run, "cpu")
    firsts = ["is it good", "not", "never saw the film", "is it"]
    wanted = predictor.predict(firsts, SECONDS)
    assert predictor.cut == 2
    check(classified(EXPORTS[to](run, tmp_path / "out"), firsts, SECONDS), wanted)


def check(found, wanted):
    for each, one in zip(found, wanted, strict=True):
        chances = {item["label"]: item["score"] for item in each} if isinstance(each, list) else each
        assert chances == pytest.approx(dict(one.probabilities or {}), abs=2e-6), one.text


def test_the_tokenizer_of_an_export_cuts_and_pads_by_itself(tmp_path, runs):
    """In plain tokenizers: the run's length, and the longest of a batch, whatever the encoder's own file says."""
    from tokenizers import Tokenizer

    run = runs("lora", pooling="native")
    for to in ("hf", "peft"):
        out = EXPORTS[to](run, tmp_path / to)
        read = Tokenizer.from_file(str(out / "tokenizer.json")).encode_batch(LONG)
        assert {len(one.ids) for one in read} == {LENGTH}
        _, loaded, _, _ = load_tuned(run, "cpu")
        batch = encode(rows_of(LONG), loaded.tokenizer, LENGTH, loaded.pad_id).batch(np.arange(len(LONG)))
        assert [one.ids for one in read] == batch.source[:, 0].tolist()
        assert [one.attention_mask for one in read] == (batch.source[:, 1] > 0).astype(int).tolist()
        short = Tokenizer.from_file(str(out / "tokenizer.json")).encode_batch(["good", "the film is good"])
        assert {len(one.ids) for one in short} == {6}
        config = json.loads((out / "tokenizer_config.json").read_text())
        assert (config["model_max_length"], config["padding_side"], config["truncation_side"]) == (
            LENGTH,
            *["right"] * 2,
        )
        assert config.get("max_length", LENGTH) == LENGTH
    assert json.loads((tmp_path / "peft" / "labels.json").read_text()) == {"0": "blame it", "1": "praise"}
