"""What a study says, held against numbers on paper."""

import doctest
import json
import re

import numpy as np
import pytest
from fake_runs import figures, write_run
from fake_studies import cell, study, write_study_folder
from scipy import stats

from heed.records.figures import KeptFigures
from heed.report import study_findings, study_speed, study_tables
from heed.report.study_figures import curves
from heed.report.study_findings import budget, curve, differences, ranking, sentences, verdict
from heed.report.study_interpretation import interpretation
from heed.report.study_picks import generalisation, picks
from heed.report.study_record import read_study
from heed.report.study_speed import fastest, speed_title, times_to, unequal_times
from heed.report.study_tables import every_table, table, terminal
from heed.report.tabular import TextTable, all_latex, all_markdown, to_latex


def made(tmp_path, content=None, runs=False):
    return read_study(write_study_folder(tmp_path / "study", content, runs))


def exact(values, figure="bits_per_byte", **other):
    """A study whose figures are given: {variant: [one a seed]}."""
    content = study(dict.fromkeys(values, 0.0), seeds=tuple(range(1, 1 + max(map(len, values.values())))), **other)
    content["figure"] = figure
    content["cells"] = [
        cell(name, seed, 2.5) | {"figures": {"validation": figures(2.5) | {figure: value}}}
        for name, row in values.items()
        for seed, value in enumerate(row, 1)
    ]
    return content


def test_examples():
    for module in (study_findings, study_speed, study_tables):
        assert doctest.testmod(module).failed == 0


def test_steps_of_a_budget_of_time_are_those_that_were_taken(tmp_path):
    content = study({"a": 0.0, "b": 0.1}, seeds=(1, 2), budget={"kind": "seconds", "amount": 60})
    for facts in content["variants"].values():
        facts["steps"] = None
    folder = write_study_folder(tmp_path / "study", content)
    log = folder / "runs" / "a" / "seed-2" / "metrics.jsonl"
    kept = [line for line in log.read_text().splitlines() if json.loads(line).get("step", 0) <= 300]
    log.write_text("\n".join(kept) + "\n")
    made = table(read_study(folder))
    place = made.head.index("steps")
    assert [row[place] for row in made.rows] == ["350", "400"]  # (400 + 300) / 2
    unknown = table(read_study(write_study_folder(tmp_path / "bare", content, runs=False)))
    assert [row[place] for row in unknown.rows] == ["–", "–"]


def test_planted_differences_are_found_and_equal_variants_are_not(tmp_path):
    record = made(tmp_path)
    said = sentences(record)
    assert said[0].startswith(
        "rotary is better than pre-norm: -0.029 bits per byte (95 % interval -0.035 to -0.023), 3 seeds, p = 0.0"
    )
    assert said[1].startswith("post-norm is worse than pre-norm: +0.0234 bits per byte")
    assert said[2].startswith("No difference found between no-bias and pre-norm")
    assert (
        verdict(record)
        == "Against pre-norm, rotary is better and post-norm is worse; for no-bias no difference was found."
    )
    assert [rank.variant for rank in ranking(record)] == ["rotary", "pre-norm", "no-bias", "post-norm"]


def test_statistics_as_on_paper(tmp_path):
    # differences 0.1, 0.2, 0.3: mean 0.2, s 0.1, t(2, 0.975) = 4.303, half 4.303 * 0.1 / sqrt(3) = 0.248
    record = made(tmp_path, exact({"a": [1.0, 1.0, 1.0], "b": [1.1, 1.2, 1.3]}))
    (d,) = differences(record)
    assert d.mean == pytest.approx(0.2)
    assert d.t_interval == pytest.approx((0.2 - 0.2484, 0.2 + 0.2484), abs=1e-4)
    row = dict(zip(table(record).head, table(record).rows[1], strict=True))
    assert row["validation bits per byte"] == "1.20 ± 0.25"
    assert row["Δ validation"] == "+0.20 (-0.05 to +0.45)"


def test_of_an_accuracy_more_is_better_and_points_are_counted(tmp_path):
    record = made(tmp_path, exact({"a": [0.80, 0.81, 0.82], "b": [0.85, 0.861, 0.869]}, "accuracy"))
    assert sentences(record)[0].startswith("b is better than a: +5.00 percentage points")
    assert [rank.variant for rank in ranking(record)] == ["b", "a"]
    assert picks(record)[0].startswith("Best accuracy on the validation split: b with 86")
    assert (1, 3) in table(record).best  # variant, number, seeds, validation accuracy


