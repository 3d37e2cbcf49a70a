"""heed gives what it gave: batches to the bit, figures but for the last digits, events, keys and exit codes."""

import json
import os
from pathlib import Path

import pytest
from golden_cases import GOLDEN, PARTS, write_texts

from forked import fork_what_heed_starts

pytestmark = pytest.mark.slow
EXPECTED = json.loads(GOLDEN.read_text(encoding="utf-8"))
NEAR = 2e-4
"""Relative difference of figures after a dozen steps in float32 on another processor."""


@pytest.fixture(scope="module", autouse=True)
def workplace(tmp_path_factory):
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("golden"))
    write_texts(Path.cwd())
    yield
    os.chdir(before)


def differences(expected, found, where=""):
    """Yield each place where two plain values differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            if key not in expected or key not in found:
                yield f"{where}.{key}: {'new' if key not in expected else 'gone'}"
            else:
                yield from differences(expected[key], found[key], f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, pair in enumerate(zip(expected, found, strict=True)):
            yield from differences(*pair, f"{where}[{index}]")
    elif isinstance(expected, float) and isinstance(found, float):
        if found != pytest.approx(expected, rel=NEAR, abs=1e-6):
            yield f"{where}: {expected} before, {found} now"
    elif expected != found or type(expected) is not type(found):
        yield f"{where}: {expected!r} before, {found!r} now"


@pytest.mark.parametrize("part", PARTS)
def test_it_is_what_it_was(part, monkeypatch):
    fork_what_heed_starts(monkeypatch)
    found = list(differences(EXPECTED[part], json.loads(json.dumps(PARTS[part]()))))
    assert not found, "\n".join(found)
