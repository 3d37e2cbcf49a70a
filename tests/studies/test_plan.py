"""The plan of a study: what a file may say, and everything that is wrong with it at once."""

import pytest
from small_studies import plan_of, write_study

from heed.errors import ConfigError
from heed.records.study import Outcome
from heed.studies.compare import run_study
from heed.studies.plan_checks import NO_END
from heed.studies.plan_reading import read_plan
from heed.studies.prepare import all_facts, check_models, facts_of, prepare_texts


def problems_of(folder, **keys):
    with pytest.raises(ConfigError) as caught:
        plan_of(folder, **keys)
    return list(caught.value.problems)


def test_variants_are_crossed_with_axes_and_named_by_the_values(tmp_path):
    plan = plan_of(tmp_path, axes={"train.optimizer": ["adamw", "sgd"], "model.n_layers": [1, 2]}, seeds=3)
    assert list(plan.variants)[:3] == ["pre-adamw-n_layers=1", "pre-adamw-n_layers=2", "pre-sgd-n_layers=1"]
    assert len(plan.variants) == 8
    last = plan.config("post-sgd-n_layers=2")
    assert (last.model.norm_order, last.train.optimizer, last.model.n_layers) == ("post", "sgd", 2)
    assert plan.seeds == (1, 2, 3)
    assert plan.baseline == "pre-adamw-n_layers=1"


def test_axes_alone_and_nested_changes(tmp_path):
    axes = plan_of(tmp_path, variants=None, axes={"train.optimizer": ["adamw", "sgd"]})
    assert axes.variants == {"adamw": {"train": {"optimizer": "adamw"}}, "sgd": {"train": {"optimizer": "sgd"}}}
    nested = plan_of(tmp_path, variants={"a": {}, "b": {"model": {"norm_order": "post"}, "train.clip": None}})
    assert nested.variants["b"] == {"model": {"norm_order": "post"}, "train": {"clip": None}}


def test_a_base_may_be_a_file_and_gives_up_what_the_study_sets(tmp_path):
    text = "data: {source: x.txt}\ntrain: {steps: 70, batch_size: 8}\nrun: {seed: 5, name: mine, threads: 2}\n"
    (tmp_path / "base.yaml").write_text(text)
    plan = plan_of(tmp_path, base="base.yaml", set={"train.batch_size": 2})
    config = plan.config("pre")
    assert (config.train.steps, config.train.batch_size, config.run.threads, config.run.name) == (6, 2, 2, None)


