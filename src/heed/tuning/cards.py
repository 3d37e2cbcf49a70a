"""What an exported folder holds beside weights, so that it gives the run's probabilities in other hands.

labels.json       the class of each place in the logits (adapters and ONNX; transformers has them in config.json)
tokenizer.json    cuts at the run's length and pads to the longest of a batch, as the run did
README.md         what it is, the lines of Python that classify with the folder, its figures (see `heed.report.card`)
"""

from __future__ import annotations

from pathlib import Path

from heed.config.tuning import TuneConfig
from heed.files import write_json, write_text
from heed.records.kept import read_record
from heed.records.tune import RESULT, KeptResult
from heed.report.card import LICENCE, front_matter, plain, shown_name
from heed.report.gradings import grading_of
from heed.report.numbers import format_accuracy, said_shares
from heed.targets import Target
from heed.training.run import Run
from heed.tuning.predict import columns_of
from heed.tuning.pretrained import Pretrained
from heed.tuning.texts import SECOND, carry_limits

LABELS, CARD = "labels.json", "README.md"
HUB_NAMES = {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}
"""What others know an encoder by that heed takes from elsewhere."""

TRANSFORMERS = """
import transformers

pipeline = transformers.pipeline("text-classification", model=".", top_k=None)
print(pipeline(<dicts>, truncation=<cut>))
"""
ONNX = """
import json
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

labels = json.load(open("labels.json", encoding="utf-8"))
tokenizer = Tokenizer.from_file("tokenizer.json")  # cuts and pads by itself
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
read = tokenizer.encode_batch(<rows>)
inputs = {
    "input_ids": [one.ids for one in read],
    "attention_mask": [one.attention_mask for one in read],
    "token_type_ids": [one.type_ids for one in read],
}
names = [one.name for one in session.get_inputs()]
(logits,) = session.run(None, {name: np.array(inputs[name], dtype=np.int64) for name in names})
<numpy>
"""
ADAPTER = """
import json
import peft
import torch
import transformers

labels = json.load(open("labels.json", encoding="utf-8"))
tokenizer = transformers.AutoTokenizer.from_pretrained(".")
model = peft.AutoPeftModelForSequenceClassification.from_pretrained(".", num_labels=len(labels)).eval()
model.config.pad_token_id = tokenizer.pad_token_id
batch = tokenizer(<columns>, truncation=<cut>, padding=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**batch).logits
<torch>
"""
HEAD = """
import json
import peft
import torch
import transformers
from safetensors.torch import load_file

labels = json.load(open("labels.json", encoding="utf-8"))
tokenizer = transformers.AutoTokenizer.from_pretrained(".")
model = peft.AutoPeftModelForFeatureExtraction.from_pretrained(".").eval()
head = load_file("head.safetensors")
batch = tokenizer(<columns>, truncation=<cut>, padding=True, return_tensors="pt")
with torch.no_grad():
    states = model(**batch).last_hidden_state[:, -batch["input_ids"].shape[1] :]  # without trained tokens
    real = batch["attention_mask"][..., None].float()
    mean = (states * real).sum(dim=1) / real.sum(dim=1)
    logits = mean @ head["weight"].T + head["bias"]
<torch>
"""
SINGLE = {"dicts": '["a fine film"]', "rows": '["a fine film"]', "columns": '["a fine film"]', "cut": "True"}
PAIR = {
    "dicts": '[{"text": "is it blue", "text_pair": "The sky is blue."}]',
    "rows": '[("is it blue", "The sky is blue.")]',
    "columns": '["is it blue"], ["The sky is blue."]',
    "cut": '"only_second"',
}


def save_labels(target: Target, folder: Path) -> None:
    """Write labels.json."""
    write_json(folder / LABELS, {str(number): name for number, name in enumerate(target.names)})


def save_reading(encoder: Pretrained, run: Run[TuneConfig], target: Target, folder: Path, code: str) -> None:
    """Write the tokenizer of a run with the run's limits, and README.md with `code`, one of those above."""
    config = run.config
    pairs = "pair" in columns_of(config.data)
    length = config.encoder.max_length
    carry_limits(encoder.tokenizer, length, encoder.pad_id, pairs=pairs, segments=encoder.segments)
    encoder.tokenizer.save_pretrained(folder)
    library = {TRANSFORMERS: "transformers", ONNX: None}.get(code, "peft")
    answers = {"numpy": target.numpy_code, "torch": target.torch_code}
    for name, value in (answers | (PAIR if pairs else SINGLE)).items():
        code = code.replace(f"<{name}>", value)
    what = "pairs of texts" if pairs else "texts"
    cut = "it is the second text that is cut" if pairs else "what is longer is cut"
    data = (run.environment.model_extra or {}).get("data") or {}
    corpus = " ".join([shown_name(str(data.get("name", config.data.source))), str(data.get("fingerprint", ""))[:8]])
    base = HUB_NAMES.get(config.encoder.name, shown_name(encoder.source).removeprefix("hf:"))
    lines = [
        f"# {plain(run.folder.resolve().name)}",
        f"A classifier of {what} (`{config.method.name}`), tuned with heed from {plain(base)} on {plain(corpus)}, seed "
        f"{config.run.seed}. It reads {length} tokens, and {cut}. "
        "Without `truncation` transformers reads more than the run did, and gives other probabilities.",
    ]
    if pairs:
        lines.append(
            f"A first text that leaves fewer than {SECOND} tokens to the second one is cut by `heed predict` alone."
        )
    if encoder.shape.model_type.startswith("heed-") and "peft" in code:
        lines.append("The encoder is a model of heed, which peft cannot load: ask the run itself with `heed predict`.")
    else:
        lines.append(f"```python{code}```")
    lines += ["## Figures", "\n".join(_figures(run.folder, target)), "## Limits", f"* {LICENCE}"]
    on_hub = config.encoder.name in HUB_NAMES or encoder.source.startswith("hf:")
    head = front_matter(
        "text-classification",
        library,
        dataset=config.data.source,
        base=base if on_hub else None,
        tags=() if library else ("onnx",),
    )
    write_text(folder / CARD, head + "\n\n".join(lines) + "\n")


def _figures(folder: Path, target: Target) -> list[str]:
    """Return what the weights come to on each split that was held out, as the items of a list."""
    grading, lines = grading_of(target), []
    result = read_record(KeptResult, folder / RESULT).result
    for split, scores in (("validation", result.validation), ("test", result.test)):
        value = None if scores is None else getattr(scores, grading.figure)
        if scores is None or value is None:
            continue
        interval = getattr(scores, f"{grading.figure}_interval", None)
        between = "" if interval is None else f" (95 %: {said_shares(*interval)})"
        lines.append(
            f"* **{split}**, {scores.examples:,} texts: {grading.called} {format_accuracy(value)}{between}; always "
            f"{grading.always.removeprefix('always ')} {format_accuracy(getattr(scores, grading.baseline))}"
        )
    chose = "The validation split chose these weights, so its figures flatter them."
    return [*lines, "", chose] if lines else ["None: the run kept none."]
