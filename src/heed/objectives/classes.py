"""Classes of labelled texts: what an encoder learns where texts have labels; each text of a split once.

accuracy    texts whose likeliest class is theirs / texts, with the interval of Wilson (1927) at 95 %
loss        nats / texts
recall      of the texts of a class, the share that is found
majority    the share of the commonest class: the accuracy of whoever always says the same
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from heed.build import Say
from heed.config import Aim, Config
from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.objectives.honest import evaluating
from heed.objectives.losses import passport_of_split
from heed.objectives.masked import NO_STRIDE
from heed.objectives.objective import Files, Window, placed, rows_in_a_batch
from heed.objectives.running_text import encode_documents, no_specials, open_token_ids, told
from heed.report.gradings.classes import KINDS
from heed.report.measured import Figures
from heed.report.statistics import wilson
from heed.text.corpus import Corpus
from heed.text.examples import Examples, cut_texts, examples_in_order, part_of, texts_measured
from heed.text.id_corpus import is_ids
from heed.text.labelled import LabelledCorpus, LabelledTokens, open_labelled
from heed.text.masking import special_ids
from heed.text.named import locate
from heed.text.reading import splits
from heed.text.stream import Stream
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import Tokenizer


@dataclass(frozen=True)
class Classes:
    """The class of each text."""

    aim: Aim
    figures = KINDS
    specials = staticmethod(no_specials)

    def open(self, config: Config, classes: Sequence[str] | None = None) -> list[Corpus]:
        """Open labelled texts, whose labels must be `classes` where a model has learned some."""
        data = config.data
        if is_ids(data.source):
            return [open_token_ids(data)]  # which refuses labels
        rows = {"column": data.column, "encoding": data.encoding, "label": data.label}
        return [open_labelled(locate(data.source), classes=classes, **rows, **splits(data))]

    def encode(
        self, corpora: Sequence[Corpus], tokenizer: Tokenizer, config: Config, say: Say, verify: bool = False
    ) -> dict[str, TokenFile]:
        """Return the texts of each split with their labels."""
        corpus = corpora[0]
        assert isinstance(corpus, LabelledCorpus)
        files: dict[str, TokenFile] = {
            split: LabelledTokens(file.ids, file.ends, file.header, corpus.labels(split), corpus.classes)
            for split, file in encode_documents(corpus, tokenizer, config, say, verify).items()
        }
        return told(corpus, files, say)

    def stream(self, files: Files, tokenizer: Tokenizer, config: Config, seed: int, say: Say) -> Stream:
        """Return batches of texts with their classes, and say how many texts are cut."""
        context, tokens = config.model.context, _labelled(files["train"])
        for file in files.values():
            if cut := cut_texts(_labelled(file), context):
                say(f"note: {cut}")
        pad_id = special_ids(config.tokenizer.vocab_size)[1]
        return Examples(tokens, rows_in_a_batch(config), context, pad_id, seed)

    def training_part(self, files: Files, config: Config) -> tuple[TokenFile, int | None] | None:
        """Return some training texts, by default as many as validation has."""
        tokens = _labelled(files["train"])
        held_out = len(files["validation"].ends) if "validation" in files else 0
        lengths = np.diff(tokens.ends.astype(np.int64), prepend=0)
        count = texts_measured(config.train.eval_train_tokens, lengths, held_out)
        return (part_of(tokens, count), None) if count else None

    def evaluate(
        self, model: LanguageModel, tokens: TokenFile, tokenizer: Tokenizer, config: Config, window: Window
    ) -> Figures:
        """Classify the texts of a split."""
        if window.stride is not None:
            raise ConfigError(NO_STRIDE)
        model, how = placed(model, tokenizer, config, window, labelled=True)
        return classify(model, _labelled(tokens), pad_id=special_ids(config.tokenizer.vocab_size)[1], **how)


def classes_of(files: Files) -> tuple[str, ...] | None:
    """Return the names of the classes of a text; None where it has no labels."""
    train = files["train"]
    return train.classes if isinstance(train, LabelledTokens) else None


def _labelled(tokens: TokenFile) -> LabelledTokens:
    assert isinstance(tokens, LabelledTokens)
    return tokens


def classify(
    model: nn.Module,
    tokens: LabelledTokens,
    *,
    tokenizer_name: str,
    context: int,
    pad_id: int,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    max_tokens: int | None = None,
) -> Figures:
    """Classify the texts of a split, in its order, each cut at `context` tokens.

    `max_tokens` takes the first texts that have so many tokens together (one at least). The model is left in the mode
    that it was in. Raises `ConfigError` when the context is longer than the model's, or the classes are not its own.
    """
    longest = getattr(model, "context", context)
    if context > longest:
        raise ConfigError(f"the evaluation's context {context} is longer than the model's {longest}: take at most that")
    count, part = len(tokens.ends), bool(tokens.header.get("part"))
    if max_tokens is not None:
        count = max(1, int(np.searchsorted(tokens.ends, max_tokens, side="right")))
    where = torch.device(device) if device is not None else next(model.parameters()).device
    begin = time.perf_counter()
    confusion = np.zeros((len(tokens.classes),) * 2, dtype=np.int64)
    nats = 0.0
    with evaluating(model):
        for batch in examples_in_order(tokens, context, batch_size, pad_id, count):
            logits = model(torch.from_numpy(batch.source).to(where)).cpu().double()
            if logits.shape[1] != len(tokens.classes):
                raise ConfigError(f"the model knows {logits.shape[1]} classes, the texts have {len(tokens.classes)}")
            nats += F.cross_entropy(logits, torch.from_numpy(batch.target), reduction="sum").item()
            np.add.at(confusion, (batch.target, logits.argmax(dim=1).numpy()), 1)
    passport = passport_of_split(
        tokens,
        "example",
        count,
        tokenizer_name,
        context,
        documents="separate",
        partial=part or count < len(tokens.ends),
    )
    right, of_each = confusion.diagonal().tolist(), confusion.sum(axis=1).tolist()
    found = {
        name: hits / total if total else None for name, hits, total in zip(tokens.classes, right, of_each, strict=True)
    }
    values = {
        "loss": nats / count,
        "accuracy": sum(right) / count,
        "majority": max(of_each) / count,
        "examples": count,
        "recall": found,  # None where the split has no text of a class
        "confusion": confusion.tolist(),  # rows: the class, columns: what the model takes it for
        "evaluation_seconds": round(time.perf_counter() - begin, 3),
    }
    intervals = {"accuracy": wilson(sum(right), count)}
    return Figures(values, KINDS, intervals, measured_on=passport, headline="accuracy")
