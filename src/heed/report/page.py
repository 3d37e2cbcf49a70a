"""The page of one run: what it is, its figures, how it learned, what it writes, and how it was set up.

gather(folder) -> RunRecord -> render(record) -> HTML        write_report(folder) does both
"""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from heed.config import Config, flatten
from heed.records.figures import KeptFigures
from heed.report.classes import Headline, accuracy_headline, class_figure
from heed.report.figure import Figure
from heed.report.figures import learning_curves, progress_figures
from heed.report.numbers import (
    MISSING,
    format_bits,
    format_count,
    format_loss,
    format_perplexity,
    human_bytes,
    human_count,
    human_seconds,
)
from heed.report.parts import (
    PAGE,
    AttentionMaps,
    Banner,
    Command,
    Details,
    GroupedPairs,
    Headlines,
    Multiples,
    Page,
    PageSection,
    Pairs,
    Paragraph,
    Samples,
    Switch,
    Tabled,
    WideFigure,
    again,
    render_page,
    setting_groups,
    show_facts,
    show_value,
    write_page,
)
from heed.report.passport import Passport
from heed.report.record import RunRecord, gather, number, passport_of
from heed.report.samples import texts_to_show
from heed.report.tabular import TextCell, TextTable, words_table
from heed.report.units import counted_unit


def write_report(run_folder: str | Path) -> Path:
    """Write report.html into a run folder and return its path.

    Raises `CheckpointError` when the folder is no run folder or cannot be written to.
    """
    return write_page(Path(run_folder) / PAGE, render(gather(run_folder)))


def render(record: RunRecord, maps: AttentionMaps | None = None) -> str:
    """Return the page of a run as HTML, with maps of its heads where they are given; equal records give equal bytes."""
    progress = progress_figures(record)
    found, source = headline(record), _headline_source(record)[1]
    commit = record.environment.git_commit
    begin = f"From the folder that holds this run{f', at commit {commit}' if commit else ''}:"
    if record.changes:
        begin = (
            "This takes the last settings from the first step on; this run changed some on the way, as the "
            f"configuration says. {begin}"
        )
    sections = [
        PageSection("figures", source if found else "No figures yet", _first(record, found), quiet=True),
        PageSection("learning", "Learning", [Switch(panels(record))], quiet=True),
        PageSection("splits", "Every split", [Tabled(splits_table(record), "Figures of every split")]),
        PageSection("classes", "Class by class", [WideFigure(class_figure(record.evaluation))]),
        PageSection("samples", "What it writes", _texts(record)),
        PageSection("attention", "What its heads look at", _attention(record, maps)),
        PageSection("speed", "Speed, memory and optimisation", [
            Pairs(speed_facts(record), "facts"),
            Multiples(progress),
        ] if progress else []),
        PageSection("passport", "Passport", _passport(record)),
        again(command(record), begin),
        PageSection("settings", "Configuration", _configuration(record)),
    ]  # fmt: skip
    files = "config.yaml, environment.json, metrics.jsonl, evaluation.json and samples.jsonl of this run"
    return render_page(
        Page("training run", record.name, lead(record), sections, "", banners(record), files, plain=True)
    )  # fmt: skip


def panels(record: RunRecord) -> list[tuple[str, str, list[Figure]]]:
    """Return the learning curves over each axis, with the name of the axis."""
    return [(axis, _axis_name(axis, record.unit), figures) for axis, figures in learning_curves(record)]


def _first(record: RunRecord, found: list[Headline]) -> list[Any]:
    """Return the figures of the first screen."""
    return [Headlines(found), Paragraph(_sentence(record) or "", "passport")] if found else [
        Paragraph("The run has not been evaluated.")
    ]  # fmt: skip


def _attention(record: RunRecord, maps: AttentionMaps | None) -> list[Any]:
    """Return the maps of the heads, and how to see more of them."""
    if maps is None:
        return []
    tokens = f"While it reads the first {len(maps.tokens)} tokens of the first text above."
    more = "Each in full, and what it is good for, from the folder that holds this run:"
    return [maps, Paragraph(f"{tokens} {more}", "key small"), Command(shlex.join(["heed", "explore", record.name]))]


