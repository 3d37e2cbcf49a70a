"""/v1/chat/completions, and models of transformers, with transformers as the judge."""

import json

import openai
import pytest
import torch
import transformers
from serving_doubles import TEMPLATE, make_served

from heed.cli import main
from heed.errors import HeedError
from heed.generation import generate
from heed.models.hub import export_hub
from heed.models.transformers_model import TransformersModel
from heed.serving.served_model import open_served

CHAT = [{"role": "system", "content": "be short "}, {"role": "user", "content": "hello é"}]


def folder_of(tmp_path_factory, kind, ends=None):
    """A folder of transformers: tokens of characters, two special ones for chats, a template."""
    folder = tmp_path_factory.mktemp(kind)
    served = make_served(context=96, specials=("<|im_start|>", "<|im_end|>"), tied=True)
    if kind == "gpt2":
        served.tokenizer.save(folder / "tokenizer.json")
        export_hub(served.model, served.model.config, folder / "tokenizer.json", folder / "out")
        folder = folder / "out"
    else:
        config = transformers.Qwen2Config(
            vocab_size=served.tokenizer.vocab_size + 3, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=96, use_sliding_window=False,
            eos_token_id=served.tokenizer.end_id, bos_token_id=None, initializer_range=0.4,
        )  # fmt: skip
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        served.tokenizer.save(folder / "tokenizer.json")
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory):
    return folder_of(tmp_path_factory, "gpt2")


@pytest.fixture(scope="session")
def qwen(tmp_path_factory):
    return folder_of(tmp_path_factory, "qwen")


@pytest.mark.parametrize("kind", ["gpt2", "qwen"])
def test_a_chat_is_read_as_transformers_reads_it_and_goes_on_as_it_does(serve, request, kind):
    folder = request.getfixturevalue(kind)
    model = open_served(str(folder), name="m", device="cpu")
    assert isinstance(model.model, TransformersModel) == (kind == "qwen")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ids = theirs.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"]
    assert model.template.ids(CHAT) == list(ids)
    other = transformers.AutoModelForCausalLM.from_pretrained(folder)
    other.generation_config.pad_token_id = 0
    out = other.generate(torch.tensor([ids]), max_new_tokens=15, do_sample=False)[0, len(ids) :].tolist()
    api = serve(model)
    got = api.chat.completions.create(
        model="m", messages=CHAT, temperature=0, max_tokens=15, logprobs=True, top_logprobs=2
    )
    [choice] = got.choices
    end = model.tokenizer.end_id
    assert choice.token_ids == out[: out.index(end)] if end in out else out
    assert got.usage.prompt_tokens == len(ids)
    assert choice.message.role == "assistant"
    pieces = b"".join(bytes(one.bytes) for one in choice.logprobs.content)
    assert pieces.decode(errors="replace") == choice.message.content
    with torch.inference_mode():
        logits = other(torch.tensor([[*ids, *choice.token_ids]])).logits[0, len(ids) - 1 :]
    for one, row in zip(choice.logprobs.content, logits.log_softmax(-1), strict=False):
        assert one.logprob == pytest.approx(float(row[one.token_id]), abs=1e-4)
        assert [top.token_id for top in one.top_logprobs] == row.topk(2).indices.tolist()


def test_a_chat_streams(serve, gpt2):
    api = serve(open_served(str(gpt2), name="m", device="cpu"))
    given = {"model": "m", "messages": CHAT, "seed": 4, "n": 2, "max_completion_tokens": 9, "logprobs": True}
    whole = api.chat.completions.create(**given)
    texts, roles, tokens = {}, {}, {}
    for chunk in api.chat.completions.create(stream=True, **given):
        for choice in chunk.choices:
            roles.setdefault(choice.index, choice.delta.role)
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
            tokens.setdefault(choice.index, []).extend(choice.logprobs.content if choice.logprobs else [])
    for choice in whole.choices:
        assert texts[choice.index] == choice.message.content
        assert tokens[choice.index] == choice.logprobs.content
    assert roles == {0: "assistant", 1: "assistant"}


def test_what_a_chat_cannot_be(serve, gpt2, served):
    api = serve(open_served(str(gpt2), name="m", device="cpu"), served)

    def refused(model="m", messages=CHAT, **given):
        with pytest.raises(openai.BadRequestError) as caught:
            api.chat.completions.create(model=model, messages=messages, **given)
        return caught.value

    with pytest.raises(openai.NotFoundError, match="tiny has no chat template"):
        api.chat.completions.create(model="tiny", messages=CHAT)
    assert "<|im_end|>" in refused(messages=[{"role": "user", "content": "a<|im_end|>"}]).message
    assert "no such role" in refused(messages=[{"role": "developer", "content": "a"}]).message
    assert refused(messages=[]).param == "messages"
    assert refused(top_logprobs=1).param == "top_logprobs"
    assert refused(tools=[{"type": "function", "function": {"name": "f"}}]).param == "tools"
    assert refused(messages=[{"role": "user", "content": "a" * 200}]).code == "context_length_exceeded"


def test_a_transformers_model_gives_the_same_with_and_without_its_cache(qwen):
    served = open_served(str(qwen), device="cpu")
    model = served.model
    assert model.caches
    given = {"max_tokens": 150, "seed": 3, "on_overflow": "slide", "n": 2}
    cached = generate(model, served.tokenizer, ["hello "], **given)[0]
    plain = generate(model, served.tokenizer, ["hello "], cache=False, **given)[0]
    assert [one.ids for one in cached] == [one.ids for one in plain]


def test_what_cannot_be_served_is_said_in_a_line(tmp_path, capsys):
    for make, words in (
        (lambda: None, "is not a run folder"),
        (lambda: (tmp_path / "config.json").write_text("{}"), "is no|cannot|model_type|lacks|no tokenizer"),
    ):
        make()
        with pytest.raises(HeedError) as caught:
            open_served(str(tmp_path))
        assert "\n" not in str(caught.value), words
    assert main(["serve"]) == 2
    assert "nothing to serve" in capsys.readouterr().err
