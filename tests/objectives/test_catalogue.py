"""Every aim has its objective, and what the two say of each other is the same."""

import pytest

from heed.config import aim_of, make_config
from heed.objectives import OBJECTIVES, objective_of
from heed.report.figure_kinds import FIGURES
from heed.report.units import COUNTED_UNITS

SETTINGS = {
    "next-token": {},
    "masked": {"model": {"kind": "encoder"}},
    "spans": {"data": {"objective": "single-span", "layout": "padded"}},
    "answers": {"data": {"objective": "answers", "layout": "padded"}},
    "mixed": {"data": {"questions": "q.tsv", "layout": "padded"}},
    "classes": {"model": {"kind": "encoder"}, "data": {"label": "y"}},
}


def test_there_is_a_configuration_of_each_here():
    missing = sorted(OBJECTIVES.keys() - SETTINGS.keys())
    assert SETTINGS.keys() == OBJECTIVES.keys(), f"give SETTINGS above the switches that lead to {missing}"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_aim_leads_to_its_objective(name):
    config = make_config(SETTINGS[name])
    objective = objective_of(config)
    assert type(objective) is OBJECTIVES[name]
    assert objective.aim == aim_of(config)
    assert objective.aim.name == name


def specials(**data):
    config = make_config({"data": {"layout": "padded", **data}, "model": {"context": 32}})
    return objective_of(config).specials(config)


def test_the_tokens_that_are_needed_besides_those_of_the_text():
    assert specials() == ()
    assert specials(objective="single-span") == specials(objective="answers") == specials(questions="q.tsv")
    assert len(specials(objective="answers")) == 1
    assert len(specials(objective="spans")) > 2
    assert specials(objective="spans", questions="q.tsv") == specials(objective="spans")  # the text's need theirs too


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_figures_that_an_aim_names_are_measured(name):
    """Of text the mean over sequences is measured too, where each is a row: that depends on the layout."""
    objective = objective_of(make_config(SETTINGS[name]))
    measured = {kind.name for kind in objective.figures} & FIGURES.keys()
    assert measured - {"sequence_mean_loss"} == set(objective.aim.figures)


@pytest.mark.parametrize("name", SETTINGS)
def test_pages_know_what_an_aim_counts(name):
    unit = aim_of(make_config(SETTINGS[name])).unit
    assert unit in COUNTED_UNITS, f"say in heed/report/units.py what a page says of figures that count a {unit!r}"
