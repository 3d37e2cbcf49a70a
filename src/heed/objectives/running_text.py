"""Running text, as every objective that learns it reads it: from the files of a corpus to token files and windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from heed.build import Say
from heed.config import Config, DataConfig
from heed.errors import ConfigError, DataError
from heed.objectives.objective import Files, rows_in_a_batch
from heed.report.numbers import human_bytes, human_count
from heed.text.batches import Packed, Padded
from heed.text.contiguous import Contiguous
from heed.text.corpus import Corpus
from heed.text.grouped import Grouped
from heed.text.id_corpus import IdCorpus, id_tokens, is_ids, open_ids
from heed.text.mixture import Mixture
from heed.text.named import at_home, locate
from heed.text.reading import corpus_of, splits
from heed.text.sharded_corpus import ShardedCorpus, open_shards, shard_tokens, shards_of
from heed.text.stream import Stream
from heed.text.tokenfile import TokenFile, token_files
from heed.text.tokenizers import Tokenizer

LONG_TEXT = 32 << 20
"""Bytes of text from which on tokenising says how far it is."""


def no_specials(config: Config) -> tuple[str, ...]:
    """Need no token besides those of the text: [MASK] and [PAD] of an encoder stand behind them, in the model."""
    return ()


def open_running_text(config: Config, classes: Sequence[str] | None = None) -> list[Corpus]:
    """Open documents, or token ids. Raises what `open_corpus`, `open_ids` and `open_shards` raise."""
    data = config.data
    if is_ids(data.source):
        return [open_token_ids(data)]
    if (folder := shards_of(data.source)) is not None:
        return [open_shards(folder, data)]
    return [corpus_of(data)]


def open_token_ids(data: DataConfig) -> IdCorpus:
    """Open a source of token ids. Raises `ConfigError` for settings that are for texts."""
    usual = DataConfig()  # which a run's own config.yaml writes out
    of_texts = [
        name for name in ("label", "column", "encoding", "separator") if getattr(data, name) != getattr(usual, name)
    ]
    if problems := [f"data.{name}: is for texts, and {data.source} is token ids: leave it out" for name in of_texts]:
        raise ConfigError(*problems)
    return open_ids(locate(data.source), first_id=data.first_id, **splits(data))


def encode_documents(
    corpus: Corpus, tokenizer: Tokenizer, config: Config, say: Say, verify: bool = False
) -> dict[str, TokenFile]:
    """Return the token file of each split, and say what was left out; `verify` checks the whole of large files."""
    folder = at_home(config.data.cache or Path(config.run.folder) / ".tokens")
    files = token_files(corpus, tokenizer, folder, config.data.workers, _every_fifth(say), verify)
    for note in corpus.notes:
        say(f"note: {note}")
    return files


def encode_running_text(
    corpora: Sequence[Corpus], tokenizer: Tokenizer, config: Config, say: Say, verify: bool = False
) -> dict[str, TokenFile]:
    """Return the token file of each split of documents or token ids, and say how many tokens each has."""
    corpus = corpora[0]
    if isinstance(corpus, IdCorpus):
        return told(corpus, id_tokens(corpus, tokenizer), say)
    if isinstance(corpus, ShardedCorpus):
        return told(corpus, shard_tokens(corpus, tokenizer, verify), say)
    return told(corpus, encode_documents(corpus, tokenizer, config, say, verify), say)


def told(corpus: Corpus, files: dict[str, TokenFile], say: Say) -> dict[str, TokenFile]:
    """Say how many tokens each split has, and how they were split."""
    sizes = {split: len(file.ids) for split, file in files.items()}
    if len(sizes) == 1:
        say(f"text: {corpus.name}, tokens: {human_count(sum(sizes.values()))}; nothing is held out")
        return files
    shares = (f"{split} {human_count(n)} ({100 * n / sum(sizes.values()):.3g} %)" for split, n in sizes.items())
    say(f"text: {corpus.name}, tokens: {', '.join(shares)}; split {corpus.split_rule}")
    return files


def windows(tokens: TokenFile, config: Config, seed: int) -> Packed | Contiguous:
    """Return the batches of a text in the layout that it is learned with."""
    data, size, context = config.data, rows_in_a_batch(config), config.model.context
    if data.layout == "stream":
        return Contiguous(tokens, size, context, seed)
    if data.layout == "padded":
        return Padded(tokens, size, context, seed)
    return Packed(tokens, size, context, seed, cross_documents=data.cross_documents)


def grouped(stream: Packed | Contiguous | Mixture, config: Config, seed: int) -> Stream:
    """Return a stream of rows, those of about the same length together where `data.group_batches` asks for it."""
    pool = config.data.group_batches
    if pool == 1:
        return stream
    assert not isinstance(stream, Contiguous)  # all as long, which the configuration refuses
    return Grouped(stream, rows_in_a_batch(config), pool, seed)


def checked(batches: Stream, files: Files, say: Say) -> Stream:
    """Return batches of which the notes were said, once it is sure that the validation split can be measured."""
    for note in batches.notes:
        say(f"note: {note}")
    if "validation" in files and len(files["validation"].ids) < 2:
        raise DataError("the validation split has fewer than two tokens: give more text or set data.validation")
    return batches


def first_tokens_of_training(files: Files, config: Config) -> tuple[TokenFile, int | None] | None:
    """Return the training split and how many of its tokens are measured beside validation; None: nothing is."""
    asked = config.train.eval_train_tokens
    return (files["train"], asked) if asked else None


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
