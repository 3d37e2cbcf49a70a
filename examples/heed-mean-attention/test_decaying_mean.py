"""The mechanism keeps every contract of heed, and a model of it does not see the future."""

import math

import torch
from heed_mean_attention import DecayingMean

from heed.attention.contracts import check_mechanism
from heed.build import build_model
from heed.config import ModelConfig
from heed.testing import assert_causal


def loop(mechanism, q, k, v, allowed):
    """The equation, a number at a time: v (H, S, K) of one row, allowed T x S."""
    heads = []
    for h, log_rate in enumerate(mechanism.log_rate):
        rows = []
        for t, seen in enumerate(allowed):
            weights = [torch.exp(-log_rate.exp() * abs(t - s)) * may for s, may in enumerate(seen)]
            total = sum(w * x for w, x in zip(weights, v[h], strict=True))
            rows.append(total / sum(weights) if any(seen) else torch.zeros_like(v[h, 0]))
        heads.append(torch.stack(rows))
    return torch.stack(heads)


def test_every_contract_holds():
    findings = check_mechanism(DecayingMean, "decaying-mean", reference=loop, options={"half_life": 0.3})
    assert [finding for finding in findings if not finding.ok] == []


def test_the_weight_halves_after_the_half_life():
    model = build_model(ModelConfig(attention={"mechanism": "heed_mean_attention:DecayingMean"}), 50)
    rate = model.blocks[0].attention.mechanism.log_rate.exp()
    torch.testing.assert_close(rate, math.log(2) / torch.tensor([1.0, 4.0, 16.0, 64.0]))


def test_a_model_of_it_is_causal():
    model = build_model(ModelConfig(attention={"mechanism": "heed_mean_attention:DecayingMean"}), 50)
    assert_causal(model, vocab_size=50)
