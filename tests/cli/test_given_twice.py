"""What is given twice is refused, since one of the two would be dropped; what is missing comes with an example."""

import pytest

from heed.cli import VERBS, main

TWICE = {
    "train": [["a.txt", "--train.steps", "3", "--train.steps", "4"], ["--resume", "a", "--resume", "b"],
              ["a.txt", "--model.bias", "true", "--model.no-bias"], ["--train.steps=3", "--train.steps=4"],
              ["--model.attention.options", "{block: 8}", "--model.attention.options.block", "9"],
              ["--model.attention.options", "{block: 8, block: 9}"], ["a.txt", "--json", "--no-json"]],
    "pretrain": [["a.txt", "--config", "a", "--config", "b"]],
    "finetune": [["a", "b.tsv", "--train.steps", "3", "--train.steps", "4"]],
    "ask": [["runs/a", "who?", "--decode", "beam", "--decode", "beam"]],
    "tune": [["a.csv", "--methods", "lora", "--methods", "head"], ["a.csv", "--train.batch-size", "3",
             "--train.batch_size", "4"]],
    "predict": [["a", "text", "--pair", "b", "--pair", "c"]],
    "sample": [["a", "--n", "2", "--n", "3"], ["a", "--max-tokens", "3", "--max_tokens=4"],
               ["a", "--logit-bias", "13", "-5", "--logit-bias", "1", "2"]],
    "serve": [["a", "--port", "1", "--port", "2"]],
    "explore": [["runs/a", "--prompt", "a", "--prompt", "b"], ["a", "--layers", "0", "--layers=1"],
                ["--port", "1", "--port", "2"]],
    "recover": [["x", "--api", "http://a/v1", "--model", "m", "--model", "n"]],
    "prompt": [["boolq", "--api", "http://a/v1", "--api", "http://b/v1"], ["sst2", "--shots", "2", "--shots=4"]],
    "eval": [["a", "--split", "test", "--split", "validation"]],
    "compare": [["a.yaml", "--out", "b", "--out", "c"]],
    "audit": [["a", "--seed", "1", "--seed", "2"]],
    "report": [["a", "--out", "b", "--out", "c"]],
    "tokenizer": [["train", "a", "--kind", "char", "--kind", "word"], ["report", "a", "b", "--json", "--json"]],
    "data": [["biographies", "--out", "a", "--out", "b"]],
    "import": [["a", "--out", "b", "--out", "c"]],
    "export": [["a", "--to", "hf", "--to", "peft"]],
    "bench": [["attention", "--lengths", "3", "--lengths", "4"]],
    "quiz": [["--topic", "attention", "--topic", "tuning"]],
    "grade": [["a", "--seconds", "1", "--seconds", "2"]],
    "list": [["attention", "--json", "--json"]],
    "check": [["a", "--json", "--json"]],
    "jobs": [["--json", "--json"]],
    "slurm": [["interact", "--slurm.gpus", "1", "--slurm.gpus", "2"]],
    "doctor": [["--json", "--json"]],
    "verify": [["a", "--steps", "1", "--steps", "2"]],
    "completion": [["bash", "--json", "--json"]],
    "runs": [["a", "--sort", "b", "--sort", "c"]],
    "board": [["a", "--port", "1", "--port", "2"]],
}  # fmt: skip


def refusal(capsys, *argv) -> str:
    assert main(list(argv)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("argv", [[verb, *argv] for verb, some in TWICE.items() for argv in some])
def test_an_option_that_is_given_twice(capsys, argv):
    line = refusal(capsys, *argv)
    assert "is given twice" in line or "stands in line 1 already" in line or "unknown option" in line
    if argv[0] not in ("ask", "audit", "report", "import", "bench", "doctor"):
        assert "unknown option" not in line


def test_every_verb_is_tried():
    assert set(TWICE) == set(VERBS)


BARE = ["ask", "tune", "predict", "sample", "prompt", "compare", "report", "import", "export", "bench", "eval", "audit",
        "finetune", "serve", "recover", "grade", "tokenizer train", "tokenizer report",
        "data biographies"]  # fmt: skip


@pytest.mark.parametrize("verb", BARE)
def test_a_verb_without_arguments_says_what_it_needs_with_an_example(capsys, verb):
    line = refusal(capsys, *verb.split())
    assert f"heed {verb} " in line
    assert "Required" not in line
    assert len(line) < 260
    assert "such as: heed" in line or verb in ("eval", "audit", "finetune")


def test_a_value_that_looks_like_an_option(capsys):
    assert "--prompt needs a value; one that begins with -- is written --prompt=--such" in refusal(
        capsys, "sample", "runs/a", "--prompt", "--hello"
    )
    assert "before texts that begin so write -- by itself" in refusal(capsys, "predict", "runs/a", "--bad film")
    assert "runs/a" in refusal(capsys, "predict", "runs/a", "--", "--train.steps", "--bad film")


def test_a_setting_of_a_study_is_named_twice(capsys, tmp_path):
    path = tmp_path / "study.yaml"
    start = "budget: {steps: 2}\nvariants: {a: {}, b: {}}\n"
    for twice in (
        "base: {train.batch_size: 2, train: {batch_size: 3}}",
        "set: {model: {attention.path: fused, attention: {path: reference}}}",
        "base: {train.batch_size: 2, train: 3}",
        "axes: {train.optimizer: [adamw], train: [sgd]}",
    ):
        path.write_text(start + twice)
        line = refusal(capsys, "compare", str(path), "--dry-run")
        assert "train" in line or "attention.path" in line
        assert "twice" in line or "axes" in line
