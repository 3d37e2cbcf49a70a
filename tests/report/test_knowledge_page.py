"""The page of models that were asked: what is read, compared and said; whole, safe, the same twice; in a browser."""

import doctest
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from fake_knowledge import answers, write_asked, write_experiment
from fake_runs import write_run
from scipy import stats
from test_page_browser import browser, check_page  # noqa: F401 - a fixture

from heed.errors import CheckpointError
from heed.records.answers import AnswerLine, AnswersSummary
from heed.report import knowledge_findings, knowledge_page, knowledge_record
from heed.report.knowledge_figures import colours, knowledge_figures
from heed.report.knowledge_findings import Comparison, by_seen, by_support, comparisons, findings, verdict
from heed.report.knowledge_page import banners, examples, render, write_knowledge
from heed.report.knowledge_record import AskedRun, KnowledgeRecord, holds_runs, read_knowledge
from heed.report.knowledge_tables import results, seeds, threshold_rows
from heed.report.statistics import holm

NASTY = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("asked")
    return [write_experiment(base / "plain"), write_odd(base / "odd")]


def write_odd(folder):
    """Names and answers that are code, no probabilities, no passages, other questions, broken lines."""
    lines = answers(0.3, n=20)
    for line in lines[:6]:
        line |= {"answer": NASTY, "probability": 0.99, "passage": {"text": NASTY, "line": 3, "holds_answer": True}}
        line["runners_up"] = [[NASTY, 0.5]]
    long = "a-name-that-is-long-and-has-no-space-to-break-it-at-0123456789"
    write_asked(folder / long, lines, settings={"data.source": NASTY, "data.objective": "answers"})
    write_asked(folder / "silent", [{**line, "probability": None, "passage": None} for line in lines])
    write_asked(folder / "elsewhere", answers(0.3, n=10))
    broken = write_asked(folder / "deep" / "er" / "broken", lines, summary={"correct": 1, "total": 20})
    with (broken / "answers.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"prompt": "cut o')
    only = folder / "answers-alone"
    only.mkdir()
    shutil.copy(broken / "answers.jsonl", only)
    return folder


def asked(name, rights, **how):
    """A run that has answered so many questions, without a folder."""
    said = [
        AnswerLine(prompt=f"q{i}", gold="a", answer="a" if right else "b", probability=0.5, correct=bool(right))
        for i, right in enumerate(rights)
    ]
    return AskedRun(name, tuple(said), AnswersSummary(baseline={"answer": "a", "correct": 1}), None, **how)


def test_examples():
    for module in (knowledge_record, knowledge_findings, knowledge_page):
        assert doctest.testmod(module).failed == 0


def test_a_run_folder_and_a_folder_of_runs_are_told_apart(folders, tmp_path):
    assert holds_runs(folders[0])
    assert not holds_runs(folders[0] / "softmax-finetuned")  # a run keeps its own page
    assert not holds_runs(write_run(tmp_path / "below" / "run"))
    assert not holds_runs(tmp_path / "none")
    assert holds_runs(tmp_path)
    with pytest.raises(CheckpointError, match="--task qa"):  # runs, and none of them was asked
        write_knowledge(tmp_path)


def test_what_is_read(folders):
    record = read_knowledge(folders[0])
    assert record.asked[0].name == "softmax-finetuned"
    assert [one.right for one in record.asked] == sorted((one.right for one in record.asked), reverse=True)
    best = record.best
    lines = [json.loads(line) for line in (folders[0] / best.name / "answers.jsonl").read_text().splitlines()]
    assert (best.right, best.total) == (sum(line["correct"] for line in lines), 200)
    assert (best.variant, best.pretraining, best.seed) == ("softmax", "wiki.txt, single-span", 1)
    assert {one.name for one in record.stages} == {"softmax-pretraining", "synthesizer-pretraining"}
    assert set(record.groups) == {(variant, text) for variant in ("softmax", "synthesizer")
                                  for text in ("none", "wiki.txt, single-span")}  # fmt: skip
    assert sum(total for _, _, total in by_seen(best)) == 200
    assert sum(total for _, _, total in by_support(best)) == 200
    assert record.notes == ()


def test_what_cannot_be_used_is_said(folders):
    record = read_knowledge(folders[1])
    assert [one.name for one in record.apart] == ["elsewhere"]
    assert len(record.asked) == 4
    assert "elsewhere" not in {one.name for one in record.asked}
    notes = " ".join(record.notes)
    assert "Line 21 of deep/er/broken/answers.jsonl is no answer" in notes
    assert "says 1 of 20" in notes
    assert "answers-alone/evaluation-qa.json is missing" in notes
    said = {banner.title: banner.text for banner in banners(record)}
    assert said["Not the same questions"].startswith("elsewhere (10)")
    assert said["Without probabilities"].startswith("silent")
    assert "20 questions" in said["Few questions"]


def tango(gained, lost, n):
    """Tango's interval in points by trying every difference: the constrained likelihood's maximum found on a grid."""
    kept = []
    for delta in np.arange(-0.999, 0.9995, 0.0005):
        q = np.linspace(max(0.0, -delta) + 1e-9, (1 - delta) / 2 - 1e-9, 4001)  # lost; gained has q + delta
        likelihood = gained * np.log(np.maximum(q + delta, 1e-12)) + lost * np.log(q)
        likelihood = likelihood + (n - gained - lost) * np.log(np.maximum(1 - 2 * q - delta, 1e-12))
        best = q[likelihood.argmax()]
        z = (gained - lost - n * delta) / np.sqrt(n * (2 * best + delta * (1 - delta)))
        if abs(z) <= 1.959964:
            kept.append(delta)
    return 100 * min(kept), 100 * max(kept)


def test_one_seed_is_compared_over_the_questions_with_the_exact_test():
    # 12 questions: b has five more right and loses one
    a, b = asked("a", [1] * 3 + [0] * 9), asked("b", [0] + [1] * 7 + [0] * 4)
    record = KnowledgeRecord(None, (b, a))
    groups = {("softmax", "none"): [a], ("softmax", "wiki.txt"): [b]}
    record.__dict__["groups"] = groups
    (found,) = comparisons(record)
    assert found.points == pytest.approx(100 * 4 / 12)
    assert found.p == pytest.approx(stats.binomtest(1, 6).pvalue)  # McNemar: 1 against 5
    assert found.interval == pytest.approx(tango(5, 1, 12), abs=0.06)  # its grid has steps of 0.05
    assert found.sentence() == (
        "softmax: no difference found between pretraining (wiki.txt) and no pretraining (+33 points, 95 % interval "
        f"{found.interval[0]:+.0f} to {found.interval[1]:+.0f}, paired over 12 questions, p = 0.22)."
    )
    sure = replace(found, p_holm=0.01)
    assert sure.sentence().startswith("softmax: pretraining (wiki.txt) has 33 points more right than no pretraining (")


def test_seeds_are_paired_and_their_mean_is_said(tmp_path):
    record = read_knowledge(write_experiment(tmp_path / "seeds", seeds=(1, 2, 3)))
    found = comparisons(record)
    assert [one.paired_over for one in found] == ["3 seeds"] * 4
    assert found[0].common == "softmax"  # pretraining comes first
    assert [one.p_holm for one in found] == holm([one.p for one in found])
    by_name = {one.name: one.accuracy for one in record.asked}
    d = [100 * (by_name[f"softmax-finetuned-{s}"] - by_name[f"softmax-scratch-{s}"]) for s in (1, 2, 3)]
    assert found[0].points == pytest.approx(sum(d) / 3)
    mean = 100 * sum(by_name[f"softmax-finetuned-{s}"] for s in (1, 2, 3)) / 3
    assert f"the mean of its 3 seeds is {mean:.1f} %" in verdict(record)
    assert [row[2] for row in seeds(record).rows] == ["3"] * 4
    assert "seed" in results(record).head
    paint = colours(record)
    assert len(set(paint.values())) == 4  # a group has one colour
    assert paint["softmax-finetuned-1"] == paint["softmax-finetuned-3"]
    assert not any("trained once" in sentence for sentence in findings(record))


def test_sentences_of_one_seed(folders):
    record = read_knowledge(folders[0])
    low, high = stats.binomtest(record.best.right, 200).proportion_ci(method="wilson")
    assert f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %)" in verdict(record)
    assert "always “London” gets" in verdict(record)
    said = " ".join(findings(record))
    assert "trained once" in said
    assert "where the pretraining text has the name" in said
    assert "made up" in said
    assert "seed" not in results(record).head