def test_a_study_that_was_begun_has_its_base_with_it(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_study(tmp_path, base="base.yaml")
    (tmp_path / "base.yaml").write_text(f"{{data: {{source: {tmp_path / 'animals.txt'}}}, tokenizer: {{kind: char}}}}")
    monkeypatch.chdir(elsewhere)
    plan = read_plan(tmp_path / "study.yaml")
    assert run_study(plan, elsewhere / "out", run_cell=lambda task: Outcome.of("failed"))
    (tmp_path / "base.yaml").unlink()
    assert read_plan(elsewhere / "out" / "experiment.yaml").base == plan.base


def test_the_figure_follows_from_the_kind_of_model(tmp_path):
    assert plan_of(tmp_path).figure == "bits_per_byte"
    encoders = {"pre": {"model.kind": "encoder"}, "post": {"model": {"kind": "encoder", "norm_order": "post"}}}
    assert plan_of(tmp_path, variants=encoders).figure == "loss"
    mixed = problems_of(tmp_path, variants={"gpt": {}, "bert": {"model.kind": "encoder"}})
    assert mixed == ["variants: encoders and models that predict the next token have no figure in common"]


def test_every_problem_of_every_variant_at_once(tmp_path):
    found = problems_of(
        tmp_path,
        base={"model": {"n_layer": 3}},
        variants={
            "a": {"run.seed": 3, "data.source": "other"},
            "b": {"model.norm_ordr": "post", "train.patience": 3},
            "c": {"train.optimizer": "adm", "train.batch_size": "auto"},
        },
        seeds=[1, 1],
        baseline="d",
        figure="los",
        search={"parameters": {"train.learnin": [3], "train.optimizer": ["sgd"], "train.steps": [1]}},
    )
    assert found == [
        "base: model.n_layer: unknown setting, did you mean 'n_layers'?",
        "a: data.source: is the same for all variants of a study: set it in the base",
        "a: run.seed: is the same for all variants of a study: the study sets it",
        "b: model.norm_ordr: unknown setting, did you mean 'norm_order'?",
        "b: train.patience: would end a run before its budget: leave it out",
        "c: train.optimizer: unknown value 'adm', did you mean 'adam'?",
        "c: train.batch_size: auto may differ from run to run: give a number",
        "baseline: no variant is called 'd', choose one of 'a', 'b', 'c'",
        "seeds: give a number of seeds, or different numbers from 0, not [1, 1]",
        "search.parameters: train.learnin: unknown setting, did you mean 'learning_rate'?",
        "search.parameters: train.optimizer is what c changes: search something else",
        "search.parameters: train.steps is the study's to set: leave it out",
        "figure: unknown value 'los', did you mean 'loss'?",
    ]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"variant": {}}, "variant: unknown key, did you mean 'variants'?"),
        ({"budget": {"token": 3}}, "budget.token: unknown key, did you mean 'tokens'?"),
        ({"budget": None}, "budget: give exactly one of steps, tokens, flops, seconds; it is the same for all"),
        (
            {"budget": {"steps": 1, "tokens": 2}},
            "budget: give exactly one of steps, tokens, flops, seconds; it is the same for all",
        ),
        ({"lengths": 100}, "lengths: give a list of contexts in tokens, such as [50, 100, 200]"),
        ({"lengths": ["x"]}, "lengths: give a list of contexts in tokens, such as [50, 100, 200]"),
        ({"lengths": [8, 8]}, "lengths: give different contexts from 1 token on, not [8, 8]"),
        ({"lengths": [0, 8]}, "lengths: give different contexts from 1 token on, not [0, 8]"),
        ({"length": [8]}, "length: unknown key, did you mean 'lengths'?"),
        ({"seeds": "x"}, "seeds: give a number of seeds, or a list of whole numbers"),
        ({"variants": {"a b": {}}}, "variants: 'a b' becomes a folder: take letters, digits and - _ . = + alone"),
        ({"variants": {"..": {}}}, "variants: '..' becomes a folder: take letters, digits and - _ . = + alone"),
        ({"variants": None}, "variants: there is nothing to compare: name variants, or give axes"),
        ({"base": "no.yaml"}, "base: no such configuration file: no.yaml"),
        ({"budget": {"flops": float("inf")}}, "budget.flops: input should be a finite number"),
        ({"budget": {"seconds": float("inf")}}, "budget.seconds: input should be a finite number"),
        (
            {"variants": {"a": {"train.optimizer": "adam"}}, "axes": {"train.optimizer": ["sgd", "adamw"]}},
            "axes: train.optimizer is what the variant a sets as well: leave it out of one of the two",
        ),
        ({"seeds": [1, 1 << 63]}, f"seeds: {1 << 63} is too large: take numbers below 2^63"),
        ({"variants": {"a": {"train": 5}}}, "a: train: must hold settings by name, as {name: value}, not 5"),
        (
            {"variants": {"a" * 201: {}}},
            f"variants: {'a' * 201!r} becomes a folder: take 1 to 200 letters",
        ),
        (
            {"figure": "accuracy"},
            "figure: pre is measured by the token, which has no accuracy: "
            "take loss or token_perplexity or word_perplexity or bits_per_byte",
        ),
        (
            {"search": {"parameters": {"train.clip": [1.0]}, "figure": "sequence_mean_loss"}},
            "search.figure: pre is measured by the token, which has no sequence_mean_loss: "
            "take loss or token_perplexity or word_perplexity or bits_per_byte",
        ),
        (
            {"search": {"parameters": {"train.clip": [1.0]}, "seeds": [1, 1]}},
            "search.seeds: give different numbers from 0, not [1, 1]",
        ),
        ({"search": {"parameters": {"train.clip": [1.0, 1.0]}}}, "search.parameters: train.clip: give each value once"),
        (
            {"search": {"parameters": {"train": [1]}}},
            "search.parameters: train is no setting: name one of it, such as train.learning_rate",
        ),
        (
            {"search": {"method": "grid", "trials": 3, "parameters": {"train.clip": {"low": 1, "high": 2}}}},
            "search.parameters: train.clip: a grid needs a list of values",
        ),
    ],
)
def test_a_mistake_is_a_line_with_the_remedy(tmp_path, keys, line):
    assert line in problems_of(tmp_path, **keys)


