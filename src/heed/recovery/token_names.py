"""Tokens and how APIs write them: the strings of a vocabulary, and which ids a string may mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heed.recovery.oracle import BiasQuestion


class TokenNames:
    """The bytes of each token by id, (V,) of them."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = list(pieces)
        self._ids: dict[str, list[int]] = {}
        for token, piece in enumerate(self.pieces):
            for written in {piece.decode("utf-8", errors="replace"), as_bytes(piece)}:
                self._ids.setdefault(written, []).append(token)

    def __len__(self) -> int:
        return len(self.pieces)

    def name(self, token: int) -> str:
        """Return a token as text; what is no UTF-8 is U+FFFD."""
        return self.pieces[token].decode("utf-8", errors="replace")

    def meant(self, written: str, question: BiasQuestion) -> int:
        """Return the id of a token that an API wrote as text, -1 where that may be several.

        Of equal ones the one that was biased upwards is meant, and none that was banned.
        """
        ids = self._ids.get(written, [])
        biases: Mapping[int, float] = dict(question.bias)
        raised = [token for token in ids if biases.get(token, 0.0) > 0]
        left = raised or [token for token in ids if biases.get(token, 0.0) == 0]
        return left[0] if len(left) == 1 else -1


def as_bytes(piece: bytes) -> str:
    r"""Return the bytes of a token as OpenAI writes those that are no text.

    >>> as_bytes(b"\xe2\x80")
    'bytes:\\xe2\\x80'
    """
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