def test_a_threshold_of_other_questions_is_measured_first(folders):
    best = read_knowledge(folders[0]).best
    own = replace(best, trust={"threshold": 0.6, "accuracy": 0.8})
    ((_, cells),) = threshold_rows([own])
    given = [one.correct for one in best.answers if one.probability >= 0.6]
    wanted, threshold, answered, reached = cells[0]
    assert (wanted, threshold) == ("80.0 %, chosen on other questions", "p ≥ 0.60")
    assert answered == f"{100 * len(given) / 200:.1f} %"
    assert reached.startswith(f"{100 * sum(given) / len(given):.1f} % (")
    assert len(cells) == 4


def test_examples_show_both_sides(folders):
    shown = dict(examples(read_knowledge(folders[0]).best))
    assert len(shown) == 3
    right, wrong, shy = shown.values()
    assert all(one.correct for one in (*right, *shy))
    assert not any(one.correct for one in wrong)
    assert any(is_answer for one in right for _, is_answer in one.passage)
    assert "made up" in wrong[0].source


def test_the_page_is_written(folders):
    page = write_knowledge(folders[0])
    assert page.name == "knowledge.html"
    assert not list(folders[0].glob("*.part"))
    html = page.read_text()
    for heading in ("Variants and pretraining", "Does 70 % mean 70 %?", "When to say nothing",
                    "Where answers come from", "Answers of softmax-finetuned", "Training", "Runs"):  # fmt: skip
        assert f">{heading}</h2>" in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', html)
    assert render(read_knowledge(folders[0])) == html


