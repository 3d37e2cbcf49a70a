"""The tokenizer that a configuration describes: out of a file, or trained on the beginning of the text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from heed.config import Config
from heed.errors import ConfigError, DataError
from heed.report.numbers import human_bytes
from heed.text.corpus import Corpus
from heed.text.id_corpus import IdCorpus
from heed.text.sharded_corpus import ShardedCorpus
from heed.text.tokenizers import Tokenizer, load_tokenizer, train_tokenizer

Say = Callable[[str], object]
"""Is told a line for people."""


def build_tokenizer(config: Config, corpora: Sequence[Corpus], specials: Sequence[str], say: Say) -> Tokenizer:
    """Load the tokenizer that is asked for, or train one on the beginning of the training split.

    `corpora` are those of an objective, the text first, and `specials` the tokens that it needs besides those of the
    text. The alphabet of a character tokenizer is that of all splits, as is usual: it has no token for the unknown.
    Raises `ConfigError` when a file holds another kind or size of tokenizer than was asked for beside it.
    """
    asked, corpus = config.tokenizer, corpora[0]
    if isinstance(corpus, IdCorpus) and asked.file is None:
        raise ConfigError(f"tokenizer.file: {corpus.name} is token ids: name the tokenizer that made them")
    shards = corpus if isinstance(corpus, ShardedCorpus) and asked.file is None else None
    file = asked.file if shards is None else shards.folder
    if file is not None:
        tokenizer = load_tokenizer(file) if shards is None else shards.tokenizer()
        facts = {"kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size}
        problems = [
            f"tokenizer.{name}: {getattr(asked, name)} is asked for, but {file} has {fact}: leave one of them out"
            for name, fact in facts.items()
            if name in asked.model_fields_set and getattr(asked, name) != fact
        ]
        if problems:
            raise ConfigError(*problems)
        if asked.read_unk:
            tokenizer = tokenizer.reading_unknown()
        say(f"tokenizer: {tokenizer.kind}, {tokenizer.vocab_size:,} tokens, from {file}")
        return tokenizer
    say(f"tokenizer: training {asked.kind} on {corpus.name}")
    texts = (
        text
        for part in corpora
        for split in (part.splits if asked.kind == "char" else ("train",))
        for text in part.documents(split)
    )
    beginning = _Beginning(texts, asked.train_bytes)
    several = len(list(itertools.islice(corpus.documents("train"), 2))) > 1
    tokenizer = train_tokenizer(
        asked.kind, beginning, asked.vocab_size, asked.pattern, end_of_text=several, specials=specials
    )
    if tokenizer.vocab_size < 2:
        raise DataError(
            f"{corpus.name} has a single {'character' if asked.kind == 'char' else 'token'} in it, so that there is "
            "nothing to predict: give another text"
        )
    if beginning.cut:
        say(f"note: the tokenizer was trained on the first {human_bytes(asked.train_bytes)} (tokenizer.train_bytes)")
    if tokenizer.note:
        say(f"note: {tokenizer.note}")
    return tokenizer


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
