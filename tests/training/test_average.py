"""The mean of the weights: its numbers, and that training never notices it."""

import pytest
import torch
from doubles import TinyModel, plan
from torch import nn

from heed.errors import CheckpointError
from heed.training.average import WeightAverage


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
