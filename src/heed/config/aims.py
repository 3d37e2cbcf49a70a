"""What a run learns, as its settings say: the half of an objective that any room may read.

    model.kind, data.objective, data.label, data.questions   ->   Aim   ->   unit, figures, what contradicts it

Four switches decide together. They are read here, and turned into text, batches and figures in `heed.objectives`, where
each aim has a file under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from heed.config.sections import Config, DataConfig, TrainConfig

SPANS = ("single-span", "spans", "salient-span", "recall-span")
"""The objectives that ask for a part of a document at its end."""
SPANS_CONTEXT = 8
"""Tokens of context that such an objective needs at least: twice those of the shortest document (`text.spans`)."""


@dataclass(frozen=True)
class Aim:
    """What is learned, and what it is measured by."""

    name: str
    """Of the file in `heed.objectives`."""
    unit: str
    """What figures count one at a time, as their passport says it: a row of `heed.report.units`."""
    figures: tuple[str, ...]
    """What is measured and can be compared: names of `heed.report.figure_kinds`."""
    study_figure: str
    """The one of them to compare the variants of a study by."""
    trained: str = "token"
    """What training counts."""
    spans: str | None = None
    """How a part of each document is hidden: one of `SPANS`."""
    asks: tuple[str, ...] = ()
    """The settings of `data` that name questions with answers."""
    text: Aim | None = None
    """Where questions are mixed into a text: what is learned of that."""

    @property
    def both_sides(self) -> bool:
        """Whether the model is an encoder, which sees what comes after a token too."""
        return self.name in ("masked", "classes")

    @property
    def labelled(self) -> bool:
        """Whether texts have labels, so that only the text knows how many classes there are."""
        return self.name == "classes"

    @property
    def sentinels(self) -> bool:
        """Whether the tokenizer needs T5's sentinel tokens, the more the longer the context is."""
        return "spans" in (self.spans, self.text and self.text.spans)

    def problems(self, config: Config) -> list[str]:
        """Return what contradicts this aim, one line a problem."""
        asked = {self.name, *_asked(config.data)}  # where switches contradict each other, all that they ask for
        own = [line for name, problems in PROBLEMS.items() if name in asked for line in problems(config)]
        return _between_switches(config) + _unread(self, config) + own


_RUNNING = ("loss", "token_perplexity", "word_perplexity", "bits_per_byte")
NEXT_TOKEN = Aim("next-token", "token", _RUNNING, "bits_per_byte")
MASKED = Aim("masked", "masked token", ("loss",), "loss", trained="masked token")
CLASSES = Aim("classes", "example", ("accuracy", "loss"), "loss", trained="example")
ANSWERS = Aim("answers", "answer", ("accuracy", "loss"), "accuracy", asks=("source", "validation", "test"))


def aim_of(config: Config) -> Aim:
    """Return what a run of this configuration learns; where its switches contradict each other, one of their aims."""
    data = config.data
    return _aim(config.model.kind, data.objective, data.label, data.questions, data.plain_share, data.layout)


def aim_of_values(values: Mapping[str, Any]) -> Aim:
    """Return the same for a `config.yaml` as it was read, of any version: what it lacks is as by default.

    >>> aim_of_values({"model": {"kind": "encoder"}}).unit, aim_of_values({}).unit
    ('masked token', 'token')
    """
    data, model = (own if isinstance(own := values.get(name), Mapping) else {} for name in ("data", "model"))
    share, objective = data.get("plain_share", 0.0), data.get("objective", "next-token")
    return _aim(
        model.get("kind"), objective, data.get("label"), data.get("questions"), share, data.get("layout", "packed")
    )


def _aim(kind: Any, objective: Any, label: Any, questions: Any, plain_share: Any, layout: Any) -> Aim:
    """Return the aim that the four switches make, with the share of plain text and the layout that it is cut in."""
    if kind == "encoder":
        return MASKED if label is None else CLASSES
    if objective == "answers":
        return ANSWERS
    text = NEXT_TOKEN if layout != "padded" else replace(NEXT_TOKEN, figures=(*_RUNNING, "sequence_mean_loss"))
    if objective in SPANS and plain_share == 1:  # nothing is hidden, so nothing of that is measured
        text = replace(text, name="spans", spans=objective)
    elif objective in SPANS:
        text = Aim("spans", unit_of_spans(objective), ("loss",), "loss", spans=objective)
    if questions is None:
        return text
    return replace(ANSWERS, name="mixed", asks=("questions", "validation", "test"), text=text)


