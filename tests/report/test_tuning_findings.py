"""Which arm is advised and what is said: by the rule, with differences that can be counted by hand."""

import doctest
import json
from types import SimpleNamespace

import numpy as np
import pytest

from fake_tuning import write_tune
from heed.report import tuning_advice, tuning_errors, tuning_findings
from heed.report.gradings import grading_of
from heed.report.numbers import format_accuracy
from heed.report.paired import Paired, compare_arms, correct_pairs
from heed.report.statistics import wilson
from heed.report.tuning_advice import Gap, advised, gaps_of, interval_of, marks_of, pairs_of
from heed.report.tuning_errors import cut, exchanges, shared_errors, sure_errors
from heed.report.tuning_findings import (
    blind_sentence,
    cost_sentences,
    findings,
    front_caption,
    gap_sentence,
    leak_sentences,
    mixed_schedules,
    most_right,
    one_class_sentences,
    pair_sentences,
    passes_sentence,
    power_sentence,
    undertrained_sentence,
    unknown_sentences,
    verdict,
)
from heed.report.tuning_page import render
from heed.report.tuning_record import read_tuning
from heed.report.tuning_tables import results_table, tuning_lines
from heed.targets.classes import ClassTarget


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return read_tuning(write_tune(tmp_path_factory.mktemp("tune"), seeds=(1, 2), n=400))


@pytest.fixture(scope="module")
def gaps(record):
    return gaps_of(record)


GRADING = grading_of(ClassTarget(("neg", "pos")))


def gap(arm, points, interval=(-2.0, 0.5), memory=0.38, time=0.61, least=-5.0, p=0.3, **more):
    usual = {"examples": 872, "groups": 872, "runs": (1, 1), "test": "exact", "effective": 872, "detectable": 0.02}
    pair = Paired(
        "full", arm, gained=max(0, points) * 8.72, lost=max(0, -points) * 8.72,
        interval=(interval[0] / 100, interval[1] / 100), p=p, p_holm=p, **usual | more,
    )  # fmt: skip
    return Gap(pair, memory, time, least)


def arm(name, peak, seconds=1.0):
    memory = None if peak is None else SimpleNamespace(peak=peak)
    return SimpleNamespace(name=name, memory=memory, seconds=seconds)


def tune(*arms):
    return SimpleNamespace(ran=arms, reference=arms[0] if arms else None)


def test_examples():
    for module in (tuning_advice, tuning_findings, tuning_errors):
        assert doctest.testmod(module).failed == 0


def test_the_cheapest_that_is_shown_to_be_within_a_point_is_advised():
    full, lora, head = arm("full", 100), arm("lora", 40), arm("head", 10)
    gaps = {"lora": gap("lora", -0.4, least=-0.9), "head": gap("head", 0.5, least=-1.01)}
    assert advised(tune(full, lora, head), gaps) is lora  # head may be more than a point worse, for all that is known
    assert advised(tune(full, lora, head), {**gaps, "head": gap("head", -0.5, least=-1.0)}) is head
    assert advised(tune(full, head), {"head": gap("head", -5.0, least=0.0)}) is head  # the test chooses nothing
    assert advised(tune(full, head), {"head": gap("head", 5.0, (4.0, 6.0), least=-5.0)}) is full
    assert advised(tune(full, arm("lora", 101)), gaps) is full  # not cheaper
    assert advised(tune(full, arm("lora", None)), gaps) is full  # not known to be
    assert advised(tune(full, lora), {}) is full  # nothing to pair
    quick = arm("quick", 40, 0.5)
    assert advised(tune(full, lora, quick), {**gaps, "quick": gap("quick", -0.9, least=-1)}) is quick  # the faster
    assert advised(tune(arm("full", None), lora), gaps).name == "full"
    assert advised(tune(), {}) is None


