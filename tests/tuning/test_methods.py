"""What each method trains: as many numbers as its formula says, gradients there and nowhere else, and no padding."""

import itertools
import math

import pytest
import torch
from tiny_encoders import CONFIGS, HEADS, HOMEWORK, INNER, LAYERS, POSITIONS, D, load_tiny, numbered_classes, texts

from heed.config.tuning import EncoderConfig, MethodConfig
from heed.errors import ConfigError
from heed.tuning.methods import METHODS, apply, is_native, parts
from heed.tuning.methods.virtual import Virtual
from heed.tuning.model import Tuned, count

TARGET = torch.tensor([0, 1, 0, 1])
ADAPTERS = ("prompt", "prefix", "lora", "dora", "ia3")
NO_PREFIX = ("distilbert-base-uncased", "deberta-v2", "modernbert", "mpnet", "albert", "ultrabert")
P, R = 5, 2
"""Trained tokens and rank in these tests."""


QUICK = ("distilbert-base-uncased", "bert-base-uncased", "roberta-base", "deberta-v2", "modernbert", "gpt2", "electra")
"""One of each class; the others are the same classes in other sizes, and go with the slow tests."""


def each(names, methods):
    """Every method on every encoder, for the quick tests and the slow ones."""
    return [
        pytest.param(name, method, marks=() if name in QUICK else pytest.mark.slow)
        for name, method in itertools.product(names, methods)
    ]


def make(place, method, *, native=False, classes=2, seed=0, **options):
    torch.manual_seed(seed)
    encoder = load_tiny(place, native=native, classes=classes)
    tuned = Tuned(encoder, numbered_classes(classes))
    options = {"tokens": P, "rank": R} | options
    return tuned, encoder, apply(tuned, MethodConfig(name=method, **options), 16)


def disturb(tuned):
    """Move what is trained, so that an adapter is not the nothing that it begins as."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in tuned.trained().values():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)


def widths(name):
    large = "large" in name
    return (24, 3) if large else (D, LAYERS)


def by_hand(name, method):
    """The trained numbers beside the head, from the architecture's drawing."""
    d, layers = widths(name)
    embedded = 8 if name in ("electra", "albert") else d
    blocks = 1 if name == "albert" else layers  # ALBERT's layers share their weights
    fused = name in ("gpt2", "modernbert")
    matrices = [(d, 3 * d)] if fused else [(d, d), (d, d)]
    inner = {"gpt2": 4 * D, "albert": INNER}.get(name, INNER)
    return {
        "prompt": P * embedded,
        "prefix": 2 * layers * P * d,
        "lora": blocks * sum(R * (i + o) for i, o in matrices),
        "dora": blocks * sum(R * (i + o) + o for i, o in matrices),
        "ia3": blocks * (sum(o for _, o in matrices) + inner),
    }[method]


@pytest.mark.parametrize(("name", "method"), each(CONFIGS, ADAPTERS))
def test_trained_numbers_and_gradients(tiny, name, method):
    if method == "prefix" and name in NO_PREFIX:
        with pytest.raises(ConfigError, match=r"method prefix: the [\w-]+ of transformers takes no keys and values"):
            make(tiny(name), method)
        return
    tuned, encoder, learn = make(tiny(name), method)
    d, _ = widths(name)
    assert learn == by_hand(name, method) + 2 * d + 2
    disturb(tuned)  # lora's B begins at 0, and then nothing reaches A
    tuned.loss(texts(encoder), TARGET).backward()
    for label, parameter in tuned.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, label
        else:
            assert parameter.grad is not None, label
            assert bool(parameter.grad.any()), label


@pytest.mark.parametrize("method", METHODS)
def test_three_steps_leave_the_frozen_as_it_was(tiny, method):
    tuned, encoder, _ = make(tiny("bert-base-uncased"), method)
    before = {name: parameter.detach().clone() for name, parameter in tuned.named_parameters()}
    learner = torch.optim.AdamW(tuned.trained().values(), lr=1e-2)
    tuned.train()
    for _ in range(3):
        learner.zero_grad()
        tuned.loss(texts(encoder), TARGET).backward()
        learner.step()
    for name, parameter in tuned.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