def _asked(data: DataConfig) -> set[str]:
    """Return the names of the aims that `data.objective` asks for, whatever the other switches say."""
    return {"spans"} if data.objective in SPANS else {"answers"} if data.objective == "answers" else set()


def unit_of_spans(name: str) -> str:
    """Return the unit of one of `SPANS`: each hides other spans, so each has its own.

    >>> unit_of_spans("salient-span"), unit_of_spans("spans")
    ('salient-span token', 'span token')
    """
    return f"{name.removesuffix('s')} token"


def _said(data: DataConfig) -> str | None:
    """Return the setting that makes more of a text than its next token; None where nothing does."""
    if data.objective != "next-token":
        return f"data.objective {data.objective}"
    return None if data.questions is None else "data.questions"


def _between_switches(config: Config) -> list[str]:
    """Return which of the four switches contradict each other."""
    data, kind, said = config.data, config.model.kind, _said(config.data)
    problems: list[str] = []
    if kind != "encoder" and data.label is not None:
        problems.append(f"data.label: a {kind} learns tokens, not labels: add model.kind encoder, or leave it out")
    if said is not None and kind == "encoder":
        problems.append(f"model.kind: {said} is for models that predict the next token, not for an encoder")
    if said is not None and data.label is not None:
        problems.append(f"data.label: texts with labels are not learned by {said}: leave out one of the two")
    if said is not None and data.layout != "padded":
        problems.append(f"data.layout: {said} needs a row for each document: set data.layout padded")
    if data.objective == "answers" and data.questions is not None:
        problems.append("data.questions: data.objective answers learns those of data.source: leave it out")
    if data.label is not None and data.separator is not None:
        problems.append("data.separator: cuts text files, and texts with labels are rows: leave out one of the two")
    return problems


def _unread(aim: Aim, config: Config) -> list[str]:
    """Return which settings of another aim were given."""
    data = config.data
    problems: list[str] = []
    if aim.name != "masked" and config.train.mask_fraction != TrainConfig().mask_fraction:
        problems.append("train.mask_fraction: is for model.kind encoder without data.label: leave it out")
    if data.plain_share and data.objective not in SPANS:
        problems.append(f"data.plain_share: is for a span objective ({', '.join(SPANS)}): leave it out")
    if data.questions is None and data.questions_share != DataConfig().questions_share:
        problems.append("data.questions_share: there are none to mix in: give data.questions")
    return problems


def _of_encoders(config: Config) -> list[str]:
    """Return which settings are for models that predict the next token."""
    data = config.data
    problems: list[str] = []
    if data.layout == "stream":
        problems.append("data.layout: stream is for models that predict the next token: leave it out for an encoder")
    if config.train.loss == "sequence" and data.layout == "padded":  # of other layouts it is refused of any model
        problems.append("train.loss: sequence is for data.layout padded and models that predict the next token")
    if data.group_batches > 1:
        problems.append("data.group_batches: is for models that predict the next token: leave it out for an encoder")
    if config.model.start_from is not None:
        problems.append("model.start_from: is for models that predict the next token, not for an encoder")
    return problems


def _of_spans(config: Config) -> list[str]:
    data, tokenizer, model = config.data, config.tokenizer, config.model
    problems: list[str] = []
    if model.context < SPANS_CONTEXT:
        problems.append(f"model.context: documents with hidden spans need at least {SPANS_CONTEXT}")
    if data.objective == "spans" and tokenizer.kind != "bpe" and tokenizer.file is None and model.start_from is None:
        problems.append("data.objective: spans needs T5's sentinel tokens, which tokenizer.kind bpe has")
    return problems


def _of_answers(config: Config) -> list[str]:
    given = [name for name in ("separator", "column") if getattr(config.data, name) != getattr(DataConfig(), name)]
    return [f"data.{name}: questions with answers have none: leave it out" for name in given]


PROBLEMS: dict[str, Callable[[Config], list[str]]] = {
    "masked": _of_encoders,
    "classes": _of_encoders,
    "spans": _of_spans,
    "answers": _of_answers,
}
"""What contradicts an aim, beside what is said of all."""
