"""What figures count one at a time, and what a page says of it: a row for the unit of each aim.

What is learned names its unit (`heed.config.Aim.unit`), every passport holds it, and all that a page or a sentence says
otherwise for one unit than for another is here. A unit without a row is shown as what it is, a loss in nats per unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from heed.config import SPANS, unit_of_spans


@dataclass(frozen=True)
class Answered:
    """How the share of right ones is said."""

    asked: str
    """What has been put to the model, as "texts"."""
    constant: str
    """What a model that has learned nothing would always say, as "class"."""
    done: str
    """What the model did with each, as "classified"."""


@dataclass(frozen=True)
class CountedUnit:
    """What is said of figures that count this unit."""

    nats: str
    """Behind its loss."""
    loss: str = "Loss"
    """What its loss is called on the first screen."""
    perplexity: bool = False
    """Whether exp of the loss is a perplexity, which stands beside it."""
    accuracy: Answered | None = None
    """Whether some are right and others wrong, and how that is said."""
    training_loss: str = "loss"
    """The figure of an evaluation that is of the unit of the training loss."""
    held_out: str = "text that the model never trained on"
    """What validation is on."""
    view: str = "with up to {context:,} tokens of context in {windows}, documents {documents}"
    """What the model saw of the text before each, with the fields of a passport, and `windows`."""


_SPAN = CountedUnit(
    "nats per token of a span",
    loss="Hidden-span loss",
    held_out="the hidden spans of text that the model never trained on, and on nothing else",
    view="each document in a row of up to {context:,} tokens, its hidden text at the end",
)

COUNTED_UNITS: dict[str, CountedUnit] = {
    "token": CountedUnit("nats per token", perplexity=True),
    "masked token": CountedUnit("nats per hidden token", loss="Masked-token loss"),
    **{unit_of_spans(way): _SPAN for way in SPANS},
    "example": CountedUnit(
        "nats per example",
        accuracy=Answered("texts", "class", "classified"),
        view="each read up to its token {context:,}",
    ),
    "answer": CountedUnit(
        "nats per answer",
        accuracy=Answered("questions", "answer", "answered"),
        training_loss="token_loss",
        held_out="the answers to questions that the model never trained on, and on nothing else",
        view="each after its question alone, in up to {context:,} tokens",
    ),
}
"""By the name that a passport gives it."""


def counted_unit(name: str) -> CountedUnit:
    """Return what is said of a unit.

    >>> counted_unit("answer").loss, counted_unit("reply").nats
    ('Loss', 'nats per reply')
    """
    return COUNTED_UNITS.get(name) or CountedUnit(f"nats per {name}")
