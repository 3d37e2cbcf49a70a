"""Which arm is advised and what is said: by the rule, with differences that can be counted by hand."""

import doctest
from types import SimpleNamespace

import numpy as np
import pytest

from fake_tuning import write_tune
from heed.report import tuning_errors, tuning_findings
from heed.report.mcnemar import mcnemar
from heed.report.statistics import wilson
from heed.report.tuning_errors import cut, exchanges, shared_errors, sure_errors
from heed.report.tuning_findings import (
    Gap,
    accuracy_interval,
    advised,
    blind_sentence,
    findings,
    gaps_of,
    leak_sentences,
    pair_sentences,
    pairs_of,
    share_right,
    verdict,
    width_sentence,
)
from heed.report.tuning_record import read_tuning


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return read_tuning(write_tune(tmp_path_factory.mktemp("tune"), seeds=(1, 2), n=400))


@pytest.fixture(scope="module")
def gaps(record):
    return gaps_of(record)


def gap(arm, points, interval=(-2.0, 0.5), memory=0.38, time=0.61, validation=None):
    return Gap(arm, "full", points, interval, 872, memory, time, points if validation is None else validation)


def arm(name, peak, seconds=1.0):
    memory = None if peak is None else SimpleNamespace(peak=peak)
    return SimpleNamespace(name=name, memory=memory, seconds=seconds)


def tune(*arms):
    return SimpleNamespace(ran=arms, reference=arms[0] if arms else None)


def test_examples():
    for module in (tuning_findings, tuning_errors):
        assert doctest.testmod(module).failed == 0


def test_the_cheapest_within_a_point_is_advised():
    full, lora, head = arm("full", 100), arm("lora", 40), arm("head", 10)
    gaps = {"lora": gap("lora", -0.4), "head": gap("head", -1.01, (-3.0, 1.0))}
    assert advised(tune(full, lora, head), gaps) is lora  # head reaches above -1 by its interval alone
    assert advised(tune(full, lora, head), {**gaps, "head": gap("head", -1.0)}) is head
    assert advised(tune(full, head), {"head": gap("head", -5.0, validation=0.0)}) is head  # the test chooses nothing
    assert advised(tune(full, head), {"head": gap("head", 0.0, validation=-5.0)}) is full
    assert advised(tune(full, arm("lora", 101)), gaps) is full  # not cheaper
    assert advised(tune(full, arm("lora", None)), gaps) is full  # not known to be
    assert advised(tune(full, lora), {}) is full  # nothing to pair
    quick = arm("quick", 40, 0.5)
    assert advised(tune(full, lora, quick), {**gaps, "quick": gap("quick", -0.9)}) is quick  # of equal ones the faster
    assert advised(tune(arm("full", None), lora), gaps).name == "full"
    assert advised(tune(), {}) is None


def test_a_difference_is_said_in_its_direction():
    assert gap("lora", -0.4, (-1.1, 0.3)).sentence() == (
        "0.4 points below full (95 % interval -0.3 to 1.1) at 38 % of its memory and 61 % of its time"
    )
    assert gap("lora", 0.3, (-0.4, 1.0), None).sentence() == (
        "0.3 points above full (95 % interval -0.4 to 1.0) at 61 % of its time"
    )
    assert gap("lora", 0.01, (-1, 1), None, None).sentence() == "level with full (95 % interval -1.0 to 1.0)"
    assert "interval 0.0 to 1.7" in gap("lora", -0.8, (-1.7, 0.04)).sentence()  # never -0.0


def test_differences_are_paired_over_examples(record, gaps):
    full, head = record.reference, record.arms[1]
    assert set(gaps) == {arm_.name for arm_ in record.arms} - {full.name}
    d = 100 * (share_right(head, "test") - share_right(full, "test"))
    found = gaps["head"]
    assert found.points == pytest.approx(d.mean())
    assert found.points == pytest.approx(100 * (head.mean("accuracy", "test") - full.mean("accuracy", "test")))
    # the bootstrap of a mean over 400 examples is close to the normal interval, within the noise of 1,000 resamples
    half = 1.96 * d.std() / np.sqrt(len(d))
    assert found.interval == pytest.approx((d.mean() - half, d.mean() + half), abs=0.15 * half)
    on_validation = head.mean("accuracy", "validation") - full.mean("accuracy", "validation")
    assert found.validation == pytest.approx(100 * on_validation)
    assert found.memory == pytest.approx(head.memory.peak / full.memory.peak)


def test_pairs_are_the_best_runs(record):
    pairs = pairs_of(record)
    assert len(pairs) == 10
    assert all(one.points >= 0 for one in pairs)  # the better arm is b
    one = next(one for one in pairs if (one.a, one.b) == ("head", "full"))
    full, head = (a.best_run.answers["test"].right for a in record.arms[:2])
    again = mcnemar("head", "full", head, full)
    assert (one.gained, one.lost, one.p) == (again.gained, again.lost, again.p)


def test_the_verdict_and_the_interval(record, gaps):
    use = advised(record, gaps)
    said = verdict(record, gaps)
    assert said.startswith(f"Use {use.name}: ")
    low, high = wilson(round(400 * use.mean("accuracy", "test")), 400)
    assert accuracy_interval(use, "test") == pytest.approx((low, high))
    sentences = " ".join(findings(record, gaps, pairs_of(record)))
    assert "always the commonest class: 5" in sentences + said
    assert "Least memory and least time: head" in sentences
    assert "trained once" not in sentences