def test_what_comes_from_a_run_is_escaped(folders):
    html = write_knowledge(folders[1]).read_text()
    assert html.count("<script") == 1
    assert "&lt;script&gt;" in html


def test_figures_are_there(folders):
    for folder in folders:
        figures = knowledge_figures(read_knowledge(folder))
        assert {"accuracy", "reliability-0", "risk"} <= set(figures)


def test_answers_without_probabilities_have_a_page(tmp_path):
    lines = [{**line, "probability": None} for line in answers(0.3, n=12)]
    write_asked(tmp_path / "all" / "one", lines)
    html = write_knowledge(tmp_path / "all").read_text()
    assert "nothing can be said of trust" in html
    assert "Does 70 % mean 70 %?" not in html


def test_a_folder_that_cannot_be_written_is_one_line(folders, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(CheckpointError, match="No space left"):
        write_knowledge(folders[1])
    assert not list(folders[1].glob("*.part"))


@pytest.fixture(scope="module")
def addresses(folders):
    return [write_knowledge(folder).as_uri() for folder in folders]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_the_page_is_quiet_fits_and_can_be_read(browser, addresses, scheme, width):  # noqa: F811
    for address in addresses:
        check_page(browser, address, scheme, width)


@pytest.mark.slow
def test_a_long_word_does_not_widen_the_page(browser, tmp_path):  # noqa: F811
    for name in ("a" * 100, "b"):
        write_asked(tmp_path / name, answers(0.3, n=20))
    page = browser.new_page(viewport={"width": 360, "height": 900})
    page.goto(write_knowledge(tmp_path).as_uri())
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    page.close()


def test_seeds_that_differ_alike_are_no_proof():
    same = Comparison("a", "b", "softmax", 0.4, None, 0.5, "2 seeds", 0.5)
    assert same.sentence() == (
        "softmax: no difference found between b and a (+0.400 points, the same with each of 2 seeds; the sign test "
        "decides, p = 0.5)."
    )
