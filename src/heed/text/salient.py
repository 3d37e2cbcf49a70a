"""Names, places and dates in a text: what is worth knowing by heart, and so worth hiding.

REALM hides such spans rather than random ones (Guu et al. 2020, section 3.4, "salient span masking") and finds them
with a tagger of names and a pattern for dates. Here a run is one or more capitalised words and numbers in a row, which
needs no model. In scripts without capitals only numbers are found.

    Marie Curie. Marie Curie was a physicist, born on 7 November 1867 in Warsaw .
    ^^^^^^^^^^^  ^^^^^^^^^^^                          ^^^^^^^^^^^^^^^    ^^^^^^
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

_WORD = re.compile(r"\b[^\W_a-z]\w*(?:['\u2019-]\w+)*")
"""A word that may be one of a run: whether a letter beyond a to z is a capital, the pattern cannot say."""
_ENDS = (".", "!", "?")


def salient_runs(text: str) -> list[tuple[int, int]]:
    """Return where runs of capitalised words and numbers begin and end, in characters.

    Words of a run are a space apart, or a full stop and a space after an initial. A lone capitalised word that begins
    a sentence (He, The, Born) is no run, since nothing tells it from a name; at the beginning of the text it is one.

    >>> text = "J. R. Hartley. Born in St-Malo, he died on 7 May 1926 ."
    >>> [text[start:end] for start, end in salient_runs(text)]
    ['J. R. Hartley', 'St-Malo', '7 May 1926']
    """
    runs: list[tuple[int, int]] = []
    doubtful: set[int] = set()  # where runs of one word begin a sentence
    last = 0  # where the last capitalised word begins
    for match in _WORD.finditer(text):
        start, end = match.span()
        if not (text[start].isupper() or text[start].isdigit()):
            continue
        between = text[runs[-1][1] : start] if runs else ""
        if between == " " or (between == ". " and runs[-1][1] - last == 1):
            runs[-1] = runs[-1][0], end
            doubtful.discard(runs[-1][0])
        else:
            runs.append((start, end))
            if text[start].isupper() and text[max(0, start - 3) : start].rstrip().endswith(_ENDS):
                doubtful.add(start)
        last = start
    return [run for run in runs if run[0] not in doubtful]


def salient_tokens(ids: np.ndarray, pieces: Sequence[bytes], *, repeated: bool = False) -> list[tuple[int, int]]:
    """Return the runs of `salient_runs` in tokens: each holds all tokens that have a part in it, the space before too.

    `ids` (n,) are the tokens, `pieces` the bytes of each token of the vocabulary. Without `repeated` the run that
    begins the text, and every run made of words of it, are left out: the name of whom the text is about, which can be
    copied from its beginning.
    """
    parts = [pieces[id] for id in ids.tolist()]
    # What is no UTF-8, where a text is cut within a character, comes as one surrogate a byte and so goes back.
    text = b"".join(parts).decode("utf-8", "surrogateescape")
    runs = salient_runs(text)
    if runs and not repeated and not text[: runs[0][0]].strip():
        name = set(_WORD.findall(text, *runs[0]))
        runs = [run for run in runs if not name.issuperset(_WORD.findall(text, *run))]
    if not text.isascii():
        runs = [tuple(len(text[:at].encode("utf-8", "surrogateescape")) for at in run) for run in runs]
    ends = list(accumulate(map(len, parts)))
    return [(bisect_right(ends, start), bisect_right(ends, end - 1) + 1) for start, end in runs]
