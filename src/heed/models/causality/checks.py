"""The other witnesses of the audit. Each returns a `Check`; what cannot be looked into is `ok=None`, with the reason.

gradient     no gradient of logits[t] reaches the embedding of a later token (a leak without gradients passes)
prefixes     a prefix alone gives the logits that it has within the longer sequence
huge         last activations a thousand times as large do not move earlier positions
cache        decoding token by token with a cache gives the logits of the full pass
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heed.models.base import LanguageModel
from heed.models.causality.chance import separated
from heed.models.causality.probe import Probe, UnreadableError, altered, difference, largest

FACTORS = (1e3, 30.0)
"""By how much the last activations are multiplied; the second where the first overflows."""


@dataclass(frozen=True)
class Check:
    """What one witness says."""

    name: str
    ok: bool | None
    """None: it could not look."""
    detail: str


@dataclass(frozen=True)
class Losses:
    """Next-token loss of the same tokens in two ways, in nats a token."""

    usual: float
    """All in one pass, as models are trained and scored."""
    honest: float
    """Each from its prefix alone, as a model writes."""
    tokens: int


def check_gradient(probe: Probe, T: int) -> Check:
    """Look for a gradient of logits[t] at the embedding of a later token."""
    ids, name = probe.draw(1, T), "gradient"
    found: list[Tensor] = []

    def detach(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if isinstance(module, nn.Embedding) and not found and torch.equal(inputs[0].cpu(), ids):
            found.append(output.detach().requires_grad_())
            return found[0]
        return None

    try:
        with torch.enable_grad(), altered(detach):
            logits = probe.call(ids)
    except UnreadableError as error:
        return Check(name, None, f"cannot be read: {error}")
    if not found or not logits.requires_grad:
        return Check(name, None, "no embedding of the ids, or no gradient reaches it")
    direction = torch.randn(logits.shape[-1], generator=probe.generator).to(logits)
    rows = []
    for t in range(T):
        (grad,) = torch.autograd.grad(logits[0, t] @ direction, found[0], retain_graph=True, allow_unused=True)
        rows.append(torch.zeros(T) if grad is None else grad[0].norm(dim=-1).float().cpu())
    size = torch.stack(rows)
    later = size.triu(1)
    if not size.isfinite().all():
        return Check(name, None, "a gradient is not finite")
    allowed = probe.rounding(logits) * size.max()
    if later.max() <= allowed:
        return Check(name, True, f"no gradient reaches a later token (length {T})")
    t, p = (later > allowed).nonzero()[0].tolist()
    return Check(name, False, f"logits at position {t} have a gradient at the embedding of token {p} (length {T})")


def check_prefixes(
    probe: Probe, lengths: list[int], vocab_size: int, given: Tensor | None
) -> tuple[Check, Losses, list[int]]:
    """Compare every prefix of one sequence, and the first half of longer ones, with the full pass.

    Where the logits are of the vocabulary, also return the honest loss beside the usual one; and the lengths of the
    prefixes that give something else.
    """
    T = max((T for T in lengths if T <= 33), default=33)
    ids = given[:, : max(2, T)] if given is not None else probe.draw(2, T)
    full = probe(ids)
    alone = torch.cat([probe(ids[:, : t + 1])[:, -1:] for t in range(ids.shape[1])], dim=1)
    worst, tolerance = _apart(probe, alone, full)
    apart = difference(alone, full).amax(0)
    strange = [t + 1 for t in range(len(apart)) if apart[t] > tolerance]
    detail = f"each prefix of {ids.shape[1]} tokens gives what it gives within the whole"
    for longer in [T for T in lengths if T > 33]:
        ids_longer = probe.draw(1, longer)
        far, allowed = _apart(probe, probe(ids_longer[:, : longer // 2]), probe(ids_longer)[:, : longer // 2])
        strange += [longer // 2] * (far > allowed)
        if far > allowed >= worst:
            worst, tolerance = far, allowed
            detail = f"half of {longer} tokens"
    ok: bool | None = worst <= tolerance
    if not ok and strange and max(strange) <= len(apart):
        t = int(apart.argmax())
        again = [difference(probe(ids[:, : t + 1])[:, -1:], probe(ids)[:, t : t + 1]).max() for _ in range(4)]
        probe.random |= min(again).item() <= tolerance  # what comes seldom is no difference of the lengths
    if not ok and probe.draws_otherwise(ids, ids[:, : max(1, len(apart) // 2)]):
        ok, strange = _apart_by_chance(probe, ids, apart), []
        detail = f"random numbers of its own move a prefix by {worst:.3g}: more than that would be seen"
    if ok is False:
        by = f"{worst:.3g}" + (", more than by chance" if probe.random else "")
        detail = f"a prefix alone gives other logits than within the longer sequence: they differ by {by}"
    targets = ids[:, 1:].reshape(-1).to(full.device)
    if full.shape[-1] < vocab_size or not len(targets):
        return Check("prefixes", ok, detail), Losses(float("nan"), float("nan"), 0), strange
    usual, honest = (F.cross_entropy(x[:, :-1].flatten(0, 1).float(), targets).item() for x in (full, alone))
    return Check("prefixes", ok, detail), Losses(usual, honest, len(targets)), strange


def _apart_by_chance(probe: Probe, ids: Tensor, apart: Tensor) -> bool | None:
    """Say False where prefixes differ from the whole by more than chance, of a model with its own draws; else None.

    A prefix has another shape, so it draws other numbers: answers under many seeds are compared, at the four prefixes
    that are farthest apart.
    """
    rounding = _other_shapes(probe, probe(ids))
    for t in apart.topk(min(4, len(apart))).indices.tolist():

        def alone(seed: int, t: int = t) -> Tensor:
            return probe(ids[:, : t + 1], seed=seed)[:, t].flatten()[None]

        def whole(seed: int, t: int = t) -> Tensor:
            return probe(ids, seed=seed)[:, t].flatten()[None]

        marked, _, spread = separated(alone, whole, rounding)
        if marked.any() and spread > 0:  # what never varies cannot be told from the tokens
            return False
    return None


def check_huge(probe: Probe, T: int) -> Check:
    """Multiply what every embedding and linear layer gives at the last position, and compare the earlier ones.

    Any change of later activations, anywhere inside, leaves a causal model's past as it was. Where the last position
    overflows, nothing can be said: 0 times infinity is NaN, behind the best of masks. What adds everything up and is
    causal all the same (a long convolution by FFT) rounds in units of the largest: that much is allowed, up to 1%.
    """
    ids, start = probe.draw(2, T), T - 1
    name = "huge"
    grown: list[float] = []

    def scale_by(factor: float) -> Any:
        def change(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            if _is_positionwise(module) and output.dim() == 3 and output.shape[:2] == ids.shape:
                scaled = output.clone()
                scaled[:, start:] *= factor
                grown.append(largest(scaled[:, start:]) / largest(scaled[:, :start]))
                return scaled
            return None

        return change

    try:
        base = probe.base(ids, repeats=1)
        for factor in FACTORS:
            grown.clear()
            with altered(scale_by(factor)):
                logits = probe(ids)
            if not grown:
                return Check(name, None, "no embedding or linear layer to act on")
            if logits[:, start:].isfinite().all():
                moved = difference(base.logits, logits)[:, :start]
                rounding = min(base.rounding * max(1.0, *grown), 0.01 * largest(base.logits))
                allowed = max(base.threshold, rounding)
                if moved.max() <= allowed:
                    return Check(name, True, f"last activations {factor:g} times as large move nothing earlier")
                t = int((moved.amax(0) > allowed).nonzero()[0])
                by = f"by {moved.max():.3g}" if moved.max().isfinite() else "to NaN or infinity"
                return Check(name, False, f"last activations {factor:g} times as large move position {t} {by}")
    except UnreadableError as error:
        return Check(name, None, f"cannot be read: {error}")
    return Check(name, None, "the model overflows when its activations are made large")


def check_cache(probe: Probe, T: int) -> Check:
    """Compare decoding with a cache, token by token after the first few, with the full pass."""
    name, model = "cache", probe.module
    ids = probe.draw(2, T)
    pieces = [ids[:, : T // 2], *ids[:, T // 2 :].split(1, dim=1)]
    config = getattr(model, "config", None)
    try:
        full = probe(ids)
        with torch.no_grad():
            if isinstance(model, LanguageModel) and model.caches:
                cache = model.new_cache(2, T)
                parts = [probe.call(piece, cache=cache) for piece in pieces]
            elif getattr(config, "use_cache", False) and not getattr(config, "is_encoder_decoder", False):
                parts = _decode_transformers(probe, pieces)
            else:
                return Check(name, None, "no cache that the audit knows")
    except (UnreadableError, NotImplementedError) as error:
        return Check(name, None, f"cannot be read: {error}")
    apart, allowed = _apart(probe, torch.cat(parts, dim=1), full)
    if apart <= allowed:
        return Check(name, True, f"decoding with the cache gives the logits of the full pass (length {T})")
    if probe.draws_otherwise(ids, pieces[0]):
        return Check(name, None, f"random numbers of its own move it by {apart:.3g}")
    return Check(name, False, f"decoding with the cache gives other logits: they differ by {apart:.3g}")


def _decode_transformers(probe: Probe, pieces: list[Tensor]) -> list[Tensor]:
    """Return the logits of each piece from a model of transformers that goes on with `past_key_values`."""
    parts, past = [], None
    for piece in pieces:
        answer = probe.raw(piece, past_key_values=past, use_cache=True)
        past = getattr(answer, "past_key_values", None)
        if past is None:
            raise UnreadableError("it gives no past_key_values")
        parts.append(probe.check(answer.logits, piece))
    return parts


def _apart(probe: Probe, a: Tensor, b: Tensor) -> tuple[float, float]:
    """Return (largest difference, what is allowed) of answers that were computed in different shapes.

    Other shapes take other kernels, whose rounding adds up over the layers: about a hundred units in float32, a dozen
    in half precision. Noise counts as it does everywhere.
    """
    allowed = _other_shapes(probe, b)
    apart = difference(a, b).max().item()
    if apart > allowed:  # noise is measured only where it matters
        noise = probe.base(probe.draw(*a.shape[:2]), repeats=2).noise
        allowed = max(allowed, 4 * noise)
    return apart, allowed


def _other_shapes(probe: Probe, logits: Tensor) -> float:
    """Return by how much answers may differ that were computed in different shapes."""
    epsilon = probe.epsilon(logits)
    return (1024 if epsilon < 1e-5 else 16) * epsilon * largest(logits)


def _is_positionwise(module: nn.Module) -> bool:
    """Whether a module is an embedding or a linear layer (GPT-2 of transformers calls its own Conv1D)."""
    return isinstance(module, nn.Linear | nn.Embedding) or type(module).__name__ == "Conv1D"
