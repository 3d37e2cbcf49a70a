"""`heed list`: everything that has a name."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import tyro

from heed.cli.settings import AsJson, parse
from heed.cli.streams import show, terminal_width
from heed.config import PRESETS, Section
from heed.errors import ConfigError, did_you_mean
from heed.report.tabular import side_by_side

WIDTH = 120
"""Columns that a table may fill where no terminal is narrower."""


class ListFlags(Section):
    """List what there is by name, or everything about one.

    examples:
      heed list                       the kinds of things
      heed list corpora               one kind, with a line on each
      heed list attention             the attention mechanisms, and what each can do
      heed list attention softmax     everything about one, with its options
      heed list attention --json
    """

    kind: Annotated[str | None, tyro.conf.Positional] = None
    """corpora, presets, attention, scores, projections, masks, positions, optimizers, schedules or tokenizers."""
    name: Annotated[str | None, tyro.conf.Positional] = None
    """One of that kind, such as softmax. An attention mechanism may also be your own: package.module:Class."""
    json_: AsJson = False


def main(argv: list[str]) -> int:
    """Print the names of one kind, or the kinds; 0 when done."""
    flags = parse(ListFlags, argv, "list")
    if flags.kind is None:
        content: dict[str, Any] = {kind: reader.__doc__ for kind, reader in KINDS.items()}
    elif flags.kind not in KINDS:
        raise ConfigError(f"unknown kind {flags.kind!r}, {did_you_mean(flags.kind, KINDS)}")
    elif flags.name is None:
        content = KINDS[flags.kind]()
    elif flags.kind == "attention":
        content = one_mechanism(flags.name)
    else:
        content = KINDS[flags.kind]()
        if flags.name not in content:
            raise ConfigError(f"unknown name {flags.name!r} of {flags.kind}, {did_you_mean(flags.name, content)}")
        content = {flags.name: content[flags.name]}
    if flags.json_:
        print(json.dumps(content, indent=2, default=sorted))
    elif flags.kind == "attention":
        show((mechanism_table(content) if flags.name is None else mechanism_page(content)).splitlines())
    else:
        width = max(map(len, content))
        for name, about in content.items():
            head, said = f"{name:<{width}}  ", about if isinstance(about, str) else _line(about)
            print("\n".join(wrapped(head, said)) if terminal_width() else head + said)
    return 0


def _line(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def corpora() -> dict[str, Any]:
    """Corpora that data.source takes by name."""
    from heed.text.named import NAMED

    return {name: spec.description for name, spec in NAMED.items()}


def presets() -> dict[str, Any]:
    """Shapes of models that model.preset takes."""
    return dict(PRESETS)


def attention() -> dict[str, Any]:
    """Attention mechanisms, with what each can and cannot do."""
    from heed.attention import catalogue

    return {
        name: {"package": entry.package, **(asdict(entry.kind.facts) if entry.kind else {"problem": entry.problem})}
        for name, entry in catalogue().items()
    }


def scores() -> dict[str, Any]:
    """How a query may meet a key: what model.attention.score takes."""
    from heed.attention import SCORES

    return _first_lines(SCORES)


def projections() -> dict[str, Any]:
    """How queries, keys and values come from x: what model.attention.projection takes."""
    from heed.attention import PROJECTIONS

    parts = ("queries", "keys", "values")
    about = {}
    for name, made in PROJECTIONS.items():
        makers = (made.q, made.k, made.v)
        shared = [part for part, maker in zip(parts, makers, strict=True) if makers.count(maker) > 1]
        text = f"{' and '.join(shared)} share a matrix" if shared else "a matrix each for queries, keys and values"
        if made.network:
            text += ", after a hidden layer with a GELU" + (" each" if made.network == "own" else "")
        if made.bends:
            text += f"; {next(part for part in parts if part[0] == made.bends)} go through a GELU"
        about[name] = text
    return about


def masks() -> dict[str, Any]:
    """Masks: who may look at whom (True = may look)."""
    from heed.attention import MASKS

    return _first_lines(MASKS)


def positions() -> dict[str, Any]:
    """Schemes of positions that model.positions takes."""
    from heed.attention import POSITIONS

    return _first_lines(POSITIONS)


def optimizers() -> dict[str, Any]:
    """Optimizers that train.optimizer takes."""
    from heed.training.optim import OPTIMIZERS

    return _first_lines(OPTIMIZERS)


def schedules() -> dict[str, Any]:
    """Schedules of the learning rate that train.schedule takes."""
    from heed.training.schedules import SCHEDULES

    return _first_lines(SCHEDULES)


def tokenizers() -> dict[str, Any]:
    """Kinds of tokenizers that tokenizer.kind takes."""
    return {
        "bpe": "byte-level byte-pair encoding, trained from scratch; takes any text",
        "char": "one token a character; a character never seen is an error",
        "word": "one token a whitespace-separated word, <eos> at each line end, <unk> for the rest (WikiText)",
    }


def _first_lines(catalogue: Any) -> dict[str, Any]:
    """Return the first line of each entry's docstring."""
    return {name: (entry.__doc__ or "").strip().split("\n")[0] for name, entry in catalogue.items()}


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "corpora": corpora,
    "presets": presets,
    "attention": attention,
    "scores": scores,
    "projections": projections,
    "masks": masks,
    "positions": positions,
    "optimizers": optimizers,
    "schedules": schedules,
    "tokenizers": tokenizers,
}
"""What can be listed."""