@pytest.mark.parametrize("name", HOMEWORK)
def test_the_homework_encoders_learn_in_full_under_their_own_heads(tiny, name):
    tuned, encoder, learn = make(tiny(name), "full", native=True)
    assert learn == encoder.shape.parameters == count(tuned.parameters())
    tuned.loss(texts(encoder), TARGET).backward()
    assert all(parameter.grad is not None for parameter in tuned.parameters())


@pytest.mark.parametrize("method", ["prompt", "prefix", "lora", "ia3", "bitfit", "lora+bitfit"])
@pytest.mark.parametrize("name", ["bert-base-uncased", "roberta-base", "gpt2"])
def test_own_heads_learn_beside_adapters(tiny, name, method):
    if (name, method) == ("gpt2", "prompt"):
        with pytest.raises(ConfigError, match=r"the head of a gpt2 finds the last token by its id"):
            make(tiny(name), method, native=True)
        return
    tuned, encoder, learn = make(tiny(name), method, native=True, classes=3)
    heads = tuned.head_parameters()
    assert 0 < count(heads) < learn
    tuned.loss(texts(encoder), TARGET).backward()
    assert all(head.grad is not None for head in heads)
    assert {id(head) for head in heads} <= {id(parameter) for parameter in tuned.trained().values()}


@pytest.mark.parametrize("method", ["prompt", "prefix", "lora"])
def test_padding_has_no_say(tiny, method):
    """The states of a text are those that it has alone and without padding; 1e-5 is float32 over other row lengths."""
    for name in ("bert-base-uncased", "roberta-base", "gpt2"):
        tuned, encoder, _ = make(tiny(name), method)
        disturb(tuned)
        tuned.eval()
        source = texts(encoder)
        with torch.no_grad():
            together = tuned(source)
            for row in range(1, len(source)):
                alone = source[row : row + 1, :, : int((source[row, 1] > 0).sum())]
                torch.testing.assert_close(tuned(alone)[0], together[row], atol=1e-5, rtol=0)
            source[:, 0][source[:, 1] == 0] = 7  # another token in the place of padding, which RoBERTa counts as one
            if name != "roberta-base":
                torch.testing.assert_close(tuned(source), together, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["bert-base-uncased", "roberta-base", "electra", "gpt2"])
