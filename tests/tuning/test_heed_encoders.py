"""heed's own encoder and GPT behind the interface of transformers: the same states, trained by the same methods."""

import pytest
import torch
from test_methods import disturb
from tiny_encoders import numbered_classes

from heed.build import build_model
from heed.config import make_config
from heed.config.tuning import EncoderConfig, MethodConfig
from heed.errors import ConfigError, DataError
from heed.targets.classes import ClassTarget
from heed.text.tokenizers import load_tokenizer, train_tokenizer
from heed.training.checkpoint import save_checkpoint
from heed.training.run import Run
from heed.tuning.adapters import load_adapter, merge, save_adapter
from heed.tuning.encoders import load_encoder
from heed.tuning.methods import apply
from heed.tuning.model import Tuned, count

D, LAYERS, HEADS, CONTEXT, RANK = 16, 2, 2, 24, 2
TEXTS = ["a fine film, and very good", "the worst of all: dull, dull, dull"] * 4
TARGET = torch.tensor([0, 1, 0])


def write_run(folder, *, kind="gpt", tokenizer="bpe", classes=None, **model):
    """A run as `heed train` leaves it, at its first weights."""
    made = train_tokenizer(tokenizer, TEXTS, 300)
    settings = {"kind": kind, "d_model": D, "n_layers": LAYERS, "context": CONTEXT, "init_std": 0.3}
    settings |= {} if kind == "lstm" else {"n_heads": HEADS}
    data = {"source": "texts.txt"} | ({"label": "label"} if classes else {})
    text = {"kind": tokenizer, "vocab_size": made.vocab_size}
    config = make_config({"data": data, "tokenizer": text, "model": settings | model})
    run = Run.create(folder, config, tokenizer=made, facts={"classes": classes} if classes else None)
    model = build_model(config.model, made.vocab_size, classes=len(classes) if classes else None)
    save_checkpoint(run.checkpoints, 1, model, {}, {})
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {
        "gpt": write_run(folder / "gpt", tied=False, dropout=0.1),
        "encoder": write_run(folder / "encoder", kind="encoder"),
        "classifier": write_run(folder / "classifier", kind="encoder", tokenizer="word", classes=["bad", "good"]),
    }


def load(folder, **options):
    return load_encoder(
        EncoderConfig(name=str(folder), max_length=CONTEXT), ClassTarget(("0", "1")), native=False, **options
    )


def make(folder, method, *, seed=0, **options):
    torch.manual_seed(seed)
    encoder = load(folder)
    tuned = Tuned(encoder, numbered_classes(2))
    return tuned, encoder, apply(tuned, MethodConfig(name=method, rank=RANK, **options), CONTEXT)


def texts(encoder, *, length=9):
    ids = torch.randint(3, 40, (3, length), generator=torch.Generator().manual_seed(1))
    parts = torch.ones_like(ids)
    for row in range(3):
        ids[row, length - 2 * row :], parts[row, length - 2 * row :] = encoder.pad_id, 0
    return torch.stack([ids, parts], dim=1)


@pytest.mark.parametrize("name", ["gpt", "encoder", "classifier"])
def test_states_are_the_models_own(runs, name):
    from heed.training.run import load_run

    encoder = load(runs[name])
    model, tokenizer, _ = load_run(runs[name])
    ids = torch.tensor([tokenizer.encode("a fine film")])
    with torch.no_grad():
        found = encoder.model(input_ids=ids).last_hidden_state
        assert torch.equal(found, model.hidden(ids))
    assert encoder.shape.model_type == ("heed-gpt" if name == "gpt" else "heed-encoder")
    assert (encoder.shape.layers, encoder.shape.d_model, encoder.shape.heads) == (LAYERS, D, HEADS)
    assert encoder.shape.positions == CONTEXT
    assert not encoder.segments
    names = {label for label, _ in encoder.model.named_parameters()}
    assert not any("head" in label or "classifier" in label for label in names)  # a mean does not read these
    assert encoder.folder.joinpath("model.safetensors").is_file()


@pytest.mark.parametrize("method", ["mean-full", "head", "bitfit", "lora", "dora", "ia3", "lora+bitfit"])
@pytest.mark.parametrize("name", ["gpt", "encoder"])
def test_methods_train_what_they_say(runs, name, method):
    tuned, encoder, learn = make(runs[name], method)
    inner = 4 * D
    expected = {
        "mean-full": encoder.shape.parameters,
        "head": 0,
        "lora": LAYERS * RANK * (D + 3 * D),
        "dora": LAYERS * (RANK * (D + 3 * D) + 3 * D),
        "ia3": LAYERS * (3 * D + inner),
        "bitfit": sum(p.numel() for label, p in load(runs[name]).model.named_parameters() if label.endswith("bias")),
    }
    wanted = sum(expected[part] for part in method.split("+"))
    assert learn == wanted + 2 * D + 2
    disturb(tuned)
    tuned.loss(texts(encoder), TARGET).backward()
    for label, parameter in tuned.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, label