def one_mechanism(name: str) -> dict[str, Any]:
    """Return everything about one mechanism: what it is, its facts, and its options with type, default and meaning."""
    from heed.attention import catalogue, find_mechanism
    from heed.attention.options import option_docs
    from heed.models.block import mechanism_options

    kind = find_mechanism(name)
    known = catalogue().get(name)
    docs = option_docs(kind)
    options = {
        option: {"type": _plain(annotation), "default": default, "about": docs.get(option, "")}
        for option, (annotation, default) in mechanism_options(kind).items()
    }
    return {
        "name": name,
        "package": known.package if known else name.partition(":")[0],
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "about": (kind.__doc__ or "").strip().split("\n")[0],
        **asdict(kind.facts),
        "options": options,
    }


def _plain(annotation: Any) -> str:
    """Return a type as a user reads it.

    >>> from typing import Literal
    >>> _plain(int), _plain(int | None), _plain(Literal["a", "b"])
    ('int', 'int | None', "one of 'a', 'b'")
    """
    if isinstance(annotation, type):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("Literal[", "one of ").removesuffix("]")


def mechanism_page(content: dict[str, Any]) -> str:
    """Return everything about one mechanism as text."""
    lines = wrapped(f"{content['name']}: ", content["about"])
    for key, value in content.items():
        if key in ("name", "about", "options"):
            continue
        lines += wrapped(f"  {key:<16}", _said(key, value))
    lines += ["  options" + ("" if content["options"] else "         none")]
    for option, about in content["options"].items():
        lines += wrapped(f"    {option}  ", f"{about['type']}, default {about['default']}. {about['about']}".strip())
    return "\n".join(lines)


def _said(key: str, value: Any) -> str:
    """Return the value of a fact in words."""
    if isinstance(value, frozenset):
        return ", ".join(sorted(value)) or "none"
    if key == "growth":
        return f"T^{value[0]} in time, T^{value[1]} in memory"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def width_of_tables() -> int:
    """Return how many columns a table may fill."""
    return min(WIDTH, terminal_width() or WIDTH)


def wrapped(head: str, text: str) -> list[str]:
    """Return text behind a head, further lines below the text."""
    return textwrap.wrap(
        text, width_of_tables(), initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False
    )


def mechanism_rows(content: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table of mechanisms, the head first; one that cannot be used has one long cell."""
    rows = [["mechanism", "causal", "encoder", "gradients", "positions", "time", "memory", "cache", "grouped"]]
    for name, facts in content.items():
        if "problem" in facts:
            rows.append([name, facts["problem"]])
            continue
        rows.append([
            name if facts["package"] == "heed" else f"{name} ({facts['package']})",
            {"exact": "yes", "leaks": "LEAKS", "never": "no"}[facts["causal"]],
            "yes" if "padding" in facts["masks"] else "no",
            {"all": "all", "values": "values only"}[facts["differentiable"]],
            placed(facts["positions"]),
            facts["time"],
            facts["memory"],
            {"keys": "keys", "state": "sums", "none": "no"}[facts["cache"]],
            "yes" if facts["grouped"] else "no",
        ])  # fmt: skip
    return rows


def placed(names: frozenset[str]) -> str:
    """Return the schemes of positions in short: "added" are those that change the embeddings alone, or nothing.

    >>> placed(frozenset({"none", "learned", "sinusoidal", "rotary"}))
    'added, rotary'
    """
    added = {"none", "learned", "sinusoidal"}
    if added < names and len(names) == 6:
        return "all"
    return ", ".join(["added", *sorted(names - added)]) if added <= names else ", ".join(sorted(names))


def mechanism_table(content: dict[str, Any]) -> str:
    """Return the table of mechanisms as text."""
    legend = [
        "positions added: none, learned, sinusoidal. cache sums: running sums of a fixed size. grouped: may have fewer",
        "key/value heads. T tokens, D width, H heads. More on one, with its options: heed list attention NAME",
    ]
    return "\n".join([*columns(mechanism_rows(content), shrink=(4, 5, 6)), "", *legend])


def columns(rows: Sequence[Sequence[str]], shrink: Sequence[int], least: int = 8) -> list[str]:
    """Return rows as lines in columns; the cells of those named in `shrink` are wrapped, to `least`, so that all fit.

    Where that is not enough for a terminal there are several tables, each with the first column. A row of two cells
    among longer ones is a name and a remark, which takes the rest of the line.
    """
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[i]) for row in full) for i in range(len(rows[0]))]
    widths[0] = max(widths[0], *(len(row[0]) for row in rows))
    while sum(widths) + 2 * (len(widths) - 1) > width_of_tables() and max(widths[i] for i in shrink) > least:
        widths[max(shrink, key=lambda i: widths[i])] -= 1
    lines: list[str] = []
    for part in side_by_side(widths, terminal_width()):
        lines += [""] if lines else []
        for row in rows:
            if len(row) < len(rows[0]):
                lines += wrapped(f"{row[0]:<{widths[0]}}  ", row[1])
                continue
            cells = {j: textwrap.wrap(row[j], widths[j]) or [""] for j in part}
            for i in range(max(map(len, cells.values()))):
                words = [f"{cell[i] if i < len(cell) else '':<{widths[j]}}" for j, cell in cells.items()]
                lines.append("  ".join(words).rstrip())
    return lines
