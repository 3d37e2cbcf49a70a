"""What a study says of contexts beyond that of training, held against numbers on paper."""

import doctest
import json

import pytest
from fake_runs import figures
from fake_studies import ENDS, cell, lengths_study, study, write_lengths, write_study_folder

from heed.report import study_lengths_figure, tabular
from heed.report.drawing import draw
from heed.report.statistics import holm
from heed.report.study_figures import study_figures
from heed.report.study_lengths import (
    ended_at,
    extrapolations,
    length_differences,
    length_rows,
    length_sentences,
    length_tables,
    length_title,
    measured_at,
    reason_at,
)
from heed.report.study_page import render, write_study
from heed.report.study_record import read_study
from heed.report.study_tables import every_table, terminal
from heed.report.tabular import all_latex, all_markdown


def made(folder, values, **other):
    """A study of these losses, {variant: {context: [one a seed] or a reason}}, trained on 100 tokens."""
    lengths = sorted({length for row in values.values() for length in row})
    content = study(dict.fromkeys(values, 0.0), figure="loss", lengths=lengths) | other
    content["base"]["model"]["context"] = 100
    write_study_folder(folder, content, runs=False)
    for each in content["cells"]:
        run, found = folder / each["folder"], {}
        for length, row in values[each["variant"]].items():
            if isinstance(row, str):
                found[length] = {"reason": row}
                continue
            value = figures(row[each["seed"] - 1])
            found[length] = value | {"passport": value["passport"] | {"context": length, "stride": length}}
        run.mkdir(parents=True, exist_ok=True)
        (run / "lengths.json").write_text(json.dumps(found))
    return read_study(folder)


VALUES = {
    "alibi": {100: [2.0, 2.1, 2.2], 800: [1.9, 2.0, 2.1]},
    "rotary": {100: [1.9, 2.0, 2.1], 800: [3.0, 3.1, 3.3]},
    "learned": {100: [2.1, 2.2, 2.3], 800: "it ends"},
}


def test_differences_are_paired_at_each_length_and_corrected_together(tmp_path):
    record = made(tmp_path, VALUES)
    found = length_differences(record)
    assert list(found) == [("rotary", 100), ("learned", 100), ("rotary", 800)]
    assert found["rotary", 800].differences == pytest.approx((1.1, 1.1, 1.2))
    assert found["learned", 100].mean == pytest.approx(0.1)
    assert [d.p_holm for d in found.values()] == holm([d.p_t for d in found.values()])
    assert found["rotary", 800].verdict == "worse"


def test_each_variant_is_held_against_itself_at_the_length_of_training(tmp_path):
    found = extrapolations(made(tmp_path, VALUES))
    assert found["rotary"].differences == pytest.approx((1.1, 1.1, 1.2))
    assert found["alibi"].differences == pytest.approx((-0.1, -0.1, -0.1))
    assert "learned" not in found
    said = length_sentences(made(tmp_path, VALUES))
    assert said[0].startswith(
        "rotary at 800 tokens is worse than rotary at 100 tokens: +1.13 nats (95 % interval +0.99 to +1.28)"
    )
    assert said[1].startswith(
        "No difference found between alibi at 800 tokens and alibi at 100 tokens: -0.100 nats with"
    )
    assert "each of 3 seeds; without a spread a t test says nothing, and the sign test p = 0.25" in said[1]
    assert len(said) == 2  # that learned ends is said below the table


def test_a_length_between_stands_in_where_the_one_of_training_is_not_asked_for(tmp_path):
    values = {"a": {50: [2.0, 2.1, 2.2], 200: [2.5, 2.6, 2.7]}, "b": {150: [2.0] * 3, 200: [2.1] * 3}}
    found = extrapolations(made(tmp_path, values))
    assert found["a"].a == "a at 50 tokens"
    assert "b" not in found  # nothing within its training to hold it against


def test_the_title_says_who_is_lowest_and_highest_at_the_end(tmp_path):
    assert length_title(made(tmp_path, VALUES)) == (
        "Trained on 100 tokens, read up to 800: loss is lowest for alibi (2.000), highest for rotary (3.133)"
    )


def test_tables_have_figures_differences_and_reasons(tmp_path):
    record = made(tmp_path, VALUES)
    own, deltas = length_tables(record)
    assert own.head == ("variant", "100 (trained)", "800")
    assert [row[0] for row in own.rows] == ["alibi", "rotary", "learned"]
    assert own.rows[2][2] == "–"
    assert own.best == {(1, 1), (0, 2)}  # rotary at 100, alibi at 800
    assert [row[0] for row in deltas.rows] == ["rotary", "learned"]
    assert deltas.rows[0][2] == "+1.13 ± 0.14"
    assert deltas.notes == ("learned at 800: it ends.",)
    assert (0, 2) in deltas.best
    for text, plus_minus in (
        (all_markdown(every_table(record)), "±"),
        (all_latex(every_table(record)), r"$\pm$"),
        ("\n".join(terminal(record)), "±"),
    ):
        assert "100 (trained)" in text
        assert text.count("it ends") == 1
        assert f"+1.13 {plus_minus} 0.14" in text
    assert (
        all_latex(every_table(record)).count(r"\begin{table}")
        == all_latex(every_table(record)).count(r"\end{table}")
        == 3
    )
    assert all_markdown(every_table(record)).count("\n| :---") == 3


