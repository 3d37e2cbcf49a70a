"""The page of an exploration: its maps, what each head is good for, and what each layer would say.

read_exploration(folder) -> render(record, arrays) -> HTML        write_exploration_page(folder) does both
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heed.explore.exploration_folder import ARRAYS, PAGE, Exploration, read_exploration, telling
from heed.explore.map_images import SMALL, address, shrink, to_bytes
from heed.records.exploration import EXPLORATION, ExplorationFile, ExploredHead
from heed.report.figure import Figure, Line, Plane, Row, Scale, lines_figure, rows_figure
from heed.report.numbers import (
    MISSING,
    format_count,
    format_loss,
    format_percent,
    places,
    said_difference,
    said_interval,
    said_number,
    said_shares,
)
from heed.report.parts import (
    AttentionMaps,
    HeadMap,
    Multiples,
    Page,
    PageSection,
    Pairs,
    Paragraph,
    Tabled,
    WideFigure,
    again,
    render_page,
    write_page,
)
from heed.report.samples import visible
from heed.report.tabular import TextCell, TextTable, words_table

ROOM = 3 << 20
"""Bytes of maps in full that a page holds; the others are there in small."""
BARS = 12
"""Heads of a figure."""
LENSED = 32
"""Places of the prompt that the table of the lens has: the last ones."""


def write_exploration_page(folder: str | Path) -> Path:
    """Write report.html beside explore.json and return its path. Raises `CheckpointError` where that cannot be done."""
    return write_page(Path(folder) / PAGE, render(read_exploration(folder)))


def render(found: Exploration) -> str:
    """Return the page as HTML; equal explorations give equal bytes."""
    record, arrays = found.record, found.arrays
    heads = record.heads
    sections = [
        PageSection("maps", "Who looks at whom", [maps_of(record, arrays)], quiet=True),
        PageSection("effects", "What a head is good for", [
            WideFigure(effects_figure(record)), Paragraph(loss_sentence(record), "key small"),
        ]),
        PageSection("induction", "Induction", [
            WideFigure(induction_figure(record)), Paragraph(induction_sentence(record), "key small"),
        ]),
        PageSection("lens", "What each layer would say", [
            Multiples([figure for figure in [lens_figure(record)] if figure]),
            *lens_parts(record, arrays),
        ]),
        PageSection("heads", "Every head", [Tabled(heads_table(record, heads), "Figures of every head")]),
        PageSection("setup", "Setup", [Pairs(setup_rows(record))]),
        again(shlex.join(record.command)),
    ]  # fmt: skip
    return render_page(
        Page(
            "exploration",
            f"What {record.model} looks at",
            verdict(record),
            sections,
            design(record),
            sources=f"{EXPLORATION} and {ARRAYS}",
            scripts=("maps.js",),
        )
    )


def name_of(head: ExploredHead) -> str:
    """Return how a head is called: layer.head, both from 0."""
    return f"{head.layer}.{head.head}"


def verdict(record: ExplorationFile) -> str:
    """Say in a sentence what was found first."""
    best = telling(record.heads, 1)
    if not best:
        return f"{record.model} has no head whose weights can be shown."
    head = best[0]
    what = f", which looks mostly at {LOOKS[head.role]}," if head.role in LOOKS else ""
    if head.mean is not None and head.mean_interval is not None:
        low, high = head.mean_interval
        if low > 0:
            rise = f"{said_number(head.mean, places(low, high))} ({said_interval(low, high)})"
            return f"Head {name_of(head)}{what} is missed most: without it the loss is {rise} nats a token higher."
        return "No head is missed by itself: switched off alone, none makes the loss rise for sure."
    share = format_percent(head.share)
    return f"Head {name_of(head)}{what} looks most sharply: its weights have {share} of the entropy they could have."


LOOKS = {
    "previous token": "the token before",
    "first token": "the first token",
    "induction": "what followed the same token before",
    "looks everywhere": "everything alike",
}
"""Roles, as a sentence has them."""


def design(record: ExplorationFile) -> str:
    """Say in a sentence what was looked at."""
    shown = "" if len(record.shown) == record.layers else f", of which {len(record.shown)} were looked at"
    both = "a token sees what stands before it" if record.causal else "a token sees both sides"
    return (
        f"{record.source}: {record.kind}, {record.layers} layers of {record.heads_per_layer} heads{shown}; {both}. "
        f"Layers and heads are counted from 0. {' '.join(note[0].upper() + note[1:] + '.' for note in record.notes)}"
    ).strip()


# ---------------------------------------------------------------------- maps


def maps_of(record: ExplorationFile, arrays: dict[str, np.ndarray]) -> AttentionMaps:
    """Return the maps (layers, H, T, T) as pictures: in full as far as there is room, the most telling heads first."""
    weights, gates = arrays["weights"], arrays.get("gate")
    T = weights.shape[-1]
    place = {layer: i for i, layer in enumerate(record.shown)}
    heads = [head for head in record.heads if head.reading != "none"]
    images = {name_of(head): to_bytes(weights[place[head.layer], head.head]) for head in heads}
    full: dict[str, str] = {}
    room = ROOM
    for head in telling(heads, len(heads)) if T > SMALL else []:
        made = address(images[name_of(head)])
        if len(made) > room:
            break
        full[name_of(head)], room = made, room - len(made)
    first = next(iter(telling(heads, 1)), None)
    return AttentionMaps(
        [
            HeadMap(
                layer=head.layer,
                head=head.head,
                small=address(shrink(images[name_of(head)])),
                full=full.get(name_of(head), ""),
                role=head.role,
                gate=[] if gates is None else gates[place[head.layer], head.head].astype(float).round(3).tolist(),
            )
            for head in heads
        ],
        tokens=record.tokens,
        causal=record.causal,
        first="" if first is None else name_of(first),
    )


# ---------------------------------------------------------------------- figures


def effects_figure(record: ExplorationFile) -> Figure | None:
    """Return what the loss rises by without each of the heads that are missed most."""
    known = [head for head in record.heads if head.mean is not None]
    if not known or record.loss is None:
        return None
    best = telling(record.heads, BARS)
    rows = [
        Row(
            f"{name_of(head)}  {head.role}" if head.role in LOOKS else name_of(head),
            said_rise(head.mean, head.mean_interval),
            1,
            head.mean,
            _pair(head.mean_interval),
            filled=bool(head.mean_interval and head.mean_interval[0] > 0),
        )
        for head in best
    ]
    sure = sum(bool(head.mean_interval and head.mean_interval[0] > 0) for head in known)
    title = f"{sure} of {len(known)} heads are missed when they are switched off alone"
    if not sure:
        title = "No head is missed when it is switched off alone"
    caption = (
        "Rise of the loss when what a head mixes is replaced by its mean over the text, with a 95 % t interval over "
        f"{record.loss['windows']} windows, paired. Each interval is for its head alone: of many, some lie above 0 "
        "by chance. A filled mark: the interval is above 0."
    )
    return rows_figure(
        "effects", title, caption, rows, Scale("nats a token", ("better without", "worse without")), "intervals"
    )


def loss_sentence(record: ExplorationFile) -> str:
    """Say what the loss was measured on."""
    if record.loss is None:
        return ""
    loss = record.loss
    edges = loss.get("interval")
    bars = f" ({said_interval(*edges)})" if edges else ""
    return (
        f"With all heads the loss is {format_loss(loss['nats'])} nats a token{bars}, on {loss['windows']} windows of "
        f"{loss['window']} tokens of {loss['text']}. Heads that do the same work stand in for each other, so a head "
        "whose loss matters little may still do something."
    )


def induction_figure(record: ExplorationFile) -> Figure | None:
    """Return the scores of the heads that do most induction."""
    scored = sorted(
        (head for head in record.heads if head.induction is not None), key=lambda head: -(head.induction or 0)
    )
    if not scored or record.induction is None:
        return None
    rows = [
        Row(name_of(head), said_share(head.induction, head.induction_interval), 2, 100 * (head.induction or 0.0),
            _pair(head.induction_interval, 100))
        for head in scored[:BARS]
    ]  # fmt: skip
    best, chance = scored[0], record.induction["chance"]
    share = format_percent(best.induction)
    title = f"Head {name_of(best)} looks at what followed the token before with {share} of its weight"
    if (best.induction or 0.0) < 2 * chance:
        title = "No head looks at what followed the token before much more than chance"
    facts = record.induction
    caption = (
        f"Weight on what came after earlier copies of the token, on {facts['sequences']} sequences of "
        f"{facts['repeats']} times the same {facts['length']} random tokens (seed {facts['seed']}); 95 % t interval "
        f"over sequences. Stroke: a head that looks everywhere alike, {format_percent(chance)}."
    )
    return rows_figure("induction-scores", title, caption, rows, Scale("% of the weight", rule=100 * chance))


def induction_sentence(record: ExplorationFile) -> str:
    """Say what repetition does to the loss."""
    facts = record.induction or {}
    if "gain" not in facts:
        return ""
    edges = facts.get("gain_interval")
    return (
        f"The loss of the first copy is {format_loss(facts['first_nats'])} nats a token, of later ones "
        f"{format_loss(facts['later_nats'])}; first less later: {said_difference(facts['gain'], _pair(edges))}."
    )


def lens_figure(record: ExplorationFile) -> Figure | None:
    """Return the loss by layer: of the text that heads are judged by, with its interval, else of the prompt."""
    if not record.lens or any(value is None for value in record.lens):
        return None
    words = ("embeddings", *(f"layer {n}" for n in range(record.layers)))
    at = list(range(len(words)))
    y = [float(value or 0.0) for value in record.lens]
    line = Line("", at, y, 1, dots=True)
    what, band = f"the {len(record.tokens) - 1} tokens of the prompt that follow another", ""
    title = f"If it stopped earlier, the prompt would cost {format_loss(y[-2])} nats a token, not {format_loss(y[-1])}"
    if record.lens_text and record.loss is not None:
        edges = [facts["interval"] for facts in record.lens_text]
        y = [facts["nats"] for facts in record.lens_text]
        line = Line("", at, y, 1, [low for low, _ in edges], [high for _, high in edges], dots=True)
        what, band = (
            f"{record.loss['windows']} windows of {record.loss['text']}",
            " Band: 95 % t interval over windows.",
        )
        title = _last_layer(record)
    caption = (
        f"Loss of {what}, if the model stopped after a layer: the last norm and the output matrix on the residual "
        f"stream.{band}"
    )
    return lines_figure("lens-loss", title, caption, [line], Plane("after", "nats a token", words=words, log_y=True))


def _last_layer(record: ExplorationFile) -> str:
    """Say what the last layer adds to the one before, paired over windows."""
    before = record.lens_text[-2]
    low, high = before["over_last_interval"]
    said = (
        f"{said_number(abs(before['over_last']), places(low, high))} ({said_interval(*sorted((abs(low), abs(high))))})"
    )
    if low > 0:
        return f"The last layer takes {said} nats a token off the loss"
    if high < 0:
        return f"The last layer adds {said} nats a token to the loss"
    return "The last layer changes the loss by nothing that can be told"


def lens_parts(record: ExplorationFile, arrays: dict[str, np.ndarray]) -> list[Any]:
    """Return the table of what each layer would say after each token."""
    if "lens_top" not in arrays:
        return []
    names = dict(zip(arrays["lens_ids"].tolist(), arrays["lens_names"].tolist(), strict=True))
    top, log_p = arrays["lens_top"], arrays["lens_log_p"]
    T = top.shape[1]
    rows = []
    for t in range(max(0, T - LENSED), T):
        cells = []
        for layer in range(len(top)):
            said = [
                f"{visible(names[i])} {format_percent(float(np.exp(p)))}"
                for i, p in zip(top[layer, t].tolist(), log_p[layer, t].tolist(), strict=True)
            ]
            cells.append(TextCell(visible(names[int(top[layer, t, 0])]), hint=", ".join(said)))
        follows = visible(record.tokens[t + 1]) if t + 1 < T else MISSING
        rows.append((visible(record.tokens[t]), *cells, follows))
    head = ("after", "embeddings", *(f"layer {n}" for n in range(len(top) - 1)), "what follows")
    some = f"The last {LENSED} of {T} tokens. " if T > LENSED else ""
    caption = (
        f"{some}The likeliest next token after each layer; pointing at it shows the five likeliest. {ARRAYS} has all."
    )
    return [Tabled(words_table(head, rows, len(head), caption), "What each layer would say")]


# ---------------------------------------------------------------------- tables


def heads_table(record: ExplorationFile, heads: Sequence[ExploredHead]) -> TextTable:
    """Return the figures of heads, a row each; columns that no head has are left out."""
    columns = [
        ("looks at", [head.role or MISSING for head in heads]),
        ("entropy (nats)", [_fixed(head.entropy, 2) for head in heads]),
        ("of possible", [format_percent(head.share) for head in heads]),
        ("distance (tokens)", [_fixed(head.distance, 1) for head in heads]),
        ("previous", [format_percent(head.previous) for head in heads]),
        ("first", [format_percent(head.first) for head in heads]),
    ]
    gated = any(head.gate is not None for head in heads)
    if gated:
        columns.append(("gate", [format_percent(head.gate) for head in heads]))
    if any(head.induction is not None for head in heads):
        columns.append(("induction", [said_share(head.induction, head.induction_interval) for head in heads]))
    if any(head.mean is not None for head in heads):
        columns.append(("loss, mean", [said_rise(head.mean, head.mean_interval) for head in heads]))
        columns.append(("loss, zero", [said_rise(head.zero, head.zero_interval) for head in heads]))
    rows = [(name_of(head), *(values[i] for _, values in columns)) for i, head in enumerate(heads)]
    caption = (
        "Layer.head. On the prompt: entropy, its share of what the keys allow, mean distance, weight on the token "
        f"before and on the first.{' Gate: what it lets through, on the mean.' if gated else ''} Induction: on "
        "repeated random tokens. Loss: by how much it rises, in nats a token, "
        "with the mean or zero in place of what the head mixes. Brackets: 95 % intervals."
    )
    return words_table(("head", *(name for name, _ in columns)), rows, 2, caption)


def short_table(record: ExplorationFile, heads: Sequence[ExploredHead]) -> TextTable:
    """Return the figures of a few heads that a terminal has room for."""
    table = heads_table(record, heads)
    left_out = ("entropy (nats)", "distance (tokens)", "loss, zero")
    kept = [place for place, name in enumerate(table.head) if name not in left_out]
    return words_table([table.head[i] for i in kept], [[row[i] for i in kept] for row in table.rows], 2)


def setup_rows(record: ExplorationFile) -> list[tuple[str, str]]:
    """Return what was looked at, as pairs."""
    prompt = record.prompt if len(record.prompt) <= 400 else f"{record.prompt[:400]}…"
    rows = [
        ("model", record.source),
        ("attention", record.kind),
        ("layers, heads", f"{record.layers}, {record.heads_per_layer}"),
        ("context", f"{format_count(record.context)} tokens"),
        (
            "prompt",
            f"{prompt} ({len(record.tokens):,} tokens{', ' + record.prompt_from if record.prompt_from else ''})",
        ),
    ]
    if record.map_error is not None:
        rows.append(("maps against the layer's output", f"{record.map_error:.1e} of its length at most"))
    return rows


def said_rise(value: float | None, edges: Sequence[float] | None) -> str:
    """Say by how much a loss rises, with its interval.

    >>> said_rise(0.1234, [0.1, 0.15]), said_rise(None, None)
    ('+0.123 (+0.100 to +0.150)', '–')
    """
    return MISSING if value is None else said_difference(value, _pair(edges))


def said_share(value: float | None, edges: Sequence[float] | None) -> str:
    """Say a share of the weight in percent, with its interval.

    >>> said_share(0.5, [0.4, 0.6])
    '50 % (40.0 to 60.0 %)'
    """
    if value is None:
        return MISSING
    return format_percent(value) + (f" ({said_shares(max(0.0, edges[0]), edges[1])})" if edges else "")


def _fixed(value: float | None, decimals: int) -> str:
    return MISSING if value is None else f"{value:.{decimals}f}"


def _pair(edges: Sequence[float] | None, times: float = 1.0) -> tuple[float, float] | None:
    return None if edges is None else (times * edges[0], times * edges[1])
