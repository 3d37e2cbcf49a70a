"""Projections: what shares a matrix, what goes through a GELU, how many parameters that makes, and the cache."""

import pytest
import torch
import torch.nn.functional as F

from heed.attention import PROJECTIONS, Attention
from heed.config import AttentionConfig, ModelConfig
from heed.errors import ConfigError
from heed.models import GPT, count_parameters

D, H = 12, 3
MATRICES = {
    "separate": 3, "shared-qk": 2, "shared-kv": 2, "shared-qkv": 1, "network": 4, "networks": 6, "nonlinear-q": 3,
    "nonlinear-k": 3, "nonlinear-v": 3,
}  # fmt: skip


def layer(projection, **settings):
    made = Attention(D, H, projection=projection, **settings).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=generator)
    return made


def heads(x, n):
    return x.view(2, 5, n, 4).transpose(1, 2)


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_queries_keys_and_values_by_their_equations(projection):
    made, x = layer(projection), torch.randn(2, 5, D, dtype=torch.float64)
    q, k, v = made.project(x)
    read = {"q": x, "k": x, "v": x}
    if projection == "network":
        read = dict.fromkeys("qkv", F.gelu(x @ made.hidden.weight.T + made.hidden.bias))
    if projection == "networks":  # a network for each, as torch would be asked for it
        layers = zip("qkv", made.hidden.weight.split(D), made.hidden.bias.split(D), strict=True)
        for part, weight, bias in layers:
            network = torch.nn.Sequential(torch.nn.Linear(D, D), torch.nn.GELU()).double()
            network[0].load_state_dict({"weight": weight, "bias": bias})
            read[part] = network(x)
    rows = list(zip(made.qkv.weight.split(D), made.qkv.bias.split(D), strict=True))
    which = {"shared-qk": (0, 0, 1), "shared-kv": (0, 1, 1), "shared-qkv": (0, 0, 0)}.get(projection, (0, 1, 2))
    for part, ours, i in zip("qkv", (q, k, v), which, strict=True):
        weight, bias = rows[i]
        expected = heads(read[part] @ weight.T + bias, H)
        if projection == f"nonlinear-{part}":
            expected = F.gelu(expected)
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("projection", PROJECTIONS)
def test_parameters_are_counted_by_hand_and_by_the_formula(projection, bias):
    made = Attention(D, H, projection=projection, bias=bias)
    matrices = MATRICES[projection] + 1  # and the output
    assert sum(p.numel() for p in made.parameters()) == matrices * D * (D + bias)
    for kv in (None, 1):
        if kv and projection in ("shared-qk", "shared-qkv"):
            continue
        for score, mechanism in (("scaled-dot", "softmax"), ("additive", "softmax"), ("cosine", "argmax")):
            attention = AttentionConfig(projection=projection, score=score, mechanism=mechanism)
            config = ModelConfig(
                n_layers=2, n_heads=H, n_kv_heads=kv, d_model=D, context=8, bias=bias, attention=attention
            )
            assert GPT(config, 11).parameter_count() == count_parameters(config, 11)


def test_keys_that_share_their_matrix_with_values_may_be_grouped():
    made = layer("shared-kv", n_kv_heads=1)
    assert made.qkv.weight.shape == (D + 4, D)
    q, k, v = made.project(torch.randn(2, 5, D, dtype=torch.float64))
    assert q.shape == (2, 3, 5, 4)
    assert torch.equal(k, v)
    assert k.shape == (2, 1, 5, 4)


def test_a_network_for_each_shares_nothing():
    made, x = layer("networks"), torch.randn(2, 5, D, dtype=torch.float64)
    before = made.project(x)
    with torch.no_grad():
        made.hidden.weight[D : 2 * D].add_(0.1)  # the hidden layer of the keys
    after = made.project(x)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_one_network_for_all_is_what_it_was():
    # recorded before there were networks for each: a run of then gives its bits
    made, x = layer("network"), torch.linspace(-1, 1, 2 * 5 * D, dtype=torch.float64).view(2, 5, D)
    q, k, v = made.project(x)
    sums = [part.sum().item() for part in (q, k, v)]
    assert sums == pytest.approx([101.31414732028347, -14.592671065093002, -61.09449234633393], rel=1e-12)


def test_grouped_keys_and_inputs_that_are_not_read_have_networks_of_their_size():
    made = layer("networks", n_kv_heads=1)
    assert (made.hidden.weight.shape, made.qkv.weight.shape) == ((3 * D, D), (D + 4 + 4, D))
    assert [tuple(part.shape) for part in made.project(torch.randn(2, 5, D, dtype=torch.float64))] == [
        (2, 3, 5, 4), (2, 1, 5, 4), (2, 1, 5, 4),
    ]  # fmt: skip
    attention = AttentionConfig(projection="networks", mechanism="synthesizer-random")  # which reads values alone
    config = ModelConfig(n_layers=1, n_heads=H, d_model=D, context=8, attention=attention)
    model = GPT(config, 11)
    assert model.blocks[0].attention.hidden.weight.shape == (D, D)
    assert model.parameter_count() == count_parameters(config, 11)


@pytest.mark.parametrize("projection", ["shared-qk", "shared-qkv"])
def test_as_many_keys_as_queries_refuse_groups_in_one_line(projection):
    with pytest.raises(ConfigError, match=f"'{projection}' makes as many keys as queries: leave n_kv_heads out"):
        Attention(D, H, n_kv_heads=1, projection=projection)


def test_unknown_projections_are_refused_with_the_nearest():
    config = ModelConfig(n_heads=H, d_model=D, attention=AttentionConfig(projection="shared-vk"))
    with pytest.raises(ConfigError, match=r"model\.attention\.projection: unknown value 'shared-vk', did you mean"):
        GPT(config, 11)


@pytest.mark.parametrize("positions", ["learned", "rotary", "relative"])
@pytest.mark.parametrize("projection", PROJECTIONS)
def test_every_projection_learns_is_causal_and_decodes_with_its_cache(projection, positions):
    attention = AttentionConfig(projection=projection)
    config = ModelConfig(
        n_layers=2, n_heads=H, d_model=D, context=12, positions=positions, attention=attention, init_std=0.4
    )
    model = GPT(config, 11, torch.Generator().manual_seed(1)).double()
    ids = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(2))
    model.loss(ids[:, :-1], ids[:, 1:]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name
    model.eval()
    start = torch.tensor([0, 3])
    with torch.no_grad():
        cache = model.new_cache(2, 12, start)
        together = torch.cat([model(ids[:, a:b], cache) for a, b in ((0, 5), (5, 6), (6, 9), (9, 12))], 1)
        for row, skip in enumerate(start.tolist()):
            alone = model(ids[row : row + 1, skip:])
            torch.testing.assert_close(together[row : row + 1, skip:], alone, rtol=1e-9, atol=1e-9)
