"""The tables of a tune: results, costs, pairs of arms, data; for a terminal, Markdown, LaTeX and a page.

Arms stand in the order of their validation accuracy, which chooses; then those that broke down or have not run yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from heed.records.scores import AnyScores
from heed.report.numbers import (
    MISSING,
    format_accuracy,
    format_count,
    format_percent,
    format_rate,
    human_bytes,
    human_seconds,
    places,
    said_difference,
    said_interval,
    said_number,
    said_p,
    said_shares,
    said_size,
)
from heed.report.paired import Paired
from heed.report.statistics import Interval
from heed.report.tabular import TextTable, to_text
from heed.report.tuning_advice import Gap, gaps_of, interval_of, pairs_of
from heed.report.tuning_arms import Arm
from heed.report.tuning_epochs import epochs_table
from heed.report.tuning_findings import (
    examples_and_seeds,
    findings,
    in_order,
    leak_sentences,
    listed,
    mixed_schedules,
    passes_sentence,
    show_count,
    test_of,
    verdict,
)
from heed.report.tuning_predictions import Split
from heed.report.tuning_record import SPLITS, TuningRecord, read_tuning

MOST_PAIRS = 45
"""Pairs of arms in the table, those of the largest differences: ten arms have as many."""


def results_table(record: TuningRecord, gaps: Mapping[str, Gap]) -> TextTable:
    """Return the figures of each arm (of classes accuracy, F1, correlation), and always the same answer below them."""
    split, reference = record.split, record.reference
    splits = SPLITS if split == "test" else SPLITS[:1]
    grading, kinds = record.grading, record.grading.columns
    several = len(record.seeds) > 1
    head = ["arm", "seeds", *splits, "95 % interval", *(["of seeds"] if several else [])]
    head += [*([f"Δ {reference.name}"] if gaps and reference else []), *(name for _, name in kinds)]
    rows = []
    for arm in in_order(record):
        row = [arm.name, seeds_done(record, arm)]
        row += [format_accuracy(0.0 if arm.broken else record.mean(arm, one)) for one in splits]
        row += [_between(interval_of(record, arm, split)), *([_range(record, arm, split)] if several else [])]
        row += ["best" if arm is reference else _gap(gaps.get(arm.name))] if gaps else []
        scores = [one for run in arm.runs if (one := run.scores(split)) is not None]
        answers = [run.answers[split] for run in arm.runs] if split in arm.answered else []
        rows.append((*row, *(grading.shown(kind, scores, answers) for kind, _ in kinds)))
    if record.ran:
        base = [format_accuracy(record.baseline(one)) for one in splits]
        row = [grading.always.removeprefix("the "), MISSING, *base]
        rows.append((*row, *[MISSING] * (len(head) - len(row))))
    best = {(row, 2 + column) for column, one in enumerate(splits) if (row := _best(record, one)) is not None}
    numeric = tuple(place > 1 for place in range(len(head)))
    caption = (
        f"{record.name}: {grading.called} of {len(record.arms)} arms, means over seeds. 95 % interval: of the mean on "
        f"the {split} split, over {examples_and_seeds(record)}. "
    )
    caption += "Of seeds: the lowest and the highest. " if several else ""
    if gaps and reference is not None:
        caption += (
            f"Δ: points to {reference.name}, paired over the same, with its 95 % {grading.interval_kind} interval. "
        )
    same = grading.always.removeprefix("the ")
    caption += f"{grading.caption(_all_scores(record))}{same[0].upper()}{same[1:]}: what always saying it gets. "
    caption += f"{MISSING}: not known."
    return TextTable(
        tuple(head), tuple(rows), numeric, frozenset(best), caption, notes(record), "the highest of its split"
    )


def costs_table(record: TuningRecord, peaks: bool = True) -> TextTable:
    """Return trained parameters, memory and its parts, time, speed and chosen rate of each arm.

    Without `peaks` those of forward and backward are left out, where there is less room.
    """
    parts = ("weights", "gradients", "optimizer", "activations", *(("forward_peak", "backward_peak") if peaks else ()))
    head = ["arm", "trained", "peak memory", *(part.replace("_", " ") for part in parts)]
    head += ["time", "examples/s", "rate", "search"]
    rows = []
    for arm in in_order(record):
        total = record.encoders.get(arm.encoder, {}).get("parameters")
        share = None
        if arm.trained_parameters is not None and total:
            share = min(1.0, arm.trained_parameters / total)  # the encoder is counted without a head of its own
        memory = arm.memory
        row = [arm.name, format_count(arm.trained_parameters) + ("" if share is None else f" ({_share(share)})")]
        row.append(human_bytes(None if memory is None else memory.peak))
        row += [human_bytes(None if memory is None else getattr(memory, part)) for part in parts]
        speeds = [run.examples_per_second for run in arm.runs if run.examples_per_second is not None]
        row += [
            human_seconds(arm.seconds),
            f"{fmean(speeds):,.0f}" if speeds else MISSING,
            format_rate(arm.learning_rate),
            human_seconds(sum(trial.seconds for trial in arm.search)) if arm.search else MISSING,
        ]
        rows.append(tuple(row))
    least = {
        arm.memory.peak: (place, 2)
        for place, arm in reversed(list(enumerate(in_order(record))))
        if arm.memory and not arm.broken
    }
    best = frozenset([least[min(least)]] if least else [])
    caption = (
        f"{record.name}: what the arms cost. Trained: parameters that are trained, and their share of the encoder's. "
        "Peak memory: of one training step, and what is alive at that moment. Time: wall clock of a run, mean over "
        "seeds. Examples/s: while training. Rate: the learning rate that a search at equal budget chose. Search: its "
        "wall clock."
    )
    caption += (
        " Forward peak: beside weights and optimizer state. Backward peak: above all held when it begins."
        if peaks
        else ""
    )
    numeric = tuple(place > 0 for place in range(len(head)))
    return TextTable(tuple(head), tuple(rows), numeric, best, caption, (), "the least memory")


def pairs_table(pairs: Sequence[Paired], split: str, meaning: str) -> TextTable:
    """Return the comparison of every pair of arms on a split; `meaning` says what a difference of them is."""
    shown = sorted(pairs, key=lambda one: (one.p_holm, -abs(one.points)))[:MOST_PAIRS]
    rows = []
    for one in shown:
        p, holm = ("the same", MISSING) if one.equal else (said_p(one.p), said_p(one.p_holm))
        interval = (100 * one.interval[0], 100 * one.interval[1])
        points = said_number(one.points, places(*interval), signed=True)
        power = said_size(100 * one.detectable) if one.detectable < 1 else MISSING
        rows.append(
            (one.b, one.a, show_count(one.gained), show_count(one.lost), points, said_interval(*interval, signed=True),
             p, one.test, holm, power)
        )  # fmt: skip
    left = len(pairs) - len(shown)
    caption = (
        f"{test_of(pairs)}, of every pair of arms on the {split} split. {meaning} "
        f"p after Holm's correction over all {len(pairs)} pairs. Found 4 in 5: the true "
        f"difference, in points, that would have been found four times in five ({MISSING}: none would)."
        + (f" The {left} least certain pairs are left out." if left else "")
    )
    head = ("arm", "against", "gained", "lost", "points", "95 % interval", "p", "test", "p (Holm)", "found 4 in 5")
    found = frozenset((place, 8) for place, one in enumerate(shown) if one.differs)
    numeric = (False, False, True, True, True, True, True, False, True, True)
    return TextTable(head, tuple(rows), numeric, found, caption, (), "a difference was found")


def sizes_table(record: TuningRecord) -> TextTable:
    """Return the accuracy of each arm by how many texts it was trained on: what `--sizes` asks for."""
    split: Split = "test" if any(size.test is not None for size in record.sizes) else "validation"
    found: dict[tuple[int, str], list[float]] = {}
    for size in record.sizes:
        if (scores := size.test if split == "test" else size.validation) is not None:
            found.setdefault((size.examples, size.arm), []).append(getattr(scores, record.grading.figure))
    arms = list(dict.fromkeys(arm for _, arm in found))
    mean = lambda key: fmean(found[key]) if key in found else None
    rows = [
        (format_count(size), *(format_accuracy(mean((size, arm))) for arm in arms))
        for size in sorted({size for size, _ in found})
    ]
    caption = (
        f"{record.name}: {record.grading.called} on the {split} split after fewer training texts, mean over seeds."
    )
    return TextTable(
        (f"training texts ({split})", *arms), tuple(rows), (True,) * (1 + len(arms)), frozenset(), caption, ()
    )


def data_table(record: TuningRecord) -> TextTable:
    """Return how many examples each split has, of which label, how long, and how an encoder reads them."""
    splits = record.data.get("splits")
    read = {name: facts["read"] for name, facts in record.encoders.items() if isinstance(facts.get("read"), dict)}
    read = read or {"": {split: {"cut": count} for split, count in (record.data.get("cut") or {}).items()}}
    splits = splits if isinstance(splits, dict) else {}
    columns = record.grading.data_columns(splits)
    kinds = [("cut", format_count), ("unknown", format_percent), ("alike", format_count)]
    kinds = kinds if any("unknown" in one for splits_ in read.values() for one in splits_.values()) else kinds[:1]
    names = [(kind if kind != "unknown" else "unknown tokens", name) for name in read for kind, _ in kinds]
    head = ["split", "examples", *(name for name, _ in columns), "duplicates", "median length", "95 %", "longest"]
    head += [f"{kind} ({name})" if len(read) > 1 else kind for kind, name in names]
    rows = []
    for place, (name, one) in enumerate(splits.items()):
        lengths = one.get("characters") or {}
        row = [name, format_count(one.get("examples")), *(cells[place] for _, cells in columns)]
        row += [format_count(one.get("duplicates"))]
        row += [_length(lengths.get(key)) for key in ("median", "p95", "longest")]
        row += [show((splits_.get(name) or {}).get(kind)) for splits_ in read.values() for kind, show in kinds]
        rows.append(tuple(row))
    caption = "Lengths in characters. Duplicates: texts that come again. Cut: texts longer than the encoder takes."
    if len(kinds) > 1:
        caption += (
            " Unknown tokens: what its vocabulary lacks, of all that it reads. Alike: texts that come again then."
        )
    return TextTable(tuple(head), tuple(rows), tuple(i > 0 for i in range(len(head))), frozenset(), caption, (), "")


def notes(record: TuningRecord) -> tuple[str, ...]:
    """Return what must be said below the table: arms that broke down, or have not run."""
    said = []
    for arm in record.arms:
        if arm.failed:
            reason = f" ({arm.reason})" if arm.reason else ""
            shown = f"shown by {seeds_done(record, arm)} seeds" if arm.runs else "shown as 0"
            said.append(f"{arm.name}: {arm.status}{reason}; {shown}.")
    if old := [arm.name for arm in record.arms if arm.memory is not None and arm.memory.subtracted]:
        said.append(
            f"Parts of the memory of {listed(old)}: an older heed took all gradients off the peak, although they need "
            "not exist at that moment; only the totals can be compared."
        )
    said += passes_sentence(record)
    if record.split == "validation":
        said.append("There is no test split: these figures are of the validation split, which chose rates and epochs.")
    return tuple(said)


def seeds_done(record: TuningRecord, arm: Arm) -> str:
    """Return how many seeds an arm has, or why it has none."""
    if arm.broken:
        return arm.status
    if not arm.runs:
        return "not run yet"
    if arm.soup:
        return f"mean of {len(arm.soup)}"
    done = len(arm.runs)
    return str(done) if done >= len(record.seeds) else f"{done} of {len(record.seeds)}"


def every_table(record: TuningRecord) -> list[TextTable]:
    """Return the tables that stand for themselves: results, costs, and pairs and sizes where there are any."""
    pairs = pairs_of(record)
    tables = [results_table(record, gaps_of(record)), costs_table(record)]
    tables += [table for table in (epochs_table(record),) if table is not None]
    tables += [pairs_table(pairs, record.split, record.grading.pairs_caption)] if pairs else []
    return tables + ([sizes_table(record)] if record.sizes else [])


def tuning_lines(folder: str | Path, width: int | None = None) -> list[str]:
    """Return what a terminal prints at the end of a tune: verdict, results, costs, sizes, and what else was found.

    Tables fit into `width`.
    Raises `CheckpointError` when the folder holds no tune.
    """
    record = read_tuning(folder)
    gaps, pairs = gaps_of(record), pairs_of(record)
    tables = [results_table(record, gaps), costs_table(record, peaks=False)]
    tables += [table for table in (epochs_table(record),) if table is not None]
    tables += [sizes_table(record)] if record.sizes else []
    lines = [verdict(record, gaps), ""]
    for table in tables:
        lines += [*to_text(table, width), ""]
    return [*lines, *findings(record, gaps, pairs), *leak_sentences(record), *mixed_schedules(record), *record.notes]


def _all_scores(record: TuningRecord) -> list[AnyScores]:
    return [scores for arm in record.ran for run in arm.runs if (scores := run.scores(record.split)) is not None]


def _best(record: TuningRecord, split: Split) -> int | None:
    """Return the row of the best arm of a split."""
    means = {place: record.mean(arm, split) for place, arm in enumerate(record.ran)}
    known = {place: mean for place, mean in means.items() if mean is not None}
    return max(known, key=known.__getitem__, default=None)


def _between(interval: Interval | None) -> str:
    return MISSING if interval is None else said_shares(*interval)


def _range(record: TuningRecord, arm: Arm, split: Split) -> str:
    figure = record.grading.figure
    found = [getattr(scores, figure) for run in arm.runs if (scores := run.scores(split)) is not None]
    return f"{100 * min(found):.1f} to {100 * max(found):.1f}" if len(found) > 1 else MISSING


def _gap(gap: Gap | None) -> str:
    return MISSING if gap is None else said_difference(gap.points, gap.interval)


def _share(share: float) -> str:
    """Return a share of parameters with two digits.

    >>> _share(0.00328), _share(1.00003)
    ('0.33 %', '100 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def _length(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"
