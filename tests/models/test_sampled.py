"""The loss over a part of the vocabulary: by a plain loop, on average over what is drawn, and where it must not be."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from heed.build import build_model
from heed.cli import main
from heed.config import ModelConfig, TrainConfig
from heed.errors import ConfigError
from heed.models import GPT
from heed.models.encoder import Encoder
from heed.models.loss import linear_cross_entropy
from heed.models.sampled import SampledSoftmax, inclusion, sample_softmax
from heed.training.devices import threads_kept

V, D, N = 60, 5, 40
SMALL = ModelConfig(n_layers=1, n_heads=2, d_model=8, context=16)


def problem(spread=0.7):
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: (spread * torch.randn(*shape, generator=generator, dtype=torch.float64)).requires_grad_()
    counts = torch.tensor([10_000 // (n + 1) for n in range(V)])
    target = torch.randint(0, V, (N,), generator=generator)
    return draw(N, D), draw(V, D), draw(V), target, counts


def by_hand(hidden, weight, bias, target, chosen, p):
    """Row by row: the own target as it is, every other token that was drawn by the inverse of its probability."""
    losses = []
    for h, t in zip(hidden, target.tolist(), strict=True):
        logits = weight @ h + bias
        total = logits[t].exp()
        for i in range(V):
            if i != t and chosen[i]:
                total = total + logits[i].exp() / p[i]
        losses.append(total.log() - logits[t])
    return torch.stack(losses)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("chunk", [50, 10_000], ids=["chunks", "whole"])
def test_the_loss_and_its_gradients_are_those_of_a_plain_loop(reduction, chunk):
    hidden, weight, bias, target, counts = problem()
    part = SampledSoftmax(counts, 20)
    torch.manual_seed(5)
    chosen = torch.rand_like(part.inclusion) < part.inclusion
    assert not chosen[target].all()  # some targets were not drawn
    torch.manual_seed(5)
    ours = part.loss(hidden, weight, target, bias=bias, reduction=reduction, chunk_logits=chunk)
    theirs = getattr(by_hand(hidden, weight, bias, target, chosen, part.inclusion.double()), reduction)()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)  # the probabilities are float32
    learned = (hidden, weight, bias)
    for mine, other in zip(torch.autograd.grad(ours, learned), torch.autograd.grad(theirs, learned), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_in_bfloat16_sizes_are_rounded_up_and_the_loss_is_the_same(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(*shape, generator=generator).requires_grad_()
    hidden, weight, counts = draw(50, 8), draw(1000, 8), torch.arange(1000).flip(0)
    target, part = torch.randint(0, 1000, (50,), generator=generator), SampledSoftmax(counts, 200)
    sizes, whole = [], linear_cross_entropy
    watched = lambda h, w, *rest, **how: sizes.append(len(w)) or whole(h, w, *rest, **how)
    monkeypatch.setattr("heed.models.sampled.linear_cross_entropy", watched)
    ways = []
    for like in (128, 1):
        monkeypatch.setattr("heed.models.loss.LIKE_SHAPES", like)
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16):
            loss = part.loss(hidden, weight, target)
        ways.append((loss, *torch.autograd.grad(loss, (hidden, weight))))
    assert sizes[0] % 128 == 0
    assert sizes[0] > sizes[1] > 200
    for ours, exact in zip(*ways, strict=True):
        torch.testing.assert_close(ours, exact, rtol=2e-2, atol=1e-3)


def test_what_is_drawn_sums_to_the_whole_on_average():
    """E[sum over the drawn of exp(logit) / p] is the sum over the vocabulary, within four standard errors."""
    hidden, weight, bias, target, counts = problem()
    part = SampledSoftmax(counts, 20)
    true = linear_cross_entropy(hidden, weight, target, bias=bias, reduction="none").exp()  # Z / exp(own logit)
    torch.manual_seed(0)
    with torch.no_grad():
        estimates = torch.stack(
            [part.loss(hidden, weight, target, bias=bias, reduction="none").exp() for _ in range(4000)]
        )
    error = estimates.std(dim=0) / math.sqrt(len(estimates))
    assert ((estimates.mean(dim=0) - true).abs() < 4.5 * error).all()
    mean, exact = estimates.log().mean().item(), true.log().mean().item()
    assert exact - 0.3 < mean < exact  # an estimate from below (Jensen)


@pytest.mark.parametrize("size", [1, 7, 20, 59])
def test_as_many_are_drawn_as_were_asked_for(size):
    counts = torch.tensor([10_000 // (n + 1) for n in range(V)])
    p = inclusion(counts, size)
    assert p.sum().item() == pytest.approx(size, rel=1e-5)
    assert ((p > 0) & (p <= 1)).all()
    assert (p.diff() <= 0).all()
    free = p < 1
    ratio = p[free].double() / (counts[free].double() + 1) ** 0.75
    assert ratio.max().item() == pytest.approx(ratio.min().item(), rel=1e-5)


def test_masked_targets_count_for_nothing_and_may_be_fillers():
    hidden, weight, bias, target, counts = problem()
    part, mask = SampledSoftmax(counts, 20), torch.arange(N) % 3 != 0
    losses = {}
    for filler in (0, -100):
        torch.manual_seed(1)
        losses[filler] = part.loss(hidden, weight, target.where(mask, filler), bias=bias, mask=mask)
    assert losses[0].item() == losses[-100].item()
    torch.manual_seed(1)
    chosen = torch.rand_like(part.inclusion) < part.inclusion
    rows = by_hand(hidden[mask], weight, bias, target[mask], chosen, part.inclusion.double())
    assert losses[0].item() == pytest.approx(rows.mean().item(), rel=1e-6)


@pytest.mark.parametrize("kind", ["gpt", "lstm", "encoder"])
def test_only_training_is_over_a_part(kind):
    config = SMALL.model_copy(update={"kind": kind}) if kind != "lstm" else ModelConfig(kind="lstm", d_model=8)
    model = build_model(config, V)
    sample_softmax(model, 20)
    source = torch.randint(0, V, (2, 16))
    target, mask = torch.randint(0, V, (2, 16)), torch.ones(2, 16, dtype=torch.bool)
    whole = F.cross_entropy(model.eval()(source).flatten(0, 1), target.flatten()).item()
    assert model.loss(source, target, mask).item() == pytest.approx(whole, rel=1e-5)
    model.train()
    with torch.no_grad():
        assert model.loss(source, target, mask).item() == pytest.approx(whole, rel=1e-5)
    torch.manual_seed(0)
    drawn = {model.loss(source, target, mask).item() for _ in range(5)}
    assert len(drawn) == 5  # other tokens each time
    assert all(abs(loss - whole) < 0.5 for loss in drawn)
    sample_softmax(model, None)
    assert model.loss(source, target, mask).item() == pytest.approx(whole, rel=1e-5)


def test_what_predicts_no_tokens_refuses():
    with pytest.raises(ConfigError, match="what this model tells is no token of a vocabulary: leave it out"):
        sample_softmax(Encoder(SMALL.model_copy(update={"kind": "encoder"}), V, classes=2), 20)
    with pytest.raises(ConfigError, match="what this model tells is no token"):
        sample_softmax(torch.nn.Linear(2, 2), 20)
    with pytest.raises(ConfigError, match="sampled_softmax: 60 is no part of the vocabulary of 60: leave it out"):
        sample_softmax(GPT(SMALL, V), V)


def test_a_run_learns_says_so_and_goes_on_bit_for_bit(tmp_path, capsys, monkeypatch):
    """Stopped and resumed, what is drawn goes on where it was; the same text with all tokens has other losses."""
    monkeypatch.chdir(tmp_path)
    words = [f"w{n}" for n in range(200)]
    numbers = np.random.default_rng(0).zipf(1.3, 20_000).clip(max=200) - 1
    (tmp_path / "text.txt").write_text(" ".join(words[n] for n in numbers))
    common = [
        "train", "text.txt", "--tokenizer.kind", "word", "--tokenizer.vocab-size", "220", "--model.d-model", "16",
        "--model.n-layers", "1", "--model.n-heads", "2", "--model.context", "16", "--train.batch-size", "4",
        "--train.eval-every", "10", "--train.checkpoint-every", "5", "--run.threads", "1",
        "--train.learning-rate", "0.01", "--train.keep-last", "4",
    ]  # fmt: skip
    part = ["--train.sampled-softmax", "40"]
    with threads_kept():
        assert main([*common, *part, "--train.steps", "20", "--run.name", "whole"]) == 0
        assert main([*common, "--train.steps", "20", "--run.name", "all"]) == 0
        from heed.experiment import resume, train
        from heed.training.run import Run

        config = Run.open("runs/whole").config
        cut = config.changed("run", name="cut")
        train(cut.changed("train", steps=20))
        for step in (15, 20):
            for path in (tmp_path / "runs/cut/checkpoints").glob(f"step-*{step}"):
                for file in path.iterdir():
                    file.unlink()
                path.rmdir()
        (tmp_path / "runs/cut/checkpoints/best.json").unlink()
        resume("runs/cut")
    losses = {
        name: [
            (event["step"], event["loss"])
            for line in (tmp_path / f"runs/{name}/metrics.jsonl").read_text().splitlines()
            if (event := json.loads(line))["event"] == "evaluation"
        ]
        for name in ("whole", "all", "cut")
    }
    assert '"event": "resume", "step": 10' in (tmp_path / "runs/cut/metrics.jsonl").read_text()
    assert losses["whole"][-1] == losses["cut"][-1]
    assert losses["whole"] != losses["all"]
    assert losses["whole"][-1][1] < math.log(220) - 0.3  # it has learned
    assert "estimated over some 40 tokens of the vocabulary" in (tmp_path / "runs/whole/report.html").read_text()
    assert "estimated over" not in (tmp_path / "runs/all/report.html").read_text()
    capsys.readouterr()
    assert main([*common, "--train.sampled-softmax", "40", "--train.label-smoothing", "0.1"]) == 2
    assert "leaves out tokens over which train.label_smoothing spreads: keep one" in capsys.readouterr().err
    assert main([*common, "--train.sampled-softmax", "4000"]) == 2
    assert "no part of the vocabulary of" in capsys.readouterr().err


def test_it_is_off_unless_asked_for():
    assert TrainConfig().sampled_softmax is None


def test_operations_are_counted_of_what_is_drawn():
    for kind in ("gpt", "encoder", "lstm", "window"):
        model = build_model(ModelConfig(kind=kind, d_model=8, n_layers=1, n_heads=2, context=8), V)
        whole = model.flops_per_token()
        sample_softmax(model, 20)
        assert whole - model.flops_per_token() == 6 * (V - 20) * 8


def test_classes_are_no_vocabulary(tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text("text,label\n" + "".join(f"a text {n},{n % 2}\n" for n in range(40)))
    line = "train.sampled_softmax: is for models that predict tokens, not classes: leave it out"
    part = ["--train.sampled-softmax", "20"]
    assert main(["train", str(table), "--model.kind", "encoder", "--data.label", "label", *part]) == 2
    assert line in capsys.readouterr().err
    assert main(["tune", str(table), "--label", "label", *part, "--out", str(tmp_path / "tune")]) == 2
    assert line in capsys.readouterr().err