def test_programs_get_every_number(tmp_path):
    rows = length_rows(made(tmp_path, VALUES))
    by = {(row["variant"], row["context"]): row for row in rows}
    assert by["rotary", 800]["values"] == {1: 3.0, 2: 3.1, 3: 3.3}
    assert by["rotary", 800]["difference"] == pytest.approx(3.4 / 3)
    assert by["learned", 800]["reason"] == "it ends"
    assert by["alibi", 100]["difference"] is None
    json.dumps(rows, allow_nan=False)


def test_a_study_without_lengths_has_no_section_and_one_under_way_has_what_there_is(tmp_path):
    plain = read_study(write_study_folder(tmp_path / "plain", runs=False))
    assert length_tables(plain) == []
    assert length_sentences(plain) == []
    assert "Beyond the training length" not in render(plain)
    content = lengths_study()
    folder = write_study_folder(tmp_path / "begun", content, runs=False)
    assert length_tables(read_study(folder)) == []
    assert "Beyond the training length" not in render(read_study(folder))
    write_lengths(folder, content)
    (folder / "runs" / "alibi" / "seed-3" / "lengths.json").unlink()
    found = length_differences(read_study(folder))
    assert {d.n for d in found.values()} == {2}  # the pairs that are there


def test_figures_of_another_passport_are_no_neighbours(tmp_path):
    record = made(tmp_path, VALUES)
    path = tmp_path / "runs" / "rotary" / "seed-2" / "lengths.json"
    content = json.loads(path.read_text())
    content["800"]["passport"]["documents"] = "separate"
    path.write_text(json.dumps(content))
    record = read_study(tmp_path)
    assert measured_at(record, "rotary") == [100]
    assert ("rotary", 800) not in length_differences(record)
    assert "rotary at 800: the passport differs in documents." in length_tables(record)[1].notes


def test_what_leaks_is_in_no_number(tmp_path):
    content = lengths_study()
    for each in content["cells"]:
        if each["variant"] == "rotary":
            each |= {"state": "leaks", "leaks": "position 3 sees 5"}
    folder = write_study_folder(tmp_path, content, runs=False)
    write_lengths(folder, content)
    assert not [key for key in length_differences(read_study(folder)) if key[0] == "rotary"]
    assert measured_at(read_study(folder), "rotary") == []


def test_a_broken_file_is_noted_and_nothing_else_is_lost(tmp_path):
    content = lengths_study()
    folder = write_study_folder(tmp_path, content, runs=False)
    write_lengths(folder, content)
    (folder / "runs" / "alibi" / "seed-1" / "lengths.json").write_text("{")
    record = read_study(folder)
    assert any("alibi, seed 1: lengths.json is broken" in note for note in record.notes)
    assert length_tables(record)


def test_a_missing_baseline_leaves_figures_alone(tmp_path):
    values = {"alibi": {100: "x"}, "rotary": {100: [1.9, 2.0, 2.1]}}
    (own,) = length_tables(made(tmp_path, values))
    assert own.rows == (("rotary", "2.00 ± 0.25"),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    content = lengths_study()
    path = write_study_folder(tmp_path_factory.mktemp("study"), content, runs=False)
    write_lengths(path, content)
    return path


def test_the_figure_marks_the_training_and_says_what_ends(folder):
    record = read_study(folder)
    assert ended_at(record, "learned") == (256, ENDS)
    assert ended_at(record, "rotary") is None
    assert reason_at(record, "learned", 512) == ENDS
    figure = study_figures(record)["lengths"]
    assert figure.title.startswith("Trained on 128 tokens, read up to 512: loss is lowest for alibi")
    for words in ("trained on 128", "learned (ends)", "rotary", ">64<", ">512<", "context (tokens, log)"):
        assert words in draw(figure)
    # learned ends where the mark of the training is, left of all others
    assert {line.label: line.x[-1] for line in figure.lines} == {"alibi": 512, "rotary": 512, "learned (ends)": 128}


def test_the_page_has_the_section_with_both_tables(folder):
    html = write_study(folder).read_text()
    section = html.split('<h2 id="lengths"')[1].split("</section>")[0]
    assert section.count('<table class="results">') == 2
    assert "rotary at 512 tokens is" in section
    assert section.count(ENDS) == 1
    assert "Speed and memory" not in section
    table = (folder / "table.md").read_text()
    assert "difference to alibi in nats at the same context" in table


def test_numbers_on_the_axis_have_room():
    for module in (study_lengths_figure, tabular):
        assert doctest.testmod(module).failed == 0
    assert study_lengths_figure.ticks([512, 600, 1024]) == (512.0, 600.0, 1024.0)
    assert study_lengths_figure.ticks([500, 512, 1024]) == (512.0, 1024.0)


def test_one_seed_has_no_intervals(tmp_path):
    content = lengths_study(seeds=(1,))
    path = write_study_folder(tmp_path, content, runs=False)
    write_lengths(path, content)
    record = read_study(path)
    assert "±" not in "".join(map("".join, length_tables(record)[0].rows))
    assert length_sentences(record)[0].endswith("one seed, which says nothing of noise.")
    assert study_figures(record)["lengths"].caption.startswith("One seed.")


def test_cells_without_a_folder_have_no_lengths(tmp_path):
    content = lengths_study()
    content["cells"] = [cell("alibi", 1, 2.5) | {"folder": ""}]
    assert read_study(write_study_folder(tmp_path, content, runs=False)).cells[0].lengths == {}
