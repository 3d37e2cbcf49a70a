"""The names of what the page of cards holds, as its `cards.js` lists them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from heed.errors import ConfigError, did_you_mean

LISTED = re.compile(r"^export const CARDS = \{(.*)\};$", re.MULTILINE)


@cache
def card_names() -> tuple[str, ...]:
    """Return the names of the cards in their order, and of the puzzles and the questions after them."""
    found = LISTED.search(Path(__file__).with_name("static").joinpath("cards.js").read_text(encoding="utf-8"))
    assert found, "cards.js lists the cards in one line"
    cards = [entry.partition(":")[0].strip().strip('"') for entry in found[1].split(",")]
    return (*cards, "puzzles", "quiz")


def check_card(link: str) -> None:
    """Raise `ConfigError` for a link such as `masking` or `scaling?width=4` to no card there is."""
    name = link.partition("?")[0]
    if name not in card_names():
        raise ConfigError(f"unknown card {name[:40]!r}, {did_you_mean(name[:40], card_names())}")
