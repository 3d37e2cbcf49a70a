"""The verbs as a user tries them."""

import json
import subprocess
import sys

import pytest

from cli.conftest import TINY
from heed.cli import VERBS
from heed.cli.list import KINDS
from heed.config import ModelConfig
from heed.models.gpt import count_parameters


def test_help_is_instant_because_nothing_heavy_is_imported():
    code = "import sys; from heed.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "tyro", "pydantic", "matplotlib"} & set(ran.stderr.split())
    for verb in VERBS:
        assert f"\n  {verb} " in ran.stdout


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help_with_examples(verb, capsys):
    from heed.cli import main

    argv = [verb, *{"tokenizer": ["report"], "data": ["biographies"], "slurm": ["script"]}.get(verb, []), "--help"]
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert not stop.value.code
    out = capsys.readouterr().out
    assert "examples:" in out
    assert f"heed {verb}" in out


def test_help_is_running_text(capsys):
    """Lines end where the page does, not where those of the source do."""
    from heed.cli import main

    with pytest.raises(SystemExit):
        main(["train", "--help"])
    lines = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    first = next(place for place, line in enumerate(lines) if line.startswith("nothing of it on the disk)"))
    assert "or a named corpus (see `heed list corpora`)" in " ".join(lines[first : first + 2])
    assert min(map(len, lines[first : first + 2])) > 60


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


def test_eval_beyond_the_context_of_training(heed, tmp_path, text, trained):
    refused = heed("eval", trained, "--context", 40)
    assert refused.code == 2
    assert refused.err.endswith(
        "heed: model.positions learned ends at the 16 tokens of training, beyond them there is nothing to add: "
        "train with alibi, none, relative, rotary or sinusoidal to read further\n"
    )
    argv = ["train", text, *TINY, "--tokenizer.kind", "char", "--run.folder", tmp_path, "--model.positions", "alibi"]
    assert heed(*argv, "--run.name", "alibi").code == 0
    found = json.loads(heed("eval", tmp_path / "alibi", "--context", 40, "--json").out)["results"][0]
    assert (found["passport"]["context"], found["passport"]["stride"]) == (40, 40)
    beside = heed("eval", tmp_path / "alibi", trained, "--json")
    assert beside.code == 0  # at the context of training they compare


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


def test_check_assumes_the_vocabulary_and_builds_nothing(heed):
    # 1.2e12 parameters: no machine that runs this test could hold them
    shape = ["--model.n-layers", 10, "--model.d-model", 100_000, "--model.n-heads", 10]
    answer = heed("check", *shape, "--tokenizer.kind", "char")
    assert answer.code == 0
    assert f"{count_parameters(ModelConfig(n_layers=10, d_model=100_000, n_heads=10), 4096):,}" in answer.out
    assert "vocabulary (at most)" in answer.out
    assert "vocabulary (at most)" not in heed("check").out


def test_check_takes_the_vocabulary_of_a_tokenizer_file(heed, trained):
    from heed.text.tokenizers import load_tokenizer

    content = json.loads(heed("check", "--tokenizer.file", trained, "--json").out)
    assert content["vocabulary"] == load_tokenizer(trained).vocab_size


def test_eval_measures_the_whole_of_another_text(heed, tmp_path, text, trained):
    def passport(*argv):
        return json.loads(heed("eval", trained, "--corpus", text, *argv, "--json").out)["results"][0]["passport"]

    whole, held_out = passport(), passport("--split", "validation")
    size = len(text.read_text())
    assert (whole["split"], whole["bytes"]) == ("train", size)
    assert held_out["split"] == "validation"
    assert held_out["bytes"] < size / 5
    assert passport("--data.validation-fraction", 0.5)["split"] == "validation"

    latin = tmp_path / "latin.csv"
    latin.write_bytes(b"id,body\n1,the cat sees a dog.\n2,one fox hears my heron.\n")
    content = json.loads(heed("eval", trained, "--corpus", latin, "--data.column", "body", "--json").out)
    assert content["results"][0]["passport"]["bytes"] == len("the cat sees a dog.one fox hears my heron.")


def test_tokenizer_verbs_take_data_settings(heed, tmp_path):
    file, table = tmp_path / "tokenizer.json", tmp_path / "table.csv"
    table.write_bytes("id,body\n1,das Käuzchen\n2,der Föhn\n".encode("latin-1"))
    data = ["--data.column", "body", "--data.encoding", "latin-1"]
    answer = heed("tokenizer", "train", table, "--kind", "char", "--out", file, *data)
    assert answer.code == 0, answer.err
    answer = heed("tokenizer", "report", file, table, *data, "--data.validation-fraction", 0, "--json")
    assert json.loads(answer.out)["round_trip"], "the alphabet is that of all splits"


def test_training_says_the_measured_shares(heed, tmp_path, text):
    argv = ["train", text, *TINY, "--tokenizer.kind", "char", "--run.folder", tmp_path]
    said = next(line for line in heed(*argv).err.splitlines() if line.startswith("text:"))
    assert "(90 %), validation" in said
    assert "(10 %); split by position" in said
    said = heed(*argv, "--data.validation-fraction", 0).err
    assert "nothing is held out" in said
    assert "%" not in next(line for line in said.splitlines() if line.startswith("text:"))


def test_sample_without_a_prompt_begins_at_a_line_end(heed, tmp_path, trained):
    from heed.generation import beginning
    from heed.text.tokenizers import load_tokenizer, train_tokenizer

    tokenizer = load_tokenizer(trained)
    assert tokenizer.end_id is None
    assert tokenizer.decode(beginning(tokenizer)) == "\n"
    assert beginning(train_tokenizer("char", ["ab"], 10)) == [0]
    ended = train_tokenizer("char", ["ab"], 10, end_of_text=True)
    assert beginning(ended) == [ended.end_id]
    answer = heed("sample", trained, "--max-tokens", 5)
    assert answer.code == 0, answer.err
    content = json.loads(heed("sample", trained, "--max-tokens", 5, "--json").out)
    assert content["completions"][0]["prompt"] == ""


def test_training_on_the_folder_that_holds_the_runs_works_twice(heed, tmp_path, monkeypatch, text):
    (tmp_path / "animals.txt").write_text(text.read_text())
    monkeypatch.chdir(tmp_path)
    argv = ["train", ".", *TINY, "--tokenizer.kind", "char"]
    first, second = heed(*argv), heed(*argv)
    assert (first.code, second.code) == (0, 0)
    assert "1 run folder" in second.err
    assert "run folder" not in first.err
