"""The audit on hundreds of random models, causal and leaking: how often it is wrong, either way."""

import random
from collections import Counter

import pytest
import torch
from torch import nn

from heed.attention import MECHANISMS, POSITIONS, PROJECTIONS
from heed.build import build_model
from heed.config import make_config
from heed.errors import ConfigError
from heed.models.causality import audit
from models import leaking_zoo as zoo
from models.leaking_zoo import V

CAUSAL, LEAKING = 220, 70
LENGTHS = (1, 2, 7, 16, 17, 24)
DRAWS = [zoo.by_torch, zoo.by_numpy, zoo.by_own_numpy, zoo.by_python, zoo.by_new_generator]


def of_heed(choose: random.Random) -> tuple[str, nn.Module] | None:
    """Return a random model of heed's parts, None where they do not go together."""
    exact = [name for name, kind in MECHANISMS.items() if kind.facts.causal == "exact"]
    kind = choose.choice(["gpt"] * 6 + ["lstm", "gru", "rnn", "linear-rnn", "window"])
    values = {
        "n_layers": choose.randint(1, 3),
        "n_heads": choose.choice([1, 2, 4]),
        "d_model": choose.choice([16, 32]),
        "context": choose.choice([9, 16, 24, 33]),
        "dropout": choose.choice([0.0, 0.2]),
        "init_std": choose.choice([0.02, 0.2, 0.5]),
    }
    if kind == "gpt":
        values |= {
            "positions": choose.choice(list(POSITIONS)),
            "norm": choose.choice(["layer", "rms"]),
            "norm_order": choose.choice(["pre", "post"]),
            "qk_norm": choose.random() < 0.2,
            "attention": {"mechanism": choose.choice(exact), "projection": choose.choice(list(PROJECTIONS))},
        }
    else:
        values["kind"] = kind
    try:
        config = make_config({"model": values}).model
        model = build_model(config, V)
    except ConfigError:
        return None
    name = values["attention"]["mechanism"] if kind == "gpt" else kind
    if choose.random() < 0.3:
        return f"{name}, bfloat16", model.bfloat16()
    return name, model


def of_zoo(choose: random.Random) -> tuple[str, object]:
    """Return a random causal model with noise of its own, or one whose arithmetic is fragile."""
    weigh = choose.choice([zoo.correct, zoo.renormalised])
    return choose.choice(
        [
            lambda: ("dropout that stays on", zoo.Restless(weigh, choose.choice([0.05, 0.3, 0.6]))),
            lambda: ("noise", zoo.Shaken(weigh, choose.choice(DRAWS), 10 ** choose.uniform(-3, 0))),
            lambda: ("seldom noise", zoo.Shaken(weigh, zoo.sometimes, choose.uniform(0.1, 2))),
            lambda: ("routed", zoo.Routed(weigh)),
            lambda: ("first come", zoo.Crowded(best=False, places=choose.randint(1, 12))),
            lambda: ("renormalised", zoo.Transformer(zoo.renormalised)),
            lambda: ("stabilised", zoo.PositiveFeatures(stabilised=True)),
            lambda: ("no epsilon", zoo.OverAll(0.0)),
            lambda: ("gradients alone", zoo.StraightThrough()),
            lambda: ("lstm", zoo.Recurrent(both=False)),
        ]
    )()


def leaking(choose: random.Random) -> tuple[str, object]:
    """Return a random model that leaks."""
    weigh = choose.choice([zoo.no_mask, zoo.off_by_one, zoo.after_softmax, zoo.by_blocks])
    return choose.choice(
        [
            lambda: ("mask", zoo.Transformer(weigh)),
            lambda: ("mask, bfloat16", zoo.Transformer(weigh).bfloat16()),
            lambda: ("mask and dropout", zoo.Restless(weigh, choose.choice([0.05, 0.3]))),
            lambda: ("mask and noise", zoo.Shaken(weigh, choose.choice(DRAWS), 10 ** choose.uniform(-3, -1.5))),
            lambda: ("look-ahead", zoo.Ahead(10 ** choose.uniform(-9, 0))),
            lambda: ("bigram", zoo.bigram(choose.randrange(V), choose.randrange(V), distance=choose.randint(0, 1))),
            lambda: ("best of experts", zoo.Crowded(best=True, places=choose.randint(1, 6))),
            lambda: ("epsilon", zoo.OverAll(10 ** choose.uniform(-6, -1))),
            lambda: ("both ways", zoo.Recurrent(both=True)),
            lambda: ("convolution", zoo.Convolution(left=choose.choice([0, 1]))),
            lambda: ("batch", zoo.Normalised()),
            lambda: ("training", zoo.TrainingOnly()),
        ]
    )()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_confusion(capsys):
    choose = random.Random(0)
    table, wrong = Counter(), []

    def judge(name, model, is_causal, seed):
        lengths = [T for T in LENGTHS if getattr(model, "context", 24) >= T]
        verdict = audit(model, V, lengths=lengths, seed=seed)
        table[is_causal, verdict.causal] += 1
        if verdict.causal is not is_causal:
            wrong.append((is_causal, verdict.causal, name, verdict.sentence()[:300]))

    done = 0
    while done < CAUSAL:
        torch.manual_seed(done)
        made = of_heed(choose) if done % 4 else of_zoo(choose)
        if made is not None:
            judge(*made, True, done)
            done += 1
    for seed in range(LEAKING):
        judge(*leaking(choose), False, seed)
    with capsys.disabled():
        print("\n            causal  leaks  cannot tell")
        for truth in (True, False):
            counts = [table[truth, found] for found in (True, False, None)]
            print(f"{'causal' if truth else 'leaking':10s}", *(f"{count:7d}" for count in counts))
        print(*wrong, sep="\n")
    assert table[True, False] == 0
    assert table[False, True] == 0
    assert table[True, None] + table[False, None] <= 0.15 * (CAUSAL + LEAKING)
