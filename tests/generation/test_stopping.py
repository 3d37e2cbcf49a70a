"""Text is shown as soon as it is certain, and not before, wherever the tokens are cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.errors import ConfigError
from heed.generation.stopping import TextFeed, token_texts


def feed_all(pieces: list[bytes], stop: tuple[str, ...]) -> str:
    feed = TextFeed(stop)
    return "".join(feed.push(piece) for piece in pieces) + feed.finish()


def test_a_character_waits_for_its_last_byte():
    feed = TextFeed()
    assert [feed.push(bytes([byte])) for byte in "€x".encode()] == ["", "", "€", "x"]


def test_an_unfinished_character_is_shown_as_such_at_the_end():
    feed = TextFeed()
    assert feed.push("né".encode()[:-1]) == "n"
    assert feed.finish() == "\ufffd"


def test_what_may_become_a_stop_string_waits_until_it_is_decided():
    feed = TextFeed(("abc",))
    assert [feed.push(b) for b in (b"xa", b"b", b"ab", b"cd")] == ["x", "", "ab", ""]
    assert feed.stopped
    assert feed.push(b"more") == feed.finish() == ""


def test_text_held_back_is_shown_when_nothing_follows():
    feed = TextFeed(("abc",))
    assert feed.push(b"xab") + "|" + feed.finish() == "x|ab"


def test_the_stop_string_that_is_complete_first_counts():
    assert feed_all([b"xabcdy"], ("abcd", "bc")) == "xa"


def test_of_two_complete_at_once_the_longer_counts():
    assert feed_all([b"xabcy"], ("bc", "abc")) == "x"


@settings(max_examples=200, deadline=None)
@given(
    st.text("ab€", max_size=12),
    st.lists(st.text("ab€", min_size=1, max_size=3), max_size=3),
    st.lists(st.integers(0, 30), max_size=8),
)
def test_the_text_does_not_depend_on_where_tokens_are_cut(text, stop, cuts):
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    # by its definition: the shortest beginning of the text that ends with a stop string, less the longest such string
    expected = text
    for end in range(len(text) + 1):
        ending = [s for s in stop if text[:end].endswith(s)]
        if ending:
            expected = text[: end - max(map(len, ending))]
            break
    assert feed_all(pieces, tuple(stop)) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=4), max_size=6))
def test_token_texts_join_to_the_decoded_bytes(pieces):
    assert "".join(token_texts(pieces)) == b"".join(pieces).decode(errors="replace")


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ConfigError, match="at least one character"):
        TextFeed(("",))
