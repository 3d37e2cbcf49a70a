"""The loop: exact resumption, accumulation, what stops it, and what it leaves behind."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import torch.nn.functional as F
from doubles import LENGTH, VOCAB, Example, Figure, TinyModel, Windows, events, new_run, outcome, plan
from doubles import whole_training as train_whole

from heed.build import build_model
from heed.config import ModelConfig
from heed.errors import CheckpointError, ConfigError, DataError, HeedError
from heed.records.events import TrainEvent
from heed.training import fit as loop
from heed.training.checkpoint import load_checkpoint, saved_steps
from heed.training.fit import fit
from heed.training.interrupts import Interrupts
from heed.training.run import Run
from heed.training.step import Updater
from heed.training.streams import Streams


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Said(loop.Silent):
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


# ---------------------------------------------------------------------- learning and what is written


def test_it_learns_and_writes_every_event(tmp_path):
    run = new_run(tmp_path / "run")
    model = TinyModel()
    result = fit(model, Windows(), plan(steps=60), run, validation=lambda: Figure(1.0), log_every=10)
    train = events(run, "train")
    assert [event["step"] for event in train] == [1, 10, 20, 30, 40, 50, 60]
    assert train[0]["loss"] > 2
    assert train[-1]["loss"] < 0.5  # the sequence is a rule that a bigram learns
    assert train[-1]["tokens"] == 60 * 4 * LENGTH == result.tokens
    assert train[-1]["epoch"] == 60 / 8
    assert {"learning_rate", "gradient_norm", "seconds", "tokens_per_second", "memory_bytes"} <= train[-1].keys()
    assert events(run, "end") == [{"event": "end", "step": 60, "reason": "finished"}]
    assert (result.reason, result.step, result.best_step) == ("finished", 60, 5)
    assert saved_steps(run.checkpoints) == [5, 56, 60]  # the best one and the last two


def test_the_logged_loss_is_the_mean_since_the_last_event(tmp_path):
    each = fit_losses(tmp_path / "each", log_every=1)
    third = fit_losses(tmp_path / "third", log_every=3)
    assert third[1] == pytest.approx((each[1] + each[2]) / 2, abs=1e-12)  # step 1 has a line of its own
    assert third[2] == pytest.approx(sum(each[3:6]) / 3, abs=1e-12)


def fit_losses(folder, **options):
    run = new_run(folder)
    fit(TinyModel(), Windows(), plan(), run, **options)
    return [event["loss"] for event in events(run, "train")]


def test_three_steps_by_hand(tmp_path):
    """Plain descent under a linear schedule, each gradient on its own: w <- w - 0.02 * share * gradient."""
    ours, by_hand = TinyModel(), TinyModel()
    settings = plan(steps=3, optimizer="sgd", schedule="linear", final_fraction=0.5, warmup_steps=1, clip=None)
    fit(ours, Windows(), settings.model_copy(update={"weight_decay": 0.0}), new_run(tmp_path / "run"))
    source = Windows()
    for share in (1.0, 0.75, 0.5):
        batch = next(source)
        loss = by_hand.loss(torch.as_tensor(batch.source), torch.as_tensor(batch.target))
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(by_hand.parameters(), gradients, strict=True):
                parameter -= 0.02 * share * gradient
    for a, b in zip(ours.parameters(), by_hand.parameters(), strict=True):
        assert (a - b).abs().max() < 1e-7  # one rounding of float32


@pytest.mark.parametrize("schedule", ["linear", "cosine", "wsd"])
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_the_last_update_of_a_schedule_that_ends_at_0_moves_the_weights(tmp_path, schedule, steps):
    settings = plan(steps=steps, schedule=schedule, final_fraction=0.0, warmup_steps=0, checkpoint_every=1, keep_last=9)
    model = TinyModel()
    before = weights(model)
    run = new_run(tmp_path / "run")
    fit(model, Windows(), settings, run, log_every=1)
    if steps > 1:
        before = dict(load_checkpoint(run.checkpoints / f"step-{steps - 1:08}").model)
    assert all((before[name] != value).any() for name, value in weights(model).items())
    assert all(event["learning_rate"] > 0 for event in events(run, "train"))


@pytest.mark.parametrize("masked", [False, True])
def test_accumulation_equals_one_big_batch(masked):
    # float64: what is left of a difference is rounding. Masks differ between parts, so a mean of means would be off.
    pieces = [next(source) for source in [Windows(2, masked)] for _ in range(3)]
    big = Example(*(torch.cat([torch.as_tensor(getattr(p, k)) for p in pieces]) if getattr(pieces[0], k) is not None
                    else None for k in ("source", "target", "mask")))  # fmt: skip
    results = []
    for batches in (pieces, [big]):
        model = TinyModel().double()
        updater = Updater(
            model, plan(optimizer="sgd", clip=None, weight_decay=0), torch.device("cpu"), Streams(1), print
        )
        loss, counted = updater.update(1, batches)
        results.append((loss, counted, updater.norm.item(), weights(model)))
    (loss_a, count_a, norm_a, weights_a), (loss_b, count_b, norm_b, weights_b) = results
    assert count_a == count_b
    assert abs(loss_a - loss_b) < 1e-14
    assert abs(norm_a - norm_b) < 1e-14
    assert all((weights_a[name] - weights_b[name]).abs().max() < 1e-14 for name in weights_a)


def test_a_part_without_counted_targets_adds_nothing():
    batch = next(Windows(2))
    empty = Example(batch.source, batch.target, batch.target < 0)
    updater = Updater(TinyModel(), plan(), torch.device("cpu"), Streams(1), print)
    loss, counted = updater.update(1, [empty, batch])
    assert counted == 2 * LENGTH
    assert math.isfinite(loss)
    with pytest.raises(DataError, match="no token of the batch counts"):
        updater.update(2, [empty])


def test_clipping_bounds_the_update_and_the_norm_is_reported_before_it():
    model = TinyModel()
    before = weights(model)
    updater = Updater(model, plan(optimizer="sgd", clip=1e-3, learning_rate=1.0, warmup_steps=0, schedule="constant",
                                  weight_decay=0), torch.device("cpu"), Streams(1), print)  # fmt: skip
    updater.update(1, [next(Windows())])
    moved = math.sqrt(sum(((p - before[n]) ** 2).sum().item() for n, p in model.named_parameters()))
    assert updater.norm.item() > 0.05
    assert moved == pytest.approx(1e-3, rel=1e-3)


# ---------------------------------------------------------------------- exact resumption


def stop_after(step, masked=True):
    """Ctrl-C while batch number `step` is fetched (one batch a step)."""

    class Stopping(Windows):
        def __next__(self):
            if self.index + 1 == step:
                os.kill(os.getpid(), signal.SIGINT)
            return super().__next__()

    return Stopping(masked=masked)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "momentum", "adagrad", "muon"])
def test_interrupted_and_resumed_equals_unbroken(tmp_path, optimizer):
    settings = plan(optimizer=optimizer, checkpoint_every=100)  # the one checkpoint falls between two logged losses
    whole = new_run(tmp_path / "whole")
    unbroken = TinyModel(dropout=0.2)
    fit(unbroken, Windows(masked=True), settings, whole, log_every=5)

    broken = new_run(tmp_path / "broken")
    said = Said()
    first = fit(TinyModel(dropout=0.2), stop_after(7), settings, broken, log_every=5, progress=said)
    assert (first.reason, first.step) == ("interrupted", 7)
    assert said.lines[-1] == f"stopped after step 7; go on with: heed train --resume {broken.folder}"
    resumed = TinyModel(generator=torch.Generator().manual_seed(99), dropout=0.2)  # its own weights must not matter
    result = fit(resumed, Windows(masked=True), settings, broken, log_every=5, resume=True)
    assert result.reason == "finished"
    assert same(weights(unbroken), weights(resumed))
    assert [e["loss"] for e in events(whole, "train")] == [e["loss"] for e in events(broken, "train")]
    at_7 = load_checkpoint(broken.checkpoints / "step-00000007").state["counters"]
    first = next(event for event in events(broken, "train") if event["step"] == 10)
    speed = (first["tokens"] - at_7["tokens"]) / (first["seconds"] - at_7["seconds"])
    assert first["tokens_per_second"] == pytest.approx(speed, rel=0.1)  # since the resumption; seconds are rounded


def test_sigterm_is_as_good_as_ctrl_c_and_handlers_come_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    class Stopping(Windows):
        def __next__(self):
            if self.index == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().__next__()

    result = fit(TinyModel(), Stopping(), plan(), new_run(tmp_path / "run"))
    assert (result.reason, result.step) == ("interrupted", 3)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_ctrl_c_quits_at_once(tmp_path):
    class Impatient(Windows):
        def __next__(self):
            for _ in range(2 if self.index == 2 else 0):
                os.kill(os.getpid(), signal.SIGINT)
            return super().__next__()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is started without one
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(TinyModel(), Impatient(), plan(), new_run(tmp_path / "run"))
    finally:
        signal.signal(signal.SIGINT, before)


def test_evaluation_and_samples_do_not_move_the_training(tmp_path):
    def careless():
        torch.rand(7)
        return Figure(1.0)

    plain, watched = TinyModel(dropout=0.2), TinyModel(dropout=0.2)
    fit(plain, Windows(), plan(), new_run(tmp_path / "plain"))
    fit(watched, Windows(), plan(eval_every=1), new_run(tmp_path / "watched"), validation=careless,
        sample=lambda: [{"text": str(torch.rand(1).item() < 2)}])  # fmt: skip
    assert same(weights(plain), weights(watched))


def kill_and_resume(folder, steps, width, seed):
    """Start the training again and again in a process of its own and kill -9 it, until it comes to its end.

    Each is killed a moment after it has written a random number of lines, so that it does not matter how busy the
    machine is; the first one at once, while the folder is made.
    """
    draw = random.Random(seed)
    lines, moment = 0, 0.01 * draw.random()
    server = subprocess.Popen([sys.executable, Path(__file__).with_name("doubles.py")], stdin=-1, stdout=-1, text=True)
    with server:
        for kills in range(400):
            print(folder, steps, width, sep="\t", file=server.stdin, flush=True)
            process = int(server.stdout.readline())
            patience = time.monotonic() + 20
            while lines and count_lines(folder) < lines and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < patience
                time.sleep(0.002)
            time.sleep(moment)
            os.kill(process, signal.SIGKILL)  # if it has ended, its number is still its own: nobody has waited for it
            print(file=server.stdin, flush=True)
            ended = int(server.stdout.readline())
            if ended == 0:
                return kills
            assert ended == -signal.SIGKILL, "the training failed, or it imported torch's compiler"
            lines, moment = count_lines(folder) + draw.randint(1, 15), 0.01 * draw.random()
    raise AssertionError("no progress between kills")


def count_lines(folder):
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_kill_9_at_random_moments_and_resume_gives_the_same_bits(tmp_path):
    train_whole(str(tmp_path / "whole"), 120)
    kills = kill_and_resume(tmp_path / "killed", 120, 8, seed=1)
    assert kills >= 4
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_kill_9_many_times(tmp_path):
    train_whole(str(tmp_path / "whole"), 800, 64)
    kills = kill_and_resume(tmp_path / "killed", 800, 64, seed=2)
    assert kills >= 20
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


def test_resume_before_the_first_checkpoint_starts_again(tmp_path):
    run = new_run(tmp_path / "run")
    run.log(TrainEvent(step=1, loss=9.0))
    fit(TinyModel(), Windows(), plan(), run, resume=True)
    assert '{"event": "resume", "step": 0' in (run.folder / "metrics.jsonl").read_text()
    assert 9.0 not in [event["loss"] for event in events(run, "train")]


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    run = new_run(tmp_path / "run")
    first = fit(TinyModel(), Windows(), plan(), run)
    again = fit(TinyModel(), Windows(), plan(), run, resume=True)
    assert (again.reason, again.step, again.tokens) == ("finished", 12, first.tokens)
    with pytest.raises(CheckpointError, match="go on with --resume, or --overwrite"):
        fit(TinyModel(), Windows(), plan(), run)


def test_resume_with_another_optimizer_is_refused(tmp_path):
    run = new_run(tmp_path / "run")
    fit(TinyModel(), Windows(), plan(), run)
    with pytest.raises(CheckpointError, match="trained with adamw"):
        fit(TinyModel(), Windows(), plan(optimizer="sgd"), run, resume=True)


# ---------------------------------------------------------------------- what stops it


def test_patience_stops_after_so_many_evaluations_without_a_better_one(tmp_path):
    figures = iter([3.0, 2.0, 2.5, 2.0, 2.1, 1.0])
    run = new_run(tmp_path / "run")
    settings = plan(steps=50, eval_every=2, checkpoint_every=3, patience=3)
    result = fit(TinyModel(), Windows(), settings, run, validation=lambda: Figure(next(figures)))
    assert (result.reason, result.step, result.best_step, result.best_loss) == ("patience", 10, 4, 2.0)
    assert saved_steps(run.checkpoints)[0] == 4
    assert fit(TinyModel(), Windows(), settings, run, resume=True).reason == "patience"


def test_gains_below_the_least_one_do_not_keep_a_run_alive(tmp_path):
    """0.05 and 0.07 make 0.12 since the last gain that counted: small ones add up. The best is kept all the same."""
    losses = [3.0, 2.0, 1.95, 1.88, 1.87, 1.86, 1.85, 0.1]
    settings = plan(steps=50, eval_every=2, checkpoint_every=3, patience=3, least_gain=0.1)
    figures = iter(losses)
    run = new_run(tmp_path / "run")
    result = fit(TinyModel(), Windows(), settings, run, validation=lambda: Figure(next(figures)))
    assert (result.reason, result.step, result.best_step, result.best_loss) == ("patience", 14, 14, 1.85)
    figures = iter(losses)
    cut = new_run(tmp_path / "cut")
    fit(TinyModel(), stop_after(9, masked=False), settings, cut, validation=lambda: Figure(next(figures)))
    again = fit(TinyModel(), Windows(), settings, cut, validation=lambda: Figure(next(figures)), resume=True)
    assert (again.reason, again.step, again.best_loss) == ("patience", 14, 1.85)


def test_a_gain_of_nothing_keeps_a_run_alive_where_no_least_gain_is_asked_for(tmp_path):
    figures = iter([2.0 - 1e-8 * n for n in range(99)])
    settings = plan(steps=20, eval_every=2, patience=2)
    result = fit(TinyModel(), Windows(), settings, new_run(tmp_path / "run"), validation=lambda: Figure(next(figures)))
    assert (result.reason, result.step) == ("finished", 20)


def test_a_part_of_the_training_data_is_measured_beside_validation_and_moves_nothing(tmp_path):
    def known():
        torch.rand(3)  # draws, and nothing comes of it
        return Figure(0.5)

    results = []
    for name, training in (("with", known), ("without", None)):
        run, model = new_run(tmp_path / name), TinyModel(dropout=0.3)
        fit(model, Windows(), plan(eval_every=4), run, validation=lambda: Figure(1.0), training=training)
        results.append((weights(model), events(run, "evaluation")))
    assert same(results[0][0], results[1][0])
    assert [event["train"]["loss"] for event in results[0][1]] == [0.5] * len(results[0][1])
    assert all("train" not in event for event in results[1][1])


def test_label_smoothing_is_for_models_whose_loss_knows_it(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.label_smoothing: the losses of this model have none"):
        fit(TinyModel(), Windows(), plan(label_smoothing=0.1), new_run(tmp_path / "run"))


KINDS = {
    "gpt": {}, "encoder": {"kind": "encoder"}, "window": {"kind": "window"},
    "lstm": {"kind": "lstm"}, "classes": {"kind": "encoder"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_learns_from_smoothed_targets(kind):
    """One step of plain descent moves the weights by torch's own gradient of F.cross_entropy(label_smoothing=0.2)."""
    settings = ModelConfig(**{"n_layers": 1, "n_heads": 1, "d_model": 8, "context": 6, "tied": False, **KINDS[kind]})
    classes = 3 if kind == "classes" else None
    make = lambda: build_model(settings, VOCAB, torch.Generator().manual_seed(3), classes).train()
    batch = next(Windows())
    if classes:
        batch = Example(batch.source, batch.target[:, 0] % 3, None)
    ours, theirs = make(), make()
    how = plan(optimizer="sgd", clip=None, weight_decay=0.0, label_smoothing=0.2, schedule="constant", warmup_steps=0)
    if kind == "encoder":
        batch.mask = np.ones_like(batch.target, dtype=bool)
    loss, _ = Updater(ours, how, torch.device("cpu"), Streams(1), print).update(1, [batch])
    source, target = (torch.as_tensor(part) for part in (batch.source, batch.target))
    logits = theirs(source)
    smoothed = F.cross_entropy(logits.flatten(0, -2), target.flatten(), label_smoothing=0.2)
    assert loss == pytest.approx(F.cross_entropy(logits.flatten(0, -2), target.flatten()).item(), abs=1e-6)
    names = [name for name, p in theirs.named_parameters()]
    gradients = torch.autograd.grad(smoothed, list(theirs.parameters()), allow_unused=True)
    assert len([g for g in gradients if g is not None]) > 3
    for name, before, gradient in zip(names, theirs.parameters(), gradients, strict=True):
        moved = 0 if gradient is None else how.learning_rate * gradient
        torch.testing.assert_close(dict(ours.named_parameters())[name], before - moved, rtol=0, atol=1e-6)


