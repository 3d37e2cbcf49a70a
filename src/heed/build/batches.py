"""The stream of training batches that a configuration describes."""

from __future__ import annotations

from heed.build.text import QUESTIONS, Say
from heed.config import SPANS, Config
from heed.errors import DataError
from heed.text.batches import Packed, Padded
from heed.text.contiguous import Contiguous
from heed.text.corruption import Corrupted, Corruption
from heed.text.examples import Examples, cut_texts
from heed.text.grouped import Grouped
from heed.text.labelled import LabelledTokens
from heed.text.masking import Masked, special_ids
from heed.text.mixture import Mixture
from heed.text.qa import Questions
from heed.text.question_corpus import QuestionTokens
from heed.text.tokenfile import TokenFile
from heed.text.tokenizer import Tokenizer

Batches = Packed | Contiguous | Masked | Examples | Mixture | Grouped
"""What a model is trained on; see `heed.training.fit.Batches`."""


def build_batches(config: Config, files: dict[str, TokenFile], tokenizer: Tokenizer, seed: int, say: Say) -> Batches:
    """Return the endless training batches: of the text, with those of `data.questions` mixed in where there are some.

    Raises `DataError` when the text is shorter than a window, and for a question that does not fit into one.
    """
    size, context, tokens = config.train.batch_size, config.model.context, files["train"]
    assert size != "auto"
    if isinstance(tokens, LabelledTokens):
        for file in files.values():
            if isinstance(file, LabelledTokens) and (cut := cut_texts(file, context)):
                say(f"note: {cut}")
        return Examples(tokens, size, context, special_ids(config.tokenizer.vocab_size)[1], seed)
    batches = _text_batches(config, tokens, tokenizer, size, seed)
    if (asked := files.get(QUESTIONS)) is not None:
        assert isinstance(asked, QuestionTokens)
        assert isinstance(batches, Packed)
        share = config.data.questions_share
        questions = Questions(asked.questions, tokenizer, size, context, seed)
        batches = Mixture([(batches, 1 - share), (questions, share)], size, seed)
    if config.data.group_batches > 1:
        assert isinstance(batches, Packed | Mixture)
        batches = Grouped(batches, size, config.data.group_batches, seed)
    for note in batches.notes:
        say(f"note: {note}")
    for split, file in files.items():
        if isinstance(file, QuestionTokens):
            Questions(file.questions, tokenizer, 1, context, seed)  # told now, not at the first evaluation
        elif split == "validation" and len(file.ids) < 2:
            raise DataError("the validation split has fewer than two tokens: give more text or set data.validation")
    if config.model.kind == "encoder" and isinstance(batches, Packed):
        return Masked(batches, config.train.mask_fraction, config.tokenizer.vocab_size)
    return batches


def _text_batches(config: Config, tokens: TokenFile, tokenizer: Tokenizer, size: int, seed: int) -> Packed | Contiguous:
    """Return the batches of the text alone, in the layout and with the objective that it is learned with."""
    data, context = config.data, config.model.context
    if isinstance(tokens, QuestionTokens):
        return Questions(tokens.questions, tokenizer, size, context, seed)
    if data.objective in SPANS:
        corruption = Corruption(data.objective, tokenizer, context)
        whole = data.objective != "recall-span"  # whose rows are mostly names, read without any context
        return Corrupted(tokens, corruption, size, seed, plain_share=data.plain_share, whole_rows=whole)
    if data.layout == "stream":
        return Contiguous(tokens, size, context, seed)
    if data.layout == "padded":
        return Padded(tokens, size, context, seed)
    return Packed(tokens, size, context, seed, cross_documents=data.cross_documents)