def _texts(record: RunRecord) -> list[Any]:
    """Return what the model writes, and what it wrote while it learned."""
    texts, drafts = texts_to_show(record.samples, record.drafts)
    if not texts:
        return []
    key = f"Drawn from the model at step {texts[0].step:,}"
    if any(text.prompt for text in texts):
        key = "The prompt is given, in bold; the rest is drawn from the model"
    parts: list[Any] = [Samples([("", text) for text in texts], key, surprises=True)]
    if drafts:
        earlier = [(f"Step {draft.step:,}", draft) for draft in drafts]
        parts.append(Details("How it wrote while it learned", [Samples(earlier)], "earlier"))
    return parts


def _passport(record: RunRecord) -> list[Any]:
    """Return what each split was measured on."""
    table = passport_table(record)
    words = "Figures can be compared only where their passports agree."
    if record.measured == "token":
        words += " Word perplexity and bits per byte do not depend on the tokenizer; loss and token perplexity do."
    return [Paragraph(words), Tabled(table, "Passport")] if table else []


def _configuration(record: RunRecord) -> list[Any]:
    """Return the settings: those that changed on the way, those that are no default, and all of them."""
    changes = [
        (TextCell(change.setting, code=True), show_value(change.before), f"{change.step:,}", show_value(change.after))
        for change in record.changes
    ]
    changed = [(TextCell(name, code=True), value, default) for name, value, default in changed_settings(record)]
    groups = setting_groups(record.config)
    parts: list[Any] = []
    if changes:
        text = "Settings that changed on the way; below, every setting has its last value."
        head = ("setting", "before", "up to step", "after it")
        parts.append(Tabled(words_table(head, changes, 4, text), "Settings that changed on the way"))
    if changed:
        text = "Settings that differ from the defaults."
        parts.append(Tabled(words_table(("setting", "this run", "default"), changed, 3, text), text))
    else:
        parts.append(Paragraph("Every setting has its default." if groups else "The settings are not known."))
    parts += [Details("Every setting", [GroupedPairs(groups)])] if groups else []
    facts = show_facts(record.environment.plain())
    return parts + ([Details("Environment", [Pairs(facts)])] if facts else [])


def lead(record: RunRecord) -> str:
    """Say in a sentence what the run is, as far as the folder tells."""
    kind = {"gpt": "A GPT", "encoder": "An encoder"}.get(str(record.setting("model.kind")), "A language model")
    parameters = record.environment.finite("parameters")
    if parameters is not None:
        subject = f"{kind} of {human_count(parameters)} parameters"
    elif record.setting("model.n_layers") is not None:
        subject = f"{kind} of {record.setting('model.n_layers')} layers, {record.setting('model.d_model')} wide"
    else:
        subject = kind
    source = record.setting("data.source")
    start = record.setting("model.start_from")
    sentence = subject + (f", begun with {start}" if start else "")
    sentence += f", trained on {source}" if source else ", trained"
    sentence += f" for {record.steps:,} steps{_step_size(record)}"
    seconds = record.last.finite("seconds")
    if seconds is not None:
        sentence += f" in {human_seconds(seconds)}"
    machine = _machine(record)
    return f"{sentence}{f' on {machine}' if machine else ''}."


