"""A task as a file: what stands in a prompt, and which words are which class.

    instruction        Answer each question by its passage, with yes or no.
    demonstrations     Passage: ...  Question: ...?  Answer: no
      (template +      Passage: ...  Question: ...?  Answer: yes
       answer) each
    item (template)    Passage: ...  Question: ...?  Answer:

The parts are joined by the separator. Of kind "classes" an item has a label, and the answer to it is a word for that;
of kind "text" the answer is a text of its own. A template names {text} and {pair}, or the columns they are read from.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from heed.api import ChatTurn
from heed.config import Section, parse_yaml
from heed.errors import ConfigError, did_you_mean
from heed.files import advice
from heed.targets.classes import label_name
from heed.text.named import NAMED

SHIPPED = ("boolq", "sst2", "grammar", "instructions")
"""Tasks that come with heed, by the names of their files in tasks/."""


class TaskData(Section):
    """Where the items are read, and how they are split; the settings of `heed tune` under the same names."""

    source: str
    """A file (.tsv .csv .jsonl .json .parquet), a folder of train / dev / test files, hf:NAME/CONFIG, sst2 or boolq."""
    text: str = Field(default="text", coerce_numbers_to_str=True)
    """The column of the texts."""
    pair: str | None = Field(default=None, coerce_numbers_to_str=True)
    """The column of second texts."""
    label: str | None = Field(default=None, coerce_numbers_to_str=True)
    """The column of the labels, or of what a text is to become. Default: label, and none where there is no answer."""
    group: str | None = Field(default=None, coerce_numbers_to_str=True)
    """A column whose equal values are never in a demonstration and an item, such as a passage."""
    split: Literal["test", "validation", "train", "all"] = "test"
    """The split that is tested. all: every row of one source, demonstrations among them but never tested."""
    validation: str | None = None
    """A separate source for validation."""
    test: str | None = None
    """A separate source for the test."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the texts held out for validation, where there is no such split."""
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the texts held out for the test, where there is no such split."""
    encoding: str = "utf-8"
    """Encoding of text files."""


class WrittenExample(Section):
    """An example in a task file itself: a demonstration, or an item to test."""

    text: str
    pair: str | None = None
    answer: str | None = None
    """Of a demonstration the answer, or its class. Of an item what the answer should be; without, it is only shown."""


class PromptTask(Section):
    """What stands in a prompt, and how an answer is read."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[\w.-]+$")
    description: str = ""
    """What it is, in a sentence."""
    kind: Literal["classes", "text"] = "classes"
    """classes: an answer is a word for a class. text: it is a text, held against a reference where there is one."""
    instruction: str = ""
    """What stands before everything else."""
    template: str
    """An item, up to where the answer begins."""
    answer: str = " {answer}"
    """The answer, as it stands behind the template."""
    separator: str = "\n\n"
    """What stands between instruction, demonstrations and item."""
    labels: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Of each class its words; the first is written in demonstrations, all are read."""
    demonstrations: tuple[WrittenExample, ...] = ()
    """Those of the file itself; without any they are drawn from the training texts."""
    shots: int = Field(default=0, ge=0)
    """Demonstrations, where the command names no number."""
    items: tuple[WrittenExample, ...] = ()
    """Items of the file itself, of kind text."""
    data: TaskData | None = None
    """Where items are read."""
    compare: Literal["exact", "loose"] = "exact"
    """How a text is held against its reference. exact: but for white space. loose: without case and last full stop."""
    max_tokens: int = Field(default=5, ge=1)
    """Tokens of an answer at most."""
    stop: tuple[str, ...] = ("\n",)
    """What ends an answer."""

    @field_validator("labels", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """Take YAML's true, false and numbers as names of classes, and a single word for a list of one."""
        if not isinstance(value, Mapping):
            return value
        named = {label_name(key, "labels", "the task"): words for key, words in value.items()}
        return {key: words if isinstance(words, list | tuple) else (words,) for key, words in named.items()}

    def problems(self) -> list[str]:
        """Return what contradicts itself."""
        found = [f"{name}: {problem}" for name in ("template", "answer") for problem in self._field_problems(name)]
        if self.kind == "classes":
            found += self._label_problems()
            found += ["data: the items of classes are read from data: name a source"] if self.data is None else []
            found += ["items: kind classes reads them from data: leave it out"] if self.items else []
        else:
            found += ["labels: kind text has none: leave it out"] if self.labels else []
            found += ["items: give items, or data with a source"] if not self.items and self.data is None else []
            found += ["items: give items or data, not both"] if self.items and self.data is not None else []
        found += [] if found else self._pair_problems()
        for place, one in enumerate(self.demonstrations, 1):
            if one.answer is None:
                found.append(f"demonstrations: number {place} has no answer")
            elif self.kind == "classes" and one.answer not in self.labels:
                found.append(
                    f"demonstrations: number {place} is {one.answer!r}, {did_you_mean(one.answer, self.labels)}"
                )
        return found

    def fields(self) -> dict[str, str]:
        """Return the names that a template may use, each with the part of an item that it stands for."""
        data = self.data
        roles = NAMED[data.source].roles if data is not None and data.source in NAMED else {}
        names = {"text": "text", "pair": "pair"}
        for role in ("text", "pair"):
            column = getattr(data, role, None)
            if column in (None, role):
                column = roles.get(role, column)
            if column:
                names[column] = role
        return names

    def template_by_parts(self) -> str:
        """Return the template with {text} and {pair} in the place of columns, for data with other ones."""
        names, written = self.fields(), ""
        for before, name, _, _ in string.Formatter().parse(self.template):
            written += before.replace("{", "{{").replace("}", "}}") + (f"{{{names[name]}}}" if name else "")
        return written

    def block(self, text: str, pair: str | None) -> str:
        """Return an item, up to where its answer begins."""
        parts = {"text": text, "pair": pair or ""}
        return self.template.format(**{name: parts[role] for name, role in self.fields().items()})

    def written(self, answer: str) -> str:
        """Return an answer as it stands behind the template; of a class its first word."""
        return self.answer.format(answer=self.labels[answer][0] if self.kind == "classes" else answer)

    def prompt(self, shots: Sequence[tuple[str, str | None, str]], text: str, pair: str | None) -> str:
        """Return the prompt of an item after demonstrations, each a text, a pair and its answer."""
        blocks = [self.block(*shot[:2]) + self.written(shot[2]) for shot in shots]
        start = [self.instruction] if self.instruction else []
        return self.separator.join([*start, *blocks, self.block(text, pair)])

    def chat(self, shots: Sequence[tuple[str, str | None, str]], text: str, pair: str | None) -> tuple[ChatTurn, ...]:
        """Return the same as the turns of a chat."""
        turns = [ChatTurn("system", self.instruction)] if self.instruction else []
        for shot in shots:
            turns += [ChatTurn("user", self.block(*shot[:2])), ChatTurn("assistant", self.written(shot[2]).strip())]
        return (*turns, ChatTurn("user", self.block(text, pair)))

    def _field_problems(self, name: str) -> list[str]:
        known = list(self.fields()) if name == "template" else ["answer"]
        try:
            used = [field for _, field, _, _ in string.Formatter().parse(getattr(self, name)) if field is not None]
        except ValueError as error:
            return [f"{error}: a brace that is to be printed is written twice"]
        odd = [
            f"{{{field}}} is no part of an item, {did_you_mean(field, known)}" for field in used if field not in known
        ]
        return odd or ([] if used else [f"it names none of {', '.join(f'{{{one}}}' for one in known)}"])

    def _pair_problems(self) -> list[str]:
        """Return that a template needs second texts which no column or example has."""
        if "{pair}" not in self.template_by_parts():
            return []
        named = self.data is None or any(role == "pair" and name != "pair" for name, role in self.fields().items())
        named |= self.data is not None and self.data.pair == "pair"
        found = [] if named else ["data: the template needs second texts: name their column with pair (--pair)"]
        written = [("demonstrations", self.demonstrations), ("items", self.items)]
        return found + [f"{what}: one has no pair" for what, some in written if any(one.pair is None for one in some)]

    def _label_problems(self) -> list[str]:
        if len(self.labels) < 2:
            return ["labels: kind classes needs two classes or more, each with its word"]
        found = [f"labels: {name} has no word" for name, words in self.labels.items() if not all(map(str.strip, words))]
        found += [f"labels: {name} has no word" for name, words in self.labels.items() if not words]
        owners: dict[str, str] = {}
        for name, words in self.labels.items():
            for word in {word.strip().casefold() for word in words}:
                if owners.setdefault(word, name) != name:
                    found.append(f"labels: {word!r} is a word of {owners[word]} and of {name}")
        return found


