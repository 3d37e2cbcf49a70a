"""What a tune found, in sentences: which arm to use, what stands against that, what it costs, and what is not known.

`heed.report.tuning_advice` has the rule. Where no arm is shown to beat the commonest class the first sentence says only
that; an arm of few updates is called undertrained before it is compared; a difference is one where the test says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heed.report.export_formats import formats
from heed.report.gradings import Grading
from heed.report.numbers import (
    format_accuracy,
    format_count,
    format_percent,
    human_bytes,
    human_seconds,
    places,
    said_effect,
    said_interval,
    said_number,
    said_p,
    said_shares,
)
from heed.report.paired import Paired
from heed.report.study_speed import ratios
from heed.report.tuning_advice import TOLERANCE, Gap, advised, beating, interval_of, undertrained
from heed.report.tuning_arms import Arm
from heed.report.tuning_record import TuningRecord

FEW_NAMES = 4
"""Names that a sentence lists."""
MANY_UNKNOWN = 0.1
"""Share of unknown tokens from which they are the first thing to be said."""


def verdict(record: TuningRecord, gaps: Mapping[str, Gap]) -> str:
    """Say in one sentence which arm to use."""
    best, use = record.reference, advised(record, gaps)
    if best is None or use is None:
        return "No arm has been measured yet."
    so_far = "So far: use" if record.unfinished else "Use"
    beaters = beating(record)
    if not beaters:
        so_far = "So far no" if record.unfinished else "No"
        which = "the best on the validation split" if len(record.ran) > 1 else "the only one that has run"
        return (
            f"{so_far} arm is shown to beat {record.grading.beats}: {best.name}, {which}, has "
            f"{said_accuracy(record, best)}."
        )
    if use not in beaters:
        rank, others = "the best" if use is best else "level with the best", listed([arm.name for arm in beaters])
        tail = ", though the test split chooses none" if record.split == "test" else ""
        return (
            f"{'So far ' if record.unfinished else ''}{use.name}, {rank} on the validation split, is not shown to beat "
            f"{record.grading.beats}: it has {said_accuracy(record, use)}. Of the others "
            f"{others} {'are' if len(beaters) > 1 else 'is'}{tail}."
        )
    if undertrained(record):
        few = listed([arm.name for arm in undertrained(record)])
        so_far = f"Undertrained so far, and perhaps better than it seems: {few}. {so_far}"
    if use is not best:
        return f"{so_far} {use.name}: {gap_sentence(gaps[use.name])}, on the {record.split} split."
    others = [arm for arm in record.ran if arm is not best]
    if not others:
        return f"{best.name} has {said_accuracy(record, best)}; there is no other arm to hold it against."
    close = [name for name, gap in gaps.items() if gap.close]
    nearest = max(gaps.values(), key=lambda gap: gap.least, default=None)
    reason = "predictions are missing, so nothing can be paired with it"
    if close:
        are = "are" if len(close) > 1 else "is"
        reason = f"{listed(close)} {are} within 1 point of it on the validation split, but not for less memory"
    elif nearest is not None:
        reason = (
            f"no other arm is shown to be within 1 point of it on the validation split ({nearest.arm}, the nearest, "
            f"may be {-nearest.least:.1f} points below)"
        )
    return f"{so_far} {best.name}: {said_accuracy(record, best)}; {reason}."


def gap_sentence(gap: Gap) -> str:
    """Say how far an arm is from the reference, and at what cost."""
    pair, (low, high) = gap.pair, gap.interval
    if pair.equal:
        said = f"the same as {gap.reference} in every answer"
    else:
        amount = said_number(abs(gap.points), places(low, high))
        said = f"{amount} points {'above' if gap.points > 0 else 'below'} {gap.reference}"
        if float(amount) == 0:
            said = f"level with {gap.reference}"
        elif gap.points < 0:  # in the direction that the sentence names
            low, high = -high, -low
        found = "" if pair.differs else f"; no difference found, p = {said_p(pair.p_holm)}"
        said += f" (95 % interval {said_interval(low, high)}{found})"
    shares = [(gap.memory, "memory"), (gap.time, "time")]
    costs = [f"{100 * share:.0f} % of its {what}" for share, what in shares if share is not None]
    return said + (f" at {' and '.join(costs)}" if costs else "")


def said_accuracy(record: TuningRecord, arm: Arm) -> str:
    """Return the figure of an arm with its interval, beside that of always the same answer."""
    split = record.split
    grading = record.grading
    between = said_shares(*(interval_of(record, arm, split) or (0.0, 1.0)))
    return (
        f"{grading.value(format_accuracy(record.mean(arm, split)))} on the {split} split (95 % interval {between}; "
        f"always {grading.always}: {format_accuracy(record.baseline(split))})"
    )


def findings(record: TuningRecord, gaps: Mapping[str, Gap], pairs: Sequence[Paired]) -> list[str]:
    """Return what else a reader must know, the most important first."""
    use, best = advised(record, gaps), record.reference
    if use is None or best is None:
        return []
    said = [
        *one_class_sentences(record),
        *unknown_sentences(record),
        *undertrained_sentence(record),
        *blind_sentence(record, use),
    ]
    if use is not best:
        own = format_accuracy(record.mean(use, record.split))
        first = f"{best.name}, the best on the validation split, has {said_accuracy(record, best)}"
        said.append(f"{first}; {use.name} {own}.")
    said += [
        *power_sentence(record.grading, gaps, use),
        *pair_sentences(record.grading, pairs),
        *cost_sentences(record),
    ]
    if all(len(arm.runs) == 1 for arm in record.ran):
        said.append(
            "Each arm was trained once: the intervals are about the examples, and say nothing of what another seed "
            "would have come to."
        )
    return [*said, *export_sentence(use)]


def export_sentence(use: Arm) -> list[str]:
    """Say in which formats the advised arm can be deployed, where a plain model of transformers may not be one."""
    if use.pooling != "mean":
        return []
    ways = " or ".join(f"--to {kind}" for kind in formats(use.method, native=False))
    return [
        f"To deploy {use.name}: heed export {ways}. It has a linear head on the mean of the tokens, which --to hf "
        "writes for EuroBERT and UltraBERT alone."
    ]


def undertrained_sentence(record: TuningRecord) -> list[str]:
    """Say which arms made few updates, before anybody calls them worse."""
    found = undertrained(record)
    if not found:
        return []
    steps = sorted({arm.steps for arm in found if arm.steps is not None})
    counts = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    return [
        f"Undertrained: {listed([arm.name for arm in found])} made {counts} update{'s' if steps[-1] > 1 else ''} a "
        "run. What such an arm would come to is not known yet: give more --epochs, or a smaller --batch-size, before "
        "calling it worse."
    ]


def unknown_sentences(record: TuningRecord) -> list[str]:
    """Say of which encoders the vocabulary lacks what the texts are written in."""
    said = []
    for name, share in record.unknown_shares().items():
        if share >= MANY_UNKNOWN:
            said.append(
                f"{format_percent(share)} of the tokens that {name} reads are unknown to it: its vocabulary lacks this "
                "script or language, and more texts will not help. Take an encoder that was trained on it, with "
                "--encoders."
            )
    return said


def blind_sentence(record: TuningRecord, use: Arm) -> list[str]:
    """Say what may help, where the advised arm is not shown to beat always saying the commonest class."""
    interval, base = interval_of(record, use, record.split), record.baseline(record.split)
    if interval is None or base is None or interval[0] > base:
        return []
    help_ = "more texts, epochs or rates may help"
    if record.unknown_shares().get(use.encoder, 0.0) >= MANY_UNKNOWN:
        help_ = "another encoder may help"
    elif use in undertrained(record):
        help_ = "more epochs may help"
    return [
        f"By {record.grading.called} nothing shows that {use.name} beats {record.grading.beats} "
        f"({format_accuracy(base)}): {help_}{record.grading.what_helps}."
    ]


def power_sentence(grading: Grading, gaps: Mapping[str, Gap], use: Arm) -> list[str]:
    """Say which difference would have been found, where the advised arm or the nearest rival is not told apart."""
    rival = gaps.get(use.name) or max(gaps.values(), key=lambda gap: gap.points, default=None)
    if rival is None or rival.pair.differs or rival.pair.equal or 100 * rival.pair.detectable <= TOLERANCE:
        return []
    pair = rival.pair
    count = f"{pair.examples:,} examples"
    count += f" in {pair.groups:,} groups" if pair.groups < pair.examples else ""
    if pair.detectable >= 1:
        return [f"{count} are too few to tell {rival.arm} and {rival.reference} apart, whatever they {grading.do}."]
    return [
        f"Between {rival.arm} and {rival.reference} {said_effect(100 * pair.detectable, 'points')} on {count}; smaller "
        "ones less often."
    ]


def pair_sentences(grading: Grading, pairs: Sequence[Paired]) -> list[str]:
    """Say which arms the test of pairs tells apart."""
    said = [f"{one.b} and {one.a} say the same of every example." for one in pairs if one.equal]
    pairs = [one for one in pairs if not one.equal]
    if not pairs:
        return said
    told = [one for one in pairs if one.differs]
    same = [f"{one.b} – {one.a}" for one in pairs if not one.differs]
    test = test_of(pairs)
    if len(pairs) == 1:
        one = pairs[0]
        found = f"{one.b} is better than {one.a}" if told else f"No difference found between {one.b} and {one.a}"
        mean = ", means over seeds" if max(one.runs) > 1 else ""
        counts = f"{grading.exchanged(show_count(one.gained), show_count(one.lost))}{mean}"
        return [*said, f"{found}: {counts} ({test}, p = {said_p(one.p)})."]
    if not told:
        return [*said, f"{test} tells none of the {len(pairs)} pairs of arms apart (after Holm's correction)."]
    if not same:
        return [*said, f"{test} tells all {len(pairs)} pairs of arms apart (after Holm's correction)."]
    return [
        *said,
        f"{test} tells {len(told)} of {len(pairs)} pairs of arms apart (after Holm's correction); no difference was "
        f"found between {listed(same)}.",
    ]


def test_of(pairs: Sequence[Paired]) -> str:
    """Return what the test of some pairs is called."""
    groups = any(one.groups < one.examples for one in pairs)
    if any(max(one.runs) > 1 for one in pairs):
        return f"The paired test over seeds and {'groups of examples' if groups else 'examples'}"
    if groups:
        return "The paired test over groups of examples"
    return "The paired t test" if any(one.test == "t" for one in pairs) else "McNemar's test"


def examples_and_seeds(record: TuningRecord) -> str:
    """Return what intervals are over: seeds where an arm has several, and examples or their groups."""
    examples = record.examples.get(record.split)
    of = "examples" if examples is None or examples.groups is None else "groups of examples"
    return f"seeds and {of}" if any(len(arm.runs) > 1 for arm in record.ran) else of


def most_right(record: TuningRecord) -> str:
    """Say which arm is right most often, as far as its mean alone tells, beside the commonest class."""
    right = {arm.name: record.mean(arm, record.split) or 0.0 for arm in record.ran}
    if not right:
        return "No arm has run to its end"
    most = max(right.values())
    best = [name for name, share in right.items() if share == most]
    grading = record.grading
    if len(right) == 1:
        said = f"{best[0]} {grading.has}"
    elif len(best) > 1:
        said = f"{listed(best)} {grading.level}"
    else:
        said = f"{best[0]} has the highest {grading.called} as a point estimate"
    return f"{said}, {format_accuracy(most)}; always {grading.always}: {format_accuracy(record.baseline(record.split))}"


def front_caption(kept: Sequence[str], beaten: Sequence[str]) -> str:
    """Say what the front joins, and what that is worth."""
    said = "Stroke: the arms that no other beats at both (the Pareto front)."
    said += f" Beaten: {listed(beaten)}." if beaten else ""
    ranked = len(kept) + len(beaten) > 1
    return said + (" By point estimates: where intervals overlap, the order may be chance." if ranked else "")


def one_class_sentences(record: TuningRecord) -> list[str]:
    """Say which splits hold texts of one class alone."""
    splits = record.data.get("splits")
    said = []
    for name, one in splits.items() if isinstance(splits, Mapping) else ():
        counts = one.get("classes") if isinstance(one, Mapping) else None
        there = [place for place, count in enumerate(counts) if count] if isinstance(counts, list) else []
        if len(there) == 1 and len(record.target.names) > max(1, there[0]):
            said.append(
                f"The {name} split holds one class alone, {record.target.names[there[0]]}: figures of it say nothing "
                "of telling classes apart."
            )
    return said


def mixed_schedules(record: TuningRecord) -> list[str]:
    """Say which runs an older heed made, where others of the same tune are of this one.

    The sign: where the schedule ends at 0 the last update had that rate then, and changed nothing.
    """
    whole = [(arm, run) for arm in record.arms for run in arm.runs if run.reason == "finished"]
    old = [f"{arm.name} with seed {run.seed}" for arm, run in whole if run.last_rate == 0]
    if not old or not any(run.last_rate for _, run in whole):
        return []
    return [
        f"An older heed trained {listed(old)}: the last update there had the rate 0 and changed nothing. The other "
        "runs have a schedule that ends one update later."
    ]


def passes_sentence(record: TuningRecord) -> list[str]:
    """Say why some arms make more passes over the texts than were asked for."""
    asked = record.settings.get("epochs")
    known = [number for number in (asked if isinstance(asked, list) else [asked]) if isinstance(number, int)]
    more = [arm for arm in record.arms if known and arm.epochs is not None and arm.epochs > max(known)]
    if not more:
        return []
    counts = " or ".join(f"{count:g}" for count in sorted({arm.epochs for arm in more if arm.epochs is not None}))
    verb = "makes" if len(more) == 1 else "make"
    return [
        f"{listed([arm.name for arm in more])} {verb} {counts} passes over the texts and not {max(known)}: the encoder "
        "does not learn there, so its features are computed once and a further pass costs next to nothing."
    ]


def cost_sentences(record: TuningRecord) -> list[str]:
    """Say which arm needs least memory, and which least time."""
    sized = [arm for arm in record.ran if arm.memory is not None]
    if len(record.ran) < 2 or not sized:
        return []
    small = min(sized, key=lambda arm: arm.memory.peak if arm.memory else 0)
    quick = min(record.ran, key=lambda arm: arm.seconds or 0.0)
    peak = human_bytes(small.memory.peak if small.memory else 0)
    right = format_accuracy(record.mean(small, record.split))
    others = [(quick.name, arm.name, _seconds(quick), _seconds(arm)) for arm in record.ran if arm is not quick]
    slower = ratios(others)
    if len(slower) < len(others) or not all(d.found and d.mean > 0 for d in slower):
        return [f"Least memory: {small.name} with {peak}, at {right}. No arm was found to be quicker than all others."]
    if small is quick:
        return [f"Least memory and least time: {small.name} with {peak} and {_time(small)}, at {right}."]
    return [
        f"Least memory: {small.name} with {peak}, at {right}. Least time: {quick.name} with {_time(quick)}, at "
        f"{format_accuracy(record.mean(quick, record.split))}."
    ]


def _seconds(arm: Arm) -> dict[int, float]:
    """Return the seconds of an arm's runs by seed."""
    return {run.seed: run.seconds for run in arm.runs if run.seconds}