def test_what_cannot_be_told_is_said(record):
    wide = {"lora": gap("lora", -0.4, (-2.3, 1.5))}
    (sentence,) = width_sentence(record, wide, SimpleNamespace(name="lora"))
    assert sentence.startswith("872 examples cannot tell differences under 1.9 points: lora and full")
    assert width_sentence(record, {"lora": gap("lora", -0.4, (-0.9, 0.1))}, SimpleNamespace(name="lora")) == []
    assert width_sentence(record, {}, SimpleNamespace(name="full")) == []


def test_pairs_in_words():
    def pair(p):
        return SimpleNamespace(a="full", b="lora", gained=12, lost=10, p=p, differs=p < 0.05)

    assert pair_sentences([pair(0.83)]) == [
        "No difference found between lora and full: 12 examples gained, 10 lost (McNemar p = 0.83)."
    ]
    assert pair_sentences([pair(0.01)])[0].startswith("lora is better than full: ")
    assert "all 2 pairs" in pair_sentences([pair(0.01)] * 2)[0]
    assert "tells 1 of 2 pairs" in pair_sentences([pair(0.01), pair(0.83)])[0]
    assert pair_sentences([pair(0.83)] * 3) == [
        "McNemar's test tells none of the 3 pairs of arms apart (after Holm's correction)."
    ]


@pytest.mark.parametrize(("correct", "said"), [(55, True), (58, True), (60, False), (90, False)])
def test_an_arm_that_may_be_no_better_than_one_class(correct, said):
    """Wilson's lower end of 58 of 100 is 48.2 %, of 60 it is 50.2 %; the commonest class has 50 %."""
    counts = {"correct": correct, "examples": 100}
    arm = SimpleNamespace(name="lora", mean=lambda kind, split: counts[kind])
    found = blind_sentence(SimpleNamespace(split="test", majority=lambda split: 0.5), arm)
    assert bool(found) is said
    assert not said or found[0].startswith(
        "By accuracy nothing shows that lora beats always saying the commonest class"
    )


def test_one_arm_and_none(tmp_path):
    alone = read_tuning(write_tune(tmp_path / "one", methods=("lora",), seeds=(1,), n=60, test=False))
    said = verdict(alone, gaps_of(alone))
    assert said.startswith("lora has ")
    assert "on the validation split" in said
    assert "no other arm" in said
    assert "trained once" in findings(alone, {}, [])[-1]
    none = read_tuning(write_tune(tmp_path / "none", methods=("lora",), n=20, waiting=("lora",)))
    assert verdict(none, {}) == "No arm has been measured yet."
    assert findings(none, {}, []) == []


def test_while_it_goes_on_and_without_a_rival(tmp_path):
    record = read_tuning(write_tune(tmp_path, methods=("full", "head", "lora"), seeds=(1,), n=200, waiting=("lora",)))
    said = verdict(record, gaps_of(record))
    assert said.startswith("So far: use full: ")
    assert said.endswith("no other arm comes within 1 point of it on the validation split.")


def test_leaks_are_told_with_their_places(record):
    assert leak_sentences(record) == [
        "2 examples of test stand in train as well (test.tsv, line 9, test.tsv, line 11)."
    ]
    one = SimpleNamespace(data={"leakage": [{"of": "test", "in": "train", "examples": 1, "places": []}]})
    assert leak_sentences(one) == ["1 example of test stands in train as well."]
    many = SimpleNamespace(data={"leakage": [{"of": "test", "in": "train", "examples": 9, "places": ["a", "b"]}]})
    assert "(a, b and 7 more)" in leak_sentences(many)[0]


def test_what_is_won_and_lost(record):
    pairs = {frozenset((one.a, one.b)): one for one in pairs_of(record)}
    found, best = exchanges(record), record.reference.name
    assert [one.reference for one in found] == [best] * 4
    for one in found:
        pair = pairs[frozenset((one.arm, best))]
        assert {one.won, one.lost} == {pair.gained, pair.lost}
        assert len(one.examples_won) == min(5, one.won)
        arm_ = next(arm_ for arm_ in record.arms if arm_.name == one.arm)
        own, base = (a.best_run.answers["test"] for a in (arm_, record.reference))
        labels = record.examples["test"].labels
        rows = np.arange(len(labels))
        gain = own.probabilities[rows, labels] - base.probabilities[rows, labels]
        most = np.where(base.right & ~own.right, -gain, -1).argmax()  # where the two differ most
        assert one.examples_lost[0].place == record.examples["test"].places[most]
        for shown in one.examples_won:
            (arm, said, _, right), (_, other, _, wrong) = shown.said
            assert (arm, right, wrong) == (one.arm, True, False)
            assert said == shown.label != other


def test_the_surest_errors_and_those_of_all(record):
    errors = {name: (count, shown) for name, count, shown in sure_errors(record)}
    labels = record.examples["test"].labels
    for arm_ in record.arms:
        own = arm_.best_run.answers["test"]
        count, shown = errors[arm_.name]
        assert count == (~own.right).sum()
        surest = np.flatnonzero(~own.right)[own.sure[~own.right].argmax()]
        assert shown[0].place == record.examples["test"].places[surest]
        assert shown[0].label == record.classes[labels[surest]]
    count, shown = shared_errors(record)
    wrong = np.all([~arm_.best_run.answers["test"].right for arm_ in record.arms], axis=0)
    assert count == wrong.sum() > 0
    assert {one.place for one in shown} <= {record.examples["test"].places[i] for i in np.flatnonzero(wrong)}


def test_long_texts_are_cut():
    assert len(cut("word " * 100)) == 300
    assert cut("word " * 100).endswith("…")
