"""Running text with questions about it in between: the text is learned whole, what is held out are questions.

train       rows of the text, and `data.questions_share` of all rows are questions
validation  questions, as `data.validation` or a part of `data.questions` holds them out
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from heed.build import Say
from heed.config import Aim, Config
from heed.models.base import LanguageModel
from heed.objectives.answers import Answers, check_lengths, encode_questions, open_asked
from heed.objectives.next_token import NextToken
from heed.objectives.objective import Files, Window, rows_in_a_batch
from heed.objectives.running_text import encode_documents, grouped
from heed.objectives.spans import HiddenSpans
from heed.report.measured import Figures
from heed.report.numbers import human_count
from heed.text.batches import Packed
from heed.text.corpus import NO_TEST, Corpus, open_corpus
from heed.text.mixture import Mixture
from heed.text.named import locate
from heed.text.question_corpus import QuestionTokens
from heed.text.reading import reading
from heed.text.stream import Stream
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import MASK, Tokenizer

QUESTIONS = "questions"
"""Beside the splits: the questions that are mixed into the training text."""
WHOLE: dict[str, Any] = {"validation_fraction": 0.0, "test": NO_TEST}
"""Of the text nothing is held out."""


@dataclass(frozen=True)
class TextAndQuestions:
    """A text, in one of the ways that it is learned, and the answers to questions."""

    aim: Aim
    figures = Answers.figures

    @property
    def text(self) -> NextToken | HiddenSpans:
        """What is learned of the text."""
        assert self.aim.text is not None
        return NextToken(self.aim.text) if self.aim.text.spans is None else HiddenSpans(self.aim.text)

    def specials(self, config: Config) -> tuple[str, ...]:
        """The mask for the questions, and what the text needs."""
        return self.text.specials(config) or (MASK,)

    def open(self, config: Config, classes: Sequence[str] | None = None) -> list[Corpus]:
        """Open the whole text, and the questions."""
        data = config.data
        assert data.questions is not None
        return [open_corpus(locate(data.source), **reading(data), **WHOLE), open_asked(data, data.questions)]

    def encode(
        self, corpora: Sequence[Corpus], tokenizer: Tokenizer, config: Config, say: Say, verify: bool = False
    ) -> dict[str, TokenFile]:
        """Return the text under "train", the questions to train on under `QUESTIONS`, those held out by their split."""
        text, asked = corpora
        files = encode_documents(text, tokenizer, config, say, verify)
        questions = encode_questions(asked, tokenizer, say)
        files |= {QUESTIONS if split == "train" else split: file for split, file in questions.items()}
        say(f"text: {text.name}, tokens: {human_count(len(files['train'].ids))}; nothing is held out")
        return files

    def stream(self, files: Files, tokenizer: Tokenizer, config: Config, seed: int, say: Say) -> Stream:
        """Return batches in which a share of the rows are questions."""
        text = self.text.rows(files["train"], tokenizer, config, seed)
        assert isinstance(text, Packed)  # of layout padded, which the aim asks for
        questions = Answers(self.aim).rows(files[QUESTIONS], tokenizer, config, seed)
        share = config.data.questions_share
        mixture = Mixture([(text, 1 - share), (questions, share)], rows_in_a_batch(config), seed)
        batches = grouped(mixture, config, seed)
        for note in batches.notes:
            say(f"note: {note}")
        check_lengths(files, tokenizer, config)
        return batches

    def training_part(self, files: Files, config: Config) -> tuple[TokenFile, int | None] | None:
        """Return the first questions of training: of the kind that validation is of."""
        asked = config.train.eval_train_tokens
        return (files[QUESTIONS], asked) if asked else None

    def evaluate(
        self, model: LanguageModel, tokens: TokenFile, tokenizer: Tokenizer, config: Config, window: Window
    ) -> Figures:
        """Ask the questions of a split; of the text itself, measure what is learned of it."""
        what = Answers(self.aim) if isinstance(tokens, QuestionTokens) else self.text
        return what.evaluate(model, tokens, tokenizer, config, window)