def test_a_prefix_is_read_by_every_layer(tiny, name):
    """Each layer's keys and values move the states, and the loss has a gradient for each of them."""
    tuned, encoder, _ = make(tiny(name), "prefix")
    tuned.eval()
    source = texts(encoder)
    plain = Tuned(load_tiny(tiny(name)), numbered_classes(2)).eval()
    weight = tuned.backbone.peft.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        read = tuned.hidden(source)
        assert (read - plain.hidden(source)).abs().max() > 1e-3
    tuned.loss(source, TARGET).backward()
    parts_of = weight.grad.view(P, LAYERS, 2, HEADS, D // HEADS)
    for layer in range(LAYERS):
        for kind in range(2):  # keys, values
            assert bool(parts_of[:, layer, kind].any(dim=-1).all()), (layer, kind)
            with torch.no_grad():
                kept = weight.clone()
                weight.view(P, LAYERS, 2, -1)[:, layer, kind] += 1.0 * torch.arange(D).cos()
                assert (tuned.hidden(source) - read).abs().max() > 1e-4, (layer, kind)
                weight.copy_(kept)


def test_a_prefix_begins_as_what_the_encoder_makes_of_tokens(tiny):
    """A text behind the prefix of P drawn tokens is the end of one text, where no token sees what follows: GPT-2."""
    tuned, encoder, _ = make(tiny("gpt2"), "prefix", seed=4)
    torch.manual_seed(4)
    plain = Tuned(load_tiny(tiny("gpt2")), numbered_classes(2)).eval()
    drawn = torch.randint(plain.backbone.get_input_embeddings().weight.shape[0], (1, P))
    text = texts(encoder, rows=1)
    whole = torch.cat([torch.stack([drawn, torch.ones_like(drawn)], dim=1), text], dim=2)
    with torch.no_grad():
        torch.testing.assert_close(tuned.eval().hidden(text), plain.hidden(whole)[:, P:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["bert-base-uncased", "roberta-base", "distilbert-base-uncased", "deberta-v2"])
def test_a_prompt_of_a_texts_own_embeddings_is_that_text(tiny, name):
    """With the embeddings of tokens as prompt, the states are those of the tokens before the text: mask, positions."""
    tuned, encoder, _ = make(tiny(name), "prompt")
    plain = Tuned(load_tiny(tiny(name)), numbered_classes(2)).eval()
    text = texts(encoder, padded=True)
    drawn = torch.arange(6, 6 + P).expand(len(text), P)
    whole = torch.cat([torch.stack([drawn, torch.ones_like(drawn)], dim=1), text], dim=2)
    weight = tuned.backbone.peft.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        weight.copy_(plain.backbone.get_input_embeddings().weight[6 : 6 + P])
        found, wanted = tuned.eval().hidden(text), plain.hidden(whole)[:, P:]
        real = text[:, 1] > 0
        torch.testing.assert_close(found[real], wanted[real], atol=1e-5, rtol=0)
        assert found.shape == (len(text), text.shape[2], D)


def test_a_prompt_begins_as_embeddings_of_the_vocabulary(tiny):
    tuned, encoder, _ = make(tiny("bert-base-uncased"), "prompt")
    table = tuned.backbone.get_base_model().get_input_embeddings().weight
    prompt = tuned.backbone.peft.prompt_encoder["default"].embedding.weight
    assert (prompt[:, None] == table).all(dim=-1).any(dim=-1).all()
    assert isinstance(tuned.backbone, Virtual)
    assert tuned.skipped == P
    assert tuned.features(texts(encoder)).shape == (4, D)


@pytest.mark.parametrize("name", ["bert-base-uncased", "roberta-base"])
@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_trained_tokens_need_positions(tiny, name, method):
    torch.manual_seed(0)
    tuned = Tuned(load_tiny(tiny(name)), numbered_classes(2))
    options = MethodConfig(name=method, tokens=POSITIONS - 15)
    with pytest.raises(
        ConfigError, match=rf"need {POSITIONS + 1} positions.*has {POSITIONS}: method.tokens: 48 or enc"
    ):
        apply(tuned, options, 16)
    tuned = Tuned(load_tiny(tiny(name)), numbered_classes(2))
    apply(tuned, options, 15)  # exactly as many as there are
    assert tuned.hidden(texts(load_tiny(tiny(name)), rows=1, length=15)).shape == (1, 15, D)


@pytest.mark.parametrize("method", [*ADAPTERS, "bitfit", "mean-full"])
def test_the_same_seed_gives_the_same_model(tiny, method):
    first, encoder, _ = make(tiny("bert-base-uncased"), method, seed=3)
    second, _, _ = make(tiny("bert-base-uncased"), method, seed=3)
    other, _, _ = make(tiny("bert-base-uncased"), method, seed=4)
    for (name, one), two in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two), name
    assert any(not torch.equal(one, two) for one, two in zip(first.parameters(), other.parameters(), strict=True))
    first.eval()
    source = texts(encoder)
    assert torch.equal(first(source), first(source))


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_adapters_of_matrices_begin_as_nothing(tiny, method):
    tuned, encoder, _ = make(tiny("bert-base-uncased"), method)
    plain = Tuned(load_tiny(tiny("bert-base-uncased")), numbered_classes(2)).eval()
    source = texts(encoder)
    with torch.no_grad():
        torch.testing.assert_close(tuned.eval().hidden(source), plain.hidden(source), atol=1e-6, rtol=0)


def test_a_lora_by_hand(tiny):
    """The states are those of the encoder whose matrices are W + alpha / rank B A."""
    tuned, encoder, _ = make(tiny("bert-base-uncased"), "lora", alpha=6.0)
    disturb(tuned)
    plain = Tuned(load_tiny(tiny("bert-base-uncased")), numbered_classes(2)).eval()
    with torch.no_grad():
        for name, module in tuned.backbone.get_base_model().named_modules():
            if hasattr(module, "lora_A"):
                update = module.lora_B["default"].weight @ module.lora_A["default"].weight
                plain.backbone.get_submodule(name).weight += 6.0 / R * update
        source = texts(encoder)
        torch.testing.assert_close(tuned.eval().hidden(source), plain.hidden(source), atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_a_target_that_matches_nothing_names_those_there_are(tiny, method):
    with pytest.raises(ConfigError, match=r"'q_proj' matches no linear map.*there are dense, key, query, value$"):
        make(tiny("bert-base-uncased"), method, targets=("query", "q_proj"))
    with pytest.raises(ConfigError, match="none are given"):
        make(tiny("bert-base-uncased"), method, targets=())
    with pytest.raises(ConfigError, match="'word_embeddings' matches no linear map"):
        make(tiny("bert-base-uncased"), method, targets=("word_embeddings",))


def test_targets_are_chosen(tiny):
    _, _, learn = make(tiny("bert-base-uncased"), "lora", targets=("dense",))
    maps = [(D, D), (D, INNER), (INNER, D)]
    assert learn == LAYERS * R * sum(i + o for i, o in maps) + 2 * D + 2
    _, _, learn = make(tiny("bert-base-uncased"), "ia3", targets=("key", "output.dense"))
    assert learn == LAYERS * (D + D + INNER) + 2 * D + 2  # attention.output.dense by its outputs
    tuned, _, _ = make(tiny("roberta-base"), "lora", targets=("dense",), native=True)
    adapted = [name for name, module in tuned.backbone.named_modules() if hasattr(module, "lora_A")]
    assert len(adapted) == 3 * LAYERS  # and not the head's own dense
    assert not any("classifier" in name for name in adapted)


def test_an_architecture_that_nobody_knows_asks_for_targets(tiny, monkeypatch):
    monkeypatch.setattr("heed.tuning.methods.lora.QUERIES_VALUES", (("wq", "wv"),))
    with pytest.raises(
        ConfigError, match=r"of type bert has none of the names.*choose method.targets among dense, key"
    ):
        make(tiny("bert-base-uncased"), "lora")


@pytest.mark.parametrize("name", ["lora+bitfit", "bitfit+lora", "prompt+bitfit", "lora+head", "ia3+bitfit"])
def test_what_goes_together(tiny, name):
    sizes = {part: make(tiny("bert-base-uncased"), part)[2] for part in name.split("+")}
    head = 2 * D + 2
    tuned, encoder, learn = make(tiny("bert-base-uncased"), name)
    assert learn == sum(size - head for size in sizes.values()) + head
    disturb(tuned)
    tuned.loss(texts(encoder), TARGET).backward()
    assert all(parameter.grad is not None for parameter in tuned.trained().values())


def test_what_does_not_go_together():
    with pytest.raises(ConfigError, match=r"peft keeps one adapter of an encoder, not prompt and lora: choose one"):
        parts("prompt+lora")
    with pytest.raises(ConfigError, match=r"with full everything learns already: leave the rest of full\+lora out"):
        parts("full+lora")
    with pytest.raises(ConfigError, match="twice"):
        parts("lora+lora")
    with pytest.raises(ConfigError, match="did you mean 'lora'"):
        parts("lore")


def test_pooling_of_each_method():
    assert is_native(EncoderConfig(), "full")
    assert not is_native(EncoderConfig(), "lora")
    assert is_native(EncoderConfig(pooling="native"), "lora")
    with pytest.raises(ConfigError, match="leave native out"):
        is_native(EncoderConfig(pooling="native"), "head")


def test_bitfit_needs_biases(tiny):
    with pytest.raises(ConfigError, match="an encoder of type modernbert has no biases: take lora"):
        make(tiny("modernbert"), "bitfit")


def test_a_count_that_differs_is_an_error(tiny, monkeypatch):
    monkeypatch.setattr(METHODS["prompt"], "expected", lambda self, tuned, options: 7)
    with pytest.raises(
        ConfigError, match=rf"{P * D + 2 * D + 2} parameters would learn and the formula says {7 + 2 * D + 2}"
    ):
        make(tiny("bert-base-uncased"), "prompt")


def test_every_method_says_what_it_is():
    for name, kind in METHODS.items():
        assert kind.name == name
        assert kind.summary
        assert kind.formula
        assert all(a < b for a, b in zip(kind.rates, kind.rates[1:], strict=False))
        assert all(math.isfinite(rate) for rate in kind.rates)


def test_the_first_method_of_a_fresh_peft_says_nothing(tiny, recwarn):
    make(tiny("bert-base-uncased"), "lora")
    assert not [warning for warning in recwarn if "peft" in str(warning.filename)]