def test_a_difference_is_said_in_its_direction():
    assert gap_sentence(gap("lora", -0.4, (-1.1, 0.3))) == (
        "0.4 points below full (95 % interval -0.3 to 1.1; no difference found, p = 0.3) at 38 % of its memory and "
        "61 % of its time"
    )
    assert gap_sentence(gap("lora", 1.3, (0.4, 2.1), None, p=0.002)) == (
        "1.3 points above full (95 % interval 0.4 to 2.1) at 61 % of its time"
    )
    assert gap_sentence(gap("lora", 0.01, (-1, 1), None, None)) == (
        "level with full (95 % interval -1.0 to 1.0; no difference found, p = 0.3)"
    )
    assert "interval -0.04 to 1.70;" in gap_sentence(gap("lora", -0.8, (-1.7, 0.04)))  # what is not 0 is not printed so
    assert "interval 0.02 to 1.70)" in gap_sentence(gap("lora", -0.8, (-1.7, -0.02), p=0.04))
    assert gap_sentence(gap("lora", 0, equal=True)).startswith("the same as full in every answer at 38 %")


def test_an_interval_that_leaves_out_0_is_not_enough():
    """4 against 0 of 100: the score interval begins at 0.15 points, and McNemar's p is 0.125."""
    a, b = np.arange(100) < 80, np.arange(100) < 84
    (pair,) = correct_pairs([compare_arms("full", "lora", a[None], b[None])])
    said = gap_sentence(Gap(pair, None, None, -5.0))
    assert said == "4.0 points above full (95 % interval 0.2 to 9.8; no difference found, p = 0.12)"
    assert pair_sentences(GRADING, [pair])[0].startswith(
        "No difference found between lora and full: 4 examples gained, 0 lost"
    )


def test_differences_are_paired_over_examples_and_seeds(record, gaps):
    full, head = record.reference, record.arms[1]
    assert set(gaps) == {arm_.name for arm_ in record.arms} - {full.name}
    d = 100 * (marks_of(head, "test").mean(axis=0) - marks_of(full, "test").mean(axis=0))
    found = gaps["head"]
    assert found.points == pytest.approx(d.mean())
    assert found.points == pytest.approx(100 * (head.mean("accuracy", "test") - full.mean("accuracy", "test")))
    # at least as wide as if nothing but the examples varied
    low, high = found.interval
    assert low < found.points < high
    assert high - low > 2 * 1.96 * d.std() / np.sqrt(len(d))
    on_validation = head.mean("accuracy", "validation") - full.mean("accuracy", "validation")
    assert found.least < 100 * on_validation
    assert found.memory == pytest.approx(head.memory.peak / full.memory.peak)


def test_pairs_are_over_all_seeds(record):
    pairs = pairs_of(record)
    assert len(pairs) == 10
    assert all(one.points >= 0 for one in pairs)  # the better arm is b
    one = next(one for one in pairs if (one.a, one.b) == ("head", "full"))
    full, head = (marks_of(a, "test") for a in record.arms[:2])
    again = compare_arms("head", "full", head, full, same_seeds=True)
    assert (one.gained, one.lost, one.p) == (again.gained, again.lost, again.p)
    assert one.gained == np.mean([(b & ~a).sum() for a, b in zip(head, full, strict=True)])


def test_the_verdict_and_the_interval(record, gaps):
    use = advised(record, gaps)
    said = verdict(record, gaps)
    assert said.startswith(f"Use {use.name}: ")
    low, high = interval_of(record, use, "test")
    assert low < wilson(round(400 * use.mean("accuracy", "test")), 400)[0] + 0.005
    assert f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %;" in said
    sentences = " ".join(findings(record, gaps, pairs_of(record)))
    assert "always the commonest class: 5" in sentences + said
    assert "Least memory: head with" in sentences
    assert "No arm was found to be quicker than all others." in sentences  # the made-up seconds have no spread
    assert "trained once" not in sentences


