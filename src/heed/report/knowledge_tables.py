"""The tables of the page of an experiment with knowledge: runs, seeds, calibration, risk, thresholds, support."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from heed.report.calibration import (
    Threshold,
    abstention_threshold,
    beyond,
    brier,
    expected_calibration_error,
    halves,
    held_out_threshold,
)
from heed.report.knowledge_findings import by_seen, by_support, has_seeds
from heed.report.knowledge_record import SEEN, AskedRun, KnowledgeRecord
from heed.report.numbers import MISSING, format_accuracy, said_interval, said_shares
from heed.report.parts import PAGE
from heed.report.record import number
from heed.report.statistics import t_interval, wilson
from heed.report.tabular import TextCell, TextTable, words_table

TARGETS = (0.5, 0.8, 0.9)
"""Accuracies for which thresholds are chosen."""


def results(record: KnowledgeRecord) -> TextTable:
    """Return the table of runs.

    The columns seed and decoding are left out where they would say the same in every row.
    """
    heads = {"pretraining": "name in the text", "fine-tuning only": "in the questions only", "never": "never seen"}
    places = [seen for seen in SEEN if any(answer.seen == seen for one in record.asked for answer in one.answers)]
    words = {
        "seed": [MISSING if one.seed is None else str(one.seed) for one in record.asked],
        "decoding": [str(one.summary.decode or MISSING) for one in record.asked],
    }
    words = {name: values for name, values in words.items() if len(set(values)) > 1}
    rows = []
    for place, one in enumerate(record.asked):
        seen = {where: (right, total) for where, right, total in by_seen(one)}
        shares = [_counted(*seen[where]) if where in seen else MISSING for where in places]
        error = MISSING if one.calibration is None else f"{one.calibration.error:.3f}"
        how = [one.variant, one.pretraining, *(values[place] for values in words.values())]
        rows.append((TextCell(one.name, link=_link(record, one)), *how, *_share(one.right, one.total), *shares, error))
    head = ["run", "attention", "pretraining", *words, "right", "accuracy", "95 % interval"]
    caption = (
        "Wilson's interval: how sure the accuracy of this one model is, for so many questions. Calibration error: over "
        "bins of equal mass (ten, or as many as hold 20 answers each); it is never 0 for few answers (see below)."
    )
    if "pretraining" in places:
        caption += (
            " Name in the text: accuracy where the pretraining text has the name. A right answer about such a person "
            "is recall of that text, as the experiment means it, and not inference about a stranger."
        )
    head += [*(heads[where] for where in places), "calibration error"]
    return words_table(head, rows, 3 + len(words), caption)


def seeds(record: KnowledgeRecord) -> TextTable | None:
    """Return the mean of each group that has several seeds; None where none has."""
    rows = []
    for (variant, pretraining), runs in record.groups.items():
        if has_seeds(runs):
            values = [one.accuracy for one in runs]
            low, high = t_interval(values)
            interval = said_shares(max(0.0, low), min(1.0, high)) if high > low else "the same with every seed"
            mean = format_accuracy(sum(values) / len(values))
            rows.append((variant, pretraining, str(len(runs)), mean, interval))
    head = ("attention", "pretraining", "seeds", "mean accuracy", "95 % interval")
    caption = "Means over seeds with the 95 % t interval: what training once more would come to."
    return words_table(head, rows, 2, caption) if rows else None


def trust(sure: Sequence[AskedRun]) -> TextTable:
    """Return calibration error and Brier score of each run."""
    rows = []
    for one in sure:
        found, score = one.calibration, brier(*one.sure)
        if found is not None:
            cells = [
                f"{found.error:.3f} ({said_interval(*found.interval)})",
                f"{found.chance:.3f}",
                f"{expected_calibration_error(*one.sure, equal='width'):.3f}",
                f"{score.score:.3f} ({said_interval(*score.interval)})",
                f"{score.reliability:.3f} − {score.resolution:.3f} + {score.uncertainty:.3f} {_signed(score.within)}",
            ]
            rows.append((one.name, *cells))
    head = (
        "run", "calibration error", "by chance", "equal width", "Brier score",
        "reliability − resolution + uncertainty + within",
    )  # fmt: skip
    caption = (
        "Calibration error over bins of equal mass (ten, or as many as hold 20 answers each), with its 95 % bootstrap "
        "interval; noise makes it too high, and “by chance” is what a perfectly calibrated model with the same "
        "probabilities would show on so few questions. Then the same error over ten bins of equal width. Of the Brier "
        "score less is better, and so of each of its parts but resolution."
    )
    return words_table(head, rows, 1, caption)


def areas(sure: Sequence[AskedRun]) -> TextTable:
    """Return the area under risk and coverage of each run, beside the least one and that of an order by lot."""
    caption = (
        "AURC, the mean risk over all coverages, less is better: of the run, of an oracle with this accuracy, and of "
        "an order by lot."
    )
    rows = [
        (
            one.name,
            f"{one.risk.area:.3f} ({said_interval(*one.risk.area_interval)})",
            f"{one.risk.oracle_area:.3f}",
            f"{one.risk.risk[-1]:.3f}",
        )
        for one in sure
        if one.risk is not None
    ]
    return words_table(("run", "AURC (95 % interval)", "oracle", "by lot"), rows, 1, caption)


def thresholds(sure: Sequence[AskedRun]) -> TextTable:
    """Return the table of `threshold_rows`."""
    caption = (
        "Below the threshold the model says nothing. The threshold was chosen on one half of the questions to reach "
        "the accuracy wanted and measured on the other half, both ways; the threshold shown is that of all questions."
    )
    rows = [(name, *cells) for name, found in threshold_rows(sure) for cells in found]
    head = ("run", "accuracy wanted", "threshold", "answered", "accuracy reached (95 % interval)")
    return words_table(head, rows, 2, caption)


def threshold_rows(sure: Sequence[AskedRun]) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """Return for each run (accuracy wanted, threshold, answered, accuracy reached) of several thresholds.

    Each is measured on answers that did not choose it. The run's own threshold, which other questions chose, is first.
    """
    rows = []
    for one in sure:
        p, correct = one.sure
        half = halves([answer.prompt for answer in one.answers if answer.probability is not None])
        own, wanted = (number(one.trust.get(key)) for key in ("threshold", "accuracy"))
        cells = []
        if own is not None:
            asked = "" if wanted is None else f"{format_accuracy(wanted)}, "
            cells.append((f"{asked}chosen on other questions", f"p ≥ {own:.2f}", *_pooled([beyond(own, p, correct)])))
        for target in TARGETS:
            whole = abstention_threshold(p, correct, accuracy=target)
            parts = held_out_threshold(p, correct, half, accuracy=target)
            if whole is None:
                found = ("none", MISSING, "the surest answers are not that good")
            elif parts is None:
                found = (f"p ≥ {whole.probability:.2f}", MISSING, "not found on each half alone")
            else:
                found = (f"p ≥ {whole.probability:.2f}", *_pooled(parts))
            cells.append((format_accuracy(target), *found))
        rows.append((one.name, cells))
    return rows


def support(one: AskedRun) -> TextTable | None:
    """Return how many answers are right by what the corpus says; None where it was not asked."""
    caption = f"{one.name}: the nearest passage of the corpus to each question, and whether the answer stands in it."
    rows = [(kind, *_share(right, total)) for kind, right, total in by_support(one)]
    return words_table(("the corpus", "right", "accuracy", "95 % interval"), rows, 1, caption) if rows else None


def _pooled(parts: Sequence[Threshold]) -> tuple[str, str]:
    """Add what thresholds come to on several sets of answers: the share answered, the accuracy with its interval."""
    answered, right, total = (sum(getattr(part, key) for part in parts) for key in ("answered", "right", "total"))
    if not answered:
        return format_accuracy(0.0), "none was answered"
    _, share, interval = _share(right, answered)
    return format_accuracy(answered / total), f"{share} ({interval})"


def _share(right: int, total: int) -> tuple[str, str, str]:
    return f"{right} of {total}", format_accuracy(right / total), said_shares(*wilson(right, total))


def _counted(right: int, total: int) -> str:
    return f"{format_accuracy(right / total)} of {total}"


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {abs(value):.3f}"


def _link(record: KnowledgeRecord, one: AskedRun) -> str:
    """Return the address of the page of a run; empty where there is none."""
    return f"./{quote(one.name)}/{PAGE}" if (record.folder / one.name / PAGE).is_file() else ""
