"""The audit: does a model see the tokens that it should predict? For any `f(ids) -> logits`, written here or not.

A causal model's logits at position t depend on tokens 0..t alone. The audit changes later tokens and compares the
earlier logits, to within the noise of repeated runs and the rounding of the dtype; further witnesses are gradients,
prefixes, huge later activations, another row of the batch, and decoding with a cache.

    verdict = audit(model, vocab_size=50_257)
    verdict.causal, verdict.pair, verdict.cause
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from heed.models.causality.cause import CAUSES, name_cause
from heed.models.causality.checks import Check, Losses, check_cache, check_gradient, check_huge, check_prefixes
from heed.models.causality.exact import doubled
from heed.models.causality.pairs import LENGTH, affordable, search_pairs
from heed.models.causality.probe import HALVES, SWAPPED, Function, Probe, UnreadableError, widened
from heed.models.causality.search import LENGTHS, TRAINING_LENGTHS, Leak, Search, first_pair, search

LONGEST = 512
"""A context up to this is read to its end; of a longer one, this many tokens, unless more are asked for."""


SLIGHT = 64
"""A leak of less than this many thresholds may be rounding, and is looked for in float64 before it is called one."""


@dataclass(frozen=True)
class Coverage:
    """How much was tried: what a good verdict rests on."""

    lengths: int
    sequences: int
    """Sequences of random tokens that were read in evaluation and in training mode."""
    changes: int
    """Sequences that were compared with them, changed in what comes later."""
    pairs: int
    """Neighbours (a, b) whose b was changed behind an a."""
    of_pairs: int
    """Neighbours that the vocabulary has, V * V."""

    def __str__(self) -> str:
        return (
            f"{self.changes:,} changes of {self.sequences:,} sequences of {self.lengths} lengths; "
            f"{self.pairs:,} of {self.of_pairs:,} pairs of neighbours"
        )


@dataclass(frozen=True)
class Verdict:
    """What the audit has found."""

    causal: bool | None
    """False: something earlier depends on something later, or a row on another. None: it could not be told."""
    reason: str | None = None
    """Why it could not be told, or what was left out."""
    pair: tuple[int, int] | None = None
    """The earliest position that a later token reaches, and the nearest token that reaches it."""
    length: int | None = None
    """Length of the sequence in which it does."""
    training: bool = False
    """Whether it does in training mode (and, where there is no other mention, in that alone)."""
    effect: float = 0.0
    """Largest difference of earlier logits."""
    longest: int = 0
    """Tokens of the longest sequence that was read in evaluation mode; 0 where none was."""
    noise: float = 0.0
    """Largest difference of repeated runs."""
    threshold: float = 0.0
    """Differences up to this are noise or rounding."""
    cause: str | None = None
    """A key of `CAUSES`."""
    explanation: str | None = None
    """The cause in words."""
    losses: Losses | None = None
    """The honest loss, on prefixes alone, beside the usual one."""
    checks: tuple[Check, ...] = ()
    coverage: Coverage | None = None
    """What was tried; None where nothing could be."""

    def sentence(self) -> str:
        """Say the verdict in one line."""
        if self.causal is None:
            return f"could not tell: {self.reason}"
        if self.causal:
            caveats = [check.detail for check in self.checks if check.ok is False]
            if self.reason:
                caveats.append(self.reason)
            tried = f"in up to {self.longest:,} tokens" + (f": {self.coverage}" if self.coverage else "")
            return f"causal: the past does not depend on the future ({tried})" + "".join(
                f"; but {line}" for line in caveats
            )
        return f"leaks: {self.finding()}"

    def finding(self) -> str:
        """Say which pair leaks, and why."""
        mode = " in training mode" if self.training else ""
        if self.pair is not None:
            t, p = self.pair
            where = f"position {t} sees token {p} ({self.length} tokens{mode})"
        else:
            where = f"no pair of positions{mode}"
        return f"{where}; {self.explanation}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON: what is not finite is None."""
        values = {"sentence": self.sentence(), **asdict(self), "pair": list(self.pair) if self.pair else None}
        if self.losses is not None:
            values["losses"] = _finite(asdict(self.losses))
        return _finite(values) | {"checks": [asdict(check) for check in self.checks]}


