"""The GPT: its numbers, its initial weights, causality, padding and the cache."""

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from heed.build import build_model
from heed.config import PRESETS, AttentionConfig, ModelConfig
from heed.errors import ConfigError
from heed.models import GPT, count_parameters

SMALL = {"n_layers": 2, "n_heads": 4, "d_model": 16, "context": 12}
VARIANTS = {
    "gpt2": {},
    "gpt1": {"norm_order": "post", "activation": "gelu-tanh"},
    "llama": {"norm": "rms", "positions": "rotary", "activation": "swiglu", "bias": False, "tied": False},
    "grouped": {"positions": "rotary", "n_kv_heads": 2, "qk_norm": True, "activation": "relu2"},
    "multi-query without positions": {"positions": "none", "n_kv_heads": 1, "d_hidden": 20, "activation": "relu"},
    "by steps": {"positions": "rotary", "n_kv_heads": 2, "attention": AttentionConfig(path="reference")},
}


def build(variant, seed=3, **more):
    """A small model in float64 whose weights are large enough for every part to matter."""
    config = ModelConfig(**(SMALL | VARIANTS[variant] | {"init_std": 0.4} | more))
    return build_model(config, 13, torch.Generator().manual_seed(seed)).double().eval()


def ids_of(B, T, seed=0):
    return torch.randint(0, 13, (B, T), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_count_equals_its_formula(variant):
    model = build(variant)
    assert model.parameter_count() == count_parameters(model.config, 13)


def test_known_parameter_counts():
    layer = GPT(ModelConfig(n_layers=1, n_heads=12, d_model=768, context=8), 8).blocks[0].attention
    assert sum(p.numel() for p in layer.parameters()) == 4 * 768 * (768 + 1) == 2_362_368
    assert count_parameters(ModelConfig(**PRESETS["gpt2"]), 50_257) == 124_439_808
    assert count_parameters(ModelConfig(**PRESETS["gpt1"]), 40_478) == 116_534_784  # OpenAIGPTModel of transformers
    block = 12 * 768 * 768 + 13 * 768  # IFT6135's mini-GPT1: one of GPT-1's, and positions for 256 tokens
    assert count_parameters(ModelConfig(**PRESETS["mini-gpt1"]), 40_479) == (40_479 + 256) * 768 + block


@pytest.mark.parametrize("variant", ["gpt2", "llama", "by steps"])
def test_flops_equal_what_torch_counts(variant):
    model = build(variant, attention=AttentionConfig(path="reference"))
    ids = ids_of(3, 12)
    with FlopCounterMode(display=False) as counter:
        model(ids).sum().backward()
    assert counter.get_total_flops() == 3 * 12 * model.flops_per_token()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_past_does_not_depend_on_the_future(variant):
    model, ids = build(variant), ids_of(2, 12)
    before = model(ids)
    for t in (1, 5, 11):
        moved = ids.clone()
        moved[:, t:] = (moved[:, t:] + 1) % 13
        after = model(moved)
        assert torch.equal(after[:, :t], before[:, :t])
        assert (after[:, t] != before[:, t]).any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_of_a_batch_are_independent(variant):
    model, ids = build(variant), ids_of(3, 9)
    torch.testing.assert_close(model(ids[1:2]), model(ids)[1:2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("variant", VARIANTS)
def test_reading_with_the_cache_equals_reading_at_once(variant, dtype):
    model, ids = build(variant).to(dtype), ids_of(2, 12)
    with torch.no_grad():
        cache = model.new_cache(2, 12)
        parts = [model(ids[:, a:b], cache) for a, b in ((0, 5), (5, 8), (8, 9), (9, 10), (10, 12))]
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4  # float32: logits of 10 to 30 have 7 digits
    torch.testing.assert_close(torch.cat(parts, 1), model(ids), rtol=tolerance, atol=tolerance)
    assert cache.used == 12


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_on_the_left_changes_nothing(variant):
    model, ids = build(variant), ids_of(3, 8)
    start = torch.tensor([0, 3, 4])
    with torch.no_grad():
        cache = model.new_cache(3, 12, start)
        # Prompts of 5, 2 and 1 tokens that end together; the filler is token 7, and may not matter.
        prompt = torch.full((3, 5), 7)
        for row, skip in enumerate(start.tolist()):
            prompt[row, skip:] = ids[row, : 5 - skip]
        first = model(prompt[:, :2], cache)
        parts = [first, model(prompt[:, 2:], cache)]
        for step in range(3):
            following = torch.stack([ids[row, 5 - skip + step] for row, skip in enumerate(start.tolist())])
            parts.append(model(following[:, None], cache))
        together = torch.cat(parts, 1)
        for row, skip in enumerate(start.tolist()):
            alone = model(ids[row : row + 1, : 8 - skip])
            torch.testing.assert_close(together[row : row + 1, skip:], alone, rtol=1e-12, atol=1e-12)
    assert together.isfinite().all()


def test_a_sequence_beyond_the_context_or_the_cache_is_refused():
    model = build("gpt2")
    with pytest.raises(ConfigError, match="13 tokens is longer than the model's context of 12"):
        model(ids_of(1, 13))
    cache = model.new_cache(1, 4)
    model(ids_of(1, 3), cache)
    with pytest.raises(ConfigError, match="holds 3 of 4 tokens, and 2 more"):
        model(ids_of(1, 2), cache)


def test_unknown_parts_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'softmax'"):
        build_model(ModelConfig(attention=AttentionConfig(mechanism="sofmax")), 13)


def test_initial_weights_come_from_the_generator_alone():
    torch.manual_seed(1)
    one = build("gpt2", seed=5).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = build("gpt2", seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), state)  # and nothing is drawn from torch's own
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = build("gpt2", seed=6).state_dict()
    assert not torch.equal(one["tokens.weight"], other["tokens.weight"])


def test_initial_spread_is_that_of_gpt2():
    model = GPT(ModelConfig(n_layers=8, d_model=256, context=64), 300)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert (parameter == (0 if name.endswith("bias") else 1)).all(), name
        else:
            residual = name.endswith(("out.weight", "down.weight"))
            assert parameter.std().item() == pytest.approx(0.02 / math.sqrt(16) if residual else 0.02, rel=0.03), name
    loss = model.loss(torch.randint(0, 300, (2, 64)), torch.randint(0, 300, (2, 64)))
    assert loss.item() == pytest.approx(math.log(300), abs=0.15)  # it starts out knowing nothing


def test_tied_weights_are_one_tensor_saved_once():
    tied, free = build("gpt2"), build("gpt2", tied=False)
    assert "head.weight" not in tied.state_dict()
    assert free.state_dict()["head.weight"].shape == (13, 16)
    tied.loss(ids_of(1, 4), ids_of(1, 4, seed=1)).backward()
    assert (
        tied.tokens.weight.grad.abs().sum(1) > 0
    ).all()  # every token through the head, not just those that were read


def test_post_norm_has_no_last_norm_and_leaves_normalised_states():
    model = build("gpt1")
    assert model.norm is None
    hidden = model.hidden(ids_of(2, 7))
    torch.testing.assert_close(hidden.mean(-1), torch.zeros(2, 7, dtype=torch.float64), rtol=0, atol=1e-12)


def test_dropout_is_honoured_in_training_only():
    model, ids = build("gpt2", dropout=0.3), ids_of(1, 6)
    assert torch.equal(model(ids), model(ids))
    model.train()
    torch.manual_seed(0)
    one = model(ids)
    assert not torch.equal(one, model(ids))
    torch.manual_seed(0)
    assert torch.equal(one, model(ids))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_loss_is_that_of_the_logits(reduction):
    model, source, target = build("llama"), ids_of(2, 5), ids_of(2, 5, seed=1)
    mask = torch.tensor([[True, True, False, True, True], [True, False, False, False, True]])
    losses = torch.nn.functional.cross_entropy(model(source).transpose(1, 2), target, reduction="none") * mask
    expected = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / 6}[reduction]
    torch.testing.assert_close(model.loss(source, target, mask, reduction), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler warns about torch
def test_the_compiled_model_gives_the_same_loss_and_gradients():
    model, source, target = build("grouped"), ids_of(2, 12), ids_of(2, 12, seed=1)
    losses = [model.loss(source, target), torch.compile(model.loss, fullgraph=True)(source, target)]
    torch.testing.assert_close(losses[1], losses[0])
    ours, compiled = (torch.autograd.grad(loss, list(model.parameters())) for loss in losses)
    for mine, other in zip(ours, compiled, strict=True):
        torch.testing.assert_close(mine, other)
