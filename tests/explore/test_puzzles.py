"""Puzzles: their own answers are right, near ones are wrong with a reason, and what has no answer has a certificate."""

import numpy as np
import pytest

from heed.errors import ConfigError
from heed.explore.certificates import verify_certificate
from heed.explore.precision import in_precision
from heed.explore.puzzles import COURSE_KEYS, COURSE_VALUES, KINDS, generate, puzzle_of, puzzles

ALL = puzzles()


@pytest.mark.parametrize("name", ALL)
def test_the_answer_of_each_is_right_and_others_are_wrong(name):
    puzzle = ALL[name]
    assert puzzle.answer is not None
    verdict = puzzle.check(puzzle.answer.tolist())
    assert verdict.right, verdict
    worse = np.random.default_rng(0).normal(size=puzzle.shape) * 3 + 1
    wrong = puzzle.check(worse)
    assert not wrong.right
    assert wrong.reason
    assert wrong.numbers
    assert puzzle.text.endswith(".")
    assert not puzzle.check(None).right


@pytest.mark.parametrize("name", ALL)
def test_an_answer_of_another_shape_is_wrong_with_a_reason(name):
    puzzle = ALL[name]
    for odd in ([1.0], [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]], [], np.full(puzzle.shape, np.nan), "word", [[1], [2, 3]]):
        verdict = puzzle.check(odd)
        assert not verdict.right
        assert verdict.reason.startswith("answer: ")


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("cse517")])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_answers_of_the_course_hold_in_less_precision(name, precision):
    """By attention itself, within 0.05."""
    puzzle = ALL[name]
    for row in np.atleast_2d(puzzle.answer) if puzzle.kind != "key" else [puzzle.given["query"]]:
        keys = COURSE_KEYS.copy()
        if puzzle.kind == "key":
            keys[2] = puzzle.answer
        exact = in_precision(row, keys, COURSE_VALUES, "float64").output
        found = in_precision(row, keys, COURSE_VALUES, precision).output
        answer = row if puzzle.kind == "query" else puzzle.answer
        assert np.abs(found - exact).max() < 0.05
        assert puzzle.check(answer).right
        if puzzle.kind != "queries":
            wanted = {"cse517-average-all": COURSE_VALUES.mean(0), "cse517-average-pair": COURSE_VALUES[:2].mean(0),
                      "cse517-key-average-three": COURSE_VALUES[:3].mean(0),
                      "cse517-key-alone": COURSE_VALUES[2]}.get(name)  # fmt: skip
            wanted = COURSE_VALUES[int(name[-1])] if wanted is None else wanted
            assert np.abs(found - wanted).max() < 0.05


def test_printed_answers_of_the_course():
    million = 1e6 * COURSE_KEYS
    assert ALL["cse517-identity"].check(million).right
    assert ALL["cse517-copy-0"].check(million[0]).right
    assert ALL["cse517-average-all"].check(COURSE_KEYS.mean(0)).right  # errs by 0.020
    assert ALL["cse517-average-pair"].check(10 * (COURSE_KEYS[0] + COURSE_KEYS[1]) / 2).right
    pair = (COURSE_KEYS[0] + COURSE_KEYS[1]) / 2
    assert ALL["cse517-key-average-three"].check(pair).right
    assert not ALL["cse517-key-average-three"].check(30 * pair).right  # the query itself as key
    assert "it must be 1" in ALL["cse517-key-alone"].check(pair).reason


def test_reasons_help():
    half = ALL["hw6-extract-orthogonal"].check(np.diag([1.0, 1, 0, 0, 0]))
    assert "double" in half.reason
    sign = -ALL["hw5-output-gradient"].answer
    assert "softmax(o_t) - y_t" in ALL["hw5-output-gradient"].check(sign).reason


@pytest.mark.parametrize("kind", KINDS)
def test_generated_ones_are_right_or_have_a_certificate(kind):
    impossible = 0
    for seed in range(20):
        puzzle = generate(kind, seed)
        assert puzzle_of(puzzle.id).text == puzzle.text
        if puzzle.answer is not None:
            assert puzzle.check(puzzle.answer).right, puzzle.id
            assert not puzzle.check(None).right
            continue
        impossible += 1
        assert puzzle.certificate is not None
        keys, weights = puzzle.given["keys"], puzzle.given["weights"]
        subset = np.flatnonzero(weights > 0).tolist()
        about_weights = not puzzle.certificate.outside.any()
        assert verify_certificate(keys, subset, puzzle.certificate, weights if about_weights else None).holds
        assert puzzle.check(None).right
        draw = np.random.default_rng(seed)
        assert not any(puzzle.check(query).right for query in draw.normal(size=(200, 2)) * 20)
    assert (impossible > 0) == (kind in ("select", "average", "weights"))
    assert impossible < 15


def test_bad_names():
    for name in ("nothing", "select-x", "select-", "-1"):
        with pytest.raises(ConfigError, match="unknown puzzle"):
            puzzle_of(name)
    with pytest.raises(ConfigError, match="unknown value 'choose'"):
        generate("choose", 1)
    with pytest.raises(ConfigError, match="seed: -1"):
        generate("select", -1)