@pytest.mark.parametrize("method", ["mean-full", "lora"])
@pytest.mark.parametrize("name", ["gpt", "encoder"])
def test_padding_has_no_say_and_evaluation_is_deterministic(runs, name, method):
    tuned, encoder, _ = make(runs[name], method)
    disturb(tuned)
    tuned.eval()
    source = texts(encoder)
    with torch.no_grad():
        together = tuned(source)
        assert torch.equal(tuned(source), together)
        for row in range(3):
            torch.testing.assert_close(
                tuned(source[row : row + 1, :, : 9 - 2 * row])[0], together[row], atol=1e-5, rtol=0
            )
        source[:, 0][source[:, 1] == 0] = 5
        assert torch.equal(tuned(source), together)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_adapters_are_kept_and_merged(runs, tmp_path, method):
    tuned, encoder, _ = make(runs["encoder"], method)
    disturb(tuned)
    tuned.eval()
    source = texts(encoder)
    again, _, _ = make(runs["encoder"], method, seed=3)
    load_adapter(again, save_adapter(tuned, tmp_path))
    with torch.no_grad():
        wanted = tuned(source)
        assert torch.equal(again.eval()(source), wanted)
        merged = merge(tuned)
        torch.testing.assert_close(merged.eval()(source), wanted, atol=1e-5, rtol=0)
    assert count(merged.parameters()) == encoder.shape.parameters + 2 * D + 2


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_trained_tokens_are_refused(runs, method):
    with pytest.raises(ConfigError, match=r"heed's own models read token ids alone: choose one of mean-full, head,"):
        make(runs["gpt"], method, tokens=2)


def test_what_cannot_be_an_encoder(runs, tmp_path):
    with pytest.raises(ConfigError, match=r"no classification head here; choose mean-full, head"):
        load_encoder(EncoderConfig(name=str(runs["gpt"])), ClassTarget(("0", "1")), native=True)
    with pytest.raises(ConfigError, match=f"max_length: 25 is more than the context of {CONTEXT}"):
        load_encoder(EncoderConfig(name=str(runs["gpt"]), max_length=25), ClassTarget(("0", "1")), native=False)
    recurrent = write_run(tmp_path / "lstm", kind="lstm")
    with pytest.raises(ConfigError, match=r"a run of model.kind lstm cannot be tuned so: choose a run of kind encoder"):
        load(recurrent)


def test_dropout_of_attention_is_the_configurations(runs):
    encoder = load(runs["gpt"])
    drops = [part.dropout for part in encoder.model.modules() if type(part).__name__ == "Softmax"]
    assert drops == [0.0] * LAYERS  # the run had 0.1


@pytest.mark.parametrize("kind", ["bpe", "char", "word"])
def test_the_tokenizer_gives_the_same_ids(tmp_path, kind):
    folder = write_run(tmp_path / kind, tokenizer=kind)
    own, fast = load_tokenizer(folder), load(folder).tokenizer
    for text in ["a fine film", "dull, dull, dull", *([] if kind == "char" else ["unseen: Ω"])]:
        assert fast.backend_tokenizer.encode(text).ids == own.encode(text)
    assert fast.is_fast
    if kind == "bpe":
        text = "a <|endoftext|> b"  # written in a text, it is no end of the text
        assert fast.backend_tokenizer.encode(text).ids == own.encode(text)
        pair = fast.backend_tokenizer.encode("a film", "dull")
        assert pair.ids == [*own.encode("a film"), own.end_id, *own.encode("dull")]
        assert pair.type_ids == [0] * (len(own.encode("a film")) + 1) + [1] * len(own.encode("dull"))
        assert fast.pad_token_id == fast.eos_token_id == own.end_id


def test_a_tokenizer_that_differs_is_refused(runs, monkeypatch):
    from heed.text.tokenizers.bpe import Bpe

    right = Bpe.encode
    monkeypatch.setattr(Bpe, "encode", lambda self, text: [*right(self, text), 0])
    with pytest.raises(DataError, match="gives other ids in the library tokenizers"):
        load(runs["gpt"])
