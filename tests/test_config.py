"""The configuration: every problem at once, each a line that names the setting."""

import pytest
from pydantic import ValidationError

from heed.config import TrainConfig, aim_of, aim_of_values, inspect_config, make_config, overlay
from heed.errors import ConfigError


def problems(values) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as refusal:
        make_config(values)
    return refusal.value.problems


def test_bad_values_do_not_hide_contradictions():
    told = problems({"model": {"n_head": 3, "d_model": 130}, "train": {"steps": "many"}, "t": {}})
    assert len(told) == 4
    assert told[-1] == "model.n_heads: 4 heads do not divide model.d_model 130"


def test_a_contradiction_with_a_bad_value_is_not_told():
    # what n_heads is meant to be is not known; its default does not divide 130, but nobody asked for that
    assert len(problems({"model": {"n_heads": "few", "d_model": 130}})) == 1
    assert len(problems({"tokenizer": {"kind": "chr", "vocab_size": 60}})) == 1
    assert len(problems({"model": {"preset": "smal", "n_heads": 6}})) == 1


@pytest.mark.parametrize("value", ["foo", 2.5, {"int": 3}, [1]])
def test_one_line_for_a_value_that_fits_no_branch_of_a_type(value):
    assert problems({"train": {"batch_size": value}}) == (
        f"train.batch_size: {value!r} is neither a whole number nor 'auto'",
    )


@pytest.mark.parametrize("values", [{"model": 3}, {"train": None}, {1: {}}, {"model": {"preset": ["tiny"]}}])
def test_what_is_no_section_is_one_problem(values):
    assert len(problems(values)) == 1


@pytest.mark.parametrize(("positions", "refused"), [("learned", 1), ("rotary", 0), ("sinusoidal", 0)])
def test_a_base_of_wavelengths_needs_positions_that_have_some(positions, refused):
    _, told = inspect_config({"model": {"positions": positions, "rotary_base": 500}})
    assert len(told) == refused
    assert all(line.startswith("model.rotary_base: ") for line in told)


def test_the_warm_up_is_at_most_a_tenth_of_the_steps_unless_it_is_given():
    assert [TrainConfig(steps=steps).warmup_steps for steps in (9, 20, 1000, 5000)] == [0, 2, 100, 100]
    assert TrainConfig(steps=20, warmup_steps=20).warmup_steps == 20
    assert make_config({"train": {"steps": "20"}}).train.warmup_steps == 2
    assert problems({"train": {"steps": 20, "warmup_steps": 21}}) == (
        "train.warmup_steps: 21 is more than train.steps 20",
    )
    with pytest.raises(ValidationError):
        TrainConfig(warmup_steps=-1)


def test_the_warm_up_of_a_resolved_configuration_stays():
    resolved = make_config({"train": {"steps": 20}}).model_dump()
    assert make_config(overlay(resolved, {"train": {"steps": 4000}})).train.warmup_steps == 2


def test_a_test_split_is_held_out_or_left_alone_not_both():
    with pytest.raises(ConfigError, match=r"data\.test_fraction: holds out a test split, and"):
        make_config({"data": {"test": "none", "test_fraction": 0.1}})


TEXT = {"layout": "padded", "objective": "single-span"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"data": {"objective": "salient-span"}}, "data.layout: data.objective salient-span needs a row for each"),
        ({"data": {"questions": "q.tsv"}}, "data.layout: data.questions needs a row for each"),
        ({"data": TEXT, "model": {"kind": "encoder"}}, "model.kind: data.objective single-span is for models that"),
        ({"data": {"plain_share": 0.5}}, "data.plain_share: is for a span objective"),
        ({"data": {**TEXT, "objective": "spans"}, "tokenizer": {"kind": "char"}}, "data.objective: spans needs T5's"),
        ({"data": {**TEXT, "questions_share": 0.5}}, "data.questions_share: there are none to mix in"),
        ({"data": {**TEXT, "objective": "answers", "questions": "q.tsv"}}, "data.questions: data.objective answers"),
        ({"data": {**TEXT, "objective": "answers", "column": "body"}}, "data.column: questions with answers have none"),
        (
            {"data": {"layout": "padded", "group_batches": 2}, "model": {"kind": "encoder"}},
            "data.group_batches: is for",
        ),
        ({"model": {"start_from": "runs/a", "preset": "tiny"}}, "model.preset: model.start_from has its own"),
        ({"model": {"start_from": "runs/a", "embeddings": "e.npy"}}, "model.embeddings: model.start_from has its own"),
        ({"model": {"start_from": "runs/a", "kind": "encoder"}}, "model.start_from: is for models that predict"),
    ],
)
def test_objectives_that_do_not_go_with_the_rest(values, told):
    (line,) = problems(values)
    assert line.startswith(told)


def test_objectives_that_do():
    for data in ({"plain_share": 0.5}, {"objective": "answers"}, {"objective": "next-token", "questions": "q.tsv"}):
        assert make_config({"data": {**TEXT, **data}}).data.layout == "padded"
    # the shape is that of the other run, so two heads may well divide its width
    assert make_config({"model": {"start_from": "runs/a", "n_heads": 3, "freeze_embeddings": True}})


@pytest.mark.parametrize(
    ("values", "name", "unit"),
    [
        ({}, "next-token", "token"),
        ({"data": {"objective": "spans", "layout": "padded"}}, "spans", "span token"),
        ({"data": {"objective": "spans", "layout": "padded", "plain_share": 1}}, "spans", "token"),
        ({"data": {"objective": "answers", "layout": "padded"}}, "answers", "answer"),
        ({"data": {"questions": "q.tsv", "layout": "padded"}}, "mixed", "answer"),
        ({"model": {"kind": "encoder"}}, "masked", "masked token"),
        ({"model": {"kind": "encoder"}, "data": {"label": "y"}}, "classes", "example"),
        ({"model": {"kind": "lstm"}, "data": {"layout": "stream"}}, "next-token", "token"),
    ],
)
def test_what_is_learned_is_read_from_the_switches_alike_from_a_config_and_from_its_file(values, name, unit):
    config = make_config(values)
    aim = aim_of(config)
    assert (aim.name, aim.unit) == (name, unit)
    assert aim_of_values(config.model_dump()) == aim_of_values(values) == aim
    assert aim.study_figure in aim.figures


def test_switches_that_contradict_each_other_are_told_with_what_else_they_ask_for():
    data = {"objective": "single-span", "label": "y", "layout": "stream"}
    found = inspect_config({"model": {"kind": "encoder", "context": 4}, "data": data})[1]
    assert [line.partition(":")[0] for line in found] == [
        "model.kind", "data.label", "data.layout", "data.layout", "model.context",
    ]  # fmt: skip
