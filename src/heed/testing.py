"""For the tests of other projects: assert that a model does not see the tokens that it should predict.

from heed.testing import assert_causal

def test_my_model_is_causal():
    assert_causal(MyModel(vocab_size=256), vocab_size=256)
"""

from __future__ import annotations

from typing import Any

from heed.models.causality import Verdict, audit
from heed.models.causality.probe import Function


def assert_causal(function: Function, vocab_size: int, **options: Any) -> Verdict:
    """Raise `AssertionError` with the finding, unless `function(ids (B, T) int64)` is found to be causal.

    `function` gives logits (B, T, V): a tensor, an object with `.logits`, or a tuple that begins with them; a module
    is called in evaluation and in training mode. `options` are those of `heed.models.causality.audit`: `context`,
    `lengths`, `ids`, `seed`, `device`. What could not be told fails too.

    >>> import torch
    >>> running_sum = lambda ids: torch.nn.functional.one_hot(ids, 5).float().cumsum(1)
    >>> assert_causal(running_sum, vocab_size=5).causal
    True
    >>> whole_sum = lambda ids: torch.nn.functional.one_hot(ids, 5).float().sum(1, keepdim=True).expand(*ids.shape, 5)
    >>> assert_causal(whole_sum, vocab_size=5)
    Traceback (most recent call last):
    AssertionError: leaks: position 0 sees token 1 (2 tokens); later tokens move earlier positions, in whatever order \
they stand: a mean or a maximum over the whole sequence
    """
    verdict = audit(function, vocab_size, **options)
    if verdict.causal is not True:
        raise AssertionError(verdict.sentence())
    return verdict
