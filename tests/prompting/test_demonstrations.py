"""Demonstrations: balanced, in turns, by seed, and never what is tested."""

import pytest

from heed.errors import ConfigError
from heed.prompting.demonstrations import draw_demonstrations, reordered
from heed.prompting.items import PromptItem, without

CLASSES = ("no", "yes")


def item(number: int, answer: str, group: str | None = None) -> PromptItem:
    return PromptItem(f"line {number}", f"text {number}", None, answer, group)


POOL = [item(n, CLASSES[n % 5 == 0]) for n in range(60)]


def test_balanced_and_in_turns():
    drawn = draw_demonstrations(POOL, 8, CLASSES, seed=1)
    assert [one.answer for one in drawn] == ["no", "yes"] * 4
    assert len({one.text for one in drawn}) == 8
    assert [one.answer for one in draw_demonstrations(POOL, 5, CLASSES, seed=1)] == ["no", "yes", "no", "yes", "no"]
    assert draw_demonstrations(POOL, 0, CLASSES, seed=1) == ()


def test_the_seed_decides_and_an_order_keeps_the_set():
    first = draw_demonstrations(POOL, 8, CLASSES, seed=1)
    assert first == draw_demonstrations(POOL, 8, CLASSES, seed=1)
    assert set(first) != set(draw_demonstrations(POOL, 8, CLASSES, seed=2))
    assert set(first) != set(draw_demonstrations(POOL, 8, CLASSES, seed=1, draw=1))
    orders = [draw_demonstrations(POOL, 8, CLASSES, seed=1, order=order) for order in range(6)]
    assert {frozenset(one) for one in orders} == {frozenset(first)}
    assert len(set(orders)) == 6
    assert {one[0].answer for one in orders} == {"no", "yes"}  # whose turn is first is drawn as well
    assert all(one[i].answer != one[i + 1].answer for one in orders for i in range(7))


def test_more_shots_begin_with_the_same():
    few, many = (draw_demonstrations(POOL, shots, ("no",), seed=1) for shots in (2, 6))
    assert many[:2] == few


def test_no_two_of_a_group_and_none_that_is_equal():
    pool = [item(n, "no", group=f"g{n % 3}") for n in range(9)]
    assert len({one.group for one in draw_demonstrations(pool, 3, ("no",), seed=1)}) == 3
    with pytest.raises(ConfigError, match="4 demonstrations need 4 of the class 'no', and 3"):
        draw_demonstrations(pool, 4, ("no",), seed=1)
    twice = [PromptItem("a", "The  Text", None, "no"), PromptItem("b", "the text", None, "no")]
    with pytest.raises(ConfigError, match="lower --shots"):
        draw_demonstrations(twice, 2, ("no",), seed=1)


def test_what_is_tested_is_taken_out_of_the_pool():
    pool = [item(0, "no", "a"), item(1, "no", "b"), item(2, "no", "c"), item(3, "no")]
    tested = [item(9, "no", "b"), PromptItem("x", " TEXT   2", None, "yes", "z")]
    kept, count = without(pool, tested)
    assert ([one.place for one in kept], count) == (["line 0", "line 3"], 2)


def test_demonstrations_of_a_file_stay_as_they_stand():
    written = [item(n, CLASSES[n % 2]) for n in range(4)]
    assert reordered(written, CLASSES, 1, 0) == tuple(written)
    assert set(reordered(written, CLASSES, 1, 1)) == set(written)
    assert set(reordered(written, (), 1, 3)) == set(written)
