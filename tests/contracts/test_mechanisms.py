"""Every contract for every mechanism of the catalogue; and mechanisms that are wrong on purpose are caught."""

import importlib
from pathlib import Path

import pytest
import torch

from contracts.broken_mechanisms import BROKEN, Honest
from heed.attention import MECHANISMS, Softmax
from heed.attention.contracts import CONTRACTS, check_mechanism
from reference.attention import softmax_attention

FOLDER = Path(__file__).resolve().parents[1] / "reference"


def softmax_heads(mechanism, q, k, v, allowed):
    """Softmax attention of every head of one row."""
    share = len(q) // len(k)
    return torch.stack([softmax_attention(q[h], k[h // share], v[h // share], allowed) for h in range(len(q))])


def references():
    """The loops of tests/reference, by the name of the mechanism that they judge."""
    loops = {"softmax": softmax_heads}
    for file in sorted(FOLDER.glob("*.py")):
        loops |= getattr(importlib.import_module(f"reference.{file.stem}"), "REFERENCES", {})
    return loops


SMALL = {
    "aft-full": [{"rank": 3}],
    "aft-local": [{"window": 3}],
    "argmax": [{"straight_through": True}],
    "bigbird": [{"block": 2, "global_blocks": 1, "random_blocks": 1}],
    "linformer": [{"rank": 3, "share": "none"}, {"rank": 3, "share": "kv"}],
    "performer": [{"features": 8, "orthogonal": False}, {"features": 8, "kind": "trigonometric"}],
    "sliding-window": [{"window": 3}],
    "synthesizer-random": [{"rank": 2}, {"trainable": False}],
}
"""Options beside the default ones, so small that a short trial goes beyond a block, a window or a rank."""
SLOW = {"linformer", "performer"}
"""Mechanisms whose loop takes seconds with the default options: it judges the small ones."""
TRIALS = [(name, {}) for name in MECHANISMS] + [(name, given) for name, many in SMALL.items() for given in many]


def broken(findings):
    return {finding.name: finding.detail for finding in findings if not finding.ok}


@pytest.mark.parametrize(("name", "options"), TRIALS, ids=[f"{name} {given or ''}".strip() for name, given in TRIALS])
def test_mechanism_keeps_every_contract(name, options):
    loop = references().get(name) if options or name not in SLOW else None
    findings = check_mechanism(MECHANISMS[name], name, reference=loop, options=options)
    assert broken(findings) == {}
    assert [finding.name for finding in findings] == list(CONTRACTS)


def test_every_mechanism_has_a_loop_written_from_its_paper():
    missing = sorted(set(MECHANISMS) - set(references()))
    assert not missing, f"write a file in tests/reference with REFERENCES = {{name: loop}} for {missing}"


def test_an_honest_mechanism_passes_without_a_reference():
    assert broken(check_mechanism(Honest, "honest")) == {}


@pytest.mark.parametrize(("kind", "contract"), BROKEN.items(), ids=lambda x: getattr(x, "__name__", x))
def test_broken_mechanism_is_caught_by_the_contract_that_it_breaks(kind, contract):
    assert contract in broken(check_mechanism(kind, "broken"))


def test_a_wrong_loop_is_caught():
    def unscaled(mechanism, q, k, v, allowed):
        return softmax_heads(mechanism, 2 * q, k, v, allowed)

    assert set(broken(check_mechanism(Softmax, "softmax", reference=unscaled))) == {"reference"}


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    check_mechanism(Softmax, "softmax")
    assert torch.equal(before, torch.get_rng_state())
