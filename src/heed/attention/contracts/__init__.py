"""The contract of every attention mechanism, as tests that follow from its `Facts`: run them on your own too.

    for finding in check_mechanism(MyMechanism, "mine"):
        assert finding.ok, finding.detail

or `heed audit --contracts my_package.my_module:MyMechanism`. Each contract is one function below: it tries the
mechanism, returns in a sentence what it tried, and raises `BrokenContractError` with what went wrong. The contracts of
mixing itself are in `contracts_mixing.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from heed.attention import MASKS, POSITIONS
from heed.attention.contracts import mixing
from heed.attention.contracts.trial import (
    CONTEXT,
    HEADS,
    WIDTH,
    BrokenContractError,
    Reference,
    Trial,
    demand,
    distance,
    mix,
)
from heed.attention.masks import make_mask
from heed.attention.mechanism import Mechanism
from heed.attention.options import option_docs, own_options


@dataclass(frozen=True)
class Finding:
    """What one contract found."""

    name: str
    """The contract: a name of `CONTRACTS`."""
    ok: bool
    """Whether it holds; also where the facts say that it does not apply."""
    detail: str
    """What was tried, or what is wrong."""


def check_mechanism(
    kind: type[Mechanism], name: str, *, reference: Reference | None = None, options: Mapping[str, Any] | None = None
) -> list[Finding]:
    """Return what every contract finds for a mechanism built with `options`; some seconds on one core at most.

    `reference` is a loop for one row: f(mechanism, q (H,T,K), k (Hkv,S,K), v, allowed T x S of booleans) -> (H,T,K).
    torch's global random state is left as it was.
    """
    trial = Trial(kind, name, reference, dict(options or {}))
    findings = []
    with torch.random.fork_rng(devices=[]):
        for contract, tries in CONTRACTS.items():
            torch.default_generator.manual_seed(0)  # on the CPU, without notes for devices that are not asked
            try:
                findings.append(Finding(contract, True, tries(trial)))
            except BrokenContractError as broken:
                findings.append(Finding(contract, False, str(broken)))
            except (Exception, SystemExit) as error:  # whatever somebody's code raises is what was found
                findings.append(Finding(contract, False, f"{type(error).__name__}: {error}"))
    return findings


def declaration(trial: Trial) -> str:
    """The facts are complete, use known names, and agree with each other; the options are documented."""
    facts = trial.facts
    for field in ("equation", "source", "time", "memory"):
        demand(bool(getattr(facts, field).strip()), f"facts.{field} is empty: say it for those who read the table")
    for field, known in (("masks", MASKS), ("positions", POSITIONS)):
        unknown = sorted(getattr(facts, field) - set(known))
        demand(not unknown, f"facts.{field} names {unknown}, which there is not; there are {sorted(known)}")
    demand(bool(facts.masks) or facts.causal == "never", "facts.masks is empty")
    honours = "causal" in facts.masks
    demand(honours == (facts.causal != "never"), f"facts.causal is {facts.causal!r}, but masks is {set(facts.masks)}")
    decodes = facts.cache != "none"
    demand(not decodes or facts.causal != "never", "a mechanism that is never causal cannot decode with a cache")
    demand(not decodes or "padding" in facts.masks, "a cache needs the mask 'padding': prompts differ in length")
    explained = option_docs(trial.kind)
    for option, parameter in own_options(trial.kind).items():
        demand(parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"option {option} must be keyword-only")
        demand(parameter.annotation is not inspect.Parameter.empty, f"option {option} needs a type: flags are text")
        demand(parameter.default is not inspect.Parameter.empty, f"option {option} needs a default")
        demand(bool(explained.get(option)), f"the class docstring has no line '{option}: what it does'")
    return "facts are complete and agree, options have types, defaults and a line"


def initialisation(trial: Trial) -> str:
    """Nothing is drawn at construction; `initialise` alone fills everything, also what was built on no device."""
    shape = trial.make().shape
    before = torch.get_rng_state()
    made = trial.kind(shape, **trial.options)
    made.initialise(torch.Generator().manual_seed(0))
    demand(
        torch.equal(before, torch.get_rng_state()),
        "construction or initialise draws from torch's global generator: use the one that initialise is given",
    )
    with torch.device("meta"):
        unset = trial.kind(shape, **trial.options)
    unset.to_empty(device="cpu")
    with torch.no_grad():
        for stored in unset.state_dict().values():
            stored.fill_(torch.nan if stored.is_floating_point() else 0)
    unset.initialise(torch.Generator().manual_seed(0))
    for key, stored in unset.state_dict().items():
        demand(bool(stored.isfinite().all()), f"initialise leaves {key} unset")
        demand(torch.equal(stored, made.state_dict()[key]), f"{key} differs when built on the meta device")
    inputs, mask = trial.draw(), make_mask(CONTEXT, causal=shape.causal)
    y, again = mix(made.double().eval(), inputs, mask), mix(unset.double().eval(), inputs, mask)
    demand(torch.equal(y, again), "built on the meta device it mixes otherwise: a buffer that initialise does not fill")
    return "initialise fills every parameter and buffer, from its generator alone, also after the meta device"


def seeds(trial: Trial) -> str:
    """Two layers from equal generators are the same bits, and a state dictionary carries everything."""
    one, same, other = trial.make(seed=5), trial.make(seed=5), trial.make(seed=6)
    for key, stored in one.state_dict().items():
        demand(torch.equal(stored, same.state_dict()[key]), f"equal generators give a different {key}")
    inputs, mask = trial.draw(), make_mask(CONTEXT, causal=one.shape.causal)
    y = mix(one, inputs, mask)
    demand(torch.equal(y, mix(one, inputs, mask)), "two forward passes in a row differ")
    demand(torch.equal(y, mix(same, inputs, mask)), "two layers from equal generators differ")
    other.load_state_dict(one.state_dict())
    demand(torch.equal(y, mix(other, inputs, mask)), "the state dictionary does not carry everything")
    return "equal seeds give equal bits, and so does a loaded state dictionary"


def evaluation(trial: Trial) -> str:
    """Evaluation draws no random number, and changes nothing that is stored."""
    for causal in trial.modes:
        mechanism = trial.make(causal, dropout=0.5)
        before, stored = torch.get_rng_state(), {key: x.clone() for key, x in mechanism.state_dict().items()}
        mix(mechanism, trial.draw(), make_mask(CONTEXT, causal=causal))
        demand(torch.equal(before, torch.get_rng_state()), "evaluation draws a random number")
        for key, x in mechanism.state_dict().items():
            demand(torch.equal(x, stored[key]), f"evaluation changes {key}")
    return "no random number is drawn and nothing stored changes"


def dropout(trial: Trial) -> str:
    """Dropout acts while training where there are weights, and nowhere else."""

    def output(rate: float, train: bool) -> Tensor:
        mechanism = trial.make(dropout=rate).train(train)
        torch.default_generator.manual_seed(1)
        return mix(mechanism, trial.draw(), make_mask(CONTEXT, causal=mechanism.shape.causal)).detach()

    demand(torch.equal(output(0.5, False), output(0.0, False)), "dropout acts in evaluation")
    acts = not torch.equal(output(0.5, True), output(0.0, True))
    demand(torch.equal(output(0.5, True), output(0.5, True)), "dropout does not come from torch's global generator")
    if trial.facts.weights:
        demand(acts, "facts.weights is True, but dropout does nothing while training")
        return "dropout acts while training only, from torch's global generator"
    demand(not acts, "facts.weights is False, but dropout changes the output")
    return "no weights, and dropout does nothing"


def dtype(trial: Trial) -> str:
    """The output has the type of the values: float32, float64, and bfloat16 under autocast."""
    for causal in trial.modes:
        inputs, mask = trial.draw(), make_mask(CONTEXT, causal=causal)
        exact = mix(trial.make(causal), inputs, mask).detach()
        demand(exact.dtype == torch.float64, f"float64 comes out as {exact.dtype}")
        single = trial.make(causal, dtype=torch.float32)
        y = mix(single, {part: x.float() for part, x in inputs.items()}, mask)
        demand(y.dtype == torch.float32, f"float32 comes out as {y.dtype}")
        # argmax may choose another key for scores that rounding makes equal: then only the type counts
        smooth = trial.facts.differentiable == "all"
        demand(not smooth or distance(y.double(), exact) < 1e-3, "float32 gives something else than float64")
        rounded = {part: x.bfloat16().detach().requires_grad_() for part, x in inputs.items()}
        with torch.autocast("cpu", torch.bfloat16):
            y = mix(single, rounded, mask)
        demand(y.dtype == torch.bfloat16, f"bfloat16 comes out as {y.dtype} under autocast")
        far = distance(y.double(), exact)
        # its numbers are 0.4% apart, and a normaliser near 0 (Performer's trigonometric features) makes much of that
        demand(not smooth or far < 0.5, f"bfloat16 is {far:.0%} away from float64")
        y.float().sum().backward()
        demand(all(x.grad is None or bool(x.grad.isfinite().all()) for x in rounded.values()), "bfloat16: NaN gradient")
    return "float32, float64 and bfloat16 under autocast keep their type"


def flops(trial: Trial) -> str:
    """The operations of a query are a whole number above 0, and no fewer among more keys."""
    mechanism = trial.make(context=512)
    counts = [mechanism.flops(T) for T in (1, CONTEXT, 512)]
    demand(all(isinstance(count, int) and count > 0 for count in counts), f"flops gives {counts}: not all above 0")
    demand(counts == sorted(counts), f"flops falls as T grows: {counts}")
    return f"{counts[-1]:,} operations for a query among 512 keys at width {HEADS * WIDTH}"


Contract = Callable[[Trial], str]
CONTRACTS: dict[str, Contract] = {
    "declaration": declaration,
    "initialisation": initialisation,
    "seeds": seeds,
    "evaluation": evaluation,
    "paths": mixing.paths,
    "reference": mixing.reference,
    "gradients": mixing.gradients,
    "future": mixing.future,
    "padding": mixing.padding,
    "window": mixing.window,
    "rows": mixing.rows,
    "lengths": mixing.lengths,
    "cache": mixing.cache,
    "groups": mixing.groups,
    "scores": mixing.scores,
    "dropout": dropout,
    "dtype": dtype,
    "flops": flops,
}
"""Every contract by name, in the order in which they are tried."""