def open_task(name: str | Path) -> PromptTask:
    """Return a task that comes with heed, by its name, or that of a YAML file. Raises `ConfigError`."""
    if str(name) in SHIPPED:
        return read_task(files("heed.prompting").joinpath(f"tasks/{name}.yaml").read_text(encoding="utf-8"), str(name))
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(
            f"there is no task {str(name)[:60]!r}, {did_you_mean(str(name), SHIPPED)}; yours is a .yaml file"
        )
    try:
        return read_task(path.read_text(encoding="utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 at byte {error.start:,}: save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {advice(error)}") from None


def read_task(text: str, where: str) -> PromptTask:
    """Return the task that a text in YAML holds. Raises `ConfigError` with every problem, each with its remedy."""
    values = parse_yaml(text, where)
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must hold a task: name, template, labels, data, not a {type(values).__name__}")
    return make_task(values, where)


def make_task(values: Mapping[str, Any], where: str) -> PromptTask:
    """Return a task of plain values; see `read_task`."""
    try:
        task = PromptTask.model_validate(values)
    except ValidationError as error:
        raise ConfigError(*(f"{where}: {_explain(item)}" for item in error.errors())) from None
    if problems := task.problems():
        raise ConfigError(*(f"{where}: {problem}" for problem in problems))
    return task


def _explain(item: Any) -> str:
    """Return what pydantic says of one key as a line that names it and the remedy."""
    keys = [str(key) for key in item["loc"] if not (isinstance(key, str) and key.endswith("[key]"))]
    name, given = ".".join(keys), item["input"]
    if item["type"] == "extra_forbidden":
        return f"{name}: unknown key, {did_you_mean(keys[-1], _known(item['loc'][:-1]))}"
    if item["type"] == "missing":
        return f"{name}: is missing"
    if item["type"] == "string_type" and isinstance(given, bool):
        return f'{name}: YAML takes this for {str(given).lower()}: write the word in quotation marks, "yes" or "no"'
    if item["type"] == "string_pattern_mismatch":
        return f"{name}: must be a word of letters, digits, dots and dashes, not {given!r}"
    if item["type"] == "literal_error":
        return f"{name}: unknown value {given!r}, it is {item['ctx']['expected']}"
    said = item["msg"].removeprefix("Value error, ")
    return f"{name}: {said[0].lower()}{said[1:]}, not {str(given)[:60]!r}"


def _known(keys: Sequence[int | str]) -> list[str]:
    """Return the keys of the section that `keys` lead to."""
    kinds: dict[str, type[BaseModel]] = {"data": TaskData, "demonstrations": WrittenExample, "items": WrittenExample}
    return list((kinds[str(keys[0])] if keys else PromptTask).model_fields)
