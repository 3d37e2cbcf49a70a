"""`heed audit` as a user tries it, and how a leak that was allowed is carried by its run."""

import json
import math

import pytest
from safetensors.numpy import load_file

from cli.conftest import TINY
from heed.report.record import gather

ZOO = "models.leaking_zoo"
NAIVE = ["--model.attention.mechanism", "naive-mask"]


def test_exit_codes_of_functions(heed, tmp_path, monkeypatch):
    (tmp_path / "audited_models.py").write_text(
        f"from {ZOO} import *\n"
        "def good(): return Transformer(correct)\n"
        "def bad(): return Transformer(off_by_one)\n"
        "def nan(ids): return constant(ids) * float('nan')\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    answer = heed("audit", "audited_models:good", "--context", 20)  # the vocabulary is that of the embedding
    assert answer.code == 0
    assert "causal: the past does not depend on the future" in answer.out
    answer = heed("audit", "audited_models:bad", "--context", 20)
    assert answer.code == 1
    assert "position 0 sees token 1 (2 tokens)" in answer.out
    assert "cause: off by one" in answer.out
    answer = heed("audit", "audited_models:nan", "--vocab-size", 17)
    assert answer.code == 2
    assert "could not tell: the logits at position 0 are NaN" in answer.out


def test_json_is_one_object(heed):
    answer = heed("audit", f"{ZOO}:from_the_end", "--vocab-size", 17, "--context", 20, "--json")
    assert answer.code == 1
    content = json.loads(answer.out)
    assert content["cause"] == "length"
    assert content["vocab_size"] == 17
    assert content["losses"]["tokens"] > 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "name one thing to audit"),
        (["a", "--contracts", "b"], "name one thing to audit"),
        (["no/such/run"], "no run folder no/such/run"),
        (["no_such_module:f"], "cannot import no_such_module"),
        ([f"{ZOO}:no_such_function"], "has no function 'no_such_function'"),
        ([f"{ZOO}:V"], "has no function 'V'"),
        ([f"{ZOO}:Transformer"], "name a function that makes a model"),
        ([f"{ZOO}:from_the_end"], "give --vocab-size"),
        (["hf:no/such/model"], "cannot fetch"),
        (["--contracts", "json"], "defines no subclass"),
        (["--contracts", "softmx"], "softmax"),
        (["--contracts", "softmax", "--vocab-size", "5"], "take --vocab-size away"),
        (["a", "--context", "1"], "--context: Input should be greater than or equal to 2, not 1"),
        (["a", "--vocab-size", "x"], "--vocab-size: 'x' is no INT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_one_line(heed, argv, words):
    answer = heed("audit", *argv)
    assert answer.code == 2
    assert words in answer.err
    assert answer.err.count("\n") == 1


def test_what_a_model_prints_is_no_part_of_the_answer_and_exiting_is_no_leak(heed, tmp_path, monkeypatch):
    (tmp_path / "loud_models.py").write_text(
        f"from {ZOO} import *\n"
        "class Loud(Transformer):\n"
        "    def forward(self, ids):\n"
        "        print('forward', ids.shape)\n"
        "        return super().forward(ids)\n"
        "def loud(): return Loud(correct)\n"
    )
    (tmp_path / "exiting_script.py").write_text("import sys\nsys.exit(1)\n")
    monkeypatch.chdir(tmp_path)
    answer = heed("audit", "loud_models:loud", "--context", 7, "--json")
    assert json.loads(answer.out)["causal"] is True
    for argv in (["exiting_script:f"], ["--contracts", "exiting_script"], ["--contracts", "exiting_script:C"]):
        answer = heed("audit", *argv)
        assert answer.code == 2  # and not 1, which says that there is a leak
        assert "cannot import exiting_script: SystemExit: 1" in answer.err


def test_a_module_may_hold_a_base_without_facts_but_no_mechanism_without(heed, tmp_path, monkeypatch):
    text = (
        "from heed.attention import Mechanism, Softmax\n"
        "class Base(Mechanism): pass\n"
        "class Mine(Base, Softmax):\n"
        "    '''Softmax attention.'''\n"
    )
    (tmp_path / "based_mechanisms.py").write_text(text)
    (tmp_path / "bare_mechanisms.py").write_text(f"{text}class Bare(Mechanism): pass\n")
    monkeypatch.chdir(tmp_path)
    answer = heed("audit", "--contracts", "based_mechanisms")
    assert answer.code == 0
    assert answer.out.startswith("Mine\n")
    answer = heed("audit", "--contracts", "bare_mechanisms")
    assert answer.code == 2
    assert "bare_mechanisms:Bare declares no facts" in answer.err


def test_a_run_is_audited(heed, trained):
    answer = heed("audit", trained)
    assert answer.code == 0
    assert "decoding with the cache gives the logits of the full pass" in answer.out
    too_long = heed("audit", trained, "--context", 17)
    assert too_long.code == 2
    assert "longer than the model's 16" in too_long.err


def test_models_of_transformers_are_audited(heed, tmp_path):
    import transformers

    config = transformers.GPT2Config(
        vocab_size=50, n_positions=20, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "tiny")
    answer = heed("audit", f"hf:{tmp_path / 'tiny'}", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["vocab_size"] == 50
    (tmp_path / "tiny" / "model.safetensors").rename(tmp_path / "tiny" / "pytorch_model.bin")
    answer = heed("audit", f"hf:{tmp_path / 'tiny'}")  # pickled weights are not opened
    assert answer.code == 2
    assert "cannot be loaded" in answer.err


def test_contracts_of_a_mechanism(heed):
    answer = heed("audit", "--contracts", "heed.attention.mechanisms.softmax:Softmax", "--json")
    assert answer.code == 0
    content = json.loads(answer.out)
    assert content["ok"]
    assert {"future", "rows", "dtype"} <= {finding["name"] for finding in content["findings"]}


def test_a_leaking_model_is_not_trained(heed, tmp_path, text):
    answer = heed("train", text, *TINY, *NAIVE, "--tokenizer.kind", "char", "--run.folder", tmp_path)
    assert answer.code == 2
    assert "leaks: position 0 sees token 1" in answer.err
    assert "model.allow_leak: true" in answer.err
    assert not [path for path in tmp_path.iterdir() if path.name != ".tokens"]


@pytest.fixture(scope="module")
def leaking(tmp_path_factory, text):
    from heed.cli import main

    runs = tmp_path_factory.mktemp("leaking")
    argv = ["train", str(text), *TINY, *NAIVE, "--model.allow-leak", "true", "--tokenizer.kind", "char",
            "--run.folder", str(runs), "--run.name", "naive"]  # fmt: skip
    assert main(argv) == 0
    return runs / "naive"


def test_a_leak_that_is_allowed_is_carried_everywhere(leaking):
    assert "position 0 sees token 1" in json.loads((leaking / "environment.json").read_text())["leaks"]
    figures = json.loads((leaking / "evaluation.json").read_text())["validation"]
    assert figures["passport"]["leaks"] is True
    assert "position 0 sees token 1" in figures["leaks"]
    assert figures["honest"]["tokens"] >= 100
    assert math.isfinite(figures["honest"]["loss"])
    record = gather(leaking)
    assert record.leaks is not None
    assert all(event.leaks and event.passport["leaks"] for event in record.evaluations)
    page = (leaking / "report.html").read_text()
    assert "Honest loss" in page
    assert "LEAKING loss" in page
    assert "Scored on prefixes alone" in page


def test_what_train_and_eval_print_of_a_leaking_run_says_so(heed, leaking, trained):
    answer = heed("eval", leaking)
    assert answer.code == 0
    assert "honest loss" in answer.out
    assert "LEAKING loss" in answer.out
    assert "LEAKS. Measured on" in answer.out
    refused = heed("eval", leaking, trained)
    assert refused.code == 2
    assert "leaks (True and False)" in refused.err
    allowed = heed("eval", leaking, trained, "--allow", "leaks")
    assert allowed.code == 0
    assert allowed.out.splitlines()[-1].endswith((str(trained), f"{leaking} (it LEAKS)"))
    honest = heed("eval", trained)
    assert "LEAK" not in honest.out
    assert "honest" not in honest.out


def test_a_leaking_run_that_is_resumed_still_leaks(heed, leaking):
    answer = heed("train", "--resume", leaking, "--train.steps", 8)
    assert answer.code == 0
    assert "LEAKS: position 0 sees token 1" in answer.err
    assert "LEAKING validation loss" in answer.err
    assert "LEAKING loss" in answer.out
    assert gather(leaking).leaks is not None


def test_the_audit_changes_no_bit_of_a_training(heed, tmp_path, text, monkeypatch):
    from heed.models.causality import Verdict, training

    argv = ["train", text, *TINY, "--model.dropout", 0.2, "--tokenizer.kind", "char", "--run.folder", tmp_path]
    assert heed(*argv, "--run.name", "audited").code == 0
    monkeypatch.setattr(training, "audit_model", lambda *args: Verdict(True))
    assert heed(*argv, "--run.name", "bare").code == 0
    one, other = (
        load_file(tmp_path / name / "checkpoints" / "step-00000006" / "model.safetensors")
        for name in ("audited", "bare")
    )
    assert one.keys() == other.keys()
    assert all((one[key] == other[key]).all() for key in one)


ODD = """
import torch
from models.leaking_zoo import *
def zero(ids): return torch.zeros(*ids.shape, 0)
def eighth(ids): return torch.zeros(*ids.shape, 17).to(torch.float8_e4m3fn)
def meta(ids): return torch.zeros(*ids.shape, 17, device="meta")
def sparse(ids): return torch.zeros(*ids.shape, 17).to_sparse()
def infinite(ids): return torch.full((*ids.shape, 17), torch.inf)
def talkative(ids): raise RuntimeError("x" * 5000)
class Empty(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(3, 17, device="meta")
class Bare(torch.nn.Module):
    def forward(self, ids): return F.one_hot(ids, 17).float().cumsum(1)
"""


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["odd_answers:zero"], "holds no numbers"),
        (["odd_answers:eighth"], "holds torch.float8_e4m3fn, not floating-point logits"),
        (["odd_answers:meta"], "holds no numbers"),
        (["odd_answers:sparse"], "holds torch.sparse_coo, not floating-point logits"),
        (["odd_answers:infinite"], "no logit is finite"),
        (["odd_answers:talkative"], "could not tell: RuntimeError: xxx"),
        (["odd_answers:Empty"], "cannot be put on cpu"),
        (["odd_answers:Bare", "--seed", str(1 << 64)], "--seed"),
        (["odd_answers:Bare", "--vocab-size", str(1 << 70)], "--vocab-size"),
        (["odd_answers:Bare", "--pairs", "0"], "--pairs"),
        (["x" * 5000], "no run folder xxx"),
    ],
    ids=lambda value: str(value[-1])[-30:] if isinstance(value, list) else None,
)
def test_odd_answers_and_numbers_are_told_in_one_line(heed, tmp_path, monkeypatch, argv, words):
    (tmp_path / "odd_answers.py").write_text(ODD)
    monkeypatch.chdir(tmp_path)
    extra = [] if "--vocab-size" in argv else ["--vocab-size", 17]
    answer = heed("audit", *argv, *extra, "--context", 7)
    assert answer.code == 2
    assert words in answer.out + answer.err
    assert (answer.out + answer.err).count("\n") == 1
    assert len(answer.out + answer.err) < 600


def test_a_class_without_arguments_of_its_own_is_made(heed, tmp_path, monkeypatch):
    (tmp_path / "odd_answers.py").write_text(ODD)
    monkeypatch.chdir(tmp_path)
    answer = heed("audit", "odd_answers:Bare", "--vocab-size", 17, "--context", 7, "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["coverage"]["pairs"] == 289


def test_what_the_audit_has_tried_stands_with_the_run_and_on_its_page(trained):
    said = json.loads((trained / "environment.json").read_text())["audit"]
    assert said.startswith("causal: the past does not depend on the future (in up to 16 tokens: ")
    assert "pairs of neighbours" in said
    assert said in (trained / "report.html").read_text()
