"""The mean of the weights: its numbers, and that training never notices it."""

import json

import pytest
import torch
from doubles import Figure, TinyModel, Windows, events, new_run, plan
from torch import nn

from heed.config import make_config
from heed.errors import CheckpointError, ConfigError
from heed.training.average import WeightAverage
from heed.training.fit import fit
from heed.training.run import Run
from heed.training.step import Updater


class Scalar(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros((), dtype=torch.float64))


def test_it_is_the_mean_of_the_last_share_of_the_weights():
    model = Scalar()
    average = WeightAverage(model, plan(steps=10, average_fraction=0.3))
    for step in range(1, 11):
        model.w.data.fill_(step**2)
        average.update(step)
    assert average.count == 3
    with average.in_place():
        assert model.w.item() == pytest.approx((64 + 81 + 100) / 3, abs=1e-12)
    assert model.w.item() == 100
    assert average.state() == {"w": torch.tensor(100.0)}


def test_a_training_that_ends_by_the_clock_goes_by_its_share_of_time():
    model = Scalar()
    average = WeightAverage(model, plan(steps=1000, average_fraction=0.3))
    for step, used in enumerate((0.2, 0.5, 0.69, 0.71, 0.9), 1):
        average.update(step, used)
    assert average.count == 2


def test_without_a_share_nothing_is_averaged():
    model = Scalar()
    average = WeightAverage(model, plan(steps=2))
    average.update(2)
    assert (average.count, average.state()) == (0, {})


def test_a_checkpoint_gives_both_back():
    one, other = TinyModel(), TinyModel(torch.Generator().manual_seed(1))
    average = WeightAverage(one, plan(steps=4, average_fraction=1.0))
    draw = torch.Generator().manual_seed(2)
    for step in (1, 2):
        for parameter in one.parameters():
            parameter.data.normal_(generator=draw)
        average.update(step)
    trained = {name: tensor.clone() for name, tensor in average.state().items()}
    with average.in_place():
        other.load_state_dict(one.state_dict())
    again = WeightAverage(other, plan(steps=4, average_fraction=1.0))
    again.load_state(trained, average.count)
    for name, parameter in other.named_parameters():
        assert torch.equal(parameter, one.get_parameter(name))
        assert torch.equal(again.mean[name], average.mean[name])
    with pytest.raises(CheckpointError, match="do not fit"):
        again.load_state({"x": torch.zeros(1)}, 1)


def test_a_run_that_goes_on_for_longer_begins_its_mean_anew():
    model = Scalar()
    average = WeightAverage(model, plan(steps=20, average_fraction=0.1))
    average.load_state({"w": torch.tensor(3.0, dtype=torch.float64)}, 2)  # as begun under fewer steps
    average.update(11)
    assert (average.count, average.mean) == (0, {})


# ---------------------------------------------------------------------- NT-ASGD: when the loss no longer falls


def begins_at(losses, patience):
    """The number of the evaluation (from 0) at which the mean begins, or None."""
    average = WeightAverage(Scalar(), plan(average_patience=patience))
    return next((t for t, loss in enumerate(losses) if average.watch(loss)), None)


def reference(losses, n):
    """Algorithm 1 of Merity et al. 2018, as their code has it: v above the lowest of the logs before the last n."""
    logs = []
    for t, v in enumerate(losses):
        if t > n and v > min(logs[: t - n]):
            return t
        logs.append(v)
    return None


@pytest.mark.parametrize(
    ("losses", "patience", "begin"),
    [
        ([5, 4, 3, 2, 1], 1, None),  # falls
        ([5, 4, 4.5, 4.2, 4.1], 1, 3),  # 4.5 is above 4, but only 5 lies more than one evaluation back; 4.2 > min(5, 4)
        ([5, 4, 4.5, 4.2, 4.1], 2, 4),
        ([5, 4, 4.5, 4.2, 3.9], 2, None),
        ([5, 5, 5], 1, None),  # as good is not worse
    ],
)
def test_noise_shorter_than_the_patience_does_not_begin_it(losses, patience, begin):
    assert begins_at(losses, patience) == begin == reference(losses, patience)


