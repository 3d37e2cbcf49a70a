"""Names in a configuration become objects, here and nowhere else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from heed.config import Config, DataConfig, ModelConfig
from heed.errors import ConfigError, DataError
from heed.models import MODELS, Encoder, LanguageModel
from heed.models.block import make_attention
from heed.report.numbers import human_bytes, human_count
from heed.text.batches import Packed, Padded
from heed.text.contiguous import Contiguous
from heed.text.corpus import Corpus, open_corpus
from heed.text.examples import Examples, cut_texts
from heed.text.labelled import LabelledCorpus, LabelledTokens, open_labelled
from heed.text.masking import Masked, special_ids
from heed.text.tokenfile import TokenFile, token_files
from heed.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer

Say = Callable[[str], object]
"""Is told a line for people."""

LONG_TEXT = 32 << 20
"""Bytes of text from which on tokenising says how far it is."""


def build_model(
    config: ModelConfig, vocab_size: int, generator: torch.Generator | None = None, classes: int | None = None
) -> LanguageModel:
    """Return the model that `config` describes, on the CPU, its weights drawn from `generator` (default: seed 0).

    `classes` is the number of classes for an encoder of labelled texts. Raises `ConfigError` that names every part
    which does not go with the others.
    """
    if config.kind == "encoder":
        return Encoder(config, vocab_size, generator, classes)
    model = MODELS[config.kind](config, vocab_size, generator)
    if config.freeze_embeddings:
        model.get_parameter("tokens.weight").requires_grad_(False)
    return model


def check_attention(config: ModelConfig) -> None:
    """Raise `ConfigError` with all that does not go together in a model's attention layers, of which it builds one."""
    if config.kind not in ("gpt", "encoder"):
        return
    try:
        make_attention(config, causal=config.kind == "gpt")
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise ConfigError(
            f"attention {config.attention.mechanism!r} at model.context {config.context} has more parameters than there"
            " is memory for: shorten the context, or choose another model.attention.mechanism"
        ) from error


def build_corpus(data: DataConfig, classes: Sequence[str] | None = None) -> Corpus:
    """Open the corpus: labelled texts where `data.label` is set, else documents.

    `classes` are those that a model has learned. Raises what `open_corpus` and `open_labelled` raise.
    """
    common: dict[str, Any] = {
        "validation": data.validation,
        "test": data.test,
        "validation_fraction": data.validation_fraction,
        "test_fraction": data.test_fraction,
        "column": data.column,
        "encoding": data.encoding,
    }
    if data.label is not None:
        return open_labelled(data.source, label=data.label, classes=classes, **common)
    return open_corpus(data.source, separator=data.separator, **common)


def build_tokenizer(config: Config, corpus: Corpus, say: Say) -> Tokenizer:
    """Load the tokenizer that is asked for, or train one on the beginning of the training split.

    The alphabet of a character tokenizer is that of all splits, as is usual: it has no token for the unknown.
    Raises `ConfigError` when a file holds another kind or size of tokenizer than was asked for beside it.
    """
    asked = config.tokenizer
    if asked.file is not None:
        tokenizer = load_tokenizer(asked.file)
        facts = {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size}
        problems = [
            f"tokenizer.{name}: {getattr(asked, name)} is asked for, but {asked.file} has {fact}: leave one of them out"
            for name, fact in facts.items()
            if name in asked.model_fields_set and getattr(asked, name) != fact
        ]
        if problems:
            raise ConfigError(*problems)
        say(f"tokenizer: {tokenizer.kind}, {tokenizer.vocab_size:,} tokens, from {asked.file}")
        return tokenizer
    say(f"tokenizer: training {asked.kind} on {corpus.name}")
    splits = corpus.splits if asked.kind == "char" else ("train",)
    beginning = _Beginning(itertools.chain.from_iterable(map(corpus.documents, splits)), asked.train_bytes)
    several = len(list(itertools.islice(corpus.documents("train"), 2))) > 1
    tokenizer = train_tokenizer(asked.kind, beginning, asked.vocab_size, asked.pattern, end_of_text=several)
    if beginning.cut:
        say(f"note: the tokenizer was trained on the first {human_bytes(asked.train_bytes)} (tokenizer.train_bytes)")
    if tokenizer.note:
        say(f"note: {tokenizer.note}")
    return tokenizer


def build_tokens(config: Config, corpus: Corpus, tokenizer: Tokenizer, say: Say) -> dict[str, TokenFile]:
    """Return the token file of each split, and say what was left out of the text and how it was split."""
    folder = Path(config.data.cache) if config.data.cache else Path(config.run.folder) / ".tokens"
    files = token_files(corpus, tokenizer, folder, config.data.workers, _every_fifth(say))
    if isinstance(corpus, LabelledCorpus):
        for split, file in files.items():
            labels = corpus.labels(split)
            files[split] = LabelledTokens(file.ids, file.ends, file.header, labels, corpus.classes)
    for note in corpus.notes:
        say(f"note: {note}")
    sizes = {split: len(file.ids) for split, file in files.items()}
    if len(sizes) == 1:
        say(f"text: {corpus.name}, tokens: {human_count(sum(sizes.values()))}; nothing is held out")
        return files
    shares = (f"{split} {human_count(n)} ({100 * n / sum(sizes.values()):.3g} %)" for split, n in sizes.items())
    say(f"text: {corpus.name}, tokens: {', '.join(shares)}; split {corpus.split_rule}")
    return files


def build_batches(config: Config, files: dict[str, TokenFile], seed: int, say: Say) -> Packed | Contiguous | Masked:
    """Return the endless training batches. Raises `DataError` when the text is shorter than a window."""
    data, size, tokens = config.data, config.train.batch_size, files["train"]
    assert size != "auto"
    if isinstance(tokens, LabelledTokens):
        for file in files.values():
            if isinstance(file, LabelledTokens) and (cut := cut_texts(file, config.model.context)):
                say(f"note: {cut}")
        return Examples(tokens, size, config.model.context, special_ids(config.tokenizer.vocab_size)[1], seed)
    if data.layout == "stream":
        batches = Contiguous(tokens, size, config.model.context, seed)
    elif data.layout == "padded":
        batches = Padded(tokens, size, config.model.context, seed)
    else:
        batches = Packed(tokens, size, config.model.context, seed, cross_documents=data.cross_documents)
    for note in batches.notes:
        say(f"note: {note}")
    if "validation" in files and len(files["validation"].ids) < 2:
        raise DataError("the validation split has fewer than two tokens: give more text or set data.validation")
    if config.model.kind == "encoder" and isinstance(batches, Packed):
        return Masked(batches, config.train.mask_fraction, config.tokenizer.vocab_size)
    return batches


class _Beginning:
    """The first documents, until they have `limit` bytes; `cut` tells whether there were more."""

    def __init__(self, documents: Iterator[str], limit: int) -> None:
        self.documents, self.left, self.cut = documents, limit, False

    def __iter__(self) -> Iterator[str]:
        for document in self.documents:
            if self.left <= 0:
                self.cut = True
                return
            self.left -= len(document.encode())
            yield document


def _every_fifth(say: Say) -> Callable[[int, int | None], None]:
    """Return a progress for token files that speaks after each further fifth of a long text."""
    said = 0

    def progress(done: int, total: int | None) -> None:
        nonlocal said
        fifths = 5 * done // total if total and total > LONG_TEXT else 0
        if total and fifths > said:
            said = fifths
            say(f"tokenising: {human_bytes(done)} of {human_bytes(total)}")

    return progress
