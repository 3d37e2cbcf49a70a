"""What was measured: named values of one split, each of its kind, with the passport that says on what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heed.report.figure_kinds import FigureKind
from heed.report.numbers import said_shares
from heed.report.passport import Passport


@dataclass(frozen=True)
class Figures:
    """The figures of one evaluation.

    >>> from heed.report.figure_kinds import ACCURACY, LOSS
    >>> found = Figures({"loss": 0.5, "accuracy": 0.75}, (ACCURACY, LOSS), {"accuracy": (0.6, 0.86)})
    >>> found.as_dict(), found.lines()[0]
    ({'loss': 0.5, 'accuracy': 0.75, 'accuracy_interval': [0.6, 0.86]}, ('accuracy', '75.0 % (60.0 to 86.0 %)'))
    """

    values: Mapping[str, Any]
    """Figures, and what they are made of, by name, in the order of the files; what the data cannot give is left out."""
    kinds: tuple[FigureKind, ...]
    """Of the figures that people are shown, in their order."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The 95 % interval of those that have one, by name."""
    measured_on: Passport | None = None
    """None for those of a tune, whose record says once what all of them are of."""
    headline: str = "loss"
    """The one to compare models by where none is named: that which depends least on how the text was cut."""
    chosen_by: str = "loss"
    """The one that chooses the best checkpoint, lower is better."""
    before: tuple[tuple[str, str], ...] = ()
    """What people are told before the figures, each with its name."""
    answers: Any = None
    """(n, C) float64, what the figures of a tune are made of, in the split's order: see `Target.answers`."""

    def __getitem__(self, name: str) -> Any:
        """The value of a name. Raises `KeyError` where there is none."""
        return self.values[name]

    def get(self, name: str) -> Any:
        """Return the value of a name, None where there is none."""
        return self.values.get(name)

    @property
    def loss(self) -> float:
        """Nats a unit."""
        return self.values["loss"]

    @property
    def criterion(self) -> float:
        """What chooses the best checkpoint, lower is better."""
        return self.values[self.chosen_by]

    @property
    def passport(self) -> Passport:
        """What the figures were measured on."""
        assert self.measured_on is not None, "the figures of a tune have no passport of their own"
        return self.measured_on

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for metrics.jsonl and evaluation.json, each interval behind its figure."""
        plain: dict[str, Any] = {}
        for name, value in self.values.items():
            plain[name] = value
            if name in self.intervals:
                plain[f"{name}_interval"] = list(self.intervals[name])
        return plain if self.measured_on is None else plain | {"passport": self.measured_on.as_dict()}

    def lines(self) -> list[tuple[str, str]]:
        """Return the figures as people read them, each with its name."""
        shown = [(self._label(kind), self._said(kind)) for kind in self.kinds if self.get(kind.name) is not None]
        return [*self.before, *shown]

    def _label(self, kind: FigureKind) -> str:
        leaking = "LEAKING " if kind.one_pass and self.get("leaks") is not None else ""
        return leaking + kind.label.format_map(self.values)

    def _said(self, kind: FigureKind) -> str:
        said = f"{kind.written(self.values[kind.name])} {kind.unit}".rstrip()
        if kind.counts is not None:
            part, whole = (self.values[name] for name in kind.counts)
            said = f"{part:,} of {whole:,}, {said}"
        return f"{said} ({said_shares(*self.intervals[kind.name])})" if kind.name in self.intervals else said