def test_what_could_have_been_found_is_said():
    lora = SimpleNamespace(name="lora")
    (sentence,) = power_sentence(GRADING, {"lora": gap("lora", -0.4, detectable=0.0271, groups=90)}, lora)
    assert sentence == (
        "Between lora and full an effect of 2.7 points would have been found four times in five on 872 "
        "examples in 90 groups; smaller ones less often."
    )
    assert power_sentence(GRADING, {"lora": gap("lora", -0.4, detectable=0.009)}, lora) == []
    assert power_sentence(GRADING, {"lora": gap("lora", -3, (-5, -1), p=0.001)}, lora) == []  # it was found
    assert "too few to tell" in power_sentence(GRADING, {"lora": gap("lora", -0.4, detectable=1.0)}, lora)[0]
    assert power_sentence(GRADING, {}, SimpleNamespace(name="full")) == []


def test_pairs_in_words():
    def pair(p, gained=12, **more):
        return gap("lora", 0, p=p, **more).pair.__class__(
            **(gap("lora", 0, p=p, **more).pair.__dict__ | {"gained": gained, "lost": 10})
        )

    assert pair_sentences(GRADING, [pair(0.83)]) == [
        "No difference found between lora and full: 12 examples gained, 10 lost (McNemar's test, p = 0.83)."
    ]
    assert pair_sentences(GRADING, [pair(0.83, 12.5, runs=(3, 3))]) == [
        "No difference found between lora and full: 12.5 examples gained, 10 lost, means over seeds (The paired test "
        "over seeds and examples, p = 0.83)."
    ]
    assert pair_sentences(GRADING, [pair(0.01)])[0].startswith("lora is better than full: ")
    assert "all 2 pairs" in pair_sentences(GRADING, [pair(0.01)] * 2)[0]
    assert "tells 1 of 2 pairs" in pair_sentences(GRADING, [pair(0.01), pair(0.83)])[0]
    assert pair_sentences(GRADING, [pair(0.83)] * 3) == [
        "McNemar's test tells none of the 3 pairs of arms apart (after Holm's correction)."
    ]
    grouped = pair_sentences(GRADING, [pair(0.83, groups=40)] * 3)[0]
    assert grouped.startswith("The paired test over groups of examples tells none")
    assert pair_sentences(GRADING, [pair(1.0, equal=True)]) == ["lora and full say the same of every example."]


@pytest.mark.parametrize(("correct", "said"), [(55, True), (58, True), (60, False), (90, False)])
def test_an_arm_that_may_be_no_better_than_one_class(correct, said):
    """Wilson's lower end of 58 of 100 is 48.2 %, of 60 it is 50.2 %; the commonest class has 50 %."""
    scores = SimpleNamespace(correct=correct, examples=100)
    run = SimpleNamespace(scores=lambda split: scores)
    arm = SimpleNamespace(name="lora", encoder="minilm", answered=frozenset(), runs=[run], steps=None)
    base, unknown = (lambda split: 0.5), (lambda: {})
    record = SimpleNamespace(split="test", baseline=base, unknown_shares=unknown, ran=[arm], grading=GRADING)
    found = blind_sentence(record, arm)
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
    *_, once, deploy = findings(alone, {}, [])
    assert "trained once" in once
    assert deploy.startswith("To deploy lora: heed export --to peft or --to onnx. It has a linear head on the mean")
    none = read_tuning(write_tune(tmp_path / "none", methods=("lora",), n=20, waiting=("lora",)))
    assert verdict(none, {}) == "No arm has been measured yet."
    assert findings(none, {}, []) == []


def test_while_it_goes_on_and_without_a_rival(tmp_path):
    record = read_tuning(write_tune(tmp_path, methods=("full", "head", "lora"), seeds=(1,), n=200, waiting=("lora",)))
    said = verdict(record, gaps_of(record))
    assert said.startswith("So far: use full: ")
    assert "no other arm is shown to be within 1 point of it on the validation split (head, the nearest, may be" in said


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
        assert one.won + one.lost > 0
        assert pair.gained != pair.lost
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
        assert shown[0].label == record.target.names[labels[surest]]
    count, shown = shared_errors(record)
    wrong = np.all([~arm_.best_run.answers["test"].right for arm_ in record.arms], axis=0)
    assert count == wrong.sum() > 0
    assert {one.place for one in shown} <= {record.examples["test"].places[i] for i in np.flatnonzero(wrong)}


