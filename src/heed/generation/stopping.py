"""Where an answer ends, and what of it may be shown already: UTF-8 and stop strings over token boundaries.

A token may end in the middle of a character, and a stop string may begin in one token and end in another. So text
passes through two gates: bytes wait until they are whole characters, and characters wait while they may still turn
out to be the beginning of a stop string.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from heed.errors import ConfigError


class TextFeed:
    """Text out of a stream of token bytes, up to the first stop string.

    The stop string that is complete first ends the text, and the text ends before it. Of two that are complete at the
    same character, the longer one counts. So the result does not depend on how the text was cut into tokens.
    Bytes that are no UTF-8 become U+FFFD, as in `bytes.decode(errors="replace")`.

    >>> feed = TextFeed(("\\n\\n",))
    >>> [feed.push(piece) for piece in (b"caf\\xc3", b"\\xa9\\n", b"bar\\n", b"\\nzap")]
    ['caf', 'é', '\\nbar', '']
    >>> feed.stopped
    True
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        if not all(stop):
            raise ConfigError("a stop string must hold at least one character; leave it out for none")
        self.stop = stop
        self.stopped = False
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def push(self, piece: bytes) -> str:
        """Take the bytes of one token and return the text that is now certain, often an empty string."""
        return self._release(self._decoder.decode(piece))

    def finish(self) -> str:
        """Return what was held back, now that nothing follows; an unfinished character becomes U+FFFD."""
        text = self._release(self._decoder.decode(b"", final=True)) + ("" if self.stopped else self._held)
        self._held = ""
        return text

    def _release(self, new: str) -> str:
        """Add whole characters, and let go of those that no stop string can claim any more."""
        if self.stopped:
            return ""
        text = self._held + new
        if not self.stop:
            return text
        found = [(at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            cut = min(found)[1]
            self._held = ""
        else:
            cut = len(text) - max(_overlap(text, stop) for stop in self.stop)
            self._held = text[cut:]
        return text[:cut]


def token_texts(pieces: Iterable[bytes]) -> list[str]:
    """Return the text of each token, so that joined they are the whole text.

    A character whose bytes lie in several tokens belongs to the one that completes it.

    >>> token_texts([b"na", b"\\xc3", b"\\xafve"])
    ['na', '', 'ïve']
    """
    feed = TextFeed()
    texts = [feed.push(piece) for piece in pieces]
    if texts:
        texts[-1] += feed.finish()
    return texts


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` with which `stop` begins, less than all of `stop`.

    >>> _overlap("one, tw", "two"), _overlap("one", "two")
    (2, 0)
    """
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
