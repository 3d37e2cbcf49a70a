"""The audit before a training, in about a second: the model itself on short sequences, one block of it on long ones.

Nothing is drawn from the run's random streams, and the model stands afterwards as it stood.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from heed.config import ModelConfig
from heed.errors import ConfigError
from heed.models.base import LanguageModel
from heed.models.causality import Coverage, Verdict, judge_search
from heed.models.causality.checks import check_huge
from heed.models.causality.pairs import LENGTH, search_pairs
from heed.models.causality.probe import Probe
from heed.models.causality.search import Search, search

SHORT, TRAINING = 9, 7
"""Lengths that the whole model reads in evaluation and in training mode."""
MIDDLE, LONG = 65, 513
"""Lengths that one block reads, or its context: one more than multiples of every usual block."""
OUTPUTS = 64
"""Vocabulary of the model of one block."""
WORK = 50_000_000
"""Parameters times pairs of neighbouring tokens that are tried: none of a large model, about 60 of a tiny one."""


class Hidden(nn.Module):
    """The hidden states of a model as if they were logits: the loss reads nothing else, and they cost no head."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return hidden states (B, T, D) of ids (B, T)."""
        return self.model.hidden(ids)


def audit_model(model: LanguageModel, config: ModelConfig, seed: int = 0) -> Verdict:
    """Return a verdict on a causal model that is about to be trained."""
    found, short = Search(), min(model.context, SHORT)
    # parts are copied, for a mechanism may count its calls; their parameters are shared
    double = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    with Probe(Hidden(double), model.vocab_size, seed=seed) as probe:
        search(probe, [short], training=False, into=found, thorough=False, repeats=1)
        search(probe, [min(short, TRAINING)], training=True, into=found, thorough=False, repeats=1)
        few = min(model.vocab_size**2, WORK // model.parameter_count())
        if few > 1 and found.clean and not found.leaks and not found.rows:
            search_pairs(probe, min(short, LENGTH), few, found)
        checks = [check_huge(probe, short)] if short > 1 else []
        verdict = judge_search(probe, found, checks)
    if verdict.causal is False or model.context <= SHORT:
        return verdict
    thin = type(model)(config.model_copy(update={"n_layers": 1}), min(model.vocab_size, OUTPUTS))
    device = next(model.parameters()).device
    with Probe(Hidden(thin.to(device)), thin.vocab_size, seed=seed) as probe:
        found = Search()
        # what reads no short sequences, as one of whole blocks may, reads its context: that is what it is trained on
        last = LONG if verdict.causal else model.context
        lengths = sorted({min(model.context - 1, MIDDLE), min(model.context, last)})
        search(probe, lengths, training=False, into=found, thorough=False, repeats=0)
        block = judge_search(probe, found, checks)
    if block.causal is None:
        return verdict
    return replace(block, coverage=_together(verdict.coverage, block.coverage))


def refuse_leaks(model: LanguageModel, config: ModelConfig, seed: int, say: Callable[[str], object]) -> str | None:
    """Audit a causal model before it is trained: return what leaks, None when nothing does.

    Raises `ConfigError` for a leak that is not allowed, and where it cannot be told.
    """
    if not model.causal or model.context == 1:  # one token has no future
        return None
    verdict = audit_model(model, config, seed)
    model.audited = verdict.sentence()
    if verdict.causal is None:
        if not config.allow_leak:
            raise ConfigError(
                f"model: the audit for leaks {verdict.sentence()}; mend the model, "
                "or train it all the same with model.allow_leak: true"
            )
        say(f"note: the audit for leaks {verdict.sentence()}")
    if verdict.causal and any(check.ok is False for check in verdict.checks):
        say(f"note: the audit for leaks {verdict.sentence()}")
    if verdict.causal is not False:
        return None
    if not config.allow_leak:
        raise ConfigError(
            f"model: {verdict.sentence()}; choose another model.attention.mechanism, "
            "or train it all the same with model.allow_leak: true"
        )
    say(f"LEAKS: {verdict.finding()}; losses are false, the honest one is on prefixes alone")
    return verdict.finding()


def _together(whole: Coverage | None, block: Coverage | None) -> Coverage | None:
    """Return what was tried of the model and of its block together; pairs are those of the model's own vocabulary."""
    if whole is None or block is None:
        return whole or block
    return Coverage(
        whole.lengths + block.lengths,
        whole.sequences + block.sequences,
        whole.changes + block.changes,
        whole.pairs,
        whole.of_pairs,
    )
