"""Gradients of a recurrent net by hand, beside autograd and beside differences; graphs; what is left after n steps."""

import numpy as np
import pytest
import torch

from heed.build import build_model
from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.explore.computation_graph import graph_of, recurrent_graph
from heed.explore.recurrent import (
    LinearNet,
    autograd_difference,
    gradient_reach,
    hand_gradients,
    linear_net,
    random_net,
)


def case(seed=0, x=3, h=4, y=2, T=3):
    draw = np.random.default_rng(100 + seed)
    return random_net(x, h, y, seed), draw.normal(size=(T, x)), draw.integers(0, y, T)


@pytest.mark.parametrize("sizes", [(3, 4, 2, 3), (1, 1, 2, 1), (5, 7, 4, 12)])
def test_the_gradients_are_those_of_autograd_to_1e_15(sizes):
    x, h, y, T = sizes
    for seed in range(5):
        assert autograd_difference(*case(seed, x, h, y, T)) < 4e-15 * max(1, T)


def test_the_equations_of_each_step():
    net, x, y = case(2)
    found = hand_gradients(net, x, y)
    for t in range(3):
        error = found.probabilities[t] - np.eye(2)[y[t]]
        assert found.of_outputs[t] == pytest.approx(error)
        for i in range(t + 1):
            power = np.linalg.matrix_power(net.W_hh.T, t - i)
            assert found.of_hidden[t, i] == pytest.approx(power @ net.W_yh.T @ error)
        parts = [np.outer(found.of_hidden[t, i], found.hidden[i]) for i in range(t + 1)]
        assert found.recurrent_by_step[t] == pytest.approx(sum(parts))
    assert found.W_hh == pytest.approx(found.recurrent_by_step.sum(0))
    assert not found.of_hidden[0, 1:].any()


def test_a_gradient_is_a_difference():
    net, x, y = case(1)
    found = hand_gradients(net, x, y)
    step = 1e-6
    for i, j in ((0, 0), (2, 3)):
        moved = net.W_hh.copy()
        moved[i, j] += step
        up = hand_gradients(LinearNet(moved, net.W_hx, net.W_yh, net.h0), x, y).losses.sum()
        assert (up - found.losses.sum()) / step == pytest.approx(found.W_hh[i, j], abs=1e-5)


def test_the_sign_for_the_other_class():
    """The gradient of the true class is negative, that of the other positive and as large."""
    net, x, y = case()
    for t, row in enumerate(hand_gradients(net, x, y).of_outputs):
        assert row[y[t]] < 0 < row[1 - y[t]]
        assert row.sum() == pytest.approx(0)


def test_one_term_alone_is_far_off():
    """0.86 in the assignment's example; what it is depends on the weights, and it is never small for long texts."""
    errors = [hand_gradients(*case(seed)).one_term_error for seed in range(200)]
    assert np.quantile(errors, 0.1) < 0.86 < max(errors)
    assert np.median(errors) > 0.2
    assert hand_gradients(*case(T=1)).one_term_error == 0


def test_the_power_of_the_radius():
    for radius, fate in ((0.8, "vanishes"), (1.25, "explodes")):
        found = gradient_reach(random_net(h=6, radius=radius).W_hh, 60)
        assert found.radius == pytest.approx(radius)
        assert found.fate == fate
        assert (found.norms[60] / found.norms[40]) ** (1 / 20) == pytest.approx(radius, rel=0.03)
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    assert gradient_reach(turn).fate == "stays"
    assert gradient_reach(turn).norms == pytest.approx(np.ones(51))
    bump = gradient_reach([[0.5, 10.0], [0.0, 0.5]])
    assert bump.fate == "vanishes"
    assert bump.norms.max() > 9
    assert "not normal" in bump.explanation


class TestGraphs:
    def test_of_the_assignment(self):
        graph = recurrent_graph(3)
        assert sum(node.kind == "loss" for node in graph.nodes) == 4
        assert [a for a, b in graph.arrows if b == "h_2"] == ["h_1", "W_hh", "x_2", "W_hx"]
        ways = {"J": 1}

        def count(name):
            if name not in ways:
                ways[name] = sum(count(b) for a, b in graph.arrows if a == name)
            return ways[name]

        assert count("W_hh") == 1 + 2 + 3  # ways from W_hh to J: t of them by J_t
        assert graph.dot().count("->") == len(graph.arrows)

    def test_arrows_go_to_later_columns(self):
        graph = recurrent_graph(4)
        places = graph.rows()
        assert len(set(places.values())) == len(graph.nodes)
        for a, b in graph.arrows:
            assert places[a][0] < places[b][0]

    @pytest.mark.parametrize("kind", ["gpt", "lstm"])
    def test_of_a_small_model(self, kind):
        model = build_model(ModelConfig(kind=kind, n_layers=1, n_heads=2, d_model=8, context=4), 5)
        loss = model.loss(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]]))
        graph = graph_of(loss, model)
        labels = {node.label for node in graph.nodes if node.kind == "parameter"}
        assert labels == {name for name, value in model.named_parameters() if value.requires_grad}
        places = graph.rows()
        assert all(places[a][0] < places[b][0] for a, b in graph.arrows)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: linear_net([[1, 2]], [[1]], [[1]]), "W_hh: it is 1 x 2, it must be square"),
        (lambda: linear_net([[1]], [[1], [2]], [[1]]), "W_hx: there are 2 rows, there must be 1"),
        (lambda: hand_gradients(random_net(), [[1, 2, 3]], [2]), "targets: each must be one of the 2 classes"),
        (lambda: hand_gradients(random_net(), [[1, 2]], [0]), "inputs: rows have 2 numbers, they must have 3"),
        (lambda: gradient_reach([[1e50]], 9), "is beyond the largest number"),
        (lambda: hand_gradients(linear_net([[1e50]], [[1]], [[1], [1]], [1]), [[1]] * 3, [0] * 3), "W_hh: the hidden"),
        (lambda: linear_net([[1e99]], [[1]], [[1]]), "W_hh: holds a number beyond 1e"),
        (lambda: recurrent_graph(0), "steps: 0 must be a whole number"),
        (lambda: graph_of(torch.ones(1)), "output: it has no gradient"),
        (lambda: random_net(radius=-1), "radius: -1 must be above 0"),
    ],
)
def test_bad_input(call, why):
    with pytest.raises(ConfigError, match=why):
        call()


def test_a_net_of_ones_own():
    net = linear_net([[0.5]], [[1.0]], [[1.0], [-1.0]], [2.0])
    found = hand_gradients(net, [[1.0]], [0])
    assert found.hidden.tolist() == [[2.0], [2.0]]
    assert found.losses[0] == pytest.approx(np.log1p(np.exp(-4)))


def test_a_loss_whose_probability_underflows_is_finite():
    net = linear_net([[0.0]], [[1.0]], [[1000.0], [-1000.0]])
    found = hand_gradients(net, [[1.0]], [1])
    assert found.losses.tolist() == [2000.0]
