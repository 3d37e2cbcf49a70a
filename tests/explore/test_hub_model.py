"""Models that transformers runs: the same maps, losses and lens as transformers' own, on tiny ones made here."""

import numpy as np
import pytest
import torch

from explore.small_subjects import TEXT
from heed.errors import ConfigError
from heed.explore.hub_model import HubModel
from heed.explore.logit_lens import look
from heed.explore.own_model import OwnModel
from heed.explore.subject import SwitchedHead
from heed.explore.subjects import open_subject
from heed.text.tokenizers import train_tokenizer

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32,
         "max_position_embeddings": 64}  # fmt: skip
MODELS = {
    "llama": ("LlamaForCausalLM", {**SIZES, "num_key_value_heads": 2}),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "mistral": ("MistralForCausalLM", {**SIZES, "num_key_value_heads": 2, "sliding_window": None}),
    "qwen2": ("Qwen2ForCausalLM", {**SIZES, "num_key_value_heads": 2}),
    "gpt_neox": ("GPTNeoXForCausalLM", SIZES),
    "opt": ("OPTForCausalLM", {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 32,
                               "max_position_embeddings": 64, "word_embed_proj_dim": 16}),
    "bert": ("BertModel", SIZES),
    "distilbert": ("DistilBertModel", {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 32,
                                       "max_position_embeddings": 64}),
}  # fmt: skip
OWN = ("llama", "gpt2")
CAUSAL = [name for name in MODELS if "bert" not in name]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each architecture with random weights far from uniform, and a byte tokenizer."""
    tokenizer = train_tokenizer("bpe", [TEXT], 270)
    made = {}
    for name, (architecture, sizes) in MODELS.items():
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(name)
        kind = getattr(transformers, architecture)
        config = kind.config_class(vocab_size=tokenizer.vocab_size, bos_token_id=0, eos_token_id=0, pad_token_id=0,
                                   **sizes)  # fmt: skip
        model = kind(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        model.save_pretrained(folder)
        tokenizer.save(folder / "tokenizer.json")
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
        made[name] = folder
    return made


def theirs(folder, causal, **kwargs):
    kind = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
    return kind.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32, **kwargs).eval()


@pytest.mark.parametrize("name", MODELS)
def test_maps_are_those_of_transformers(folders, name):
    subject = open_subject(str(folders[name])).subject
    assert isinstance(subject, OwnModel if name in OWN else HubModel)
    ids = subject.encode(TEXT)[:20]
    model = theirs(folders[name], name in CAUSAL)
    with torch.no_grad():
        wanted = model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    found = subject.trace(ids).layers
    assert len(found) == 2
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.weights, other[0].numpy(), atol=2e-5)
    assert subject.causal == (name in CAUSAL)


def columns_of(model, name, layer, head):
    """Return the weight (D, H K) of a layer's output projection, of which a head has some columns."""
    match name:
        case "gpt2":
            return model.transformer.h[layer].attn.c_proj.weight.T, slice(head * 4, head * 4 + 4)
        case "gpt_neox":
            return model.gpt_neox.layers[layer].attention.dense.weight, slice(head * 4, head * 4 + 4)
        case "opt":
            return model.model.decoder.layers[layer].self_attn.out_proj.weight, slice(head * 4, head * 4 + 4)
    return model.model.layers[layer].self_attn.o_proj.weight, slice(head * 4, head * 4 + 4)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_head_without_its_columns_and_the_lens(folders, name):
    subject = open_subject(str(folders[name])).subject
    assert subject.switches
    rows = np.array([subject.encode(TEXT)[:21]])
    source, target = rows[:, :-1], rows[:, 1:]
    model = theirs(folders[name], causal=True)

    def by_hand():
        with torch.no_grad():
            said = model(input_ids=torch.from_numpy(source)).logits.log_softmax(-1)
        return -said.gather(-1, torch.from_numpy(target)[..., None])[..., 0].numpy()

    np.testing.assert_allclose(subject.nats(source, target), by_hand(), atol=1e-4)
    ids = source[0].tolist()
    lens = look(subject, subject.trace(ids).residuals, ids)
    np.testing.assert_allclose(lens.nats[-1], by_hand()[0, : len(ids) - 1], atol=1e-4)
    whole = by_hand()
    weight, columns = columns_of(model, name, 1, 2)
    with torch.no_grad():
        weight[:, columns] = 0
    np.testing.assert_allclose(subject.nats(source, target, SwitchedHead(1, 2)), by_hand(), atol=1e-4)
    assert np.abs(by_hand() - whole).max() > 1e-3
    means = subject.head_means(source)
    assert means.shape == (2, 4, 4)


def test_encoders_predict_nothing_and_read_both_sides(folders):
    subject = open_subject(str(folders["bert"])).subject
    assert not subject.predicts
    assert not subject.causal
    layer = subject.trace(subject.encode(TEXT)[:9]).layers[0]
    assert layer.allowed.all()
    assert (layer.weights[:, 0, 1:] > 0).all()


def test_a_model_without_attention_is_refused(tmp_path):
    config = transformers.MambaConfig(vocab_size=270, hidden_size=16, num_hidden_layers=1, state_size=4)
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)
    train_tokenizer("bpe", [TEXT], 270).save(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(ConfigError, match="a mamba, which has no attention"):
        open_subject(str(tmp_path))
