"""Weights that are read off a mechanism are those of its equation, written as a loop, and make what the layer made."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from explore.small_subjects import CHANNELS, TEXT, Squares, subject_of
from heed.attention import MECHANISMS, Shape, make_mask
from heed.config import make_config
from heed.errors import ConfigError
from heed.explore.mixing import MixerCall, read_weights
from heed.explore.own_model import OwnModel
from heed.models import GPT, MODELS
from heed.text.tokenizers import train_tokenizer

EFFECTIVE = {"linear", "performer", "linformer"}
NEVER_CAUSAL = {"linformer", "fastformer"}


def by_loop(q, k, causal):
    """softmax(q k^T / sqrt(K)) of one head, q and k (T, K), number by number."""
    T, K = q.shape
    a = np.zeros((T, T))
    for t in range(T):
        keys = range(t + 1) if causal else range(T)
        scores = [sum(q[t, i] * k[s, i] for i in range(K)) / math.sqrt(K) for s in keys]
        top = max(scores)
        total = sum(math.exp(x - top) for x in scores)
        for s, x in zip(keys, scores, strict=True):
            a[t, s] = math.exp(x - top) / total
    return a


@pytest.mark.parametrize("kind", ["gpt", "encoder"])
def test_softmax_is_the_plain_loop(kind):
    subject = subject_of(kind)
    ids = subject.encode(TEXT[:19])
    x = subject.trace(ids).residuals[1][None]  # what the second block reads
    block = subject.blocks[1]
    with torch.no_grad():
        q, k, _ = block.attention.project(block.attention_norm(x))
    weights = subject.trace(ids).layers[1]
    for h in range(2):
        loop = by_loop(q[0, h].numpy(), k[0, h].numpy(), kind == "gpt")
        np.testing.assert_allclose(weights.weights[h], loop, atol=2e-6)
    assert weights.reading == "weights"


@pytest.mark.parametrize("name", sorted(MECHANISMS))
@pytest.mark.parametrize("kind", ["gpt", "encoder"])
def test_every_mechanism_is_read_or_said_not_to_mix(name, kind):
    if kind == "gpt" and name in NEVER_CAUSAL:
        pytest.skip("for encoders only")
    options = {"options": {"window": 4}} if name in ("sliding-window", "aft-local") else {}
    if name == "bigbird":
        options = {"options": {"block": 4, "window_blocks": 1, "random_blocks": 1, "global_blocks": 1}}
    subject = subject_of(kind, mechanism=name, **options)
    for layer in subject.trace(subject.encode(TEXT)).layers:
        assert layer.error < 1e-5
        reading = "effective" if name in EFFECTIVE else "channels" if name in CHANNELS else "weights"
        assert layer.reading == ("pooled" if name == "fastformer" else reading)
        assert (layer.gate is not None) == (name in CHANNELS)
        assert not layer.weights[~np.broadcast_to(layer.allowed, layer.weights.shape)].any() or name == "linformer"
        if name not in ("naive-mask", "linformer"):
            np.testing.assert_allclose(layer.weights.sum(-1), 1.0, atol=1e-4)


def test_the_gate_of_aft_is_the_mean_of_the_sigmoid():
    subject = subject_of(mechanism="aft-full")
    trace = subject.trace(subject.encode(TEXT))
    block = subject.blocks[0]
    with torch.no_grad():
        q, _, _ = block.attention.project(block.attention_norm(trace.residuals[0][None]))
    np.testing.assert_allclose(trace.layers[0].gate, torch.sigmoid(q[0]).mean(-1).numpy(), atol=1e-5)


def test_the_map_of_fastformer_is_its_equation():
    """beta, number by number: softmax over positions of w_k . (qbar * k_i) / sqrt(K), the same for every row."""
    subject = subject_of("encoder", mechanism="fastformer")
    trace = subject.trace(subject.encode(TEXT))
    block, mechanism = subject.blocks[1], subject.mechanisms[1]
    with torch.no_grad():
        q, k, _ = block.attention.project(block.attention_norm(trace.residuals[1][None]))
    for h in range(2):
        Q, K, root = q[0, h].numpy(), k[0, h].numpy(), math.sqrt(q.shape[-1])
        alpha = np.array([math.exp(w) for w in Q @ mechanism.w_q[h].detach().numpy() / root])
        query = (alpha / alpha.sum()) @ Q
        beta = np.array([math.exp(w) for w in (K * query) @ mechanism.w_k[h].detach().numpy() / root])
        for row in trace.layers[1].weights[h]:
            np.testing.assert_allclose(row, beta / beta.sum(), rtol=1e-4)


def test_what_a_query_may_look_at_is_what_it_looks_at():
    """Softmax weights are never exactly 0 here, so that the map shows who may be looked at."""
    bigbird = {"block": 4, "window_blocks": 1, "random_blocks": 1, "global_blocks": 1}
    for name, options in (("sliding-window", {"window": 4}), ("bigbird", bigbird)):
        for kind in ("gpt", "encoder"):
            subject = subject_of(kind, mechanism=name, options=options)
            layer = subject.trace(subject.encode(TEXT)).layers[0]
            assert (np.broadcast_to(layer.allowed, layer.weights.shape) == (layer.weights > 0)).all(), (name, kind)
            assert not layer.allowed.all()


def test_grouped_heads_share_keys():
    torch.manual_seed(0)
    config = make_config({"model": {"n_layers": 1, "n_heads": 4, "n_kv_heads": 2, "d_model": 16, "context": 32}}).model
    tokenizer = train_tokenizer("char", [TEXT], 100)
    subject = OwnModel("g", "g", GPT(config, tokenizer.vocab_size), tokenizer)
    [layer] = subject.trace(subject.encode(TEXT[:21])).layers
    assert layer.weights.shape == (4, 21, 21)
    assert layer.error < 1e-5


def test_what_is_no_mean_of_values_is_found_out():
    mechanism = Squares(Shape(8, 2, 16, causal=False))
    q, k, v = torch.randn(3, 1, 2, 5, 4).unbind(0)
    mask = make_mask(5)
    call = MixerCall(q, k, v, mask, None, mechanism(q, k, v, mask))
    assert read_weights(mechanism, call).reading == "none"


def test_a_model_without_attention_is_refused():
    tokenizer = train_tokenizer("char", [TEXT], 100)
    for kind in ("lstm", "window"):
        layers = {"n_layers": 1} if kind == "lstm" else {}
        config = make_config({"model": {"kind": kind, "d_model": 16, "context": 16} | layers}).model
        model: nn.Module = MODELS[kind](config, tokenizer.vocab_size)
        with pytest.raises(ConfigError, match=f"model.kind {kind}, which has no attention"):
            OwnModel("runs/x", "runs/x", model, tokenizer)