def audit(
    function: Function,
    vocab_size: int,
    *,
    context: int | None = None,
    lengths: Sequence[int] | None = None,
    ids: Tensor | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    pairs: int | None = None,
) -> Verdict:
    """Audit `function(ids (B, T) int64)`, which gives logits (B, T, V): a tensor, `.logits`, or the first of a tuple.

    A module is called in evaluation and in training mode, and stands afterwards as it stood; torch's random numbers
    are as if nothing had been drawn. `lengths` are those to read (default: a ladder up to `context`; without one, up
    to the context that the module says, and up to 512). `ids` (B, T) are the tokens that the losses are of; default:
    random ones. `pairs`: how many pairs of neighbouring tokens to try at least (default: all of a small vocabulary, and
    fewer of a large model). A module of half precision is read in float32 first, where far smaller leaks show.
    """
    if vocab_size < 2:
        return Verdict(None, f"a vocabulary of {vocab_size} leaves nothing to change")
    own = context_of(function)
    ladder = sorted(set(lengths)) if lengths is not None else _ladder(context or (own and min(own, LONGEST)))

    def read() -> Verdict:
        with Probe(function, vocab_size, seed=seed, device=device) as probe:
            return _read(probe, ladder, vocab_size, ids, pairs)

    verdict = wide = None
    if isinstance(function, nn.Module) and any(p.dtype in HALVES for p in function.parameters()):
        with widened([function], HALVES, torch.float32):
            wide = read()
    if wide is None or wide.causal is not False:
        verdict = read()
    if wide is not None and (verdict is None or (verdict.causal is not False and wide.causal is not None)):
        verdict = wide
    assert verdict is not None
    if verdict.causal and own is not None and verdict.longest < own and lengths is None and context is None:
        unread = f"its context is {own:,}: longer sequences were not read (--context {own} reads them)"
        return replace(verdict, reason="; ".join(filter(None, (verdict.reason, unread))))
    return verdict