def leak_sentences(record: TuningRecord) -> list[str]:
    """Say which examples stand in two splits."""
    found = record.data.get("leakage")
    said = []
    for one in found if isinstance(found, list) else []:
        places = [str(place) for place in one.get("places", [])]
        more = one["examples"] - len(places)
        where = f" ({', '.join(places)}{f' and {more} more' if more > 0 else ''})" if places else ""
        verb = "stands" if one["examples"] == 1 else "stand"
        noun = "example" if one["examples"] == 1 else "examples"
        said.append(f"{one['examples']:,} {noun} of {one['of']} {verb} in {one['in']} as well{where}.")
    return said


def in_order(record: TuningRecord) -> list[Arm]:
    """Return the arms that ran, the best first, then the others in the order of the command."""
    return [*record.ran, *(arm for arm in record.arms if arm not in record.ran)]


def listed(names: Sequence[str]) -> str:
    """Join names as in a sentence; beyond a few, their number.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(list("abcdefg"))
    ('a', 'a, b and c', 'a, b, c, d and 3 more')
    """
    if len(names) > FEW_NAMES + 1:
        return f"{', '.join(names[:FEW_NAMES])} and {len(names) - FEW_NAMES} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def show_count(count: float) -> str:
    """Return a count of examples, or a mean of such.

    >>> show_count(12.0), show_count(12.3333)
    ('12', '12.3')
    """
    return format_count(int(count)) if count == int(count) else f"{count:,.1f}"


def _time(arm: Arm) -> str:
    return human_seconds(arm.seconds or 0.0)
