"""The helper for the tests of other projects."""

import pytest

from heed.models.causality import audit
from heed.testing import assert_causal
from models.leaking_zoo import Transformer, V, correct, even_only, off_by_one


def test_a_causal_model_passes_and_returns_the_verdict():
    assert assert_causal(Transformer(correct), V, context=20) == audit(Transformer(correct), V, context=20)


def test_a_leak_is_an_assertion_error_with_the_finding():
    with pytest.raises(AssertionError, match=r"leaks: position 0 sees token 1 .* off by one"):
        assert_causal(Transformer(off_by_one), V, context=20)


def test_what_cannot_be_told_fails_too():
    with pytest.raises(AssertionError, match="could not tell: ValueError: the length must be even"):
        assert_causal(even_only, V, lengths=[3, 5])