def _read(probe: Probe, ladder: Sequence[int], vocab_size: int, ids: Tensor | None, pairs: int | None) -> Verdict:
    """Search at every length of a ladder and ask the other witnesses."""
    found = Search()
    search(probe, ladder, training=False, into=found)
    if True in probe.modes:
        search(probe, [T for T in ladder if T in TRAINING_LENGTHS], training=True, into=found)
    for why in found.unread.values():
        if why.endswith(SWAPPED):
            return Verdict(None, why)
    readable = sorted({T for T, training in found.clean if not training} | {leak.T for leak in found.leaks})
    if not readable:
        return judge_search(probe, found, ())
    short = [T for T in readable if T > 1]
    if short and not found.leaks and not found.rows and not found.noise:
        probe.is_random(probe.draw(1, short[0]))
        search_pairs(probe, min(short, key=lambda T: abs(T - LENGTH)), pairs or affordable(probe), found)
    checks, losses = _witnesses(probe, found, readable, vocab_size, ids)
    return judge_search(probe, found, checks, losses)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with None for each number that JSON has no name for."""
    return {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}


def context_of(function: Any) -> int | None:
    """Return the longest sequence that a model says it reads, None where it says nothing."""
    for holder in (function, getattr(function, "config", None)):
        for name in ("context", "max_position_embeddings", "n_positions", "n_ctx", "block_size"):
            value = getattr(holder, name, None)
            if isinstance(value, int) and value > 0:
                return value
    return None


def _ladder(context: int | None) -> list[int]:
    """Return the lengths to read up to a context, its end included.

    >>> _ladder(20), _ladder(512)[-3:], _ladder(2048)[-3:]
    ([1, 2, 3, 7, 16, 17, 20], [128, 257, 512], [257, 512, 2048])
    """
    if context is None:
        return list(LENGTHS)
    return sorted({T for T in (*LENGTHS, 257, LONGEST) if context >= T} | {context})


def _witnesses(
    probe: Probe, found: Search, readable: list[int], vocab_size: int, ids: Tensor | None
) -> tuple[list[Check], Losses | None]:
    """Ask every witness; the first is the search itself, which goes on where a prefix gives something else."""
    losses = None
    try:
        prefixes, losses, strange = check_prefixes(probe, readable, vocab_size, ids)
        if strange and not found.leaks:
            unread = sorted({T for T in strange if T not in readable})
            search(probe, sorted({*unread[:2], *unread[-1:]}), training=False, into=found)
    except UnreadableError as error:
        prefixes = Check("prefixes", None, f"cannot be read: {error}")
    moved = bool(found.leaks)
    what = f"{found.effect:.3g}, with {found.threshold:.3g} for noise and rounding"
    checks = [Check("future", not moved, f"changed later tokens move earlier logits by up to {what}")]
    crossed = max((effect for *_, effect in found.rows), default=0.0)
    detail = f"a changed row moves another by {crossed:.3g}" if crossed else "no row moves when another changes"
    checks.append(
        Check("rows", not crossed, detail) if found.several_rows else Check("rows", None, "one row at a time")
    )
    short = max((T for T in readable if T <= 17), default=readable[0])
    checks += [check_gradient(probe, short), prefixes]
    if losses is not None and losses.tokens:
        detail = f"{losses.honest:.4f} nats on prefixes alone, {losses.usual:.4f} in one pass ({losses.tokens} tokens)"
        apart = abs(losses.honest - losses.usual)
        same = apart <= 0.01 or prefixes.ok is True or (None if probe.random else False)
        checks.append(Check("honest loss", same, detail))
    checks.append(check_huge(probe, short))
    checks.append(check_cache(probe, max((T for T in readable if T <= 33), default=short)))
    return checks, losses if losses is not None and losses.tokens else None


def judge_search(probe: Probe, found: Search, checks: Sequence[Check], losses: Losses | None = None) -> Verdict:
    """Weigh what a search and the other witnesses have found."""
    if not found.leaks and not found.clean:
        why = next(iter(found.unread.values()), "no length of two tokens or more was asked for")
        return Verdict(None, why, noise=found.noise)
    says = {check.name: check for check in checks if check.ok is False}
    seen = Verdict(True, losses=losses, checks=tuple(checks), coverage=_coverage(probe, found), **_sizes(found))
    if found.leaks:
        leak = min(found.leaks, key=lambda leak: (leak.training, leak.T))
        slight = found.noise == 0 and max(leak.effect for leak in found.leaks) < SLIGHT * found.threshold
        if slight and not leak.training and (exact := _judge_exactly(probe, found, seen)).causal:
            return exact
        return _leaking(probe, leak, seen, *name_cause(probe, found))
    if found.rows:
        T, training, effect = found.rows[0]
        sizes = {"length": T, "training": training, "effect": effect}
        return replace(seen, causal=False, cause="batch", explanation=CAUSES["batch"], **sizes)
    if "prefixes" in says:
        detail = says["prefixes"].detail
        if "chance" in detail:  # then a changed token changes what is drawn too, and does not tell what a prefix lacks
            explanation = f"{detail}: why is not known"
            return replace(seen, causal=False, cause="unknown", explanation=explanation)
        return replace(seen, causal=False, cause="length", explanation=f"{CAUSES['length']} ({detail})")
    if found.noise > 0 and found.past <= found.threshold:
        reason = f"repeated runs differ by {found.noise:.3g}, as much as any change of the tokens makes"
        return replace(seen, causal=None, reason=reason)
    seen = replace(seen, reason=_caveat(probe, found))
    return _judge_exactly(probe, found, seen) if says.keys() & {"huge", "gradient"} else seen


def _sizes(found: Search) -> dict[str, Any]:
    """Return the measured sizes of a verdict."""
    longest = max((T for T, training in found.clean if not training), default=0)
    return {"effect": found.effect, "longest": longest, "noise": found.noise, "threshold": found.threshold}


def _coverage(probe: Probe, found: Search) -> Coverage:
    """Return how much a search has tried."""
    lengths = {T for T, _ in found.clean} | {leak.T for leak in found.leaks}
    return Coverage(len(lengths), found.sequences, found.changes, len(found.pairs), probe.vocab_size**2)


def _judge_exactly(probe: Probe, found: Search, seen: Verdict) -> Verdict:
    """Settle a doubt in float64: a leak that is there too is one; else `seen`, and the doubt is a caveat.

    It cannot be told where the function cannot be read so.
    """
    lengths = sorted({T for T, training in found.clean if not training} | {leak.T for leak in found.leaks})
    short = [T for T in lengths if 1 < T <= 17][-3:] or lengths[:1]
    try:
        with doubled(probe, short[0]) as wide:
            exact = Search()
            search(wide, short, training=False, into=exact)
            if exact.clean or exact.leaks:
                verdict = judge_search(wide, exact, ())
                if verdict.causal is False:
                    return replace(verdict, checks=seen.checks, losses=seen.losses, coverage=seen.coverage)
                if wide.floor < torch.finfo(torch.float32).eps:
                    failed = {check.name for check in seen.checks if check.ok is False}
                    fault = "underflow or rounding" if failed - {"gradient"} else "gradients, not logits, look ahead"
                    notes = (seen.reason, f"in float64 no later token moves anything earlier: {fault}")
                    return replace(seen, causal=True, reason="; ".join(filter(None, notes)))
            why = next(iter(exact.unread.values()), "parts of it stay in a coarser type")
    except UnreadableError as error:
        why = str(error)
    doubt = "; ".join(check.detail for check in seen.checks if check.ok is False)
    return replace(seen, causal=None, reason=f"{doubt}, and in float64 it cannot be read ({why})")


def _leaking(probe: Probe, leak: Leak, common: Verdict, cause: str, explanation: str) -> Verdict:
    """Return the verdict on a leak, with its first pair."""
    try:
        pair = first_pair(probe, leak)
    except UnreadableError:
        pair = (leak.past, leak.start)
    return replace(
        common,
        causal=False,
        pair=pair,
        length=leak.T,
        training=leak.training,
        cause=cause,
        explanation=explanation,
    )


def _caveat(probe: Probe, found: Search) -> str | None:
    """Return what a good verdict leaves open: what could not be read, noise, a function that looks at nothing."""
    notes = []
    if found.unread:
        lengths = sorted({T for T, _ in found.unread})
        why = next(iter(found.unread.values()))
        notes.append(f"lengths {', '.join(map(str, lengths))} could not be read ({why})")
    if probe.random or found.noise:
        less = f" of less than about {found.threshold:.2g}" if found.noise else ""
        notes.append(f"it draws random numbers of its own, behind which leaks{less} may hide")
    if found.past <= found.threshold:
        notes.append("it does not depend on its tokens at all")
    elif found.mixed is not None and found.mixed <= found.threshold:
        notes.append("no position depends on an earlier token (weights of 0?)")
    return "; ".join(notes) or None
