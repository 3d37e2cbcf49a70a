"""The fixed-window model: a loop as judge, and what it can and cannot see."""

import pytest
import torch

from heed.build import build_model
from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.models.causality.training import audit_model

V = 13


def build(**more):
    """A small model in float64, in evaluation mode."""
    config = ModelConfig(**({"kind": "window", "window": 3, "d_model": 6, "context": 12, "init_std": 0.8} | more))
    return build_model(config, V, torch.Generator().manual_seed(3)).double().eval()


def ids_of(B, T, seed=0):
    return torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("more", [{}, {"tied": False, "d_hidden": 9}, {"window": 1}, {"window": 20}, {"bias": False}])
def test_it_equals_a_loop(more):
    model, ids = build(**more), ids_of(2, 8)
    n = model.config.window
    for row in range(2):
        for t in range(8):
            seen = [model.tokens.weight[ids[row, s]] if s >= 0 else model.before for s in range(t - n + 1, t + 1)]
            h = model.up.weight @ torch.cat(seen)
            h = torch.tanh(h if model.up.bias is None else h + model.up.bias)
            logits = model.head_weight @ h
            logits = logits if model.bias is None else logits + model.bias
            torch.testing.assert_close(model(ids)[row, t], logits, rtol=1e-12, atol=1e-12)


def test_it_sees_its_window_and_no_more():
    model, ids = build(), ids_of(1, 8)
    before = model(ids)
    moved = ids.clone()
    moved[0, 3] = (ids[0, 3] + 1) % V
    changed = (model(moved) != before).any(-1)[0].tolist()
    assert changed == [False, False, False, True, True, True, False, False]


def test_reading_with_the_cache_equals_reading_at_once():
    model, ids = build(), ids_of(2, 12)
    with torch.no_grad():
        cache = model.new_cache(2, 12)
        parts = [model(ids[:, a:b], cache) for a, b in ((0, 1), (1, 6), (6, 8), (8, 12))]
        torch.testing.assert_close(torch.cat(parts, 1), model(ids), rtol=1e-12, atol=1e-12)
        with pytest.raises(ConfigError, match="holds 12 of 12 tokens, and 1 more"):
            model(ids[:, :1], cache)


def test_the_vector_before_the_beginning_learns():
    model, ids = build().train(), ids_of(2, 8)
    model.loss(ids[:, :7], ids[:, 1:]).backward()
    assert model.before.grad.abs().min() > 0


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn", "linear-rnn", "window"])
def test_the_audit_finds_no_leak(kind):
    more = {} if kind == "window" else {"n_layers": 2, "recurrent": {"weight_drop": 0.3, "output_dropout": 0.2}}
    config = ModelConfig.model_validate({"kind": kind, "d_model": 16, "context": 80, **more})
    model = build_model(config, V)
    assert audit_model(model, config).causal is True


def test_parameters_and_flops_by_hand():
    model = build(tied=False, d_hidden=9)
    assert model.parameter_count() == V * 6 + 6 + (3 * 6 + 1) * 9 + 9 * V + V
    assert model.flops_per_token() == 6 * (3 * 6 * 9 + 9 * V)
