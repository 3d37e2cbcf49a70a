"""How an answer is read, by hand."""

import math

import pytest

from heed.api import CompletionAnswer, CompletionChoice
from heed.errors import ApiError
from heed.prompting.scoring import (
    Scored,
    calibrated,
    class_of_token,
    is_right,
    read_first_token,
    read_text,
    scored_words,
    without_content,
    word_logprob,
)
from heed.prompting.task import PromptTask, TaskData, read_task

TASK = PromptTask(
    name="t", template="{text}", labels={"false": ("no", "not at all"), "true": ("yes",)}, data=TaskData(source="x")
)


@pytest.mark.parametrize(
    ("text", "said"),
    [(" yes", "true"), ("Yes.", "true"), (" NO, because", "false"), (' "no"', "false"), ("not at all", "false"),
     ("**Yes**", "true"), ("nothing", None), ("yesterday", None), ("I say yes", None), ("", None), ("  ", None),
     ("no-one", "false"), ("(yes)", "true")],
)  # fmt: skip
def test_a_text_begins_with_the_word_of_a_class(text, said):
    found = read_text(TASK, text)
    assert found.predicted == said
    assert bool(found.problem) == (said is None)


def answer(choice: CompletionChoice) -> CompletionAnswer:
    return CompletionAnswer((choice,), 1, 1)


def first(*tokens: tuple[str, float]) -> CompletionAnswer:
    return answer(CompletionChoice("", "length", top_logprobs=(tuple((t, math.log(p)) for t, p in tokens),)))


def test_first_tokens_are_added_up():
    found = read_first_token(TASK, first((" yes", 0.3), (" Yes", 0.1), (" no", 0.2), (" the", 0.15)))
    assert found.predicted == "true"
    assert found.scores == pytest.approx({"true": 0.4, "false": 0.2})
    assert found.probabilities == pytest.approx({"true": 2 / 3, "false": 1 / 3})
    assert class_of_token(TASK, " n") == "false"
    assert class_of_token(TASK, " nothing") is None
    assert class_of_token(TASK, " ") is None
    two = PromptTask(name="t", template="{text}", labels={"a": ("negative",), "b": ("neutral",)}, data=TASK.data)
    assert class_of_token(two, " ne") is None  # begins a word of both
    assert class_of_token(two, " neg") == "a"


def test_no_word_among_the_likeliest_tokens_is_not_read():
    found = read_first_token(TASK, first((" the", 0.5), (" a", 0.2)))
    assert found.predicted is None
    assert "no word of a class" in found.problem
    with pytest.raises(ApiError, match="shows no log-probabilities"):
        read_first_token(TASK, answer(CompletionChoice(" yes", "length")))


def echoed(tokens: list[str], logprobs: list[float | None], offsets: list[int] | None = None) -> CompletionAnswer:
    given = None if offsets is None else tuple(offsets)
    choice = CompletionChoice("".join(tokens), "length", tuple(tokens), tuple(logprobs), text_offset=given)
    return answer(choice)


def test_the_log_probability_of_a_word_is_that_of_its_tokens():
    tokens: list[str] = ["Is it", " so", "?", " y", "es"]
    values: list[float | None] = [None, -1.0, -2.0, -0.5, -0.25]
    assert word_logprob("Is it so?", echoed(tokens, values)) == (-0.75, 2)
    assert word_logprob("Is it so?", echoed(tokens, values, [7, 12, 15, 16, 18])) == (-0.75, 2)  # offsets from 7
    assert word_logprob("Is it so? ", echoed(tokens, values)) == (-0.75, 2)  # a token across the border belongs to it


def test_a_letter_of_several_tokens_at_the_border():
    tokens: list[str] = ["a", "", "é", "", "ü"]  # é and ü are two bytes, each a token
    values: list[float | None] = [None, -1.0, -2.0, -4.0, -8.0]
    assert word_logprob("aé", echoed(tokens, values)) == (-12.0, 2)


@pytest.mark.parametrize(
    "choice",
    [CompletionChoice("yes", "stop"), CompletionChoice(" yes", "stop", (" yes",), (-1.0,)),
     CompletionChoice("ab", "stop", ("ab",), (None,))],
)  # fmt: skip
def test_an_api_that_does_not_echo_is_refused(choice):
    with pytest.raises(ApiError):
        word_logprob("a", answer(choice))


def test_words_by_their_log_probability():
    found = scored_words({"false": -800.0, "true": -801.0})
    assert found.predicted == "false"
    assert found.probabilities == pytest.approx({"false": 0.7310586, "true": 0.2689414})


def test_calibration_divides_by_what_is_said_of_nothing():
    empty = without_content([scored_words({"a": math.log(p), "b": math.log(1 - p)}) for p in (0.9, 0.8, 0.7)], "ab")
    assert empty == pytest.approx({"a": 0.8, "b": 0.2})
    found = calibrated(scored_words({"a": math.log(0.7), "b": math.log(0.3)}), empty)
    assert found.predicted == "b"
    assert found.probabilities == pytest.approx({"a": 0.875 / 2.375, "b": 1.5 / 2.375})
    unread = Scored(None, problem="why")
    assert calibrated(unread, empty) is unread
    with pytest.raises(ApiError, match="calibration needs a probability of 'b'"):
        without_content([Scored("a", probabilities={"a": 1.0, "b": 0.0})], "ab")


def test_texts_are_compared_as_the_task_says():
    written = 'name: t\nkind: text\ntemplate: "{text}"\nitems: [{text: a}]\n'
    exact, loose = read_task(written, "f"), read_task(written + "compare: loose\n", "f")
    assert is_right(exact, ' "He  goes. "', "He goes.")
    assert not is_right(exact, "he goes.", "He goes.")
    assert is_right(loose, "paris.", "Paris")
    assert not is_right(loose, "Paris, France", "Paris")
