"""The contracts of mixing: equations, gradients, causality, masks, and decoding. See `contracts.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from heed.attention.cache import StateCache
from heed.attention.contracts import trial as tools
from heed.attention.contracts.trial import (
    CONTEXT,
    HEADS,
    LONG,
    TOLERANCE,
    Leaves,
    Trial,
    cut,
    demand,
    distance,
    mix,
    qkv,
)
from heed.attention.facts import Wishes, refuse_impossible
from heed.attention.masks import Mask, make_mask
from heed.attention.mechanism import Mechanism
from heed.attention.scores import SCORES
from heed.errors import ConfigError, HeedError


def paths(trial: Trial) -> str:
    """The fast path equals the equation written out (path "reference"): outputs and every gradient."""
    tried = 0
    for causal in trial.modes:
        for T in (1, 7, CONTEXT, LONG):
            fast, slow = (trial.make(causal, context=T, path=path) for path in ("auto", "reference"))
            inputs = trial.draw(T)
            for what, mask in trial.masks(T, causal).items():
                if T == LONG and "right" in what:
                    continue  # the short lengths have seen it, and this one takes most of the time
                got, expected = mix(fast, inputs, mask), mix(slow, inputs, mask)
                _same(trial, fast, slow, inputs, got, expected, f"the fast path, T = {T}, {what}")
                tried += 1
    return f"the fast path equals the reference in {tried} trials, T = 1 to {LONG}: outputs and gradients"


def reference(trial: Trial) -> str:
    """The fast path equals a loop written from the paper, row by row: outputs and every gradient."""
    if trial.reference is None:
        return "does not apply: no loop was given"
    for causal in trial.modes:
        for T in (1, 5):
            mechanism, inputs = trial.make(causal), trial.draw(T)
            for what, mask in trial.masks(T, causal).items():
                dense = mask.dense()
                allowed = torch.ones(1, 1, T, T, dtype=torch.bool) if dense is None else dense.expand(2, 1, T, T)
                for row in range(2 if what == "padding on the left" else 1):
                    # positions count from the first real token, so the loop is given the row without its padding
                    begin = 0 if mask.start is None else int(mask.start[row])
                    q, k, v = (x[row, :, begin:] for x in qkv(inputs))
                    if not len(v[0]):
                        continue
                    seen = allowed[min(row, len(allowed) - 1), 0, begin:, begin:].tolist()
                    got = mix(mechanism, inputs, mask)[row, :, begin:]
                    expected = trial.reference(mechanism, q, k, v, seen)
                    _same(trial, mechanism, mechanism, inputs, got, expected, f"the loop, T = {T}, {what}")
    return "equals the loop of the paper at T = 1 and 5, with and without padding: outputs and gradients"


def _same(
    trial: Trial, fast: Mechanism, slow: Mechanism, inputs: Leaves, got: Tensor, expected: Tensor, what: str
) -> None:
    """Demand that two outputs agree, and their gradients for inputs and parameters."""
    far = distance(got, expected)
    demand(far < TOLERANCE, f"{what}: outputs are {far:.1e} apart")
    wanted = [inputs["v"]] if trial.facts.differentiable == "values" else list(inputs.values())
    ours = tools.gradients(got, [*wanted, *fast.parameters()])
    theirs = tools.gradients(expected, [*wanted, *slow.parameters()])
    names = ["v"] if trial.facts.differentiable == "values" else list(inputs)
    names += [name for name, _ in fast.named_parameters()]
    for name, a, b in zip(names, ours, theirs, strict=True):
        demand(distance(a, b) < TOLERANCE, f"{what}: gradients of {name} are {distance(a, b):.1e} apart")


def gradients(trial: Trial) -> str:
    """Every parameter gets a gradient, and gradients are what a small step measures."""
    for causal in trial.modes:
        mechanism, inputs = trial.make(causal), trial.draw()
        mask, names = make_mask(CONTEXT, causal=causal), [name for name, _ in mechanism.named_parameters()]
        found = tools.gradients(mix(mechanism, inputs, mask), mechanism.parameters())
        for name, gradient in zip(names, found, strict=True):
            demand(bool(gradient.isfinite().all()), f"the gradient of {name} is not finite")
            demand(bool(gradient.any()), f"the parameter {name} gets no gradient: it can never learn")
        every = trial.facts.differentiable == "all"
        wanted = [*(inputs.values() if every else [inputs["v"]]), *mechanism.parameters()]
        names = [*(inputs if every else ["v"]), *names]
        slopes = tools.gradients(mix(mechanism, inputs, mask), wanted)
        for name, x, slope in zip(names, wanted, slopes, strict=True):
            demand(bool(slope.any()), f"facts.differentiable is {trial.facts.differentiable!r}, but {name} gets none")
            measured, size = _slope(mechanism, inputs, mask, x)
            claimed = float((slope * size).sum())
            # a step of 1e-6 leaves an error of 1e-10 in float64, and one of 0.1 where anything inside is float32
            demand(
                abs(measured - claimed) < 1e-5 * max(1.0, abs(claimed)),
                f"the gradient of {name} says {claimed:.6g}, a small step measures {measured:.6g}",
            )
    return "every parameter learns, and gradients are what small steps measure"


def _slope(mechanism: Mechanism, inputs: Leaves, mask: Mask, x: Tensor, step: float = 1e-6) -> tuple[float, Tensor]:
    """Return how fast the weighted sum of `tools.gradients` grows when x moves a small step, and the direction."""
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    before, sums = x.detach().clone(), []
    with torch.no_grad():
        for sign in (1, -1):
            x.copy_(before + sign * step * direction)
            y = mix(mechanism, inputs, mask)
            weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
            sums.append(float((y * weights).sum()))
        x.copy_(before)
    return (sums[0] - sums[1]) / (2 * step), direction


def future(trial: Trial) -> str:
    """What comes later never moves what came before, however large it is: values and gradients."""
    facts = trial.facts
    if facts.causal == "never":
        wishes = Wishes(causal=True, masks=frozenset({"causal"}), positions=min(facts.positions))
        try:
            refuse_impossible(trial.name, facts, wishes)
        except ConfigError:
            return "never causal, and a causal model is refused"
        raise tools.BrokenContractError("never causal, but a causal model is not refused")
    moved = 0.0
    for T, splits in ((CONTEXT, range(1, CONTEXT)), (LONG, (1, 64, 100, 256))):
        mechanism, inputs, fresh = trial.make(True, context=T), trial.draw(T), trial.draw(T, seed=1)
        mask = make_mask(T, causal=True)
        y = mix(mechanism, inputs, mask).detach()
        for t in splits:
            for factor in (1.0, 30.0, 1e3, -1e3):
                changed = tools.replace(inputs, torch.arange(T) >= t, fresh, factor)
                past = mix(mechanism, changed, mask)[:, :, :t]
                far = distance(past, y[:, :, :t])
                moved = max(moved, far)
                if facts.causal == "leaks":
                    continue
                demand(
                    far < TOLERANCE,
                    f"tokens from {t} of {T} on, times {factor:g}, move y before by {far:.1e}",
                )
                for part, slope in zip(inputs, tools.gradients(past, inputs.values()), strict=True):
                    demand(bool(slope.isfinite().all()), f"a later token, times {factor:g}: {part} has a NaN gradient")
                    demand(not slope[:, :, t:].any(), f"an output before token {t} has a gradient to {part} after it")
    moved = max(moved, _future_while_training(trial))
    if facts.causal == "leaks":
        demand(moved > 1e-6, "declared as leaking, but the future does not move the past: declare it exact")
        return f"leaks, as declared: the future moves the past by {moved:.1e}"
    return f"the future does not move the past at any of {CONTEXT} positions, nor up to {LONG}, also 1,000 times larger"


def _future_while_training(trial: Trial) -> float:
    """Return by how much the future moves the past in training mode; each call a fresh layer with the same draws."""
    mask, moved = make_mask(CONTEXT, causal=True), 0.0
    inputs, fresh = trial.draw(), trial.draw(seed=1)

    def output(read: Leaves) -> Tensor:
        mechanism = trial.make(True).train()  # fresh, for a call may count: features that are redrawn
        torch.default_generator.manual_seed(2)
        return mix(mechanism, read, mask).detach()

    y = output(inputs)
    for t in (1, CONTEXT - 1):
        changed = tools.replace(inputs, torch.arange(CONTEXT) >= t, fresh, 1.0)
        far = distance(output(changed)[:, :, :t], y[:, :, :t])
        moved = max(moved, far)
        exact = trial.facts.causal == "exact"
        demand(not exact or far < TOLERANCE, f"in training mode tokens from {t} on move y before by {far:.1e}")
    return moved


def padding(trial: Trial) -> str:
    """Padding is never looked at: a padded row gives what it gives alone, and an empty one gives zeros."""
    if "padding" not in trial.facts.masks:
        return "does not apply: facts.masks does not name it"
    T, L = CONTEXT, CONTEXT - 3
    for causal in trial.modes:
        mechanism, inputs, fresh = trial.make(causal), trial.draw(T), trial.draw(T, seed=1)
        for side in ("left", "right"):
            real = torch.arange(T) >= T - L if side == "left" else torch.arange(T) < L
            if side == "left":
                mask = make_mask(T, causal=causal, start=torch.tensor([T - L, 0]))
            else:
                mask = make_mask(T, causal=causal, padding=torch.stack([real, torch.ones(T, dtype=torch.bool)]))
            y = mix(mechanism, inputs, mask)
            where = torch.stack([~real, torch.zeros(T, dtype=torch.bool)])
            for factor in (1.0, 1e3, -1e3):
                other = mix(mechanism, tools.replace(inputs, where, fresh, factor), mask)
                far = max(distance(other[0, :, real], y[0, :, real]), distance(other[1], y[1]))
                demand(far < TOLERANCE, f"what stands in padding on the {side}, times {factor:g}, moves y by {far:.1e}")
            begin = T - L if side == "left" else 0
            alone = mix(mechanism, cut(tools.rows(inputs, [0]), begin, begin + L), make_mask(L, causal=causal))
            far = distance(y[:1, :, real], alone)
            demand(far < TOLERANCE, f"a row with padding on the {side} is {far:.1e} from the same row alone")
        empty = mix(mechanism, inputs, make_mask(T, causal=causal, start=torch.tensor([T, 0])))
        demand(not empty[0].any(), "a query that may look nowhere does not give zeros")
        for part, slope in zip(inputs, tools.gradients(empty, inputs.values()), strict=True):
            demand(bool(slope.isfinite().all()), f"a query that may look nowhere: {part} has a NaN gradient")
    return "padding on both sides changes nothing, whatever stands in it; a row of nothing else gives zeros"


def window(trial: Trial) -> str:
    """A sliding window hides what is farther away."""
    if "window" not in trial.facts.masks:
        return "does not apply: facts.masks does not name it"
    if trial.facts.causal == "leaks":
        return "does not apply: what is hidden leaks, as declared"
    mechanism, inputs, mask = trial.make(True), trial.draw(), make_mask(CONTEXT, causal=True, window=3)
    far_away = torch.arange(CONTEXT) < CONTEXT - 3
    moved = mix(mechanism, tools.replace(inputs, far_away, trial.draw(seed=1), 1e3), mask)[:, :, -1]
    far = distance(moved, mix(mechanism, inputs, mask)[:, :, -1])
    demand(far < TOLERANCE, f"a token outside the window moves the output by {far:.1e}")
    return "tokens outside the window move nothing"


def rows(trial: Trial) -> str:
    """A row of the batch knows nothing of another."""
    for causal in trial.modes:
        mechanism, inputs, fresh = trial.make(causal), trial.draw(batch=3), trial.draw(batch=3, seed=1)
        mask = make_mask(CONTEXT, causal=causal)
        y = mix(mechanism, inputs, mask)
        where = torch.tensor([[False], [True], [False]]).expand(3, CONTEXT)
        for factor in (1.0, 1e3):
            moved = mix(mechanism, tools.replace(inputs, where, fresh, factor), mask)
            far = distance(moved[[0, 2]], y[[0, 2]])
            demand(far < TOLERANCE, f"another row of the batch, times {factor:g}, moves y by {far:.1e}")
        far = distance(mix(mechanism, tools.rows(inputs, [0]), mask), y[:1])
        demand(far < TOLERANCE, f"a row alone is {far:.1e} from the same row in a batch")
    return "rows of a batch are independent"


def lengths(trial: Trial) -> str:
    """One token, and as many as the context, work; more are refused where parameters belong to positions."""
    for causal in trial.modes:
        mechanism = trial.make(causal)
        for T in (1, 2, CONTEXT - 1, CONTEXT):
            y = mix(mechanism, trial.draw(T), make_mask(T, causal=causal))
            demand(y.shape == (2, HEADS, T, tools.WIDTH), f"T = {T} gives the shape {tuple(y.shape)}")
            demand(bool(y.isfinite().all()), f"T = {T} gives numbers that are not finite")
        T = CONTEXT + 1
        try:
            y = mix(mechanism, trial.draw(T), make_mask(T, causal=causal))
        except HeedError:
            demand(trial.facts.lengths == "fixed", "a sequence longer than the context is refused: say lengths='fixed'")
        else:
            demand(trial.facts.lengths == "any", "facts.lengths is 'fixed', but more than the context is not refused")
            demand(y.shape[2] == T and bool(y.isfinite().all()), "beyond the context the output is wrong")
    return "T = 1 up to the context works, and more is " + ("refused" if trial.facts.lengths == "fixed" else "fine too")


def cache(trial: Trial) -> str:
    """Decoding in pieces with the cache equals reading everything at once, also with padding on the left."""
    if trial.facts.cache == "none":
        return "does not apply: no cache declared"
    mechanism, inputs = trial.make(True, context=CONTEXT + 2), trial.draw(CONTEXT + 2)
    order = torch.tensor([1, 0, 1])
    for start in (None, torch.tensor([0, 2])):
        where = "" if start is None else " with padding on the left"
        store, current, first = mechanism.new_cache(2, CONTEXT + 2, torch.float64, torch.device("cpu")), inputs, start
        kind = "state" if isinstance(store, StateCache) else "keys"
        demand(kind == trial.facts.cache, f"facts.cache is {trial.facts.cache!r}, but new_cache gives {kind}")
        begin = 0
        for piece in (1, 3, 2, 1, 1, 2, 1):
            end = begin + piece
            mask = make_mask(piece, end, causal=True, start=first)
            q, k, v = qkv(cut(current, begin, end))
            if isinstance(store, StateCache):
                y = mechanism.extend(q, k, v, mask, store)
            else:
                y = mechanism(q, *store.append(k, v), mask)
            demand(store.used == end, f"the cache counts {store.used} tokens after {end}{where}")
            # of a mechanism that leaks, decoding can only give what it gives for the tokens read so far
            whole = mix(mechanism, cut(current, 0, end), make_mask(end, causal=True, start=first))[:, :, begin:]
            far = distance(y, whole)
            demand(far < TOLERANCE, f"decoding tokens {begin} to {end}{where} is {far:.1e} from the full forward")
            begin = end
            if end == 6:  # rows move, as when one prompt feeds many
                store.keep(order)
                current, first = tools.rows(current, order.tolist()), None if first is None else first[order]
    return "pieces of 1, 2 and 3 tokens equal the full forward, also with left padding and when rows move"


def groups(trial: Trial) -> str:
    """Fewer key/value heads are the same as repeated ones."""
    if not trial.facts.grouped:
        return "does not apply: no grouped heads declared"
    for causal in trial.modes:
        for kv_heads in (1, 2):
            few = trial.draw(kv_heads=kv_heads)
            many = {part: x if part == "q" else x.repeat_interleave(HEADS // kv_heads, 1) for part, x in few.items()}
            mask = make_mask(CONTEXT, causal=causal)
            mechanism = trial.make(causal, kv_heads=kv_heads)
            far = distance(mix(mechanism, few, mask), mix(mechanism, many, mask))
            demand(far < TOLERANCE, f"{kv_heads} key/value heads are {far:.1e} from the same heads repeated")
    return "1 and 2 key/value heads for 4 query heads equal repeated ones"


def scores(trial: Trial) -> str:
    """Every score that the facts name works, on both paths and without a look at the future."""
    declared = trial.facts.scores
    unknown = sorted(declared - set(SCORES) - {"any"})
    demand(not unknown, f"facts.scores names {unknown}, which there is not; there are {sorted(SCORES)}")
    names = sorted(SCORES) if "any" in declared else sorted(declared)
    for name in names:
        for causal in trial.modes:
            fast, slow = (trial.make(causal, path=path, score=name) for path in ("auto", "reference"))
            inputs, mask = trial.draw(), make_mask(CONTEXT, causal=causal)
            got, expected = mix(fast, inputs, mask), mix(slow, inputs, mask)
            _same(trial, fast, slow, inputs, got, expected, f"score {name}")
            if causal and trial.facts.causal == "exact":
                changed = tools.replace(inputs, torch.arange(CONTEXT) >= 5, trial.draw(seed=1), 1e3)
                far = distance(mix(fast, changed, mask)[:, :, :5], got[:, :, :5])
                demand(far < TOLERANCE, f"score {name}: the future moves the past by {far:.1e}")
    return f"works with {', '.join(names)}" if names else "does not apply: queries meet no keys"
