"""Names, places and dates in a text, and the tokens they are made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heed.text.salient import salient_runs, salient_tokens
from heed.text.tokenizers.bpe_trainer import train_bpe


def runs(text: str) -> list[str]:
    return [text[start:end] for start, end in salient_runs(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("no capitals at all", []),
        ("Lebanon", ["Lebanon"]),
        ("Ada Lovelace. Born in London , she wrote .", ["Ada Lovelace", "London"]),
        ("x. He left. The end! Why? 1920 was late.", ["1920"]),
        ("x. Stanley Corrsin was here", ["Stanley Corrsin"]),  # two capitals at the beginning of a sentence are a name
        ("born 26 February 1840 Columbus, Ohio", ["26 February 1840 Columbus", "Ohio"]),
        ("in the 1860s to O'Brien and Saint-Denis", ["1860s", "O'Brien", "Saint-Denis"]),
        ("by J. R. R. Tolkien himself", ["J. R. R. Tolkien"]),
        ("in Paris. Lyon is far", ["Paris"]),  # a full stop after a word ends the run, and Lyon begins a sentence
        ("à Évry et à Łódź", ["Évry", "Łódź"]),
        ("in  Rome  Italy", ["Rome", "Italy"]),
        ("iPhone snake_Case _X", []),
        ("東京 1923年", ["1923年"]),
    ],
)
def test_runs_by_hand(text, expected):
    assert runs(text) == expected


def hidden(text: str, repeated: bool = False) -> list[str]:
    bpe = train_bpe([text * 3, text], 330)
    ids = bpe.encode_array(text).astype(np.int64)
    return [bpe.decode(ids[start:end]) for start, end in salient_tokens(ids, bpe.pieces, repeated=repeated)]


def test_runs_in_tokens_hold_the_space_before_them():
    text = "Zoë Łęcka. Zoë was born in Łódź on 3 May 1920 and met Ada Łęcka ."
    assert hidden(text) == [" Łódź", " 3 May 1920", " Ada Łęcka"]
    assert hidden(text, repeated=True) == ["Zoë Łęcka", " Łódź", " 3 May 1920", " Ada Łęcka"]


@given(st.text(max_size=40), st.integers(0, 8))
@settings(max_examples=200, deadline=None)
def test_of_any_bytes_each_run_is_covered_by_its_tokens(text, cut):
    """One token a byte, so a run's tokens are its bytes; the text may be cut within a character."""
    data = text.encode("utf-8", "replace")[cut:]
    ids = np.frombuffer(data, np.uint8).astype(np.int64)
    pieces = [bytes([byte]) for byte in range(256)]
    expected = [run.encode("utf-8", "surrogateescape") for run in runs(data.decode("utf-8", "surrogateescape"))]
    found = [bytes(ids[a:b].tolist()) for a, b in salient_tokens(ids, pieces, repeated=True)]
    assert found == expected