def bad_from(step, value):
    """A loss that is `value` from update number `step` on."""
    calls = iter(range(1, 1000))
    return lambda model, batch: model.loss(batch.source, batch.target) * (value if next(calls) >= step else 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_the_step_and_is_not_applied(tmp_path, value):
    run = new_run(tmp_path / "run")
    model = TinyModel()
    with pytest.raises(HeedError, match=r"at step 7, which was not applied; the last good checkpoint is step-00000004"):
        fit(model, Windows(), plan(), run, loss_of=bad_from(7, value))
    good = TinyModel()
    fit(good, stop_after(6, masked=False), plan(), new_run(tmp_path / "good"))
    assert same(weights(model), weights(good))
    assert events(run, "end") == [{"event": "end", "step": 7, "reason": "not finite"}]


def test_a_gradient_that_is_not_finite_stops_too(tmp_path):
    def spiky(model, batch):  # sqrt has an infinite slope at 0: the loss is finite, the gradient is not
        return model.loss(batch.source, batch.target) + (model.norm.bias * 0).abs().sum().sqrt()

    with pytest.raises(HeedError, match="at step 1, which was not applied; there is no checkpoint yet"):
        fit(TinyModel(), Windows(), plan(), new_run(tmp_path / "run"), loss_of=spiky)


def test_where_the_device_is_not_waited_for_the_bad_step_is_still_the_right_one():
    """As on a GPU: nobody looks until later, and meanwhile neither the bad update nor any after it is applied."""
    model, good = TinyModel(), TinyModel()
    updater = Updater(model, plan(), torch.device("cpu"), Streams(1), print, bad_from(4, math.nan))
    assert updater.optimizer.skips_on_device
    updater.looks_at_once = False
    source = Windows()
    for step in range(1, 8):
        updater.update(step, [next(source)])
    other = Updater(good, plan(), torch.device("cpu"), Streams(1), print)
    source = Windows()
    for step in range(1, 4):
        other.update(step, [next(source)])
    assert updater.bad_step() == 4
    assert other.bad_step() is None
    assert same(weights(model), weights(good))


# ---------------------------------------------------------------------- precision and compilation


def test_bf16_autocast_keeps_the_weights_in_fp32(tmp_path):
    seen = []

    def watching(model, batch):
        seen.append(model(batch.source).dtype)
        return model.loss(batch.source, batch.target)

    model = TinyModel()
    fit(model, Windows(), plan(steps=2, warmup_steps=0, precision="bf16"), new_run(tmp_path / "run"), loss_of=watching)
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_where_torch_compile_fails_it_says_so_and_goes_on(tmp_path, monkeypatch):
    def broken(function):
        def fails(*args):
            torch.rand(5)  # a trial that has already drawn from the dropout stream
            raise RuntimeError("no C++ compiler\nlong story")

        return fails

    monkeypatch.setattr(torch, "compile", broken)
    plain, fallen_back, said = TinyModel(dropout=0.2), TinyModel(dropout=0.2), Said()
    fit(plain, Windows(), plan(), new_run(tmp_path / "plain"))
    fit(fallen_back, Windows(), plan(compile=True), new_run(tmp_path / "compiled"), progress=said)
    assert said.lines[0] == "torch.compile failed, going on without it: no C++ compiler"
    assert same(weights(plain), weights(fallen_back))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns about itself
def test_torch_compile_gives_the_same_training(tmp_path):
    plain, compiled = TinyModel(), TinyModel()
    fit(plain, Windows(), plan(), new_run(tmp_path / "plain"))
    fit(compiled, Windows(), plan(compile=True), new_run(tmp_path / "compiled"))
    a, b = weights(plain), weights(compiled)
    assert all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)  # Adam magnifies float32 rounding


def test_a_damaged_last_checkpoint_names_the_good_one(tmp_path):
    run = new_run(tmp_path / "run")
    fit(TinyModel(), Windows(), plan(), run)
    last, earlier = run.checkpoints / "step-00000012", run.checkpoints / "step-00000008"
    (last / "model.safetensors").write_bytes((last / "model.safetensors").read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"-00000012.*model.safetensors is cut off.*good one is step-00000008"):
        fit(TinyModel(), Windows(), plan(), Run.open(run.folder), resume=True)
    assert load_checkpoint(earlier).step == 8


def test_two_signals_for_one_reason_are_one_wish_and_the_second_of_a_kind_ends_at_once():
    with Interrupts() as interrupts:
        for number in (signal.SIGTERM, signal.SIGINT):  # as the end of a cluster's job sends them
            os.kill(os.getpid(), number)
        assert interrupts.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