def test_holm_is_over_all_variants(tmp_path):
    # p of b alone is 0.02; with two more that differ in nothing it is tripled
    values = {"a": [1.0] * 4, "b": [1.01, 1.02, 1.025, 1.01], "c": [1.0, 1.01, 0.99, 1.0], "d": [1.01, 0.99, 1.0, 1.0]}
    record = made(tmp_path, exact(values))
    found = {d.b: d for d in differences(record)}
    assert found["b"].p_t < 0.05 < found["b"].p_holm
    assert found["b"].p_holm == pytest.approx(3 * found["b"].p_t)
    assert found["b"].only_uncorrected
    said = next(sentence for sentence in sentences(record) if " b " in sentence)
    assert said.startswith("No difference found") and "alone it would count" in said  # noqa: PT018
    assert any("worth more seeds" in line for _, lines in interpretation(record) for line in lines)


def test_one_seed_says_nothing_about_noise(tmp_path):
    record = made(tmp_path, study(seeds=(1,)))
    assert all("one seed, which says nothing of noise" in sentence for sentence in sentences(record))
    assert verdict(record) == "One seed: rotary came out best, and nothing can be said about noise."
    assert "±" not in table(record).caption
    assert "nothing can be said about noise" in table(record).caption


def test_fewer_seeds_come_last_and_are_never_bold(tmp_path):
    record = made(tmp_path, exact({"a": [1.0, 1.1], "b": [0.1], "c": [0.9, 1.0]}))
    assert [rank.variant for rank in ranking(record)] == ["c", "a", "b"]
    made_table = table(record)
    assert [made_table.rows[row][0] for row, _ in made_table.best] == ["c"]
    assert dict(zip(made_table.head, made_table.rows[1], strict=True))["seeds"] == "1 of 2"


def test_rows_are_sorted_and_each_architecture_has_its_best(tmp_path):
    names = {"lstm adamw": 2.0, "gpt 4": 1.0, "gpt 2": 1.5, "lstm adam": 2.5}
    content = exact({name: [value, value + 0.01] for name, value in names.items()})
    changes = {
        "lstm adamw": {"model.kind": "lstm", "model.n_layers": 1},
        "lstm adam": {"model.kind": "lstm", "model.n_layers": 1, "train.optimizer": "adam"},
        "gpt 2": {"model.n_layers": 2},
        "gpt 4": {"model.n_layers": 4},
    }
    for name, changed in changes.items():
        content["variants"][name]["changes"] = changed
    record = made(tmp_path, content)
    shown = table(record)
    assert [row[0] for row in shown.rows] == ["gpt 2", "gpt 4", "lstm adam", "lstm adamw"]
    assert shown.head[1:5] == ("no.", "architecture", "layers", "optimizer")
    assert [row[1] for row in shown.rows] == ["3", "2", "4", "1"]  # their places in the file
    assert {shown.rows[row][0] for row, _ in shown.best} == {"gpt 4", "lstm adamw"}
    # what is the same everywhere has no column, and is said in the caption
    assert table(made(tmp_path / "other")).head[2] == "seeds"
    assert "all: architecture gpt, layers 4, optimizer adamw" in table(made(tmp_path / "third")).caption


def test_another_passport_stands_in_no_column(tmp_path):
    content = study()
    for each in content["cells"]:
        if each["variant"] == "rotary":
            each["figures"]["validation"]["passport"]["corpus"] = "another 00000000"
            each["figures"]["test"]["passport"]["stride"] = 64
    shown = table(made(tmp_path, content))
    row = next(row for row in shown.rows if row[0] == "rotary")
    assert row.count("other passport") == 2
    assert any("another 00000000" in note for note in shown.notes)


