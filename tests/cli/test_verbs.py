"""The verbs as a user tries them."""

import json
import subprocess
import sys

import pytest

from cli.conftest import TINY
from heed.cli import VERBS
from heed.cli.list import KINDS


def test_help_is_instant_because_nothing_heavy_is_imported():
    code = "import sys; from heed.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "tyro", "pydantic", "matplotlib"} & set(ran.stderr.split())
    for verb in VERBS:
        assert f"\n  {verb} " in ran.stdout


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help_with_examples(verb, capsys):
    from heed.cli import main

    argv = [verb, "report", "--help"] if verb == "tokenizer" else [verb, "--help"]
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert not stop.value.code
    out = capsys.readouterr().out
    assert "examples:" in out
    assert f"heed {verb}" in out


def test_train_wrote_everything(trained):
    for name in ("config.yaml", "environment.json", "tokenizer.json", "metrics.jsonl", "evaluation.json",
                 "samples.jsonl", "report.html"):  # fmt: skip
        assert (trained / name).stat().st_size > 0, name
    figures = json.loads((trained / "evaluation.json").read_text())["validation"]
    assert figures["passport"]["context"] == 16
    assert figures["loss"] > 0


def test_train_json_is_one_object(heed, tmp_path, text):
    answer = heed("train", text, *TINY, "--tokenizer.kind", "char", "--run.folder", tmp_path, "--json")
    assert answer.code == 0
    content = json.loads(answer.out)
    assert content["steps"] == 6
    assert content["reason"] == "finished"
    assert content["figures"]["validation"]["passport"]["split"] == "validation"


def test_names_of_runs_count_up(heed, tmp_path, text):
    for _ in range(2):
        assert heed("train", text, *TINY, "--tokenizer.kind", "char", "--run.folder", tmp_path).code == 0
    assert (tmp_path / "animals-gpt-1").is_dir()
    assert (tmp_path / "animals-gpt-2").is_dir()


def test_batch_size_auto(heed, tmp_path, text, monkeypatch):
    from heed.training import autobatch

    monkeypatch.setattr(autobatch, "PATIENCE", 0.02)
    argv = ["train", text, *TINY, "--train.batch-size", "auto", "--tokenizer.kind", "char", "--run.folder", tmp_path]
    answer = heed(*argv)
    assert answer.code == 0
    assert "batch size" in answer.err


def test_sample_is_repeatable_and_json_has_logprobs(heed, trained):
    first = heed("sample", trained, "--prompt", "the ", "--max-tokens", 12, "--seed", 7)
    again = heed("sample", trained, "--prompt", "the ", "--max-tokens", 12, "--seed", 7)
    assert first.code == 0
    assert first.out == again.out
    assert first.out.startswith("the ")
    argv = ["--prompt", "the ", "--prompt", "a d", "--n", 2, "--max-tokens", 5, "--logprobs", 2, "--json"]
    content = json.loads(heed("sample", trained, *argv).out)
    assert len(content["completions"]) == 4
    assert len(content["completions"][0]["token_logprobs"]) == 5


def test_eval_and_report(heed, trained):
    content = json.loads(heed("eval", trained, "--json", "--stride", 4).out)
    assert content["results"][0]["passport"]["stride"] == 4
    wider = content["results"][0]["loss"]
    assert wider != json.loads(heed("eval", trained, "--json").out)["results"][0]["loss"]
    assert heed("report", trained).out.strip().endswith("report.html")


def test_resume_of_a_finished_run_can_go_further(heed, tmp_path, text):
    argv = ["train", text, *TINY, "--tokenizer.kind", "char", "--run.folder", tmp_path, "--run.name", "longer"]
    assert heed(*argv).code == 0
    answer = heed("train", "--resume", tmp_path / "longer", "--train.steps", 8, "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["steps"] == 8
    assert "no longer the run" in answer.err


def test_tokenizer_verbs(heed, tmp_path, text):
    file = tmp_path / "tokenizer.json"
    assert heed("tokenizer", "train", text, "--vocab-size", 270, "--out", file).code == 0
    assert heed("tokenizer", "train", text, "--out", file).code == 2
    answer = heed("tokenizer", "report", file, text, "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["round_trip"]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_list(heed, kind):
    assert heed("list", kind).out
    assert isinstance(json.loads(heed("list", kind, "--json").out), dict)
    assert kind in heed("list").out


def test_check_says_the_cost(heed):
    content = json.loads(heed("check", "--model.preset", "gpt2", "--tokenizer.vocab-size", 50257, "--json").out)
    assert content["ok"]
    assert content["parameters"] == 124_439_808


def test_doctor(heed):
    content = json.loads(heed("doctor", "--json").out)
    assert set(content) == {"machine", "devices", "packages", "data"}


def test_export_loads_in_transformers_and_comes_back(heed, tmp_path, text):
    runs = tmp_path / "runs"
    argv = ["train", text, *TINY, "--tokenizer.vocab-size", 270, "--run.folder", runs, "--run.name", "one"]
    assert heed(*argv).code == 0
    assert heed("export", runs / "one", "--to", "hf", "--out", tmp_path / "hf").code == 0

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from heed.training.run import load_run

    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "hf").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    ours, own_tokenizer, _ = load_run(runs / "one")
    ids = own_tokenizer.encode("the cat sees a dog")
    assert tokenizer.encode("the cat sees a dog") == ids
    with torch.no_grad():
        torch.testing.assert_close(theirs(torch.tensor([ids])).logits, ours(torch.tensor([ids])), atol=1e-5, rtol=1e-5)

    assert heed("import", f"hf:{tmp_path / 'hf'}", "--out", runs / "back").code == 0
    one = heed("sample", runs / "one", "--prompt", "the", "--temperature", 0, "--max-tokens", 8).out
    back = heed("sample", runs / "back", "--prompt", "the", "--temperature", 0, "--max-tokens", 8).out
    assert one == back
