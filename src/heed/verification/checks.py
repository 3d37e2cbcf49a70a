"""What a verification comes to, and when two figures are the same.

same          to the last bit, or to the hash
close         within the tolerance, where machine, threads or versions are others than those of the record
differs       it is not what the record says
not checked   it could not be tried, and why
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["same", "close", "differs", "not checked"]
FIGURES, COUNTED, STEPS = 1e-4, 0.01, 10
"""Elsewhere than on the machine of the record: how far a loss, a perplexity or bits per byte may be off (a share of
its value), how far what is counted out of many (an accuracy, an interval; of whole numbers a share), and how many times
as far after some steps of training."""
NATS = ("loss", "perplexity", "bits_per_byte", "gradient_norm")
CLOCK = ("seconds", "per_second", "memory_bytes")
"""How the names of what the clock and the machine decide end, which is not compared."""


@dataclass(frozen=True)
class VerifiedPart:
    """One thing that was tried."""

    name: str
    state: State
    said: str
    """What was found, one line."""


@dataclass
class VerifiedFolder:
    """What was found of a folder."""

    folder: str
    kind: str
    """What the folder is, such as "run"."""
    elsewhere: list[str] = field(default_factory=list)
    """What is not as it was when the record was made; empty: the same bits are asked for."""
    checks: list[VerifiedPart] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing differs."""
        return all(check.state != "differs" for check in self.checks)

    def note(self, name: str, state: State, said: str) -> None:
        """Add what was found."""
        self.checks.append(VerifiedPart(name, state, said))

    def compare(self, name: str, recorded: Mapping[str, Any], found: Mapping[str, Any], *, times: int = 1) -> None:
        """Add whether two mappings of figures say the same; `times` as far off as usual is still close."""
        before, now = (
            {key: value for key, value in leaves(values) if not key.endswith(CLOCK)} for values in (recorded, found)
        )
        names = list(before | now)
        odd = [key for key in names if before.get(key, KeyError) != now.get(key, KeyError)]
        far = [key for key in odd if not close(key, before.get(key), now.get(key), times)]
        bad = far if self.elsewhere else odd
        if bad:
            more = f" ({len(bad) - 1} more differ)" if len(bad) > 1 else ""
            first = f"{bad[0]} is {now.get(bad[0], 'missing')}, the record says {before.get(bad[0], 'nothing')}{more}"
            self.note(name, "differs", first)
        elif odd:
            share = max(abs(now[key] - before[key]) / max(abs(before[key]), 1e-12) for key in odd)
            self.note(
                name, "close", f"{len(names):,} values, {len(odd):,} of them off by up to {share:.1e} of the value"
            )
        else:
            self.note(name, "same", f"{len(names):,} values, the same to the last bit")

    def plain(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "holds": self.holds}


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each single value of nested mappings and lists by its dotted name.

    >>> dict(leaves({"loss": 1.5, "interval": [1, 2]}))
    {'loss': 1.5, 'interval.0': 1, 'interval.1': 2}
    """
    inner: Sequence[tuple[Any, Any]] | None = None
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list | tuple):
        inner = list(enumerate(value))
    if inner is None:
        yield name, value
    else:
        for key, one in inner:
            yield from leaves(one, f"{name}.{key}" if name else str(key))


def close(name: str, recorded: Any, found: Any, times: int = 1) -> bool:
    """Whether two values are as near as other machines give them; what passports say must be equal.

    >>> close("test.loss", 2.0, 2.0001), close("test.loss", 2.0, 2.01), close("test.accuracy", 0.9, 0.905)
    (True, False, True)
    """
    numbers = all(type(value) in (int, float) for value in (recorded, found))
    if not numbers or "passport" in name.split("."):
        return recorded == found
    if name.endswith(NATS):
        return abs(recorded - found) <= times * FIGURES * abs(recorded)
    whole = max(1.0, abs(recorded)) if type(recorded) is int else 1.0
    return abs(recorded - found) <= COUNTED * whole
