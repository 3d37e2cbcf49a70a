"""The figures of a training run: each answers one question, and its title is the answer, computed from the data.

Training comes as two lines where there are both: what each step lost while it learned (dropout on, before its update),
and what a fixed part of the training data costs at each evaluation, measured as the validation split is.

A run logs up to millions of training losses; they are drawn as means over at most 120 stretches, with a band from
the lowest to the highest loss of a stretch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from heed.records.figures import KeptFigures
from heed.records.kept import Kept
from heed.report.figure import Figure, Line, Plane, lines_figure
from heed.report.numbers import (
    clock_unit,
    format_accuracy,
    format_percent,
    format_perplexity,
    format_rate,
    human_bytes,
    human_count,
)
from heed.report.record import RunRecord, number, passport_of
from heed.report.ticks import short
from heed.report.units import Answered, counted_unit

AXES = {"steps": "step", "tokens": "tokens", "time": "seconds"}
"""Name of a horizontal axis -> the key of an event that holds its values."""
SMALL = 200
"""Height of the figures that are not looked at first, in CSS pixels."""
ALIKE = 0.0005
"""Nats between two losses that are the same as they are written."""
STRETCHES = 120
SMOOTH = 0.9
"""Share of what went before in the smoothed training loss: a mean over about ten logged losses."""


def learning_curves(record: RunRecord) -> list[tuple[str, list[Figure]]]:
    """Return, for each axis that has a loss, its name and the curves over it: the loss, and what it means beside it."""
    unit = counted_unit(record.measured)
    over = [
        (
            axis,
            loss_figure(record, axis),
            perplexity_figure(record, axis) if unit.perplexity else None,
            accuracy_figure(record, axis, unit.accuracy) if unit.accuracy else None,
        )
        for axis in AXES
    ]
    return [(axis, [figure for figure in found if figure]) for axis, *found in over if found[0]]


def progress_figures(record: RunRecord) -> list[Figure]:
    """Return the smaller figures, of how the training went: a new one is a function, and its line here."""
    made = (speed_figure, memory_figure, rate_figure, gradient_figure, gap_figure)
    found = [figure(record) for figure in made]
    return [figure for figure in found if figure is not None]


def run_figures(record: RunRecord) -> dict[str, Figure]:
    """Return every figure that the record has data for, by name: loss-steps, perplexity-time, speed, memory, ..."""
    curves = [figure for _, figures in learning_curves(record) for figure in figures]
    return {figure.name: figure for figure in [*curves, *progress_figures(record)]}


def loss_figure(record: RunRecord, axis: str) -> Figure | None:
    """Training and validation loss over `axis`."""
    factor, x_label = _scale(record, axis)
    train = _training(record, axis, factor)
    lines = [train] if train else []
    how = "the mean of each stretch of steps, with its range" if train and train.low else "at each logged step"
    key = _loss_of(record)
    held_out = finite_points(record.evaluations, AXES[axis], key, factor)
    known = finite_points(measured_training(record), AXES[axis], key, factor)
    best = record.best()
    if held_out[0]:
        ring = None
        at, low = (None, None) if best is None else (best.finite(AXES[axis]), best.finite(key))
        if at is not None and low is not None:
            last = low == held_out[1][-1]  # then the name at the end of the line says the value
            ring = (at * factor, low, "" if last else f"best {short(low)}")
        lines.append(Line("validation", *held_out, series=2, dots=True, ring=ring))
    caption = (
        f"Training loss: {how}. Validation loss: on {counted_unit(record.measured).held_out}; the ring is the best."
        f"{_beginning(record)}{_estimated(record)}"
    )
    if known[0]:
        lines.append(Line("training, measured", *known, series=3, dots=True))
        caption += (
            " Training, measured: a fixed part of the training data, at the same steps and in the same way as "
            "validation; between these two lies the generalisation gap."
        )
    return lines_figure(
        f"loss-{axis}", loss_sentence(record), caption, lines, Plane(x_label, f"loss ({_nats(record)})")
    )


def measured_training(record: RunRecord) -> list[KeptFigures]:
    """Return what was measured on a part of the training data, each with the place of its evaluation."""
    return [
        event.train.but(step=event.step, tokens=event.tokens, seconds=event.seconds)
        for event in record.evaluations
        if event.train is not None
    ]


def _loss_of(record: RunRecord) -> str:
    """Return the name of the validation loss that is of the unit of the training loss."""
    mean = "sequence_mean_loss"
    if record.setting("train.loss") == "sequence" and any(mean in (e.model_extra or ()) for e in record.evaluations):
        return mean
    return counted_unit(record.measured).training_loss


def _nats(record: RunRecord) -> str:
    """Return the unit of the losses that are drawn."""
    return f"nats per {record.unit}" if _loss_of(record) != "sequence_mean_loss" else "nats, mean of sequences' means"


def _beginning(record: RunRecord) -> str:
    """Say where the evaluations on the way measured a part of the split, so that the end may have another figure."""
    passport = passport_of(record.evaluations[-1]) if record.evaluations else None
    if passport is None or not passport.partial:
        return ""
    return f" Validation on the way: the first {passport.tokens:,} {passport.unit}s of the split, not the whole."


def _estimated(record: RunRecord) -> str:
    """Say of a training loss over a part of the vocabulary that it is none over all of it."""
    size = number(record.setting("train.sampled_softmax"))
    if size is None:
        return ""
    return f" The training loss is estimated over some {size:,.0f} tokens of the vocabulary, drawn at each step."


def perplexity_figure(record: RunRecord, axis: str) -> Figure | None:
    """Training and validation perplexity per token over `axis`, on a log scale.

    A training loss that is a mean of sequences' means is the logarithm of no perplexity, and has no line.
    """
    factor, x_label = _scale(record, axis)
    x, y = finite_points(record.train, AXES[axis], "loss", factor)
    lines, caption = [], f"Perplexity is the exponential of the loss.{_beginning(record)}"
    if x and record.setting("train.loss") != "sequence":
        x, y, _, _ = stretches(x, smoothed(y))
        lines.append(Line("training", x, [_exp(loss) for loss in y], series=1, noisy=True))
        caption += (
            f" Training: of the exponential mean of the logged losses, which keeps {SMOOTH:g} of what went before, "
            f"bias-corrected.{_estimated(record)}"
        )
    x, y = finite_points(measured_training(record), AXES[axis], "loss", factor)
    if x:
        lines.append(Line("training, measured", x, [_exp(loss) for loss in y], series=3, dots=True))
    x, y = finite_points(record.evaluations, AXES[axis], "loss", factor)
    if x:
        lines.append(Line("validation", x, [_exp(loss) for loss in y], series=2, dots=True))
    axes = Plane(x_label, "perplexity per token (log)", log_y=True)
    return lines_figure(f"perplexity-{axis}", perplexity_sentence(record), caption, lines, axes)


def smoothed(losses: Sequence[float], keep: float = SMOOTH) -> list[float]:
    """Return the exponential mean after each loss, free of the bias towards its beginning at 0 (Kingma & Ba 2015).

    m <- keep m + (1 - keep) loss, and m / (1 - keep^n) after n losses.

    >>> smoothed([3.0, 2.0], keep=0.5)
    [3.0, 2.3333333333333335]
    """
    found, mean = [], 0.0
    for n, loss in enumerate(losses, 1):
        mean = keep * mean + (1 - keep) * loss
        found.append(mean / (1 - keep**n))
    return found


def accuracy_figure(record: RunRecord, axis: str, words: Answered) -> Figure | None:
    """Validation accuracy over `axis`, with its interval, and training accuracy: of what `words` say."""
    factor, x_label = _scale(record, axis)
    x, y = finite_points(record.evaluations, AXES[axis], "accuracy", factor)
    if not x:
        return None
    events = [event for event in record.evaluations if event.finite(AXES[axis]) is not None]
    bands = [event.accuracy_interval for event in events if event.finite("accuracy") is not None]
    whole = all(band is not None and len(band) == 2 for band in bands)
    low, high = ([100 * band[side] for band in bands if band] if whole else [] for side in (0, 1))
    base = record.evaluations[-1].finite("majority")
    rule = (100 * base, f"majority {format_accuracy(base)}") if base is not None else None
    kx, ky = finite_points(measured_training(record), AXES[axis], "accuracy", factor)
    lines = [Line("validation" if kx else "", x, [100 * value for value in y], 2, low, high, dots=True)]
    caption = f"On {words.asked} that the model never trained on, with the 95 % interval. "
    caption += f"Line: always the same {words.constant}."
    if kx:
        lines.insert(0, Line("training", kx, [100 * value for value in ky], 1, dots=True))
        caption += f" Training: on a fixed part of the {words.asked} that it learns, measured in the same way."
    label = f"{'training and ' if kx else ''}validation accuracy (%)"
    axes = Plane(x_label, label, rule=rule)
    return lines_figure(f"accuracy-{axis}", accuracy_sentence(record, words), caption, lines, axes)


def speed_figure(record: RunRecord) -> Figure | None:
    """Training tokens (or examples) a second over wall clock."""
    factor, x_label = _scale(record, "time")
    x, y = finite_points(record.train, "seconds", "tokens_per_second", factor)
    if not x:
        return None
    middle = median(y)
    title = f"Trains at {human_count(middle)} {record.unit}s a second"
    if min(y) < 0.5 * middle:
        title += f"; its slowest moment is {human_count(min(y))}"
    mx, my, low, high = stretches(x, [value / 1000 for value in y])
    axes = Plane(x_label, f"thousand {record.unit}s a second", zero=True, height=SMALL)
    caption = f"Training {record.unit}s by wall clock; the figure in the title is the median."
    return lines_figure("speed", title, caption, [Line("", mx, my, 3, low, high, noisy=True)], axes)


def memory_figure(record: RunRecord) -> Figure | None:
    """Memory over steps."""
    x, y = finite_points(record.train, "step", "memory_bytes")
    if not x:
        return None
    power = min(3, max(0, int(math.log(max(max(y), 1), 1024))))
    unit = ("bytes", "KiB", "MiB", "GiB")[power]
    mx, my, low, high = stretches(x, [value / 1024**power for value in y])
    title, caption = f"Memory peaks at {human_bytes(max(y))}", "Memory that the run reported at each logged step."
    axes = Plane("step", unit, zero=True, height=SMALL)
    return lines_figure("memory", title, caption, [Line("", mx, my, 4, low, high)], axes)


def rate_figure(record: RunRecord) -> Figure | None:
    """Learning rate over steps."""
    x, y = finite_points(record.train, "step", "learning_rate")
    if not x:
        return None
    mx, my, _, _ = stretches(x, y)
    title, caption = rate_sentence(x, y), "The schedule as it was applied."
    peak = number(record.setting("train.learning_rate"))
    if peak is not None and max(y) < 0.995 * peak:
        title = f"The learning rate is {format_rate(y[0])} at step {x[0]:,.0f} and {format_rate(y[-1])} at {x[-1]:,.0f}"
        caption = f"As it was logged: its peak of {format_rate(peak)} lies between, or was not reached."
    axes = Plane("step", "learning rate", zero=True, height=SMALL)
    return lines_figure("learning-rate", title, caption, [Line("", mx, my, 1)], axes)


def gradient_figure(record: RunRecord) -> Figure | None:
    """Norm of the whole gradient before clipping, on a log scale, with the clip as a line."""
    x, y = finite_points(record.train, "step", "gradient_norm")
    x, y = [a for a, b in zip(x, y, strict=True) if b > 0], [b for b in y if b > 0]
    if not x:
        return None
    clip = number(record.setting("train.clip"))
    tail = median(y[-max(1, len(y) // 10) :])
    title = f"The gradient norm settles at {format_rate(round(tail, 3))}"
    if clip:
        title = f"The gradient is clipped in {format_percent(sum(v > clip for v in y) / len(y))} of the logged steps"
    mx, my, low, high = stretches(x, y)
    caption = "L2 norm of the whole gradient before clipping" + (", with its range in each stretch." if low else ".")
    rule = (clip, f"clip {format_rate(clip)}") if clip else None
    axes = Plane("step", "gradient norm (log)", log_y=True, rule=rule, height=SMALL)
    return lines_figure("gradient-norm", title, caption, [Line("", mx, my, 2, low, high, noisy=True)], axes)


def gap_figure(record: RunRecord) -> Figure | None:
    """Validation loss minus the loss on a part of the training data, both measured alike, over steps."""
    key = _loss_of(record)
    train = dict(zip(*finite_points(measured_training(record), "step", key), strict=True))
    x, y = finite_points(record.evaluations, "step", key)
    both = [(step, loss - train[step]) for step, loss in zip(x, y, strict=True) if step in train]
    if not both:
        return None
    steps, gaps = [step for step, _ in both], [gap for _, gap in both]
    end = short(float(f"{abs(gaps[-1]):.2g}"))
    title = f"Validation ends {end} nats {'above' if gaps[-1] > 0 else 'below'} training"
    if abs(gaps[-1]) < ALIKE:
        title = "Validation and training end at the same loss"
    caption = (
        "The generalisation gap: validation loss minus the loss on a fixed part of the training data, measured in the "
        "same way. Above 0 the model knows its training text better than new text."
    )
    best, ring = record.best(), None
    if best is not None and best.step in steps[:-1]:
        gap = gaps[steps.index(best.step)]
        ring = (best.step, gap, short(gap))
        caption += " The ring is where validation was best."
    axes = Plane("step", f"gap ({_nats(record)})", rule=(0.0, ""), height=SMALL)
    return lines_figure("gap", title, caption, [Line("", steps, gaps, 1, dots=True, ring=ring)], axes)


def loss_sentence(record: RunRecord) -> str:
    """Say what the loss curves show; of a model that leaks, that they are false."""
    if record.leaks and record.evaluations:
        return "Loss of a model that LEAKS: it sees the tokens that it should predict"
    if record.state == "nan":
        return f"Training broke down after step {record.steps:,}: the loss was no longer a number"
    _, train = finite_points(record.train, "step", "loss")
    steps, losses = finite_points(record.evaluations, "step", _loss_of(record))
    if not losses:
        if not train:
            return "No loss has been logged yet"
        return f"Training loss goes from {train[0]:.2f} to {train[-1]:.2f}; there is no validation yet"
    low = min(losses)
    at, last = steps[losses.index(low)], losses[-1]
    if len(losses) == 1:
        return f"Validation loss is {low:.2f} at step {at:,.0f}"
    # 0.5 % of the loss is more than two evaluations of one model differ by, and less than overfitting does.
    if last > 1.005 * low:
        later = [event for event in record.train if event.step >= at]
        _, after = finite_points(later, "step", "loss")
        half = len(after) // 2
        falls = half > 0 and sum(after[half:]) / (len(after) - half) < sum(after[:half]) / half
        rises = f"validation rises from {low:.2f} to {last:.2f}"
        if falls:
            return f"Overfits after step {at:,.0f}: training loss keeps falling, {rises}"
        return f"Best at step {at:,.0f}: after it {rises}"
    if at == steps[-1] and losses[-2] - last > 0.005 * last:
        return f"Validation loss falls to {low:.2f} and is still falling at step {at:,.0f}"
    return f"Validation loss falls to {low:.2f}; best at step {at:,.0f}"


def perplexity_sentence(record: RunRecord) -> str:
    """Say what the perplexity means."""
    best = record.best()
    if best is None:
        return "Perplexity: no validation yet"
    if record.leaks:
        return "LEAKING: it says nothing of how unsure the model is"
    return f"At best, as unsure as among {format_perplexity(_exp(best.loss or 0.0))} equally likely tokens"


def accuracy_sentence(record: RunRecord, words: Answered) -> str:
    """Say how many texts are classified rightly where the loss is lowest."""
    best = record.best()
    share = best.finite("accuracy") if best is not None else None
    if best is None or share is None:
        return "Accuracy: no validation yet"
    said = f"Where its loss is lowest, at step {best.step:,}, {format_accuracy(share)} are {words.done} rightly"
    of_training = best.train.finite("accuracy") if best.train is not None else None
    if of_training is None:
        return said
    return f"{said}, of what it trained on {format_accuracy(of_training)}"


def rate_sentence(steps: Sequence[float], rates: Sequence[float]) -> str:
    """Say how the learning rate went.

    >>> rate_sentence([1, 100, 1000], [1e-5, 1e-3, 1e-4])
    'The learning rate rises to 0.001 by step 100, then falls to 0.0001'
    """
    peak = max(rates)
    rises, falls = rates[0] < peak, rates[-1] < 0.99 * peak
    if not rises and not falls:
        return f"The learning rate stays at {format_rate(peak)}"
    up = f"rises to {format_rate(peak)} by step {steps[rates.index(peak)]:,.0f}"
    if not rises:
        up = f"begins at {format_rate(peak)}"
    return f"The learning rate {up}" + (f", then falls to {format_rate(rates[-1])}" if falls else "")


def stretches(x: Sequence[float], y: Sequence[float], most: int = STRETCHES) -> tuple[list[float], ...]:
    """Cut a line into at most `most` stretches of equally many points; return mean x, mean y, lowest y and highest y.

    The band (the last two) is empty when every stretch is one point. The ends of the line stay where they are.

    >>> stretches([1, 2, 3, 4], [8.0, 6.0, 5.0, 3.0], most=2)
    ([1.0, 4.0], [7.0, 4.0], [6.0, 3.0], [8.0, 5.0])
    """
    if len(x) <= most:
        return list(x), list(y), [], []
    size = math.ceil(len(x) / most)
    cuts = range(size, len(x), size)
    parts = np.split(np.asarray(y, float), cuts)
    middle = [float(part.mean()) for part in np.split(np.asarray(x, float), cuts)]
    middle[0], middle[-1] = float(x[0]), float(x[-1])
    return (
        middle,
        [float(part.mean()) for part in parts],
        [float(part.min()) for part in parts],
        [float(part.max()) for part in parts],
    )


def _training(record: RunRecord, axis: str, factor: float) -> Line | None:
    x, y = finite_points(record.train, AXES[axis], "loss", factor)
    if not x:
        return None
    mx, my, low, high = stretches(x, y)
    return Line("training", mx, my, 1, low, high, noisy=True)


def finite_points(events: Sequence[Kept], x: str, y: str, factor: float = 1.0) -> tuple[list[float], list[float]]:
    """Return two keys of those events that have both as finite numbers."""
    pairs = [(event.finite(x), event.finite(y)) for event in events]
    kept = [(a * factor, b) for a, b in pairs if a is not None and b is not None]
    return [a for a, _ in kept], [b for _, b in kept]


def _scale(record: RunRecord, axis: str) -> tuple[float, str]:
    """Return the factor from an event's value to the unit of an axis, and the axis label."""
    if axis == "steps":
        return 1.0, "step"
    top = max((event.finite(AXES[axis]) or 0.0 for event in (*record.train, *record.evaluations)), default=0.0)
    if axis == "tokens":
        names = ((1e9, "thousand million "), (1e6, "million "), (1e3, "thousand "))
        size, name = next(((size, name) for size, name in names if top >= size), (1.0, ""))
        what = f"training {record.unit}s"
        return 1 / size, f"{what} ({name.strip()})" if name else what
    size, name = clock_unit(top)
    return 1 / size, f"wall clock of training ({name})"


def _exp(nats: float) -> float:
    """Return exp, held where float64 ends."""
    return math.exp(min(nats, 700.0))
