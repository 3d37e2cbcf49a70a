"""Questions with answers: learned for the answers alone; every question of a split is asked once, in order.

accuracy    questions whose answer is written exactly as it should be / questions, with Wilson's interval at 95 %
loss        nats of the right answers, the mask that closes each included / questions
token loss  the same nats / tokens of these answers
majority    the share that always saying the commonest answer would get

What the model writes is the likeliest token after the likeliest token. `heed eval --task qa` says more of each answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from heed.build import Say
from heed.config import Aim, Config, DataConfig
from heed.errors import ConfigError
from heed.generation.answers import greedy_answers
from heed.models.base import LanguageModel
from heed.objectives.losses import Total, passport_of_split, window_losses
from heed.objectives.objective import Files, Window, placed, rows_in_a_batch
from heed.objectives.running_text import first_tokens_of_training, grouped
from heed.objectives.spans import NO_STRIDE
from heed.report.figure_kinds import ACCURACY, LOSS, MAJORITY
from heed.report.measured import Figures
from heed.report.statistics import wilson
from heed.text.corpus import Corpus
from heed.text.named import locate
from heed.text.qa import Questions, answer_ids, commonest_answer, normalise, question_windows
from heed.text.question_corpus import QuestionCorpus, QuestionTokens, open_questions, question_tokens
from heed.text.reading import splits
from heed.text.stream import Stream
from heed.text.tokenfile import TokenFile
from heed.text.tokenizers import MASK, Tokenizer

Write = Callable[[Sequence[str], int], Sequence[str]]
"""From questions and the most tokens of an answer to what the model answers."""


KINDS = (
    replace(ACCURACY, label="correct answers", counts=("correct", "questions")),
    replace(MAJORITY, label="always {commonest[answer]!r}"),
    replace(LOSS, label="answer loss", unit="nats an answer"),
)


@dataclass(frozen=True)
class Answers:
    """The answer to each question."""

    aim: Aim
    figures = KINDS
    training_part = staticmethod(first_tokens_of_training)

    def specials(self, config: Config) -> tuple[str, ...]:
        """The mask, which stands between a question and its answer."""
        return (MASK,)

    def open(self, config: Config, classes: Sequence[str] | None = None) -> list[Corpus]:
        """Open a file of questions."""
        return [open_asked(config.data, config.data.source)]

    def encode(
        self, corpora: Sequence[Corpus], tokenizer: Tokenizer, config: Config, say: Say, verify: bool = False
    ) -> dict[str, TokenFile]:
        """Return the questions of each split."""
        return encode_questions(corpora[0], tokenizer, say)

    def rows(self, tokens: TokenFile, tokenizer: Tokenizer, config: Config, seed: int) -> Questions:
        """Return a row of each question."""
        assert isinstance(tokens, QuestionTokens)
        return Questions(tokens.questions, tokenizer, rows_in_a_batch(config), config.model.context, seed)

    def stream(self, files: Files, tokenizer: Tokenizer, config: Config, seed: int, say: Say) -> Stream:
        """Return rows of questions; refuse one of any split that is longer than the context."""
        batches = grouped(self.rows(files["train"], tokenizer, config, seed), config, seed)
        for note in batches.notes:
            say(f"note: {note}")
        check_lengths(files, tokenizer, config)
        return batches

    def evaluate(
        self, model: LanguageModel, tokens: TokenFile, tokenizer: Tokenizer, config: Config, window: Window
    ) -> Figures:
        """Ask every question of a split."""
        if window.stride is not None:
            raise ConfigError(NO_STRIDE)
        assert isinstance(tokens, QuestionTokens)
        model, how = placed(model, tokenizer, config, window)
        return evaluate_answers(model, tokens, tokenizer, likeliest(model, tokenizer), **how)


def open_asked(data: DataConfig, source: str) -> QuestionCorpus:
    """Open a file of questions, with the splits that the settings name."""
    return open_questions(locate(source), encoding=data.encoding, **splits(data))


def encode_questions(corpus: Corpus, tokenizer: Tokenizer, say: Say) -> dict[str, TokenFile]:
    """Return the questions of each split, and say how many there are and how they were split."""
    assert isinstance(corpus, QuestionCorpus)
    files: dict[str, TokenFile] = {**question_tokens(corpus, tokenizer)}
    for note in corpus.notes:
        say(f"note: {note}")
    counts = ", ".join(f"{split} {len(file.ends):,}" for split, file in files.items())
    how = "nothing is held out" if len(files) == 1 else f"split {corpus.split_rule}"
    say(f"questions: {corpus.name}, {counts}; {how}")
    return files


def check_lengths(files: Files, tokenizer: Tokenizer, config: Config) -> None:
    """Raise `DataError` for a question of any split that is longer than the context: now, not when it is measured."""
    for file in files.values():
        if isinstance(file, QuestionTokens):
            Questions(file.questions, tokenizer, 1, config.model.context, 0)


def likeliest(model: LanguageModel, tokenizer: Tokenizer) -> Write:
    """Return how a model answers: the likeliest token after the likeliest token."""

    def write(prompts: Sequence[str], max_tokens: int) -> list[str]:
        return [answer.text for answer in greedy_answers(model, tokenizer, prompts, max_tokens=max_tokens)]

    return write


def evaluate_answers(
    model: nn.Module,
    tokens: QuestionTokens,
    tokenizer: Tokenizer,
    write: Write,
    *,
    tokenizer_name: str,
    context: int,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    max_tokens: int | None = None,
) -> Figures:
    """Measure a model on the questions of a split, `write` being how it answers.

    `max_tokens` takes the first questions that have so many tokens together, answers included (one at least). Raises
    `DataError` that names file and line for a question that is longer than the context.
    """
    questions = tokens.questions
    if max_tokens is not None:
        questions = questions[: max(1, int((tokens.ends <= max_tokens).sum()))]
    begin = time.perf_counter()
    total = Total()
    total.read(window_losses(model, question_windows(questions, tokenizer, context, batch_size), device))
    gold = [normalise(question.answer or "") for question in questions]
    # An answer that is longer than every right one is wrong, however it goes on.
    longest = max(len(answer_ids(tokenizer, answer)) for answer in gold)
    written = write([question.prompt for question in questions], longest)
    count = len(questions)
    passport = passport_of_split(
        tokens, "answer", count, tokenizer_name, context, documents="separate", partial=count < len(tokens.questions)
    )
    correct = sum(normalise(answer) == right for answer, right in zip(written, gold, strict=True))
    answer, times = commonest_answer(questions)
    values = {
        "loss": total.nats / count,  # it does not depend on how many tokens an answer takes
        "token_loss": total.nats / total.counted,  # as the loss of training on answers is
        "accuracy": correct / count,
        "correct": correct,
        "questions": count,
        "majority": times / count,
        "commonest": {"answer": answer, "correct": times},
        "evaluation_seconds": round(time.perf_counter() - begin, 3),
    }
    if (leaks := getattr(model, "leaks", None)) is not None:  # then the loss is false, and the answers are not
        values["leaks"] = leaks
    passport = replace(passport, leaks=leaks is not None)
    intervals = {"accuracy": wilson(correct, count)}
    return Figures(values, KINDS, intervals, measured_on=passport, headline="accuracy")