def test_it_begins_where_the_paper_says():
    draw = torch.Generator().manual_seed(3)
    found = set()
    for _ in range(50):
        losses = (torch.linspace(2, 1, 12) + 0.3 * torch.randn(12, generator=draw)).tolist()
        for patience in (1, 2, 5):
            assert begins_at(losses, patience) == reference(losses, patience)
            found.add(begins_at(losses, patience))
    assert len(found) > 5  # at many places, and nowhere in some


def test_the_mean_holds_the_weights_of_the_evaluation_and_all_later_ones():
    model = Scalar()
    average = WeightAverage(model, plan(steps=10, average_patience=1))
    for step, loss in ((1, 3.0), (2, 2.0), (3, 4.0), (4, 4.0), (5, 9.0), (6, 1.0)):
        model.w.data.fill_(step**2)
        average.update(step)
        assert average.watch(loss) == (step == 3)
    assert average.losses == [3.0, 2.0, 4.0]  # what came later decides nothing
    with average.in_place():
        assert model.w.item() == pytest.approx((9 + 16 + 25 + 36) / 4, abs=1e-12)
    assert model.w.item() == 36


def overfitting(folder):
    """A training whose validation is text of another rule, so that its loss soon rises; begins or goes on."""
    run = Run.open(folder) if (folder / "config.yaml").exists() else new_run(folder)
    model = TinyModel(dropout=0.2)
    held_out = torch.randint(11, (16, 7), generator=torch.Generator().manual_seed(5))

    def validation():
        with torch.no_grad():
            return Figure(model.loss(held_out[:, :-1], held_out[:, 1:]).item())

    settings = plan(steps=40, eval_every=3, checkpoint_every=5, average_patience=2)
    resume = bool(list(run.checkpoints.glob("step-*")))
    fit(model, Windows(), settings, run, validation=validation, resume=resume)
    return run


def outcome(run):
    last = run.checkpoints / "step-00000040"
    losses = [(event["step"], event["loss"]) for event in events(run, "evaluation")]
    return [(last / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")], losses


# with too few losses to judge by, with enough of them, and with a mean
@pytest.mark.parametrize("die_at", [7, 11, 28])
def test_a_cut_off_training_goes_on_bit_for_bit(tmp_path, monkeypatch, die_at):
    whole = overfitting(tmp_path / "whole")
    update = Updater.update

    def dies(self, step, *rest):
        if step == die_at:
            raise RuntimeError("the power fails")
        return update(self, step, *rest)

    monkeypatch.setattr(Updater, "update", dies)
    with pytest.raises(RuntimeError, match="power"):
        overfitting(tmp_path / "cut")
    monkeypatch.setattr(Updater, "update", update)
    cut = overfitting(tmp_path / "cut")
    assert outcome(cut) == outcome(whole)


def test_where_the_mean_begins_is_told_and_kept(tmp_path):
    run = overfitting(tmp_path / "run")
    steps = [event["step"] for event in events(run, "evaluation")]
    begin = steps[reference([event["loss"] for event in events(run, "evaluation")], 2)]
    state = json.loads((run.checkpoints / "step-00000040" / "state.json").read_text())["state"]
    assert 11 < begin < 28  # the places at which the test above cuts it off
    assert state["averaged"] == 40 - begin + 1
    assert len(state["watched"]) == steps.index(begin) + 1


def test_it_needs_something_to_go_by(tmp_path):
    with pytest.raises(ConfigError, match="average_patience: goes by the validation loss"):
        fit(TinyModel(), Windows(), plan(average_patience=1), new_run(tmp_path / "run"))
    with pytest.raises(ConfigError, match="average_patience: says when to average, and so does"):
        make_config({"train": {"average_patience": 1, "average_fraction": 0.5}})