def banners(record: RunRecord) -> list[Banner]:
    """Return the warnings of a run, the gravest first."""
    found: list[Banner] = []
    planned = f" of {record.planned_steps:,}" if record.planned_steps else ""
    where = f"step {record.steps:,}{planned}"
    if record.leaks:
        text = (
            f"The model sees the tokens it should predict ({record.leaks}): its losses and perplexities mean nothing."
            f"{_honest(record)}"
        )
        found.append(Banner("error", "Leaks", text))
    if record.state == "nan":
        text = (
            f"The loss was no finite number at {where}. Go on from the last good checkpoint at a lower learning rate."
        )
        found.append(Banner("error", "Broke down", text))
    elif record.state == "interrupted":
        text = f"The run ended at {where} ({record.end}). It can be resumed and will be as if it had never stopped."
        found.append(Banner("warning", "Interrupted", text))
    elif record.state == "unfinished":
        text = f"No end was written: {where} is as far as the log goes. The run is still going on, or was killed."
        found.append(Banner("warning", "Unfinished", text))
    elif record.state == "early":
        gain = number(record.setting("train.least_gain"))
        why = f"had stopped falling by {gain:g} or more" if gain else "had stopped falling"
        text = f"Training ended at {where}, because the validation loss {why} (train.patience)."
        found.append(Banner("note", "Stopped early", text))
    if record.resumptions:
        steps = ", ".join(f"{step:,}" for step in record.resumptions)
        text = f"The run was resumed from step {steps}; work after that step was done again and is counted once."
        found.append(Banner("note", "Resumed", text))
    if record.changes:
        text = "; ".join(
            f"{change.setting} was {show_value(change.before)} up to step {change.step:,} and "
            f"{show_value(change.after)} after it"
            for change in record.changes
        )
        found.append(Banner("note", "Settings changed on the way", f"{text}."))
    if record.notes:
        found.append(Banner("note", "About the files", " ".join(record.notes)))
    return found


def headline(record: RunRecord) -> list[Headline]:
    """Return the figures of the first screen: those of the whole split, or else of the best evaluation so far."""
    return measures(_headline_source(record)[0])


def measures(values: KeptFigures | None) -> list[Headline]:
    """Return loss, perplexities and bits per byte, as they are shown; empty when nothing was measured.

    Of classes and answers, accuracy first; of what has no perplexity, such as hidden spans, the loss alone.
    """
    if values is None or "loss" not in values.model_fields_set:
        return []
    if "accuracy" in values.model_fields_set:
        return accuracy_headline(values)
    passport, loss = passport_of(values), format_loss(values.loss)
    unit = counted_unit(passport.unit if passport is not None else "token")
    shown = [Headline(unit.loss, loss, unit.nats)]
    if not unit.perplexity:
        return shown
    shown += [
        Headline("Token perplexity", format_perplexity(values.token_perplexity), "per predicted token"),
        Headline("Word perplexity", format_perplexity(values.word_perplexity), "per word of the text"),
        Headline("Bits per byte", format_bits(values.bits_per_byte), "whatever the tokenizer"),
    ]
    if not values.leaks:
        return shown
    value = number((values.honest or {}).get("loss"))
    false = [Headline(f"LEAKING {item.label.lower()}", item.value, item.unit) for item in shown]
    return [Headline("Honest loss", format_loss(value), "nats per token, on prefixes alone"), *false]


def speed_facts(record: RunRecord) -> list[tuple[str, str]]:
    """Return speed, memory and amounts as pairs of a name and a value."""
    last = record.last
    tokens, seconds, epoch = (last.finite(name) for name in ("tokens", "seconds", "epoch"))
    peaks = [value for event in record.train if (value := event.finite("memory_bytes")) is not None]
    facts: list[tuple[str, str]] = []
    if tokens is not None:
        facts.append((f"Training {record.unit}s", format_count(int(tokens))))
    if epoch is not None:
        facts.append(("Epochs", f"{epoch:.2f}"))
    if seconds:
        facts.append(("Wall clock of training", human_seconds(seconds)))
    if tokens is not None and seconds:
        facts.append((f"{record.unit.capitalize()}s a second, overall", f"{tokens / seconds:,.0f}"))
    if peaks:
        facts.append(("Peak memory", human_bytes(max(peaks))))
    return facts


def _columns(record: RunRecord) -> dict[str, tuple[list[Headline], Passport]]:
    """Return figures and passport of each split that has both; before the end, of the best evaluation so far."""
    best = record.best()
    columns = record.evaluation or ({} if best is None else {"validation": best})
    known = {split: (measures(values), passport_of(values)) for split, values in columns.items()}
    return {split: (shown, passport) for split, (shown, passport) in known.items() if shown and passport}


def splits_table(record: RunRecord) -> TextTable | None:
    """Return the figures of every split; None where the first screen has them all."""
    columns = _columns(record)
    if len(columns) < 2:
        return None
    labels = [item.label.lower() for item in next(iter(columns.values()))[0]]
    rows = [(split, *(item.value for item in shown)) for split, (shown, _) in columns.items()]
    return words_table(("split", *labels), rows)