def test_markdown_and_latex_are_well_formed_and_escaped(tmp_path):
    effects = {"pre-norm": 0.0, "50 % & <b>|bold|</b> _x_ {y}": 0.1}
    record = made(tmp_path, study(effects))
    text = all_markdown(every_table(record))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "<b>" not in text
    assert "&lt;b&gt;\\|bold\\|" in text
    tex = all_latex(every_table(record))
    assert r"50 \% \& \textless{}b\textgreater{}" in tex
    assert r"\_x\_ \{y\}" in tex
    body = tex[tex.index(r"\toprule") : tex.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {len(table(record).head) - 1}
    assert tex.isascii()


def test_a_latex_row_that_begins_like_an_option_is_no_option():
    written = to_latex(TextTable(("run",), (("[a] 5pt",), ("*b",)), (False,), frozenset({(1, 0)}), "", ()))
    assert r"{}[a] 5pt" in written
    assert r"\textbf{{}*b}" in written


def test_sequence_mean_losses_have_a_unit(tmp_path):
    content = exact({"a": [1.0, 1.1], "b": [1.2, 1.4]}, figure="sequence_mean_loss")
    assert "nats" in " ".join(sentences(made(tmp_path, content)))


def test_equal_variants_leave_nothing_to_miss(tmp_path):
    record = made(tmp_path, exact({"a": [1.0, 1.1], "b": [1.0, 1.1]}))
    assert verdict(record) == "Against a, b is the same to the last digit."
    assert table(record).rows[1][table(record).head.index("Δ validation")] == "the same"
    assert "What could not have been seen" not in dict(interpretation(record))


def test_terminal_columns_are_straight(tmp_path):
    lines = terminal(made(tmp_path))
    assert lines[0].startswith("variant")
    assert any("*" in line for line in lines[2:6])
    assert "0.906 ± 0.046*" in "\n".join(lines)


def test_caption_explains_every_column_and_symbol(tmp_path):
    made_table = table(made(tmp_path))
    words = made_table.caption.lower()
    for name in ("seeds", "steps", "tokens/s", "steady", "peak", "time", "±", "δ", "bold", "–", "n = 17,920", "2.05 m"):
        assert name in words


def test_curves_are_means_over_seeds(tmp_path):
    record = made(tmp_path, runs=True)
    lines = curve(record, "rotary", "step")
    assert lines.x == [50.0 * i for i in range(1, 9)]
    assert lines.seeds == 3
    assert all(low <= mean <= high for low, mean, high in zip(lines.low, lines.mean, lines.high, strict=True))
    assert curve(record, "rotary", "epoch").x[-1] == pytest.approx(400 * 2048 / 161_000)


def logged(folder, content, speeds, ends=None):
    """Write runs whose clock goes by {variant: [tokens a second, one a seed]}; the first logged step is slow."""
    for each in content["cells"]:
        own = speeds[each["variant"]]
        rate = own[each["seed"] - 1]
        events = []
        for step in range(10, 210, 10):
            seconds = 1 + step * 2048 / rate
            events.append(
                {"event": "train", "step": step, "loss": 4 - step / 100, "tokens": step * 2048, "seconds": seconds,
                 "tokens_per_second": 100.0 if step == 10 else rate, "epoch": step / 100}
            )  # fmt: skip
            loss = 4 - step / 100 + (0.0 if ends is None else ends[each["variant"]])
            extra = {"train": {"loss": loss - 0.1}} if ends is not None else {}
            events.append({"event": "evaluation", "step": step, "seconds": seconds, **figures(loss), **extra})
        write_run(folder / each["folder"], events=events, evaluation=each["figures"], texts=[])
        each |= {"seconds": seconds, "tokens_per_second": 200 * 2048 / seconds}
    (folder / "study.json").write_text(json.dumps(content))
    return read_study(folder)


def test_no_winner_is_named_out_of_noise(tmp_path):
    # tokens a second from wall clock beside other work: 20.1, 3.1 and 2.4 seconds against 11.3, 4.6 and 4.3
    content = study({"a": 0.0, "b": 0.1}, title="noise")
    folder = write_study_folder(tmp_path / "noise", content, runs=False)
    noisy = {"a": [1e5 / 20.1, 1e5 / 3.1, 1e5 / 2.4], "b": [1e5 / 11.3, 1e5 / 4.6, 1e5 / 4.3]}
    record = logged(folder, content, noisy)
    assert speed_title(record) == "No variant was found to train faster or slower than a"
    assert fastest(record).endswith("None was shown to be first.")
    assert unequal_times(record) is None


def test_a_ratio_of_speeds_is_a_median_with_an_interval_and_without_the_first_steps(tmp_path):
    content = study({"a": 0.0, "b": 0.1}, title="clear")
    folder = write_study_folder(tmp_path / "clear", content, runs=False)
    record = logged(folder, content, {"a": [10_000.0, 10_100.0, 9_900.0], "b": [20_000.0, 20_400.0, 19_500.0]})
    # logs of 2, 2.0198 and 1.9697 by hand
    low, high = stats.ttest_1samp(np.log([2, 20_400 / 10_100, 19_500 / 9_900]), 0).confidence_interval()
    between = f"95 % interval {np.exp(low):.2f} to {np.exp(high):.2f}"
    assert speed_title(record) == f"b trains 2.00 times as fast as a, {between}"
    row = dict(zip(table(record).head, table(record).rows[0], strict=True))
    assert row["tokens/s"] == "10.0 k"  # the first logged step had 100
    assert "b is first: a takes" in fastest(record)
    assert unequal_times(record).startswith("The budget is not time: b took")


def test_who_reaches_a_loss_is_said_of_those_that_have_curves(tmp_path):
    content = study({"a": 0.0, "b": 0.1, "other": 0.2})
    for each in content["cells"]:
        if each["variant"] == "other":
            each["figures"]["validation"]["passport"]["corpus"] = "another 00000000"
    folder = write_study_folder(tmp_path / "study", content, runs=False)
    record = logged(folder, content, {name: [1e4, 1.1e4, 0.9e4] for name in ("a", "b", "other")})
    assert "which the 2 of 3 variants with comparable curves all reach" in fastest(record)
    goal, found = times_to(record)
    assert set(found) == {"a", "b"}
    assert goal == pytest.approx(2.0)  # every seed comes down to it


def test_what_generalises_best_is_the_lowest_validation_loss_and_no_gap(tmp_path):
    # "idle" learns nothing and has no gap; a gap from logged training lines is none
    content = study({"a": 0.0, "idle": 0.1})
    folder = write_study_folder(tmp_path / "study", content, runs=False)
    speeds = {"a": [1e4] * 3, "idle": [1e4] * 3}
    record = logged(folder, content, speeds, ends={"a": 0.3, "idle": 2.0})
    for cell_ in record.cells:
        for event in cell_.run.evaluations:
            event.train = KeptFigures(loss=event.loss - (0.0 if cell_.variant == "idle" else 0.25))
    said = generalisation(record)
    assert said.startswith("Lowest validation loss at the end of training: a, 2.3000 nats, 0.250 above its training")
    assert "the least gap, 0, is that of idle at 4.0000" in said
    for cell_ in record.cells:
        for event in cell_.run.evaluations:
            event.train = None
    assert "was not measured" in generalisation(record)
    assert "est generalisation" not in " ".join(picks(record))


def test_a_lead_is_said_to_be_shown_only_where_it_is(tmp_path):
    near = made(tmp_path / "near", exact({"a": [1.0, 1.1, 0.9], "b": [1.001, 1.09, 0.92]}))
    assert "its lead over b, the next, was not shown (p = " in picks(near)[0]
    far = made(tmp_path / "far", exact({"a": [1.0, 1.1, 0.9], "b": [1.201, 1.301, 1.102]}))
    assert "its lead over b, the next, is shown" in picks(far)[0]


def test_budget_in_words():
    class Record:
        def __init__(self, kind, amount):
            self.budget = {"kind": kind, "amount": amount}

    assert budget(Record("seconds", 3600)) == "1 h 00 min of training"
    assert budget(Record("steps", 1000)) == "1,000 optimizer steps"
    assert budget(Record("flops", 2.5e15)) == "2.50 P FLOPs"
    assert budget(Record(None, None)) == "a budget that is not known"


def test_interpretation_says_what_could_not_be_seen_and_what_was_left_out(tmp_path):
    content = study()
    content["variants"]["huge"] = {"changes": {}, "parameters": 10**9, "flops_per_token": None, "steps": None}
    content["cells"] += [
        {"variant": "huge", "seed": s, "state": "does not fit", "message": "needs 120 GiB"} for s in (1, 2, 3)
    ]
    parts = dict(interpretation(made(tmp_path, content)))
    unseen = parts["What could not have been seen"]
    assert "would have been found four times in five" in unseen[0]
    # two of the three were found: the third is tested alone, and 60 and 36 % are those of three seeds
    assert unseen[1] == (
        "It is no bound: three quarters of such an effect would have been found in 60 % of such studies, half of it in "
        "36 %."
    )
    assert "the true one may be 0.52 to 6.3 times as large (95 %)" in unseen[2]
    assert not any("missed" in line for line in unseen)
    assert any("no-bias was not shown to equal pre-norm" in line for line in parts["What could not have been seen"])
    assert parts["What was left out"] == ["huge: does not fit: needs 120 GiB."]
    assert any("not of equal size" in line for line in parts["Where it holds"])


def test_training_losses_of_another_unit_stand_in_no_figure(tmp_path):
    content = study({"a": 0.0, "b": 0.1, "c": 0.2}, seeds=(1,))
    content["variants"]["c"]["changes"] = {"train.loss": "sequence"}
    record = made(tmp_path, content, runs=True)
    drawn = curves(record, "train", "steps")
    assert [line.label for line in drawn.lines] == ["a", "b"]
    assert "Not drawn: c." in drawn.caption
    assert "c" in [line.label for line in curves(record, "evaluation", "steps").lines]
    content["base"]["train"]["loss"] = "sequence"
    drawn = curves(made(tmp_path / "all", content, runs=True), "train", "steps")
    assert "mean of sequences" in drawn.axes.y_label