def test_long_texts_are_cut():
    assert len(cut("word " * 100)) == 300
    assert cut("word " * 100).endswith("…")


def rewritten(folder, change):
    """Return the record of a tune whose tune.json `change` has edited."""
    content = json.loads((folder / "tune.json").read_text())
    change(content)
    (folder / "tune.json").write_text(json.dumps(content))
    return read_tuning(folder)


def test_an_arm_that_is_not_shown_to_beat_the_commonest_class_is_not_advised(tmp_path, monkeypatch):
    record = read_tuning(write_tune(tmp_path, methods=("full", "head"), seeds=(1, 2), n=60))
    others = [arm for arm in record.ran if arm is not record.reference]
    monkeypatch.setattr(tuning_findings, "beating", lambda record: others)
    monkeypatch.setattr(tuning_findings, "advised", lambda record, gaps: record.reference)
    said = verdict(record, gaps_of(record))
    assert said.startswith(f"{record.reference.name}, the best on the validation split, is not shown to beat ")
    assert said.endswith(f"Of the others {others[0].name} is, though the test split chooses none.")


def test_where_nothing_beats_the_commonest_class_only_that_is_said(tmp_path):
    folder = write_tune(tmp_path, methods=("full", "head"), seeds=(1, 2), n=60, skill=-9.0)
    record = read_tuning(folder)
    said = verdict(record, gaps_of(record))
    assert said.startswith("No arm is shown to beat always saying the commonest class: ")
    assert "Use" not in said
    assert "within 1 point" not in said
    assert findings(record, gaps_of(record), pairs_of(record))[0].startswith("By accuracy nothing shows that ")


def test_an_arm_of_ten_updates_is_undertrained_before_it_is_worse(tmp_path):
    def few(content):
        content["arms"][1]["steps"] = 10

    folder = write_tune(tmp_path, methods=("full", "head"), seeds=(1, 2), n=600)
    record = rewritten(folder, few)
    said = verdict(record, gaps_of(record))
    assert said.startswith("Undertrained so far, and perhaps better than it seems: head. Use full: ")
    first, *_ = findings(record, gaps_of(record), pairs_of(record))
    assert first.startswith("Undertrained: head made 10 updates a run.")

    def learned(content):
        for run in content["arms"][1]["runs"]:
            run["curve"][-1]["train_accuracy"] = 0.97

    assert undertrained_sentence(rewritten(folder, learned)) == []  # it knows its texts: more updates are not missing
    assert undertrained_sentence(read_tuning(write_tune(tmp_path / "b", methods=("head",), n=60))) == []


def test_texts_that_an_encoder_cannot_read_come_first(tmp_path):
    def unread(content):
        content["encoders"]["minilm"]["read"] = {"train": {"unknown": 0.93}, "test": {"unknown": 1.0}}

    folder = write_tune(tmp_path, methods=("full", "head"), seeds=(1, 2), n=60, skill=-9.0)
    record = rewritten(folder, unread)
    (sentence,) = unknown_sentences(record)
    assert sentence.startswith("100 % of the tokens that minilm reads are unknown to it")
    said = findings(record, gaps_of(record), pairs_of(record))
    assert said[0] == sentence
    assert "more texts, epochs" not in " ".join(said)  # it would not help
    assert "another encoder may help" in " ".join(said)


def test_the_highest_accuracy_is_a_point_estimate_and_ties_are_said(tmp_path):
    def mean(name, *shares):
        return SimpleNamespace(name=name, mean=lambda *_: sum(shares) / len(shares))

    def said(*arms):
        mean = lambda arm, split: arm.mean()
        base = lambda split: 0.5
        return most_right(SimpleNamespace(ran=arms, split="test", baseline=base, mean=mean, grading=GRADING))

    assert said(mean("full", 0.75, 0.85), mean("lora", 0.7)) == (
        "full has the highest accuracy as a point estimate, 80.0 %; always the commonest class: 50.0 %"
    )
    assert said(mean("full", 0.75), mean("lora", 0.75), mean("head", 0.5)) == (
        "full and lora are equally often right, and none more often, 75.0 %; always the commonest class: 50.0 %"
    )
    assert said(mean("full", 0.75)).startswith("full is right, 75.0 %")
    assert said() == "No arm has run to its end"
    assert front_caption(["head"], ["full"]) == (
        "Stroke: the arms that no other beats at both (the Pareto front). Beaten: full. By point estimates: where "
        "intervals overlap, the order may be chance."
    )


