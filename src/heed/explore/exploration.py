"""All that is looked at in one model, from its maps to the logit lens, as one record and its arrays."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from heed.errors import CheckpointError, ConfigError
from heed.explore.ablation import HeadEffects, LossText, measure_heads, silent, window_nats
from heed.explore.exploration_folder import Exploration
from heed.explore.head_figures import HeadFigures, figures_of, role_of
from heed.explore.induction import InductionPlan, InductionScores, measure_induction
from heed.explore.logit_lens import lens_nats, look
from heed.explore.subject import Subject, Trace
from heed.records.exploration import ExplorationFile, ExploredHead
from heed.report.numbers import human_seconds
from heed.report.statistics import t_interval

Say = Callable[[str], object]


@dataclass(frozen=True)
class PromptIds:
    """What is read."""

    ids: list[int]
    text: str
    origin: str = ""
    """Where it comes from, where it was not given."""


def check_prompt(subject: Subject, ids: Sequence[int]) -> None:
    """Raise `ConfigError` for a prompt that is too short to show anything, or longer than the model reads."""
    if len(ids) < 2:
        raise ConfigError("the prompt has fewer than two tokens, so that nothing looks at anything: give more text")
    if len(ids) > subject.context:
        raise ConfigError(
            f"the prompt has {len(ids):,} tokens and {subject.name} reads {subject.context:,} at most: shorten it"
        )


def check_layers(subject: Subject, layers: Sequence[int]) -> list[int]:
    """Return the layers that are looked at, all where none are named. Raises `ConfigError` for one that is none."""
    odd = [layer for layer in layers if not 0 <= layer < subject.layers]
    if odd:
        raise ConfigError(f"--layers: {subject.name} has layers 0 to {subject.layers - 1}, not {odd[0]}")
    return sorted(set(layers)) or list(range(subject.layers))


def explore(
    subject: Subject,
    prompt: PromptIds,
    shown: Sequence[int],
    induction: InductionPlan | None,
    text: LossText | None,
    say: Say = lambda line: None,
    progress: Callable[[int, int], object] = silent,
) -> Exploration:
    """Look into a model while it reads a prompt, repeated random tokens, and a text with each head switched off.

    Raises `ConfigError` where no layer has weights to be shown, `CheckpointError` for a model that broke down.
    """
    check_prompt(subject, prompt.ids)
    trace = subject.trace(prompt.ids)
    if not all(bool(x.isfinite().all()) for x in trace.residuals):
        raise CheckpointError(f"{subject.name} computes numbers that are not finite: choose an earlier --checkpoint")
    readings = {trace.layers[layer].reading for layer in shown}
    if readings == {"none"}:
        raise ConfigError(
            f"{subject.name} mixes values by attention {subject.kind!r}, which is no weighted mean of them: "
            "there are no weights to show"
        )
    found = Exploration(_record(subject, prompt, shown, trace, readings))
    found.arrays |= {
        "ids": np.array(prompt.ids, dtype=np.int32),
        "layers": np.array(shown, dtype=np.int32),
        "weights": np.stack([trace.layers[layer].weights for layer in shown]).astype(np.float16),
    }
    gates = [trace.layers[layer].gate for layer in shown]
    known = [gate for gate in gates if gate is not None]
    if len(known) == len(shown):
        found.arrays["gate"] = np.stack(known)
    figures = {layer: figures_of(trace.layers[layer].weights, trace.layers[layer].allowed) for layer in shown}
    scores = effects = None
    if induction is not None:
        say(f"induction: {induction.sequences} sequences of {induction.repeats} times {induction.length} random tokens")
        scores = measure_induction(subject, induction)
        found.record.induction = _induction_facts(induction, scores)
        found.arrays["induction"] = scores.scores[:, list(shown)]
    if text is not None:
        began = time.perf_counter()
        window_nats(subject, text)
        seconds = 2 * len(shown) * subject.heads * (time.perf_counter() - began)
        say(
            f"ablation: {len(shown) * subject.heads} heads on {len(text.windows)} windows of {text.name}, about "
            f"{human_seconds(seconds)}"
        )
        effects = measure_heads(subject, text, shown, progress)
        found.record.loss = _loss_facts(text, effects)
        found.arrays |= {"nats": effects.whole, "nats_zero": effects.zero, "nats_mean": effects.mean}
    found.record.heads = [
        _head(subject, trace, layer, place, head, figures[layer], scores, effects)
        for place, layer in enumerate(shown)
        for head in range(subject.heads)
    ]
    if subject.lenses:
        lens = look(subject, trace.residuals, prompt.ids)
        found.record.lens = [float(row.mean()) for row in lens.nats]
        if text is not None:
            windows = lens_nats(subject, text)
            found.record.lens_text = [_lens_facts(row, windows[-1]) for row in windows]
            found.arrays["lens_windows"] = windows
        names = {int(i) for i in lens.top.ravel()}
        order = sorted(names)
        found.arrays |= {"lens_top": lens.top, "lens_log_p": lens.log_p, "lens_nats": lens.nats}
        found.arrays |= {"lens_ids": np.array(order, dtype=np.int32), "lens_names": _texts(subject.show(order))}
    return found


def interval_of(values: np.ndarray) -> list[float] | None:
    """Return the 95 % t interval of a mean; None of fewer than two values."""
    return None if len(values) < 2 else list(t_interval(values))


def _record(
    subject: Subject, prompt: PromptIds, shown: Sequence[int], trace: Trace, readings: set[str]
) -> ExplorationFile:
    notes = list(subject.notes)
    if "effective" in readings:
        notes.append(
            f"attention {subject.kind!r} forms no weights (T, T): what is shown is the matrix by which it mixes values"
        )
    if "channels" in readings:
        notes.append(
            f"attention {subject.kind!r} has weights for each channel: what is shown is their mean over the channels "
            "of a head, without the gate; what the gate lets through of each token is told beside it"
        )
    if "pooled" in readings:
        notes.append(
            f"attention {subject.kind!r} mixes no values: what is shown is the share of each token in the one key that "
            "all tokens share and that multiplies every value, so that every row of a map is the same"
        )
    if "none" in readings:
        notes.append("some layers mix values in no way that weights can show: they are left out of the figures")
    if any((trace.layers[layer].weights < -1e-6).any() for layer in shown):
        notes.append("some weights are negative: there is no entropy and no distance of such heads")
    if not subject.predicts:
        notes.append(
            "an encoder sees both sides of a token: there is no loss of the next token, so no head is switched off on "
            "it, and no induction and no logit lens"
        )
    elif not subject.lenses:
        notes.append("the last norm of this architecture was not found: there is no logit lens")
    return ExplorationFile(
        model=subject.name,
        source=subject.source,
        kind=subject.kind,
        causal=subject.causal,
        layers=subject.layers,
        heads_per_layer=subject.heads,
        context=subject.context,
        prompt=prompt.text,
        prompt_from=prompt.origin,
        tokens=subject.show(prompt.ids),
        shown=list(shown),
        map_error=max((e for layer in shown if (e := trace.layers[layer].error) is not None), default=None),
        heads=[],
        notes=notes,
    )


def _head(
    subject: Subject,
    trace: Trace,
    layer: int,
    place: int,
    head: int,
    figures: HeadFigures,
    scores: InductionScores | None,
    effects: HeadEffects | None,
) -> ExploredHead:
    """Return the figures of one head, `place` being that of its layer among those that were looked at."""
    reading = trace.layers[layer].reading
    values: dict[str, object] = {"layer": layer, "head": head, "reading": reading}
    if reading != "none":
        names = ("entropy", "share", "distance", "previous", "first")
        values |= {name: _known(getattr(figures, name)[head]) for name in names}
        gate = trace.layers[layer].gate
        values |= {"gate": None if gate is None else float(gate[head].mean())}
        if scores is not None:
            each = scores.scores[:, layer, head]
            values |= {"induction": float(each.mean()), "induction_interval": interval_of(each)}
        said = [values.get(name) for name in ("previous", "first", "induction", "share")]
        values["role"] = role_of(*said)  # type: ignore[arg-type] - numbers or None
    if effects is not None:
        for name, losses in (("zero", effects.zero), ("mean", effects.mean)):
            rise = losses[place, head] - effects.whole
            values |= {name: float(rise.mean()), f"{name}_interval": interval_of(rise)}
    return ExploredHead.model_validate(values)


def _induction_facts(plan: InductionPlan, scores: InductionScores) -> dict[str, object]:
    facts: dict[str, object] = {
        "length": plan.length,
        "repeats": plan.repeats,
        "sequences": plan.sequences,
        "seed": plan.seed,
        "chance": scores.chance,
    }
    if scores.first_nats.size:
        gain = scores.first_nats - scores.later_nats
        facts |= {
            "first_nats": float(scores.first_nats.mean()),
            "later_nats": float(scores.later_nats.mean()),
            "gain": float(gain.mean()),
            "gain_interval": interval_of(gain),
        }
    return facts


def _lens_facts(nats: np.ndarray, last: np.ndarray) -> dict[str, object]:
    """Return the loss (N,) after a layer, and how much it is over that after the last one in the same windows."""
    over = nats - last
    return {
        "nats": float(nats.mean()),
        "interval": interval_of(nats),
        "over_last": float(over.mean()),
        "over_last_interval": interval_of(over),
    }


def _loss_facts(text: LossText, effects: HeadEffects) -> dict[str, object]:
    return {
        "text": text.name,
        "windows": len(text.windows),
        "window": text.source.shape[1],
        "nats": float(effects.whole.mean()),
        "interval": interval_of(effects.whole),
    }


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _texts(names: Sequence[str]) -> np.ndarray:
    """Return texts as an array; numpy drops a null at the end of one, so it is shown as its symbol."""
    return np.array([name.replace("\0", "\u2400") for name in names], dtype=np.str_)