def passport_table(record: RunRecord) -> TextTable | None:
    """Return the passports of the splits: a row a field; None where there are none."""
    columns = _columns(record)
    rows = [
        (
            f"{record.measured}s" if field.name == "tokens" else field.name.replace("_", " "),
            *(_counted(field.name, getattr(passport, field.name)) for _, passport in columns.values()),
        )
        for field in fields(Passport)
    ]
    return words_table(("", *columns), rows, 1 + len(columns)) if columns else None


def _counted(name: str, value: Any) -> str:
    """Return a field of a passport as it is shown: 0 words or bytes are those that were not counted."""
    return MISSING if name in ("words", "bytes") and value == 0 else show_value(value)


def changed_settings(record: RunRecord) -> list[tuple[str, str, str]]:
    """Return the settings that are not the default: name, value, default."""
    defaults = dict(flatten(Config().model_dump(mode="json")))  # as they are read: lists, no tuples
    return [
        (name, show_value(value), show_value(defaults.get(name)))
        for name, value in flatten(record.config)
        if name not in defaults or value != defaults[name]
    ]


def command(record: RunRecord) -> str:
    """Return the command that does the run again, from the folder that holds the run folder."""
    return shlex.join(["heed", "train", "--config", f"{record.name}/config.yaml", "--run.name", f"{record.name}-again"])


def _honest(record: RunRecord) -> str:
    """Say what a leaking model comes to on prefixes alone, as far as it was measured."""
    source = _headline_source(record)[0]
    honest = (source.honest if source is not None else None) or {}
    loss, one_pass = (number(honest.get(key)) for key in ("loss", "one_pass"))
    if loss is None or one_pass is None:
        return ""
    return (
        f" Scored on prefixes alone, as it would write, it is at {format_loss(loss)} nats per token; "
        f"the same tokens in one pass seem to be at {format_loss(one_pass)}."
    )


def _axis_name(axis: str, unit: str) -> str:
    return {"steps": "steps", "tokens": f"{unit}s", "time": "wall clock"}[axis]


def _headline_source(record: RunRecord) -> tuple[KeptFigures | None, str]:
    """Return the figures to show first, and what they are."""
    final = record.evaluation.get("validation")
    if final is not None and "loss" in final.model_fields_set:
        return final, "On the validation split"
    best = record.best()
    if best is not None:
        return best, f"Best validation so far, at step {best.step:,}"
    return None, ""


def _sentence(record: RunRecord) -> str | None:
    """Return the passport of the first figures as a sentence."""
    source, _ = _headline_source(record)
    passport = passport_of(source)
    if passport is not None:
        return passport.sentence()
    return "These figures have no passport: compare them with nothing." if source is not None else None


def _step_size(record: RunRecord) -> str:
    """Say how many tokens a step takes: rows x context, from what was logged rather than from what was asked for.

    Nothing where the steps are not all alike.
    """
    if {change.setting for change in record.changes} & {"train.batch_size", "train.accumulation"}:
        return ""
    context, tokens = record.setting("model.context"), record.last.finite("tokens")
    if not tokens or not record.last.step:
        return ""
    each = tokens / record.last.step
    if record.unit == "token" and isinstance(context, int) and context > 0 and each % context == 0:
        return f" of {each / context:,.0f}\u00a0×\u00a0{context:,} tokens"
    return f" of {each:,.0f} {record.unit}s"


def _machine(record: RunRecord) -> str:
    """Name what the run ran on: the accelerator, or threads and cores of the CPU."""
    machine = record.environment.machine
    if machine.gpus and record.setting("run.device") != "cpu":
        return str(machine.gpus[0])
    cores, threads = machine.cores, machine.threads
    if not isinstance(cores, int):
        return ""
    said = "1 core" if cores == 1 else f"{cores} cores"
    chosen = [int(event.threads) for event in record.threads if event.threads]
    if len({*chosen}) > 1:
        return f"{min(chosen)} to {max(chosen)} threads of a CPU with {said}"
    threads = chosen[0] if chosen else threads
    if not isinstance(threads, int) or threads == cores:
        return said
    return f"{threads} thread{'s' if threads != 1 else ''} of a CPU with {said}"
