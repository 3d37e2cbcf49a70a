"""Studies over objectives: compared by answers, or not at all; and variants that start from another run."""

import pytest
import yaml

from heed.config import aim_of, make_config
from heed.errors import ConfigError
from heed.studies.plan_reading import read_plan


def plan(tmp_path, objectives=("next-token", "single-span"), data=None, **more):
    base = {"data": {"source": "wiki.txt", "layout": "padded", **(data or {})}, "tokenizer": {"kind": "char"}}
    content = {"base": base, "axes": {"data.objective": list(objectives)}, "budget": {"steps": 5}, **more}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    return read_plan(tmp_path / "study.yaml")


def told(*args, **options) -> str:
    with pytest.raises(ConfigError) as refusal:
        plan(*args, **options)
    return str(refusal.value)


def test_text_and_hidden_spans_have_no_figure_in_common_but_answers(tmp_path):
    line = told(tmp_path)
    assert "one is measured by the token, another by the single-span token: give data.questions" in line
    assert "by the single-span token, another by the salient-span token" in told(
        tmp_path, ("single-span", "salient-span")
    )
    assert plan(tmp_path, data={"questions": "pairs.tsv"}).figure == "accuracy"
    assert plan(tmp_path, data={"questions": "pairs.tsv"}, figure="loss").figure == "loss"


def test_a_figure_that_the_unit_does_not_have(tmp_path):
    line = told(tmp_path, data={"questions": "pairs.tsv"}, figure="bits_per_byte")
    assert line == "figure: next-token is measured by the answer, which has no bits_per_byte: take accuracy or loss"
    assert "take loss" in told(tmp_path, ["single-span"], figure="token_perplexity")
    assert plan(tmp_path, ["single-span"]).figure == "loss"
    assert plan(tmp_path, ["next-token"]).figure == "bits_per_byte"


def test_the_questions_are_the_same_for_all(tmp_path):
    variants = {"a": {}, "b": {"data.questions": "other.tsv"}}
    line = told(tmp_path, ["next-token"], data={"questions": "pairs.tsv"}, variants=variants)
    assert "b-next-token: data.questions: is the same for all variants of a study" in line


@pytest.mark.parametrize(
    ("data", "unit"),
    [
        ({}, "token"),
        ({"objective": "salient-span"}, "salient-span token"),
        ({"objective": "spans"}, "span token"),
        ({"objective": "salient-span", "plain_share": 1}, "token"),
        ({"objective": "answers"}, "answer"),
        ({"questions": "pairs.tsv"}, "answer"),
    ],
)
def test_units(data, unit):
    assert aim_of(make_config({"data": {"layout": "padded", **data}})).unit == unit
