"""The tables of a tune: every arm has a row, the best is marked, and each form can be read."""

import doctest

import pytest

from fake_tuning import write_tune
from heed.report import tuning_tables
from heed.report.tabular import all_latex, all_markdown
from heed.report.tuning_advice import gaps_of, interval_of, pairs_of
from heed.report.tuning_record import read_tuning
from heed.report.tuning_tables import (
    costs_table,
    data_table,
    every_table,
    pairs_table,
    results_table,
    sizes_table,
    tuning_lines,
)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return read_tuning(write_tune(tmp_path_factory.mktemp("tune"), seeds=(1, 2), n=200))


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    broken = {"full": ("does not fit", "out of memory at batch size 1")}
    folder = tmp_path_factory.mktemp("odd")
    return read_tuning(
        write_tune(folder, seeds=(1,), classes=("a", "b_c", "d"), n=60, test=False, broken=broken, waiting=("prefix",))
    )


def test_examples():
    assert doctest.testmod(tuning_tables).failed == 0


def test_results(record):
    made = results_table(record, gaps_of(record))
    assert made.head[:6] == ("arm", "seeds", "validation", "test", "95 % interval", "of seeds")
    assert "F1 of 1" in made.head
    assert [row[0] for row in made.rows[:-1]] == [arm.name for arm in record.ran]
    best = record.ran[0]
    low, high = interval_of(record, best, "test")
    assert made.rows[0][3:5] == (
        f"{100 * best.mean('accuracy', 'test'):.1f} %",
        f"{100 * low:.1f} to {100 * high:.1f} %",
    )
    assert made.rows[0][6] == "best"
    assert made.rows[-1][0] == "commonest class"
    assert made.rows[-1][3] == f"{100 * record.baseline('test'):.1f} %"
    assert (0, 2) in made.best  # the best by validation is first
    assert all(len(row) == len(made.head) for row in made.rows)


def test_arms_without_runs(odd):
    made = results_table(odd, gaps_of(odd))
    rows = {row[0]: row for row in made.rows}
    assert rows["full"][1:3] == ("does not fit", "0.0 %")
    assert rows["prefix"][1:3] == ("not run yet", "–")
    assert "test" not in made.head
    assert not any("F1 of" in name for name in made.head)  # three classes
    assert "of seeds" not in made.head  # one seed
    assert made.notes[0] == "full: does not fit (out of memory at batch size 1); shown as 0."
    assert "no test split" in made.notes[1]


def test_costs(record):
    made = costs_table(record)
    rows = {row[0]: dict(zip(made.head, row, strict=True)) for row in made.rows}
    lora = rows["lora"]
    assert lora["trained"] == "74,498 (0.33 %)"
    assert (lora["weights"], lora["rate"]) == ("86.7 MiB", "0.001")
    assert lora["time"] == "3 min 37 s"  # 211 s, 2 % more with seed 1 and 4 % with seed 2
    assert rows["full"]["trained"] == "22,713,986 (100 %)"
    ((row, column),) = made.best
    assert (made.rows[row][0], made.head[column]) == ("head", "peak memory")
    assert "forward peak" in made.head
    assert "forward peak" not in costs_table(record, peaks=False).head


def test_pairs(record):
    pairs = pairs_of(record)
    made = pairs_table(pairs, record.split, record.grading.pairs_caption)
    assert len(made.rows) == 10
    assert {row for row, _ in made.best} == set(range(len(made.best)))  # found ones stand first
    assert len(made.best) == sum(one.differs for one in pairs)
    many = pairs_table(pairs * 6, record.split, record.grading.pairs_caption)
    assert len(many.rows) == 45
    assert "15 least certain pairs are left out" in many.caption


def test_data(record, odd):
    made = data_table(record)
    assert made.head[:4] == ("split", "examples", "0", "1")
    assert made.rows[0] == ("train", "6,920", "3,460", "3,460", "4", "101", "203", "271", "3")
    assert data_table(odd).head[2:5] == ("a", "b_c", "d")


def test_forms(record, odd):
    for one in (record, odd):
        lines = all_markdown(every_table(one)).splitlines()
        tables = [line for line in lines if line.startswith("|")]
        assert len(tables) >= 2 * (2 + len(one.arms))
        latex = all_latex(every_table(one))
        assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 3
        assert "%" not in latex.split("\n", 1)[1].replace(r"\%", "").replace("{!}{%", "")


def test_sizes_are_printed(tmp_path):
    record = read_tuning(write_tune(tmp_path, methods=("full", "lora"), seeds=(1,), n=60, sizes=True))
    made = sizes_table(record)
    assert made.head == ("training texts (test)", "full", "lora")
    for row in made.rows:
        for arm, cell in zip(made.head[1:], row[1:], strict=True):
            same = [one.test.accuracy for one in record.sizes if (one.arm, f"{one.examples:,}") == (arm, row[0])]
            assert cell == f"{100 * sum(same) / len(same):.1f} %"
    lines = tuning_lines(record.folder)
    at = next(place for place, line in enumerate(lines) if line.startswith("training texts (test)"))
    assert [line.split()[0] for line in lines[at + 2 :][: len(made.rows)]] == [row[0] for row in made.rows]
    assert lines[at + 2 + len(made.rows)] == ""  # nothing is bold, so nothing says what bold means
    assert "training texts (test)" in all_markdown(every_table(record))


def test_the_terminal(record):
    lines = tuning_lines(record.folder)
    assert lines[0].startswith("Use ")
    assert any(line.startswith("arm ") for line in lines)
    assert any("Least memory" in line for line in lines)
    assert any("stand in train as well" in line for line in lines)
    assert max(len(line) for line in lines if line.startswith(("arm", "lora"))) < 150
