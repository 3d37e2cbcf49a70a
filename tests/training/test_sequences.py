"""Sequences: the loss of IFT6135 by hand, a state that is carried through a split, and runs that are cut off."""

import json
import math

import numpy as np
import pytest
import torch
from doubles import TinyModel

from heed.build import build_model
from heed.config import ModelConfig, RecurrentConfig, TrainConfig, make_config
from heed.errors import ConfigError
from heed.experiment import resume, train
from heed.objectives.next_token import evaluate
from heed.report.passport import Passport, check_comparable
from heed.text.tokenfile import TokenFile
from heed.training.step import TensorBatch, Updater, default_loss, sequence_loss, to_device
from heed.training.streams import Streams


class Fixed(torch.nn.Module):
    """A model whose loss is known: 1 nat for token 1, 2 nats for token 2 and so on."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def loss(self, source, target, mask=None, reduction="mean"):
        weights = torch.ones_like(target) if mask is None else mask
        nats = target * weights * self.scale
        return {"none": nats, "sum": nats.sum(), "mean": nats.sum() / weights.sum()}[reduction]


# a sequence of one token that costs 4 nats, one of three that cost 1 each, and one without anything to predict
TARGET = torch.tensor([[4, 0, 0], [1, 1, 1], [0, 0, 0]])
MASK = torch.tensor([[True, False, False], [True, True, True], [False, False, False]])


def test_the_two_losses_by_hand():
    batch = TensorBatch(TARGET, TARGET, MASK, 4)
    assert default_loss(Fixed(), batch).item() == pytest.approx((4 + 1 + 1 + 1) / 4)
    assert sequence_loss(Fixed(), batch).item() == pytest.approx((4 + 1) / 2)
    assert batch.sequences == 2


@pytest.mark.parametrize("vocabulary", [11, 250_000])  # the larger one is computed in chunks
def test_the_loss_by_sequence_of_a_model(vocabulary):
    model = build_model(ModelConfig(kind="gru", n_layers=1, d_model=2, context=3), vocabulary).double()
    source = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    nats = model.loss(source, TARGET, MASK, reduction="none").detach()
    found = sequence_loss(model, TensorBatch(source, TARGET, MASK, 4))
    assert found.item() == pytest.approx((nats[0, 0] + nats[1].mean()).item() / 2, abs=1e-6)  # weights are float32
    found.backward()
    assert model.bias.grad.abs().sum() > 0


@pytest.mark.parametrize(("loss", "expected"), [("token", 7 / 4), ("sequence", 5 / 2)])
def test_accumulated_batches_are_as_one(loss, expected):
    parts = [type("B", (), {"source": TARGET[i], "target": TARGET[i], "mask": MASK[i]}) for i in ([0], [1, 2])]
    model = Fixed()
    plan = TrainConfig(loss=loss, accumulation=2, clip=None, optimizer="sgd")
    updater = Updater(model, plan, torch.device("cpu"), Streams(1), print)
    assert updater.update(1, parts)[0] == pytest.approx(expected)
    assert updater.norm.item() == pytest.approx(expected)  # the loss is proportional to the one parameter


def token_file(ids, ends):
    header = {"split": "validation", "end_id": None, "words": 0, "bytes": 0}
    return TokenFile(np.array(ids, dtype=np.uint16), np.array(ends, dtype=np.uint64), header)


def test_the_evaluation_gives_both_losses():
    tokens = token_file([9, 4, 9, 1, 1, 1], [2, 6])
    common = {"tokenizer_name": "t", "context": 3, "cross_documents": False}
    measured = evaluate(Fixed(), tokens, sequences=True, **common)
    assert measured.loss == pytest.approx(7 / 4)
    assert measured["sequence_mean_loss"] == pytest.approx(5 / 2)
    assert ("sequence mean loss", "2.5000 nats a token") in measured.lines()
    assert measured.as_dict()["sequence_mean_loss"] == pytest.approx(5 / 2)
    assert "sequence_mean_loss" not in evaluate(Fixed(), tokens, **common).as_dict()


@pytest.mark.parametrize("kind", ["lstm", "linear-rnn", "window"])
def test_a_carried_evaluation_is_one_long_sequence(kind):
    config = ModelConfig(kind=kind, d_model=6, context=5, init_std=0.8)
    model = build_model(config, 11).double().eval()
    ids = np.random.default_rng(0).integers(0, 11, 24)
    measured = evaluate(model, token_file(ids, [24]), tokenizer_name="t", context=5, carry=True)
    row = torch.from_numpy(ids)[None]
    assert measured.loss == pytest.approx(model.loss(row[:, :-1], row[:, 1:]).item(), abs=1e-12)
    windows = evaluate(model, token_file(ids, [24]), tokenizer_name="t", context=5)
    assert (measured.passport.context, measured.passport.stride, measured.passport.tokens) == (23, 23, 23)
    with pytest.raises(ConfigError, match="the passports differ in context"):
        check_comparable(measured.passport, windows.passport, "loss")


def test_only_a_model_with_a_state_is_carried():
    tokens = token_file([1, 2, 3], [3])
    with pytest.raises(ConfigError, match="only a language model of heed"):
        evaluate(TinyModel(), tokens, tokenizer_name="t", context=2, carry=True)


def config_of(folder, name, **more):
    text = folder / "text.txt"
    text.write_text("the cat sees a heron. one fox hears my dog. " * 40, encoding="utf-8")
    ours = {"carry": True, "weight_drop": 0.3, "output_dropout": 0.2, "activation_penalty": 1.0}
    return make_config(
        {
            "data": {"source": str(text), "layout": "stream", "workers": 1},
            "tokenizer": {"kind": "char"},
            "model": {"kind": "lstm", "n_layers": 2, "d_model": 8, "context": 8, "recurrent": ours, **more},
            "train": {
                "steps": 20, "batch_size": 7, "checkpoint_every": 6, "eval_every": 10, "learning_rate": 0.01,
                "average_fraction": 0.5,
            },
            "run": {"folder": str(folder / "runs"), "name": name, "device": "cpu", "threads": 1},
        }
    )  # fmt: skip


def files_of(run):
    last = run / "checkpoints" / "step-00000020"
    return {name: (last / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}


SLOW = pytest.mark.slow


# before a checkpoint, and after one without and one with a mean
@pytest.mark.parametrize("die_at", [pytest.param(5, marks=SLOW), pytest.param(9, marks=SLOW), 15])
def test_a_run_that_carries_and_averages_goes_on_bit_for_bit(tmp_path, monkeypatch, die_at):
    whole = train(config_of(tmp_path, "whole"))
    update = Updater.update

    def dies(self, step, *rest):
        if step == die_at:
            raise RuntimeError("the power fails")
        return update(self, step, *rest)

    monkeypatch.setattr(Updater, "update", dies)
    with pytest.raises(RuntimeError, match="power"):
        train(config_of(tmp_path, "cut"))
    monkeypatch.setattr(Updater, "update", update)
    cut = resume(tmp_path / "runs" / "cut")
    assert files_of(cut.folder) == files_of(whole.folder)
    figures = [json.loads((run.folder / "evaluation.json").read_text())["validation"] for run in (whole, cut)]
    assert figures[0]["loss"] == figures[1]["loss"]
    assert figures[0]["passport"]["context"] == figures[0]["passport"]["tokens"]


@pytest.mark.slow
def test_the_state_of_one_batch_reaches_the_next(tmp_path):
    """Without the carried state the training comes out otherwise: it is not a setting without an effect."""
    config = config_of(tmp_path, "with")
    other = config_of(
        tmp_path, "without", recurrent={"weight_drop": 0.3, "output_dropout": 0.2, "activation_penalty": 1.0}
    )
    assert files_of(train(config).folder) != files_of(train(other).folder)


def test_the_padded_layout_trains_by_sequence_and_shows_both(tmp_path):
    config = config_of(tmp_path, "padded", recurrent={}, kind="gru")
    (tmp_path / "text.txt").write_text("the cat\na dog sees my heron\n" * 40, encoding="utf-8")
    padded = config.data.model_copy(update={"layout": "padded", "separator": "\n"})
    config = config.model_copy(update={"data": padded, "train": config.train.model_copy(update={"loss": "sequence"})})
    figures = train(config).figures["validation"].as_dict()
    assert figures["loss"] != figures["sequence_mean_loss"]
    assert math.isfinite(figures["sequence_mean_loss"])


def test_pretrained_embeddings_stay_where_they_are_frozen(tmp_path):
    matrix = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    np.save(tmp_path / "e.npy", matrix)
    with pytest.raises(ConfigError, match="has 30 rows"):
        train(config_of(tmp_path, "a", embeddings=str(tmp_path / "e.npy"), freeze_embeddings=True))
    probe = train(config_of(tmp_path, "b")).tokenizer.vocab_size
    np.save(tmp_path / "e.npy", matrix[: probe - 1])  # the row for padding is missing
    outcome = train(config_of(tmp_path, "c", embeddings=str(tmp_path / "e.npy"), freeze_embeddings=True))
    (tmp_path / "e.npy").unlink()  # a run needs its own folder only
    again = resume(outcome.folder, {"train": {"steps": 22}})
    kept = again.model.get_parameter("tokens.weight").detach().numpy()
    assert (kept[:-1] == matrix[: probe - 1]).all()
    assert (kept[-1] == 0).all()
    assert isinstance(outcome.figures["validation"].passport, Passport)


def test_to_device_passes_on_where_a_batch_goes_on():
    batch = type("B", (), {"source": TARGET, "target": TARGET, "mask": None, "continues": True})
    assert to_device(batch, torch.device("cpu")).continues is True


def test_the_recurrent_section_is_part_of_a_resolved_configuration():
    assert RecurrentConfig() == make_config({}).model.recurrent


def test_the_end_may_be_measured_on_a_part(tmp_path):
    config = config_of(tmp_path, "part")
    short = config.train.model_copy(update={"steps": 2, "final_tokens": 30})
    run = train(config.model_copy(update={"train": short}))
    figures = json.loads((run.folder / "evaluation.json").read_text())["validation"]
    assert (figures["passport"]["tokens"], figures["passport"]["partial"]) == (30, True)
    assert "bits_per_byte" not in figures
