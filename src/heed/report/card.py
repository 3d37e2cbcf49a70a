"""README.md of an export, as the Hugging Face hub shows it: what a model is, what it came to, and what it cannot do.

    ---                  what the hub reads, in YAML
    **LEAKS.** ...       only where the audit has found a leak
    # name               the model, how it is run, the figures of each split with their passports, its limits

A card names no place on the machine that the run was made on: of a path it keeps the last part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from heed.records.figures import KeptFigures
from heed.report.page import banners, lead, measures
from heed.report.record import RunRecord, passport_of

LANGUAGE_MODEL = """
import transformers

model = transformers.AutoModelForCausalLM.from_pretrained(".")
tokenizer = transformers.AutoTokenizer.from_pretrained(".")
read = tokenizer("Once", return_tensors="pt")
written = model.generate(**read, max_new_tokens=<most>, do_sample=True, top_k=50, temperature=0.8)
print(tokenizer.decode(written[0]))
"""
LICENCE = "No licence is named: whoever publishes the model names one, as the licence of its data allows."
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def language_model_card(record: RunRecord, step: int, best: int) -> str:
    """Return the card of a run whose checkpoint of `step` is exported; its figures are those of the step `best`.

    Of another checkpoint than the one that was measured it gives none.
    """
    record = replace(record, config=_without_places(record.config))
    context, versions = record.setting("model.context"), record.environment
    limits = [f"It reads {context:,} tokens, those that it writes among them."] if isinstance(context, int) else []
    trained = bool(record.train or record.evaluations)
    if trained:
        said = plain(lead(record))
        limits.append("It has learned from this text alone." if record.setting("model.start_from") is None else "")
    else:
        said = "Weights that were read from elsewhere. heed has neither trained nor measured them."
    limits += [
        "It goes on with a text: it was not taught to follow instructions, and nothing keeps it from saying what is "
        "wrong or offends.",
        _objective(record),
        _data(record),
        "The state of the optimizer, the curves and the training text are not in this folder.",
        LICENCE,
    ]
    most = min(40, context // 2) if isinstance(context, int) else 40  # learned positions end with the context
    made = [f"{name} {value}" for name in ("heed", "torch") if isinstance(value := getattr(versions, name), str)]
    warned = [
        f"**{'LEAKS' if banner.title == 'Leaks' else plain(banner.title)}.** {plain(banner.text)}"
        for banner in banners(record)
        if banner.level == "error" or (banner.level == "warning" and trained)
    ]
    parts = [
        *warned,
        f"# {plain(record.name)}",
        said + (f" Made with {plain(', '.join(made))}." if made and trained else ""),
        f"```python{LANGUAGE_MODEL.replace('<most>', str(most))}```",
        "## Figures\n\n" + "\n".join(_figures(record, step, best)),
        "## Limits\n\n" + "\n".join(f"* {line}" for line in limits if line),
    ]
    head = front_matter("text-generation", "transformers", dataset=record.setting("data.source") if trained else None)
    return head + "\n\n".join(parts) + "\n"


def front_matter(
    pipeline: str, library: str | None, *, dataset: Any = None, base: Any = None, tags: tuple[str, ...] = ()
) -> str:
    """Return what the hub reads of a card; `dataset` (hf:OWNER/NAME) and `base` are named where the hub has them.

    >>> print(front_matter("text-generation", "transformers", dataset="hf:roneneldan/TinyStories"), end="")
    ---
    pipeline_tag: text-generation
    library_name: transformers
    datasets:
    - roneneldan/TinyStories
    tags:
    - heed
    ---
    """
    values: dict[str, Any] = {"pipeline_tag": pipeline}
    if library is not None:
        values["library_name"] = library
    if base is not None:
        values["base_model"] = base
    on_hub = dataset.removeprefix("hf:").removeprefix("stream:") if isinstance(dataset, str) else ""
    if on_hub != dataset and (name := _HUB_NAME.match(on_hub)):
        values["datasets"] = [name[0]]
    values["tags"] = ["heed", *tags]
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n"


def plain(text: str) -> str:
    r"""Return a text that Markdown shows as it is, on one line.

    >>> plain("a_b <i>")
    'a\\_b \\<i\\>'
    """
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", " ".join(text.split()))


def shown_name(source: str) -> str:
    r"""Return a source without the folders that it lies in; a name on the hub stays.

    >>> shown_name("/home/me/books"), shown_name("hf:me/books"), shown_name("hf:/home/me/a"), shown_name("C:\\me\\b")
    ('books', 'hf:me/books', 'a', 'b')
    """
    if source.startswith("hf:") and _HUB_NAME.match(source[3:].removeprefix("stream:")):
        return source
    parts = [part for part in re.split(r"[/\\]", source.removeprefix("hf:").removeprefix("stream:")) if part]
    return parts[-1] if parts else source


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of settings, of what may be a path the last part alone."""
    shown = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    for section, key in (("data", "source"), ("model", "start_from")):
        if isinstance(found := shown.get(section), dict) and isinstance(value := found.get(key), str):
            found[key] = shown_name(value)
    return shown


def _objective(record: RunRecord) -> str:
    """Say what else than the next token was learned."""
    if record.measured == "token":
        return ""
    counted = plain(record.measured)
    return f"Its figures count {counted}s: it writes well only what looks like the texts that it learned."


def _data(record: RunRecord) -> str:
    """Name the tokenizer and the corpus, each with its hash, as the figures have them."""
    known = (*record.evaluation.values(), *record.evaluations)
    passport = next((found for values in known if (found := passport_of(values)) is not None), None)
    if passport is None:
        return ""
    return f"Its tokenizer is {plain(passport.tokenizer)}, its corpus {plain(_shown_corpus(passport.corpus))}."


def _shown_corpus(corpus: str) -> str:
    """Return the name of a corpus without its place, and its hash."""
    name, _, mark = corpus.rpartition(" ")
    return f"{shown_name(name)} {mark}" if name else shown_name(mark)


def _figures(record: RunRecord, step: int, best: int) -> list[str]:
    """Return the figures of each split, with their passports, as the items of a list."""
    columns: Mapping[str, KeptFigures] = record.evaluation
    measured = best
    over = record.state not in ("interrupted", "unfinished")  # else figures of an earlier end may still lie there
    if not (over and record.evaluation):
        found = record.best()
        columns, measured = ({}, best) if found is None else ({"validation": found}, found.step)
    if columns and step != measured:
        return [f"None: those of the run are of its step {measured:,}, and these weights are of step {step:,}."]
    lines = [line for split, values in columns.items() if (line := figures_line(split, values))]
    return lines or ["None: the run has not been evaluated."]


def figures_line(split: str, values: KeptFigures) -> str:
    """Return the figures of a split as an item of a list, with their passport; empty where there are none."""
    shown = measures(values)
    if not shown:
        return ""
    said = ", ".join(f"{item.label[0].lower()}{item.label[1:]} {item.value} ({item.unit})" for item in shown)
    passport = passport_of(values)
    if passport is None:
        sentence = "They have no passport: compare them with nothing."
    else:
        sentence = replace(passport, corpus=_shown_corpus(passport.corpus)).sentence()
    return f"* **{plain(split)}**: {plain(said)}. {plain(sentence)}"