def test_a_split_of_one_class_is_said(tmp_path):
    def one(content):
        content["data"]["splits"]["test"]["classes"] = [0, 60]

    record = rewritten(write_tune(tmp_path, methods=("full", "head"), seeds=(1,), n=60), one)
    told = "The test split holds one class alone, 1: figures of it say nothing of telling classes apart."
    assert findings(record, gaps_of(record), pairs_of(record))[0] == told
    assert told in tuning_lines(tmp_path)
    assert one_class_sentences(read_tuning(write_tune(tmp_path / "both", methods=("head",), n=60))) == []


def test_more_passes_than_asked_for_are_explained(tmp_path):
    def ten(content):
        content["arms"][1]["epochs"] = 30

    record = rewritten(write_tune(tmp_path, methods=("full", "head"), seeds=(1,), n=60), ten)
    told = "head makes 30 passes over the texts and not 3: the encoder does not learn there, so its features are"
    assert passes_sentence(record)[0].startswith(told)
    assert any(line.startswith(told) for line in results_table(record, gaps_of(record)).notes)


def test_runs_of_an_older_schedule_among_others_are_told(tmp_path):
    record = read_tuning(write_tune(tmp_path, methods=("full", "head"), seeds=(1, 2), n=60))
    assert mixed_schedules(record) == []  # nothing is logged
    for arm in record.arms:
        for run in arm.runs:
            rates = [1e-3, 5e-4, 0.0 if (arm.name, run.seed) == ("full", 1) else 1e-5]
            lines = [{"event": "train", "step": n, "learning_rate": rate} for n, rate in enumerate(rates, 1)]
            lines += [{"event": "end", "reason": "finished"}]
            (tmp_path / run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = mixed_schedules(read_tuning(tmp_path))
    assert told[0].startswith("An older heed trained full with seed 1: the last update there had the rate 0")
    assert told[0] in tuning_lines(tmp_path)
    assert told[0] in render(read_tuning(tmp_path))
    for run in read_tuning(tmp_path).arms[0].runs + read_tuning(tmp_path).arms[1].runs:
        path = tmp_path / run.folder / "metrics.jsonl"
        path.write_text(path.read_text().replace("1e-05", "0.0"))
    assert mixed_schedules(read_tuning(tmp_path)) == []  # all are alike


def test_the_least_time_is_named_where_every_pair_of_seeds_shows_it(tmp_path):
    # full takes 2.00, 2.05 and 2.02 times as long as the head: the interval of the ratio is far above 1
    def seconds(content):
        for arm, taken in zip(content["arms"], ((20.0, 22.55, 24.24), (10.0, 11.0, 12.0)), strict=True):
            for run, own in zip(arm["runs"], taken, strict=True):
                run["seconds"] = own
            for key in ("weights", "gradients", "optimizer", "activations", "forward_peak", "backward_peak"):
                arm["memory"][key] = 2**20

    def other(content):
        seconds(content)
        content["arms"][1]["memory"]["weights"] = 2**21

    folder = write_tune(tmp_path, methods=("full", "head"), seeds=(1, 2, 3), n=60)
    head = read_tuning(folder).arms[1]
    right = format_accuracy(head.mean("accuracy", "test"))
    full = format_accuracy(read_tuning(folder).arms[0].mean("accuracy", "test"))
    assert cost_sentences(rewritten(folder, other)) == [
        f"Least memory: full with 4.00 MiB, at {full}. Least time: head with 11 s, at {right}."
    ]

    def both(content):
        content["arms"][1]["memory"]["weights"] = 2**19

    assert cost_sentences(rewritten(folder, both)) == [
        f"Least memory and least time: head with 3.50 MiB and 11 s, at {right}."
    ]
