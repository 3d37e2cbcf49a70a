"""`--weights` of sample, eval and serve: what it gives, what it says, and what it refuses."""

import json

import pytest

from conftest import TINY
from heed.serving.served_model import open_served
from heed.training import packing

REFUSED = "are for a GPT of heed with softmax attention, and this model is none: take weights fp32\n"


@pytest.mark.parametrize("weights", ["fp16", "bf16", "int8"])
def test_sample_writes_nearly_the_same_distribution(heed, trained, weights):
    argv = [
        "sample",
        trained,
        "--prompt",
        "the cat ",
        "--max-tokens",
        12,
        "--temperature",
        0,
        "--logprobs",
        1,
        "--json",
    ]
    plain, smaller = (json.loads(heed(*argv, "--weights", one).out)["completions"][0] for one in ("fp32", weights))
    assert plain == json.loads(heed(*argv).out)["completions"][0]  # the default
    first, second = plain["token_logprobs"][0], smaller["token_logprobs"][0]
    assert first != second
    assert abs(first - second) < 0.02
    prompts = [*argv[:2], "--prompt", "the cat ", "--prompt", "a", "--max-tokens", 12, "--temperature", 0, "--json"]
    assert len(json.loads(heed(*prompts, "--weights", weights).out)["completions"]) == 2  # rows of unlike lengths


@pytest.mark.parametrize("weights", ["fp16", "bf16", "int8"])
def test_eval_says_it_in_the_passport(heed, trained, weights):
    plain = json.loads(heed("eval", trained, "--json").out)["results"][0]
    smaller = json.loads(heed("eval", trained, "--weights", weights, "--json").out)["results"][0]
    assert "weights" not in plain["passport"]
    assert smaller["passport"] == plain["passport"] | {"weights": weights}
    assert smaller["loss"] != plain["loss"]
    assert abs(smaller["loss"] - plain["loss"]) < 0.01
    assert f"the model's weights in {weights}." in heed("eval", trained, "--weights", weights).out.replace("\n ", "")


def test_eval_reads_further_with_smaller_weights(heed, tmp_path, text):
    argv = ["train", text, *TINY, "--tokenizer.kind", "char", "--run.folder", tmp_path, "--model.positions", "rotary"]
    assert heed(*argv, "--run.name", "turned").code == 0
    found = heed("eval", tmp_path / "turned", "--context", 40, "--weights", "int8", "--json")
    assert json.loads(found.out)["results"][0]["passport"]["context"] == 40


def test_a_model_of_another_kind_is_refused_in_a_line(heed, tmp_path, text):
    argv = ["train", text, "--model.kind", "lstm", "--model.n_layers", 1, "--model.d_model", 16, "--model.context", 16]
    argv += ["--train.steps", 2, "--train.batch_size", 2, "--tokenizer.kind", "char", "--run.folder", tmp_path]
    assert heed(*argv, "--run.name", "lstm").code == 0
    for verb in (["sample", "--prompt", "the"], ["eval"], ["serve", "--port", 0]):
        found = heed(verb[0], tmp_path / "lstm", *verb[1:], "--weights", "int8")
        assert (found.code, found.out) == (2, "")
        assert found.err.endswith(f"heed: weights int8 {REFUSED}")


def test_serve_opens_what_is_asked_for(trained):
    assert open_served(str(trained)).model.weights == "fp32"
    assert open_served(str(trained), weights="int8").model.weights == "int8"


def test_an_api_has_its_own_weights(heed):
    found = heed("sample", "--api", "http://127.0.0.1:1/v1", "--weights", "int8")
    assert found.code == 2
    assert "--weights needs a run at hand: leave it out with --api" in found.err


def test_where_a_kind_is_slow_is_said(heed, trained, monkeypatch):
    monkeypatch.setattr(packing, "fast_bf16", lambda device: False)
    argv = ["sample", trained, "--prompt", "the", "--max-tokens", 2]
    monkeypatch.setattr(packing, "has_fbgemm", lambda: False)
    assert "weights in bf16 are slow here: take fp16 or int8" in heed(*argv, "--weights", "bf16").err
    assert "weights in fp16 take half the memory, and are slow here" in heed(*argv, "--weights", "fp16").err
    assert "slow" not in heed(*argv, "--weights", "int8").err


def test_eval_beside_a_neural_cache(heed, tmp_path, text):
    argv = ["train", text, *TINY, "--tokenizer.kind", "char", "--run.folder", tmp_path, "--data.test-fraction", 0.2]
    assert heed(*argv, "--run.name", "tested").code == 0
    run = tmp_path / "tested"
    found = heed("eval", run, "--split", "test", "--neural-cache", 50, "--json")
    both = json.loads(found.out)["results"][0]
    alone = json.loads(heed("eval", run, "--split", "test", "--json").out)["results"][0]
    assert both["passport"].pop("cache").startswith("a neural cache of the last 50 tokens (weight 0.")
    assert both["passport"] == alone["passport"]
    assert both["loss"] < alone["loss"]  # the numbers were chosen elsewhere, on text of the same kind
    given = ["--cache-weight", 0.3, "--cache-sharpness", 0.1]
    shown = heed("eval", run, "--neural-cache", 50, *given)
    assert "beside a neural cache of the last 50 tokens (weight 0.3, sharpness 0.1)." in shown.out.replace("\n ", "")
    for words, line in (
        ([], "its numbers are chosen on the validation split: give --split test, or --cache-weight and"),
        (given[:2], "--cache-weight and --cache-sharpness go together, with --neural-cache: give all three"),
    ):
        refused = heed("eval", run, "--neural-cache", 50, *words)
        assert (refused.code, refused.out) == (2, "")
        assert line in refused.err
    assert heed("eval", run, *given).code == 2
