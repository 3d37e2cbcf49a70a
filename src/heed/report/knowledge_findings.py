"""What follows from the answers of several models: differences on the same questions, and sentences that say them.

Two groups of runs are compared when they differ in one thing, the pretraining or the attention. With two seeds and
more of both the difference is paired over seeds (Student's t); else the first run of each is compared, paired over
questions: McNemar's test of those that only one of the two has right, and Tango's score interval beside it
(`heed.report.paired`). Holm's correction goes over all comparisons of a page but those of equal answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean

import numpy as np

from heed.report.knowledge_record import AskedRun, KnowledgeRecord
from heed.report.numbers import LEVEL, format_accuracy, said_difference, said_interval, said_p, said_shares
from heed.report.paired import compare_arms
from heed.report.statistics import Interval, holm, no_spread, t_interval, t_test, wilson


@dataclass(frozen=True)
class Comparison:
    """The accuracy of b less that of a, in points of a hundred."""

    a: str
    b: str
    common: str
    """What both have, an attention or a pretraining, as the sentence begins."""
    points: float
    interval: Interval | None
    """95 %, of the difference in points: Student's t over seeds, Tango's score interval over questions; None where all
    seeds differ by the same."""
    p: float | None
    """None where both are right and wrong alike in every answer: there is nothing to test."""
    paired_over: str
    """Such as "500 questions" or "3 seeds"."""
    p_holm: float = 1.0

    def sentence(self) -> str:
        """Say in a sentence what was found."""
        if self.p is None:
            return f"{self.common}: {self.b} is the same as {self.a} in every answer, paired over {self.paired_over}."
        shown, _, between = said_difference(self.points, self.interval).partition(" ")
        amount = f"95 % interval {between[1:-1]}, paired over {self.paired_over}, p = {said_p(self.p_holm)}"
        if self.interval is None:
            amount = f"the same with each of {self.paired_over}; the sign test decides, p = {said_p(self.p_holm)}"
        if self.p_holm >= 1 - LEVEL:
            pair = f"{self.b} and {self.a}"
            return f"{self.common}: no difference found between {pair} ({shown} points, {amount})."
        sign = "more" if self.points > 0 else "fewer"
        return f"{self.common}: {self.b} has {shown.lstrip('+-')} points {sign} right than {self.a} ({amount})."


def comparisons(record: KnowledgeRecord) -> list[Comparison]:
    """Return the differences between groups that differ in one thing, each with Holm's correction over all of them.

    Differences of pretraining come first.
    """
    found: list[tuple[bool, Comparison]] = []
    for a, b in combinations(_from_base(record), 2):
        (variant_a, text_a), (variant_b, text_b) = a, b
        if variant_a == variant_b:
            names = _said_text(text_a), _said_text(text_b), variant_a
        elif text_a == text_b:
            names = variant_a, variant_b, f"With {_said_text(text_a)}"
        else:
            continue
        found.append((variant_a != variant_b, _compare(names, record.groups[a], record.groups[b])))
    ordered = [one for _, one in sorted(found, key=lambda pair: pair[0])]
    corrected = iter(holm([one.p for one in ordered if one.p is not None]))
    return [one if one.p is None else replace(one, p_holm=next(corrected)) for one in ordered]


def verdict(record: KnowledgeRecord) -> str:
    """Say in a sentence what came out: the accuracy of the best run beside its other seeds and the commonest answer."""
    best = record.best
    sentence = f"{best.name} answers {said_accuracy(best.right, best.total)}"
    group = record.groups[best.variant, best.pretraining]
    if has_seeds(group):
        # the best of several seeds flatters: their mean is what another one can be expected to come to
        mean = sum(one.accuracy for one in group) / len(group)
        sentence += f"; the mean of its {len(group)} seeds is {format_accuracy(mean)}"
    if best.baseline is None:
        return f"{sentence}; what the commonest answer would get is not known."
    answer, right = best.baseline
    return f"{sentence}; always “{answer}” gets {format_accuracy(right / best.total)}."


def said_accuracy(right: int, total: int) -> str:
    """Return a share of right answers with its counts and Wilson's interval.

    >>> said_accuracy(135, 500)
    '27.0 % of 500 questions rightly (95 % interval 23.3 to 31.1 %)'
    """
    between = said_shares(*wilson(right, total))
    return f"{format_accuracy(right / total)} of {total:,} questions rightly (95 % interval {between})"


def findings(record: KnowledgeRecord) -> list[str]:
    """Return what else a reader must know, the most important first."""
    best, found = record.best, record.best.calibration
    sentences = [one.sentence() for one in comparisons(record)]
    sentences += seen_sentences(best)
    if found is not None:
        sentences.append(
            f"The probabilities of {best.name}: {found.verdict}, calibration error {found.error:.3f} (95 % interval "
            f"{said_interval(*found.interval)}). A model that is calibrated perfectly would show {found.chance:.3f} on "
            f"so few questions, and more than {found.chance_most:.3f} once in twenty."
        )
    if len(record.asked) > 1 and not any(map(has_seeds, record.groups.values())):
        sentences.append(
            "Each model was trained once: an interval says how sure the accuracy of this model is, and nothing about "
            "what another seed would have come to."
        )
    return sentences


def seen_sentences(one: AskedRun) -> list[str]:
    """Say what depends on the name having been seen, and on the corpus holding the answer."""
    sentences = []
    parts = by_seen(one)
    if len(parts) > 1:
        said = [
            f"{format_accuracy(right / total)} ({right} of {total}) {seen_words(seen)}" for seen, right, total in parts
        ]
        sentences.append(f"{one.name} has right: " + ", ".join(said) + ".")
    elif parts and parts[0][0] == "pretraining":
        sentences.append(
            "Every name stands in the pretraining text, by design: this measures what was kept of that text, and not "
            "what can be worked out about a stranger."
        )
    wrong = [answer for answer in one.answers if not answer.correct]
    made_up = sum(not answer.holds_answer for answer in wrong)
    if wrong and any(answer.passage for answer in one.answers):
        sentences.append(
            f"Of its {len(wrong)} wrong answers {made_up} do not stand in the passage that was found for the question, "
            "or there is none: they are made up."
        )
    return sentences


def seen_words(seen: str) -> str:
    """Return where a name was seen, as a sentence says it."""
    return {
        "pretraining": "where the pretraining text has the name",
        "fine-tuning only": "where only the fine-tuning questions have it",
        "never": "where neither has it",
    }.get(seen, f"where it was seen in “{seen}”")


def by_seen(one: AskedRun) -> list[tuple[str, int, int]]:
    """Return (where the name was seen, right, total), as far as it was looked for."""
    order = {"pretraining": 0, "fine-tuning only": 1, "never": 2}
    places = sorted({answer.seen for answer in one.answers if answer.seen}, key=lambda seen: (order.get(seen, 3), seen))
    groups = [(seen, [answer.correct for answer in one.answers if answer.seen == seen]) for seen in places]
    return [(seen, sum(right), len(right)) for seen, right in groups]


def by_support(one: AskedRun) -> list[tuple[str, int, int]]:
    """Return (what the corpus says, right, total); empty where no answer has a passage."""
    if not any(answer.passage for answer in one.answers):
        return []
    kinds = {"the passage holds the answer": [], "the passage does not hold it": [], "no passage": []}
    for answer in one.answers:
        kind = 2 if not answer.passage else 0 if answer.holds_answer else 1
        list(kinds.values())[kind].append(answer.correct)
    return [(kind, sum(right), len(right)) for kind, right in kinds.items() if right]


def has_seeds(group: Sequence[AskedRun]) -> bool:
    """Say whether the runs of a group differ by their seed: two and more, and no seed twice."""
    seeds = {one.seed for one in group if one.seed is not None}
    return len(group) > 1 and len(seeds) == len(group)


def _from_base(record: KnowledgeRecord) -> list[tuple[str, str]]:
    """Return the groups with what others are held against first: no pretraining, plain softmax, the better one."""
    order = list(record.groups)
    return sorted(order, key=lambda group: (group[1] != "none", group[0] != "softmax", order.index(group)))


def _said_text(pretraining: str) -> str:
    return "no pretraining" if pretraining == "none" else f"pretraining ({pretraining})"


def _compare(names: tuple[str, str, str], a: Sequence[AskedRun], b: Sequence[AskedRun]) -> Comparison:
    """Compare two groups over the seeds that both have, else their first runs over the questions."""
    by_seed = [{one.seed: one for one in group if one.seed is not None} for group in (a, b)]
    seeds = sorted(by_seed[0].keys() & by_seed[1].keys())
    distinct = all(len(found) == len(group) for found, group in zip(by_seed, (a, b), strict=True))
    if distinct and len(seeds) > 1:
        d = [100 * (by_seed[1][seed].accuracy - by_seed[0][seed].accuracy) for seed in seeds]
        return Comparison(*names, fmean(d), None if no_spread(d) else t_interval(d), t_test(d), f"{len(d)} seeds")
    # by seed and name, never by accuracy: the best of several runs would flatter its group
    first, second = (min(group, key=lambda one: (one.seed or 0, one.name)) for group in (a, b))
    before, after = ({(one.prompt, one.gold): one for one in group.answers} for group in (first, second))
    pairs = [(before[key], one) for key, one in after.items()]
    right = [np.array([[pair[side].correct for pair in pairs]]) for side in (0, 1)]
    found = compare_arms(names[0], names[1], *right)
    low, high = (100 * edge for edge in found.interval)
    same = all((a.answer, a.probability) == (b.answer, b.probability) for a, b in pairs)
    return Comparison(*names, found.points, (low, high), None if same else found.p, f"{len(pairs)} questions")
