"""Positions against the equation of the paper, and against what they promise."""

import torch

from heed.attention import LearnedPositions, NoPositions, RotaryPositions, Shape
from heed.attention.positions import rotate
from reference import attention as reference


def test_rotary_equals_the_loop_at_every_position():
    q, k = torch.randn(2, 3, 9, 6, dtype=torch.float64), torch.randn(2, 1, 9, 6, dtype=torch.float64)
    turned, turned_k = RotaryPositions(Shape(18, 3, 20), base=100.0).double().at(slice(5, 14))(q, k)
    for t in range(9):
        # the tables are kept in float32: 6e-8 of relative rounding
        torch.testing.assert_close(turned[1, 2, t], reference.rotary(q[1, 2, t], 5 + t, 100.0), rtol=0, atol=1e-6)
        torch.testing.assert_close(turned_k[0, 0, t], reference.rotary(k[0, 0, t], 5 + t, 100.0), rtol=0, atol=1e-6)


def test_a_turned_dot_product_depends_on_the_distance_only():
    torch.manual_seed(0)
    q, k = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    products = [reference.rotary(q, p + 3, 10.0) @ reference.rotary(k, p, 10.0) for p in (0, 5, 50)]
    torch.testing.assert_close(products[1], products[0])
    torch.testing.assert_close(products[2], products[0])
    scheme = RotaryPositions(Shape(8, 1, 60), base=10.0).double()
    near = [scheme.at(slice(p, p + 4))(q.view(1, 1, 1, 8).expand(1, 1, 4, 8), k.view(1, 1, 1, 8).expand(1, 1, 4, 8))
            for p in (0, 50)]  # fmt: skip
    ours = [(a[0, 0, 3] @ b[0, 0, 0]).item() for a, b in near]
    assert abs(ours[0] - ours[1]) < 1e-5  # float32 tables
    assert abs(ours[0] - products[0].item()) < 1e-5


def test_a_quarter_turn_by_hand():
    x = torch.tensor([[[[1.0, 0.0]]]])
    assert rotate(x, torch.tensor([0.0]), torch.tensor([1.0])).flatten().tolist() == [0.0, 1.0]


def test_rows_with_their_own_positions_are_turned_each_by_its_own():
    scheme = RotaryPositions(Shape(4, 1, 8))
    q = torch.randn(2, 1, 3, 4)
    index = torch.tensor([[0, 1, 2], [3, 4, 5]])
    both, _ = scheme.at(index)(q, q)
    torch.testing.assert_close(both[1:], scheme.at(slice(3, 6))(q[1:], q[1:])[0])


def test_rotary_tables_are_not_saved():
    assert RotaryPositions(Shape(4, 1, 8)).state_dict() == {}


def test_learned_positions_are_added_and_turn_nothing():
    scheme = LearnedPositions(Shape(2, 1, 4))
    torch.nn.init.constant_(scheme.weight, 0.0)
    with torch.no_grad():
        scheme.weight[2] = torch.tensor([1.0, 2.0])
    assert scheme.add(torch.zeros(1, 2, 2), slice(1, 3)).tolist() == [[[0, 0], [1, 2]]]
    assert scheme.add(torch.zeros(1, 2, 2), torch.tensor([[2, 0]])).tolist() == [[[1, 2], [0, 0]]]
    assert scheme.at(slice(0, 2)) is None


def test_no_positions_do_nothing():
    x = torch.randn(1, 2, 4)
    scheme = NoPositions(Shape(4, 1, 8))
    assert scheme.add(x, slice(0, 2)) is x
    assert scheme.at(slice(0, 2)) is None
