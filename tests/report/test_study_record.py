"""Study folders as they are found: whole, still running, and broken in every way that was thought of."""

import json

import pytest
from fake_runs import PASSPORT, figures, write_state
from fake_studies import cell, study, write_study_folder

from heed.errors import CheckpointError, DataError
from heed.report.study_findings import ranking, sentences, verdict
from heed.report.study_interpretation import interpretation
from heed.report.study_page import write_study
from heed.report.study_picks import picks
from heed.report.study_record import read_study
from heed.report.study_tables import every_table, table
from heed.report.tabular import all_latex


def made(tmp_path, content=None, runs=False):
    return read_study(write_study_folder(tmp_path / "study", content, runs))


def test_a_whole_study(tmp_path):
    record = made(tmp_path, runs=True)
    assert record.notes == ()
    assert record.ranked == ("pre-norm", "post-norm", "rotary", "no-bias")
    assert record.splits == ("validation", "test")
    assert record.variants["post-norm"].setting("model.norm_order") == "post"
    assert record.variants["post-norm"].setting("model.n_layers") == record.base["model"]["n_layers"]
    assert sorted(record.values("rotary")) == [1, 2, 3]
    assert record.missing == []
    assert record.cells[0].run is not None
    assert len(record.cells[0].run.evaluations) == 8


def test_an_edited_cell_is_told_without_its_hashes(tmp_path):
    folder = write_study_folder(tmp_path / "study", study(seeds=(1,)))
    first, second = (folder / one["folder"] for one in study(seeds=(1,))["cells"][:2])
    for run, other in ((first, {"model": {"norm_epsilon": 1e-3}}), (second, {"train": {"clip": 0.5}})):
        (run / "hashes.json").unlink()
        write_state(run, **other)
    page = write_study(folder).read_text(encoding="utf-8")
    assert "config.yaml: model.norm_epsilon is 1e-05, and the run was trained with 0.001" in page
    assert "post-norm, seed 1: config.yaml: train.clip is 1.0, and the run was trained with 0.5." in page


def test_no_study_is_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="holds no study"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text("[1]")
    with pytest.raises(DataError, match="no object"):
        read_study(tmp_path)
    (tmp_path / "study.json").write_text('{"title": "x"}')
    with pytest.raises(DataError, match="names no variant"):
        read_study(tmp_path)


def test_leaking_variants_are_kept_out_by_whatever_says_so(tmp_path):
    content = study()
    told = [
        {"leaks": "position 3 sees 5"},
        {"state": "leaks", "message": "the audit refused it"},
        {"figures": {"validation": {**figures(0.2), "passport": {**PASSPORT, "leaks": True}}}},
    ]
    for place, how in enumerate(told):
        content["variants"][f"naive-{place}"] = {"changes": {}, "parameters": 1, "flops_per_token": 1, "steps": 1}
        content["cells"].append(cell(f"naive-{place}", 1, 0.2, **how))
    record = made(tmp_path, content)
    assert set(record.left_out) == {"naive-0", "naive-1", "naive-2"}
    assert "position 3 sees 5" in record.left_out["naive-0"]
    assert not {"naive-0", "naive-1", "naive-2"} & {rank.variant for rank in ranking(record)}
    assert sum(sentence.startswith("naive") and "leaks" in sentence for sentence in sentences(record)) == 3


def test_another_passport_is_not_ranked_and_says_what_differs(tmp_path):
    content = study()
    for each in content["cells"]:
        if each["variant"] == "rotary":
            each["figures"]["validation"]["passport"]["bytes"] = 70_000
    record = made(tmp_path, content)
    assert record.left_out == {"rotary": "cannot be compared, its passport differs: bytes 70000, and 70811 of pre-norm"}
    assert record.other_passport("rotary", "test") == []


def test_a_field_that_does_not_move_the_figure_does_not_matter(tmp_path):
    content = study()
    for each in content["cells"]:
        if each["variant"] == "rotary":
            each["figures"]["validation"]["passport"]["tokenizer"] = "char 65 00000000"
    record = made(tmp_path, content)
    assert record.left_out == {}  # bits per byte do not depend on the tokenizer
    assert record.other_passport("rotary", "validation", "loss") != []


def test_what_failed_is_a_result(tmp_path):
    content = study(seeds=(1,))
    for name, state in (("rotary", "does not fit"), ("no-bias", "broke down"), ("post-norm", "failed")):
        for each in content["cells"]:
            if each["variant"] == name:
                each |= {"state": state, "message": "needs 120 GiB", "figures": {}}
    record = made(tmp_path, content)
    assert record.left_out["rotary"] == "does not fit: needs 120 GiB"
    assert record.ranked == ("pre-norm",)


