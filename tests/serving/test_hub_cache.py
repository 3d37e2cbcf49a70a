"""Models out of the cache of the Hugging Face hub, served by name: GPT-2 and Llama, as transformers computes them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest
import torch
from serving_doubles import LETTERS
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from heed.cli import main
from heed.text.tokenizers import train_tokenizer

pytestmark = pytest.mark.slow  # a process that imports transformers
HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """HF_HOME as huggingface_hub leaves it after a download, and the models by name."""
    home = tmp_path_factory.mktemp("hf")
    tokenizer = train_tokenizer("char", [LETTERS, LETTERS], 100)
    size = {"vocab_size": tokenizer.vocab_size, "bos_token_id": None, "eos_token_id": None}
    torch.manual_seed(5)
    gpt2 = GPT2LMHeadModel(GPT2Config(n_positions=48, n_embd=32, n_layer=2, n_head=2, initializer_range=0.5, **size))
    llama = LlamaForCausalLM(
        LlamaConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2, max_position_embeddings=48, initializer_range=0.5, **size)
    )  # fmt: skip
    models = {"acme/tiny-gpt2": gpt2.eval(), "acme/tiny-llama": llama.eval()}
    for name, model in models.items():
        folder = home / "hub" / f"models--{name.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(HASH)
        model.save_pretrained(folder / "snapshots" / HASH)
        tokenizer.save(folder / "snapshots" / HASH / "tokenizer.json")
    return home, models, tokenizer


def ask(address, **body):
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{address}/completions", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_the_cache_is_served_and_answers_as_transformers_does(cached):
    home, models, tokenizer = cached
    argv = [sys.executable, "-m", "heed", "serve", *(f"hf:{name}" for name in models), "--port", "0", "--no-access-log"]
    there = os.environ | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=there) as server:
        try:
            line = server.stdout.readline()
            found = re.fullmatch(r"serving acme/tiny-gpt2, acme/tiny-llama at (http://\S+/v1) \(.*\)\n", line)
            assert found, line
            for name, model in models.items():
                for prompt in ("the cat", "b"):
                    said = ask(
                        found[1], model=name, prompt=prompt, max_tokens=20, temperature=0, logprobs=1, ignore_eos=True
                    )
                    ids = torch.tensor([tokenizer.encode(prompt)])
                    with torch.no_grad():
                        whole = model.generate(ids, do_sample=False, max_new_tokens=20, pad_token_id=0)[0]
                        logp = model(whole[None]).logits[0].log_softmax(-1)
                    new = whole[ids.shape[1] :].tolist()
                    [choice] = said["choices"]
                    assert choice["token_ids"] == new
                    wanted = [logp[ids.shape[1] - 1 + i, token].item() for i, token in enumerate(new)]
                    assert choice["logprobs"]["token_logprobs"] == pytest.approx(wanted, abs=1e-4)
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer.json", "everything"])
def test_half_a_download_is_one_line(cached, tmp_path, missing, monkeypatch, capsys):
    home = tmp_path / "hf"
    shutil.copytree(cached[0], home)
    folder = home / "hub" / "models--acme--tiny-gpt2" / "snapshots" / HASH
    if missing == "everything":
        shutil.rmtree(folder.parents[1])
    else:
        (folder / missing).unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["serve", "hf:acme/tiny-gpt2", "--port", "0"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith("heed: ")


def test_a_name_that_is_none_is_one_line(capsys):
    assert main(["serve", "hf:", "--port", "0"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