def test_lengths_are_sorted_and_none_by_default(tmp_path):
    assert plan_of(tmp_path, lengths=[64, 8]).lengths == (8, 64)
    assert plan_of(tmp_path).lengths == ()


def test_losses_of_different_tokenizers_are_not_compared(tmp_path):
    variants = {"char": {}, "bpe": {"tokenizer": {"kind": "bpe", "vocab_size": 300}}}
    assert plan_of(tmp_path, variants=variants).figure == "bits_per_byte"
    assert problems_of(tmp_path, variants=variants, figure="loss") == [
        "figure: loss of different tokenizers cannot be compared: take bits_per_byte"
    ]


def test_a_figure_of_the_whole_split_needs_the_whole_split(tmp_path):
    variants = {"a": {}, "b": {"train": {"final_tokens": 100}}}
    assert problems_of(tmp_path, variants=variants) == [
        "b: train.final_tokens: bits_per_byte needs the whole split: leave it out, or take loss"
    ]
    assert plan_of(tmp_path, variants={"a": {"train": {"final_tokens": 100}}}, figure="loss").figure == "loss"


def test_models_that_cannot_be_built_are_all_found_before_anything_runs(tmp_path):
    variants = {"a": {"model.attention.mechanism": "linformer"}, "b": {"model.attention.mechanism": "sofmax"}}
    with pytest.raises(ConfigError) as caught:
        check_models(plan_of(tmp_path, variants=variants))
    assert [line.partition(":")[0] for line in caught.value.problems] == ["a", "b"]


def test_a_budget_of_tokens_or_operations_becomes_steps(tmp_path):
    variants = {"pre": {}, "wide": {"train.batch_size": 12}}
    tokens = plan_of(tmp_path, variants=variants, budget={"tokens": 1000})
    facts = all_facts(tokens, prepare_texts(tokens, None, lambda line: None))
    # 4 x 16 = 64 places a step: 15 steps are 960; 12 x 16 = 192: 5 steps are 960
    assert [own.steps for own in facts.values()] == [15, 5]
    price = facts["pre"].tokens_per_step * facts["pre"].flops_per_token
    flops = plan_of(tmp_path, variants=variants, budget={"flops": 7.9 * price})
    texts = prepare_texts(flops, None, lambda line: None)
    assert [own.steps for own in all_facts(flops, texts).values()] == [7, 2]
    small = plan_of(tmp_path, variants=variants, budget={"tokens": 100})
    with pytest.raises(ConfigError, match=r"budget: wide: 100 tokens are less than one step, which takes 192"):
        facts_of(small, "wide", texts["wide"])


def test_a_budget_of_seconds_leaves_the_steps_open(tmp_path):
    plan = plan_of(tmp_path, budget={"seconds": 2.5})
    config = plan.config("pre")
    assert (config.train.seconds, config.train.steps, config.train.warmup_steps) == (2.5, NO_END, 100)
    assert all_facts(plan, prepare_texts(plan, None, lambda line: None))["pre"].steps is None


def test_the_text_of_the_file_is_kept(tmp_path):
    file = write_study(tmp_path)
    assert read_plan(file).text == file.read_text()