def test_figures_that_are_no_numbers_are_left_out(tmp_path):
    content = study()
    for each in content["cells"]:
        if each["variant"] == "rotary":
            each["figures"] = {"validation": figures(2.0) | {"bits_per_byte": float("nan")}}
        if each["variant"] == "no-bias" and each["seed"] == 2:
            each["figures"] = {"validation": {"bits_per_byte": "much"}}
    record = made(tmp_path, content)
    assert record.left_out["rotary"] == "no finite bits per byte on the validation split"
    assert sorted(record.values("no-bias")) == [1, 3]


def test_cells_that_are_missing_are_named(tmp_path):
    content = study()
    gone = content["cells"].pop(4)
    content["cells"][0]["state"] = "interrupted"
    record = made(tmp_path, content)
    assert (gone["variant"], gone["seed"]) in record.missing
    assert ("pre-norm", 1) in record.missing
    assert sorted(record.values("pre-norm")) == [2, 3]


BROKEN = {
    "no cells": lambda c: c.update(cells=[]),
    "cells gone": lambda c: c.pop("cells"),
    "no seeds": lambda c: c.pop("seeds"),
    "a cell of nobody": lambda c: c["cells"].append({"variant": "nobody", "seed": 1}),
    "a cell that is a word": lambda c: c["cells"].append("cell"),
    "a seed that is a word": lambda c: c["cells"][0].update(seed="one"),
    "a variant that is a word": lambda c: c["variants"].update(odd="odd"),
    "changes that are a list": lambda c: c["variants"]["rotary"].update(changes=["a"]),
    "state unknown": lambda c: c["cells"][0].update(state="sleeping"),
    "figures gone": lambda c: [each.pop("figures") for each in c["cells"]],
    "memory gone": lambda c: [each.update(memory=None) for each in c["cells"]],
    "times gone": lambda c: [each.update(seconds=None, tokens_per_second=None) for each in c["cells"]],
    "passports gone": lambda c: [each["figures"]["validation"].pop("passport") for each in c["cells"]],
    "baseline unknown": lambda c: c.update(baseline="nobody"),
    "baseline failed": lambda c: [each.update(state="failed") for each in c["cells"][:3]],
    "figure unknown": lambda c: c.update(figure="beauty"),
    "budget gone": lambda c: c.update(budget=None),
    "base gone": lambda c: c.pop("base"),
    "machine gone": lambda c: c.pop("machine"),
    "command gone": lambda c: c.pop("command"),
    "search empty": lambda c: c.update(search={"method": "tpe", "trials": None}),
    "a lone variant": lambda c: c.update(variants={"pre-norm": c["variants"]["pre-norm"]}),
    "a passport that contradicts itself": lambda c: c["cells"][0]["figures"]["test"]["passport"].update(stride=999),
    "a folder outside": lambda c: c["cells"][0].update(folder="../../secrets"),
    "a folder from the root": lambda c: c["cells"][0].update(folder="/etc"),
    "everything equal": lambda c: [each.update(figures={"validation": figures(2.0)}) for each in c["cells"]],
    "a loss of zero": lambda c: [each.update(figures={"validation": figures(0.0)}) for each in c["cells"]],
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_study_still_has_tables_and_sentences(tmp_path, how):
    content = study()
    BROKEN[how](content)
    (tmp_path / "study.json").write_text(json.dumps(content))
    record = read_study(tmp_path)
    assert verdict(record)
    assert sentences(record)
    assert interpretation(record)
    assert len(table(record).rows) == len(record.variants)
    assert all(len(row) == len(table(record).head) for row in table(record).rows)
    assert "toprule" in all_latex(every_table(record))
    assert picks(record) or not record.ranked


@pytest.mark.slow  # draws some hundred figures
@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_study_still_makes_a_page(tmp_path, how):
    content = study()
    BROKEN[how](content)
    folder = write_study_folder(tmp_path / "study", content | {"cells": content.get("cells", [])}, runs=False)
    (folder / "study.json").write_text(json.dumps(content))
    page = write_study(folder).read_text()
    assert page.rstrip().endswith("</html>")
    for name in ("table.md", "table.tex"):
        assert (folder / name).stat().st_size > 100


def test_run_folders_outside_of_the_study_are_not_read(tmp_path):
    content = study()
    content["cells"][0]["folder"] = "../elsewhere"
    record = made(tmp_path, content)
    assert any("outside of the study" in note for note in record.notes)
    assert record.cells[0].run is None


def test_a_missing_run_folder_is_noted_and_the_figures_count(tmp_path):
    record = made(tmp_path)
    assert sum("run folder is missing" in note for note in record.notes) == 12
    assert len(ranking(record)) == 4
